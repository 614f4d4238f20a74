"""One local day of a household, planned in quarter hours from nothing but its date and the seed."""

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
"""Length of a quarter hour, seconds: the grain of a plan."""

_TURN: Final = 2.0 * math.pi
_HOURS: Final = SLOT_S / 3600.0
_SECONDS_A_YEAR: Final = 365.2425 * 86400.0


@frozen(kw_only=True)
class HouseholdConfig:
    """What a home is built of; with a date it determines everything that happens there."""

    name: str
    seed: int
    timezone: str
    latitude: float
    longitude: float
    pv_peak_w: float
    """What the roof gives at noon under a clear summer sky, W."""
    base_load_w: float
    """The mean of an ordinary hour, W."""
    battery_wh: float
    battery_power_w: float
    """The most the battery's inverter takes or gives, W."""
    nominal_v: float = 51.2
    floor: float = 0.08
    """The state of charge below which the battery rests, 0..1."""
    efficiency: float = 0.95
    """One way, from the house's wires into the cells or back."""


class DayPlan(NamedTuple):
    """Mean powers of every quarter hour and what they add up to."""

    start: float
    end: float
    day_of_year: int
    phase: float
    flicker: float
    """How much passing clouds shake the sun, as a share of its mean."""
    pv: Sequence[float]
    pv_slope: Sequence[float]
    load: Sequence[float]
    load_slope: Sequence[float]
    battery: Sequence[float]
    soc: Sequence[float]
    """State of charge at the beginning of every quarter hour, and at the day's end."""
    sums: Sequence[Sequence[float]]
    """For each way energy can take, kWh given since the day began, at every quarter hour."""

    def between(self, start: float, end: float) -> list[float]:
        """Return the kWh of each way between two unix seconds of this day."""
        return [self._sum(column, end) - self._sum(column, start) for column in self.sums]

    def _sum(self, column: Sequence[float], moment: float) -> float:
        slot, into = divmod(moment - self.start, SLOT_S)
        index = int(slot)
        if into == 0.0:
            return column[index]
        return column[index] + (column[index + 1] - column[index]) * into / SLOT_S


def hash_fractions(key: str, count: int) -> list[float]:
    """Return `count` numbers in [0, 1) that depend on nothing but `key`."""
    digest = shake_128(key.encode()).digest(2 * count)
    return [int.from_bytes(digest[at : at + 2]) / 65536.0 for at in range(0, 2 * count, 2)]


def clearness(dwelling: HouseholdConfig, ordinal: int) -> float:
    """Return how clear a day's sky is, 0.15..1; days next to each other resemble each other."""
    mixed = 0.0
    for weight, stretch in ((0.5, 1), (0.3, 3), (0.2, 7)):
        mixed += (
            weight
            * hash_fractions(f"sky/{dwelling.seed}/{dwelling.timezone}/{stretch}/{ordinal // stretch}", 1)[0]
        )
    bright = min(1.0, max(0.0, (mixed - 0.2) / 0.6))
    return 0.15 + 0.85 * bright * bright * (3.0 - 2.0 * bright)


def sun_height(dwelling: HouseholdConfig, moment: float) -> float:
    """Return the sine of the sun's height above the horizon; negative at night."""
    tilt = math.radians(-23.44) * math.cos(_TURN * (moment / _SECONDS_A_YEAR + 0.0275))
    hour = _TURN * (moment / 86400.0 + dwelling.longitude / 360.0) - math.pi
    north = math.radians(dwelling.latitude)
    return math.sin(north) * math.sin(tilt) + math.cos(north) * math.cos(tilt) * math.cos(hour)


def plan_day(dwelling: HouseholdConfig, day: date, start: float, end: float) -> DayPlan:
    """Plan the local day that lasts from `start` to `end` (unix seconds)."""
    count = round((end - start) / SLOT_S)
    draws = hash_fractions(f"day/{dwelling.seed}/{dwelling.name}/{day.toordinal()}", 72)
    clear = clearness(dwelling, day.toordinal())
    pv = array("d", _sunshine(dwelling, start, count, clear, draws[:26]))
    load = array("d", _usage(dwelling, day, count, draws[26:66]))
    soc, battery = _store(dwelling, day, pv, load)
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


def _sunshine(
    dwelling: HouseholdConfig, start: float, count: int, clear: float, clouds: Sequence[float]
) -> Iterable[float]:
    for slot in range(count):
        height = sun_height(dwelling, start + (slot + 0.5) * SLOT_S)
        if height <= 0.0:
            yield 0.0
            continue
        hour, part = divmod(slot * _HOURS, 1.0)
        cloud = clouds[int(hour)] * (1.0 - part) + clouds[int(hour) + 1] * part
        shade = 1.0 - (1.0 - clear) * (0.5 + 0.5 * cloud)
        yield dwelling.pv_peak_w * height**1.2 * shade


def _usage(dwelling: HouseholdConfig, day: date, count: int, draws: Sequence[float]) -> list[float]:
    winter = 1.0 + 0.2 * math.cos(_TURN * (day.timetuple().tm_yday - 15) / 365.25)
    late = 1.5 if day.weekday() >= 5 else 0.0
    load = []
    for slot in range(count):
        hour = (slot + 0.5) * _HOURS
        habit = (
            0.5
            + 0.9 * _bump(hour, 7.5 + late, 1.4)
            + 0.6 * _bump(hour, 12.8, 1.6)
            + 1.6 * _bump(hour, 19.3, 2.2)
        )
        load.append(dwelling.base_load_w * winter * habit * (0.85 + 0.3 * draws[slot // 4]))
    for at in range(28, 40, 3):  # four times a day something large runs for a while
        begin, length = int(draws[at] * count), 1 + int(draws[at + 1] * 4)
        for slot in range(begin, min(count, begin + length)):
            load[slot] += dwelling.base_load_w * (1.0 + 3.0 * draws[at + 2])
    return load


def _bump(hour: float, middle: float, width: float) -> float:
    return math.exp(-(((hour - middle) / width) ** 2))


def _evening(dwelling: HouseholdConfig, ordinal: int) -> float:
    """Return the state of charge with which the day before `ordinal` ends and `ordinal` begins."""
    sunny = clearness(dwelling, ordinal - 1)
    height = 0.5 + 0.35 * math.cos(_TURN * ((ordinal % 365.2425) - 172) / 365.2425)
    return (
        dwelling.floor
        + 0.05
        + 0.62 * sunny * height
        + 0.05 * hash_fractions(f"soc/{dwelling.seed}/{ordinal}", 1)[0]
    )


def _store(
    dwelling: HouseholdConfig, day: date, pv: Sequence[float], load: Sequence[float]
) -> tuple[array[float], array[float]]:
    """Let the battery take what the sun leaves, give what is lacking, and end where the next day begins."""
    full, empty = dwelling.battery_wh, dwelling.battery_wh * dwelling.floor
    charge, goal = (_evening(dwelling, day.toordinal() + add) * full for add in (0, 1))
    soc, battery = array("d", [charge / full]), array("d")
    for slot, (sun, use) in enumerate(zip(pv, load, strict=True)):
        wish = max(-dwelling.battery_power_w, min(dwelling.battery_power_w, sun - use))
        gain = wish * dwelling.efficiency if wish > 0.0 else wish / dwelling.efficiency
        left = (len(pv) - 1 - slot) * _HOURS
        # The day's end is reached from inside a cone: never faster than an eighth of the battery in an hour.
        high = min(full, goal + full / 8.0 * left)
        low = max(empty, goal - full / 8.0 * left)
        after = max(low, min(high, charge + gain * _HOURS))
        change = (after - charge) / _HOURS
        battery.append(change / dwelling.efficiency if change > 0.0 else change * dwelling.efficiency)
        soc.append(after / full)
        charge = after
    return soc, battery


def _slopes(means: Sequence[float]) -> array[float]:
    """Return how much each quarter hour rises from its begin to its end, without ever crossing zero."""
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
