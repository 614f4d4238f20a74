"""examples/energy_today.py runs against the simulator until SIGTERM."""

import asyncio
import os
import signal
import sys
from pathlib import Path

from energy_live.simulator import Simulator

ROOT = Path(__file__).parents[2]


async def test_it_counts_up_until_a_signal_ends_it():
    """Solar and grid energy appear and only grow; SIGTERM ends the program with code 0."""
    async with Simulator(speed=60.0, frame_s=0.1) as simulator:
        foreign = {
            name: value for name, value in os.environ.items() if not name.startswith(("VRM_", "VOLTSTORAGE_"))
        }
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "error", str(ROOT / "examples" / "energy_today.py")),
            env=foreign | {"PYTHONPATH": str(ROOT)} | simulator.environment(),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        rows = []
        try:
            async with asyncio.timeout(20):
                while sum(row[2] != "None" for row in rows) < 10:
                    rows.append((await process.stdout.readline()).decode().split())
        finally:
            process.send_signal(signal.SIGTERM)
            _, err = await asyncio.wait_for(process.communicate(), 20)
    assert (process.returncode, err.decode()) == (0, "")
    imported = [float(row[2]) for row in rows if row[2] != "None"]
    assert imported == sorted(imported)
