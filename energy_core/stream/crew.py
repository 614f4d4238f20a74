"""The sources of a merged stream: who is there, who joins, leaves or begins anew."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Final
from weakref import WeakValueDictionary

from energy_core.errors import StreamError
from energy_core.stream.event import Position, Source, SourceId
from energy_core.stream.feed import Feed
from energy_core.stream.ledger import Ledger

_log: Final = logging.getLogger("energy_core.stream")

_used: Final[WeakValueDictionary[int, Source]] = WeakValueDictionary()
"""Sources that a stream has run, by identity: a source keeps what it learned and is run once."""


def refuse_unusable(sources: tuple[Source, ...]) -> None:
    """Complain about sources that cannot be merged.

    Raises:
        ValueError: there is none, two have the same id, or one was used already.
    """
    if not sources:
        raise ValueError("merge needs at least one source")
    for source_id, count in Counter(source.id for source in sources).items():
        if count > 1:
            raise ValueError(f"{count} sources have the id {source_id}")
    for source in sources:
        _refuse_used(source)


class Crew:
    """Runs each source in a feed of its own."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._feeds: dict[SourceId, Feed] = {}

    def __iter__(self) -> Iterator[Feed]:
        return iter(self._feeds.values())

    def add(self, source: Source, positions: Mapping[SourceId, Position]) -> None:
        """Start one more, from these positions on.

        Raises:
            ValueError: a source of this id is there, or this one was used already.
        """
        if source.id in self._feeds:
            raise ValueError(f"there is a source {source.id} already; remove or restart it")
        _refuse_used(source)
        feed = Feed(source, self._ledger)
        self._ledger.adopt(feed)
        self._start(feed, positions)

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
        new = Feed(fresh, self._ledger, restarts=feed.restarts + 1)
        self._ledger.began(new)  # already now: a stream does not end while its only source is restarted
        try:
            await stop([feed], grace_s)
            check_open()
            self._check_still(feed)
        except BaseException:
            self._ledger.over(new, None)
            raise
        new.speaks_for |= feed.speaks_for
        self._start(new, self._ledger.hand_over(feed.speaks_for, new))

    def _check_still(self, feed: Feed) -> None:
        if self._feeds.get(feed.id) is not feed:
            raise StreamError(f"the source {feed.id} was removed or restarted meanwhile")

    def _start(self, feed: Feed, positions: Mapping[SourceId, Position]) -> None:
        with suppress(TypeError):  # without a weak reference a second use cannot be noticed
            _used[id(feed.source)] = feed.source
        self._feeds[feed.id] = feed
        feed.start(positions)


async def stop(feeds: Iterable[Feed], grace_s: float) -> None:
    """Cancel these and wait until they have ended; after the grace they are left behind with an error."""
    tasks = {feed.task for feed in feeds if feed.task is not None}
    for task in tasks:
        task.cancel()
    others = tasks - {asyncio.current_task()} if tasks else tasks
    if others:
        _, stuck = await asyncio.wait(others, timeout=grace_s)
        for task in stuck:
            _log.error("%s ignores its cancellation; left behind", task.get_name())


def _again(feed: Feed) -> Source:
    again: Callable[[], Source] | None = getattr(feed.source, "again", None)
    if again is None:
        raise ValueError(f"the source {feed.id} cannot repeat itself; give restart() a fresh one")
    return again()


def _refuse_used(source: Source) -> None:
    if _used.get(id(source)) is source:
        raise ValueError(f"the source {source.id} was used already; a source is used once")
