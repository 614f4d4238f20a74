"""The contract between a source and the stream: what a source implements, and the `Outlet` it is given.

A source needs an `id` and `run`. It may offer more methods, which the stream finds by name; `Identifiable`,
`Resumable`, `Backfillable`, `Restartable` and `Noting` describe them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
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
    """A source that can fetch again what did not fit into the buffer of a slow consumer.

    For any other source, what did not fit is reported as a gap.
    """

    async def refill(
        self, outlet: Outlet, source: SourceId, start: datetime, end: datetime
    ) -> Sequence[TimeSpan] | None:
        """Deliver all readings of `source` from `start` to `end`, oldest first, marked backfilled.

        Runs concurrently with `run`, for one consumer. `outlet` drops the readings which that consumer has,
        so nothing is left out because `run` delivered it before. Waits for `outlet.room()` before each
        reading and reports with `outlet.gap` what cannot be fetched.

        Returns:
            Time spans that the vendor's record may have only later; the stream retries them.

        Raises:
            Exception: Any error; the rest of the time span is then reported as a gap.
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
