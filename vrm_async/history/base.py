"""History of any length, piece by piece: what every kind of it has in common."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, Generic, Self, TypeAlias, TypeVar

from attrs import field, frozen

from energy_core.clock import Clock
from energy_core.local_days import EPOCH
from energy_core.printable import printable
from vrm_async import validation

REREAD: Final = timedelta(days=2)
"""How late devices may deliver: a gateway without network keeps its logs and sends them when it is back."""

_VERSION: Final = 1

HistoryCursor: TypeAlias = Mapping[str, str | int]
"""Where a reader stopped: a small plain mapping that JSON can hold."""

T = TypeVar("T")


@frozen(kw_only=True)
class Chunk(Generic[T]):
    """One piece of a history. Pieces follow each other without overlap and without a hole."""

    start: datetime
    """Aware, UTC: where the piece begins."""
    end: datetime
    """Aware, UTC: where it ends; nothing in it is as late as that."""
    data: T
    """What VRM has in between."""
    empty: bool = False
    """Whether VRM has no data here: it cannot mean that the piece is too large, for that is seen to."""
    overlaps_checkpoint: bool = False
    """Whether it reaches back before the checkpoint: some of it may have been delivered before."""
    settled_until: datetime
    """Aware, UTC: what lies later may still change, because devices deliver late."""
    checkpoint: HistoryCursor = field(repr=False)
    """Where to go on after this piece; store it once the piece is safe."""


class History(ABC, Generic[T]):
    """An async iterator over pieces; each is one request, and no more than one is held.

    A step that fails or is cancelled loses nothing: the next one asks for the same piece again. Two tasks on
    one iterator share its pieces.
    """

    def __init__(
        self,
        name: str,
        *,
        start: datetime | None,
        end: datetime | None,
        late: timedelta,
        checkpoint: HistoryCursor | None,
        clock: Clock,
    ) -> None:
        if start is not None and end is not None:
            validation.span(start, end)
        for what, moment in (("start", start), ("end", end)):
            if moment is not None:
                validation.moment_s(what, moment)
        if late < timedelta():
            raise ValueError(f"late must not be negative: {late}")
        self._name = name
        self._late = late
        self._until = None if checkpoint is None else _until(checkpoint, name)
        self._checkpoint = checkpoint
        self._clock = clock
        self._start = start
        self._end = end
        self._at: datetime | None = None
        self._turn = asyncio.Lock()

    @property
    def checkpoint(self) -> HistoryCursor | None:
        """Where to go on after the last piece that was handed out; before the first the one given."""
        return self._checkpoint

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Chunk[T]:
        async with self._turn:
            if self._at is None or self._end is None:
                start, self._end = await self._bounds(self._start, self._end)
                self._at = self._resumed(start)
            if self._at >= self._end:
                raise StopAsyncIteration
            part = self._part(self._at, *await self._piece(self._at, self._end))
            self._at, self._checkpoint = part.end, part.checkpoint
            return part

    @printable
    def __repr__(self) -> str:
        where = "not begun" if self._at is None else f"at {self._at.isoformat()} of {self._end}"
        return f"<{type(self).__name__} {self._name}, {where}>"

    @abstractmethod
    async def _bounds(self, start: datetime | None, end: datetime | None) -> tuple[datetime, datetime]:
        """Return the whole range, out to edges."""

    @abstractmethod
    def _floor(self, moment: datetime) -> datetime:
        """Return the last edge at or before a moment."""

    @abstractmethod
    async def _piece(self, at: datetime, end: datetime) -> tuple[datetime, T, bool]:
        """Ask for the piece that begins at `at`: return where it ends, its data, and whether it is empty."""

    def _resumed(self, start: datetime) -> datetime:
        return start if self._until is None else max(start, self._floor(self._until - self._late))

    def _part(self, start: datetime, end: datetime, data: T, empty: bool) -> Chunk[T]:
        now = self._clock.utcnow()
        return Chunk(
            start=start,
            end=end,
            data=data,
            empty=empty,
            overlaps_checkpoint=self._until is not None and start < self._until,
            settled_until=min(end, max(now - self._late, EPOCH)),
            # Of the future nothing has been read, even where VRM answered for it.
            checkpoint={"v": _VERSION, "of": self._name, "until": int(min(end, now).timestamp())},
        )


def _until(checkpoint: HistoryCursor, name: str) -> datetime:
    if not isinstance(checkpoint, Mapping):
        raise TypeError(f"checkpoint must be a mapping, not {type(checkpoint).__name__}")
    until = checkpoint.get("until")
    if checkpoint.get("v") != _VERSION or isinstance(until, bool) or not isinstance(until, int):
        raise ValueError("this is not a checkpoint of a history: it needs v, of and until as they were given")
    if checkpoint.get("of") != name:
        raise ValueError(f"the checkpoint belongs to {checkpoint.get('of')!r}, and this is {name!r}")
    try:
        return datetime.fromtimestamp(until, UTC)
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"the checkpoint's moment is none: {until}") from None
