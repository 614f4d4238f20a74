"""merge(*sources): one stream of events from many sources."""

from __future__ import annotations

import asyncio
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType, TracebackType
from typing import Self

from energy_core.clock import Clock, SystemClock
from energy_core.errors import StreamClosed, StreamError, WrongLoop
from energy_core.printable import printable
from energy_core.stream.buffer import Policy
from energy_core.stream.checkpoint import Checkpoint, CheckpointStore
from energy_core.stream.commit import CheckpointSaver, CommitTracker, OnCorrupt, load
from energy_core.stream.consumer import Consumer, EventSupply, Subscription
from energy_core.stream.event import Event, Source, StreamPosition
from energy_core.stream.fanout import Fanout
from energy_core.stream.status import SourceStatus
from energy_core.stream.subscriber import Subscriber
from energy_core.stream.supervisor import Supervisor, refuse_unusable, stop
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
    """Return one stream of the events of all `sources`, which it owns from then on.

    The order is the order of arrival; for each source it is the order of `seq`. One source failing does not
    stop the others; the stream ends when all have ended. Sources that are pushed to never wait for a slow
    consumer: when `buffer` readings are pending, the policy says what happens. Whatever it is, readings that
    did not get through show as a jump in `seq`, in `status`, and in one `dropped` event once the consumer has
    caught up. Status, gap and dropped events are never dropped.

    Args:
        sources: Each is used once, and no two have the same id.
        policy: `block`: what does not fit is fetched again by its source, or reported as a gap.
            `drop_oldest`: the oldest makes place for the newest. `coalesce_latest`: only the newest of each
            key is kept, for displays. `raise`: SlowConsumer, after five seconds with a full buffer.
        buffer: How many readings may be pending.
        include_status: Whether changes of state are events of the stream; `status` has them in any case.
        fail_fast: Whether the first source that fails ends the stream, with its error.
        checkpoint: Where to go on, and, if it is a store, where that is kept up to date.
        autocommit: Whether asking for the next event commits those before. Without it, and without a store,
            only `commit` does.
        on_corrupt: What a checkpoint that cannot be used leads to: `raise`, or `latest`, a start from now.
        clock: Where time comes from.

    Raises:
        ValueError: no source, two with the same id, one that was used already, two accounts with one label,
            no such policy, or a buffer without room.
    """
    if on_corrupt not in ("raise", "latest"):
        raise ValueError(f"on_corrupt must be 'raise' or 'latest', not {on_corrupt!r}")
    refuse_unusable(sources)
    clock = clock or SystemClock()
    ledger = Fanout(clock, include_status=include_status, fail_fast=fail_fast)
    return MergedStream(
        sources,
        ledger=ledger,
        line=Subscriber(policy, buffer, clock),
        checkpoint=checkpoint,
        autocommit=autocommit,
        on_corrupt=on_corrupt,
    )


class MergedStream(Consumer):
    """What `merge` returns: `async with merge(...) as events: async for event in events: ...`.

    Serves one consumer; `subscribe()` is for several. Cancelling a waiting `anext` loses nothing.
    """

    def __init__(
        self,
        sources: tuple[Source, ...],
        *,
        ledger: Fanout,
        line: Subscriber,
        checkpoint: CheckpointStore | Checkpoint | None,
        autocommit: bool,
        on_corrupt: OnCorrupt,
    ) -> None:
        super().__init__(line, ledger.clock)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self._retired = False
        self._sources = sources
        self._ledger = ledger
        ledger.lines = (line,)
        self._crew = Supervisor(ledger)
        self._checkpoint = checkpoint
        self._autocommit = autocommit
        self._on_corrupt: OnCorrupt = on_corrupt
        self._saver: CheckpointSaver | None = None

    async def __aenter__(self) -> Self:
        """Load the checkpoint, if there is one, and start every source in a task of its own.

        Raises:
            CheckpointError: the checkpoint cannot be used.
            StreamClosed: the stream was opened before.
        """
        if self._loop is not None or self._closed:
            raise StreamClosed("a merged stream is opened once; merge fresh sources for another")
        refuse_unusable(self._sources)
        if self._checkpoint is not None:
            ids = {source.id for source in self._sources}
            start = await load(self._checkpoint, ids, self._on_corrupt, self._clock.utcnow())
            is_store = not isinstance(self._checkpoint, Checkpoint)
            self._progress = CommitTracker(
                start,
                self._line.owner_of,
                auto=self._autocommit and is_store,
                pending=self._line.pending,
            )
            self._crew.known = partial(_known, self._progress, self._ledger)
            if not isinstance(self._checkpoint, Checkpoint):
                self._saver = CheckpointSaver(self._checkpoint, self._progress, self._clock)
        self._loop = asyncio.get_running_loop()
        self._crew.begin(self._sources)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    # --- consumers -----------------------------------------------------------------------------------------

    def subscribe(self, *, policy: Policy = "block", buffer: int = 1024) -> Subscription:
        """Return an independent consumer: its own buffer, policy, numbers and pace, from the next event on.

        One that is slow never harms another. Without a checkpoint, and unless it is iterated too, the stream
        itself keeps nothing for its own `async for` from the first subscription on.

        Args:
            policy: See `merge`.
            buffer: How many readings may be pending.
        """
        if self._closed:
            raise StreamClosed("this stream is closed")
        line = Subscriber(policy, buffer, self._clock)
        if self._line.buffer.pristine and self._checkpoint is None:
            self._retired = True
        own = () if self._retired else (self._line,)
        others = tuple(each for each in self._ledger.lines if each is not self._line)
        self._ledger.lines = (*own, *others, line)
        if self._ledger.ended:
            line.buffer.end()
        return Subscription(line, self._ledger, self._check_open)

    def commit(self, event: Event) -> Checkpoint:
        """Say that `event`, and all that was handed out before it, is consumed; return the checkpoint.

        To have exactly once, put the checkpoint's `to_json()` into the transaction that stores the result,
        and merge with `checkpoint=Checkpoint.from_json(...)` of it the next time.

        Raises:
            StreamError: the stream was merged without `checkpoint=`; `HistoryCursor()` is a beginning.
            ValueError: the event was not handed out by this iterator: a subscription has no checkpoint.
        """
        if self._progress is None:
            raise StreamError("to commit, merge with checkpoint=: a store, or Checkpoint() to begin with")
        self._progress.commit(event)
        checkpoint = self._progress.checkpoint()
        self._progress.changed = True  # what the caller stores is no reason for our own store to lag
        return checkpoint

    # --- sources -------------------------------------------------------------------------------------------

    @property
    def status(self) -> Mapping[SourceId, SourceStatus]:
        """A snapshot of every source; it does not change afterwards.

        A source with several sites also has an entry for each of them.
        """
        sites = {site: status for feed in self._crew for site, status in feed.sites.items()}
        return MappingProxyType({**sites, **{feed.id: feed.snapshot for feed in self._crew}})

    def add(self, source: Source) -> None:
        """Start one more source.

        Raises:
            ValueError: a source of this id is there, this one was used already, or its account has the label
                of another account.
            StreamClosed: the stream is not open.
        """
        self._need_open()
        self._crew.add(source)

    async def remove(self, source_id: SourceId, grace_s: float = 5.0) -> None:
        """End one source; what it has handed over is still delivered. When it was the last, the stream ends.

        Raises:
            KeyError: there is no such source.
        """
        await self._crew.remove(source_id, grace_s)

    async def restart(self, source: SourceId | Source, grace_s: float = 5.0) -> None:
        """Start a source again, after `auth_failed` or `failed` or at any time; it presumes a hole.

        Given an id, the source is asked for a fresh one like itself (`Restartable`: those of both vendors'
        clients, and pollers, can do that). Given a source, that one replaces the one with its id. A stream
        that had ended because this was its last source goes on.

        Raises:
            KeyError: there is no such source.
            ValueError: the source cannot repeat itself, or the one given was used already.
            StreamClosed: the stream is not open.
        """
        self._need_open()
        await self._crew.restart(source, grace_s, self._need_open)

    # --- the end -------------------------------------------------------------------------------------------

    async def drain(self, grace_s: float = 5.0) -> None:
        """Stop the sources; what they have handed over is still delivered, then the stream ends.

        Returns when the sources have stopped. May be called from any task.
        """
        self._need_open()
        await stop(self._crew, grace_s)
        self._ledger.end()

    async def aclose(self, grace_s: float = 5.0) -> None:
        """End the stream: a waiting consumer gets StopAsyncIteration, every source is cancelled.

        May be called from any task and more than once. Cancelling it leaves the stream closed; a second call
        waits again for the sources. The checkpoint is saved once more.

        Args:
            grace_s: Seconds a source may take to clean up before it is left behind with an error in the log.
        """
        if not self._closed:
            self._closed = True
            self._ledger.close()
        saver, self._saver = self._saver, None
        deadline = self._clock.monotonic() + grace_s if self._loop is not None else 0.0
        try:
            await stop(self._crew, grace_s)
        except asyncio.CancelledError:
            if saver is not None:
                saver.abandon()
            raise
        if saver is not None:
            await saver.close(max(0.5, deadline - self._clock.monotonic()))

    def _supply(self) -> EventSupply:
        self._take_up()
        return super()._supply()

    def _begin(self) -> None:
        super()._begin()
        if self._retired:
            self._take_up()

    def _take_up(self) -> None:
        """Iterate the stream itself again, from now on, if that was given up for subscriptions."""
        self._line.buffer.touched = True
        if self._retired:
            self._retired = False
            self._ledger.lines = (self._line, *self._ledger.lines)
            if self._ledger.ended:
                self._line.buffer.end()

    def _check_open(self) -> None:
        if self._closed:
            return
        if self._loop is None:
            raise StreamClosed("open the stream first: async with merge(...) as events")
        if self._loop is not asyncio.get_running_loop():
            raise WrongLoop("this stream was opened in another event loop")

    def _need_open(self) -> None:
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
        if not loop.is_closed():
            for feed in self._crew:
                loop.call_soon_threadsafe(feed.stop)
            if self._saver is not None:
                loop.call_soon_threadsafe(self._saver.abandon)

    @printable
    def __repr__(self) -> str:
        if self._loop is None:
            return f"<MergedStream of {len(self._sources)} sources, not opened>"
        states = Counter(status.state for status in self.status.values())
        doing = ", ".join(f"{count} {state}" for state, count in states.items())
        return f"<MergedStream {'closed' if self._closed else 'open'}: {doing}; {self._line.buffer!r}>"


def _known(
    progress: CommitTracker, ledger: Fanout, feed: SourceId, alone: Callable[[], bool]
) -> Mapping[SourceId, StreamPosition]:
    """Return where the consumer stopped in the sources of a feed that begins."""
    consumed = progress.positions(feed, alone=alone)
    progress.begin(feed, ledger.clock.utcnow())
    return dict(consumed) | ledger.delivered(consumed)
