"""Runs one command: event loop, signals, exit codes, and the error line on stderr.

asyncio and energy_core are imported inside the functions: `energy-live --help` imports this module for its
exit codes and must not pay for them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio

FAILED: Final = 1
"""Exit code: the command failed while it ran."""
USAGE: Final = 2
"""Exit code: options or environment are wrong; click uses the same code for a wrong option."""
INTERRUPTED: Final = 130
"""Exit code after Ctrl-C, as shells expect it."""


class UsageError(Exception):
    """Options or environment variables are wrong or missing; the message names what to set."""


def print_error(error: object, code: int = FAILED) -> int:
    """Print one line on stderr and return the exit code; unprintable characters become spaces."""
    line = "".join(char if char.isprintable() else " " for char in str(error))
    if sys.stderr is not None:
        sys.stderr.write(f"energy-live: {line}\n")
    return code


def run(command: Coroutine[object, object, None]) -> int:
    """Run a command in a new event loop and return its exit code.

    Ctrl-C and SIGTERM cancel the command, which closes its connections first. The exit code is 130 after
    Ctrl-C and 0 after SIGTERM.
    """
    import asyncio  # noqa: PLC0415
    import logging  # noqa: PLC0415

    from energy_core.errors import EnergyError  # noqa: PLC0415

    # Failures of a source are shown as its status; the log holds only faults of this program.
    logging.basicConfig(level=logging.ERROR, format="energy-live: %(message)s")
    try:
        with asyncio.Runner(loop_factory=faster_loop()) as runner:
            runner.run(_cancelled_by_sigterm(command))
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        return 0  # the reader of stdout has closed it, as `head` does
    except UsageError as error:
        return print_error(error, USAGE)
    except EnergyError as error:
        return print_error(error)
    except OSError as error:
        return print_error(error.strerror or error)
    return 0


def faster_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's event loop factory where uvloop is installed, otherwise None (asyncio's own loop).

    Only commands use it: a program that imports these packages chooses its own event loop.
    """
    try:
        from uvloop import new_event_loop  # noqa: PLC0415  (an extra)
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = new_event_loop
    return factory


async def _cancelled_by_sigterm(command: Coroutine[object, object, None]) -> None:
    import asyncio  # noqa: PLC0415
    import signal  # noqa: PLC0415

    task = asyncio.create_task(command)
    with suppress(NotImplementedError):  # Windows has no signal handlers in asyncio
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        current = asyncio.current_task()
        if current is not None and current.cancelling():
            raise  # Ctrl-C cancels this task too; asyncio.Runner turns it into KeyboardInterrupt
