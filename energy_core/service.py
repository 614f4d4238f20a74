"""run_service: runs a program until a signal, and ends it within a bounded time."""

from __future__ import annotations

import asyncio
import logging
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Final

from energy_core.clock import SystemClock

_log: Final = logging.getLogger("energy_core.service")

_EXIT_CODE: Final = 1
_LOG_S: Final = 0.2
"""How long the last log message may take."""
_SPARE_S: Final = 0.5
"""Time beyond the grace for a program whose cleanup was cancelled."""


def run_service(
    main: Callable[[], Coroutine[object, object, None]],
    *,
    grace_s: float = 5.0,
    signals: Sequence[signal.Signals] = (signal.SIGTERM, signal.SIGINT),
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> None:
    """Run `main()` in a new event loop until it returns or a signal arrives.

    The first of `signals` cancels `main`: its ``async with`` blocks close, and streams save their positions.
    Then `run_service` returns, and the program ends with exit code 0. A second signal ends the process at
    once, with the default action of the signal.

    Cleanup takes at most `grace_s`. If it takes longer, it is cancelled; if that has no effect within another
    half second, a thread ends the process. Both are logged and give exit code 1. An exception of `main` is
    raised in any case.

    Call it in the main thread. It restores the previous signal handlers when it returns. It works on every
    platform, because it does not use the signal handling of the event loop.

    Args:
        main: The program, called once the signals are handled.
        grace_s: Seconds for the cleanup.
        signals: The signals that end the program.
        loop_factory: Makes the event loop; None: asyncio's own.

    Raises:
        ValueError: this is not the main thread, or `grace_s` is negative.
        SystemExit: the cleanup was cancelled.
    """
    if not 0 <= grace_s < float("inf"):
        raise ValueError(f"grace_s must be a number of seconds, not {grace_s!r}")
    ending = _Ending(grace_s, tuple(signals))
    with (
        ending.handling_signals(),
        ending.watchdog(),
        asyncio.Runner(loop_factory=loop_factory) as runner,
    ):
        runner.run(ending.run(main))
    if ending.cleanup_cancelled:
        raise SystemExit(_EXIT_CODE)


class _Ending:
    """The end of one program: signal handlers, cancellation, watchdog."""

    def __init__(self, grace_s: float, signals: tuple[signal.Signals, ...]) -> None:
        self.cleanup_cancelled = False
        self._grace_s = grace_s
        self._signals = signals
        self._signalled = self._stopping = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        # Reentrant, so that a signal handler may put into it: True for a signal, False for the end of main.
        self._events: queue.SimpleQueue[bool] = queue.SimpleQueue()

    async def run(self, main: Callable[[], Coroutine[object, object, None]]) -> None:
        """Run `main` in a task. Its cancellation after a signal is not an error."""
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(main(), name="energy service")
        if self._signalled:
            self._stop()
        try:
            await self._task
        except asyncio.CancelledError:
            if not self._signalled:
                raise

    def on_signal(self, number: int, _frame: FrameType | None) -> None:
        """Handle the first signal, and restore the default action for the next one."""
        for each in self._signals:
            signal.signal(each, signal.SIG_DFL)
        self._signalled = True
        self._events.put(True)
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop is closed already
                self._loop.call_soon_threadsafe(self._stop, signal.Signals(number).name)

    def _stop(self, name: str = "a signal") -> None:
        if self._task is None or self._task.done() or self._stopping:
            return
        self._stopping = True
        _log.info("%s: ending, within %g s", name, self._grace_s)
        self._task.cancel()
        clock = SystemClock()
        timer = clock.call_at(clock.monotonic() + self._grace_s, self._cancel_cleanup)
        self._task.add_done_callback(lambda _: timer.cancel())

    def _cancel_cleanup(self) -> None:
        if self._task is not None:
            self.cleanup_cancelled = True
            _log.error("the cleanup takes longer than %g s and is cancelled", self._grace_s)
            self._task.cancel()

    @contextmanager
    def handling_signals(self) -> Iterator[None]:
        """Install the signal handlers, and restore the previous ones at the end."""
        before = {each: signal.getsignal(each) for each in self._signals}
        try:
            for each in self._signals:
                signal.signal(each, self.on_signal)
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler if handler is not None else signal.SIG_DFL)

    @contextmanager
    def watchdog(self) -> Iterator[None]:
        """Run a thread that ends the process if the event loop is blocked."""
        watch = threading.Thread(target=self._watch, name="energy service watch", daemon=True)
        watch.start()
        try:
            yield
        finally:
            self._events.put(False)
            watch.join()

    def _watch(self) -> None:
        if self._events.get():
            try:
                self._events.get(timeout=self._grace_s + _SPARE_S)
            except queue.Empty:
                # In a thread: the blocked code may hold a lock of the logging module.
                logger = threading.Thread(target=self._log_end, daemon=True)
                logger.start()
                logger.join(_LOG_S)
                os._exit(_EXIT_CODE)

    def _log_end(self) -> None:
        _log.critical("the program does not end; the process is terminated without its cleanup")
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
