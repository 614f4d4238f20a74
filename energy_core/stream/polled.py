"""Polled devices: readings, look-back settings, usual interval of a device, staleness of a site. No I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final, NamedTuple

from attrs import Attribute, field, frozen, validators

from energy_core.local_days import EPOCH
from energy_core.printable import printable, printable_class
from energy_core.stream.source import ReportedAlarm
from energy_core.stream.vocabulary import Quantity, SourceId

SKIPPED: Final = 1.9
"""A device has skipped a log slot when this many times its usual interval has passed."""

_MIN_STALE_S: Final = 300.0
_STALE_INTERVALS: Final = 3.0
_MAX_SINGLE_INTERVAL_S: Final = 900.0
_MAX_INTERVAL_S: Final = 86_400.0


@printable_class
@frozen(kw_only=True)
class PolledReading:
    """One reading of one device, as a poll or a look-back returns it."""

    source: SourceId
    """The device; one poller may return readings of many."""
    time: datetime
    """Time of the device or the server, aware."""
    id: str
    """Stable across runs and free of values; an id that was delivered is not delivered again."""
    values: Mapping[Quantity, float]
    """In the units and signs of `Quantity`."""
    raw: Mapping[str, object] = field(repr=False)
    """The vendor's own mapping."""
    bucket_s: float = 0.0
    """Seconds that the values stand for, if the vendor keeps its past in buckets; 0: they are of `time`.
    A bucket that contains a delivered reading gets the time and id of that reading."""
    bucket_at_s: float = 0.0
    """Seconds from the start of the bucket to `time`."""
    backfilled: bool = False
    """Whether it was fetched later."""
    revision: int = 0
    """Number of changes by the vendor; counted by the look-back of a poller."""


class SiteReport(NamedTuple):
    """State of a site in one answer of the vendor."""

    newest: datetime | None
    """Time of the site's newest log; None if unknown."""
    problem: str = ""
    """Why there can be no data, for example because the site is not in the account's list."""


@frozen(kw_only=True)
class Polled:
    """The answer to a poll of several sites, some of which may have nothing new."""

    readings: list[PolledReading]
    """Readings in any order."""
    sites: Mapping[SourceId, SiteReport] = field(factory=dict)
    """Every site that was polled, by its `SourceId` with instance 0."""
    read_alarms: Callable[[], Awaitable[Mapping[SourceId, Sequence[ReportedAlarm]]]] | None = None
    """Returns all alarms, as in `Outlet.alarms`, of the sites whose alarms may have changed; None: unknown.
    Called once the readings are delivered."""
    notes: Mapping[str, int] = field(factory=dict)
    """Counts of what was left out or assumed; they are added to `SourceStatus.notes`."""

    @classmethod
    def of(cls, answer: Iterable[PolledReading] | Polled) -> Polled:
        """Return an answer with its sites, each with the time of its newest reading."""
        if isinstance(answer, Polled):
            return answer
        readings = sorted(answer, key=of_time)
        sites = {each.source._replace(instance=0): SiteReport(each.time) for each in readings}
        return cls(readings=readings, sites=sites)


def of_time(reading: PolledReading) -> datetime:
    """Return the time of a reading, as a sort key."""
    return reading.time


def _positive(_: LookbackConfig, attribute: Attribute[float], value: float) -> None:
    if not 0 < value < float("inf"):
        raise ValueError(f"{attribute.name} must be positive and finite, not {value!r}")


@printable_class
@frozen(kw_only=True)
class LookbackConfig:
    """When and how far a poller looks back for late data. Most programs keep the defaults."""

    interval_s: float = field(default=3600.0, validator=_positive)
    """Seconds between two look-backs at a device. Ranges end at whole multiples of it since 1970 (UTC);
    vendor buckets that do not divide it would be cut differently each time."""
    span_s: float = field(default=6 * 3600.0, validator=_positive)
    """Length of the range of one look-back in seconds, always equal: servers resample by the length."""
    max_age_s: float = field(default=24 * 3600.0, validator=_positive)
    """Oldest data requested for a consumer that was away, in seconds before now. Older data is a gap."""
    settle_s: float = field(default=600.0, validator=_positive)
    """Age in seconds from which on a changed value is a revision; younger values are still settling."""
    timeout_s: float = field(default=60.0, validator=_positive)
    """Timeout of a look-back at one device, in seconds."""
    cooldown_s: float = field(default=600.0, validator=_positive)
    """Seconds after a failed look-back in which a skipped log slot of the device is a gap at once."""
    retry_s: tuple[float, ...] = (60.0, 300.0, 900.0)
    """Seconds after a look-back at which a range that is still missing is requested again. After the last of
    them it is reported as a gap."""
    max_held: int = field(default=256, validator=validators.ge(1))
    """Newer readings of a device that are held for a look-back; with one more, the gap is reported."""

    def ranges(self, now: datetime, since: datetime | None = None) -> list[tuple[datetime, datetime]]:
        """Return the ranges to request, oldest first: one, or as many as reach back to `since`."""
        step, span = timedelta(seconds=self.interval_s), timedelta(seconds=self.span_s)
        end = EPOCH - (-(now - EPOCH) // step) * step
        oldest = self.oldest(now)
        wanted = oldest if since is None or since < oldest else since
        ranges = [(end - span, end)]
        while since is not None and ranges[0][0] > wanted:
            ranges.insert(0, (ranges[0][0] - span, ranges[0][0]))
        return ranges

    def oldest(self, now: datetime) -> datetime:
        """Return the time before which nothing is requested."""
        return now - timedelta(seconds=self.max_age_s)


class IntervalEstimator:
    """Estimate the usual interval between a device's readings, to notice skipped log slots."""

    __slots__ = ("_from_past", "_last", "_recent")

    def __init__(self) -> None:
        self._from_past: float | None = None
        self._last: datetime | None = None
        self._recent: deque[float] = deque(maxlen=8)

    @property
    def usual(self) -> float | None:
        """The usual interval in seconds; None while it is unknown."""
        return min(self._recent) if len(self._recent) > 1 else self._from_past

    def learn_from_past(self, times: Iterable[datetime]) -> None:
        """Estimate the interval from past readings, until enough new ones are known."""
        intervals = [(after - before).total_seconds() for before, after in pairwise(sorted(set(times)))]
        self._from_past = min(intervals, default=self._from_past)

    def skipped_since(self, time: datetime, *, if_unknown: bool = False) -> datetime | None:
        """Note a reading; return the time of the one before it if a log slot was skipped between them.

        Args:
            time: Time of the reading.
            if_unknown: Whether a slot counts as skipped while the usual interval is unknown.
        """
        last = self._last
        if last is None or time > last:
            self._last = time
        if last is None or time <= last:
            return None
        interval = (time - last).total_seconds()
        usual = self.usual
        self._recent.append(interval)
        skipped = if_unknown if usual is None else interval > SKIPPED * usual
        return last if skipped else None


class SiteFreshness:
    """Decide whether a polled site is stale: after three of its own intervals, and at least five minutes.

    The interval is the median of the last eight that polling has seen. A single one counts as 15 minutes at
    most, because it may be an outage.

    Args:
        newest: Time of the site's newest log, by its own clock; None if unknown.
        age_s: Seconds since then.
        now: Monotonic time.
        polled_s: Seconds between polls: a shorter interval cannot be seen.
    """

    __slots__ = ("_intervals", "_logged_at", "_polled_s", "newest", "problem", "stale")

    def __init__(self, newest: datetime | None, age_s: float, now: float, *, polled_s: float = 0.0) -> None:
        self.newest = newest
        self.stale = False
        """Whether the site was reported as stale."""
        self.problem = ""
        """Why there can be no data."""
        self._logged_at = now - max(0.0, age_s)
        self._polled_s = polled_s
        self._intervals: deque[float] = deque(maxlen=8)

    def update(self, newest: datetime | None, now: float) -> bool:
        """Take the newest log time of a poll; return whether the site has logged since the poll before."""
        if newest is None or newest == self.newest:
            return False
        if self.newest is not None:
            interval = (newest - self.newest).total_seconds()
            if 0 < interval <= _MAX_INTERVAL_S:
                self._intervals.append(interval)
        self.newest, self._logged_at = newest, now
        return True

    def reason(self, now: float) -> str:
        """Return why the site is stale."""
        if self.problem:
            return self.problem
        if self.newest is None:
            return "the site has not logged anything"
        age_s, since = now - self._logged_at, f"{self.newest:%Y-%m-%d %H:%M:%S %Z}"
        return f"the site has not logged for {age_s:.0f} s, since {since}"

    @property
    def stale_at(self) -> float:
        """Monotonic time from which on the site is stale."""
        known = sorted(self._intervals)
        usual = known[(len(known) - 1) // 2] if known else 0.0
        if len(known) == 1:
            usual = min(usual, _MAX_SINGLE_INTERVAL_S)
        return self._logged_at + max(_MIN_STALE_S, _STALE_INTERVALS * max(usual, self._polled_s))


class PolledSites:
    """The freshness of all sites of a poller.

    Args:
        polled_s: Seconds between polls.
    """

    def __init__(self, *, polled_s: float) -> None:
        self._polled_s = polled_s
        self._sites: dict[SourceId, SiteFreshness] = {}

    def get(self, source: SourceId) -> SiteFreshness | None:
        """Return the freshness of a site; None if it was never polled."""
        return self._sites.get(source)

    def update(
        self, reports: Mapping[SourceId, SiteReport], now: datetime, monotonic: float
    ) -> list[SourceId]:
        """Take the reports of a poll; return the sites that are new or live again.

        Args:
            reports: The state of every site; empty: the answer named none.
            now: The vendor's present time.
            monotonic: Monotonic time.
        """
        live: list[SourceId] = []
        for source, (newest, problem) in reports.items():
            site = self._sites.get(source)
            if site is None:
                age_s = float("inf") if newest is None else (now - newest).total_seconds()
                site = self._sites[source] = SiteFreshness(newest, age_s, monotonic, polled_s=self._polled_s)
                live.append(source)
            elif site.update(newest, monotonic) and site.stale:
                site.stale = False
                live.append(source)
            site.problem = problem
        for source in self._sites.keys() - reports.keys() if reports else ():
            self._sites[source].problem = "the vendor's answer does not have the site any more"
        return live

    @property
    def next_stale_at(self) -> float:
        """Monotonic time at which the next site becomes stale; infinite if there is none."""
        return min((site.stale_at for site in self._sites.values() if not site.stale), default=float("inf"))

    def check_stale(self, monotonic: float, *, again: bool = False) -> list[tuple[SourceId, str]]:
        """Return the sites that have become stale, and why; with `again`, all that are stale."""
        stale: list[tuple[SourceId, str]] = []
        for source, site in self._sites.items():
            was_stale, site.stale = site.stale, site.stale or monotonic >= site.stale_at
            if site.stale and (again or not was_stale):
                stale.append((source, site.reason(monotonic)))
        return stale

    @printable
    def __repr__(self) -> str:
        stale = sum(site.stale for site in self._sites.values())
        return f"<PolledSites: {len(self._sites)} sites, {stale} stale>"
