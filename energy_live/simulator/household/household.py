"""A household as a function of time and seed: PV, load, battery and grid powers that always balance.

Each local day is planned by itself in steps of 15 minutes (`day_plan`). The state of charge at midnight is a
function of weather and seed, so that the powers at any time need the plan of one day only. Within a step the
powers have a slope and ripples with a mean of zero: energies follow from the means. Powers are multiples of
0.25 W, so that their sums are exact in floating point.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from functools import lru_cache
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from attrs import field, frozen

from energy_live.simulator.household.day_curves import SLOT_S, DayPlan, HouseholdConfig, plan_day

_FULL_CIRCLE: Final = 2.0 * math.pi
_DAYS_KEPT: Final = 2200


class MeterValues(NamedTuple):
    """Values of a household's meters at one time. Always grid + PV - battery = consumption."""

    time: float
    """Unix seconds."""
    pv_w: float
    """PV power, W."""
    consumption_w: float
    """Power of the loads, W."""
    battery_w: float
    """Battery power, W; positive while charging."""
    grid_w: float
    """Grid power, W; positive while importing."""
    soc: float
    """State of charge, 0..1."""
    voltage_v: float
    current_a: float
    """Battery current, A; positive while charging."""
    temperature_c: float


class EnergyFlows(NamedTuple):
    """Energy of each flow in a range of time, kWh."""

    pv_to_home: float
    pv_to_battery: float
    pv_to_grid: float
    grid_to_battery: float
    grid_to_home: float
    battery_to_home: float
    battery_to_grid: float

    @property
    def pv(self) -> float:
        """PV production, kWh."""
        return self.pv_to_home + self.pv_to_battery + self.pv_to_grid

    @property
    def consumption(self) -> float:
        """Consumption of the loads, kWh."""
        return self.pv_to_home + self.grid_to_home + self.battery_to_home

    @property
    def grid_import(self) -> float:
        """Energy imported from the grid, kWh."""
        return self.grid_to_home + self.grid_to_battery

    @property
    def grid_export(self) -> float:
        """Energy exported to the grid, kWh."""
        return self.pv_to_grid + self.battery_to_grid

    @property
    def charged(self) -> float:
        """Energy that charged the battery, kWh."""
        return self.pv_to_battery + self.grid_to_battery

    @property
    def discharged(self) -> float:
        """Energy discharged from the battery, kWh."""
        return self.battery_to_home + self.battery_to_grid


_NO_ENERGY: Final = EnergyFlows(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


class QuarterHour(NamedTuple):
    """Values of the meters during 15 minutes, one for each measurement."""

    start: float
    """Unix seconds."""
    pv_w: list[float]
    """Every `PV_METER_S`; the others likewise."""
    consumption_w: list[float]
    battery_w: list[float]
    soc: list[float]


PV_METER_S: Final = 5
"""Seconds between two measurements of PV power; the next three of load, battery power, state of charge."""
LOAD_METER_S: Final = 3
BATTERY_METER_S: Final = 4
SOC_METER_S: Final = 10


def _round(power_w: float) -> float:
    return round(power_w * 4.0) / 4.0


def _measured_at(offset_s: float, every_s: int) -> float:
    """Return the time of a meter's last measurement, as the middle of its interval, 0..1 of the step."""
    return (math.floor(offset_s / every_s) + 0.5) * every_s / SLOT_S


def _pv(plan: DayPlan, slot: int, at: float) -> float:
    mean = plan.pv[slot]
    ripple = mean * plan.flicker * math.sin(_FULL_CIRCLE * (7 * at + plan.phase))
    return _round(mean + plan.pv_slope[slot] * (at - 0.5) + ripple)


def _load(plan: DayPlan, slot: int, at: float) -> float:
    mean = plan.load[slot]
    ripple = 0.05 * math.sin(_FULL_CIRCLE * (11 * at + plan.phase)) + 0.04 * math.sin(
        _FULL_CIRCLE * (37 * at - plan.phase)
    )
    return _round(mean + plan.load_slope[slot] * (at - 0.5) + mean * ripple)


def _battery(plan: DayPlan, slot: int, at: float) -> float:
    return _round(plan.battery[slot] * (1.0 + 0.06 * math.sin(_FULL_CIRCLE * (23 * at + plan.phase))))


def _soc(plan: DayPlan, slot: int, into: float) -> float:
    gain = plan.soc[slot + 1] - plan.soc[slot]
    return plan.soc[slot] + gain * math.floor(into / SOC_METER_S) * SOC_METER_S / SLOT_S


@frozen(kw_only=True)
class Household:
    """One household at any time.

    Args:
        config: Size, place and seed.
    """

    config: HouseholdConfig
    zone: ZoneInfo = field(init=False)

    @zone.default
    def _zone(self) -> ZoneInfo:
        return ZoneInfo(self.config.timezone)

    def day_of(self, moment: float) -> date:
        """Return the local day of a time (Unix seconds)."""
        return datetime.fromtimestamp(moment, self.zone).date()

    def midnight(self, day: date) -> float:
        """Return the Unix second at which a local day begins."""
        return datetime.combine(day, time(), self.zone).timestamp()

    def plan(self, day: date) -> DayPlan:
        """Return the plan of one local day; 23 and 25 hours long where the clocks change."""
        return _plan(self.config, day)

    def at(self, moment: float) -> MeterValues:
        """Return the values of all meters at a time (Unix seconds)."""
        plan = self.plan(self.day_of(moment))
        slot = int((moment - plan.start) // SLOT_S)
        into = moment - plan.start - slot * SLOT_S
        # Each meter has its own interval, so that only some values change from one second to the next.
        powers = (
            _pv(plan, slot, _measured_at(into, PV_METER_S)),
            _load(plan, slot, _measured_at(into, LOAD_METER_S)),
            _battery(plan, slot, _measured_at(into, BATTERY_METER_S)),
        )
        return self._meters(moment, plan, powers)

    def quarter_hour(self, moment: float) -> QuarterHour:
        """Return the values of all meters during the 15 minutes that contain a time (Unix seconds)."""
        plan = self.plan(self.day_of(moment))
        slot = int((moment - plan.start) // SLOT_S)
        return QuarterHour(
            plan.start + slot * SLOT_S,
            [_pv(plan, slot, _measured_at(into, PV_METER_S)) for into in range(0, SLOT_S, PV_METER_S)],
            [_load(plan, slot, _measured_at(into, LOAD_METER_S)) for into in range(0, SLOT_S, LOAD_METER_S)],
            [
                _battery(plan, slot, _measured_at(into, BATTERY_METER_S))
                for into in range(0, SLOT_S, BATTERY_METER_S)
            ],
            [round(_soc(plan, slot, into), 5) for into in range(0, SLOT_S, SOC_METER_S)],
        )

    def _meters(self, moment: float, plan: DayPlan, powers: tuple[float, float, float]) -> MeterValues:
        pv, load, battery = powers
        slot = int((moment - plan.start) // SLOT_S)
        into = moment - plan.start - slot * SLOT_S
        soc = _soc(plan, slot, into)
        volts = round(self.config.nominal_v * (0.96 + 0.09 * soc) + battery * 0.0005, 2)
        season = math.sin(_FULL_CIRCLE * (plan.day_of_year - 110) / 365.25)
        warmth = (
            16.0 + 6.0 * season + 2.0 * math.sin(_FULL_CIRCLE * (moment - plan.start - 32400.0) / 86400.0)
        )
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
        """Return the energy flows between two Unix seconds; zeros if `end` is not after `start`."""
        if end <= start:
            return _NO_ENERGY
        parts = [plan.between(max(start, plan.start), min(end, plan.end)) for plan in self._plans(start, end)]
        return EnergyFlows(*(math.fsum(column) for column in zip(*parts, strict=True)))

    def _plans(self, start: float, end: float) -> Iterator[DayPlan]:
        day = self.day_of(start)
        while (plan := self.plan(day)).start < end:
            yield plan
            day = date.fromordinal(day.toordinal() + 1)


@lru_cache(maxsize=_DAYS_KEPT)
def _plan(config: HouseholdConfig, day: date) -> DayPlan:
    zone = ZoneInfo(config.timezone)
    start, end = (
        datetime.combine(date.fromordinal(ordinal), time(), zone).astimezone(UTC).timestamp()
        for ordinal in (day.toordinal(), day.toordinal() + 1)
    )
    return plan_day(config, day, start, end)
