"""What msgspec does when it is installed: JSON in one pass, and straight into the shapes of documents.

The limits of `decode` are part of the type that is parsed into.

Integers are bounded and nesting ends where the type ends, so that nothing has to be looked for in the bytes
beforehand. What it refuses is parsed again by `decode`, which has the last word and says why: it may refuse
too much, such as nesting of a kind that no vendor sends, and never too little.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Annotated, Generic, TypeAlias, TypeVar

from energy_core.http.request import JSON

T = TypeVar("T")

try:
    import msgspec
except ImportError:
    bounded_parser: Callable[[bytes], JSON] | None = None
    REFUSALS: tuple[type[Exception], ...] = ()
else:
    Int64: TypeAlias = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
    _Scalar: TypeAlias = bool | Int64 | float | str | None
    REFUSALS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

    def _value(levels: int) -> object:
        """Return the type of a value that holds objects so many levels deep; it doubles with every level."""
        if not levels:
            return _Scalar | list[_Scalar | list[_Scalar]]
        member = dict[str, _value(levels - 1)]  # type: ignore[misc, valid-type]  # made while running
        return _Scalar | list[_Scalar | list[_Scalar] | member] | member  # type: ignore[valid-type]

    @cache
    def _parser() -> Callable[[bytes], JSON]:
        """Make the parser when there is something to parse: it takes as long as loading a few modules."""
        return msgspec.json.Decoder(_value(6)).decode

    def _parse_first(body: bytes) -> JSON:
        global bounded_parser  # noqa: PLW0603  (its place is taken by the parser)
        if bounded_parser is _parse_first:
            bounded_parser = _parser()
        return _parser()(body)

    bounded_parser = _parse_first


class TypedDecoder(Generic[T]):
    """A reader of answers that need not see them parsed, where they are exactly as documented.

    Args:
        read: reads any answer, tolerantly.
        straight: reads the bytes of a documented one to the same result; None for anything else. It may only
            be asked while nobody is strict.
        silent: `straight` never has a drift to note, now or later.
    """

    def __init__(
        self, read: Callable[[JSON], T], straight: Callable[[bytes], T | None], *, silent: bool = False
    ) -> None:
        self._read = read
        self.straight = straight
        self.silent = silent

    def __call__(self, payload: JSON) -> T:
        """Read an answer that was parsed."""
        return self._read(payload)


def decode_typed(into: Callable[[JSON], T], body: bytes) -> T | None:
    """Return what `into` makes of a body that is exactly as documented, or None where it has to be parsed."""
    if bounded_parser is None or not isinstance(into, TypedDecoder):
        return None
    try:
        made: T | None = into.straight(body)
    except REFUSALS:
        return None
    return made
