"""VoltStorage's statistics by hour, day, month, year or lifetime, with the members that its document lists.

Energies are joules; the document names no unit.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Final

from energy_live.simulator.household.household import EnergyFlows
from energy_live.simulator.voltstorage.products import Product
from energy_live.simulator.vrm.serializers import Json

TIMESPANS: Final = ("month", "day", "hour", "year", "lifetime")
JOULES_A_KWH: Final = 3_600_000.0
_SAMPLES: Final = 24


def spans(product: Product, timespan: str, start: float, end: float) -> Iterator[tuple[float, float]]:
    """Return start and end of the local hours, days, months or years from `start` to `end`."""
    household = product.household
    if timespan == "lifetime":
        yield product.first_at, end
        return
    if timespan == "hour":
        begin = start // 3600.0 * 3600.0
        while begin < end:
            yield begin, begin + 3600.0
            begin += 3600.0
        return
    day = _first(household.day_of(start), timespan)
    while (begin := household.midnight(day)) < end:
        day = _next(day, timespan)
        yield begin, household.midnight(day)


def _first(day: date, timespan: str) -> date:
    if timespan == "year":
        return day.replace(month=1, day=1)
    return day.replace(day=1) if timespan == "month" else day


def _next(day: date, timespan: str) -> date:
    match timespan:
        case "year":
            return day.replace(year=day.year + 1)
        case "month":
            return (day + timedelta(days=32)).replace(day=1)
    return day + timedelta(days=1)


def statistics(product: Product, timespan: str, start: float, end: float, now: float) -> list[Json]:
    """Return one object for each period since the product was installed, also while it was offline."""
    last = min(end, now)
    first = max(start, product.first_at)
    return [_period(product, begin, finish, now) for begin, finish in spans(product, timespan, first, last)]


def _period(product: Product, begin: float, finish: float, now: float) -> Json:
    low, high = max(begin, product.first_at), min(finish, product.last_at(now))
    flow = product.household.energy(low, high)
    minutes = max(0, int((high - low) // 60.0))
    temperatures = _temperatures(product, low, high) if minutes else []
    warmth = sum(temperatures) / len(temperatures) if temperatures else 0.0
    capacity = product.household.config.battery_wh * 3600.0
    efficiency = product.household.config.efficiency
    return {
        "timespan_start": int(begin),
        "pv-total": _joules(flow.pv),
        "pv-activity": _active(product, low, high),
        "consumption-total": _joules(flow.consumption),
        "storage-total-released": _joules(flow.discharged),
        "storage-total-stored": _joules(flow.charged),
        "max-temperature": max(temperatures) if temperatures else None,
        "own-consumption": _with_samples(minutes, _share(flow.pv - flow.pv_to_grid, flow.pv)),
        "electrolyte-temp": _with_samples(minutes, warmth),
        "pump-temp": _with_samples(minutes, warmth + 4.5),
        "dc-capacity": _with_samples(minutes, capacity),
        "ac-capacity": _with_samples(minutes, capacity * efficiency),
        "dc-efficiency": _with_samples(minutes, efficiency),
        "ac-efficiency": _with_samples(minutes, efficiency * efficiency),
        "self-sufficiency": _sufficiency(flow),
    }


def _joules(kwh: float) -> int:
    return round(kwh * JOULES_A_KWH)


def _share(part: float, whole: float) -> float:
    return part / whole if whole > 0.0 else 0.0


def _with_samples(samples: int, value: float) -> Json:
    return {"nSamples": samples, "value": value if samples else None}


def _sufficiency(flow: EnergyFlows) -> Json:
    weight = _joules(flow.consumption)
    return {
        "totalWeight": weight,
        "value": 1.0 - _share(flow.grid_to_home, flow.consumption) if weight else None,
    }


def _temperatures(product: Product, low: float, high: float) -> list[float]:
    step = (high - low) / _SAMPLES
    return [product.household.at(low + (sample + 0.5) * step).temperature_c for sample in range(_SAMPLES)]


def _active(product: Product, low: float, high: float) -> int:
    """Return the seconds with PV power, sampled 24 times in the period."""
    if high <= low:
        return 0
    step = (high - low) / _SAMPLES
    lit = sum(product.household.at(low + (sample + 0.5) * step).pv_w > 0.0 for sample in range(_SAMPLES))
    return round(lit * step)
