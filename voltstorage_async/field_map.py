"""FieldMap: which quantity each of the vendor's keys means; ProductFields: the same for one product."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from contextlib import suppress
from math import isfinite
from types import MappingProxyType
from typing import Final, Literal, TypeAlias, get_args

from attrs import evolve, field, frozen

from energy_core.codec.drift import Drift
from energy_core.errors import DecodeError
from energy_core.printable import printable, printable_class
from energy_core.stream.vocabulary import Quantity
from voltstorage_async.fast_reader import FastReaders
from voltstorage_async.field_reader import Decoded, FieldMeaning, FieldReader, decimal, usable

__all__ = ["FieldMap", "FieldMeaning", "ProductFields", "SocScale"]

SocScale: TypeAlias = Literal["auto", "ratio", "percent"]
"""How the service counts a product's state of charge: 0..1 until a value is above 1.5, 0..1, or 0..100."""

_log = logging.getLogger("voltstorage_async")


def _meanings(given: Mapping[str, tuple[Quantity, float] | FieldMeaning]) -> Mapping[str, FieldMeaning]:
    return MappingProxyType({str(key): _meaning(key, value) for key, value in given.items()})


def _meaning(key: str, value: tuple[Quantity, float] | FieldMeaning) -> FieldMeaning:
    try:
        made = FieldMeaning(*value)
        made = made._replace(quantity=Quantity(made.quantity), factor=float(made.factor))
    except (TypeError, ValueError):
        raise ValueError(f"the meaning of {key!r} must be (Quantity, factor)") from None
    if not isfinite(made.factor) or made.factor == 0:
        raise ValueError(f"the factor of {key!r} must be a finite number other than 0")
    return made


_EVENT_KEYS: Final[Mapping[str, FieldMeaning]] = {
    "pvPower": FieldMeaning(Quantity.PV_POWER),
    "dcVoltage": FieldMeaning(Quantity.BATTERY_VOLTAGE),
    "gridPower": FieldMeaning(Quantity.GRID_POWER, guess=True),  # feed-in is negative there too
    "consumption": FieldMeaning(Quantity.CONSUMPTION_POWER, guess=True),
    "batteryPower": FieldMeaning(Quantity.BATTERY_POWER, -1.0, guess=True),  # negative while charging there
    "soc": FieldMeaning(Quantity.BATTERY_SOC, 100.0, guess=True, ratio_or_percent=True),
    "dcCurrent": FieldMeaning(Quantity.BATTERY_CURRENT, -1.0, guess=True),  # negative while charging there
    "batteryTemperature": FieldMeaning(Quantity.BATTERY_TEMPERATURE, guess=True),
}

# The printed sample balances (PV + power electronics = household + feed-in), which tells the signs.
# `inverterPower` repeats the power electronics' value in every row of it.
_COLUMNS: Final[Mapping[str, FieldMeaning]] = {
    "Power_Grid": FieldMeaning(Quantity.GRID_POWER),
    "Power_Household": FieldMeaning(Quantity.CONSUMPTION_POWER),
    "Power_PV": FieldMeaning(Quantity.PV_POWER),
    "Power_Power Electronics": FieldMeaning(Quantity.BATTERY_POWER, -1.0, guess=True),
    "SOC_State of Charge": FieldMeaning(Quantity.BATTERY_SOC, 100.0, ratio_or_percent=True),
    "inverterPower": FieldMeaning(Quantity.BATTERY_POWER, -1.0, guess=True),
}


def _elsewhere(names: Mapping[str, FieldMeaning]) -> dict[str, FieldMeaning]:
    """Return names that are documented for the other kind of answer, which makes them guesses here."""
    return {key: meaning._replace(guess=True) for key, meaning in names.items()}


_ANY_EVENT_KEY: Final[Mapping[str, FieldMeaning]] = {**_EVENT_KEYS, **_elsewhere(_COLUMNS)}
_ANY_COLUMN: Final[Mapping[str, FieldMeaning]] = {**_COLUMNS, **_elsewhere(_EVENT_KEYS)}


@printable_class
@frozen(kw_only=True)
class FieldMap:
    """What the vendor's event keys and export columns mean, replaceable as a whole or by `extended`.

    The vendor documents two event keys, `pvPower` and `dcVoltage`; the others are guesses and say so
    (`FieldMeaning.guess`).
    The columns are those of the printed export; only the sign of the power electronics is
    inferred. Events with the names of columns are understood too, and the other way round. A key that is not
    here is not lost: it stays in the event's `raw`. Where two keys mean one quantity, the one that stands
    first here wins.

    A state of charge outside 0..100 % is left out. Whether the service counts it from 0 to 1 or to 100 is
    decided for each product, unless a meaning of your own says so: see `VoltStorageClient(soc_scale=...)`.

    >>> own = FieldMap().extended(events={"batteryTemp": (Quantity.BATTERY_TEMPERATURE, 1.0)})
    >>> own.events["batteryTemp"].factor
    1.0
    """

    events: Mapping[str, FieldMeaning] = field(default=_ANY_EVENT_KEY, converter=_meanings)
    """Keys of a product event's `data`."""
    columns: Mapping[str, FieldMeaning] = field(default=_ANY_COLUMN, converter=_meanings)
    """Columns of an export."""
    of_events: FieldReader = field(init=False, eq=False, repr=False)
    """Translates events by the thousand."""
    of_rows: FieldReader = field(init=False, eq=False, repr=False)
    """Likewise the rows of an export."""

    straight: FastReaders = field(init=False, eq=False, repr=False)
    """Reads their messages at a glance."""
    _variants: dict[frozenset[str], FieldMap] = field(factory=dict, init=False, eq=False, repr=False)

    @of_events.default
    def _for_events(self) -> FieldReader:
        return FieldReader(self.events)

    @of_rows.default
    def _for_rows(self) -> FieldReader:
        return FieldReader(self.columns)

    @straight.default
    def _for_messages(self) -> FastReaders:
        return FastReaders(self.of_events)

    def extended(
        self,
        *,
        events: Mapping[str, tuple[Quantity, float] | FieldMeaning] = MappingProxyType({}),
        columns: Mapping[str, tuple[Quantity, float] | FieldMeaning] = MappingProxyType({}),
    ) -> FieldMap:
        """Return a map that knows these keys too; a key already there is given its new meaning."""
        return evolve(self, events={**self.events, **events}, columns={**self.columns, **columns})

    def in_percent(self, names: Collection[str]) -> FieldMap:
        """Return a map in which these names, of states of charge, count from 0 to 100."""

        def changed(meanings: Mapping[str, FieldMeaning]) -> dict[str, FieldMeaning]:
            return {
                key: meaning._replace(factor=1.0, ratio_or_percent=False)
                if meaning.ratio_or_percent and key in names
                else meaning
                for key, meaning in meanings.items()
            }

        key = frozenset(names)
        if key not in self._variants:
            self._variants[key] = evolve(self, events=changed(self.events), columns=changed(self.columns))
        return self._variants[key]

    def as_event(self, values: Mapping[str, float]) -> dict[str, object]:
        """Name and sign an export row's values as an event would; what no event key means keeps its name."""
        told: dict[str, object] = {}
        chosen = self.of_rows.chosen(values)
        for name, value in values.items():
            key, factor = self._event_key(chosen.get(name)) or (name, 1.0)
            told[key] = value if factor == 1.0 else value * factor + 0.0
        return told

    def only(self, data: Mapping[str, object], quantities: Collection[str]) -> dict[str, object]:
        """Leave out of an event's data the keys that mean other quantities than these."""
        known = self.events
        return {
            key: value for key, value in data.items() if key not in known or known[key].quantity in quantities
        }

    def _event_key(self, column: FieldMeaning | None) -> tuple[str, float] | None:
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


class ProductFields:
    """What the names mean that one product sends: a `FieldMap`, and how its state of charge is counted.

    No document says whether that is 0..1 or 0..100, and events may differ from exports. For each name 0..1 is
    assumed until a value above 1.5 shows otherwise.

    Args:
        fields: What the names mean.
        scale: How the state of charge is counted, for all its names.
        drift: Counts what cannot be read.
    """

    __slots__ = ("_drift", "_percent", "_scale", "fields", "learned", "meaningless")

    def __init__(self, fields: FieldMap, *, scale: SocScale = "auto", drift: Drift | None = None) -> None:
        self.fields = fields
        self.learned = 0
        """How often the scale of a name was found to be another than was assumed."""
        self.meaningless: dict[str, None] = {}
        """Keys of events none of whose keys is known, the first few of them."""
        self._drift = drift
        self._scale = checked_scale(scale)
        self._percent: frozenset[str] = frozenset()
        if scale == "percent":
            self.fields = fields.in_percent(_open_names(fields))

    @property
    def assumes(self) -> bool:
        """Whether a state of charge is read with a scale that is neither set nor learned."""
        return self._scale == "auto" and not self._percent

    @property
    def scale(self) -> str:
        """How the state of charge is counted, and how that is known."""
        if self._scale != "auto":
            return f"{'0..1' if self._scale == 'ratio' else '0..100'} (set)"
        if not self._percent:
            return "0..1 (assumed)"
        return f"0..100 (learned: {', '.join(sorted(self._percent))})"

    def event(self, data: Mapping[str, object]) -> Decoded:
        """Translate an event's data, which may show the scale."""
        meant = self.fields.of_events.read(data)
        if meant[2]:
            if self._learn(self.fields.events, data):
                meant = self.fields.of_events.read(data)
            if meant[2]:
                self._note_unusable("LatestData", self.fields.events, data)
        if not meant[0] and self.fields.events.keys().isdisjoint(data):
            self._note_meaningless(data)
        return meant

    def row(self, values: Mapping[str, object]) -> Decoded:
        """Translate an export row's values, likewise."""
        meant = self.fields.of_rows.read(values)
        if meant[2]:
            if self._learn(self.fields.columns, values):
                meant = self.fields.of_rows.read(values)
            if meant[2]:
                self._note_unusable("ExportRow", self.fields.columns, values)
        return meant

    def note(self, model: str, name: str, problem: str) -> None:
        """Count one deviation; a stream goes on even where the drift is strict."""
        if self._drift is not None:
            with suppress(DecodeError):
                self._drift.note(model, name, problem)

    def _learn(self, meanings: Mapping[str, FieldMeaning], data: Mapping[str, object]) -> bool:
        """Tell whether the data shows that a name counts to 100."""
        if self._scale != "auto":
            return False
        shown = {
            key
            for key, value in data.items()
            if key in meanings
            and meanings[key].ratio_or_percent
            and _ABOVE_ALL_RATIOS < (decimal(value) or 0.0) <= _FULL
        }
        if not shown:
            return False
        self._percent |= shown
        self.fields = self.fields.in_percent(self._percent)
        self.learned += 1
        for key in sorted(shown):
            _log.warning("%s is a charge of 0 to 100, not of 0 to 1; set soc_scale to say so", key)
            self.note("LatestData", key, "percent instead of a ratio")
        return True

    def _note_meaningless(self, data: Mapping[str, object]) -> None:
        for key in data:
            if key not in self.meaningless and len(self.meaningless) < _MOST_NAMES:
                self.meaningless[key] = None
                self.note("LatestData", key, "unknown")

    def _note_unusable(
        self, model: str, meanings: Mapping[str, FieldMeaning], data: Mapping[str, object]
    ) -> None:
        for key, value in data.items():
            if key in meanings and value is not None and value != "" and usable(value, meanings[key]) is None:
                charge = meanings[key].quantity is Quantity.BATTERY_SOC and decimal(value) is not None
                self.note(model, key, "not within 0..100 %" if charge else "not a number")

    @printable
    def __repr__(self) -> str:
        return f"<ProductFields, state of charge {self.scale}>"


def checked_scale(scale: object) -> SocScale:
    """Return one of the scales.

    Raises:
        ValueError: it is none.
    """
    for known in get_args(SocScale):
        if scale == known:
            found: SocScale = known
            return found
    raise ValueError(f"soc_scale must be one of {', '.join(get_args(SocScale))}: {scale!r}")


def _open_names(fields: FieldMap) -> set[str]:
    both = (*fields.events.items(), *fields.columns.items())
    return {key for key, meaning in both if meaning.ratio_or_percent}


_ABOVE_ALL_RATIOS: Final = 1.5
_MOST_NAMES: Final = 32
_FULL: Final = 100.0
