"""FieldMap: which quantity each of the vendor's keys means."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from math import isfinite
from types import MappingProxyType
from typing import Final

from attrs import evolve, field, frozen

from energy_core.printable import printable_class
from energy_core.stream.event import Quantity
from voltstorage_async.straight import Straight
from voltstorage_async.translator import Meaning, Translator

__all__ = ["FieldMap", "Meaning"]


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


@printable_class
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

    straight: Straight = field(init=False, eq=False, repr=False)
    """Reads their messages at a glance."""

    @of_events.default
    def _for_events(self) -> Translator:
        return Translator(self.events)

    @of_rows.default
    def _for_rows(self) -> Translator:
        return Translator(self.columns)

    @straight.default
    def _for_messages(self) -> Straight:
        return Straight(self.of_events)

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
        values, _, unusable = self.of_events.read(data)
        return values, unusable

    def row(self, values: Mapping[str, object]) -> tuple[dict[Quantity, float], int]:
        """Translate an export row's values, likewise."""
        found, _, unusable = self.of_rows.read(values)
        return found, unusable
