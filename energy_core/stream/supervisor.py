"""Adds, removes and restarts the sources of a merged stream."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Final, TypeAlias
from weakref import WeakValueDictionary

from energy_core.errors import StreamError
from energy_core.stream.fanout import Fanout
from energy_core.stream.source import Source, StreamPosition
from energy_core.stream.source_task import Join, SourceTask
from energy_core.stream.vocabulary import SourceId

ResumePositions: TypeAlias = Callable[[SourceId, Callable[[], bool]], Mapping[SourceId, StreamPosition]]
"""Returns where a consumer stopped in the devices of a source.

The second argument returns whether no other source differs from it by the account label only.
"""

_log: Final = logging.getLogger("energy_core.stream")

_used: Final[WeakValueDictionary[int, Source]] = WeakValueDictionary()
"""Sources that were started, by identity. A source keeps state of its run, so it is started once."""


def check_sources(sources: tuple[Source, ...]) -> None:
    """Check that sources can be merged.

    Raises:
        ValueError: There is none, two have the same id, one was used before, or two accounts have one label.
    """
    if not sources:
        raise ValueError("merge needs at least one source")
    for source_id, count in Counter(source.id for source in sources).items():
        if count > 1:
            raise ValueError(f"{count} sources have the id {source_id}")
    owners: dict[tuple[str, str], str] = {}  # by vendor and account label
    for source in sources:
        _check_unused(source)
        _check_account(source, owners)


class Supervisor:
    """Runs each source in a `SourceTask`. Iterating gives the tasks.

    Args:
        fanout: The subscribers of the stream.
    """

    def __init__(self, fanout: Fanout) -> None:
        self.resume_positions: ResumePositions = _nowhere
        self._fanout = fanout
        self._tasks: dict[SourceId, SourceTask] = {}

    def __iter__(self) -> Iterator[SourceTask]:
        return iter(self._tasks.values())

    def begin(self, sources: tuple[Source, ...]) -> None:
        """Start the first sources.

        Raises:
            ValueError: They cannot be merged.
        """
        check_sources(sources)
        tasks = [SourceTask(source, self._fanout) for source in sources]
        self._tasks = {task.id: task for task in tasks}  # all of them before the first one looks for others
        for task in tasks:
            self._start(task, self._join)

    def add(self, source: Source) -> None:
        """Start one more source, from where a consumer stopped in it.

        Raises:
            ValueError: A source with this id exists, this one was used before, or its account has the label
                of another account.
        """
        if source.id in self._tasks:
            raise ValueError(f"there is a source {source.id} already; remove or restart it")
        _check_unused(source)
        _check_account(source, {task.id[:2]: _owner(task.source) for task in self})
        self._start(SourceTask(source, self._fanout), self._join)

    async def remove(self, source_id: SourceId, grace_s: float) -> None:
        """Stop a source and forget it.

        Raises:
            KeyError: There is no such source.
        """
        task = self._tasks[source_id]
        await stop([task], grace_s)
        if self._tasks.get(source_id) is task:  # it may have been restarted while it stopped
            del self._tasks[source_id]
            for source in task.device_ids:
                self._fanout.forget(source)

    async def restart(
        self, source: SourceId | Source, grace_s: float, check_open: Callable[[], None]
    ) -> None:
        """Stop a source and start its successor, which resumes where the first one stopped.

        Args:
            source: The id of a restartable source, or a new source with the id of the old one.
            grace_s: Seconds the old source may take to stop.
            check_open: Raises if the stream was closed meanwhile.

        Raises:
            KeyError: There is no such source.
            ValueError: The source is not restartable, or the new one was used before.
            StreamError: The source was removed or restarted meanwhile.
        """
        source_id = source if isinstance(source, SourceId) else source.id
        old = self._tasks[source_id]
        successor = _again(old) if isinstance(source, SourceId) else source
        _check_unused(successor)
        new = SourceTask(successor, self._fanout, restarts=old.restarts + 1)
        self._fanout.source_started(new)  # already now: a stream must not end while its only source restarts
        try:
            await stop([old], grace_s)
            check_open()
            self._check_registered(old)
        except BaseException:
            self._fanout.source_ended(new, None)
            raise
        new.device_ids |= old.device_ids
        delivered = self._fanout.hand_on(old.device_ids, new)
        self._start(new, lambda task: delivered or self._join(task))

    def _check_registered(self, task: SourceTask) -> None:
        if self._tasks.get(task.id) is not task:
            raise StreamError(f"the source {task.id} was removed or restarted meanwhile")

    def _start(self, task: SourceTask, join: Join) -> None:
        with suppress(TypeError):  # a class without weak references: a second use cannot be noticed
            _used[id(task.source)] = task.source
        self._tasks[task.id] = task
        task.start(join)

    def _join(self, task: SourceTask) -> Mapping[SourceId, StreamPosition]:
        """Register a task under the final id of its source; return where a consumer stopped there.

        Raises:
            StreamError: Another source has this id.
        """
        source_id = task.source.id
        if source_id != task.id:
            if source_id in self._tasks:
                raise StreamError(
                    f"another source has the id {source_id}: give each client a label of its own, account=..."
                )
            self._tasks = {source_id if each is task else name: each for name, each in self._tasks.items()}
            task.device_ids = {source_id}
            task.id = source_id
        self._fanout.transfer_devices(task)
        return self.resume_positions(source_id, lambda: sum(map(source_id.is_like, self._tasks)) == 1)


async def stop(tasks: Iterable[SourceTask], grace_s: float) -> None:
    """Cancel sources and wait until they have ended; logs an error for those that exceed the grace."""
    running = {each.task for each in tasks if each.task is not None}
    for task in running:
        task.cancel()
    # A source may stop its own stream; it must not wait for itself.
    others = running - {asyncio.current_task()} if running else running
    if others:
        _, stuck = await asyncio.wait(others, timeout=grace_s)
        for task in stuck:
            _log.error("%s ignores its cancellation; left behind", task.get_name())


def _nowhere(_source: SourceId, _alone: Callable[[], bool]) -> Mapping[SourceId, StreamPosition]:
    return {}


def _again(task: SourceTask) -> Source:
    again: Callable[[], Source] | None = getattr(task.source, "again", None)
    if again is None:
        raise ValueError(f"the source {task.id} has no again(); pass a new source to restart()")
    return again()


def _owner(source: Source) -> str:
    """Return a text that identifies the credential of a source; "" where it has none."""
    owner: str = getattr(source, "owner", "")
    return owner


def _check_account(source: Source, owners: dict[tuple[str, str], str]) -> None:
    """Reject a source whose account label is used by an account with another credential."""
    account, owner = (source.id.vendor, source.id.account), _owner(source)
    if owner and owners.setdefault(account, owner) not in {"", owner}:
        raise ValueError(
            f"two accounts of {source.id.vendor} have the label {source.id.account!r}: give each client "
            "a label of its own, account=..."
        )


def _check_unused(source: Source) -> None:
    if _used.get(id(source)) is source:
        raise ValueError(f"the source {source.id} was used already; a source is used once")
