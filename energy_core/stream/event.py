"""`Event`: what a merged stream delivers. docs/events.md describes its JSON form."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Self

from energy_core.codec.lazy_value import resolve
from energy_core.stream.event_json import EventMembers, detail_members, dumps
from energy_core.stream.vocabulary import Detail, Kind, Quantity, SourceId

_NOTHING: Final[Mapping[Any, Any]] = MappingProxyType({})

_RAW: Final = 8
"""The place of `raw` among the fields."""


# A tuple is immutable, and made in half the time of a frozen attrs object: a stream makes one per reading.
class _Fields(NamedTuple):
    source: SourceId
    kind: Kind
    key: str
    time: datetime
    received_at: datetime
    seq: int
    id: str
    values: Mapping[Quantity, float] = _NOTHING
    raw: Mapping[str, object] = _NOTHING
    detail: Detail | None = None
    backfilled: bool = False
    late: bool = False
    revision: int = 0


class Event(_Fields):
    """One message, or one polled moment of one device. Immutable; use the fields by name.

    `event._replace(late=True)` returns a changed copy. Events are equal if all fields are.

    Args:
        source: The device it is about: vendor, account, site or product, instance.
        kind: reading, status, gap, dropped or alarm.
        key: Identifies the events that replace each other on a display: source and kind, and which alarm.
        time: Time of the measurement by the device's or the vendor's clock, aware.
        received_at: Time of arrival by this machine's clock, aware.
        seq: Counts events of one source, strictly +1. Numbers are given before any buffer, so a dropped
            reading shows as a jump.
        id: Identifies the reading across runs. Holds no values, so that duplicates can be recognised.
        values: Measured values by quantity; `Quantity` gives units and signs. Empty for other kinds.
        raw: The vendor's own mapping, unchanged. Parsed at first access. Empty for other kinds.
        detail: A `Status`, `Gap`, `Dropped` or `AlarmChange`; None for readings.
        backfilled: Whether it was fetched later to fill a gap.
        late: Whether it is older than an event of the same source that was already delivered.
        revision: How often the vendor has changed this past value.
    """

    __slots__ = ()

    @property
    def raw(self) -> Mapping[str, object]:
        """The vendor's own mapping, parsed at first access."""
        # Sources store a `LazyMapping` here, because most consumers never use `raw`.
        return resolve(self[_RAW])

    def to_json(self) -> str:
        """Return one line of JSON; docs/events.md describes its members.

        Raises:
            ValueError: A number is not finite.
            TypeError: `raw` holds a value that has no JSON form.
        """
        return dumps(
            {
                "source": list(self.source),
                "kind": self.kind,
                "key": self.key,
                "time": self.time.isoformat(),
                "received_at": self.received_at.isoformat(),
                "seq": self.seq,
                "id": self.id,
                "values": dict(self.values),
                "raw": self.raw,
                "detail": detail_members(self.detail),
                "backfilled": self.backfilled,
                "late": self.late,
                "revision": self.revision,
            }
        )

    def rows(self) -> list[tuple[datetime, str, str, float, str, str, int]]:
        """Return the values as flat rows for a database: one for each quantity, none for other kinds.

        A row is (time, source, quantity, value, unit, id, revision): an aware datetime, plain texts, a float
        and an int. ``id`` and ``quantity`` identify a value across runs and sources; a higher ``revision``
        replaces a lower one.
        """
        source = str(self.source)
        return [
            (self.time, source, each.value, float(value), each.unit, self.id, self.revision)
            for each, value in self.values.items()
        ]

    @classmethod
    def from_json(cls, line: str | bytes) -> Self:
        """Return the event that `to_json` wrote, equal to the original.

        Args:
            line: One JSON object.

        Raises:
            DecodeError: The line is not JSON (`kind="json"`), not an event (`"shape"`), or of another version
                (`"version"`).
        """
        members = EventMembers.of_line(line)
        kind = members.kind()
        return cls(
            source=members.source(),
            kind=kind,
            key=members.text("key"),
            time=members.time("time"),
            received_at=members.time("received_at"),
            seq=members.whole("seq"),
            id=members.text("id"),
            values=members.values(),
            raw=members.mapping("raw"),
            detail=members.detail(kind),
            backfilled=members.flag("backfilled"),
            late=members.flag("late"),
            revision=members.whole("revision"),
        )

    def __hash__(self) -> int:
        # Of some fields only: the mappings are not hashable. Equal events have equal hashes all the same.
        return hash((self.source, self.seq, self.id))

    def __getnewargs__(self) -> tuple[object, ...]:
        """Return picklable arguments for the constructor; `copy` and `pickle` call this."""
        # A `LazyMapping` refers to its parser, which cannot be pickled.
        return tuple(self._replace(values=dict(self.values), raw=dict(self.raw)))

    def __repr__(self) -> str:
        held = [f"{name}={value!r}" for name, value in self.values.items()] or [repr(self.detail)]
        marks = [mark for mark in ("backfilled", "late") if getattr(self, mark)]
        about = f"{self.kind} {self.seq} of {self.source} at {self.time.isoformat()}"
        return f"<Event {' '.join([about, *marks, *held])}>"

    def _repr_html_(self) -> str:
        """Return a small table, which notebooks display: time, values with their units, or the detail."""
        from energy_core.tables.html import record_html, text  # noqa: PLC0415  (imported when it is used)

        about = [("source", str(self.source)), ("time", self.time)]
        values = [(f"{name}", f"{text(value)} {name.unit}") for name, value in self.values.items()]
        detail = [] if self.detail is None else [("detail", self.detail)]
        marks = [(mark, True) for mark in ("backfilled", "late") if getattr(self, mark)]
        return record_html(f"Event: {self.kind} {self.seq}", [*about, *values, *detail, *marks])
