"""run_service: the signals of a long-running program, from the first polite one to the last."""

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

_CUT_SHORT: Final = 1
_LAST_WORDS_S: Final = 0.2
_SPARE_S: Final = 0.5
"""What is left, beyond the grace, to a program whose cleaning up was cancelled."""


def run_service(
    main: Callable[[], Coroutine[object, object, None]],
    *,
    grace_s: float = 5.0,
    signals: Sequence[signal.Signals] = (signal.SIGTERM, signal.SIGINT),
) -> None:
    """Run `main()` in an event loop of its own until it ends or a signal asks it to.

    The first of `signals` cancels `main`: it stops where it waits, and its ``async with`` blocks close; a
    stream saves its position on the way. Then `run_service` returns, and the program ends with code 0. A
    second signal ends the process at once, as if nobody had handled it.

    The end takes `grace_s` at most. Cleaning up that takes longer is cancelled, and if that does not help
    within another second the process is ended from outside the event loop, whatever it hangs in; both are
    logged and give exit code 1. An exception of `main` is raised in any case.

    Call it in the main thread; the handlers there were before are back when it returns. It needs nothing of
    the event loop, so that it works on every platform.

    Args:
        main: The program, called once the signals are handled.
        grace_s: Seconds for an orderly end.
        signals: Which signals end the service.

    Raises:
        ValueError: not the main thread, or a grace below zero.
        SystemExit: cleaning up was cut short.
    """
    if not 0 <= grace_s < float("inf"):
        raise ValueError(f"grace_s must be a number of seconds, not {grace_s!r}")
    ending = _Ending(grace_s, tuple(signals))
    with ending.handling_signals(), ending.watched():
        asyncio.run(ending.run(main))
    if ending.cut_short:
        raise SystemExit(_CUT_SHORT)


class _Ending:
    """How one service ends."""

    def __init__(self, grace_s: float, signals: tuple[signal.Signals, ...]) -> None:
        self.cut_short = False
        self._grace_s = grace_s
        self._signals = signals
        self._asked = self._stopping = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        # The one way to tell another thread something that a signal handler may use: it holds no lock.
        self._news: queue.SimpleQueue[bool] = queue.SimpleQueue()

    async def run(self, main: Callable[[], Coroutine[object, object, None]]) -> None:
        """Run `main` in a task of its own; once the end was asked for, being cancelled is a good one."""
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(main(), name="energy service")
        if self._asked:
            self._stop()
        try:
            await self._task
        except asyncio.CancelledError:
            if not self._asked:
                raise

    def on_signal(self, number: int, _frame: FrameType | None) -> None:
        """Ask for the end, once; from now on the system itself handles these signals."""
        for each in self._signals:
            signal.signal(each, signal.SIG_DFL)
        self._asked = True
        self._news.put(True)
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop is closed: everything has ended
                self._loop.call_soon_threadsafe(self._stop, signal.Signals(number).name)

    def _stop(self, name: str = "a signal") -> None:
        if self._task is None or self._task.done() or self._stopping:
            return
        self._stopping = True
        _log.info("%s: ending, within %g s", name, self._grace_s)
        self._task.cancel()
        clock = SystemClock()
        timer = clock.call_at(clock.monotonic() + self._grace_s, self._cut_short)
        self._task.add_done_callback(lambda _: timer.cancel())

    def _cut_short(self) -> None:
        if self._task is not None:
            self.cut_short = True
            _log.error("cleaning up takes longer than %g s and is cancelled", self._grace_s)
            self._task.cancel()

    @contextmanager
    def handling_signals(self) -> Iterator[None]:
        """Handle the signals, and put back what was there before."""
        before = {each: signal.getsignal(each) for each in self._signals}
        try:
            for each in self._signals:
                signal.signal(each, self.on_signal)
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler if handler is not None else signal.SIG_DFL)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Have a thread watch over the end: a blocked event loop could not."""
        watch = threading.Thread(target=self._watch, name="energy service watch", daemon=True)
        watch.start()
        try:
            yield
        finally:
            self._news.put(False)
            watch.join()

    def _watch(self) -> None:
        if self._news.get():
            try:
                self._news.get(timeout=self._grace_s + _SPARE_S)
            except queue.Empty:
                # Whoever hangs may hold the lock of the log.
                words = threading.Thread(target=self._last_words, daemon=True)
                words.start()
                words.join(_LAST_WORDS_S)
                os._exit(_CUT_SHORT)

    def _last_words(self) -> None:
        _log.critical("the service hangs and is ended; what it left open is lost")
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
