"""Lazy values: parsed at first access, because most programs never read `raw`.

The only lazy mechanism of the distribution. A list of 100 sites whose attributes are not read takes 11 ms
instead of 20 ms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, cast

from energy_core.printable import printable

Parse: TypeAlias = Callable[[bytes], object]


class LazyMapping(Mapping[str, object]):
    """A mapping that is parsed from bytes at first access; safe to share between threads.

    Args:
        parse: parses the bytes.
        text: bytes that are known to be a valid JSON object, so that no access raises.
    """

    __slots__ = ("_parse", "_read", "_text")

    def __init__(self, parse: Parse, text: bytes) -> None:
        self._parse = parse
        self._text = text
        self._read: Mapping[str, object] | None = None

    def resolve(self) -> Mapping[str, object]:
        """Return the parsed mapping."""
        # The text is fetched first: another thread may set `_read` and clear `_text` at any time.
        text, read = self._text, self._read
        if read is None:
            read = self._read = cast("Mapping[str, object]", self._parse(text))
            self._text = b""
        return read

    def __getitem__(self, key: str) -> object:
        return self.resolve()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.resolve())

    def __len__(self) -> int:
        return len(self.resolve())

    @printable
    def __repr__(self) -> str:
        return (
            "<LazyMapping, parsed>" if self._read is not None else f"<LazyMapping, {len(self._text)} bytes>"
        )


def resolve(raw: Mapping[str, object]) -> Mapping[str, object]:
    """Return a mapping as it is, or the parsed mapping of a `LazyMapping`."""
    return raw.resolve() if isinstance(raw, LazyMapping) else raw


Compute: TypeAlias = Callable[["LazyFields", str, Any], object]
"""Returns the value of a lazy field; called with the object, the field's name and the object's source."""


class LazyFields:
    """Base class of slotted models with fields that may be computed at first access.

    The slot of a lazy field is empty until then. Comparing, copying and pickling read the field like any
    other.
    """

    # Function and source have a slot each: a closure for each object would be two more objects that every
    # pass of the garbage collector visits.
    __slots__ = ("__weakref__", "_compute", "_source")

    lazy_fields: ClassVar[frozenset[str]] = frozenset({"raw"})
    """Names of the fields that may be lazy."""

    if not TYPE_CHECKING:  # with __getattr__ a type checker would accept any attribute

        def __getattr__(self, name: str) -> object:
            if name not in self.lazy_fields:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            value = self._compute(self, name, self._source)
            object.__setattr__(self, name, value)
            return value


def make_lazy(target: LazyFields, compute: Compute, source: object, *names: str) -> None:
    """Empty the slots of these fields, so that `compute` computes them from `source` at first access."""
    for name in names:
        object.__delattr__(target, name)
    set_compute(target, compute)
    set_source(target, source)


set_compute: Callable[[object, object], None] = vars(LazyFields)["_compute"].__set__
"""With `set_source`, does the same as `make_lazy` for an object whose lazy slots were never assigned."""
set_source: Callable[[object, object], None] = vars(LazyFields)["_source"].__set__
