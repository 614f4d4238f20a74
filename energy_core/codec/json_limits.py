"""Checks of a JSON body that need no parser: nesting, size of numbers, number of containers.

All run in linear time on bytes, with the methods of `bytes` only (`translate`, `count`, `replace`), which are
faster than a parser. They are exact for valid JSON. A body that is not valid may pass; the parser refuses it.
"""

from __future__ import annotations

import re
from typing import Final

MAX_DEPTH: Final = 64
LARGE: Final = 64 * 1024
"""Arrays and objects are counted only in bodies with more bytes than this."""
BYTES_A_CONTAINER: Final = 7
"""A large body needs this many bytes for each array or object in it.

Captured and documented lists have 18 and more (pairs of a time and a value), a list of the smallest objects
with a number has 8, a list of empty arrays 3.
"""

_SMALL: Final = 4096
"""Up to this size, counting brackets is faster than matching them."""
_BLOCK: Final = 512 * 1024

_BYTE_ORDER_MARKS: Final = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")
_HIDES_A_QUOTE: Final = re.compile(rb'\\[\\"]')
_MANY_ESCAPES: Final = 4096
_NOT_NESTING: Final = bytes(sorted(set(range(256)) - set(b'[]{}"')))
_ONE_BRACKET: Final = bytes.maketrans(b"{}", b"[]")

# The skeleton of a body's numbers: each digit is 0, and each byte that may stand before a number is a comma.
_SKELETON: Final = bytes.maketrans(b"123456789E[: \t\r\n-", b"000000000e,,,,,,,")
_NOT_IN_SKELETON: Final = bytes(sorted(set(range(256)) - set(b"0123456789.eE,[: \t\r\n-")))
"""Removed before the search, quotes too: false positives are possible, false negatives are not."""
_LONG: Final = b"," + b"0" * 19
"""The shortest integer that may need more than 64 bits; the digits of a fraction follow a point."""
_LARGE_EXPONENT: Final = re.compile(rb",0++(?:\.0++)?e\+?000")
"""A number without a long run of digits needs an exponent of three digits to become infinite."""
_EXPONENT: Final = re.compile(rb"e000")
"""Searched first. It begins with a rare byte; a digit is so common that the search would be slow."""


class Refused(Exception):
    """A body is refused, and why. It never holds any of the body."""

    def __init__(self, kind: str, why: str) -> None:
        super().__init__(kind, why)
        self.kind = kind
        self.why = why


def check_start(body: bytes) -> None:
    """Refuse an empty body, HTML or XML, and a byte order mark."""
    marked = body.startswith(_BYTE_ORDER_MARKS)
    start = body[:256].removeprefix(_BYTE_ORDER_MARKS[0]).lstrip() or body.lstrip()
    if not start:
        raise Refused("empty", "the body is empty")
    if start.startswith(b"<"):
        raise Refused("html", "the body is a page of markup, not JSON")
    if marked:
        raise Refused("encoding", "the body starts with a byte order mark; JSON is plain UTF-8")


def check_depth(body: bytes, *, above: int = 0) -> None:
    """Refuse nesting deeper than MAX_DEPTH, so that no parser and no caller's recursion overflows its stack.

    Args:
        body: the body, or a part of it.
        above: how deep the part is nested itself.
    """
    limit = MAX_DEPTH - above
    if len(body) < _SMALL and body.count(b"[") + body.count(b"{") <= limit:
        return
    # Each round removes every innermost pair at once, which lowers the depth by one.
    left = brackets(body)
    rounds = 0
    while rounds < limit and len(outer := left.replace(b"[]", b"")) < len(left):
        left = outer
        rounds += 1
    # What is left is malformed: closers, then openers. A parser stops at the first closer, so openers count
    # only where no closer stands before them.
    too_deep = left.startswith(b"[") and len(left) + rounds > limit
    if too_deep or b"[]" in left:
        raise Refused("depth", f"the body nests deeper than {MAX_DEPTH} levels")


def open_brackets(found: bytes) -> bytes:
    """Return the brackets that are not closed, from the outermost to the innermost; refuse unmatched ones."""
    rounds = 0
    while len(left := found.replace(b"[]", b"").replace(b"{}", b"")) < len(found):
        found = left
        rounds += 1
        if rounds > MAX_DEPTH:
            break
    if rounds > MAX_DEPTH or len(found) > MAX_DEPTH:
        raise Refused("depth", f"the body nests deeper than {MAX_DEPTH} levels")
    if b"]" in found or b"}" in found:
        raise Refused("json", "the body is malformed JSON: its brackets do not match")
    return found


def brackets(body: bytes, table: bytes | None = _ONE_BRACKET) -> bytes:
    """Return the brackets outside strings, all as square ones, or as they are where `table` is None."""
    # Two adjacent quotes can be removed anywhere: the number of quotes before a bracket stays odd or even.
    marks = without_escapes(body).translate(table, _NOT_NESTING).replace(b'""', b"")
    if b'"' not in marks:
        return marks
    kept, inside = [], False
    # One split into millions of parts would hold the interpreter lock too long.
    for at in range(0, len(marks), _BLOCK):
        parts = marks[at : at + _BLOCK].split(b'"')
        kept.append(b"".join(parts[inside::2]))
        inside ^= len(parts) % 2 == 0
    return b"".join(kept)


def without_escapes(body: bytes) -> bytes:
    """Return the body without escaped quotes and backslashes: each quote left begins or ends a string."""
    if b"\\" not in body:
        return body
    # Few escapes are found and removed in a seventh of the time of two `replace`, many are not.
    short, found = _HIDES_A_QUOTE.subn(b"", body, _MANY_ESCAPES)
    return short if found < _MANY_ESCAPES else body.replace(b"\\\\", b"").replace(b'\\"', b"")


def has_room(body: bytes) -> bool:
    """Return whether a body has enough bytes for its arrays and objects; see `BYTES_A_CONTAINER`."""
    most = len(body) // BYTES_A_CONTAINER
    if len(body) <= LARGE or body.count(b"[") + body.count(b"{") <= most:
        return True
    return brackets(body).count(b"[") <= most  # without the brackets inside strings


def check_room(body: bytes) -> None:
    """Refuse a large body of little but brackets: it would take much memory and hold the interpreter lock."""
    if has_room(body):
        return
    if brackets(body).startswith(b"[" * (MAX_DEPTH + 1)):
        raise Refused("depth", f"the body nests deeper than {MAX_DEPTH} levels")
    raise Refused("containers", "the body holds little but brackets")


def is_sound(part: bytes, *, depth: int) -> bool:
    """Return whether `strict_json` would accept a part of a body that msgspec has skipped over.

    msgspec checks the syntax of a skipped value, but not its encoding, nesting and numbers.

    Args:
        part: the bytes of one value.
        depth: how deep it is nested in the body.
    """
    try:
        part.isascii() or part.decode()
        check_depth(part, above=depth)
    except (UnicodeDecodeError, Refused):
        return False
    return not has_large_number(part)


def has_long_number(body: bytes) -> bool:
    """Return whether a body may hold an integer outside 64 bits, or a float with as many digits."""
    return _LONG in _skeleton(body) and _LONG in b"," + body.translate(_SKELETON)


def has_large_number(body: bytes) -> bool:
    """Return whether a body may hold an integer outside 64 bits or a number that becomes infinite."""
    skeleton = _skeleton(body)
    if _LONG not in skeleton and not _EXPONENT.search(skeleton):
        return False
    full = b"," + body.translate(_SKELETON)
    return _LONG in full or _LARGE_EXPONENT.search(full) is not None


def _skeleton(body: bytes) -> bytes:
    return b"," + body.translate(_SKELETON, _NOT_IN_SKELETON)
