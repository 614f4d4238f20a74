"""Energy and measurements of a site in buckets of time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

from energy_core.checks import entity_id
from energy_core.clock import Clock, SystemClock
from energy_core.http.client import ApiClient
from energy_core.http.operation import Operation, Priority
from energy_core.local_days import EPOCH, time_range
from vrm_async import validation
from vrm_async.calendar import calendar_of
from vrm_async.decoding import series as decoding_series
from vrm_async.history.base import REREAD, HistoryCursor
from vrm_async.history.chunks import CAPS, milliseconds, trimmed, within
from vrm_async.history.stats import SiteFacts, StatsHistory
from vrm_async.models.series import OverallStats, Stats
from vrm_async.models.site import Site
from vrm_async.validation import Unlisted

STATS: Final = Operation(
    vendor="vrm", name="stats.get", method="GET", path="installations/{idSite}/stats", repeatable=True
)
OVERALL: Final = Operation(
    vendor="vrm",
    name="stats.overall",
    method="GET",
    path="installations/{idSite}/overallstats",
    repeatable=True,
)

INTERVALS: Final[Mapping[str, tuple[int, str] | None]] = {
    "15mins": (31, "days"),
    "hours": (31, "days"),
    "2hours": None,
    "days": (180, "days"),
    "weeks": (140, "days"),
    "months": (24, "months"),
    "years": (60, "months"),
}
"""How far a range may reach in one call of `get`, after the vendor's text; beyond it VRM answers as if there
were no data. For weeks `history` reads the text in another way (`vrm_async.pieces`)."""

_HOUR: Final = timedelta(hours=1)
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


class StatsResource:
    """What a site did over time."""

    def __init__(
        self,
        api: ApiClient,
        site_facts: Callable[[int, str | tzinfo | None], Awaitable[SiteFacts]],
        *,
        clock: Clock = SystemClock(),  # noqa: B008  (stateless)
    ) -> None:
        self._api = api
        self._site_facts = site_facts
        self._clock = clock

    async def get(
        self,
        site_id: int,
        *,
        start: datetime,
        end: datetime,
        type: str | Unlisted | None = None,  # noqa: A002  (VRM's own word)
        interval: str | Unlisted = "hours",
        attribute_codes: Iterable[str] | None = None,
        show_instance: bool = False,
    ) -> Stats:
        """Return one series per code; VRM's granularity is the hour, and its first bucket begins at `start`.

        A bucket that begins at `end` is left out, and out of `totals`.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/stats

        Args:
            site_id: The site.
            start: An aware datetime.
            end: An aware datetime after `start`, within the cap of the interval (`INTERVALS`).
            type: One of `TYPES`; by default kwh, or custom when there are attribute codes.
            interval: One of `INTERVALS`.
            attribute_codes: What to ask for; type custom only, and required there.
            show_instance: Keep the values of every device instance apart.
        """
        site_id = validation.whole("site_id", site_id)
        query = validation.span(start, end) + _kind(type, attribute_codes)
        query.append(("interval", _interval(interval, start, end)))
        query += [("show_instance", "1")] if show_instance else []
        into = decoding_series.stats_of(dict(query)["type"])
        found = await self._api.call(STATS, into, query=query, idSite=site_id)
        # A server may count `end` in, and its hour: a bucket that begins there is one too many.
        extra = range(milliseconds(end), milliseconds(end + _HOUR))
        if not any(series.times_ms and max(series.times_ms) in extra for series in found):
            return found
        return trimmed(found, [within(series, EPOCH, end) for series in found])

    def history(
        self,
        site: Site | int,
        period: str | None = None,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
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
        """Return an async iterator over stats of any length, in chunks within VRM's caps for one request.

        Buckets are whole: they begin at the site's own midnights, weeks on Monday, months and years on their
        first day, and the range is widened to them. An empty chunk means that VRM has no data there, never
        that the request was too large. Nothing is sent before the first step. Cancelling is safe.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/stats

        Args:
            site: The site or its id.
            period: A local year, month or day of the site, such as ``"2026-05"``.
            start: An aware datetime; by default the day on which VRM created the site (syscreated).
            end: An aware datetime after `start`; by default now.
            last: A range that ends now, such as ``(30, "days")``.
            interval: One of `INTERVALS`.
            type: One of `TYPES`; by default kwh, or custom if there are attribute codes.
            attribute_codes: Codes for type custom, and for no other type.
            show_instance: Whether to keep the values of every device instance apart.
            timezone: The site's zone, if known; by default the list of installations is read for it once.
                The first step raises ValueError for a name that this machine does not know.
            reread: How much before the checkpoint is read again, because devices deliver late.
            checkpoint: Where an earlier history with the same arguments stopped (`Chunk.checkpoint`).
            priority: Requests of a higher priority are sent first.

        Raises:
            ValueError: an argument has a wrong value, or two forms of the range are given.
        """
        site_id = entity_id("site", site, Site)
        wanted = time_range(start, end, period=period, last=last, required=False)
        validation.one_of("interval", interval, CAPS)
        query = [*_kind(type, attribute_codes), ("interval", interval)]
        query += [("show_instance", "1")] if show_instance else []
        into = decoding_series.stats_of(dict(query)["type"])

        async def request(begin: datetime, stop: datetime, step: str) -> Stats:
            asked = [(key, step if key == "interval" else value) for key, value in query]
            edges = (("start", begin), ("end", stop))
            whole = [*((name, str(int(edge.timestamp()))) for name, edge in edges), *asked]
            return await self._api.call(STATS, into, query=whole, priority=priority, idSite=site_id)

        async def site_facts() -> SiteFacts:
            if timezone is not None and (start is not None or wanted.needs_zone):
                return SiteFacts(calendar=await calendar_of(timezone))
            return await self._site_facts(site_id, timezone)

        return StatsHistory(
            f"stats/{site_id}?" + "&".join(f"{name}={value}" for name, value in query),
            request,
            site_facts,
            interval=interval,
            time_range=wanted,
            reread=reread,
            checkpoint=checkpoint,
            clock=self._clock,
        )

    async def overall(
        self,
        site_id: int,
        *,
        type: str | Unlisted | None = None,  # noqa: A002  (VRM's own word)
        attribute_codes: Iterable[str] | None = None,
    ) -> OverallStats:
        """Return totals of today, this week, this month and this year, as VRM's clock counts them.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/overallstats

        Args:
            site_id: The site.
            type: kwh or custom; None leaves the choice to VRM.
            attribute_codes: What to ask for; type custom only, and required there.
        """
        chosen = type is not None or attribute_codes is not None
        query = _kind(type, attribute_codes, ("kwh", "custom")) if chosen else []
        site_id = validation.whole("site_id", site_id)
        return await self._api.call(OVERALL, decoding_series.overall, query=query, idSite=site_id)


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
    """Refuse a range that VRM would refuse with the words for an empty one."""
    name = validation.one_of("interval", interval, INTERVALS)
    cap = None if isinstance(interval, Unlisted) else INTERVALS[name]
    if cap is not None and end.astimezone(UTC) > _later(start, *cap):
        raise ValueError(
            f"end is too far from start: {name!r} may span {cap[0]} {cap[1]} at most; history takes any range"
        )
    return name


def _later(start: datetime, count: int, unit: str) -> datetime:
    if unit == "days":  # of 24 hours: VRM counts seconds, whatever the clocks at the site do
        return start.astimezone(UTC) + timedelta(days=count)
    years, month = divmod(start.month - 1 + count, 12)
    # Past the end of a short month counts as the days after it, so that no whole month is refused.
    moved = start.replace(year=start.year + years, month=month + 1, day=min(start.day, 28))
    return (moved + timedelta(days=start.day - min(start.day, 28))).astimezone(UTC)
