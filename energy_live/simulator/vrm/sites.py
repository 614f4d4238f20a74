"""Sites: their devices, and the value of each attribute at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Final

from attrs import field, frozen

from energy_live.simulator.household.day_curves import hash_fractions
from energy_live.simulator.household.household import Household, MeterValues
from energy_live.simulator.vrm.attributes import ATTRIBUTES, PSEUDO, Attribute, RawValue

LOGGED_EVERY_S: Final = 60.0
"""Interval of the gateway's logs, in household seconds."""

REPLACED_AT: Final = 1_622_700_000
"""Unix seconds at which a solar charger was replaced; its last record stays in the diagnostics."""


@frozen
class DelayedLogs:
    """A range of logs that the gateway sends late, as it does after it was offline."""

    start: float
    """Unix seconds of the first log."""
    end: float
    """Unix seconds of the end (exclusive)."""
    arrives: float = math.inf
    """Unix seconds at which VRM receives them; never by default."""


@frozen(kw_only=True)
class Site:
    """A VRM site: a household with Victron devices."""

    id: int
    name: str
    identifier: str
    user: int
    household: Household
    instances: Mapping[str, tuple[int, ...]]
    """Instances of each kind of device."""
    phases: int = 1
    dc_coupled: bool = True
    """Whether PV is connected to a solar charger (DC); otherwise to a PV inverter (AC)."""
    log_offset_s: float = 0.0
    created: int = 1_580_000_000
    steady_since: float = -math.inf
    """Unix seconds since which the gateway has not been offline."""
    access_level: int = 1
    tracked: bool = False
    """Whether the site has a GPS and a geofence."""
    demo: bool = False
    delays: list[DelayedLogs] = field(factory=list, eq=False, repr=False)
    """Delayed logs; may be added while the simulator runs."""
    attributes: tuple[Attribute, ...] = field(init=False, repr=False)
    by_code: Mapping[str, Attribute] = field(init=False, repr=False)

    @attributes.default
    def _attributes(self) -> tuple[Attribute, ...]:
        absent = {f"{letter}{phase}" for letter in "ag" for phase in range(self.phases + 1, 4)}
        absent |= {f"g{phase}p" for phase in range(self.phases + 1, 4)} | (
            # AC-coupled sites do not log the battery power; it is voltage times current there.
            {"P", "bp"} if self.dc_coupled else {"Pdc"}
        )
        return tuple(one for one in ATTRIBUTES if one.device in self.instances and one.code not in absent)

    @by_code.default
    def _by_code(self) -> Mapping[str, Attribute]:
        return MappingProxyType({one.code: one for one in self.attributes})

    def logged_at(self, moment: float) -> float:
        """Return the time of the newest log that VRM has at a time (Unix seconds)."""
        log = self._slot(moment)
        while (missing := self._missing(log, moment)) is not None:
            log = self._slot(math.nextafter(missing.start, -math.inf))
        return log

    def logged_in(self, start: float, end: float, now: float) -> float | None:
        """Return the time of the last log in `start <= time < end` that VRM has at `now`, or None."""
        log = self._slot(math.nextafter(end, -math.inf))
        while log >= start and (log > now or self._missing(log, now) is not None):
            log -= LOGGED_EVERY_S
        return log if log >= start else None

    def _slot(self, moment: float) -> float:
        """Return the time of the gateway's last log at or before a time."""
        steps = math.floor((moment - self.log_offset_s) / LOGGED_EVERY_S)
        return steps * LOGGED_EVERY_S + self.log_offset_s

    def _missing(self, log: float, now: float) -> DelayedLogs | None:
        return next((one for one in self.delays if one.start <= log < one.end and now < one.arrives), None)

    def instance_of(self, attribute: Attribute) -> int:
        """Return the first instance of the attribute's device."""
        return self.instances[attribute.device][0]

    def has_instance(self, attribute: Attribute, instance: int | None) -> bool:
        """Return whether the attribute is logged for an instance; always true for None."""
        return instance is None or instance in self.instances[attribute.device]

    def is_offline(self, start: float, end: float) -> bool:
        """Return whether the gateway was offline from `start` to `end`, as for three hours in most months."""
        night = start // 86_400.0
        into = start - night * 86_400.0
        if end > self.steady_since or into < 3600.0 or end > night * 86_400.0 + 4 * 3600.0:
            return False
        month, which = divmod(night, 30.0)
        return int(38.0 * hash_fractions(f"away/{self.id}/{month:.0f}", 1)[0]) == which

    def value(self, attribute: Attribute, moment: MeterValues, instance: int | None = None) -> RawValue:
        """Return the value of an attribute: a number, a text or None.

        Args:
            attribute: The attribute.
            moment: The meters' values.
            instance: The device; the first one of its kind by default.
        """
        text = attribute.value.removeprefix('"')
        value: RawValue
        if text.startswith("@"):
            value = LIVE[text[1:]](self, moment)
            if instance is not None and isinstance(value, float):
                value += 1.5 * self.instances[attribute.device].index(instance)
        elif text == "-":
            return None
        elif attribute.type == "string":
            return text
        else:
            value = float(text) if "." in text else int(text)
        return str(value) if text != attribute.value else value

    def number(self, code: str, moment: MeterValues, instance: int | None = None) -> float | None:
        """Return the value of a code as a number, or None if the site has no such attribute."""
        if code in PSEUDO:
            return self.computed(code, moment)
        attribute = self.by_code.get(code)
        if attribute is None or attribute.type == "string":
            return None
        value = self.value(attribute, moment, instance)
        return None if value is None else float(value)

    def computed(self, code: str, moment: MeterValues) -> float | None:
        """Return a value that VRM computes from others, or None if the site has none of them."""
        match code:
            case "consumption":
                return moment.consumption_w
            case "solar_yield":
                return moment.pv_w
            case "from_to_grid":
                return moment.grid_w
            case "ac_out" if not self.dc_coupled:
                return moment.pv_w
        return None

    def parts(self, code: str) -> Iterator[Attribute]:
        """Return the attributes of this site from which VRM computes a value."""
        return (self.by_code[part] for part in PSEUDO[code][1] if part in self.by_code)

    def split(self, power_w: float, phase: int) -> float:
        """Return the power of one phase; the powers of the phases add up exactly."""
        if self.phases == 1:
            return power_w
        first, second = (math.floor(power_w * share * 4.0) / 4.0 for share in (0.45, 0.3))
        return (first, second, power_w - first - second)[phase - 1]


def _charge_state(moment: MeterValues) -> int:
    if moment.battery_w > 0.0:
        return 3 if moment.soc < 0.9 else 4
    return 9 if moment.battery_w < 0.0 else 8


def _solar_state(moment: MeterValues) -> int:
    if moment.pv_w <= 0.0:
        return 0
    return 3 if moment.soc < 0.9 else (4 if moment.soc < 1.0 else 5)


def _capacity_ah(site: Site) -> float:
    config = site.household.config
    return round(config.battery_wh / config.nominal_v, 1)


def _yield_today(site: Site, moment: MeterValues) -> float:
    household = site.household
    since = household.midnight(household.day_of(moment.time))
    return round(household.energy(since, moment.time).pv, 2)


def _oscillate(moment: MeterValues, middle: float, width: float) -> float:
    return middle + width * math.sin(moment.time / 97.0)


LIVE: Final[Mapping[str, Callable[[Site, MeterValues], RawValue]]] = {
    "lt": lambda site, _: round(site.household.config.latitude, 5),
    "lg": lambda site, _: round(site.household.config.longitude, 5),
    "tz": lambda site, _: site.household.config.timezone,
    "phases": lambda site, _: site.phases,
    "volts": lambda _, at: round(_oscillate(at, 230.4, 1.7), 1),
    "hertz": lambda _, at: round(_oscillate(at, 50.0, 0.02), 2),
    "amps": lambda _, at: round(at.grid_w / 230.4, 1),
    "g": lambda _, at: at.grid_w,
    "g1": lambda site, at: site.split(at.grid_w, 1),
    "g2": lambda site, at: site.split(at.grid_w, 2),
    "g3": lambda site, at: site.split(at.grid_w, 3),
    "a1": lambda site, at: site.split(at.consumption_w, 1),
    "a2": lambda site, at: site.split(at.consumption_w, 2),
    "a3": lambda site, at: site.split(at.consumption_w, 3),
    "out": lambda _, at: round(at.consumption_w * 0.62),
    "bv": lambda _, at: at.voltage_v,
    "bc": lambda _, at: at.current_a,
    "bp": lambda _, at: at.battery_w,
    "bs": lambda _, at: round(at.soc * 100.0, 1),
    "bst": lambda _, at: 0 if at.battery_w == 0.0 else (1 if at.battery_w > 0.0 else 2),
    "temp": lambda _, at: at.temperature_c,
    "used": lambda site, at: round((at.soc - 1.0) * _capacity_ah(site), 1),
    "ah": lambda site, _: _capacity_ah(site),
    "low": lambda _, at: 1 if at.soc < 0.1 else 0,
    "cellmin": lambda _, at: round(at.voltage_v / 16.0 - 0.006, 3),
    "cellmax": lambda _, at: round(at.voltage_v / 16.0 + 0.005, 3),
    "state": lambda _, at: _charge_state(at),
    "pdc": lambda _, at: at.pv_w,
    "pac": lambda _, at: at.pv_w,
    "pvv": lambda _, at: round(_oscillate(at, 182.0, 3.0), 2) if at.pv_w > 0.0 else 0.0,
    "sci": lambda _, at: round(at.pv_w / at.voltage_v, 1),
    "solar": lambda _, at: _solar_state(at),
    "mppt": lambda _, at: 0 if at.pv_w <= 0.0 else (2 if at.soc < 1.0 else 1),
    "pvstate": lambda _, at: 7 if at.pv_w > 0.0 else 8,
    "yield": _yield_today,
    "tank": lambda _, at: 50 + round(30.0 * math.cos(at.time / 186_000.0)),
    "litres": lambda _, at: 200 + round(120.0 * math.cos(at.time / 186_000.0)),
    "room": lambda _, at: round(at.temperature_c - 2.0, 1),
}
"""Formulas of the values with `@` in the table of attributes."""
