"""SIGTERM to a long-running service: it saves its position and closes its WebSocket."""

import asyncio
import signal
import sys

from energy_core import Checkpoint, Event, Kind
from energy_live.simulator import Simulator
from tests.servers.command_line import environment

GRACE_S = 2.0

SERVICE = f"""
import os, sys
from energy_core import FileCheckpoint, SessionPool, merge, run_service
from energy_core.stream import commit
from voltstorage_async import VoltStorageClient

commit.INTERVAL_S = 3600.0  # saved at the end only

async def main():
    base, email, password = (os.environ["VOLTSTORAGE_" + name] for name in ("BASE_URL", "EMAIL", "PASSWORD"))
    async with SessionPool() as pool:
        volt = VoltStorageClient(pool, email=email, password=password, base_url=base)
        async with merge(volt.live(301), checkpoint=FileCheckpoint(sys.argv[1])) as events:
            async for event in events:
                print(event.to_json(), flush=True)

run_service(main, grace_s={GRACE_S})
"""


async def read_events(process, count):
    """Return the printed events up to this number of readings."""
    printed = []
    async with asyncio.timeout(60):
        while sum(event.kind is Kind.READING for event in printed) < count:
            printed.append(Event.from_json(await process.stdout.readline()))
    return printed


async def test_sigterm_saves_the_position_and_closes_the_websocket(tmp_path):
    """The exit code is 0, the checkpoint is at the last printed event, the close code is 1001."""
    position = tmp_path / "position.json"
    async with Simulator(speed=20.0, frame_s=0.05) as simulator:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "error", "-c", SERVICE, str(position)),
            env=environment(simulator.environment()),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        printed = await read_events(process, 5)
        process.send_signal(signal.SIGTERM)
        out, err = await process.communicate()
        printed += map(Event.from_json, out.splitlines())
        assert process.returncode == 0, err
        assert b"Traceback" not in err
        assert list(simulator.close_codes) == [1001]
    [[stopped]] = [
        list(each.values()) for each in Checkpoint.from_json(position.read_text()).positions.values()
    ]
    # The event that was being printed at the signal is not committed yet.
    assert stopped.seq in {printed[-1].seq, printed[-2].seq}
