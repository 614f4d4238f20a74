"""Mutations of answers: values, keys, records, bytes, statuses and headers."""

from __future__ import annotations

import copy
import json
from random import Random
from typing import Any

from energy_core.codec.json import strict_json
from energy_core.errors import DecodeError

ODD: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    -0.0,
    2**31,
    -(2**31),
    2**53,
    2**63,
    -(2**63),
    10**30,
    10**400,
    1e308,
    -1e308,
    5e-324,
    float("nan"),
    float("inf"),
    float("-inf"),
    "",
    " ",
    "0",
    "-1",
    "--",
    "1e999",
    "NaN",
    "Infinity",
    "1,5",
    "0x10",
    "\u0661",
    "null",
    "false",
    "\x00",
    "\ud800",
    "a" * 5000,
    "2026-03-01T12:00:00Z",
    "1970-01-01",
    "9999-12-31 23:59:59",
    [],
    {},
    [[]],
    [None],
    [0, 1],
    {"0": 1},
    {"a": {"b": []}},
    [[1, 2], [3]],
    "/../x",
    "<b>",
    -62135596801,
    253402300800,
    1e-9,
    4_102_444_800,
    1_772_366_400_000,
)


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of all values below a node."""
    found = [path] if path else []
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        found += places(value, (*path, key))
    return found


def mutated(value: Any, random: Random, *, times: int = 1) -> Any:
    """Return a JSON value with one part changed."""
    made = copy.deepcopy(value)
    for _ in range(times):
        below = places(made)
        if not below:
            return random.choice(ODD)
        *way, last = random.choice(below)
        node = made
        for key in way:
            node = node[key]
        _change(node, last, random)
    return made


def _replace(node: Any, key: Any, random: Random) -> None:
    node[key] = copy.deepcopy(random.choice(ODD))


def _delete(node: Any, key: Any, _: Random) -> None:
    del node[key]


def _reckon(node: Any, key: Any, random: Random) -> None:
    value = node[key]
    if isinstance(value, int | float) and not isinstance(value, bool):
        node[key] = value * random.choice((-1, 1000, 1e-3, 1.0000001, 1e18)) + random.choice((0, 1, -1, 0.5))


def _double(node: Any, key: Any, _: Random) -> None:
    if isinstance(node, list):
        node.insert(key, copy.deepcopy(node[key]))
    else:
        node[f"{key}X"] = node.pop(key)


def _reshape(node: Any, key: Any, random: Random) -> None:
    value = node[key]
    if isinstance(value, list):
        node[key] = {str(number): each for number, each in enumerate(value)}
    elif isinstance(value, dict):
        node[key] = list(value.values())
    else:
        node[key] = random.choice((str(value), [value], {"0": value}))


_CHANGES = (_replace, _replace, _replace, _delete, _reckon, _double, _reshape, _reshape)


def _change(node: Any, key: Any, random: Random) -> None:
    random.choice(_CHANGES)(node, key, random)


def text_of(value: Any) -> bytes:
    """Return a value as JSON, including NaN, surrogates and numbers of any length."""
    return json.dumps(value).encode()


def bytes_of(body: bytes, random: Random) -> bytes:
    """Return a body with bytes changed, cut or added."""
    place = random.randrange(len(body) + 1)
    noise = bytes(random.randrange(256) for _ in range(random.randrange(1, 6)))
    return random.choice(
        (
            body[:place],
            body[:place] + noise + body[place:],
            body[:place] + body[place + random.randrange(1, 40) :],
            b"\xef\xbb\xbf" + body,
            body + body[:place],
            body.replace(b'"', b"'", random.randrange(1, 4)),
            random.choice((b"", b"null", b"false", b"[]", b"{}", b"0", b'""', b"\x00" * 9, b" ")),
            b"<!DOCTYPE html><html><body><h1>502 Bad Gateway</h1></body></html>",
            b"[" * random.choice((10, 1000, 100_000)),
        )
    )


HEADERS: tuple[tuple[str, str], ...] = (
    ("Retry-After", "0"),
    ("Retry-After", "30.0"),
    ("Retry-After", "-5"),
    ("Retry-After", "1e9"),
    ("Retry-After", "soon"),
    ("Retry-After", "Sun, 01 Mar 2026 12:00:10 GMT"),
    ("Date", "Thu, 01 Jan 1970 00:00:00 GMT"),
    ("Date", "Fri, 31 Dec 9999 23:59:59 GMT"),
    ("Date", "yesterday"),
    ("Content-Encoding", "gzip"),
    ("Content-Encoding", "br"),
    ("Content-Encoding", "identity"),
    ("Set-Cookie", "a=b; Domain=.example"),
    ("Location", "https://elsewhere.example/"),
    ("X-Odd", "\xe9\xff"),
    ("X-Long", "x" * 7000),
)

STATUSES: tuple[int, ...] = (
    *(201, 202, 203, 204, 206, 301, 302, 304, 307, 400, 401, 402, 403, 404, 405, 408, 409, 410, 413, 418),
    *(422, 425, 429, 429, 451, 500, 501, 502, 503, 503, 504, 520, 599),
)

KINDS: tuple[str, ...] = (
    *("application/json", "application/json; charset=latin-1", "text/html", "text/html; charset=utf-8"),
    *("text/plain", "application/octet-stream", "text/csv", "", "nonsense", "application/problem+json"),
)

PAGES: tuple[bytes, ...] = (
    b"",
    b"<html><body>Too many requests</body></html>",
    b'{"success":false,"errors":"no","error_code":"unknown"}',
    b'{"success":false,"errors":{"a":["b"]},"error_code":null}',
    b'{"errors":["jwt expired"]}',
    b'{"message":"x"}',
    b"null",
    b"\xff\xfe",
    b"no",
)


def is_json(body: bytes) -> bool:
    """Whether the client accepts a body as JSON: no NaN, no number over 64 bits, no lone surrogate."""
    try:
        strict_json(body)
    except DecodeError:
        return False
    return True
