"""Parses a large JSON body in chunks, and joins the results.

A parser holds Python's interpreter lock until it returns, also in another thread. Chunks of half a MiB let
the event loop run in between.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from secrets import token_hex
from typing import Final, TypeVar

from energy_core.codec.json_limits import Refused, brackets, check_start, open_brackets, without_escapes

T = TypeVar("T")

CHUNK: Final = 512 * 1024
"""Bytes of a chunk; a body of more than two chunks is split."""

_REST_OF_STRING: Final = re.compile(rb'(?:[^"\\]++|\\.)*+"', re.DOTALL)
_TO_COMMA: Final = re.compile(rb'[^",]*+(?:"(?:[^"\\]++|\\.)*+"[^",]*+)*+,', re.DOTALL)
_CLOSERS: Final = bytes.maketrans(b"[{", b"]}")
_BACKSLASH: Final = ord("\\")
_MARK: Final = token_hex(16)
"""Marks in a parsed chunk where the body continues; random, so that no body can contain it."""
_MARK_KEY: Final = b'"%s":' % _MARK.encode()


def parse_in_chunks(body: bytes, parse: Callable[[bytes], T]) -> tuple[T | None, bool]:
    """Parse a body chunk by chunk.

    Every chunk ends before a comma. It is completed with the brackets that are open at its two ends.

    Args:
        body: the whole body.
        parse: parses one completed chunk.

    Returns:
        The value, and True. None and False for a body of at most two chunks, and where the chunks cannot be
        joined, which takes duplicate keys: parse the body as a whole then.

    Raises:
        Refused: a chunk is not acceptable.
    """
    if len(body) <= 2 * CHUNK:
        return None, False
    check_start(body)
    value: T | None = None
    start, path = 0, b""  # path: the brackets that are open at `start`
    while start < len(body):
        stop = _comma_after(body, start)
        text = body[start:stop].strip()
        is_last = stop == len(body)
        opened = open_brackets(path + brackets(text, None))
        if not text or text[:1] in b"]}" or (text[-1:] in b"[{" and not is_last) or bool(opened) is is_last:
            raise Refused("json", f"the body is truncated or malformed JSON near byte {start}")
        try:
            chunk = parse(_opening(path) + text + _closing(opened))
        except Refused as refused:
            if refused.kind not in {"json", "encoding"}:
                raise
            fault = "not UTF-8" if refused.kind == "encoding" else "truncated or malformed JSON"
            raise Refused(refused.kind, f"the body is {fault} near byte {start}") from None
        if path:
            _append(value, chunk, path)
        else:
            value = chunk
        if not _remove_mark(value, opened):
            return None, False
        start, path = stop + 1, opened
    if path:
        raise Refused("json", "the body is truncated: it ends with a comma")
    return value, True


def _comma_after(body: bytes, start: int) -> int:
    """Return the place of the first comma outside strings after one chunk, or the end of the body."""
    at = start + CHUNK
    while at < len(body) and body[at - 1] == _BACKSLASH:
        at += 1
    if without_escapes(body[start:at]).count(b'"') % 2:
        rest = _REST_OF_STRING.match(body, at)
        at = len(body) if rest is None else rest.end()
    comma = _TO_COMMA.match(body, at)
    return len(body) if comma is None else comma.end() - 1


def _opening(path: bytes) -> bytes:
    """Return the text that opens again the containers that are open where a chunk begins."""
    if not path:
        return b""
    return path[:-1].replace(b"{", b"{" + _MARK_KEY) + path[-1:]


def _closing(path: bytes) -> bytes:
    """Return the text that closes the containers that are open where a chunk ends, with the mark first."""
    if not path:
        return b""
    mark = b"," + (_MARK_KEY + b"0" if path.endswith(b"{") else _MARK_KEY[:-1])
    return mark + path[::-1].translate(_CLOSERS)


def _append(value: object, chunk: object, path: bytes) -> None:
    """Add the members of a chunk to the containers that were open before it."""
    for level in range(len(path)):
        is_innermost = level == len(path) - 1
        inner: object = None
        within: object = None
        if isinstance(value, list) and isinstance(chunk, list):
            inner = None if is_innermost else chunk.pop(0)
            within = None if is_innermost else value[-1]
            value += chunk
        elif isinstance(value, dict) and isinstance(chunk, dict):
            inner = None if is_innermost else chunk.pop(_MARK)
            within = None if is_innermost else next(reversed(value.values()))
            value |= chunk
        value, chunk = within, inner


def _remove_mark(value: object, path: bytes) -> bool:
    """Remove the mark from the innermost open container; return False where it is not in the last one."""
    if not path:
        return True
    for _ in path[:-1]:
        if isinstance(value, list):
            value = value[-1] if value else None
        elif isinstance(value, dict):
            value = next(reversed(value.values()), None)
    if isinstance(value, list) and value and value[-1] == _MARK:
        del value[-1]
        return True
    return isinstance(value, dict) and value.pop(_MARK, None) is not None
