"""Energy and measurements of a site in buckets of time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

from energy_core.http.api import ApiClient
from energy_core.http.request import Operation
from vrm_async import arguments, tables
from vrm_async.series import OverallStats, Stats

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
"""How far a range may reach for each interval. Beyond it VRM answers as if there were no data."""

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
_UNITS: Final[Mapping[str, str]] = {"kwh": "kWh", "forecast": "Wh"}


class StatsEndpoint:
    """What a site did over time."""

    def __init__(self, api: ApiClient) -> None:
        self._api = api

    async def get(
        self,
        site_id: int,
        *,
        start: datetime,
        end: datetime,
        type: str | None = None,  # noqa: A002  (VRM's own word)
        interval: str = "hours",
        attribute_codes: Iterable[str] | None = None,
        show_instance: bool = False,
    ) -> Stats:
        """Return one series per code; VRM's granularity is the hour, and its first bucket begins at `start`.

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
        site_id = arguments.whole("site_id", site_id)
        query = arguments.span(start, end) + _kind(type, attribute_codes)
        query.append(("interval", _interval(interval, start, end)))
        query += [("show_instance", "1")] if show_instance else []
        into = partial(tables.stats, unit=_UNITS.get(dict(query)["type"]))
        return await self._api.call(STATS, into, query=query, idSite=site_id)

    async def overall(
        self,
        site_id: int,
        *,
        type: str | None = None,  # noqa: A002  (VRM's own word)
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
        site_id = arguments.whole("site_id", site_id)
        return await self._api.call(OVERALL, tables.overall, query=query, idSite=site_id)


def _kind(
    kind: str | None, attribute_codes: Iterable[str] | None, allowed: Iterable[str] = TYPES
) -> list[tuple[str, str]]:
    """Return the type and its codes as query parameters."""
    chosen = kind if kind is not None else "kwh" if attribute_codes is None else "custom"
    arguments.one_of("type", chosen, allowed)
    if (chosen == "custom") != (attribute_codes is not None):
        raise ValueError(f"attribute_codes go with type 'custom' and with no other; the type is {chosen!r}")
    return [("type", chosen), *(arguments.codes(attribute_codes) if attribute_codes is not None else [])]


def _interval(interval: str, start: datetime, end: datetime) -> str:
    """Refuse a range that VRM would refuse with the words for an empty one."""
    cap = INTERVALS[arguments.one_of("interval", interval, INTERVALS)]
    if cap is not None and end.astimezone(UTC) > _later(start, *cap):
        raise ValueError(
            f"end is too far from start: a range of {interval!r} may span {cap[0]} {cap[1]} at most"
        )
    return interval


def _later(start: datetime, count: int, unit: str) -> datetime:
    if unit == "days":  # of 24 hours: VRM counts seconds, whatever the clocks at the site do
        return start.astimezone(UTC) + timedelta(days=count)
    years, month = divmod(start.month - 1 + count, 12)
    # Past the end of a short month counts as the days after it, so that no whole month is refused.
    moved = start.replace(year=start.year + years, month=month + 1, day=min(start.day, 28))
    return (moved + timedelta(days=start.day - min(start.day, 28))).astimezone(UTC)
