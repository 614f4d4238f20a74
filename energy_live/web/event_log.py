"""The relay's memory: the newest events in a bounded log, and readers that each have a position in it.

Every event is encoded once for all clients. A reader that falls behind loses the oldest readings, by the rule
of its policy, and gets one `dropped` event for each source before the next event.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final, Literal, get_args

from attrs import define, field, frozen

from energy_core import Dropped, Event, Gap, Kind, Quantity, SourceId
from energy_core.clock import Clock, SystemClock
from energy_core.printable import printable
from energy_live.display.output import json_line

Policy = Literal["block", "drop_oldest", "coalesce_latest", "raise"]
POLICIES: Final = get_args(Policy)

DEFAULT_CAPACITY: Final = 10_000
"""Events in the log: eight minutes of 20 a second, or three hours of one a second."""
_WINDOW: Final = 1024
"""Events that a reader may be behind under `drop_oldest` and `raise`."""
_BLOCK_EVENTS: Final = 256
_MAX_BLOCKS: Final = 64
"""Summaries of removed events; when there are more, the two oldest become one."""


class SlowReader(Exception):
    """A reader of the policy `raise` is too far behind."""


@define
class Loss:
    """Events of one source that a reader does not get."""

    first: int
    last: int
    """Numbers (`seq`) of the first and the last of them."""
    count: int
    start: datetime
    end: datetime
    """The range of their times; that of a gap event is the gap's."""

    def add(self, other: Loss) -> None:
        """Include another loss of the same source."""
        self.first, self.last = min(self.first, other.first), max(self.last, other.last)
        self.start, self.end = min(self.start, other.start), max(self.end, other.end)
        self.count += other.count

    def copy(self) -> Loss:
        """Return an independent copy."""
        return Loss(self.first, self.last, self.count, self.start, self.end)


Losses = dict[SourceId, Loss]


def _loss_of(event: Event) -> Loss:
    span = event.detail if isinstance(event.detail, Gap) else None
    start, end = (event.time, event.time) if span is None else (span.start, span.end)
    return Loss(event.seq, event.seq, 1, start, end)


def _add_loss(losses: Losses, source: SourceId, loss: Loss) -> None:
    known = losses.get(source)
    if known is None:
        losses[source] = loss.copy()
    else:
        known.add(loss)


class LogEntry:
    """One event of the log and its lines of JSON, which are made when the first reader needs them."""

    __slots__ = ("_full", "_slim", "event", "index")

    def __init__(self, index: int, event: Event) -> None:
        self.index = index
        self.event = event
        self._full = self._slim = b""

    def line(self, boot: str, *, raw: bool) -> bytes:
        """Return the event's JSON with a member `cursor`; `raw` keeps the vendor's record."""
        if raw:
            self._full = self._full or with_cursor(json_line(self.event), boot, self.index + 1)
            return self._full
        self._slim = self._slim or with_cursor(json_line(self.event._replace(raw={})), boot, self.index + 1)
        return self._slim


def with_cursor(line: bytes, boot: str, position: int) -> bytes:
    """Return one JSON object with a further member `cursor`: where a client continues that has it."""
    return b'%s,"cursor":"%s-%d"}' % (line.rstrip()[:-1], boot.encode(), position)


@frozen(kw_only=True)
class EventSelection:
    """Which events a reader gets, and in which form."""

    sources: tuple[tuple[str, ...], ...] = ()
    """Leading parts of source ids, such as ("vrm", "*", "151734"); empty: all sources."""
    quantities: frozenset[Quantity] = frozenset()
    """Readings contain these values only, and readings without any are left out; empty: all."""
    raw: bool = True
    """Whether readings contain the vendor's record."""

    def has_source(self, source: SourceId) -> bool:
        """Return whether the source is selected."""
        return not self.sources or any(
            all(part in {"*", str(own)} for part, own in zip(parts, source, strict=False))
            for parts in self.sources
        )

    def has(self, event: Event) -> bool:
        """Return whether the event is selected."""
        if event.kind is Kind.READING and self.quantities and self.quantities.isdisjoint(event.values):
            return False
        return self.has_source(event.source)

    def line(self, entry: LogEntry, boot: str) -> bytes:
        """Return the line of a selected event."""
        if not self.quantities or entry.event.kind is not Kind.READING:
            return entry.line(boot, raw=self.raw)
        event = entry.event
        values = {name: value for name, value in event.values.items() if name in self.quantities}
        changed = event._replace(values=values, raw=event.raw if self.raw else {})
        return with_cursor(json_line(changed), boot, entry.index + 1)


EVERYTHING: Final = EventSelection()


@frozen
class _Removed:
    """What a run of removed events contained."""

    last: int
    losses: Losses


class EventLog:
    """The newest events of a stream, numbered from 0, for any number of readers.

    Args:
        boot: Identifies this log; cursors of another one are recognised by it. Letters and digits.
        capacity: Events to keep.
        clock: Source of time.
    """

    def __init__(self, boot: str, *, capacity: int = DEFAULT_CAPACITY, clock: Clock | None = None) -> None:
        if capacity < 1:
            raise ValueError(f"the log must keep at least one event, not {capacity}")
        self.boot = boot
        self.clock = clock or SystemClock()
        self.capacity = capacity
        self.head = 0
        """Number of the next event."""
        self.dropped = 0
        """Events that readers have lost because they were slow."""
        self.ended = False
        """Whether no more events come."""
        self.entries: deque[LogEntry] = deque()
        self._removed: deque[_Removed] = deque()
        self._removing: Losses = {}
        self._readers: set[Reader] = set()
        self._slowest = 0  # no reader is behind this position
        self._waiting: list[asyncio.Future[None]] = []

    @property
    def first(self) -> int:
        """Number of the oldest event that is kept."""
        return self.head - len(self.entries)

    @property
    def cursor(self) -> str:
        """The cursor behind the newest event."""
        return f"{self.boot}-{self.head}"

    def append(self, events: Iterable[Event]) -> None:
        """Add events and wake the readers."""
        for event in events:
            self.entries.append(LogEntry(self.head, event))
            self.head += 1
            if len(self.entries) > self.capacity:
                self._remove_oldest()
        self.wake()

    def end(self) -> None:
        """Let every reader finish with what is kept."""
        self.ended = True
        self.wake()

    def position(self, cursor: str | datetime | None) -> tuple[int, bool]:
        """Return where a reader continues, and whether that follows its cursor without a missing event.

        Args:
            cursor: That of the last event it has; an aware time: all events that arrived or were measured
                from then on; None: new events only.
        """
        if cursor is None:
            return self.head, True
        if isinstance(cursor, datetime):
            after = next((each.index for each in self.entries if _is_from(each.event, cursor)), self.head)
            return after, after > self.first
        boot, _, number = cursor.rpartition("-")
        if boot != self.boot or not number.isascii() or not number.isdigit() or len(number) > 18:
            return self.first, False
        wanted = int(number)
        if wanted > self.head:
            return self.first, False
        return max(wanted, self.first), wanted >= self.first

    def removed_since(self, index: int) -> Losses:
        """Return what the log no longer has of the events from `index` on; it may report more, never less."""
        found: Losses = {}
        for removed in self._removed:
            if removed.last >= index:
                for source, loss in removed.losses.items():
                    _add_loss(found, source, loss)
        if self.first > index:
            for source, loss in self._removing.items():
                _add_loss(found, source, loss)
        return found

    def open(self, reader: Reader) -> None:
        """Register a reader."""
        self._readers.add(reader)
        self._slowest = min(self._slowest, reader.next)

    def close(self, reader: Reader) -> None:
        """Forget a reader."""
        self._readers.discard(reader)

    async def wait(self, index: int) -> None:
        """Wait until there is an event `index`, the log has ended, or `wake`. Cancelling is safe."""
        if self.head > index or self.ended:
            return
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        await waiting

    def from_index(self, index: int) -> Iterator[LogEntry]:
        """Yield the kept entries from `index` on."""
        behind = self.head - max(index, self.first)
        # A deque is fast at both ends only, and readers are near the newest.
        for place in range(-behind, 0):
            yield self.entries[place]

    def _remove_oldest(self) -> None:
        entry = self.entries.popleft()
        if entry.event.kind in {Kind.READING, Kind.GAP, Kind.DROPPED}:
            _add_loss(self._removing, entry.event.source, _loss_of(entry.event))
        if entry.index % _BLOCK_EVENTS == _BLOCK_EVENTS - 1:
            self._removed.append(_Removed(entry.index, self._removing))
            self._removing = {}
            if len(self._removed) > _MAX_BLOCKS:
                oldest, second = self._removed.popleft(), self._removed.popleft()
                for source, loss in oldest.losses.items():
                    _add_loss(second.losses, source, loss)
                self._removed.appendleft(second)
        if self._readers and self._slowest <= entry.index:
            for reader in self._readers:
                if reader.next <= entry.index:
                    reader.skip(entry)
            self._slowest = min(reader.next for reader in self._readers)

    def wake(self) -> None:
        """Let every waiting reader look again."""
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            if not each.done():
                each.set_result(None)

    @printable
    def __repr__(self) -> str:
        return f"<EventLog {self.first}..{self.head}, {len(self._readers)} readers>"


def _is_from(event: Event, time: datetime) -> bool:
    return event.received_at >= time or event.time >= time


@define(eq=False)
class Reader:
    """One client's position in the log."""

    log: EventLog
    selection: EventSelection = EVERYTHING
    policy: Policy = "block"
    next: int = 0
    """Number of the next event to read."""
    _lost: Losses = field(factory=dict, init=False)
    _kept: list[LogEntry] = field(factory=list, init=False)

    def skip(self, entry: LogEntry) -> None:
        """Move past an event that the log is about to remove, or that the policy drops."""
        self.next = entry.index + 1
        event = entry.event
        if not self.selection.has(event):
            return
        if event.kind is Kind.READING:
            self.lose(event.source, _loss_of(event))
        else:  # never dropped: there are few, and all readers share them
            self._kept.append(entry)

    def lose(self, source: SourceId, loss: Loss) -> None:
        """Report a loss before the next event."""
        if self.selection.has_source(source):
            self.log.dropped += loss.count
            _add_loss(self._lost, source, loss)

    def take(self, max_bytes: int = 32 * 1024) -> list[tuple[str, bytes]]:
        """Return the next events as (cursor, line), about `max_bytes` at most; empty if there is none.

        Raises:
            SlowReader: Under the policy `raise`, more than 1,024 events are pending.
        """
        behind = self.log.head - self.next
        if behind > _WINDOW and self.policy == "raise":
            raise SlowReader(f"{behind} events are pending")
        if behind > _WINDOW and self.policy == "drop_oldest":
            for entry in list(self.log.from_index(self.next))[: behind - _WINDOW]:
                self.skip(entry)
        pending: Sequence[LogEntry] | Iterator[LogEntry] = self.log.from_index(self.next)
        begin = self.next
        if self.policy == "coalesce_latest" and behind > 1:
            pending = self._coalesced(tuple(pending))
        lines, size = self._reports(begin), 0
        for entry in pending:
            self.next = entry.index + 1
            if self.selection.has(entry.event):
                line = self.selection.line(entry, self.log.boot)
                lines.append((f"{self.log.boot}-{entry.index + 1}", line))
                size += len(line)
                if size >= max_bytes and self.policy != "coalesce_latest":
                    break
        return lines

    def _coalesced(self, entries: Sequence[LogEntry]) -> Sequence[LogEntry]:
        """Return the entries without readings that a newer one of the same key replaces."""
        newest = {entry.event.key: entry.index for entry in entries if entry.event.kind is Kind.READING}
        left: list[LogEntry] = []
        for entry in entries:
            if entry.event.kind is Kind.READING and newest[entry.event.key] != entry.index:
                self.skip(entry)
            else:
                left.append(entry)
        return left

    def _reports(self, before: int) -> list[tuple[str, bytes]]:
        """Return a `dropped` event for each source with a loss, and the other events that were skipped."""
        if not self._lost and not self._kept:
            return []
        boot = self.log.boot
        lines = [
            (f"{boot}-{before}", with_cursor(dropped_line(source, loss, self.log.clock), boot, before))
            for source, loss in self._lost.items()
        ]
        lines += [(f"{boot}-{each.index + 1}", self.selection.line(each, boot)) for each in self._kept]
        self._lost, self._kept = {}, []
        return lines


def dropped_line(source: SourceId, loss: Loss, clock: Clock) -> bytes:
    """Return a `dropped` event; its detail also has the range of times, as `from` and `to`."""
    now = clock.utcnow()
    detail = Dropped(first=loss.first, last=loss.last, count=loss.count)
    name = f"{Kind.DROPPED}:{loss.last}"
    event = Event(source, Kind.DROPPED, f"{source}/dropped", now, now, loss.last, name, detail=detail)
    members = json.loads(json_line(event))
    # One microsecond more: the end of a gap does not belong to it.
    end = loss.end + timedelta(microseconds=1)
    members["detail"] |= {"from": loss.start.isoformat(), "to": end.isoformat()}
    return json.dumps(members, separators=(",", ":"), ensure_ascii=False).encode(errors="backslashreplace")
