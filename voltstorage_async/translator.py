"""Translator: from the vendor's keys to quantities, at the pace of a live stream."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import Any, Final, NamedTuple, TypeAlias

from energy_core.stream.event import Quantity


class Meaning(NamedTuple):
    """The quantity a key holds and what to multiply by to reach its unit and sign."""

    quantity: Quantity
    factor: float = 1.0
    guess: bool = False
    """Whether the key is in no public document."""


Meant: TypeAlias = tuple[dict[Quantity, float], tuple[Quantity, ...], int]
"""What data means: values; their quantities, one and the same object for data of the same shape; and how many
known keys held something that is not a number."""

Reader: TypeAlias = Callable[[Mapping[str, object]], Meant | None]
"""Reads data of one shape; None where something in it is not a number."""

_MOST_SHAPES: Final = 64


class Translator:
    """Translates data; for every shape (keys and their order) it meets, it writes itself a reader."""

    __slots__ = ("_meanings", "_readers")

    def __init__(self, meanings: Mapping[str, Meaning]) -> None:
        self._meanings = meanings
        self._readers: dict[tuple[str, ...], Reader] = {}

    def read(self, data: Mapping[str, object]) -> Meant:
        """Translate."""
        keys = tuple(data)
        read = self._readers.get(keys) or self._learn(keys)
        return read(data) or _read_carefully(self._meanings, data)

    def _learn(self, keys: tuple[str, ...]) -> Reader:
        if len(self._readers) >= _MOST_SHAPES:  # most events of a product have the same keys
            return lambda data: None  # noqa: ARG005  (that is slow, and right)
        chosen: dict[Quantity, str] = {}
        for key, meaning in self._meanings.items():
            if key in keys:
                chosen.setdefault(meaning.quantity, key)
        factors = [self._meanings[key].factor for key in chosen.values()]
        reader = self._readers[keys] = _reader(tuple(chosen.values()), tuple(chosen), factors)
        return reader


def _reader(keys: Sequence[str], quantities: tuple[Quantity, ...], factors: Sequence[float]) -> Reader:
    """Write out what reads these keys, one after the other: a loop over them takes three times as long.

    The text is made of numbers alone; keys and quantities are given to it by name.
    """
    places = range(len(keys))
    numbers = (f"(v{at}.__class__ is float or v{at}.__class__ is int)" for at in places)
    scales = ("" if factor == 1.0 else f" * {factor!r}" for factor in factors)
    # A zero stays a plain one: -1 * 0.0 would be written -0.0.
    scaled = (f"v{at} = v{at}{scale} + 0.0" for at, scale in zip(places, scales, strict=True))
    text = f"""
def read(data):
    {"; ".join(f"v{at} = data[k{at}]" for at in places) or "pass"}
    if {" and ".join(numbers) or "True"}:
        try:
            {"; ".join(scaled) or "pass"}
        except OverflowError:
            return None
        if isfinite({" + ".join(f"v{at}" for at in places) or "0.0"}):  # only if all its parts are
            return {{{", ".join(f"q{at}: v{at}" for at in places)}}}, quantities, 0
    return None
"""
    names: dict[str, Any] = {"isfinite": isfinite, "quantities": quantities}
    names |= {f"k{at}": key for at, key in enumerate(keys)}
    names |= {f"q{at}": quantity for at, quantity in enumerate(quantities)}
    exec(text, names)  # noqa: S102  (as attrs writes its constructors)
    reader: Reader = names["read"]
    return reader


def _read_carefully(meanings: Mapping[str, Meaning], data: Mapping[str, object]) -> Meant:
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
    return values, tuple(values), unusable


def _usable(value: object, factor: float) -> float | None:
    if type(value) is not float and type(value) is not int:  # exactly: to isinstance a boolean is an int
        return None
    try:
        scaled = value * factor + 0.0
    except OverflowError:
        return None
    return scaled if isfinite(scaled) else None
