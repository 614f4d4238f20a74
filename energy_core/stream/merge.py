"""`merge(*sources)`: one stream of the events of many sources."""

from __future__ import annotations

import asyncio
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from types import MappingProxyType, TracebackType
from typing import Self

from energy_core.clock import Clock, SystemClock
from energy_core.errors import StreamClosed, WrongLoop
from energy_core.printable import printable
from energy_core.stream.buffer import Policy
from energy_core.stream.checkpoint import Checkpoint, CheckpointStore
from energy_core.stream.commit import CheckpointSaver, CommitTracker, OnCorrupt, load
from energy_core.stream.consumer import Consumer, EventSupply, Subscription
from energy_core.stream.event import Event
from energy_core.stream.fanout import Fanout
from energy_core.stream.source import Source, StreamPosition
from energy_core.stream.status import SourceStatus
from energy_core.stream.subscriber import Subscriber
from energy_core.stream.supervisor import Supervisor, check_sources, stop
from energy_core.stream.vocabulary import SourceId


def merge(
    *sources: Source,
    policy: Policy = "block",
    buffer: int = 1024,
    include_status: bool = True,
    fail_fast: bool = False,
    checkpoint: CheckpointStore | Checkpoint | None = None,
    autocommit: bool = True,
    on_corrupt: OnCorrupt = "raise",
    clock: Clock | None = None,
) -> MergedStream:
    """Return one stream of the events of all `sources`.

    The stream owns the sources from now on: opening it starts them, closing it stops them. It ends when all
    have ended; one failing source does not stop the others.

    Events of one source come in the order of `seq`. Across sources they come in the order of arrival. A
    source that is pushed to never waits for a slow consumer: when `buffer` readings are pending, the policy
    decides. Readings that were dropped show as a jump in `seq`, in `status`, and in one `dropped` event once
    the consumer has caught up. Status, gap and dropped events are never dropped.

    Args:
        sources: Each is used once, and no two have the same id.
        policy: What happens when the buffer is full. `block`: the source fetches again what did not fit, or
            a gap is reported. `drop_oldest`: the oldest reading is dropped. `coalesce_latest`: only the
            newest reading of each key is kept, for displays. `raise`: the consumer gets SlowConsumer after
            five seconds with a full buffer.
        buffer: Readings that may be pending.
        include_status: Whether changes of state are delivered as events; they are in `status` anyway.
        fail_fast: Whether the first source that fails ends the stream, with its error.
        checkpoint: Where to continue. A store is also kept up to date.
        autocommit: Whether asking for the next event commits those before. Applies to a store only;
            otherwise call `commit`.
        on_corrupt: What to do with an unusable checkpoint: `raise`, or `latest` to start from now.
        clock: Source of time, for tests.

    Raises:
        ValueError: There is no source, two have the same id, one was used before, two accounts have one
            label, the policy is unknown, or the buffer has no capacity.
    """
    if on_corrupt not in ("raise", "latest"):
        raise ValueError(f"on_corrupt must be 'raise' or 'latest', not {on_corrupt!r}")
    check_sources(sources)
    clock = clock or SystemClock()
    fanout = Fanout(clock, include_status=include_status, fail_fast=fail_fast)
    return MergedStream(
        sources,
        fanout=fanout,
        subscriber=Subscriber(policy, buffer, clock),
        checkpoint=checkpoint,
        autocommit=autocommit,
        on_corrupt=on_corrupt,
    )


class MergedStream(Consumer):
    """A stream of events from many sources, made by `merge`.

    `async with merge(...) as events: async for event in events: ...`. It has one consumer; `subscribe` adds
    independent ones. Cancelling a waiting `anext` is safe: no event is lost.
    """

    def __init__(
        self,
        sources: tuple[Source, ...],
        *,
        fanout: Fanout,
        subscriber: Subscriber,
        checkpoint: CheckpointStore | Checkpoint | None,
        autocommit: bool,
        on_corrupt: OnCorrupt,
    ) -> None:
        super().__init__(subscriber, fanout.clock)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self._idle = False
        self._sources = sources
        self._fanout = fanout
        fanout.subscribers = (subscriber,)
        self._supervisor = Supervisor(fanout)
        self._supervisor.resume_positions = partial(_resume_positions, fanout)
        self._checkpoint = checkpoint
        self._autocommit = autocommit
        self._on_corrupt: OnCorrupt = on_corrupt
        self._saver: CheckpointSaver | None = None

    async def __aenter__(self) -> Self:
        """Load the checkpoint, and start every source in a task of its own.

        Raises:
            CheckpointError: The checkpoint cannot be used.
            StreamClosed: The stream was opened before.
        """
        if self._loop is not None or self._closed:
            raise StreamClosed("a merged stream is opened once; merge fresh sources for another")
        check_sources(self._sources)
        if self._checkpoint is not None:
            ids = {source.id for source in self._sources}
            start = await load(self._checkpoint, ids, self._on_corrupt, self._clock.utcnow())
            is_store = not isinstance(self._checkpoint, Checkpoint)
            self._commits = CommitTracker(
                start,
                self._subscriber.owner_of,
                auto=self._autocommit and is_store,
                pending=self._subscriber.pending,
            )
            self._fanout.trackers[self._subscriber] = self._commits
            if not isinstance(self._checkpoint, Checkpoint):
                self._saver = CheckpointSaver(self._checkpoint, self._commits, self._clock)
            for source in self._sources:
                self._follow_commits(source)
        self._loop = asyncio.get_running_loop()
        self._supervisor.begin(self._sources)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    # --- consumers -----------------------------------------------------------------------------------------

    def subscribe(
        self,
        *,
        policy: Policy = "block",
        buffer: int = 1024,
        checkpoint: Checkpoint | None = None,
        since: datetime | None = None,
    ) -> Subscription:
        """Return an independent consumer: its own buffer, policy and numbers, from the next event on.

        A slow one does not affect the others. If the stream itself was not iterated yet and has no
        checkpoint, it stops buffering for its own `async for` until that is used.

        With a checkpoint it continues there: what it lacks is fetched for it alone, or reported to it as a
        gap; the sources continue at the newest checkpoint of all consumers. Subscribe before the stream is
        opened where possible, so that nothing is fetched twice.

        Args:
            policy: See `merge`.
            buffer: Readings that may be pending.
            checkpoint: Where to continue; `commit` returns the next one. `Checkpoint()` to begin with.
            since: Where to continue a source that the checkpoint does not know, aware; None: at the present.

        Raises:
            StreamClosed: The stream is closed.
            ValueError: The policy is unknown, or the buffer has no capacity.
        """
        if self._closed:
            raise StreamClosed("this stream is closed")
        subscriber = Subscriber(policy, buffer, self._clock)
        if self._subscriber.buffer.unused and self._checkpoint is None:
            self._idle = True
        # Without this, a stream used through subscriptions only would fill a buffer that is never read.
        own = () if self._idle else (self._subscriber,)
        others = tuple(each for each in self._fanout.subscribers if each is not self._subscriber)
        self._fanout.subscribers = (*own, *others, subscriber)
        if checkpoint is not None:
            self._fanout.trackers[subscriber] = CommitTracker(
                checkpoint, subscriber.owner_of, auto=False, begin_at=since, pending=subscriber.pending
            )
            for task in self._supervisor:
                task.catch_up(subscriber)
        if self._fanout.ended:
            subscriber.buffer.end()
        return Subscription(subscriber, self._fanout, self._check_open)

    # --- sources -------------------------------------------------------------------------------------------

    @property
    def status(self) -> Mapping[SourceId, SourceStatus]:
        """A snapshot of every source, by its id; it does not change afterwards.

        A source with several sites also has an entry for each site.
        """
        sites: dict[SourceId, SourceStatus] = {}
        for task in self._supervisor:
            sites |= task.site_snapshots()
        return MappingProxyType({**sites, **{task.id: task.snapshot() for task in self._supervisor}})

    def add(self, source: Source) -> None:
        """Start one more source.

        Args:
            source: A new source.

        Raises:
            ValueError: A source with this id exists, this one was used before, or its account has the label
                of another account.
            StreamClosed: The stream is not open.
        """
        self._require_open()
        self._supervisor.add(source)
        self._follow_commits(source)

    async def remove(self, source_id: SourceId, grace_s: float = 5.0) -> None:
        """Stop one source; buffered events are still delivered. Removing the last one ends the stream.

        Args:
            source_id: Its id.
            grace_s: Seconds it may take to stop before it is left behind with an error in the log.

        Raises:
            KeyError: There is no such source.
        """
        await self._supervisor.remove(source_id, grace_s)

    async def restart(self, source: SourceId | Source, grace_s: float = 5.0) -> None:
        """Start a source again, in any state; what happened meanwhile is fetched or reported as a gap.

        A stream that ended because this was its last source continues.

        Args:
            source: The id of a `Restartable` source (those of both vendors and `Poller` are), or a new source
                that replaces the one with its id.
            grace_s: Seconds the old source may take to stop before it is left behind with a logged error.

        Raises:
            KeyError: There is no such source.
            ValueError: The source is not restartable, or the new one was used before.
            StreamClosed: The stream is not open.
        """
        self._require_open()
        await self._supervisor.restart(source, grace_s, self._require_open)
        for task in self._supervisor:
            if task.id == (source if isinstance(source, SourceId) else source.id):
                self._follow_commits(task.source)

    def _follow_commits(self, source: Source) -> None:
        """Let an `Acknowledging` source know what is committed."""
        follow: Callable[[], Callable[[Event], None]] | None = getattr(source, "follow_commits", None)
        if self._commits is not None and follow is not None:
            self._commits.followers[source.id] = follow()

    # --- end -----------------------------------------------------------------------------------------------

    async def drain(self, grace_s: float = 5.0) -> None:
        """Stop all sources; buffered events are still delivered, then the stream ends.

        Returns when the sources have stopped. May be called from any task.

        Args:
            grace_s: Seconds a source may take to stop before it is left behind with an error in the log.

        Raises:
            StreamClosed: The stream is not open.
        """
        self._require_open()
        await stop(self._supervisor, grace_s)
        self._fanout.end()

    async def aclose(self, grace_s: float = 5.0) -> None:
        """Close the stream: stop all sources, save the checkpoint; a waiting `anext` gets StopAsyncIteration.

        May be called from any task and more than once. If it is cancelled the stream is closed nevertheless;
        a second call waits for the sources again.

        Args:
            grace_s: Seconds a source may take to stop before it is left behind with an error in the log.
        """
        if not self._closed:
            self._closed = True
            self._fanout.close()
        saver, self._saver = self._saver, None
        deadline = self._clock.monotonic() + grace_s if self._loop is not None else 0.0
        try:
            await stop(self._supervisor, grace_s)
        except asyncio.CancelledError:
            if saver is not None:
                saver.abandon()
            raise
        if saver is not None:
            # At least half a second, even if the sources used up the grace time.
            await saver.close(max(0.5, deadline - self._clock.monotonic()))

    def _supply(self) -> EventSupply:
        self._activate()
        return super()._supply()

    def _begin(self) -> None:
        super()._begin()
        if self._idle:
            self._activate()

    def _activate(self) -> None:
        """Buffer for the stream's own iterator again, if that was given up for subscriptions."""
        self._subscriber.buffer.used = True
        if self._idle:
            self._idle = False
            self._fanout.subscribers = (self._subscriber, *self._fanout.subscribers)
            if self._fanout.ended:
                self._subscriber.buffer.end()

    def _check_open(self) -> None:
        if self._closed:
            return
        if self._loop is None:
            raise StreamClosed("open the stream first: async with merge(...) as events")
        if self._loop is not asyncio.get_running_loop():
            raise WrongLoop("this stream was opened in another event loop")

    def _require_open(self) -> None:
        self._check_open()
        if self._closed:
            raise StreamClosed("this stream is closed")

    def __del__(self) -> None:
        loop = getattr(self, "_loop", None)
        if loop is None or self._closed:
            return
        warnings.warn(
            f"{self!r} was never closed; use async with", ResourceWarning, stacklevel=1, source=self
        )
        # Garbage collection may run in any thread.
        if not loop.is_closed():
            for task in self._supervisor:
                loop.call_soon_threadsafe(task.stop)
            if self._saver is not None:
                loop.call_soon_threadsafe(self._saver.abandon)

    @printable
    def __repr__(self) -> str:
        if self._loop is None:
            return f"<MergedStream of {len(self._sources)} sources, not opened>"
        states = Counter(status.state for status in self.status.values())
        sources = ", ".join(f"{count} {state}" for state, count in states.items())
        state = "closed" if self._closed else "open"
        return f"<MergedStream {state}: {sources}; {self.pending} events pending>"


def _resume_positions(
    fanout: Fanout, source: SourceId, alone: Callable[[], bool]
) -> Mapping[SourceId, StreamPosition]:
    """Return where to continue one source: what consumers committed, or, after a restart, were given."""
    consumed = fanout.consumed(source, alone)
    return consumed | fanout.delivered(consumed)
