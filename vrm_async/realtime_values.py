"""What a gateway's topics mean: values of one site by topic, and the quantities made of them. No I/O.

Topics are `N/<portal id>/<service>/<instance>/<path>`; sums and signs are those of dbus-systemcalc-py, which
computes `system/0` on the gateway and whose signs are ours. A topic without a value (null) is missing, never
zero. Source: the README of dbus-flashmq and the web console gui-v2, both by Victron Energy.

A sum needs all parts that the site has. Which parts it has, only a full publish shows: what was a number in
it is a part, what was null or not in it is not. A part that becomes null in between makes its sums missing
until the next full publish.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from math import isfinite
from typing import Final, NamedTuple

from energy_core.printable import printable
from energy_core.stream.vocabulary import Quantity

LARGEST_PAYLOAD: Final = 4096
"""Bytes; a number needs less than a hundred."""

FILTERS: Final = (
    "heartbeat",
    "keepalive",
    "full_publish_completed",
    *(f"system/0/Ac/{each}/+/Power" for each in ("Grid", "Consumption", "Genset")),
    *(f"system/0/Ac/{each}/NumberOfPhases" for each in ("Grid", "Consumption", "Genset")),
    *(f"system/0/Ac/{each}/+/Power" for each in ("PvOnGrid", "PvOnOutput", "PvOnGenset")),
    "system/0/Dc/Pv/Power",
    "system/0/Dc/System/Power",
    *(f"system/0/Dc/Battery/{each}" for each in ("Power", "Current", "Voltage", "Soc", "Temperature")),
    "evcharger/+/Ac/Power",
    "evcharger/+/Ac/Energy/Forward",
    "grid/+/Ac/Energy/Forward",
    "grid/+/Ac/Energy/Reverse",
    "pvinverter/+/Ac/Energy/Forward",
    "solarcharger/+/Yield/System",
)
"""Topic filters below `N/<portal id>/`: the ones that quantities are made of, and no more."""

MAX_DEVICES: Final = 64
"""Counters and EV chargers of a site; more exist only by mistake."""

_PHASES: Final = ("L1", "L2", "L3")
_AC_PV: Final = ("PvOnGrid", "PvOnOutput", "PvOnGenset")


def _phases(name: str) -> tuple[str, ...]:
    return tuple(f"Ac/{name}/{phase}/Power" for phase in _PHASES)


_LOADS: Final = _phases("Consumption")
_PV_PARTS: Final = tuple(part for name in _AC_PV for part in _phases(name))
_EV: Final = "evcharger power"
"""Beginning of the names under which the powers of EV chargers are kept; the instance follows."""


class _Sum(NamedTuple):
    parts: tuple[str, ...]
    phases: str = ""
    """If set, the first three parts are the phases of this: all up to the highest one must be numbers."""


_QUANTITIES: Final[Mapping[Quantity, _Sum]] = {
    Quantity.GRID_POWER: _Sum(_phases("Grid"), "Grid"),
    Quantity.GENERATOR_POWER: _Sum(_phases("Genset"), "Genset"),
    Quantity.CONSUMPTION_POWER: _Sum((*_LOADS, "Dc/System/Power"), "Consumption"),
    Quantity.CONSUMPTION_AC_POWER: _Sum(_LOADS, "Consumption"),
    Quantity.PV_POWER: _Sum(("Dc/Pv/Power", *_PV_PARTS)),
    Quantity.PV_AC_POWER: _Sum(_PV_PARTS),
    **{
        Quantity(f"pv_{phase.lower()}_power"): _Sum(tuple(f"Ac/{name}/{phase}/Power" for name in _AC_PV))
        for phase in _PHASES
    },
}
"""Quantities that are sums."""

_SINGLE: Final[Mapping[str, Quantity]] = {
    "Dc/Battery/Power": Quantity.BATTERY_POWER,
    "Dc/Battery/Current": Quantity.BATTERY_CURRENT,
    "Dc/Battery/Voltage": Quantity.BATTERY_VOLTAGE,
    "Dc/Battery/Soc": Quantity.BATTERY_SOC,
    "Dc/Battery/Temperature": Quantity.BATTERY_TEMPERATURE,
    "Dc/System/Power": Quantity.CONSUMPTION_DC_POWER,
    "Dc/Pv/Power": Quantity.PV_DC_POWER,
    **{
        f"Ac/{topic}/{phase}/Power": Quantity(f"{name}_{phase.lower()}_power")
        for topic, name in (("Grid", "grid"), ("Consumption", "consumption"))
        for phase in _PHASES
    },
}
"""Topics below `system/0/` that are a quantity by themselves."""

_COUNTERS: Final[Mapping[tuple[str, str], Quantity]] = {
    ("grid", "Ac/Energy/Forward"): Quantity.GRID_IMPORT_ENERGY,
    ("grid", "Ac/Energy/Reverse"): Quantity.GRID_EXPORT_ENERGY,
    ("pvinverter", "Ac/Energy/Forward"): Quantity.PV_ENERGY,
    ("solarcharger", "Yield/System"): Quantity.PV_ENERGY,
    ("evcharger", "Ac/Energy/Forward"): Quantity.EV_CHARGER_ENERGY,
}
"""Counters in kWh by service and path."""

_MADE_OF: dict[str, tuple[Quantity, ...]] = {}
for _quantity, _sum in _QUANTITIES.items():
    for _part in (*_sum.parts, *((f"Ac/{_sum.phases}/NumberOfPhases",) if _sum.phases else ())):
        _MADE_OF[_part] = (*_MADE_OF.get(_part, ()), _quantity)
for _part, _quantity in _SINGLE.items():
    _MADE_OF[_part] = (*_MADE_OF.get(_part, ()), _quantity)


class SystemValue(NamedTuple):
    """A topic of the whole site, and the quantities that it is part of."""

    path: str
    quantities: tuple[Quantity, ...]


class CounterValue(NamedTuple):
    """A topic that is a device's energy counter."""

    instance: int
    quantity: Quantity
    path: str


Meaning = SystemValue | CounterValue
"""What a topic below `N/<portal id>/` means; None where it means nothing to us."""


@lru_cache(maxsize=4096)  # of all sites: only instances of devices differ
def meaning(path: str) -> Meaning | None:
    """Return what a topic below `N/<portal id>/` means, such as `system/0/Dc/Pv/Power`."""
    service, _, rest = path.partition("/")
    number, _, name = rest.partition("/")
    if not (number.isascii() and number.isdigit() and len(number) < 10):
        return None
    if service == "system" and number == "0" and name in _MADE_OF:
        return SystemValue(name, _MADE_OF[name])
    if service == "evcharger" and name == "Ac/Power":
        return SystemValue(f"{_EV} {int(number)}", (Quantity.EV_CHARGER_POWER,))
    counter = _COUNTERS.get((service, name))
    return None if counter is None else CounterValue(int(number), counter, f"{service}/{int(number)}/{name}")


_PLAIN: Final = re.compile(rb'\{"value": ?(?:(-?[0-9]{1,15}(?:\.[0-9]{1,20})?)|null)\}')


class BadPayload(ValueError):
    """A payload that holds no number and is not null."""


def read_number(payload: bytes) -> float | None:
    """Return the number of a payload; None for null and for an empty payload (the device went away).

    Raises:
        BadPayload: it is text, a list, nested, too large, not JSON, or not finite.
    """
    plain = _PLAIN.fullmatch(payload)  # most of them, four times faster than JSON
    if plain is not None:
        return None if plain[1] is None else float(plain[1])
    if not payload:
        return None
    value = read_object(payload).get("value", _MISSING)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not -1e15 < value < 1e15:
        raise BadPayload("no number")
    return float(value)


_MISSING: Final = object()


def read_object(payload: bytes) -> Mapping[str, object]:
    """Return a payload that is a JSON object.

    Raises:
        BadPayload: it is not an object, or too large.
    """
    if len(payload) > LARGEST_PAYLOAD:
        raise BadPayload("too large")
    try:
        found = json.loads(payload)
    except (ValueError, RecursionError):
        raise BadPayload("not JSON") from None
    if not isinstance(found, dict):
        raise BadPayload("no object")
    return found


class SiteValues:
    """The newest values of one site, and which parts it has.

    `take` each message, then `changed` returns the quantities that differ from what it returned before.
    """

    __slots__ = ("_complete", "_lost", "_published", "_sent", "_touched", "_values")

    def __init__(self) -> None:
        self._values: dict[str, float] = {}
        self._lost: set[str] = set()  # numbers before, null now
        self._published: set[str] | None = None  # paths seen since a full publish was asked for
        self._touched: set[Quantity] = set()
        self._sent: dict[Quantity, float] = {}
        self._complete = False

    @property
    def complete(self) -> bool:
        """Whether a full publish has shown which parts the site has."""
        return self._complete

    @property
    def publishing(self) -> bool:
        """Whether a full publish was asked for and is not complete."""
        return self._published is not None

    @property
    def uncertain(self) -> bool:
        """Whether a part has disappeared, so that a full publish has to tell whether it is gone."""
        return bool(self._lost)

    def take(self, what: SystemValue, value: float | None) -> None:
        """Note the newest value of a topic; None if it does not exist now."""
        path = what.path
        if self._published is not None:
            self._published.add(path)
        if value is not None:
            if self._values.get(path) == value:
                return
            if len(self._values) >= len(_MADE_OF) + MAX_DEVICES:
                return
            self._values[path] = value
            self._lost.discard(path)
        elif path in self._values:
            del self._values[path]
            self._lost.add(path)
        else:
            return
        self._touched.update(what.quantities)

    def begin_publish(self) -> None:
        """Note that a full publish was asked for."""
        self._published = set()

    def end_publish(self) -> None:
        """Note that it is complete: a part that is null in it, or not in it, is gone."""
        published, self._published = self._published, None
        if published is None:
            return
        gone = {path for path in self._values if path not in published}
        for path in gone:
            del self._values[path]
        for path in gone | self._lost:
            self._touched.update(_quantities_of(path))
        self._lost.clear()
        if not self._complete:
            self._complete = True
            self._touched.update(_QUANTITIES)
            self._touched.add(Quantity.EV_CHARGER_POWER)

    def reset(self) -> None:
        """Forget everything: the connection was lost, so values may have changed unseen."""
        self._values.clear()
        self._lost.clear()
        self._sent.clear()
        self._touched.clear()
        self._published = None
        self._complete = False

    def changed(self) -> dict[Quantity, float]:
        """Return the quantities that have changed since the last call and are known."""
        found = {}
        for quantity in self._touched:
            value = self._value(quantity)
            if value is None:
                self._sent.pop(quantity, None)
            elif self._sent.get(quantity) != value:
                found[quantity] = self._sent[quantity] = value
        self._touched.clear()
        return found

    def everything(self) -> dict[Quantity, float]:
        """Return all quantities that are known, changed or not."""
        self._touched.clear()
        known = {quantity: self._value(quantity) for quantity in _ALL}
        self._sent = {quantity: value for quantity, value in known.items() if value is not None}
        return dict(self._sent)

    def _value(self, quantity: Quantity) -> float | None:
        single = _SINGLE_PATH.get(quantity)
        if single is not None:
            value = self._values.get(single)
            if value is not None and quantity is Quantity.BATTERY_SOC and not 0 <= value <= 100:
                return None
            return value
        if not self._complete:
            return None
        if quantity is Quantity.EV_CHARGER_POWER:
            return self._total([path for path in {*self._values, *self._lost} if path.startswith(_EV)])
        rule = _QUANTITIES[quantity]
        if rule.phases and not self._has_phases(rule):
            return None
        return self._total(rule.parts)

    def _has_phases(self, rule: _Sum) -> bool:
        """Return whether the phases are known up to the highest one, or to the number the gateway names."""
        present = [part in self._values for part in rule.parts[:3]]
        named = self._values.get(f"Ac/{rule.phases}/NumberOfPhases", 1.0)
        least = int(min(max(named, 1.0), 3.0))
        return all(present[:least]) and present == sorted(present, reverse=True)

    def _total(self, parts: Iterable[str]) -> float | None:
        if not self._lost.isdisjoint(parts):
            return None
        present = [self._values[part] for part in parts if part in self._values]
        total = sum(present)
        return total if present and isfinite(total) else None

    @printable
    def __repr__(self) -> str:
        state = "complete" if self._complete else "incomplete"
        return f"<SiteValues {state}, {len(self._values)} values, {len(self._lost)} lost>"


_SINGLE_PATH: Final = {quantity: path for path, quantity in _SINGLE.items()}
_ALL: Final = (*_QUANTITIES, *_SINGLE_PATH, Quantity.EV_CHARGER_POWER)


def _quantities_of(path: str) -> tuple[Quantity, ...]:
    return (Quantity.EV_CHARGER_POWER,) if path.startswith(_EV) else _MADE_OF[path]


class Counters:
    """The energy counters of a site's devices.

    A counter that falls was reset, or the value is one wrong message. So a lower value is left out until a
    second message confirms it.
    """

    __slots__ = ("_doubted", "_touched", "_values", "resets")

    def __init__(self) -> None:
        self.resets = 0
        """Number of counters that began anew."""
        self._values: dict[CounterValue, float] = {}
        self._doubted: dict[CounterValue, float] = {}
        self._touched: set[CounterValue] = set()

    @property
    def uncertain(self) -> bool:
        """Whether a counter has fallen, and no second message has confirmed it."""
        return bool(self._doubted)

    def take(self, what: CounterValue, value: float | None) -> None:
        """Note the newest value of a counter in kWh; None if it does not exist now."""
        if value is None or value < 0 or (what not in self._values and len(self._values) >= MAX_DEVICES):
            return
        known = self._values.get(what)
        if known is not None and value < known:
            doubted = self._doubted.get(what)
            if doubted is None or value < doubted:
                self._doubted[what] = value
                return
            self.resets += 1
        self._doubted.pop(what, None)
        if known != value:
            self._values[what] = value
            self._touched.add(what)

    def changed(self) -> dict[int, dict[Quantity, float]]:
        """Return the counters that have changed since the last call, by the instance of their device."""
        found: dict[int, dict[Quantity, float]] = {}
        for each in self._touched:
            rivals = [other for other in self._values if other[:2] == each[:2]]
            # Of two kinds of devices with one instance number, the first by name is delivered.
            if each == min(rivals, key=lambda other: other.path):
                found.setdefault(each.instance, {})[each.quantity] = self._values[each]
        self._touched.clear()
        return found

    @printable
    def __repr__(self) -> str:
        return f"<Counters: {len(self._values)}, {self.resets} reset>"
