"""How a range of any length is cut into the pieces that VRM answers. Pure: no request, no clock."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Final, NamedTuple

from attrs import frozen

from vrm_async.periods import Calendar

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DAY: Final = timedelta(days=1)


class Cap(NamedTuple):
    """The most one request may span: days of 24 hours, for VRM counts seconds, or calendar months."""

    days: int | None = None
    months: int | None = None


CAPS: Final[Mapping[str, Cap]] = MappingProxyType(
    {
        "15mins": Cap(days=31),
        "hours": Cap(days=31),
        "2hours": Cap(days=31),  # the documents name no cap; that of its neighbours serves
        "days": Cap(days=180),
        # The vendor's text says 140 days for weeks. Read next to its neighbours, where each cap is a few
        # hundred buckets, it has to mean 140 weeks. A piece of 140 weeks is tried first; where VRM answers
        # it with the words for an empty period, 140 days are tried before that is believed (`SURE`).
        "weeks": Cap(days=140 * 7),
        "months": Cap(months=24),
        "years": Cap(months=60),
    }
)
"""How far one request may reach for each interval."""

SURE: Final[Mapping[str, Cap]] = MappingProxyType({"weeks": Cap(days=140)})
"""The stricter reading, where there are two."""

_STEPS: Final[Mapping[str, timedelta]] = MappingProxyType(
    {"15mins": timedelta(minutes=15), "hours": timedelta(hours=1), "2hours": timedelta(hours=2)}
)
"""Intervals of fixed length. VRM keeps whole hours of UTC, so they are counted from the epoch."""

_LENGTHS: Final[Mapping[str, timedelta]] = MappingProxyType({"days": _DAY, "weeks": 7 * _DAY})
"""What a calendar bucket lasts where no clock changes."""


@frozen
class BucketEdges:
    """The edges of one interval's buckets at one site, and how far a piece may reach."""

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
        """Return where the piece that begins at the edge `start` ends: at `end`, or where the cap ends it."""
        furthest = self._furthest(start, cap)
        if end <= furthest:
            return end
        midnight = self.calendar.floor("days", furthest)
        whole_days = midnight if self.floor(midnight) == midnight else start
        return max(whole_days, start) if whole_days > start else self.floor(furthest)

    def steady(self, start: datetime, end: datetime) -> datetime:
        """Return how far the buckets from `start` on are of their usual length; one bucket at least.

        For a server that counts days of 24 hours: within such a piece its days are the site's.
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
        # VRM may count months on its own calendar or on the site's: neither may be exceeded.
        years, month = divmod(start.month - 1 + months, 12)
        in_utc = start.replace(year=start.year + years, month=month + 1, day=min(start.day, 28))
        if start.day > 28:
            in_utc += (start.day - 28) * _DAY
        return min(in_utc, self.calendar.shift(start, months=months))


def window_of(moment: datetime, length: timedelta) -> datetime:
    """Return where the window of that length begins which holds a moment; windows are counted from the epoch.

    All of them are equally long and begin at round times, so that VRM's resampling gives the same moments
    whenever it is asked.
    """
    return moment.astimezone(UTC) - (moment - EPOCH) % length
