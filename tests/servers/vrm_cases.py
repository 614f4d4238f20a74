"""Checks of one VRM operation, shared by the tests of all resources.

Each test file of a resource has tables: `REQUESTS` (a call and the request that it sends), `RETURNS`
(also the returned value), `WRONG` (calls with a wrong argument), `ANSWERS` (a reader and a clean answer).
"""

from __future__ import annotations

import pytest
from hypothesis import strategies as st

from energy_core.codec.drift import Drift, collect_drift
from energy_core.errors import DecodeError, EnergyError

OK = {"success": True}
HOSTILE_IDS = [
    (-1, ValueError),
    (True, TypeError),
    (1.5, TypeError),
    ("1", TypeError),
    ("../admin", TypeError),
    ("1\r\nX: y", TypeError),
    ("https://example.com/", TypeError),
    (None, TypeError),
]

_LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(["", "1e400", "-1", "0", "NaN", "٣", "1_0", "{", "[]", '{"a":'])
)
ANY_JSON = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
)


async def check_request(client, fake, case):
    """The call sends one request: this method, path, query and body, and no member too many."""
    call, method, path, query, body = case
    fake.answers(method, path, {**OK, "tags": {}})
    await call(client)
    assert [(seen.method, seen.path, seen.query, seen.json) for seen in fake.asked] == [
        (method, path, query, body)
    ]


async def check_returned(client, fake, case):
    """The call returns a plain value of the answer, after one request beside that for the user's id."""
    call, request, answer, returned = case
    fake.answers(request[0], request[1], {**OK, **answer})
    assert await call(client) == returned
    assert [
        (seen.method, seen.path, seen.query, seen.json) for seen in fake.asked if seen.path != "users/me"
    ] == [request]


async def check_wrong(client, case):
    """The call raises, and the message has the argument's name or the allowed values."""
    call, expected, words = case
    with pytest.raises(expected, match=words):
        await call(client)


async def check_hostile_id(client, name, call):
    """A value that is not a non-negative int raises, and the message has the argument's name."""
    for wrong, expected in HOSTILE_IDS[:-1]:
        with pytest.raises(expected, match=name.strip()):
            await call(client, wrong)


def read_answer(case, payload=None):
    """Read the clean answer of a case, or another one."""
    reader, sample = case
    return reader(sample if payload is None else payload)


def check_clean(case):
    """A clean answer is read without drift, but for keys that VRM's documents do not have."""
    drift = Drift()
    with collect_drift(drift):
        use(read_answer(case))
    assert [key for key in drift.counts if key[2] != "unknown"] == []


def check_any_value(case, data):
    """With any value at any place the answer is read, or an `EnergyError` is raised; in strict mode too."""
    reader, sample = case
    path = data.draw(st.sampled_from(list(_places(sample))))
    payload = _put(sample, path, data.draw(ANY_JSON))
    for strict in (False, True):
        try:
            with collect_drift(Drift(strict=strict)):
                use(reader(payload))
        except EnergyError:
            pass


def check_drift(case, payload, noted):
    """One bad record or field is counted and the rest is read; a strict client raises."""
    drift = Drift()
    with collect_drift(drift):
        read_answer(case, payload)
    assert drift.counts[noted] >= 1
    with collect_drift(Drift(strict=True)), pytest.raises(DecodeError, match=noted[1]):
        read_answer(case, payload)


def check_missing_part(case):
    """A member that VRM always sends is not taken for empty where it is missing."""
    for payload in ({"success": True}, {"success": True, "idSite": 5}):
        with pytest.raises(DecodeError, match="has no"):
            case[0](payload)


def check_no_object(case):
    """An answer that is not an object raises."""
    for payload in (None, [], "x", 5, True):
        with pytest.raises(DecodeError):
            case[0](payload)


def use(value):
    """Use a model as programs do: print it, iterate over it, read its properties."""
    repr(value)
    for name in dir(type(value)):
        if isinstance(getattr(type(value), name), property):
            getattr(value, name)
    if hasattr(value, "__iter__") and not isinstance(value, str | dict):
        for inner in value:
            use(inner)
    elif isinstance(value, dict):
        for inner in value.values():
            use(inner)


def _places(value, path=()):
    """Yield every path into a JSON value."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from _places(inner, (*path, key))


def _put(value, path, new):
    """Return the value with another one at a path."""
    if not path:
        return new
    key, *rest = path
    if isinstance(value, dict):
        return {**value, key: _put(value[key], rest, new)}
    return [_put(inner, rest, new) if number == key else inner for number, inner in enumerate(value)]
