"""Energy and measurements of a site in buckets of time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final, TypeAlias

from energy_core.clock import Clock
from energy_core.errors import NoData
from energy_core.http.client import ApiClient
from energy_core.http.operation import Priority
from energy_core.local_days import EPOCH, time_range
from vrm_async import validation
from vrm_async.calendar import calendar_of
from vrm_async.decoding import series as decoding_series
from vrm_async.decoding.series import Asked
from vrm_async.history.base import REREAD, HistoryCursor
from vrm_async.history.chunks import CAPS, DOCUMENTED_CAPS, Cap
from vrm_async.history.joining import milliseconds, with_cut_series, within
from vrm_async.history.stats import SiteFacts, StatsHistory
from vrm_async.history.widgets import KnownZone
from vrm_async.models.series import OverallStats, Stats
from vrm_async.models.site import Site
from vrm_async.operations import SITE, reads
from vrm_async.validation import Unlisted

STATS: Final = reads("stats.get", f"{SITE}/stats")
OVERALL: Final = reads("stats.overall", f"{SITE}/overallstats")

INTERVALS: Final = DOCUMENTED_CAPS
"""The intervals, and the longest range of one `get` with each."""

TYPES: Final = (
    "kwh",
    "custom",
    "venus",
    "live_feed",
    "live_feed_kwh",
    "consumption",
    "solar_yield",
    "generator",
    "generator-runtime",
    "forecast",
    "dynamic_ess",
    "evcs",
)
"""The types of statistics that VRM documents."""

_HOUR: Final = timedelta(hours=1)

FindFacts: TypeAlias = Callable[[Site | int, str | tzinfo | None], Awaitable[SiteFacts]]
"""Returns the calendar and the first day of a site; a time zone that is given replaces VRM's."""


class StatsResource:
    """The statistics of a site; `client.stats`."""

    def __init__(
        self,
        api: ApiClient,
        find_facts: FindFacts,
        resolve_range: validation.ResolveRange,
        known_zone: KnownZone,
        *,
        clock: Clock,
    ) -> None:
        self._api = api
        self._known_zone = known_zone
        self._find_facts = find_facts
        self._resolve_range = resolve_range
        self._clock = clock

    async def get(
        self,
        site: Site | int,
        start: datetime | str | None = None,
        end: datetime | None = None,
        *,
        period: str | None = None,
        last: tuple[int, str] | None = None,
        type: str | Unlisted | None = None,  # noqa: A002  (VRM's own word)
        interval: str | Unlisted | None = None,
        attribute_codes: Iterable[str] | None = None,
        show_instance: bool = False,
    ) -> Stats:
        """Return the statistics of one range: one series a code, with the total of each. Cancelling is safe.

        Energies are sums in kWh (forecasts in Wh), measurements are means in their own unit. The first bucket
        begins at `start`, and VRM rounds to whole hours. A bucket that begins at `end` is left out, also of
        the totals.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/stats

        Args:
            site: The site or its id.
            start: An aware datetime; or a local year, month or day of the site as text: ``"2026-05"``.
            end: An aware datetime after `start`, no further than `INTERVALS` allows.
            period: The text by its name, instead of `start` and `end`.
            last: A number and a unit, such as ``(30, "days")``, instead of `start` and `end`.
            type: One of `TYPES`; by default kwh, or custom where there are attribute codes.
            interval: One of `INTERVALS`; by default the unit of `last`, or hours where that is not given.
            attribute_codes: Codes such as ``["bs", "bv"]``; with type custom only, and required there.
            show_instance: Return one series for each device instance of a code.

        In a range without data there are no series; as a table it has an empty column for each of
        `attribute_codes`, or for the usual codes of the type.

        Raises:
            NoData: VRM has no data, and the longest range of the interval is not documented: the range may be
                too long.
            ValueError: the range is too long for the interval (`history` reads any range), or there is no
                data because it begins in the future.
        """
        given_range = time_range(start, end, period=period, last=last)
        site_id, kind = validation.site_id(site), _kind(type, attribute_codes)
        if interval is None:
            interval = "hours" if last is None else last[1]
        validation.one_of("interval", interval, INTERVALS)
        first, after = _both(await self._resolve_range(site, given_range))
        query = validation.range_query(first, after) + kind
        query.append(("interval", _interval(interval, first, after)))
        query += [("show_instance", "1")] if show_instance else []
        asked = _asked(query, self._known_zone(site))
        into = decoding_series.stats_of(asked)
        try:
            found = await self._api.call(STATS, into, query=query, idSite=site_id)
        except NoData:
            if isinstance(interval, Unlisted) or INTERVALS[interval] is None:
                raise
            found = asked.no_stats()
        if asked.kind != "forecast" and not any(series.times_ms for series in found):
            validation.not_in_future(first, self._api.account.vendor_clock.now())
        # A server may include the bucket that begins at `end`, or in its hour.
        extra = range(milliseconds(after), milliseconds(after + _HOUR))
        if not any(series.times_ms and max(series.times_ms) in extra for series in found):
            return found
        return with_cut_series(found, [within(series, EPOCH, after) for series in found])

    def history(
        self,
        site: Site | int,
        start: datetime | str | None = None,
        end: datetime | None = None,
        *,
        period: str | None = None,
        last: tuple[int, str] | None = None,
        interval: str = "hours",
        type: str | Unlisted | None = None,  # noqa: A002  (VRM's own word)
        attribute_codes: Iterable[str] | None = None,
        show_instance: bool = False,
        timezone: str | tzinfo | None = None,
        reread: timedelta = REREAD,
        checkpoint: HistoryCursor | None = None,
        priority: Priority = Priority.BACKGROUND,
    ) -> StatsHistory:
        """Iterate over the statistics of a range of any length, in chunks that VRM's limits allow.

        Buckets are whole: hours and 15 minutes begin at UTC's, days, weeks (from Monday), months and years at
        the site's local midnight. The range is widened to whole buckets. Nothing is sent before the first
        step. Cancelling a step is safe.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/stats

        Args:
            site: The site or its id.
            start: An aware datetime, or a period as text; None for the site's first day (VRM's syscreated).
            end: An aware datetime after `start`; None for now.
            period: A local year, month or day, such as ``"2026"``, instead of `start` and `end`.
            last: A number and a unit, such as ``(2, "years")``, instead of `start` and `end`.
            interval: One of `INTERVALS`.
            type: One of `TYPES`; by default kwh, or custom where there are attribute codes.
            attribute_codes: Codes; with type custom only, and required there.
            show_instance: Return one series for each device instance of a code.
            timezone: The site's time zone, if the caller knows it; otherwise the first step requests it once.
                An unknown name is a ValueError at the first step.
            reread: With a checkpoint, how much before it is read again, because devices deliver late.
            checkpoint: `Chunk.checkpoint` of an earlier history with the same arguments.
            priority: The priority of its requests; those of others come first.
        """
        given_range = time_range(start, end, period=period, last=last, required=False)
        site_id = validation.site_id(site)
        validation.one_of("interval", interval, CAPS)
        query = [*_kind(type, attribute_codes), ("interval", interval)]
        query += [("show_instance", "1")] if show_instance else []
        asked = _asked(query, self._known_zone(site))

        async def request(begin: datetime, stop: datetime, step: str) -> Stats:
            others = [(key, step if key == "interval" else value) for key, value in query]
            whole = [*validation.range_query(begin, stop), *others]
            into = decoding_series.stats_of(asked)
            return await self._api.call(STATS, into, query=whole, priority=priority, idSite=site_id)

        def no_stats() -> Stats:
            return asked.no_stats()

        async def find_facts() -> SiteFacts:
            nonlocal asked
            facts = await find_calendar()
            asked = asked._replace(timezone=getattr(facts.calendar.zone, "key", None))
            return facts

        async def find_calendar() -> SiteFacts:
            needs_first_day = (
                given_range.period is None and given_range.last is None and given_range.start is None
            )
            if timezone is not None and not needs_first_day:
                return SiteFacts(calendar=await calendar_of(timezone))
            return await self._find_facts(site, timezone)

        return StatsHistory(
            f"stats/{site_id}?" + "&".join(f"{name}={value}" for name, value in query),
            request,
            find_facts,
            interval=interval,
            time_range=given_range,
            reread=reread,
            checkpoint=checkpoint,
            clock=self._clock,
            no_stats=no_stats,
        )

    async def overall(
        self,
        site: Site | int,
        *,
        type: str | Unlisted | None = None,  # noqa: A002  (VRM's own word)
        attribute_codes: Iterable[str] | None = None,
    ) -> OverallStats:
        """Return the totals of today, this week, this month and this year. Cancelling is safe.

        VRM's clock decides when a day begins. Energies are in kWh.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/overallstats

        Args:
            site: The site or its id.
            type: kwh or custom; None leaves the choice to VRM.
            attribute_codes: Codes; with type custom only, and required there.
        """
        chosen = type is not None or attribute_codes is not None
        query = _kind(type, attribute_codes, ("kwh", "custom")) if chosen else []
        return await self._api.call(
            OVERALL, decoding_series.overall, query=query, idSite=validation.site_id(site)
        )


def _asked(query: Sequence[tuple[str, str]], timezone: str | None) -> Asked:
    """Return what a query asks for, which the answer does not repeat."""
    return Asked(kind=dict(query)["type"], codes=validation.named_codes(query), timezone=timezone)


def _both(resolved: tuple[datetime | None, datetime | None]) -> tuple[datetime, datetime]:
    start, end = resolved
    if start is None or end is None:
        raise ValueError("the range needs both start and end")
    return start, end


def _kind(
    kind: str | Unlisted | None, attribute_codes: Iterable[str] | None, allowed: Iterable[str] = TYPES
) -> list[tuple[str, str]]:
    """Return the type and its codes as query parameters."""
    usual = "kwh" if attribute_codes is None else "custom"
    chosen = validation.one_of("type", usual if kind is None else kind, allowed)
    if (chosen == "custom") != (attribute_codes is not None):
        raise ValueError(f"attribute_codes go with type 'custom' and with no other; the type is {chosen!r}")
    return [("type", chosen), *(validation.codes(attribute_codes) if attribute_codes is not None else [])]


def _interval(interval: str | Unlisted, start: datetime, end: datetime) -> str:
    """Return the interval; raise where VRM would answer the range as if it had no data."""
    name = validation.one_of("interval", interval, INTERVALS)
    cap = None if isinstance(interval, Unlisted) else INTERVALS[name]
    if cap is not None and end.astimezone(UTC) > _furthest(start, cap):
        longest = f"{cap.months} months" if cap.days is None else f"{cap.days} days"
        raise ValueError(
            f"end is too far from start: {name!r} may span {longest} at most; history takes any range"
        )
    return name


def _furthest(start: datetime, cap: Cap) -> datetime:
    if cap.days is not None:  # of 24 hours: VRM counts seconds
        return start.astimezone(UTC) + timedelta(days=cap.days)
    years, month = divmod(start.month - 1 + (cap.months or 0), 12)
    # 31 January plus a month is 3 March, so that no whole month is refused.
    moved = start.replace(year=start.year + years, month=month + 1, day=min(start.day, 28))
    return (moved + timedelta(days=start.day - min(start.day, 28))).astimezone(UTC)
