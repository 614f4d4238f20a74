"""One run of one command: signals in, exit code out, nothing left running."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Coroutine
from contextlib import suppress

from energy_core.errors import EnergyError
from energy_live.environment import Unusable
from energy_live.exits import INTERRUPTED, UNUSABLE, complain


def run(work: Coroutine[object, object, None]) -> int:
    """Run `work` to its end and return the exit code; Ctrl-C and SIGTERM let it clean up first."""
    # What goes wrong with a source is shown as its status; only faults of our own are worth more lines.
    logging.basicConfig(level=logging.ERROR, format="energy-live: %(message)s")
    try:
        with asyncio.Runner(loop_factory=faster_loop()) as runner:
            runner.run(_until_terminated(work))
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        return 0  # whoever read our output has seen enough
    except Unusable as missing:
        return complain(missing, UNUSABLE)
    except EnergyError as trouble:
        return complain(trouble)
    except OSError as trouble:
        return complain(trouble.strerror or trouble)
    return 0


def faster_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return what makes uvloop's event loop where that is installed, and None for asyncio's own.

    Commands only: in a program that imports us, the event loop is the program's.
    """
    try:
        from uvloop import new_event_loop  # noqa: PLC0415  (an extra)
    except ImportError:
        return None
    make: Callable[[], asyncio.AbstractEventLoop] = new_event_loop
    return make


async def _until_terminated(work: Coroutine[object, object, None]) -> None:
    worker = asyncio.create_task(work)
    with suppress(NotImplementedError):  # Windows has no SIGTERM to speak of
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.cancel)
    try:
        await worker
    except asyncio.CancelledError:
        here = asyncio.current_task()
        if here is not None and here.cancelling():
            raise  # Ctrl-C cancels this task too, and asyncio.run makes KeyboardInterrupt of it
