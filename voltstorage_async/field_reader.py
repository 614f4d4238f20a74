"""FieldReader converts the vendor's keys and values to quantities in their own units and signs."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from math import isfinite
from typing import Final, NamedTuple, TypeAlias

from energy_core.codec.coerce import number
from energy_core.stream.vocabulary import Quantity


class FieldMeaning(NamedTuple):
    """The quantity that a key holds, and the factor that converts its value to that unit and sign."""

    quantity: Quantity
    factor: float = 1.0
    guess: bool = False
    """Whether no public document names the key."""
    ratio_or_percent: bool = False
    """Whether the service may send 0..100 although the factor is for 0..1; `ProductFields` decides which."""


Decoded: TypeAlias = tuple[dict[Quantity, float], tuple[Quantity, ...], int]
"""Values by quantity; the quantities in the same order; the number of known keys without a usable number.

Data with the same keys shares one tuple of quantities, so readings of one layout can be recognised with `is`.
"""

_MAX_LAYOUTS: Final = 64
_MAX_KEY_CHARS: Final = 4096
"""Layouts whose keys are longer together are not remembered: a server may invent keys without end."""


class FieldLayout(NamedTuple):
    """The keys of one set of data that are read: one for each quantity."""

    fields: tuple[tuple[str, Quantity, float], ...]
    """Key, quantity and factor, in the order of the result."""
    quantities: tuple[Quantity, ...]


class FieldReader:
    """Converts data to quantities.

    Args:
        meanings: What each key means. Where two keys mean one quantity, the first one with a number counts.
    """

    __slots__ = ("_layouts", "_meanings")

    def __init__(self, meanings: Mapping[str, FieldMeaning]) -> None:
        self._meanings = meanings
        self._layouts: dict[tuple[str, ...], FieldLayout] = {}

    def read(self, data: Mapping[str, object]) -> Decoded:
        """Return the values of the known keys, converted."""
        keys = tuple(data)
        layout = self._layouts.get(keys) or self._remember(keys)
        values: dict[Quantity, float] = {}
        try:
            for key, quantity, factor in layout.fields:
                value = data[key]
                if type(value) is bool:
                    return _read_any(self._meanings, data)
                values[quantity] = value * factor + 0.0  # type: ignore[operator]  # -0.0 becomes 0.0
        except (TypeError, OverflowError):
            return _read_any(self._meanings, data)
        return (values, layout.quantities, 0) if plausible(values) else _read_any(self._meanings, data)

    def layout(self, keys: Collection[str]) -> FieldLayout:
        """Return which of these keys are read."""
        chosen = self.chosen(keys).items()
        fields = tuple((key, meaning.quantity, meaning.factor) for key, meaning in chosen)
        return FieldLayout(fields, tuple(quantity for _, quantity, _ in fields))

    def chosen(self, keys: Collection[str]) -> dict[str, FieldMeaning]:
        """Return the keys that are read, one for each quantity, with their meanings."""
        chosen: dict[Quantity, str] = {}
        for key, meaning in self._meanings.items():
            if key in keys:
                chosen.setdefault(meaning.quantity, key)
        return {key: self._meanings[key] for key in chosen.values()}

    def knows(self, key: str) -> bool:
        """Return whether a key has a meaning."""
        return key in self._meanings

    def _remember(self, keys: tuple[str, ...]) -> FieldLayout:
        layout = self.layout(keys)
        if len(self._layouts) < _MAX_LAYOUTS and sum(map(len, keys)) <= _MAX_KEY_CHARS:
            self._layouts[keys] = layout
        return layout


def plausible(values: Mapping[Quantity, float]) -> bool:
    """Return whether all values are finite and a state of charge is within 0..100 %."""
    # The sum is finite only if every value is. Finite values may overflow it: then they are read one by one.
    return isfinite(sum(values.values())) and 0.0 <= values.get(Quantity.BATTERY_SOC, 0.0) <= FULL


def _read_any(meanings: Mapping[str, FieldMeaning], data: Mapping[str, object]) -> Decoded:
    """Read data that may hold numbers as text, empty values and values that are not numbers."""
    values: dict[Quantity, float] = {}
    unusable = 0
    for key, meaning in meanings.items():
        value = data.get(key)
        if value is None or (not value and isinstance(value, str)) or meaning.quantity in values:
            continue
        converted = convert(value, meaning)
        if converted is None:
            unusable += 1
        else:
            values[meaning.quantity] = converted
    return values, tuple(values), unusable


def convert(value: object, meaning: FieldMeaning) -> float | None:
    """Return a value in its quantity's unit and sign; None if it is not a finite number or out of range."""
    read = decimal(value)
    if read is None:
        return None
    scaled = read * meaning.factor + 0.0
    return scaled if plausible({meaning.quantity: scaled}) else None


def decimal(value: object, *, comma: bool = False) -> float | None:
    """Return a number or a text that spells one as a float; None for anything else.

    Args:
        value: A JSON value or a CSV cell.
        comma: Whether a comma is always the decimal point. Otherwise ``"0,57"`` is 0.57, because it has no
            other reading, and ``"1,234"`` is None, because it may be a thousand.
    """
    read = number(value)
    if read is not None or not isinstance(value, str):
        return read
    parts = _WITH_COMMA.fullmatch(value.strip())
    if parts is None:
        return None
    whole, fraction = parts["whole"], parts["fraction"]
    thousands = len(fraction) == _GROUP and 0 < len(whole) <= _GROUP and not whole.startswith("0")
    return number(value.replace(",", ".")) if comma or not thousands else None


EARLIEST_YEAR: Final = 2000
"""Earlier times are treated as missing: a device without a clock sends 0 or the seconds since it started."""
EARLIEST_SECOND: Final = 946_684_800
"""The first second of that year, in unix seconds."""

FULL: Final = 100.0
"""The largest state of charge, in percent."""
_GROUP: Final = 3
"""Digits in a group of thousands."""
_WITH_COMMA: Final = re.compile(r"[-+]?(?P<whole>[0-9]*),(?P<fraction>[0-9]+)(?:[eE][-+]?[0-9]+)?")
