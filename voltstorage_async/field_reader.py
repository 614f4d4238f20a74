"""Translator: from the vendor's keys to quantities, at the pace of a live stream."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from math import isfinite
from typing import Any, Final, NamedTuple, TypeAlias

from energy_core.codec.coerce import number
from energy_core.stream.vocabulary import Quantity


class FieldMeaning(NamedTuple):
    """The quantity a key holds and what to multiply by to reach its unit and sign."""

    quantity: Quantity
    factor: float = 1.0
    guess: bool = False
    """Whether the key is in no public document."""
    ratio_or_percent: bool = False
    """Whether the service may send 0..100 where the factor is for 0..1: see `ProductFields`."""


Decoded: TypeAlias = tuple[dict[Quantity, float], tuple[Quantity, ...], int]
"""What data means: values; their quantities, one and the same object for data of the same shape; and how many
known keys held something that is not a number."""

Reader: TypeAlias = Callable[[Mapping[str, object]], Decoded | None]
"""Reads data of one shape; None where something in it is not a number."""

Glance: TypeAlias = Callable[[bytes], tuple[int, Decoded] | None]
"""Reads messages that look alike: the time in unix seconds, and what the data means; None for any other."""

_MOST_SHAPES: Final = 64
_LONGEST: Final = 4096
"""All keys of a shape together."""


class FieldReader:
    """Translates data; for every shape (keys and their order) it meets, it writes itself a reader."""

    __slots__ = ("_meanings", "_readers")

    def __init__(self, meanings: Mapping[str, FieldMeaning]) -> None:
        self._meanings = meanings
        self._readers: dict[tuple[str, ...], Reader] = {}

    def read(self, data: Mapping[str, object]) -> Decoded:
        """Translate."""
        keys = tuple(data)
        read = self._readers.get(keys) or self._learn(keys)
        return read(data) or _read_carefully(self._meanings, data)

    def chosen(self, keys: Collection[str]) -> dict[str, FieldMeaning]:
        """Return which of these keys are read, one for each quantity, in the order of the values."""
        chosen: dict[Quantity, str] = {}
        for key, meaning in self._meanings.items():
            if key in keys:
                chosen.setdefault(meaning.quantity, key)
        return {key: self._meanings[key] for key in chosen.values()}

    def means(self, key: str) -> bool:
        """Tell whether a key means anything."""
        return key in self._meanings

    def _learn(self, keys: tuple[str, ...]) -> Reader:
        # Most have few keys, and the same ones; for the others this is slow, and right.
        if len(self._readers) >= _MOST_SHAPES or sum(map(len, keys)) > _LONGEST:
            return lambda data: None  # noqa: ARG005  (whatever it is)
        chosen = self.chosen(keys)
        names = {key: f"v{at}" for at, key in enumerate(chosen)}
        numbers = (f"({name}.__class__ is float or {name}.__class__ is int)" for name in names.values())
        head = f"""{"".join(f"{names.get(key, '_')}, " for key in keys) or "()"} = data.values()
    if not ({" and ".join(numbers) or "True"}): return None"""
        reader: Reader = written(head, "{meant}", list(chosen.values()), {})
        self._readers[keys] = reader
        return reader


def written(
    head: str, told: str, meanings: Sequence[FieldMeaning], names: Mapping[str, Any]
) -> Callable[[Any], Any]:
    """Write out what reads `data`, value by value: a loop over them takes three times as long.

    The text is made of numbers and what its callers have written; whatever came from elsewhere has a name.

    Args:
        head: The first statements, indented by four spaces from the second line on, which look at `data` and
            leave a number in `v0`, `v1` and so on for each meaning.
        told: What is returned, `{meant}` in it being what the values mean.
        meanings: Of the values.
        names: What else may be used in `head`.
    """
    places = range(len(meanings))
    scales = ("" if meaning.factor == 1.0 else f" * {meaning.factor!r}" for meaning in meanings)
    # A zero stays a plain one: -1 * 0.0 would be written -0.0.
    scaled = (f"v{at} = v{at}{scale} + 0.0" for at, scale in zip(places, scales, strict=True))
    values = ", ".join(f"q{at}: v{at}" for at in places)
    bounds = "".join(
        f" and 0.0 <= v{at} <= {_FULL!r}"
        for at, meaning in enumerate(meanings)
        if meaning.quantity is Quantity.BATTERY_SOC
    )
    text = f"""
def read(data):
    {head}
    try:
        {"; ".join(scaled) or "pass"}
    except OverflowError:
        return None
    if isfinite({" + ".join(f"v{at}" for at in places) or "0.0"}){bounds}:  # only if all its parts are
        return {told.format(meant=f"({{{values}}}, quantities, 0)")}
    return None
"""
    quantities = tuple(meaning.quantity for meaning in meanings)
    known = {**names, "isfinite": isfinite, "quantities": quantities}
    known |= {f"q{at}": quantity for at, quantity in enumerate(quantities)}
    exec(text, known)  # noqa: S102  (as attrs writes its constructors)
    read: Callable[[Any], Any] = known["read"]
    return read


def _read_carefully(meanings: Mapping[str, FieldMeaning], data: Mapping[str, object]) -> Decoded:
    values: dict[Quantity, float] = {}
    unusable = 0
    for key, meaning in meanings.items():
        value = data.get(key)
        if value is None or (not value and isinstance(value, str)) or meaning.quantity in values:
            continue
        number = usable(value, meaning)
        if number is None:
            unusable += 1
        else:
            values[meaning.quantity] = number
    return values, tuple(values), unusable


def usable(value: object, meaning: FieldMeaning) -> float | None:
    """Return a value in its quantity's unit and sign; None where it is no number or cannot be right."""
    read = decimal(value)
    if read is None:
        return None
    scaled = read * meaning.factor + 0.0
    if not isfinite(scaled) or (meaning.quantity is Quantity.BATTERY_SOC and not 0.0 <= scaled <= _FULL):
        return None
    return scaled


def decimal(value: object, *, comma: bool = False) -> float | None:
    """Read a number, also from text, and with a decimal comma where that is its only reading.

    ``"0,57"`` can only be 0.57, while ``"1,234"`` may be a thousand: that is read where `comma` says that the
    comma is the decimal point here.
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
"""A time before is none: a device that does not know the time says 0, or what it counts since it started."""
EARLIEST_SECOND: Final = 946_684_800
"""The first second of that year."""

_FULL: Final = 100.0
_GROUP: Final = 3
"""Digits of a group of thousands."""
_WITH_COMMA: Final = re.compile(r"[-+]?(?P<whole>[0-9]*),(?P<fraction>[0-9]+)(?:[eE][-+]?[0-9]+)?")
