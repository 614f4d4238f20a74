"""merge(*sources): one stream of events from many sources."""

from __future__ import annotations

import asyncio
import logging
import warnings
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType, TracebackType
from typing import Final, Self
from weakref import WeakValueDictionary

from energy_core.clock import Clock, SystemClock
from energy_core.errors import StreamClosed, WrongLoop
from energy_core.stream.event import Event, Source, SourceId
from energy_core.stream.feed import Feed, Ledger
from energy_core.stream.state import SourceStatus

_log: Final = logging.getLogger("energy_core.stream")

_used: Final[WeakValueDictionary[int, Source]] = WeakValueDictionary()
"""Sources that a stream has run, by identity: a source keeps what it learned and is run once."""


def merge(
    *sources: Source,
    buffer: int = 1024,
    include_status: bool = True,
    clock: Clock | None = None,
) -> MergedStream:
    """Return one stream of the events of all `sources`, which it owns from then on.

    The order is the order of arrival; for each source it is the order of `seq`. One source failing does not
    stop the others; the stream ends when all have ended. Sources that are pushed to never wait for a slow
    consumer: when `buffer` readings are pending, the oldest is dropped for the newest, which shows as a jump
    in `seq`, in `status`, and in one `dropped` event once the consumer has caught up. Status events are never
    dropped.

    Args:
        sources: Each is used once, and no two have the same id.
        buffer: How many readings may be pending.
        include_status: Whether changes of state are events of the stream; `status` has them in any case.
        clock: Where time comes from.

    Raises:
        ValueError: no source, two with the same id, one that was used already, or a buffer without room.
    """
    return MergedStream(sources, buffer=buffer, include_status=include_status, clock=clock or SystemClock())


class MergedStream:
    """What `merge` returns: `async with merge(...) as events: async for event in events: ...`.

    Serves one consumer. Cancelling a waiting `anext` loses nothing.
    """

    def __init__(
        self, sources: tuple[Source, ...], *, buffer: int, include_status: bool, clock: Clock
    ) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        _refuse_unusable(sources)
        self._sources = sources
        self._ledger = Ledger(capacity=buffer, include_status=include_status, clock=clock)
        self._buffer = self._ledger.buffer
        self._feeds: tuple[Feed, ...] = ()

    async def __aenter__(self) -> Self:
        """Start every source in a task of its own."""
        if self._loop is not None or self._closed:
            raise StreamClosed("a merged stream is opened once; merge fresh sources for another")
        _refuse_unusable(self._sources)
        for source in self._sources:
            with suppress(TypeError):  # without a weak reference a second use cannot be noticed
                _used[id(source)] = source
        self._loop = asyncio.get_running_loop()
        self._feeds = tuple(Feed(source, self._ledger) for source in self._sources)
        self._ledger.running = len(self._feeds)
        for feed in self._feeds:
            task = self._loop.create_task(feed.run(), name=f"energy source {feed.id}")
            task.add_done_callback(feed.ended)
            self._tasks.add(task)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        """Return the next event. Cancelling it loses nothing.

        Raises:
            StopAsyncIteration: every source has ended and every event is delivered, or the stream is closed.
            StreamBusy: another consumer is waiting.
            StreamClosed: the stream was not opened with `async with`.
        """
        buffer = self._buffer
        while True:
            event = buffer.take()
            if event is not None:
                return event
            self._check_open()
            if buffer.ended:
                raise StopAsyncIteration
            await buffer.filled()

    async def aclose(self, grace_s: float = 5.0) -> None:
        """End the stream: a waiting consumer gets StopAsyncIteration, every source is cancelled.

        May be called from any task and more than once. Cancelling it leaves the stream closed; a second call
        waits again for the sources.

        Args:
            grace_s: Seconds a source may take to clean up before it is left behind with an error in the log.
        """
        if not self._closed:
            self._closed = True
            self._buffer.close()
            for task in self._tasks:
                task.cancel()
        others = self._tasks - {asyncio.current_task()}
        if others:
            _, stuck = await asyncio.wait(others, timeout=grace_s)
            for task in stuck:
                _log.error("%s ignores its cancellation; left behind", task.get_name())

    @property
    def status(self) -> Mapping[SourceId, SourceStatus]:
        """A snapshot of every source; it does not change afterwards."""
        return MappingProxyType({feed.id: feed.snapshot for feed in self._feeds})

    def _check_open(self) -> None:
        if self._closed:
            return
        if self._loop is None:
            raise StreamClosed("open the stream first: async with merge(...) as events")
        if self._loop is not asyncio.get_running_loop():
            raise WrongLoop("this stream was opened in another event loop")

    def __del__(self) -> None:
        if self._loop is None or self._closed:
            return
        warnings.warn(
            f"{self!r} was never closed; use async with", ResourceWarning, stacklevel=1, source=self
        )
        if not self._loop.is_closed():
            for task in self._tasks:
                self._loop.call_soon_threadsafe(task.cancel)

    def __repr__(self) -> str:
        if self._loop is None:
            return f"<MergedStream of {len(self._sources)} sources, not opened>"
        states = Counter(feed.snapshot.state for feed in self._feeds)
        doing = ", ".join(f"{count} {state}" for state, count in states.items())
        return f"<MergedStream {'closed' if self._closed else 'open'}: {doing}; {self._buffer!r}>"


def _refuse_unusable(sources: tuple[Source, ...]) -> None:
    if not sources:
        raise ValueError("merge needs at least one source")
    for source_id, count in Counter(source.id for source in sources).items():
        if count > 1:
            raise ValueError(f"{count} sources have the id {source_id}")
    for source in sources:
        if _used.get(id(source)) is source:
            raise ValueError(f"the source {source.id} was used already; a source is used once")
