"""What a source may hand over: the right types, finite numbers, aware times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from math import isfinite
from typing import Final

from energy_core.clock import AHEAD_S, Clock, VendorClock
from energy_core.codec.lazy_value import LazyMapping
from energy_core.stream.event import Reading
from energy_core.stream.vocabulary import Quantity, SourceId

FROM_THE_FUTURE: Final = "from_the_future"
"""The reason of a gap for readings that were set aside because their time had not come."""

EPISODE_S: Final = 600.0
"""After so long without such a reading, the next one is reported again."""

_AHEAD: Final = timedelta(days=1)
_TOLERATED: Final = timedelta(seconds=AHEAD_S)
_NEVER_SET: Final = datetime(2025, 1, 1, tzinfo=UTC)
_NO_HORIZON: Final = datetime.max.replace(tzinfo=UTC)
_BEFORE_ALL: Final = datetime.min.replace(tzinfo=UTC)


def latest_allowed(now: datetime) -> datetime:
    """Return the latest time that a reading may have; a clock of ours that was never set knows of none."""
    return now + _AHEAD if now > _NEVER_SET else _NO_HORIZON


class Horizon:
    """Decides which times lie in the future, by the vendor's own clock where that is known.

    Without it, by ours: that may be wrong itself, so only what is more than a day ahead is.

    Args:
        clock: Our own time.
        vendor_clock: The vendor's.
    """

    __slots__ = ("_clock", "_episodes", "_vendor_clock", "latest")

    def __init__(self, clock: Clock, vendor_clock: VendorClock | None = None) -> None:
        self.latest = _BEFORE_ALL
        """The latest time a reading may have, as of when `is_ahead` was asked last."""
        self._clock = clock
        self._vendor_clock = vendor_clock
        self._episodes: dict[SourceId | None, float] | None = None  # seldom are there any

    def now(self) -> datetime:
        """Return the vendor's present moment, ours where that is not known."""
        told = None if self._vendor_clock is None else self._vendor_clock.now()
        return told or self._clock.utcnow()

    def is_ahead(self, time: datetime) -> bool:
        """Tell whether a time has not come yet."""
        if time <= self.latest:
            return False
        told = None if self._vendor_clock is None else self._vendor_clock.now()
        self.latest = latest_allowed(self._clock.utcnow()) if told is None else told + _TOLERATED
        return time > self.latest

    def begins(self, source: SourceId | None = None) -> bool:
        """Note that a reading of a source was set aside; tell whether it is the first of an episode."""
        now, episodes = self._clock.monotonic(), self._episodes or {}
        last, self._episodes = episodes.get(source), {**episodes, source: now}
        return last is None or now - last > EPISODE_S


class ReadingValidator:
    """Refuses a reading that would do harm further on, where nobody could tell whose it was."""

    __slots__ = ("_sizes",)

    def __init__(self) -> None:
        self._sizes = 0  # a bit for each number of quantities that was seen

    def admit(self, source: SourceId, readings: Sequence[Reading]) -> tuple[bool, datetime]:
        """Let readings in; tell whether they are live, each newer than the one before, and the latest time.

        Every number is looked at. Quantities are, when a reading has as many as none before: a source
        mistakes a quantity in its code and not now and then.

        Raises:
            TypeError: a source, id, mapping or quantity is none.
            ValueError: a number is not finite, or the time has no zone.
        """
        if source.__class__ is not SourceId:
            raise TypeError(f"a reading needs a SourceId: {source!r}")
        live, newest = True, _BEFORE_ALL
        for time, id, values, raw, backfilled, revision in readings:  # noqa: A001  (the event's own word)
            known = (
                raw.__class__ is dict or raw.__class__ is LazyMapping
            )  # asking an abstract class takes a while
            if id.__class__ is not str or not (known or isinstance(raw, Mapping)):
                raise TypeError(f"a reading of {source} needs a text id and a mapping: {id!r}, {raw!r}")
            if time.tzinfo is not UTC and time.utcoffset() is None:
                raise ValueError(f"the time of a reading of {source} must be aware: {time!r}")
            if values.__class__ is not dict and not isinstance(values, Mapping):
                raise TypeError(f"values of {source} must map Quantity to numbers: {values!r}")
            if not self._sizes >> len(values) & 1:
                self._look_at_quantities(source, values)
            # The sum is finite if all are; only where it is not, or overflows, each has to be looked at.
            if not isfinite(sum(values.values())) and not all(map(isfinite, values.values())):
                raise ValueError(
                    f"a value of {source} that is missing is left out, never NaN or infinite: {values!r}"
                )
            if backfilled or revision or time <= newest:
                live = False
                newest = max(newest, time)
            else:
                newest = time
        return live, newest

    def _look_at_quantities(self, source: SourceId, values: Mapping[Quantity, float]) -> None:
        if not all(each.__class__ is Quantity for each in values):
            raise TypeError(f"values of {source} must map Quantity to numbers: {values!r}")
        self._sizes |= 1 << len(values)


def admit_stretch(source: SourceId, start: datetime, end: datetime) -> None:
    """Refuse a gap that could not be told.

    Raises:
        TypeError: the source is none.
        ValueError: a time has no zone, or the end comes before the start.
    """
    if source.__class__ is not SourceId:
        raise TypeError(f"a gap needs a SourceId: {source!r}")
    if start.utcoffset() is None or end.utcoffset() is None or end < start:
        raise ValueError(f"a gap lies between two aware times: {start!r}, {end!r}")
