"""VRM: statistics, with the range limits and gaps of the real service.

Codes, intervals and answers are those of the OpenAPI document.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Final

from attrs import frozen

from energy_live.simulator.household.day_curves import sun_height
from energy_live.simulator.household.household import EnergyFlows
from energy_live.simulator.vrm.serializers import Json
from energy_live.simulator.vrm.sites import Site

HOUR: Final = 3600.0
DAY: Final = 86400.0

STEPS: Final[Mapping[str, float]] = {
    "15mins": 900.0,
    "hours": HOUR,
    "2hours": 2 * HOUR,
    "days": DAY,
    "weeks": 7 * DAY,
    "months": 28 * DAY,
    "years": 365 * DAY,
}
"""Shortest length of each interval, in seconds."""

MAX_RANGES: Final[Mapping[str, float]] = {
    "15mins": 31 * DAY,
    "hours": 31 * DAY,
    "2hours": 31 * DAY,
    "days": 180 * DAY,
    "weeks": 140 * 7 * DAY,
    "months": 24 * 31 * DAY,
    "years": (5 * 365 + 2) * DAY,
}
"""Longest range of each interval, in seconds. VRM answers a longer range as if it had no data."""

ENERGIES: Final[Mapping[str, Callable[[EnergyFlows], float]]] = {
    "Pc": lambda flow: flow.pv_to_home,
    "Pb": lambda flow: flow.pv_to_battery,
    "Pg": lambda flow: flow.pv_to_grid,
    "Gc": lambda flow: flow.grid_to_home,
    "Gb": lambda flow: flow.grid_to_battery,
    "Bc": lambda flow: flow.battery_to_home,
    "Bg": lambda flow: flow.battery_to_grid,
    "Pt": lambda flow: flow.pv,
    "dYU": lambda flow: flow.pv,
    "dH21": lambda flow: flow.discharged,
    "dH22": lambda flow: flow.charged,
    "dgb": lambda flow: flow.grid_import,
    "dgs": lambda flow: flow.grid_export,
    "total_solar_yield": lambda flow: flow.pv,
    "total_consumption": lambda flow: flow.consumption,
    "grid_history_from": lambda flow: flow.grid_import,
    "grid_history_to": lambda flow: flow.grid_export,
}
"""Energy codes: kWh in the interval."""

KWH: Final = ("Pb", "Pc", "Gb", "Gc", "Pg", "Bc", "Bg", "gc", "gb")
FORECASTS: Final = ("solar_yield_forecast", "vrm_consumption_fc")
"""Forecast codes: Wh in the interval. Only they have values in the future."""
AHEAD_S: Final = 6 * DAY
"""Range of forecasts into the future."""

TYPES: Final[Mapping[str, tuple[str, ...]]] = {
    "kwh": KWH,
    "live_feed": (
        *("total_solar_yield", "total_consumption", "grid_history_from", "grid_history_to", "bs", "bv"),
        *("total_genset", *FORECASTS),
    ),
    "live_feed_kwh": KWH,
    "venus": (
        "total_solar_yield",
        "total_consumption",
        "grid_history_from",
        "grid_history_to",
        "bs",
        "bv",
        "bc",
    ),
    "consumption": ("Pc", "Bc", "Gc", "gc", "total_consumption"),
    "solar_yield": ("Pc", "Pb", "Pg", "total_solar_yield"),
    "generator": ("gc", "gb"),
    "generator-runtime": ("Tgs",),
    "forecast": (*FORECASTS, "vrm_solar_irradiance"),
    "dynamic_ess": ("deGb", "deGc"),
    "evcs": ("evp",),
}
"""Codes of each type. `live_feed_kwh`, `dynamic_ess` and `evcs` are in use but not documented."""
OVERALL: Final = (
    *("venus", "live_feed", "consumption", "solar_yield", "kwh", "generator", "generator-runtime"),
    "custom",
)
"""Types of `overallstats`."""
_SAMPLES: Final = 24


@frozen(kw_only=True)
class StatsQuery:
    """Parameters of a request for statistics."""

    codes: tuple[str, ...]
    start: float
    end: float
    interval: str
    total: bool
    """Whether to add the sum of all energies."""

    @property
    def exceeds_limit(self) -> bool:
        """Whether the range is longer than VRM's limit for the interval."""
        return self.end - self.start > MAX_RANGES[self.interval]


def buckets(site: Site, start: float, end: float, interval: str) -> Iterator[tuple[float, float]]:
    """Return start and end of each interval.

    The first begins at `start`; months and years end at local midnights.
    """
    begin = start
    local = datetime.fromtimestamp(start, site.household.zone)
    count = 0
    while begin < end:
        count += 1
        after = _after(site, local, start, interval, count)
        yield begin, min(after, end) if interval in {"months", "years"} else after
        begin = after


def _after(site: Site, local: datetime, start: float, interval: str, count: int) -> float:
    """Return the end of the `count`-th interval."""
    match interval:
        case "days" | "weeks":
            # Local days have 23 or 25 hours when the clocks change.
            days = count * (7 if interval == "weeks" else 1)
            return (
                (local.replace(tzinfo=None) + timedelta(days=days)).replace(tzinfo=local.tzinfo).timestamp()
            )
        case "months":
            months = local.year * 12 + local.month - 1 + count
            return site.household.midnight(date(months // 12, months % 12 + 1, 1))
        case "years":
            return site.household.midnight(date(local.year + count, 1, 1))
    return start + count * STEPS[interval]


def collect(site: Site, query: StatsQuery, now: float) -> tuple[dict[str, object], dict[str, object]]:
    """Return `records` and `totals`; a code without data has the value `false`."""
    edges = [
        edge
        for edge in buckets(site, query.start, query.end, query.interval)
        if edge[0] < now + AHEAD_S and not site.is_offline(*edge)
    ]
    past = [(begin, min(end, now)) for begin, end in edges if begin < now and end > site.created]
    flows = [site.household.energy(max(begin, site.created), end) for begin, end in past]
    records: dict[str, object] = {}
    totals: dict[str, object] = {}
    for code in query.codes:
        points, total = _series(site, code, edges if code in FORECASTS else past, flows)
        records[code] = points or False
        totals[code] = total if points else False
    if query.total:
        records["kwh"], totals["kwh"] = _sum_of_all(past, flows)
    return records, totals


def _series(
    site: Site, code: str, edges: Sequence[tuple[float, float]], flows: Sequence[EnergyFlows]
) -> tuple[list[list[float | None]], float]:
    points: list[list[float | None]]
    if code in ENERGIES:
        values = [_rounded(ENERGIES[code](flow)) for flow in flows]
        points = [[int(begin * 1000), value] for (begin, _), value in zip(edges, values, strict=True)]
        return points, round(sum(values), 6)
    if code in FORECASTS:
        values = [_forecast(site, code, *edge) for edge in edges]
        points = [[int(begin * 1000), value] for (begin, _), value in zip(edges, values, strict=True)]
        return points, round(sum(values), 3)
    points = []
    for edge in edges:
        if (measured := extremes(site, code, *edge)) is None:
            return [], 0.0
        points.append([int(edge[0] * 1000), *measured])
    # The total of a measurement is the mean of its means.
    means = [point[1] or 0.0 for point in points]
    return points, round(sum(means) / len(means), 4) if means else 0.0


def extremes(site: Site, code: str, begin: float, end: float) -> tuple[float, float, float] | None:
    """Return mean, minimum and maximum of a measurement, or None if the site has no such attribute."""
    count = max(1, min(_SAMPLES, int((end - begin) // 60.0)))
    values = []
    for sample in range(count):
        at = site.household.at(begin + (sample + 0.5) * (end - begin) / count)
        value = site.number(code, at)
        if value is None:
            return None
        values.append(value)
    return round(sum(values) / count, 4), min(values), max(values)


def _rounded(kwh: float) -> float:
    return round(kwh, 6) + 0.0  # turns -0.0 into 0.0


def _forecast(site: Site, code: str, begin: float, end: float) -> float:
    """Return a forecast in Wh: a clear-sky model, or the mean load."""
    config = site.household.config
    hours = (end - begin) / HOUR
    if code == "vrm_consumption_fc":
        return round(config.base_load_w * hours, 3)
    height = (
        sum(max(0.0, sun_height(config, begin + (part + 0.5) * (end - begin) / 4)) for part in range(4)) / 4
    )
    return round(config.pv_peak_w * 0.7 * math.pow(height, 1.2) * hours, 3)


def _sum_of_all(edges: Sequence[tuple[float, float]], flows: Sequence[EnergyFlows]) -> tuple[object, object]:
    if not edges:
        return False, False
    sums = [_rounded(sum(flow)) for flow in flows]
    return [[int(begin * 1000), value] for (begin, _), value in zip(edges, sums, strict=True)], round(
        sum(sums), 6
    )


def by_instance(records: Json, totals: Json) -> tuple[list[Json], list[Json]]:
    """Return records and totals in the form of `show_instance=1`."""
    return [{"instance": 0, "stats": records}], [{"instance": 0, "totals": totals}]


def overall(site: Site, codes: Sequence[str], now: float) -> Json:
    """Return totals and percentages of this year, month, week and day, since their local midnights."""
    day = site.household.day_of(now)
    begins = {
        "year": day.replace(month=1, day=1),
        "month": day.replace(day=1),
        "week": day - timedelta(days=day.weekday()),
        "today": day,
    }
    answer: Json = {}
    for name, begin in begins.items():
        flow = site.household.energy(site.household.midnight(begin), now)
        found = {code: ENERGIES[code](flow) if code in ENERGIES else False for code in codes}
        whole = sum(found.values())
        shares = {code: round(100 * value / whole) if whole else 0 for code, value in found.items()}
        answer[name] = {"totals": found, "percentages": shares}
    return answer
