"""A household that is a pure function of time and seed: sun, load, battery and grid, always in balance.

Each local day is planned on its own in quarter hours (`energy_live.simulator.day`): the battery's charge
starts at a value that weather and seed give and is steered to the next day's, so that any moment of any year
is two look-ups away. Inside a quarter hour every power keeps its mean, plus a slope and ripples whose mean is
nothing: energies are the means, and powers look alive. Powers are multiples of a quarter watt, so that their
sum is exact in binary.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from functools import lru_cache
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from attrs import field, frozen

from energy_live.simulator.household.day_plan import SLOT_S, DayPlan, HouseholdConfig, plan_day

_TURN: Final = 2.0 * math.pi
_DAYS_KEPT: Final = 2200


class MeterValues(NamedTuple):
    """What the meters of a home show at one instant: grid + pv + battery discharge = consumption, exactly."""

    time: float
    """Unix seconds."""
    pv_w: float
    """What the sun gives, W."""
    consumption_w: float
    """What the home uses, W."""
    battery_w: float
    """Into the battery, W; negative while it discharges."""
    grid_w: float
    """From the grid, W; negative while feeding in."""
    soc: float
    """State of charge, 0..1."""
    voltage_v: float
    current_a: float
    """Into the battery, A; negative while it discharges."""
    temperature_c: float


class EnergyFlows(NamedTuple):
    """Who gave how much to whom over a stretch of time, kWh."""

    pv_to_home: float
    pv_to_battery: float
    pv_to_grid: float
    grid_to_battery: float
    grid_to_home: float
    battery_to_home: float
    battery_to_grid: float

    @property
    def pv(self) -> float:
        """All the sun gave, kWh."""
        return self.pv_to_home + self.pv_to_battery + self.pv_to_grid

    @property
    def consumption(self) -> float:
        """All the home used, kWh."""
        return self.pv_to_home + self.grid_to_home + self.battery_to_home

    @property
    def grid_import(self) -> float:
        """Taken from the grid, kWh."""
        return self.grid_to_home + self.grid_to_battery

    @property
    def grid_export(self) -> float:
        """Given to the grid, kWh."""
        return self.pv_to_grid + self.battery_to_grid

    @property
    def charged(self) -> float:
        """Put into the battery, kWh."""
        return self.pv_to_battery + self.grid_to_battery

    @property
    def discharged(self) -> float:
        """Taken out of the battery, kWh."""
        return self.battery_to_home + self.battery_to_grid


_NOTHING: Final = EnergyFlows(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


class QuarterHour(NamedTuple):
    """A quarter hour as its meters show it, one value for each time a meter looks."""

    start: float
    """Unix seconds."""
    pv_w: list[float]
    """Every 5 s, as `SUN_S` says; the others likewise."""
    consumption_w: list[float]
    battery_w: list[float]
    soc: list[float]


PV_METER_S: Final = 5
"""Seconds between two looks of the meter that watches the sun; and so on."""
LOAD_METER_S: Final = 3
BATTERY_METER_S: Final = 4
SOC_METER_S: Final = 10


def _quarter(power_w: float) -> float:
    return round(power_w * 4.0) / 4.0


def _held(offset_s: float, every_s: int) -> float:
    """Where in its quarter hour (0..1) a meter last looked, taken at the middle of its interval."""
    return (math.floor(offset_s / every_s) + 0.5) * every_s / SLOT_S


def _sun(plan: DayPlan, slot: int, held: float) -> float:
    mean = plan.pv[slot]
    ripple = mean * plan.flicker * math.sin(_TURN * (7 * held + plan.phase))
    return _quarter(mean + plan.pv_slope[slot] * (held - 0.5) + ripple)


def _home(plan: DayPlan, slot: int, held: float) -> float:
    mean = plan.load[slot]
    ripple = 0.05 * math.sin(_TURN * (11 * held + plan.phase)) + 0.04 * math.sin(
        _TURN * (37 * held - plan.phase)
    )
    return _quarter(mean + plan.load_slope[slot] * (held - 0.5) + mean * ripple)


def _store(plan: DayPlan, slot: int, held: float) -> float:
    return _quarter(plan.battery[slot] * (1.0 + 0.06 * math.sin(_TURN * (23 * held + plan.phase))))


def _charge(plan: DayPlan, slot: int, into: float) -> float:
    gain = plan.soc[slot + 1] - plan.soc[slot]
    return plan.soc[slot] + gain * math.floor(into / SOC_METER_S) * SOC_METER_S / SLOT_S


@frozen(kw_only=True)
class Household:
    """One home, alive from any past to any future."""

    dwelling: HouseholdConfig
    zone: ZoneInfo = field(init=False)

    @zone.default
    def _zone(self) -> ZoneInfo:
        return ZoneInfo(self.dwelling.timezone)

    def day_of(self, moment: float) -> date:
        """Return the local day that holds `moment` (unix seconds)."""
        return datetime.fromtimestamp(moment, self.zone).date()

    def midnight(self, day: date) -> float:
        """Return the unix second at which a local day begins."""
        return datetime.combine(day, time(), self.zone).timestamp()

    def plan(self, day: date) -> DayPlan:
        """Return the plan of one local day; 23 and 25 hours long where the clocks change."""
        return _plan(self.dwelling, day)

    def at(self, moment: float) -> MeterValues:
        """Return every power at one instant (unix seconds)."""
        plan = self.plan(self.day_of(moment))
        slot = int((moment - plan.start) // SLOT_S)
        into = moment - plan.start - slot * SLOT_S
        # Each meter has its own pace, so that from one second to the next only some values change.
        powers = (
            _sun(plan, slot, _held(into, PV_METER_S)),
            _home(plan, slot, _held(into, LOAD_METER_S)),
            _store(plan, slot, _held(into, BATTERY_METER_S)),
        )
        return self._meters(moment, plan, powers)

    def quarter_hour(self, moment: float) -> QuarterHour:
        """Return what the meters show during the whole quarter hour that holds `moment` (unix seconds)."""
        plan = self.plan(self.day_of(moment))
        slot = int((moment - plan.start) // SLOT_S)
        return QuarterHour(
            plan.start + slot * SLOT_S,
            [_sun(plan, slot, _held(into, PV_METER_S)) for into in range(0, SLOT_S, PV_METER_S)],
            [_home(plan, slot, _held(into, LOAD_METER_S)) for into in range(0, SLOT_S, LOAD_METER_S)],
            [_store(plan, slot, _held(into, BATTERY_METER_S)) for into in range(0, SLOT_S, BATTERY_METER_S)],
            [round(_charge(plan, slot, into), 5) for into in range(0, SLOT_S, SOC_METER_S)],
        )

    def _meters(self, moment: float, plan: DayPlan, powers: tuple[float, float, float]) -> MeterValues:
        pv, load, battery = powers
        slot = int((moment - plan.start) // SLOT_S)
        into = moment - plan.start - slot * SLOT_S
        soc = _charge(plan, slot, into)
        volts = round(self.dwelling.nominal_v * (0.96 + 0.09 * soc) + battery * 0.0005, 2)
        season = math.sin(_TURN * (plan.day_of_year - 110) / 365.25)
        warmth = 16.0 + 6.0 * season + 2.0 * math.sin(_TURN * (moment - plan.start - 32400.0) / 86400.0)
        return MeterValues(
            moment,
            pv,
            load,
            battery,
            load - pv + battery,
            round(soc, 5),
            volts,
            round(battery / volts, 2),
            round(warmth + abs(battery) * 0.0008, 1),
        )

    def energy(self, start: float, end: float) -> EnergyFlows:
        """Return who gave how much to whom between two unix seconds; nothing if `end` is not later."""
        if end <= start:
            return _NOTHING
        parts = [plan.between(max(start, plan.start), min(end, plan.end)) for plan in self._plans(start, end)]
        return EnergyFlows(*(math.fsum(column) for column in zip(*parts, strict=True)))

    def _plans(self, start: float, end: float) -> Iterator[DayPlan]:
        day = self.day_of(start)
        while (plan := self.plan(day)).start < end:
            yield plan
            day = date.fromordinal(day.toordinal() + 1)


@lru_cache(maxsize=_DAYS_KEPT)
def _plan(dwelling: HouseholdConfig, day: date) -> DayPlan:
    zone = ZoneInfo(dwelling.timezone)
    start, end = (
        datetime.combine(date.fromordinal(ordinal), time(), zone).astimezone(UTC).timestamp()
        for ordinal in (day.toordinal(), day.toordinal() + 1)
    )
    return plan_day(dwelling, day, start, end)
