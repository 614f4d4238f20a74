"""Commands `demo` and `simulate`: a simulated household, shown as a stream or served to other programs."""

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

from energy_core import Checkpoint, FileCheckpoint
from energy_core.clock import SystemClock
from energy_core.errors import CheckpointError
from energy_live.display.output import DisplayOptions
from energy_live.environment import Accounts
from energy_live.runner import UsageError
from energy_live.simulator import Simulator
from energy_live.simulator.mosquitto import BrokerMissing
from energy_live.watch import watch_accounts

LOG_INTERVAL_S: Final = 60.0
"""Interval of the simulated gateway's logs, in seconds of household time."""

FRAME_S: Final = 0.5
"""Interval of the simulated battery's events, in real seconds. The real one sends every second."""

_PAUSE: Final = timedelta(minutes=5)
"""Household time between the end of a checkpoint and the start of the next demo, so that there is a gap to
backfill."""

_HOME: Final = ZoneInfo("Europe/Berlin")


def late_morning() -> datetime:
    """Return 10:30 of today at the simulated home, when there is PV power to show."""
    return SystemClock().utcnow().astimezone(_HOME).replace(hour=10, minute=30, second=0, microsecond=0)


async def start_time(options: DisplayOptions) -> datetime:
    """Return the household's start: five minutes after the checkpoint ends, or 10:30 without a checkpoint."""
    known = Checkpoint()
    try:
        if options.checkpoint is not None and not options.from_now:
            text = await FileCheckpoint(options.checkpoint).load()
            known = known if text is None else Checkpoint.from_json(text)
    except CheckpointError:
        pass  # the merged stream reads the file again and raises
    times = [at.time for positions in known.positions.values() for at in positions.values()]
    return max(times) + _PAUSE if times else late_morning()


async def show_demo(options: DisplayOptions, *, speed: float, realtime: bool = False) -> None:
    """Start a simulator and show it through the real clients, one pool and one merged stream.

    Args:
        options: Output format, and when to stop.
        speed: Household seconds per real second.
        realtime: Whether VRM's values are received in real time, from a mosquitto that is started too.

    Raises:
        UsageError: The broker of real time is not installed.
    """
    async with AsyncExitStack() as stack:
        start = await start_time(options)
        simulator = Simulator(speed=speed, start=start, frame_s=FRAME_S, realtime=realtime)
        try:
            await stack.enter_async_context(simulator)
        except (BrokerMissing, ModuleNotFoundError) as error:
            raise UsageError(str(error)) from None
        await watch_accounts(
            Accounts.from_environment(simulator.environment()),
            options,
            interval_s=LOG_INTERVAL_S / speed,
            realtime=realtime,
            title=f"energy-live demo, a simulated household at {speed:g} times real time",
        )


async def run_simulator(*, speed: float, vrm_port: int, voltstorage_port: int) -> None:
    """Run the simulator until cancelled; print the environment variables that point clients at it.

    Raises:
        UsageError: A port is in use or not permitted.
    """
    async with AsyncExitStack() as stack:
        simulator = Simulator(speed=speed, vrm_port=vrm_port, volt_port=voltstorage_port)
        try:
            await stack.enter_async_context(simulator)
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise UsageError(f"cannot listen on the chosen port of 127.0.0.1: {reason}") from None
        _print_environment(simulator.environment())
        await asyncio.get_running_loop().create_future()


def _print_environment(environment: Mapping[str, str]) -> None:
    lines = [f"export {name}={quote(value)}\n" for name, value in environment.items()]
    if sys.stdout is not None:  # unbuffered: Python reports an error at exit if the reader has left
        os.write(sys.stdout.fileno(), "".join(lines).encode())
    if sys.stderr is not None:
        sys.stderr.write("Both services run, for this machine only. Ctrl-C ends them.\n")
