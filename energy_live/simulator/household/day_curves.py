"""Plan of one local day of a household, in steps of 15 minutes: PV curve, load curve, battery.

A plan depends on the date, the household and the seed only, so that any day can be computed by itself.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Sequence
from datetime import date
from hashlib import shake_128
from itertools import accumulate
from typing import Final, NamedTuple

from attrs import frozen

SLOT_S: Final = 900
"""Length of a step of a plan: 15 minutes, in seconds."""

_FULL_CIRCLE: Final = 2.0 * math.pi
_HOURS: Final = SLOT_S / 3600.0
_SECONDS_A_YEAR: Final = 365.2425 * 86400.0


@frozen(kw_only=True)
class HouseholdConfig:
    """Size and place of a household; together with a date they determine its powers."""

    name: str
    seed: int
    timezone: str
    latitude: float
    longitude: float
    pv_peak_w: float
    """PV power at noon of a clear summer day, W."""
    base_load_w: float
    """Mean load, W."""
    battery_wh: float
    battery_power_w: float
    """Maximum power of charging and discharging, W."""
    nominal_v: float = 51.2
    floor: float = 0.08
    """Lowest state of charge, 0..1."""
    efficiency: float = 0.95
    """Efficiency of charging, and of discharging, between AC and cells, 0..1."""


class DayPlan(NamedTuple):
    """Mean powers of every 15 minutes of a day, W, and their sums."""

    start: float
    """Midnight at which the day begins, in Unix seconds."""
    end: float
    """Midnight at which it ends."""
    day_of_year: int
    phase: float
    """Offset of the ripples, 0..1."""
    flicker: float
    """Amplitude of the PV power's ripple by passing clouds, as a share of its mean."""
    pv: Sequence[float]
    pv_slope: Sequence[float]
    load: Sequence[float]
    load_slope: Sequence[float]
    battery: Sequence[float]
    soc: Sequence[float]
    """State of charge at the beginning of every step and at the end of the day, 0..1."""
    sums: Sequence[Sequence[float]]
    """For each energy flow (as in `EnergyFlows`), kWh since midnight at the beginning of every step."""

    def between(self, start: float, end: float) -> list[float]:
        """Return the kWh of each energy flow between two Unix seconds of this day."""
        return [self._sum(column, end) - self._sum(column, start) for column in self.sums]

    def _sum(self, column: Sequence[float], moment: float) -> float:
        slot, into = divmod(moment - self.start, SLOT_S)
        index = int(slot)
        if into == 0.0:
            return column[index]
        return column[index] + (column[index + 1] - column[index]) * into / SLOT_S


def hash_fractions(key: str, count: int) -> list[float]:
    """Return `count` pseudo-random numbers in [0, 1) that are a function of `key`."""
    digest = shake_128(key.encode()).digest(2 * count)
    return [int.from_bytes(digest[at : at + 2]) / 65536.0 for at in range(0, 2 * count, 2)]


def clearness(config: HouseholdConfig, ordinal: int) -> float:
    """Return the clearness of a day's sky, 0.15..1; consecutive days have similar values."""
    mixed = 0.0
    for weight, stretch in ((0.5, 1), (0.3, 3), (0.2, 7)):
        mixed += (
            weight
            * hash_fractions(f"sky/{config.seed}/{config.timezone}/{stretch}/{ordinal // stretch}", 1)[0]
        )
    bright = min(1.0, max(0.0, (mixed - 0.2) / 0.6))
    return 0.15 + 0.85 * bright * bright * (3.0 - 2.0 * bright)


def sun_height(config: HouseholdConfig, moment: float) -> float:
    """Return the sine of the sun's elevation at a time (Unix seconds); negative at night."""
    tilt = math.radians(-23.44) * math.cos(_FULL_CIRCLE * (moment / _SECONDS_A_YEAR + 0.0275))
    hour = _FULL_CIRCLE * (moment / 86400.0 + config.longitude / 360.0) - math.pi
    north = math.radians(config.latitude)
    return math.sin(north) * math.sin(tilt) + math.cos(north) * math.cos(tilt) * math.cos(hour)


def plan_day(config: HouseholdConfig, day: date, start: float, end: float) -> DayPlan:
    """Return the plan of the local day from `start` to `end` (Unix seconds)."""
    count = round((end - start) / SLOT_S)
    draws = hash_fractions(f"day/{config.seed}/{config.name}/{day.toordinal()}", 72)
    clear = clearness(config, day.toordinal())
    pv = array("d", _pv_curve(config, start, count, clear, draws[:26]))
    load = array("d", _load_curve(config, day, count, draws[26:66]))
    soc, battery = _battery_curve(config, day, pv, load)
    return DayPlan(
        start=start,
        end=end,
        day_of_year=day.timetuple().tm_yday,
        phase=draws[66],
        flicker=0.02 + 0.1 * (1.0 - clear),
        pv=pv,
        pv_slope=_slopes(pv),
        load=load,
        load_slope=_slopes(load),
        battery=battery,
        soc=soc,
        sums=_sums(pv, load, battery),
    )


def _pv_curve(
    config: HouseholdConfig, start: float, count: int, clear: float, clouds: Sequence[float]
) -> Iterable[float]:
    for slot in range(count):
        height = sun_height(config, start + (slot + 0.5) * SLOT_S)
        if height <= 0.0:
            yield 0.0
            continue
        hour, part = divmod(slot * _HOURS, 1.0)
        cloud = clouds[int(hour)] * (1.0 - part) + clouds[int(hour) + 1] * part
        shade = 1.0 - (1.0 - clear) * (0.5 + 0.5 * cloud)
        yield config.pv_peak_w * height**1.2 * shade


def _load_curve(config: HouseholdConfig, day: date, count: int, draws: Sequence[float]) -> list[float]:
    winter = 1.0 + 0.2 * math.cos(_FULL_CIRCLE * (day.timetuple().tm_yday - 15) / 365.25)
    late = 1.5 if day.weekday() >= 5 else 0.0
    load = []
    for slot in range(count):
        hour = (slot + 0.5) * _HOURS
        habit = (
            0.5
            + 0.9 * _bell(hour, 7.5 + late, 1.4)
            + 0.6 * _bell(hour, 12.8, 1.6)
            + 1.6 * _bell(hour, 19.3, 2.2)
        )
        load.append(config.base_load_w * winter * habit * (0.85 + 0.3 * draws[slot // 4]))
    for at in range(28, 40, 3):  # four large appliances a day
        begin, length = int(draws[at] * count), 1 + int(draws[at + 1] * 4)
        for slot in range(begin, min(count, begin + length)):
            load[slot] += config.base_load_w * (1.0 + 3.0 * draws[at + 2])
    return load


def _bell(hour: float, middle: float, width: float) -> float:
    return math.exp(-(((hour - middle) / width) ** 2))


def _soc_at_midnight(config: HouseholdConfig, ordinal: int) -> float:
    """Return the state of charge at the beginning of a day (proleptic ordinal), 0..1."""
    sunny = clearness(config, ordinal - 1)
    height = 0.5 + 0.35 * math.cos(_FULL_CIRCLE * ((ordinal % 365.2425) - 172) / 365.2425)
    return (
        config.floor
        + 0.05
        + 0.62 * sunny * height
        + 0.05 * hash_fractions(f"soc/{config.seed}/{ordinal}", 1)[0]
    )


def _battery_curve(
    config: HouseholdConfig, day: date, pv: Sequence[float], load: Sequence[float]
) -> tuple[array[float], array[float]]:
    """Return state of charge and battery power: surplus is stored, deficit drawn from the battery.

    The state of charge ends at the value at which the next day begins.
    """
    full, empty = config.battery_wh, config.battery_wh * config.floor
    charge, goal = (_soc_at_midnight(config, day.toordinal() + add) * full for add in (0, 1))
    soc, battery = array("d", [charge / full]), array("d")
    for slot, (sun, use) in enumerate(zip(pv, load, strict=True)):
        wanted = max(-config.battery_power_w, min(config.battery_power_w, sun - use))
        gain = wanted * config.efficiency if wanted > 0.0 else wanted / config.efficiency
        left = (len(pv) - 1 - slot) * _HOURS
        # The limits narrow towards the end of the day: at most an eighth of the battery changes in an hour.
        high = min(full, goal + full / 8.0 * left)
        low = max(empty, goal - full / 8.0 * left)
        after = max(low, min(high, charge + gain * _HOURS))
        change = (after - charge) / _HOURS
        battery.append(change / config.efficiency if change > 0.0 else change * config.efficiency)
        soc.append(after / full)
        charge = after
    return soc, battery


def _slopes(means: Sequence[float]) -> array[float]:
    """Return the rise of each step from beginning to end, W; limited so that no power changes its sign."""
    padded = [means[0], *means, means[-1]]
    return array(
        "d",
        (
            max(-1.2 * mean, min(1.2 * mean, (padded[slot + 2] - padded[slot]) / 2.0))
            for slot, mean in enumerate(means)
        ),
    )


def _sums(pv: Sequence[float], load: Sequence[float], battery: Sequence[float]) -> list[array[float]]:
    ways: list[list[float]] = [[] for _ in range(7)]
    for sun, use, store in zip(pv, load, battery, strict=True):
        charge, discharge = max(store, 0.0), max(-store, 0.0)
        sun_home = min(sun, use)
        sun_store = min(sun - sun_home, charge)
        store_home = min(discharge, use - sun_home)
        for way, power in zip(
            ways,
            (
                sun_home,
                sun_store,
                sun - sun_home - sun_store,
                charge - sun_store,
                use - sun_home - store_home,
                store_home,
                discharge - store_home,
            ),
            strict=True,
        ):
            way.append(power * _HOURS / 1000.0)
    return [array("d", accumulate(way, initial=0.0)) for way in ways]
