"""The contract between a source and the stream: what a source implements, and the `Outlet` it is given.

A source needs an `id` and `run`. It may offer more methods, which the stream finds by name; `Identifiable`,
`Resumable`, `Backfillable`, `Restartable` and `Noting` describe them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import NamedTuple, Protocol, TypeAlias

from attrs import frozen

from energy_core.printable import printable_class
from energy_core.stream.vocabulary import Gap, Quantity, SourceId, State, Status

TimeSpan: TypeAlias = tuple[datetime, datetime]
"""Start and end, both aware."""


class Reading(NamedTuple):
    """One measurement of one device, before the stream numbers it and makes it an `Event`.

    Args:
        time: Time of the measurement, aware.
        id: Identifies the reading across runs; holds no values.
        values: Finite numbers by quantity; a missing value is left out.
        raw: The vendor's own mapping.
        backfilled: Whether it was fetched later to fill a gap.
        revision: How often the vendor has changed this past value.
    """

    time: datetime
    id: str
    values: Mapping[Quantity, float]
    raw: Mapping[str, object] = MappingProxyType({})
    backfilled: bool = False
    revision: int = 0


class UnreadableRow(NamedTuple):
    """A record that cannot be read, in its place among the others: seconds beside it stay missing."""


class RecordedQuantities(NamedTuple):
    """The record has no other quantities than these; comes before the readings."""

    quantities: frozenset[Quantity]


class CompleteRange(NamedTuple):
    """No other readings than those before it come from `start` to `end`, both included."""

    start: datetime
    end: datetime
    reason: str = ""
    """Why the rest cannot be had; empty: nothing else is missing."""


HistoryItem: TypeAlias = Reading | UnreadableRow | RecordedQuantities | CompleteRange | Gap
"""What a history consists of: readings, gaps to report as they are, and what is known of the rest."""


@frozen(kw_only=True)
class HistoryConfig:
    """What the history of a source can prove, and how it may be asked."""

    settles_after: float = 1.0
    """Seconds after which a reading is recorded. All readings of a second are recorded together."""
    ordered: bool = True
    """Whether readings come oldest first, so that one proves that nothing is missing before it."""
    longest_s: int = 86_400
    """The longest range of one request, in seconds."""
    oldest_s: int = 86_400
    """What is older than this many seconds is not requested, but reported as a gap (`beyond_cap`)."""
    retries_s: Sequence[float] = (60.0, 300.0, 900.0)
    """Seconds from the first request for a range to each further one."""


class OpenAlarm(NamedTuple):
    """An alarm that was reported as raised and not as cleared yet."""

    id: str
    """As in `AlarmChange.alarm`."""
    text: str
    device: str = ""
    instance: int | None = None


class ReportedAlarm(NamedTuple):
    """One alarm of a site, as its vendor reports it."""

    text: str
    """The vendor's description."""
    id: str = ""
    """The vendor's id, unique within the site; empty if it has none: then its text identifies it."""
    device: str = ""
    """The vendor's name of the device."""
    instance: int | None = None
    """The device instance."""
    started: datetime | None = None
    """When it was raised, aware."""
    cleared: datetime | None = None
    """When it was cleared, aware; None while it is active."""


@printable_class
@frozen(kw_only=True)
class StreamPosition:
    """Where a consumer stopped in one source. Part of a `Checkpoint`."""

    time: datetime
    """Time of the newest delivered reading."""
    seq: int
    """Number of the last delivered event."""
    ids: tuple[str, ...] = ()
    """Ids of readings within the last two seconds before `time`, oldest first: duplicates are expected."""
    quantities: frozenset[Quantity] = frozenset()
    """Quantities delivered with exactly this `time`; the vendor may have more of the same second."""
    seen: frozenset[Quantity] = frozenset()
    """Further quantities that earlier readings held."""
    pending: tuple[TimeSpan, ...] = ()
    """Time spans before `time` that the source still retries to fetch."""
    alarms: tuple[OpenAlarm, ...] = ()
    """Alarms that were delivered as raised and not as cleared."""


class Outlet(ABC):
    """Receives readings, states and gaps from a source. The stream passes one to `Source.run`.

    For tests of a source, subclass it and implement the abstract methods.
    """

    __slots__ = ()

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
        """Deliver one reading of `source`. Never blocks: a full buffer applies its policy.

        A reading that is backfilled, or older than the one before, is dropped as a duplicate if the same id
        and revision were delivered recently. Live readings are never compared with each other.

        Raises:
            TypeError: An argument has the wrong type.
            ValueError: A number is not finite, or the time has no zone.
            StreamClosed: The source has already ended.
        """
        self.readings(source, (Reading(time, id, values, raw, backfilled, revision),))

    @abstractmethod
    def readings(self, source: SourceId, readings: Sequence[Reading]) -> None:
        """Deliver several readings of one source in their order, cheaper than `reading` for each.

        All of them are validated before the first is delivered.

        Raises:
            TypeError: An argument has the wrong type.
            ValueError: A number is not finite, or a time has no zone.
            StreamClosed: The source has already ended.
        """

    def status(
        self, state: State, *, reason: str = "", retry_in: float | None = None, about: SourceId | None = None
    ) -> None:
        """Report the state of the source. Repeating a state updates reason and retry time only.

        The stream itself reports `auth_failed`, `failed` and `closed` when `run` raises or returns.

        Args:
            state: The new state; `TRANSITIONS` has the legal changes.
            reason: Why, for people.
            retry_in: Seconds until the next attempt.
            about: One of several sites of this source. A site is `live` or `stale` by itself and begins as
                live, without an event.

        Raises:
            ValueError: The change of state is not legal.
            StreamClosed: The source has already ended.
        """
        self.set_status(Status(state=state, reason=reason, retry_in=retry_in), about)

    @abstractmethod
    def set_status(self, status: Status, about: SourceId | None) -> None:
        """Implement `status`."""

    def gap(
        self,
        source: SourceId,
        *,
        start: datetime,
        end: datetime,
        reason: str,
        quantities: Collection[Quantity] = (),
    ) -> None:
        """Report a time span that cannot be delivered.

        Args:
            source: The device that lacks it.
            start: Start, aware.
            end: End, aware, not before the start.
            reason: One of the reasons in docs/events.md, or the text of an error.
            quantities: Only these are missing; empty: any may be.

        Raises:
            TypeError: `source` is not a SourceId.
            ValueError: A time has no zone, or the end lies before the start.
            StreamClosed: The source has already ended.
        """
        check_span(source, start, end)
        self.put_gap(source, Gap(start=start, end=end, reason=reason, quantities=tuple(quantities)))

    @abstractmethod
    def put_gap(self, source: SourceId, gap: Gap) -> None:
        """Implement `gap`; the arguments are valid."""

    @abstractmethod
    def pending(self, source: SourceId, spans: Sequence[TimeSpan]) -> None:
        """Set the time spans of a device that the source will retry; replaces those set before.

        They appear in the status, and in checkpoints until their readings are consumed.
        """

    @abstractmethod
    def alarms(self, source: SourceId, reported: Sequence[ReportedAlarm]) -> None:
        """Report all alarms of a site or product; the stream delivers those that were raised or cleared.

        An alarm that is not among them any more was cleared. One that is both raised and cleared since the
        last report is delivered as both.

        Args:
            source: The site or product, with instance 0.
            reported: Every active alarm, and cleared ones where the vendor has a log.

        Raises:
            StreamClosed: The source has already ended.
        """

    @abstractmethod
    async def room(self) -> None:
        """Wait until a buffer has room. Cancelling is safe.

        For pollers and backfills. A socket must not wait: it has to be read to stay alive.
        """


def check_span(source: SourceId, start: datetime, end: datetime) -> None:
    """Validate a time span of a device.

    Raises:
        TypeError: `source` is not a SourceId.
        ValueError: A time has no zone, or the end lies before the start.
    """
    if source.__class__ is not SourceId:
        raise TypeError(f"a gap needs a SourceId: {source!r}")
    if start.utcoffset() is None or end.utcoffset() is None or end < start:
        raise ValueError(f"a gap lies between two aware times: {start!r}, {end!r}")


class Source(Protocol):
    """Anything that delivers readings into an outlet."""

    @property
    def id(self) -> SourceId:
        """Names the source in its status events."""

    async def run(self, outlet: Outlet) -> None:
        """Deliver readings until there are no more. The stream cancels it to stop the source.

        An error ends this source and no other: `AuthError` as auth_failed, any other `EnergyError` as failed,
        anything else as failed with an `InternalError`. Returning, or `ClientClosed`, ends it as closed.
        """


class Identifiable(Source, Protocol):
    """A source that has to ask the vendor for the label of its account.

    Until then the label begins with ``unidentified-``. Its state is in `events.status` only, and its only
    event is the failure that ends it.
    """

    async def identify(self, outlet: Outlet) -> None:
        """Determine the final `id`. Called before `resume` and `run`, which start when it returns.

        Reports transient failures with `outlet.status` and retries them. An error ends the source.
        """


class Resumable(Source, Protocol):
    """A source that can fetch what happened since a consumer stopped.

    For any other source, the time between stop and start is reported as a gap.
    """

    def resume(self, positions: Mapping[SourceId, StreamPosition]) -> None:
        """Note where the consumer stopped in each device. Called once, before `run`.

        `run` then delivers what is missing, oldest first and marked backfilled, before anything live. It
        reports as a gap what it cannot fetch.
        """


class Backfillable(Source, Protocol):
    """A source that can return what was recorded of its devices.

    The stream asks it for what did not fit into the buffer of a slow consumer. For any other source that is
    reported as a gap. A source may have an attribute `history_config`; without it the defaults of
    `HistoryConfig` hold.
    """

    def history(self, source: SourceId, start: datetime, end: datetime) -> AsyncIterator[HistoryItem]:
        """Iterate over the recorded readings of a device from `start` to `end`, both included, oldest first.

        The readings have the ids with which `run` delivered them. Nothing is left out because `run` delivered
        it before: the stream does that. Runs beside `run`, at background priority; cancelling is safe. If the
        iterator ends, or nothing comes for a minute, what it did not prove is requested again.

        Raises:
            RequestError: The request failed. A refusal (`AuthError`, `PermissionDenied`, `NotFound`,
                `BadRequest`) is final, anything else is tried again after 1, 5 and 15 minutes.
            Exception: Any other error; what is missing is then reported as a gap.
        """


class Restartable(Source, Protocol):
    """A source that `events.restart` can restart by its id."""

    def again(self) -> Source:
        """Return a new source with the same id and arguments."""


class Passive(Source, Protocol):
    """A source that only adds to what others deliver: the stream ends without waiting for its end."""

    passive: bool
    """True."""


class Noting(Source, Protocol):
    """A source that counts what it leaves out."""

    @property
    def notes(self) -> Mapping[str, int | str]:
        """Counts of what was left out, and assumptions made; appears as `SourceStatus.notes`."""
