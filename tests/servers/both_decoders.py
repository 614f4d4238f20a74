"""Decodes one body with and without the fast path, in a form that shows every difference."""

from __future__ import annotations

import attrs

from energy_core.codec.drift import Drift
from energy_core.errors import EnergyError
from energy_core.http.operation import Operation, Response
from tests.servers.json_backends import standard_library_only
from vrm_async.client import VRMClient

OPERATION = Operation(vendor="vrm", name="any", method="GET", path="any", repeatable=True)
API = VRMClient(token="0" * 64)._api


def described(value):
    """A value with the types of all its parts; lazy parts are read."""
    if attrs.has(type(value)):
        fields = {field.name: described(getattr(value, field.name)) for field in attrs.fields(type(value))}
        return [type(value).__name__, fields]
    if isinstance(value, dict):
        return ["dict", [[described(key), described(item)] for key, item in value.items()]]
    if isinstance(value, list | tuple):
        return [type(value).__name__, [described(item) for item in value]]
    return [type(value).__name__, repr(value)]


def outcome(into, body, *, strict=False):
    """The result of a body: a value or an error, and the schema drift."""
    API.drift = Drift(strict=strict)
    API._strict = strict
    response = Response(status=200, headers={"content-type": "application/json"}, body=body)
    try:
        made = API.decode(response, OPERATION, into)
        result = described(made)
        assert described(made) == result, "a second look gives something else"
    except EnergyError as error:
        result = [type(error).__name__, str(error), getattr(error, "kind", None)]
    return result, dict(API.drift.counts)


def both(into, body, *, strict=False):
    """The outcome with the installed parsers, and with the standard library alone."""
    fast = outcome(into, body, strict=strict)
    with standard_library_only():
        slow = outcome(into, body, strict=strict)
    return fast, slow
