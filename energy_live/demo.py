"""A household of our own: the demo that shows it, and the servers alone for other programs."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from shlex import quote
from typing import Final
from zoneinfo import ZoneInfo

from energy_core import Checkpoint, CheckpointError, FileCheckpoint
from energy_core.clock import SystemClock
from energy_live.display.output import Wish
from energy_live.environment import Accounts, Unusable
from energy_live.simulator import Simulator
from energy_live.watch import follow

LOGGING_S: Final = 60.0
"""How often the simulated gateway logs, in seconds of the household's time."""

FRAME_S: Final = 0.5
"""How often the simulated battery speaks, in real seconds: a demo should not be waited for."""

AWAY: Final = timedelta(minutes=5)
"""How long, in the household's time, nobody looked before a checkpoint is taken up again."""

_HOME: Final = ZoneInfo("Europe/Berlin")


def late_morning() -> datetime:
    """Return today's late morning: the sun shines, and nobody has to wait for it."""
    return SystemClock().utcnow().astimezone(_HOME).replace(hour=10, minute=30, second=0, microsecond=0)


async def going_on(wish: Wish) -> datetime:
    """Return when the household begins: a little after a checkpoint ends, or late in the morning."""
    known = Checkpoint()
    try:
        if wish.checkpoint is not None and not wish.from_now:
            text = await FileCheckpoint(wish.checkpoint).load()
            known = known if text is None else Checkpoint.from_json(text)
    except CheckpointError:
        pass  # the stream will say what is wrong with it
    moments = [at.time for positions in known.positions.values() for at in positions.values()]
    return max(moments) + AWAY if moments else late_morning()


async def demo(wish: Wish, *, speed: float) -> None:
    """Show the simulated household through the real clients, one pool and one merged stream."""
    async with Simulator(speed=speed, start=await going_on(wish), frame_s=FRAME_S) as simulator:
        await follow(
            Accounts.of(simulator.environment()),
            wish,
            interval_s=LOGGING_S / speed,
            title=f"energy-live demo, a simulated household at {speed:g} times real time",
        )


async def simulate(*, speed: float, vrm_port: int, voltstorage_port: int) -> None:
    """Run the servers until cancelled, and say how clients find them."""
    async with AsyncExitStack() as stack:
        simulator = Simulator(speed=speed, vrm_port=vrm_port, volt_port=voltstorage_port)
        try:
            await stack.enter_async_context(simulator)
        except OSError as refused:
            reason = os.strerror(refused.errno) if refused.errno else str(refused)
            raise Unusable(f"cannot listen on the chosen port of 127.0.0.1: {reason}") from None
        _announce(simulator.environment())
        await asyncio.get_running_loop().create_future()


def _announce(environment: Mapping[str, str]) -> None:
    lines = [f"export {name}={quote(value)}\n" for name, value in environment.items()]
    if sys.stdout is not None:  # past Python's own buffer, which complains at exit when nobody reads
        os.write(sys.stdout.fileno(), "".join(lines).encode())
    if sys.stderr is not None:
        sys.stderr.write("Both services run, for this machine only. Ctrl-C ends them.\n")
