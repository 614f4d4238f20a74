"""Base of all histories: iteration over chunks, and resuming from a checkpoint."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Generic, Self, TypeAlias, TypeVar

from attrs import field, frozen

from energy_core.clock import Clock
from energy_core.local_days import EPOCH, TimeRange
from energy_core.printable import printable

REREAD: Final = timedelta(days=2)
"""How much is read again before a checkpoint: a gateway without network sends its logs when it is back."""

_VERSION: Final = 1

HistoryCursor: TypeAlias = Mapping[str, str | int]
"""The position of a history: a small plain mapping that JSON can hold. Made by `Chunk.checkpoint`."""

T = TypeVar("T")


@frozen(kw_only=True)
class Chunk(Generic[T]):
    """Part of a history. Chunks follow each other in order of time, without overlap and without gap."""

    start: datetime
    """Aware, UTC: the first moment of the chunk."""
    end: datetime
    """Aware, UTC: the first moment after the chunk."""
    data: T
    """VRM's data from `start` to before `end`."""
    empty: bool = False
    """Whether VRM has no data here. A request that was too large never makes a chunk empty."""
    overlaps_checkpoint: bool = False
    """Whether the chunk begins before the checkpoint, so that some of it may have been delivered before."""
    settled_until: datetime
    """Aware, UTC: data after this moment may still change, because devices deliver late."""
    checkpoint: HistoryCursor = field(repr=False)
    """Where to resume after this chunk. Store it once the chunk is stored."""


class History(ABC, Generic[T]):
    """An async iterator over chunks: one request each (a few at clock changes), one chunk in memory.

    ``await`` reads all chunks that are left and returns their data as one value, which is all in memory.

    Cancelling is safe: a step that fails or is cancelled is repeated by the next one. Several tasks may share
    an iterator; each chunk goes to one of them.
    """

    def __init__(
        self,
        name: str,
        *,
        time_range: TimeRange,
        reread: timedelta,
        checkpoint: HistoryCursor | None,
        clock: Clock,
    ) -> None:
        if reread < timedelta():
            raise ValueError(f"reread must not be negative: {reread}")
        self._name = name
        self._range = time_range
        self._reread = reread
        self._resume_from = None if checkpoint is None else _time_of(checkpoint, name)
        self._checkpoint = checkpoint
        self._clock = clock
        self._at: datetime | None = None
        self._end: datetime | None = None
        self._lock = asyncio.Lock()
        self._parts: list[T] = []
        """Data that was read by an ``await`` that did not end."""
        self._awaited = False

    @property
    def checkpoint(self) -> HistoryCursor | None:
        """Where to resume after the last chunk that was returned; at first the checkpoint that was given."""
        return self._checkpoint

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Chunk[T]:
        async with self._lock:  # tasks that share the iterator take turns
            if self._at is None or self._end is None:
                start, self._end = await self._bounds()
                self._at = self._resumed(start)
            if self._at >= self._end:
                raise StopAsyncIteration
            chunk = self._chunk(self._at, *await self._read(self._at, self._end))
            # Only now: a step that was cancelled above reads the same chunk again.
            self._at, self._checkpoint = chunk.end, chunk.checkpoint
            return chunk

    def __await__(self) -> Generator[object, None, T]:
        return self._rest().__await__()

    async def _rest(self) -> T:
        if self._awaited:
            raise RuntimeError("this history was read already: call the method again to read it again")
        # Chunks stay in `_parts` until the end, so that cancelling loses none.
        async for chunk in self:
            self._parts.append(chunk.data)
        self._awaited = True
        parts, self._parts = self._parts, []
        return self._join(parts)

    def put_back(self, data: T) -> None:
        """Add data of a chunk that was returned and not used to what ``await`` returns."""
        self._parts.append(data)

    @printable
    def __repr__(self) -> str:
        state = "not started" if self._at is None else f"at {self._at.isoformat()} of {self._end}"
        return f"<{type(self).__name__} {self._name}, {state}>"

    @abstractmethod
    def _join(self, parts: Sequence[T]) -> T:
        """Return the data of consecutive chunks as one value."""

    @abstractmethod
    async def _bounds(self) -> tuple[datetime, datetime]:
        """Return the whole range, widened to edges of chunks."""

    @abstractmethod
    def _floor(self, moment: datetime) -> datetime:
        """Return the last edge at or before a moment."""

    @abstractmethod
    async def _read(self, at: datetime, end: datetime) -> tuple[datetime, T, bool]:
        """Read the chunk that begins at `at`: return its end, its data, and whether it is empty."""

    def _resumed(self, start: datetime) -> datetime:
        if self._resume_from is None:
            return start
        return max(start, self._floor(self._resume_from - self._reread))

    def _chunk(self, start: datetime, end: datetime, data: T, empty: bool) -> Chunk[T]:
        now = self._clock.utcnow()
        return Chunk(
            start=start,
            end=end,
            data=data,
            empty=empty,
            overlaps_checkpoint=self._resume_from is not None and start < self._resume_from,
            settled_until=min(end, max(now - self._reread, EPOCH)),
            # A chunk may end in the future; a later run has to read from now on.
            checkpoint={"v": _VERSION, "of": self._name, "until": int(min(end, now).timestamp())},
        )


def _time_of(checkpoint: HistoryCursor, name: str) -> datetime:
    """Return the moment of a checkpoint.

    Raises:
        TypeError: it is not a mapping.
        ValueError: it was not made by a history, or by one with other arguments.
    """
    if not isinstance(checkpoint, Mapping):
        raise TypeError(f"checkpoint must be a mapping, not {type(checkpoint).__name__}")
    until = checkpoint.get("until")
    if checkpoint.get("v") != _VERSION or isinstance(until, bool) or not isinstance(until, int):
        raise ValueError("checkpoint is not one of a history: it needs the members v, of and until unchanged")
    if checkpoint.get("of") != name:
        raise ValueError(f"the checkpoint is of {checkpoint.get('of')!r}, and this history is {name!r}")
    try:
        return datetime.fromtimestamp(until, UTC)
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"checkpoint has no valid time: until is {until}") from None
