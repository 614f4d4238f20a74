"""Bytes to strict JSON: one value or one `DecodeError`, always the same.

The standard library's parser, made strict by hooks, has the last word. What the extra `speed` brings only
answers the bodies on which all agree: what msgspec or orjson refuse is parsed again, and numbers that orjson
would round never reach it.

Decided once, where RFC 8259 leaves it open: nesting deeper than 64 is refused; so are integers outside 64
bits, numbers that become infinite, NaN and Infinity, lone surrogates, and a byte order mark; of duplicate
keys the last one wins unless `strict` is asked for. The content type is reported, and never a reason to
refuse.

A parser holds Python's interpreter lock until it returns, also in another thread. So that an event loop goes
on, a large body is parsed in pieces, and one that holds little but brackets is refused.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from secrets import token_hex
from typing import Annotated, Final, Generic, NoReturn, TypeAlias, TypeVar

from energy_core.errors import DecodeError

JSON: TypeAlias = "dict[str, JSON] | list[JSON] | str | int | float | bool | None"


try:
    from orjson import loads as _orjson_loads
except ImportError:
    fast_parser: Callable[[bytes], JSON] | None = None
else:
    fast_parser = _orjson_loads

MAX_DEPTH: Final = 64
EXCERPT_CHARS: Final = 200
LARGE: Final = 64 * 1024
"""Only of a larger body are arrays and objects counted."""
BYTES_A_CONTAINER: Final = 7
"""A large body needs this many bytes for each array or object in it.

Captured and documented lists have 18 and more (pairs of a time and a value), a list of the smallest objects
with a number has 8, a list of empty arrays 3.
"""
PIECE: Final = 512 * 1024
"""A body larger than two of these is parsed in pieces of about this size."""

_INT_MIN: Final = -(2**63)
_INT_MAX: Final = 2**63 - 1
_INT_CHARS: Final = len(str(_INT_MIN))

_BYTE_ORDER_MARKS: Final = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_PAIRED: Final = re.compile(
    rb"(?:[^\\]++|\\(?:[^u]|u(?:[^dD]|[dD][0-7])|u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F]))*+", re.DOTALL
)
"""JSON in which every escaped surrogate has its other half."""

_REST_OF_STRING: Final = re.compile(rb'(?:[^"\\]++|\\.)*+"', re.DOTALL)
_TO_COMMA: Final = re.compile(rb'[^",]*+(?:"(?:[^"\\]++|\\.)*+"[^",]*+)*+,', re.DOTALL)
_HIDES_A_QUOTE: Final = re.compile(rb'\\[\\"]')
_SMALL: Final = 4096
"""Counting the brackets of a larger body takes longer than looking how they nest."""
_NOT_NESTING: Final = bytes(sorted(set(range(256)) - set(b'[]{}"')))
_ONE_BRACKET: Final = bytes.maketrans(b"{}", b"[]")
_CLOSERS: Final = bytes.maketrans(b"[{", b"]}")
_SEAM: Final = token_hex(16)
"""Stands in a piece where the body goes on; random, so that no body can hold it."""
_SEAM_KEY: Final = b'"%s":' % _SEAM.encode()

# What the digits of a body look like when every digit is 0 and every byte a number may follow is a comma.
_SHAPE: Final = bytes.maketrans(b"123456789E[: \t\r\n-", b"000000000e,,,,,,,")
_NO_NUMBER: Final = bytes(sorted(set(range(256)) - set(b"0123456789.eE,[: \t\r\n-")))
"""What is left out at a first glance: quotes too, so that text may look like a number; no number hides."""
_LONG: Final = b"," + b"0" * 19
"""The shortest number that may leave 64 bits; the digits of a fraction follow a point and cannot."""
_LARGE_EXPONENT: Final = re.compile(rb",0++(?:\.0++)?e\+?000")
"""Without a long run of digits it takes an exponent of three to become infinite."""
_LARGE_AT_A_GLANCE: Final = re.compile(rb"e000")
"""Without the digit before it, which is the most frequent byte there: it begins with a rare one."""

# Of a short body, this much tells whether there is anything to decide; what parts two numbers is kept.
_DOUBTS: Final = bytes.maketrans(b"123456789E{", b"000000000e[")
_NO_DOUBT: Final = bytes(sorted(set(range(256)) - set(b"0123456789.eE,:[{")))
_DIGITS: Final = b"0" * 19
_BACKSLASH: Final = ord("\\")


class _Refused(Exception):
    """Why a body is not acceptable; never holds any of it."""

    def __init__(self, kind: str, why: str) -> None:
        super().__init__(kind, why)
        self.kind = kind
        self.why = why


def strict_json(body: bytes, *, content_type: str = "", strict: bool = False, excerpt: bool = False) -> JSON:
    """Parse a body, or raise `DecodeError` with `kind`, `content_type` and `size`.

    Args:
        body: the whole body, already bounded by its reader.
        content_type: what the server called it; reported, and used to tell an HTML page from broken JSON.
        strict: refuse duplicate keys too (`kind="duplicate_key"`); without it the last one wins.
        excerpt: put up to 200 characters of the body, escaped, into the message. Off by default because a
            body may hold credentials and names.

    Raises:
        DecodeError: `kind` is empty, html, encoding, json, number, depth, containers or duplicate_key.
    """
    parse = None if len(body) > LARGE else bounded_parser
    if parse is not None and not strict:
        try:
            return parse(body)
        except REFUSALS:
            pass  # refused: what follows decides, and says why
    elif fast_parser is None and not strict and len(body) < _SMALL:
        plain = _parse_plain(body)
        if plain is not None:
            return plain
    try:
        if len(body) > LARGE:
            return _parse_large(body, strict=strict)
        return _parse(body, strict=strict)
    except _Refused as refused:
        kind, why = refused.kind, refused.why
    if kind == "json" and "html" in content_type.lower():
        kind = "html"
    shown = f": {_excerpt(body)}" if excerpt else ""
    size = len(body)
    # Raised outside the handler and without the body in this frame: parser errors carry the document along in
    # `__context__`, and reporters print the local variables of a traceback.
    del body
    raise DecodeError(f"{why} ({size} bytes){shown}", kind=kind, content_type=content_type[:100], size=size)


def _parse(body: bytes, *, strict: bool) -> JSON:
    # All looking is done, and its copies of the body are gone, before the parser needs memory.
    is_long = len(body) > 2 * MAX_DEPTH  # fewer bytes cannot nest deeper and close again
    if is_long:
        _check_depth(body)
    if fast_parser is not None and not strict and not _has_long_number(body, _number_skeleton(body)):
        try:
            return fast_parser(body)
        except ValueError:
            pass  # refused: what follows decides, and says why
    if not is_long:
        _check_depth(body)
    if strict:
        return _parse_slowly(body, _UNIQUE)
    return _parse_slowly(body, _CAREFUL if _has_large_number(body, _number_skeleton(body)) else _PLAIN)


def _parse_anyhow(body: bytes) -> JSON:
    """Parse with the fastest parser there is that accepts the body."""
    parse = bounded_parser
    if parse is not None:
        try:
            return parse(body)
        except REFUSALS:
            pass  # refused: what follows decides, and says why
    return _parse(body, strict=False)


def has_room(body: bytes) -> bool:
    """Return whether a body has enough bytes for its arrays and objects; see `BYTES_A_CONTAINER`."""
    most = len(body) // BYTES_A_CONTAINER
    if len(body) <= LARGE or body.count(b"[") + body.count(b"{") <= most:
        return True
    return _structure(body).count(b"[") <= most  # without the brackets in texts


def _parse_large(body: bytes, *, strict: bool) -> JSON:
    if not has_room(body):
        if _structure(body).startswith(b"[" * (MAX_DEPTH + 1)):
            raise _Refused("depth", f"the body nests deeper than {MAX_DEPTH} levels")
        raise _Refused("containers", "the body holds little but brackets")
    if strict:
        return _parse(body, strict=True)
    if len(body) > 2 * PIECE:
        value, whole = _parse_in_pieces(body)
        if whole:
            return value
    return _parse_anyhow(body)


def _parse_in_pieces(body: bytes) -> tuple[JSON, bool]:
    """Parse piece by piece; False where pieces cannot be put together, which takes duplicate keys.

    Every piece ends before a comma. It is made complete with the brackets that are open at its two ends.
    """
    _check_start(body)
    value: JSON = None
    start, path = 0, b""
    while start < len(body):
        stop = _comma_after(body, start)
        part = body[start:stop].strip()
        is_last = stop == len(body)
        opened = _still_open(path + _structure(part, None))
        if not part or part[:1] in b"]}" or (part[-1:] in b"[{" and not is_last) or bool(opened) is is_last:
            raise _Refused("json", f"the body is truncated or malformed JSON near byte {start}")
        try:
            piece = _parse_anyhow(_opening(path) + part + _closing(opened))
        except _Refused as refused:
            if refused.kind not in {"json", "encoding"}:
                raise
            what = "not UTF-8" if refused.kind == "encoding" else "truncated or malformed JSON"
            raise _Refused(refused.kind, f"the body is {what} near byte {start}") from None
        if path:
            _append(value, piece, path)
        else:
            value = piece
        if not _take_seam_out(value, opened):
            return None, False
        start, path = stop + 1, opened
    if path:
        raise _Refused("json", "the body is truncated: it ends with a comma")
    return value, True


def _comma_after(body: bytes, start: int) -> int:
    """Return where the first comma is, outside of texts, that a piece from `start` on can end with."""
    at = start + PIECE
    while at < len(body) and body[at - 1] == _BACKSLASH:
        at += 1
    part = body[start:at]
    if b"\\" in part:
        part = part.replace(b"\\\\", b"").replace(b'\\"', b"")
    if part.count(b'"') % 2:
        rest = _REST_OF_STRING.match(body, at)
        at = len(body) if rest is None else rest.end()
    comma = _TO_COMMA.match(body, at)
    return len(body) if comma is None else comma.end() - 1


def _still_open(brackets: bytes) -> bytes:
    """Return the brackets that are not closed, from the outermost to the innermost."""
    rounds = 0
    while len(left := brackets.replace(b"[]", b"").replace(b"{}", b"")) < len(brackets):
        brackets = left
        rounds += 1
        if rounds > MAX_DEPTH:
            break
    if rounds > MAX_DEPTH or len(brackets) > MAX_DEPTH:
        raise _Refused("depth", f"the body nests deeper than {MAX_DEPTH} levels")
    if b"]" in brackets or b"}" in brackets:
        raise _Refused("json", "the body is malformed JSON: its brackets do not match")
    return brackets


def _opening(path: bytes) -> bytes:
    """Return what opens again what is open where a piece begins."""
    if not path:
        return b""
    return path[:-1].replace(b"{", b"{" + _SEAM_KEY) + path[-1:]


def _closing(path: bytes) -> bytes:
    """Return what closes what is open where a piece ends, with a mark in the innermost."""
    if not path:
        return b""
    mark = b"," + (_SEAM_KEY + b"0" if path.endswith(b"{") else _SEAM_KEY[:-1])
    return mark + path[::-1].translate(_CLOSERS)


def _append(value: JSON, piece: JSON, path: bytes) -> None:
    """Put the members of a piece into the containers that were open before it."""
    for level in range(len(path)):
        is_innermost = level == len(path) - 1
        inner: JSON = None
        if isinstance(value, list) and isinstance(piece, list):
            inner = None if is_innermost else piece.pop(0)
            within = None if is_innermost else value[-1]
            value += piece
        elif isinstance(value, dict) and isinstance(piece, dict):
            inner = None if is_innermost else piece.pop(_SEAM)
            within = None if is_innermost else next(reversed(value.values()))
            value |= piece
        value, piece = within, inner


def _take_seam_out(value: JSON, path: bytes) -> bool:
    """Remove the mark from the innermost open container; False where it is not in the last one."""
    if not path:
        return True
    for _ in path[:-1]:
        if isinstance(value, list):
            value = value[-1] if value else None
        elif isinstance(value, dict):
            value = next(reversed(value.values()), None)
    if isinstance(value, list) and value and value[-1] == _SEAM:
        del value[-1]
        return True
    return isinstance(value, dict) and value.pop(_SEAM, None) is not None


def _parse_plain(body: bytes) -> JSON | None:
    """Parse a short body in which there is nothing to decide, as messages are; None for anything else."""
    glance = body.translate(_DOUBTS, _NO_DOUBT)
    # From the end, and by the number of a byte, these are found at half the cost.
    if glance.rfind(_DIGITS) >= 0 or glance.rfind(b"e000") >= 0 or _BACKSLASH in body:
        return None
    if glance.count(b"[") > MAX_DEPTH:
        return None
    try:
        text = body.decode()
        value, end = _scan(text, 0)
    except (ValueError, StopIteration, RecursionError, _Refused):
        return None
    return value if end == len(text) else None


def json_backend() -> str:
    """Say what reads JSON here: what of the extra `speed` is installed, or else the standard library."""
    from importlib.metadata import version  # noqa: PLC0415  (seldom asked for, and slow to load)

    fast = [name for name, parser in (("msgspec", bounded_parser), ("orjson", fast_parser)) if parser]
    return ", ".join(f"{name} {version(name)}" for name in fast) or "the standard library"


@contextmanager
def unaccelerated() -> Iterator[None]:
    """Use the standard library alone, in the whole process, whatever is installed; for tests."""
    global fast_parser, bounded_parser  # noqa: PLW0603  (one switch for the process)
    found = fast_parser, bounded_parser
    fast_parser = bounded_parser = None
    try:
        yield
    finally:
        fast_parser, bounded_parser = found


def is_sound(part: bytes, *, depth: int) -> bool:
    """Whether a part of a body that msgspec skipped over, `depth` levels deep, would be accepted too.

    Skipping, msgspec looks at everything but the encoding, the size of numbers and the nesting.
    """
    try:
        part.isascii() or part.decode()
        _check_depth(part, above=depth)
    except (UnicodeDecodeError, _Refused):
        return False
    return not _has_large_number(part, _number_skeleton(part))


def _number_skeleton(body: bytes) -> bytes:
    """Return the numbers of a body, and what looks like one once the rest is gone; most text goes with it."""
    return b"," + body.translate(_SHAPE, _NO_NUMBER)


def _has_long_number(body: bytes, glance: bytes) -> bool:
    return _LONG in glance and _LONG in b"," + body.translate(_SHAPE)


def _has_large_number(body: bytes, glance: bytes) -> bool:
    return _has_long_number(body, glance) or _has_large_exponent(body, glance)


def _has_large_exponent(body: bytes, glance: bytes) -> bool:
    if not _LARGE_AT_A_GLANCE.search(glance):
        return False
    return _LARGE_EXPONENT.search(b"," + body.translate(_SHAPE)) is not None


def _check_start(body: bytes) -> None:
    """Refuse at a glance what is no JSON text at all."""
    marked = body.startswith(_BYTE_ORDER_MARKS)
    start = body[:256].removeprefix(_BYTE_ORDER_MARKS[0]).lstrip() or body.lstrip()
    if not start:
        raise _Refused("empty", "the body is empty")
    if start.startswith(b"<"):
        raise _Refused("html", "the body is a page of markup, not JSON")
    if marked:
        raise _Refused("encoding", "the body starts with a byte order mark; JSON is plain UTF-8")


def _check_depth(body: bytes, *, above: int = 0) -> None:
    """Refuse nesting deeper than MAX_DEPTH in linear time, whatever parser or caller's stack could bear it.

    Only brackets outside strings are kept; removing every innermost pair at once then lowers the depth by
    exactly one a round. What cannot be paired is malformed and left to the parser, unless it alone is too
    deep.
    """
    limit = MAX_DEPTH - above
    if len(body) < _SMALL and body.count(b"[") + body.count(b"{") <= limit:
        return
    brackets = _structure(body)
    rounds = 0
    while rounds < limit and len(outer := brackets.replace(b"[]", b"")) < len(brackets):
        brackets = outer
        rounds += 1
    # Left over are closers, then openers; a parser stops at the first closer, so only openers in front count.
    too_deep = brackets.startswith(b"[") and len(brackets) + rounds > limit
    if too_deep or b"[]" in brackets:
        raise _Refused("depth", f"the body nests deeper than {MAX_DEPTH} levels")


def _structure(body: bytes, table: bytes | None = _ONE_BRACKET) -> bytes:
    """Return the brackets outside of strings, all of one kind or, without a `table`, as they are."""
    if b"\\" in body and _HIDES_A_QUOTE.search(body):
        if b"\\\\" in body:
            body = body.replace(b"\\\\", b"")
        body = body.replace(b'\\"', b"")
    # Two quotes side by side can go anywhere: the number of quotes before a bracket stays odd or even.
    marks = body.translate(table, _NOT_NESTING).replace(b'""', b"")
    if b'"' not in marks:
        return marks
    kept, inside = [], False
    for at in range(0, len(marks), PIECE):  # a split of millions would hold the interpreter lock too long
        parts = marks[at : at + PIECE].split(b'"')
        kept.append(b"".join(parts[inside::2]))
        inside ^= len(parts) % 2 == 0
    return b"".join(kept)


def _parse_slowly(body: bytes, decoder: json.JSONDecoder) -> JSON:
    """Parse with the standard library and explain a refusal."""
    try:
        value = _decoded(body.decode("utf-8"), decoder)
    except UnicodeDecodeError as error:
        _check_start(body)
        raise _Refused("encoding", f"the body is not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        _check_start(body)
        where = f"line {error.lineno}, column {error.colno}"
        raise _Refused("json", f"the body is truncated or malformed JSON at {where}") from None
    if b"\\" in body and _SURROGATE.search(body) and not _PAIRED.fullmatch(body):
        raise _Refused("encoding", "the body has a lone surrogate, which no text can hold")
    return value


def _decoded(text: str, decoder: json.JSONDecoder) -> JSON:
    value: JSON
    try:
        value, end = decoder.raw_decode(text)
    except json.JSONDecodeError:
        end = -1
    if end != len(text):
        value = decoder.decode(text)  # which allows for white space around it, or says what is wrong
    return value


def _integer(digits: str) -> int:
    if len(digits) <= _INT_CHARS and _INT_MIN <= (number := int(digits)) <= _INT_MAX:
        return number
    raise _Refused("number", f"the body has an integer outside 64 bits ({len(digits)} characters)")


def _float(digits: str) -> float:
    number = float(digits)
    if math.isfinite(number):
        return number
    raise _Refused("number", "the body has a number too large for a float")


def _constant(name: str) -> NoReturn:
    raise _Refused("number", f"the body has {name}, which is not JSON")


def _unique(pairs: list[tuple[str, JSON]]) -> dict[str, JSON]:
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        raise _Refused("duplicate_key", "the body has an object with a duplicate key")
    return mapping


_PLAIN: Final = json.JSONDecoder(parse_constant=_constant)
_scan: Final[Callable[[str, int], tuple[JSON, int]]] = _PLAIN.scan_once  # type: ignore[attr-defined]
_CAREFUL: Final = json.JSONDecoder(parse_constant=_constant, parse_int=_integer, parse_float=_float)
_UNIQUE: Final = json.JSONDecoder(
    parse_constant=_constant, parse_int=_integer, parse_float=_float, object_pairs_hook=_unique
)


def _excerpt(body: bytes) -> str:
    """Return the beginning, at most EXCERPT_CHARS long once nothing in it can move a cursor or end a line."""
    text = body[: EXCERPT_CHARS * 4].decode("utf-8", "replace")[:EXCERPT_CHARS]
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return shown[:EXCERPT_CHARS]


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
    """

    def __init__(self, read: Callable[[JSON], T], straight: Callable[[bytes], T | None]) -> None:
        self._read = read
        self.straight = straight

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
