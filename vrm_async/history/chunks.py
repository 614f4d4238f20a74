"""Chunks of a history: the longest range of one request, and the edges of its buckets. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Final, NamedTuple

from attrs import frozen

from energy_core.local_days import EPOCH
from vrm_async.calendar import Calendar

_DAY: Final = timedelta(days=1)


class Cap(NamedTuple):
    """The longest range of one request: days of 24 hours (VRM counts seconds) or calendar months."""

    days: int | None = None
    months: int | None = None


_WEEKS: Final = Cap(days=140)

DOCUMENTED_CAPS: Final[Mapping[str, Cap | None]] = MappingProxyType(
    {
        "15mins": Cap(days=31),
        "hours": Cap(days=31),
        "2hours": None,
        "days": Cap(days=180),
        "weeks": _WEEKS,
        "months": Cap(months=24),
        "years": Cap(months=60),
    }
)
"""The longest range of one request by interval, as VRM documents it; None where its documents name none. VRM
answers a longer range like one without data."""

CAPS: Final[Mapping[str, Cap]] = MappingProxyType(
    {interval: cap for interval, cap in DOCUMENTED_CAPS.items() if cap is not None}
    | {
        "2hours": Cap(days=31),  # the cap of its neighbours
        # VRM's document says 140 days for weeks. The caps of the other intervals are a few hundred buckets,
        # so it probably means 140 weeks. A chunk of 140 weeks is requested first. If VRM answers that it is
        # empty, 140 days are requested before that is accepted (`SURE`).
        "weeks": Cap(days=140 * 7),
    }
)
"""The longest range that a history requests first, by interval."""

SURE: Final[Mapping[str, Cap]] = MappingProxyType({"weeks": _WEEKS})
"""The stricter interpretation of a documented cap that has two."""

_STEPS: Final[Mapping[str, timedelta]] = MappingProxyType(
    {"15mins": timedelta(minutes=15), "hours": timedelta(hours=1), "2hours": timedelta(hours=2)}
)
"""Lengths of the intervals of fixed length; their buckets are counted from the epoch, as VRM does."""

_LENGTHS: Final[Mapping[str, timedelta]] = MappingProxyType({"days": _DAY, "weeks": 7 * _DAY})
"""Lengths of calendar buckets without a clock change."""


@frozen
class BucketEdges:
    """Edges of the buckets of one interval at one site, and how far a chunk may reach."""

    interval: str
    calendar: Calendar

    def floor(self, moment: datetime) -> datetime:
        """Return the last edge at or before a moment, in UTC."""
        step = _STEPS.get(self.interval)
        if step is None:
            return self.calendar.floor(self.interval, moment)
        return moment.astimezone(UTC) - (moment - EPOCH) % step

    def next(self, edge: datetime) -> datetime:
        """Return the edge after an edge."""
        step = _STEPS.get(self.interval)
        return self.calendar.next(self.interval, edge) if step is None else edge + step

    def ceil(self, moment: datetime) -> datetime:
        """Return the first edge at or after a moment, in UTC."""
        edge = self.floor(moment)
        return edge if edge == moment else self.next(edge)

    def reach(self, start: datetime, end: datetime, cap: Cap) -> datetime:
        """Return the end of the chunk that begins at the edge `start`: `end`, or as far as the cap allows."""
        furthest = self._furthest(start, cap)
        if end <= furthest:
            return end
        # A chunk ends at a local midnight if possible, so that its totals are those of whole days.
        midnight = self.calendar.floor("days", furthest)
        whole_days = midnight if self.floor(midnight) == midnight else start
        return max(whole_days, start) if whole_days > start else self.floor(furthest)

    def steady(self, start: datetime, end: datetime) -> datetime:
        """Return where the first bucket after `start` with an unusual length begins; at least one bucket on.

        A server that counts days of 24 hours has the site's own days up to there.
        """
        usual = _LENGTHS[self.interval]
        after = self.next(start)
        if after - start != usual:
            return after
        while after < end and (further := self.next(after)) - after == usual:
            after = further
        return after

    @property
    def counts_days(self) -> bool:
        """Whether a bucket's usual length is a number of days, so that clock changes matter."""
        return self.interval in _LENGTHS

    def _furthest(self, start: datetime, cap: Cap) -> datetime:
        if cap.days is not None:
            return start + cap.days * _DAY
        months = cap.months or 0
        # VRM may count months in UTC or in the site's zone: the chunk exceeds neither.
        years, month = divmod(start.month - 1 + months, 12)
        in_utc = start.replace(year=start.year + years, month=month + 1, day=min(start.day, 28))
        if start.day > 28:
            in_utc += (start.day - 28) * _DAY
        return min(in_utc, self.calendar.shift(start, months=months))


def window_of(moment: datetime, length: timedelta) -> datetime:
    """Return the start of the window that contains a moment; windows are counted from the epoch.

    Windows of one length that begin at round times make VRM resample to the same timestamps in every request.
    """
    return moment.astimezone(UTC) - (moment - EPOCH) % length
