"""FieldMap maps the vendor's keys and columns to quantities; ProductFields applies it to one product."""

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
from voltstorage_async.field_reader import Decoded, FieldMeaning, FieldReader, convert, decimal

__all__ = ["FieldMap", "FieldMeaning", "ProductFields", "SocScale"]

SocScale: TypeAlias = Literal["auto", "ratio", "percent"]
"""Scale of a product's state of charge: "ratio" (0..1), "percent" (0..100), or "auto" (0..1 until a value is
above 1.5, then 0..100)."""

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
    "gridPower": FieldMeaning(Quantity.GRID_POWER, guess=True),  # negative while feeding in, as here
    "consumption": FieldMeaning(Quantity.CONSUMPTION_POWER, guess=True),
    "batteryPower": FieldMeaning(Quantity.BATTERY_POWER, -1.0, guess=True),  # negative while charging there
    "soc": FieldMeaning(Quantity.BATTERY_SOC, 100.0, guess=True, ratio_or_percent=True),
    "dcCurrent": FieldMeaning(Quantity.BATTERY_CURRENT, -1.0, guess=True),  # negative while charging there
    "batteryTemperature": FieldMeaning(Quantity.BATTERY_TEMPERATURE, guess=True),
}

# The signs follow from the vendor's printed sample, which balances: PV + power electronics = household +
# feed-in. `inverterPower` repeats the value of the power electronics in every row of that sample.
_COLUMNS: Final[Mapping[str, FieldMeaning]] = {
    "Power_Grid": FieldMeaning(Quantity.GRID_POWER),
    "Power_Household": FieldMeaning(Quantity.CONSUMPTION_POWER),
    "Power_PV": FieldMeaning(Quantity.PV_POWER),
    "Power_Power Electronics": FieldMeaning(Quantity.BATTERY_POWER, -1.0, guess=True),
    "SOC_State of Charge": FieldMeaning(Quantity.BATTERY_SOC, 100.0, ratio_or_percent=True),
    "inverterPower": FieldMeaning(Quantity.BATTERY_POWER, -1.0, guess=True),
}


def _as_guesses(names: Mapping[str, FieldMeaning]) -> dict[str, FieldMeaning]:
    """Return names documented for the other kind of data, marked as guesses for this one."""
    return {key: meaning._replace(guess=True) for key, meaning in names.items()}


_ANY_EVENT_KEY: Final[Mapping[str, FieldMeaning]] = {**_EVENT_KEYS, **_as_guesses(_COLUMNS)}
_ANY_COLUMN: Final[Mapping[str, FieldMeaning]] = {**_COLUMNS, **_as_guesses(_EVENT_KEYS)}


@printable_class
@frozen(kw_only=True)
class FieldMap:
    """Maps the vendor's event keys and export columns to quantities.

    The vendor documents two event keys, `pvPower` and `dcVoltage`. The other event keys are guesses, marked
    by `FieldMeaning.guess`. The columns are those of the vendor's printed export; the sign of the power
    electronics is inferred from it. Column names in events and event keys in exports are accepted, as
    guesses. Unknown keys stay in the `raw` of an event. Where two keys mean one quantity, the first one in
    the map with a number counts.

    A state of charge outside 0..100 % is left out and counted. Whether a product uses 0..1 or 0..100 is found
    for each product, see `VoltStorageClient(soc_scale=...)`; a meaning given by the user keeps its factor.

    Args:
        events: Keys of an event's `data`, with `(Quantity, factor)` each.
        columns: Columns of an export, likewise.

    Raises:
        ValueError: A meaning is not `(Quantity, factor)`, or its factor is 0 or not finite.

    >>> own = FieldMap().extended(events={"batteryTemp": (Quantity.BATTERY_TEMPERATURE, 1.0)})
    >>> own.events["batteryTemp"].factor
    1.0
    """

    events: Mapping[str, FieldMeaning] = field(default=_ANY_EVENT_KEY, converter=_meanings)
    """Keys of an event's `data`."""
    columns: Mapping[str, FieldMeaning] = field(default=_ANY_COLUMN, converter=_meanings)
    """Columns of an export."""
    event_reader: FieldReader = field(init=False, eq=False, repr=False)
    """Converts the data of events."""
    row_reader: FieldReader = field(init=False, eq=False, repr=False)
    """Converts the rows of exports."""
    fast_readers: FastReaders = field(init=False, eq=False, repr=False)
    """Decode live messages of layouts that were seen before."""
    _variants: dict[frozenset[str], FieldMap] = field(factory=dict, init=False, eq=False, repr=False)

    @event_reader.default
    def _for_events(self) -> FieldReader:
        return FieldReader(self.events)

    @row_reader.default
    def _for_rows(self) -> FieldReader:
        return FieldReader(self.columns)

    @fast_readers.default
    def _for_messages(self) -> FastReaders:
        return FastReaders(self.event_reader)

    def extended(
        self,
        *,
        events: Mapping[str, tuple[Quantity, float] | FieldMeaning] = MappingProxyType({}),
        columns: Mapping[str, tuple[Quantity, float] | FieldMeaning] = MappingProxyType({}),
    ) -> FieldMap:
        """Return a map with these keys added; a key that is already there gets the new meaning.

        Raises:
            ValueError: A meaning is not `(Quantity, factor)`, or its factor is 0 or not finite.
        """
        return evolve(self, events={**self.events, **events}, columns={**self.columns, **columns})

    def in_percent(self, names: Collection[str]) -> FieldMap:
        """Return a map in which these keys, if they mean a state of charge, use 0..100."""

        def changed(meanings: Mapping[str, FieldMeaning]) -> dict[str, FieldMeaning]:
            return {
                key: meaning._replace(factor=1.0, ratio_or_percent=False)
                if meaning.ratio_or_percent and key in names
                else meaning
                for key, meaning in meanings.items()
            }

        key = frozenset(names)
        # Products share the variants, and with them the fast readers.
        if key not in self._variants:
            self._variants[key] = evolve(self, events=changed(self.events), columns=changed(self.columns))
        return self._variants[key]

    def as_event(self, values: Mapping[str, float]) -> dict[str, object]:
        """Return a row's values with the keys and signs of events; columns without such a key stay."""
        data: dict[str, object] = {}
        chosen = self.row_reader.chosen(values)
        for name, value in values.items():
            key, factor = self._event_key(chosen.get(name)) or (name, 1.0)
            data[key] = value if factor == 1.0 else value * factor + 0.0
        return data

    def only(self, data: Mapping[str, object], quantities: Collection[str]) -> dict[str, object]:
        """Return an event's data without the keys of quantities other than these."""
        known = self.events
        return {
            key: value for key, value in data.items() if key not in known or known[key].quantity in quantities
        }

    def _event_key(self, column: FieldMeaning | None) -> tuple[str, float] | None:
        if column is None:
            return None
        same = ((key, each) for key, each in self.events.items() if each.quantity is column.quantity)
        return next(((key, column.factor / each.factor) for key, each in same), None)

    def read_event(self, data: Mapping[str, object]) -> tuple[dict[Quantity, float], int]:
        """Convert an event's data.

        Returns:
            The values, and the number of known keys that hold no usable number.
        """
        values, _, unusable = self.event_reader.read(data)
        return values, unusable

    def read_row(self, values: Mapping[str, object]) -> tuple[dict[Quantity, float], int]:
        """Convert the values of an export row.

        Returns:
            The values, and the number of known columns that hold no usable number.
        """
        found, _, unusable = self.row_reader.read(values)
        return found, unusable


_NO_KEYS: Final[frozenset[str]] = frozenset()
"""Shared: an empty set for each of thousands of products takes 216 bytes."""


class ProductFields:
    """A `FieldMap` applied to one product; finds the scale of its state of charge.

    The scale of a state of charge is undocumented, and events may differ from exports. With the
    scale "auto", each key is read as 0..1 until one of its values is above 1.5.

    Args:
        fields: The meanings of the keys.
        scale: The scale of the state of charge, for all its keys.
        drift: Counts values and keys that cannot be read.
    """

    __slots__ = ("_drift", "_percent", "_scale", "fields", "scale_changes", "unknown_keys")

    def __init__(self, fields: FieldMap, *, scale: SocScale = "auto", drift: Drift | None = None) -> None:
        self.fields = fields
        self.scale_changes = 0
        """How often a key proved to use 0..100 instead of 0..1."""
        self.unknown_keys: dict[str, None] = {}
        """The first keys of events that had no known key at all, as an ordered set."""
        self._drift = drift
        self._scale = checked_scale(scale)
        self._percent = _NO_KEYS
        if scale == "percent":
            self.fields = fields.in_percent(_keys_of_either_scale(fields))

    @property
    def scale_assumed(self) -> bool:
        """Whether the scale of the state of charge is neither set nor found yet."""
        return self._scale == "auto" and not self._percent

    @property
    def scale(self) -> str:
        """The scale of the state of charge, and how it is known: set, assumed or found."""
        if self._scale != "auto":
            return f"{'0..1' if self._scale == 'ratio' else '0..100'} (set)"
        if not self._percent:
            return "0..1 (assumed)"
        return f"0..100 (learned: {', '.join(sorted(self._percent))})"

    def read_event(self, data: Mapping[str, object]) -> Decoded:
        """Convert an event's data, and adapt the scale if a value requires it."""
        decoded = self.fields.event_reader.read(data)
        if decoded[2]:
            if self._find_scale(self.fields.events, data):
                decoded = self.fields.event_reader.read(data)
            if decoded[2]:
                self._report_unusable("LatestData", self.fields.events, data)
        if not decoded[0] and self.fields.events.keys().isdisjoint(data):
            self._report_unknown(data)
        return decoded

    def read_row(self, values: Mapping[str, object]) -> Decoded:
        """Convert the values of an export row, and adapt the scale if a value requires it."""
        decoded = self.fields.row_reader.read(values)
        if decoded[2]:
            if self._find_scale(self.fields.columns, values):
                decoded = self.fields.row_reader.read(values)
            if decoded[2]:
                self._report_unusable("ExportRow", self.fields.columns, values)
        return decoded

    def report(self, model: str, name: str, problem: str) -> None:
        """Count one deviation. Never raises: a stream continues even where the drift is strict."""
        if self._drift is not None:
            with suppress(DecodeError):
                self._drift.note(model, name, problem)

    def _find_scale(self, meanings: Mapping[str, FieldMeaning], data: Mapping[str, object]) -> bool:
        """Switch keys to 0..100 whose value is above 1.5; return whether there were any."""
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
        self.scale_changes += 1
        for key in sorted(shown):
            _log.warning("%s uses 0..100, not 0..1; set soc_scale to avoid this warning", key)
            self.report("LatestData", key, "percent instead of a ratio")
        return True

    def _report_unknown(self, data: Mapping[str, object]) -> None:
        for key in data:
            if key not in self.unknown_keys and len(self.unknown_keys) < _MAX_UNKNOWN_KEYS:
                self.unknown_keys[key] = None
                self.report("LatestData", key, "unknown")

    def _report_unusable(
        self, model: str, meanings: Mapping[str, FieldMeaning], data: Mapping[str, object]
    ) -> None:
        for key, value in data.items():
            if (
                key in meanings
                and value is not None
                and value != ""
                and convert(value, meanings[key]) is None
            ):
                charge = meanings[key].quantity is Quantity.BATTERY_SOC and decimal(value) is not None
                self.report(model, key, "not within 0..100 %" if charge else "not a number")

    @printable
    def __repr__(self) -> str:
        return f"<ProductFields, state of charge {self.scale}>"


def checked_scale(scale: object) -> SocScale:
    """Return the scale.

    Raises:
        ValueError: It is not one of "auto", "ratio" and "percent".
    """
    for known in get_args(SocScale):
        if scale == known:
            found: SocScale = known
            return found
    raise ValueError(f"soc_scale must be one of {', '.join(get_args(SocScale))}: {scale!r}")


def _keys_of_either_scale(fields: FieldMap) -> set[str]:
    both = (*fields.events.items(), *fields.columns.items())
    return {key for key, meaning in both if meaning.ratio_or_percent}


_ABOVE_ALL_RATIOS: Final = 1.5
"""A little above 1, so that rounding in a device does not change the scale."""
_MAX_UNKNOWN_KEYS: Final = 32
_FULL: Final = 100.0
