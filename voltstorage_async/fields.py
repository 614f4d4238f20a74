"""FieldMap: which quantity each of the vendor's keys means."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from math import isfinite
from operator import itemgetter, mul
from types import MappingProxyType
from typing import Final, NamedTuple, cast

from attrs import evolve, field, frozen

from energy_core.stream.event import Quantity


class Meaning(NamedTuple):
    """The quantity a key holds and what to multiply by to reach its unit and sign."""

    quantity: Quantity
    factor: float = 1.0
    guess: bool = False
    """Whether the key is in no public document."""


def _meanings(given: Mapping[str, tuple[Quantity, float] | Meaning]) -> Mapping[str, Meaning]:
    return MappingProxyType({str(key): _meaning(key, value) for key, value in given.items()})


def _meaning(key: str, value: tuple[Quantity, float] | Meaning) -> Meaning:
    try:
        made = Meaning(*value)
        made = made._replace(quantity=Quantity(made.quantity), factor=float(made.factor))
    except (TypeError, ValueError):
        raise ValueError(f"the meaning of {key!r} must be (Quantity, factor)") from None
    if not isfinite(made.factor) or made.factor == 0:
        raise ValueError(f"the factor of {key!r} must be a finite number other than 0")
    return made


_EVENT_KEYS: Final[Mapping[str, Meaning]] = {
    "pvPower": Meaning(Quantity.PV_POWER),
    "dcVoltage": Meaning(Quantity.BATTERY_VOLTAGE),
    "gridPower": Meaning(Quantity.GRID_POWER, guess=True),  # feed-in is negative there too
    "consumption": Meaning(Quantity.CONSUMPTION_POWER, guess=True),
    "batteryPower": Meaning(Quantity.BATTERY_POWER, -1.0, guess=True),  # negative while charging there
    "soc": Meaning(Quantity.BATTERY_SOC, 100.0, guess=True),  # a ratio 0..1 there
    "dcCurrent": Meaning(Quantity.BATTERY_CURRENT, -1.0, guess=True),  # negative while charging there
    "batteryTemperature": Meaning(Quantity.BATTERY_TEMPERATURE, guess=True),
}

# The printed sample balances (PV + power electronics = household + feed-in), which tells the signs.
# `inverterPower` repeats the power electronics' value in every row, so it is left to the vendor's own name.
_COLUMNS: Final[Mapping[str, Meaning]] = {
    "Power_Grid": Meaning(Quantity.GRID_POWER),
    "Power_Household": Meaning(Quantity.CONSUMPTION_POWER),
    "Power_PV": Meaning(Quantity.PV_POWER),
    "Power_Power Electronics": Meaning(Quantity.BATTERY_POWER, -1.0, guess=True),
    "SOC_State of Charge": Meaning(Quantity.BATTERY_SOC, 100.0),
}


@frozen(kw_only=True)
class FieldMap:
    """What the vendor's event keys and export columns mean, replaceable as a whole or by `extended`.

    The vendor documents two event keys, `pvPower` and `dcVoltage`; the others are guesses and say so
    (`Meaning.guess`). The columns are those of the printed export; only the sign of the power electronics is
    inferred. A key that is not here is not lost: it stays in the event's `raw`. Where two keys mean one
    quantity, the one that stands first here wins.

    >>> own = FieldMap().extended(events={"batteryTemp": (Quantity.BATTERY_TEMPERATURE, 1.0)})
    >>> own.events["batteryTemp"].factor
    1.0
    """

    events: Mapping[str, Meaning] = field(default=_EVENT_KEYS, converter=_meanings)
    """Keys of a product event's `data`."""
    columns: Mapping[str, Meaning] = field(default=_COLUMNS, converter=_meanings)
    """Columns of an export."""
    of_events: Translator = field(init=False, eq=False, repr=False)
    """Translates events by the thousand."""
    of_rows: Translator = field(init=False, eq=False, repr=False)
    """Likewise the rows of an export."""

    @of_events.default
    def _for_events(self) -> Translator:
        return Translator(self.events)

    @of_rows.default
    def _for_rows(self) -> Translator:
        return Translator(self.columns)

    def extended(
        self,
        *,
        events: Mapping[str, tuple[Quantity, float] | Meaning] = MappingProxyType({}),
        columns: Mapping[str, tuple[Quantity, float] | Meaning] = MappingProxyType({}),
    ) -> FieldMap:
        """Return a map that knows these keys too; a key already there is given its new meaning."""
        return evolve(self, events={**self.events, **events}, columns={**self.columns, **columns})

    def as_event(self, values: Mapping[str, float]) -> dict[str, object]:
        """Name and sign an export row's values as an event would; what no event key means keeps its name."""
        told: dict[str, object] = {}
        for name, value in values.items():
            key, factor = self._event_key(self.columns.get(name)) or (name, 1.0)
            told.setdefault(key, value if factor == 1.0 else value * factor + 0.0)
        return told

    def only(self, data: Mapping[str, object], quantities: Collection[str]) -> dict[str, object]:
        """Leave out of an event's data the keys that mean other quantities than these."""
        known = self.events
        return {
            key: value for key, value in data.items() if key not in known or known[key].quantity in quantities
        }

    def _event_key(self, column: Meaning | None) -> tuple[str, float] | None:
        if column is None:
            return None
        same = ((key, each) for key, each in self.events.items() if each.quantity is column.quantity)
        return next(((key, column.factor / each.factor) for key, each in same), None)

    def reading(self, data: Mapping[str, object]) -> tuple[dict[Quantity, float], int]:
        """Translate an event's data; also tell how many known keys held something that is not a number."""
        read = self.of_events.read(data)
        return read.values, read.unusable

    def row(self, values: Mapping[str, object]) -> tuple[dict[Quantity, float], int]:
        """Translate an export row's values, likewise."""
        read = self.of_rows.read(values)
        return read.values, read.unusable


class Reading(NamedTuple):
    """What data means."""

    values: dict[Quantity, float]
    quantities: tuple[Quantity, ...]
    """Of `values`, in their order; one and the same object for data of the same shape."""
    unusable: int = 0
    """How many known keys held something that is not a number."""


class _Shape(NamedTuple):
    """What there is to know about data with certain keys."""

    pick: Callable[[Mapping[str, object]], tuple[object, ...]]
    quantities: tuple[Quantity, ...]
    factors: tuple[float, ...]


class Translator:
    """Translates data; what it has found out about data of a shape, it knows the next time."""

    __slots__ = ("_meanings", "_shapes")

    def __init__(self, meanings: Mapping[str, Meaning]) -> None:
        self._meanings = meanings
        self._shapes: dict[tuple[str, ...], _Shape] = {}

    def read(self, data: Mapping[str, object]) -> Reading:
        """Translate."""
        keys = tuple(data)
        pick, quantities, factors = self._shapes.get(keys) or self._learn(keys)
        found = pick(data)
        if _NUMBERS.issuperset(map(type, found)):
            numbers = cast("tuple[float, ...]", found)
            # A zero stays a plain one: -1 * 0.0 would be written -0.0.
            scaled = map(_scaled, numbers, factors) if 0 in numbers else map(mul, numbers, factors)
            values = dict(zip(quantities, scaled))  # noqa: B905  (of one length; saying so takes a third longer)
            # Looked at together, which costs a third: a sum is finite only if all its parts are.
            if isfinite(sum(values.values())):
                return _reading((values, quantities, 0))
        return _read_carefully(self._meanings, data)

    def _learn(self, keys: tuple[str, ...]) -> _Shape:
        chosen: dict[Quantity, str] = {}
        for key, meaning in self._meanings.items():
            if key in keys:
                chosen.setdefault(meaning.quantity, key)
        picked = tuple(chosen.values())
        pick = itemgetter(*picked) if len(picked) > 1 else lambda data: tuple(data[key] for key in picked)
        shape = _Shape(pick, tuple(chosen), tuple(self._meanings[key].factor for key in picked))
        if len(self._shapes) < _MOST_SHAPES:  # most events of a product have the same keys
            self._shapes[keys] = shape
        return shape


_MOST_SHAPES: Final = 64
_NUMBERS: Final = frozenset((int, float))
_reading: Final[Callable[[tuple[dict[Quantity, float], tuple[Quantity, ...], int]], Reading]] = partial(
    tuple.__new__, Reading
)


def _read_carefully(meanings: Mapping[str, Meaning], data: Mapping[str, object]) -> Reading:
    values: dict[Quantity, float] = {}
    unusable = 0
    for key, (quantity, factor, _) in meanings.items():
        value = data.get(key)
        if value is None or quantity in values:
            continue
        number = _usable(value, factor)
        if number is None:
            unusable += 1
        else:
            values[quantity] = number
    return Reading(values, tuple(values), unusable)


def _usable(value: object, factor: float) -> float | None:
    if type(value) is not float and type(value) is not int:  # exactly: to isinstance a boolean is an int
        return None
    try:
        scaled = _scaled(value, factor)
    except OverflowError:
        return None
    return scaled if isfinite(scaled) else None


def _scaled(value: float, factor: float) -> float:
    return value * factor + 0.0
