"""The sources of a merged stream: who is there, who joins, leaves or begins anew."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Final, TypeAlias
from weakref import WeakValueDictionary

from energy_core.errors import StreamError
from energy_core.stream.event import Source, StreamPosition
from energy_core.stream.fanout import Fanout
from energy_core.stream.source_task import Join, SourceTask
from energy_core.stream.vocabulary import SourceId

Known: TypeAlias = Callable[[SourceId, Callable[[], bool]], Mapping[SourceId, StreamPosition]]
"""Says where a consumer stopped in the sources of a feed, given whether no other feed is like it."""

_log: Final = logging.getLogger("energy_core.stream")

_used: Final[WeakValueDictionary[int, Source]] = WeakValueDictionary()
"""Sources that a stream has run, by identity: a source keeps what it learned and is run once."""


def refuse_unusable(sources: tuple[Source, ...]) -> None:
    """Complain about sources that cannot be merged.

    Raises:
        ValueError: there is none, two have the same id, one was used already, or two accounts have one label.
    """
    if not sources:
        raise ValueError("merge needs at least one source")
    for source_id, count in Counter(source.id for source in sources).items():
        if count > 1:
            raise ValueError(f"{count} sources have the id {source_id}")
    owners: dict[tuple[str, str], str] = {}
    for source in sources:
        _refuse_used(source)
        _refuse_stranger(source, owners)


class Supervisor:
    """Runs each source in a feed of its own.

    Args:
        ledger: What the feeds share.
    """

    def __init__(self, ledger: Fanout) -> None:
        self.known: Known = _nothing
        self._ledger = ledger
        self._feeds: dict[SourceId, SourceTask] = {}

    def __iter__(self) -> Iterator[SourceTask]:
        return iter(self._feeds.values())

    def begin(self, sources: tuple[Source, ...]) -> None:
        """Start the first ones.

        Raises:
            ValueError: they cannot be merged.
        """
        refuse_unusable(sources)
        feeds = [SourceTask(source, self._ledger) for source in sources]
        self._feeds = {feed.id: feed for feed in feeds}  # all of them, before the first looks for others
        for feed in feeds:
            self._start(feed, self._join)

    def add(self, source: Source) -> None:
        """Start one more, from where a consumer stopped there.

        Raises:
            ValueError: a source of this id is there, this one was used already, or its account has the label
                of another account.
        """
        if source.id in self._feeds:
            raise ValueError(f"there is a source {source.id} already; remove or restart it")
        _refuse_used(source)
        _refuse_stranger(source, {feed.id[:2]: _owner(feed.source) for feed in self})
        self._start(SourceTask(source, self._ledger), self._join)

    async def remove(self, source_id: SourceId, grace_s: float) -> None:
        """End one.

        Raises:
            KeyError: there is no such source.
        """
        feed = self._feeds[source_id]
        await stop([feed], grace_s)
        if self._feeds.get(source_id) is feed:
            del self._feeds[source_id]
            for source in feed.speaks_for:
                self._ledger.forget(source)

    async def restart(
        self, source: SourceId | Source, grace_s: float, check_open: Callable[[], None]
    ) -> None:
        """End one and start its successor, which presumes a hole.

        Raises:
            KeyError: there is no such source.
            ValueError: the source cannot repeat itself, or the one given was used already.
        """
        source_id = source if isinstance(source, SourceId) else source.id
        feed = self._feeds[source_id]
        fresh = _again(feed) if isinstance(source, SourceId) else source
        _refuse_used(fresh)
        new = SourceTask(fresh, self._ledger, restarts=feed.restarts + 1)
        self._ledger.began(new)  # already now: a stream does not end while its only source is restarted
        try:
            await stop([feed], grace_s)
            check_open()
            self._check_still(feed)
        except BaseException:
            self._ledger.over(new, None)
            raise
        new.speaks_for |= feed.speaks_for
        delivered = self._ledger.deliver(feed.speaks_for, new)
        self._start(new, lambda successor: delivered or self._join(successor))

    def _check_still(self, feed: SourceTask) -> None:
        if self._feeds.get(feed.id) is not feed:
            raise StreamError(f"the source {feed.id} was removed or restarted meanwhile")

    def _start(self, feed: SourceTask, join: Join) -> None:
        with suppress(TypeError):  # without a weak reference a second use cannot be noticed
            _used[id(feed.source)] = feed.source
        self._feeds[feed.id] = feed
        feed.start(join)

    def _join(self, feed: SourceTask) -> Mapping[SourceId, StreamPosition]:
        """Enter a feed under the id of its source, which may have become known since.

        Raises:
            StreamError: another feed has it.
        """
        source_id = feed.source.id
        if source_id != feed.id:
            if source_id in self._feeds:
                raise StreamError(
                    f"another source has the id {source_id}: give each client a label of its own, account=..."
                )
            self._feeds = {source_id if each is feed else name: each for name, each in self._feeds.items()}
            feed.speaks_for = {source_id}
            feed.id = source_id
        self._ledger.transfer_devices(feed)
        return self.known(source_id, lambda: sum(map(source_id.is_like, self._feeds)) == 1)


async def stop(feeds: Iterable[SourceTask], grace_s: float) -> None:
    """Cancel these and wait until they have ended; after the grace they are left behind with an error."""
    tasks = {feed.task for feed in feeds if feed.task is not None}
    for task in tasks:
        task.cancel()
    others = tasks - {asyncio.current_task()} if tasks else tasks
    if others:
        _, stuck = await asyncio.wait(others, timeout=grace_s)
        for task in stuck:
            _log.error("%s ignores its cancellation; left behind", task.get_name())


def _owner(source: Source) -> str:
    owner: str = getattr(source, "owner", "")
    return owner


def _refuse_stranger(source: Source, owners: dict[tuple[str, str], str]) -> None:
    """Refuse a source whose account has the label of another account, known by another credential."""
    account, owner = (source.id.vendor, source.id.account), _owner(source)
    if owner and owners.setdefault(account, owner) not in {"", owner}:
        raise ValueError(
            f"two accounts of {source.id.vendor} have the label {source.id.account!r}: give each client "
            "a label of its own, account=..."
        )


def _nothing(_source: SourceId, _alone: Callable[[], bool]) -> Mapping[SourceId, StreamPosition]:
    return {}


def _again(feed: SourceTask) -> Source:
    again: Callable[[], Source] | None = getattr(feed.source, "again", None)
    if again is None:
        raise ValueError(f"the source {feed.id} cannot repeat itself; give restart() a fresh one")
    return again()


def _refuse_used(source: Source) -> None:
    if _used.get(id(source)) is source:
        raise ValueError(f"the source {source.id} was used already; a source is used once")
