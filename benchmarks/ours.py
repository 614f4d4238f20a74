"""The way of an answer inside the clients, nothing left out, for comparisons that need no server."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from energy_core.codec.json import JSON
from energy_core.http.operation import Operation, Response
from vrm_async.client import VRMClient

T = TypeVar("T")


def understand(operation: Operation, into: Callable[[JSON], T]) -> Callable[[bytes], T]:
    """Return what `ApiClient.call` does with a body: strict JSON, the envelope, models, drift."""
    api = VRMClient(token="0" * 64)._api

    def understood(body: bytes) -> T:
        response = Response(status=200, headers={"content-type": "application/json"}, body=body)
        return api._understand(response, operation, into)

    return understood
