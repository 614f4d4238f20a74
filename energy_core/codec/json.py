"""Strict JSON: `strict_json` returns one value or raises `DecodeError`, whatever parser is installed.

Where RFC 8259 leaves a choice, this module decides:

- nesting deeper than 64, integers outside 64 bits, numbers that become infinite, NaN, Infinity, lone
  surrogates and a byte order mark are refused;
- of duplicate keys the last one wins, unless `strict` is set;
- the content type is reported in errors and never a reason to refuse a body.

The extra `speed` installs msgspec and orjson. They parse the bodies on which all parsers agree. A body that
they refuse is parsed again by the standard library, which decides and explains. Numbers that orjson would
round are never passed to it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from functools import cache
from typing import Annotated, Final, Generic, NoReturn, TypeAlias, TypeVar

from energy_core.codec.json_chunks import parse_in_chunks
from energy_core.codec.json_limits import (
    LARGE,
    MAX_DEPTH,
    Refused,
    check_depth,
    check_room,
    check_start,
    has_large_number,
    has_long_number,
    has_room,
)
from energy_core.errors import DecodeError

JSON: TypeAlias = "dict[str, JSON] | list[JSON] | str | int | float | bool | None"

try:
    from orjson import loads as _orjson_loads
except ImportError:
    orjson_loads: Callable[[bytes], JSON] | None = None
else:
    orjson_loads = _orjson_loads

EXCERPT_CHARS: Final = 200

_INT_MIN: Final = -(2**63)
_INT_MAX: Final = 2**63 - 1
_INT_CHARS: Final = len(str(_INT_MIN))

_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_PAIRED: Final = re.compile(
    rb"(?:[^\\]++|\\(?:[^u]|u(?:[^dD]|[dD][0-7])|u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F]))*+", re.DOTALL
)
"""Matches JSON in which every escaped surrogate has its other half."""

_SHORT: Final = 4096
_BACKSLASH: Final = ord("\\")
# Reduced alphabet for short bodies: digits, brackets and separators are enough to find risky numbers.
_REDUCED: Final = bytes.maketrans(b"123456789E{", b"000000000e[")
_NOT_IN_REDUCED: Final = bytes(sorted(set(range(256)) - set(b"0123456789.eE,:[{")))
_LONG_DIGITS: Final = b"0" * 19


def strict_json(body: bytes, *, content_type: str = "", strict: bool = False, excerpt: bool = False) -> JSON:
    """Parse a body.

    Args:
        body: the whole body; its reader has bounded its size.
        content_type: the server's; reported in the error, and used to tell an HTML page from broken JSON.
        strict: refuse duplicate keys too (`kind="duplicate_key"`); without it the last one wins.
        excerpt: put up to 200 characters of the body, escaped, into the message. Off by default because a
            body may hold credentials and names.

    Raises:
        DecodeError: `kind` is empty, html, encoding, json, number, depth, containers or duplicate_key. It has
            `content_type` and `size` too.
    """
    parse = None if len(body) > LARGE else msgspec_loads
    if parse is not None and not strict:
        try:
            return parse(body)
        except REFUSALS:
            pass  # the standard library decides and explains
    elif orjson_loads is None and not strict and len(body) < _SHORT:
        value = _parse_short(body)
        if value is not None:
            return value
    try:
        if len(body) > LARGE:
            return _parse_large(body, strict=strict)
        return _parse(body, strict=strict)
    except Refused as refused:
        kind, why = refused.kind, refused.why
    if kind == "json" and "html" in content_type.lower():
        kind = "html"
    shown = f": {_excerpt(body)}" if excerpt else ""
    size = len(body)
    # Raised outside the handler and without the body in this frame: parser errors carry the document in
    # `__context__`, and error reporters print the local variables of a traceback.
    del body
    raise DecodeError(f"{why} ({size} bytes){shown}", kind=kind, content_type=content_type[:100], size=size)


def _parse(body: bytes, *, strict: bool) -> JSON:
    # All checks are done, and their copies of the body are freed, before the parser allocates memory.
    is_long = len(body) > 2 * MAX_DEPTH  # a shorter body cannot nest deeper and close again
    if is_long:
        check_depth(body)
    if orjson_loads is not None and not strict and not has_long_number(body):
        try:
            return orjson_loads(body)
        except ValueError:
            pass  # the standard library decides and explains
    if not is_long:
        check_depth(body)
    if strict:
        return _parse_with_stdlib(body, _UNIQUE)
    return _parse_with_stdlib(body, _CAREFUL if has_large_number(body) else _PLAIN)


def _parse_large(body: bytes, *, strict: bool) -> JSON:
    check_room(body)
    if strict:
        return _parse(body, strict=True)
    value, complete = parse_in_chunks(body, _parse_chunk)
    return value if complete else _parse_chunk(body)


def _parse_chunk(body: bytes) -> JSON:
    """Parse with the fastest parser that accepts the body."""
    if msgspec_loads is not None:
        try:
            return msgspec_loads(body)
        except REFUSALS:
            pass  # the standard library decides and explains
    return _parse(body, strict=False)


def _parse_short(body: bytes) -> JSON | None:
    """Parse a short body that needs none of the checks, as most messages do; return None for any other.

    Without msgspec and orjson a message of 400 bytes takes 7 us instead of 10.
    """
    reduced = body.translate(_REDUCED, _NOT_IN_REDUCED)
    # rfind and the number of a byte are found twice as fast as `in` with a pattern.
    if reduced.rfind(_LONG_DIGITS) >= 0 or reduced.rfind(b"e000") >= 0 or _BACKSLASH in body:
        return None
    if reduced.count(b"[") > MAX_DEPTH:
        return None
    try:
        text = body.decode()
        value, end = _scan(text, 0)
    except (ValueError, StopIteration, RecursionError, Refused):
        return None
    return value if end == len(text) else None


def _parse_with_stdlib(body: bytes, decoder: json.JSONDecoder) -> JSON:
    try:
        value = _decode(body.decode("utf-8"), decoder)
    except UnicodeDecodeError as error:
        check_start(body)
        raise Refused("encoding", f"the body is not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        check_start(body)
        where = f"line {error.lineno}, column {error.colno}"
        raise Refused("json", f"the body is truncated or malformed JSON at {where}") from None
    if b"\\" in body and _SURROGATE.search(body) and not _PAIRED.fullmatch(body):
        raise Refused("encoding", "the body has a lone surrogate, which no text can hold")
    return value


def _decode(text: str, decoder: json.JSONDecoder) -> JSON:
    value: JSON
    try:
        value, end = decoder.raw_decode(text)
    except json.JSONDecodeError:
        end = -1
    if end != len(text):
        value = decoder.decode(text)  # allows white space around the value, or raises with the position
    return value


def _integer(digits: str) -> int:
    if len(digits) <= _INT_CHARS and _INT_MIN <= (number := int(digits)) <= _INT_MAX:
        return number
    raise Refused("number", f"the body has an integer outside 64 bits ({len(digits)} characters)")


def _float(digits: str) -> float:
    number = float(digits)
    if math.isfinite(number):
        return number
    raise Refused("number", "the body has a number too large for a float")


def _constant(name: str) -> NoReturn:
    raise Refused("number", f"the body has {name}, which is not JSON")


def _unique(pairs: list[tuple[str, JSON]]) -> dict[str, JSON]:
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        raise Refused("duplicate_key", "the body has an object with a duplicate key")
    return mapping


_PLAIN: Final = json.JSONDecoder(parse_constant=_constant)
_scan: Final[Callable[[str, int], tuple[JSON, int]]] = _PLAIN.scan_once  # type: ignore[attr-defined]
_CAREFUL: Final = json.JSONDecoder(parse_constant=_constant, parse_int=_integer, parse_float=_float)
_UNIQUE: Final = json.JSONDecoder(
    parse_constant=_constant, parse_int=_integer, parse_float=_float, object_pairs_hook=_unique
)


def _excerpt(body: bytes) -> str:
    """Return the beginning of a body in at most EXCERPT_CHARS characters, without control characters."""
    text = body[: EXCERPT_CHARS * 4].decode("utf-8", "replace")[:EXCERPT_CHARS]
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return shown[:EXCERPT_CHARS]


T = TypeVar("T")

try:
    import msgspec
except ImportError:
    msgspec_loads: Callable[[bytes], JSON] | None = None
    REFUSALS: tuple[type[Exception], ...] = ()
else:
    Int64: TypeAlias = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
    _Scalar: TypeAlias = bool | Int64 | float | str | None
    REFUSALS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
    """What `msgspec_loads` raises for a body that it does not accept."""

    def _value(levels: int) -> object:
        """Return the type of a value with objects nested `levels` deep; its size doubles with each level."""
        if not levels:
            return _Scalar | list[_Scalar | list[_Scalar]]
        member = dict[str, _value(levels - 1)]  # type: ignore[misc, valid-type]  # made at run time
        return _Scalar | list[_Scalar | list[_Scalar] | member] | member  # type: ignore[valid-type]

    @cache
    def _msgspec_decoder() -> Callable[[bytes], JSON]:
        """Return the decoder, made at first use: making it takes as long as importing a few modules."""
        return msgspec.json.Decoder(_value(6)).decode

    def _msgspec_loads(body: bytes) -> JSON:
        return _msgspec_decoder()(body)

    msgspec_loads = _msgspec_loads


def json_backend() -> str:
    """Return the JSON parsers in use: msgspec and orjson with their versions, or "the standard library"."""
    from importlib.metadata import version  # noqa: PLC0415  (seldom called, and slow to import)

    fast = [name for name, parser in (("msgspec", msgspec_loads), ("orjson", orjson_loads)) if parser]
    return ", ".join(f"{name} {version(name)}" for name in fast) or "the standard library"


class TypedDecoder(Generic[T]):
    """Decodes a body to a model, without parsing it to JSON first where the body is exactly as documented.

    Args:
        decode: decodes any parsed body, tolerantly.
        decode_bytes: decodes the bytes of a documented body to the same result, or returns None for any
            other. It is not used while drift is strict.
    """

    def __init__(self, decode: Callable[[JSON], T], decode_bytes: Callable[[bytes], T | None]) -> None:
        self._decode = decode
        self.decode_bytes = decode_bytes

    def __call__(self, payload: JSON) -> T:
        """Decode a parsed body."""
        return self._decode(payload)


def decode_typed(into: Callable[[JSON], T], body: bytes) -> T | None:
    """Decode a body that is exactly as documented.

    Returns:
        The model, or None: then call `into` with the parsed body.
    """
    if msgspec_loads is None or not isinstance(into, TypedDecoder):
        return None
    if len(body) > LARGE and not has_room(body):
        return None
    try:
        made: T | None = into.decode_bytes(body)
    except REFUSALS:
        return None
    return made
