"""The event: one vocabulary for what a home does, and what a source is.

`Quantity` has the table of units and signs; docs/events.md has the JSON form.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Protocol, Self

from attrs import frozen

from energy_core.codec.lazy_value import resolve
from energy_core.printable import printable_class
from energy_core.stream.event_json import JSON_VERSION, EventMembers, detail_members, dumps
from energy_core.stream.vocabulary import Detail, Dropped, Gap, Kind, Quantity, SourceId, State, Status

__all__ = [
    "JSON_VERSION",
    "Backfillable",
    "Detail",
    "Dropped",
    "Event",
    "Gap",
    "Identifiable",
    "Kind",
    "Noting",
    "Outlet",
    "Quantity",
    "Reading",
    "Restartable",
    "Resumable",
    "Source",
    "SourceId",
    "State",
    "Status",
    "StreamPosition",
]


_NOTHING: Final[Mapping[Any, Any]] = MappingProxyType({})

_RAW: Final = 8
"""The place of `raw` among the fields."""


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
        kind: reading, status, gap or dropped.
        key: Identifies the events that replace each other on a display: source and kind.
        time: Time of the measurement by the device's or the vendor's clock, aware.
        received_at: Time of arrival by this machine's clock, aware.
        seq: Counts events of one source, strictly +1. Numbers are given before any buffer, so a dropped
            reading shows as a jump.
        id: Identifies the reading across runs. Holds no values, so that duplicates can be recognised.
        values: Measured values by quantity; `Quantity` gives units and signs. Empty for other kinds.
        raw: The vendor's own mapping, unchanged. Parsed at first access. Empty for other kinds.
        detail: A `Status`, `Gap` or `Dropped`; None for readings.
        backfilled: Whether it was fetched later to fill a gap.
        late: Whether it is older than an event of the same source that was already delivered.
        revision: How often the vendor has changed this past value.
    """

    __slots__ = ()

    @property
    def raw(self) -> Mapping[str, object]:
        """The vendor's own mapping, parsed at first access."""
        return resolve(self[_RAW])

    def to_json(self) -> str:
        """Return one line of JSON, `"v": 1` first; `docs/events.md` describes it."""
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

    @classmethod
    def from_json(cls, line: str | bytes) -> Self:
        """Return the event that `to_json` wrote: equal to the one it was called on.

        Raises:
            DecodeError: the line is not JSON (`kind="json"`), not an event (`"shape"`), or from a newer
                version (`"version"`).
        """
        said = EventMembers.of_line(line)
        kind = said.kind()
        return cls(
            source=said.source(),
            kind=kind,
            key=said.text("key"),
            time=said.moment("time"),
            received_at=said.moment("received_at"),
            seq=said.whole("seq"),
            id=said.text("id"),
            values=said.values(),
            raw=said.mapping("raw"),
            detail=said.detail(kind),
            backfilled=said.flag("backfilled"),
            late=said.flag("late"),
            revision=said.whole("revision"),
        )

    def __hash__(self) -> int:
        return hash((self.source, self.seq, self.id))

    def __getnewargs__(self) -> tuple[object, ...]:
        """Return picklable arguments for the constructor; `copy` and `pickle` call this."""
        return tuple(self._replace(values=dict(self.values), raw=dict(self.raw)))

    def __repr__(self) -> str:
        held = [f"{name}={value!r}" for name, value in self.values.items()] or [repr(self.detail)]
        marks = [mark for mark in ("backfilled", "late") if getattr(self, mark)]
        about = f"{self.kind} {self.seq} of {self.source} at {self.time.isoformat()}"
        return f"<Event {' '.join([about, *marks, *held])}>"


@printable_class
@frozen(kw_only=True)
class StreamPosition:
    """Where a consumer stopped in one source."""

    time: datetime
    """The newest moment that was delivered."""
    seq: int
    """The last number that was delivered."""
    ids: tuple[str, ...] = ()
    """Ids of the readings within the last two seconds before `time`, oldest first: these may come again."""
    quantities: frozenset[Quantity] = frozenset()
    """What the readings of the very moment `time` held: there may be more of it to tell."""
    seen: frozenset[Quantity] = frozenset()
    """What earlier readings held beside that."""
    pending: tuple[tuple[datetime, datetime], ...] = ()
    """Stretches before `time` that were still to be asked for again."""


class Reading(NamedTuple):
    """What a source says of one moment, not numbered yet; `Event` describes the fields."""

    time: datetime
    id: str
    values: Mapping[Quantity, float]
    raw: Mapping[str, object] = MappingProxyType({})
    backfilled: bool = False
    revision: int = 0


class Outlet(Protocol):
    """Where a source puts what it has; handed to `Source.run` by the merged stream."""

    def reading(
        self,
        source: SourceId,
        *,
        time: datetime,
        id: str,  # noqa: A002  (the event's own word)
        values: Mapping[Quantity, float],
        raw: Mapping[str, object],
        backfilled: bool = False,
        revision: int = 0,
    ) -> None:
        """Hand over one reading. Never blocks: a full buffer acts by its policy and announces it.

        A reading that is backfilled, or older than one before it, is left out where one of the same id and
        revision was delivered lately. Live readings are never compared with each other.
        """

    def readings(self, source: SourceId, readings: Sequence[Reading]) -> None:
        """Hand over what came together, in its order: as `reading` for each, and cheaper.

        All are looked at before the first is taken.
        """

    def status(
        self, state: State, *, reason: str = "", retry_in: float | None = None, about: SourceId | None = None
    ) -> None:
        """Announce how the source is doing, as `TRANSITIONS` allows; the stream itself announces its end.

        Args:
            state: Its state.
            reason: Why.
            retry_in: Seconds until it tries again.
            about: One of several sites of the source, each of which is `live` or `stale` by itself. It begins
                as live, without an event.
        """

    def gap(
        self,
        source: SourceId,
        *,
        start: datetime,
        end: datetime,
        reason: str,
        quantities: Collection[Quantity] = (),
    ) -> None:
        """Report a stretch of time that cannot be delivered, or only these quantities of it."""

    def pending(self, source: SourceId, stretches: Sequence[tuple[datetime, datetime]]) -> None:
        """Say which stretches of a source will be asked for again: these, and no others.

        They are in the status, and in checkpoints until what they brought was consumed.
        """

    async def room(self) -> None:
        """Wait until a buffer has room. For pollers and backfills, which may wait; never for a socket."""


class Source(Protocol):
    """Anything that can put events into an outlet.

    A source may offer more, and the stream looks for it by the method's name: see `Identifiable`,
    `Resumable`, `Backfillable`, `Restartable` and `Noting`.
    """

    @property
    def id(self) -> SourceId:
        """Names the source in its status events."""

    async def run(self, outlet: Outlet) -> None:
        """Put events until there are no more; an error raised here ends this source and no other.

        Returning ends it as closed, and so does a client that was closed meanwhile. Raising `AuthError` ends
        it as auth_failed, any other `EnergyError` as failed; anything else is a fault in the source's own
        code and is reported as `InternalError`.
        """


class Identifiable(Source, Protocol):
    """A source whose id is final only after it has asked whose account it is.

    Until then the account's label begins with ``unidentified-``, its state is in `events.status` alone, and
    no event of it is delivered but the failure that ends it.
    """

    async def identify(self, outlet: Outlet) -> None:
        """Find out what `id` is; called before `resume` and `run`, which begin when this returns.

        Trouble on the way is announced with `outlet.status` and waited out; an error ends the source.
        """


class Resumable(Source, Protocol):
    """A source that can fetch what happened since a consumer stopped.

    Of a source that cannot, the stretch between the stop and the start is reported as a gap.
    """

    def resume(self, positions: Mapping[SourceId, StreamPosition]) -> None:
        """Presume a hole from each position on; called once, before `run`.

        `run` then brings what is missing, oldest first and marked backfilled, before anything live, and
        reports as a gap what it cannot bring.
        """


class Backfillable(Source, Protocol):
    """A source that can fetch again what a slow consumer had no room for.

    Of a source that cannot, what did not fit is reported as a gap.
    """

    async def refill(self, outlet: Outlet, source: SourceId, start: datetime, end: datetime) -> None:
        """Put all readings of `source` from `start` to `end` into `outlet`, oldest first, marked backfilled.

        Runs beside `run`, perhaps for one of several consumers, so it puts readings whether or not they were
        handed over before: `outlet` is another than that of `run`, and leaves out what its consumer has. It
        waits for `outlet.room()` before each reading, reports as `outlet.gap` what it cannot bring, and may
        raise any error, upon which the rest is reported as a gap.
        """


class Restartable(Source, Protocol):
    """A source that can be restarted by its id alone."""

    def again(self) -> Source:
        """Return a fresh source with the same id and the same arguments."""


class Noting(Source, Protocol):
    """A source that counts what it leaves out."""

    @property
    def notes(self) -> Mapping[str, int | str]:
        """What it left out, counted, and what it assumes; shown in `SourceStatus.notes`."""


def shared_events(like: Sequence[Event | None], first: int, last: int) -> list[Event] | None:
    """Return the events of another line if all are there, in time, and have these numbers."""
    events = [event for event in like if event is not None and not event.late]
    if len(events) < len(like) or (events[0].seq, events[-1].seq) != (first, last):
        return None
    return events


def to_events(  # noqa: PLR0917  (called for every reading: keywords cost time)
    key: str, source: SourceId, readings: Sequence[Reading], seq: int, received_at: datetime, late: bool
) -> list[Event]:
    """Return an event for each reading, numbered from `seq` on."""
    events: list[Event] = []
    new, kind = tuple.__new__, Kind.READING
    for time, id, values, raw, backfilled, revision in readings:  # noqa: A001  (the event's own word)
        head = (source, kind, key, time, received_at, seq, id, values, raw)
        events.append(new(Event, (*head, None, backfilled, late, revision)))  # half the constructor's cost
        seq += 1
    return events
