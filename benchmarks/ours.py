"""What our clients do with a body, for comparisons without a server."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from energy_core.codec.json import JSON
from energy_core.http.operation import Operation, Response
from vrm_async.client import VRMClient

T = TypeVar("T")


def understand(operation: Operation, into: Callable[[JSON], T]) -> Callable[[bytes], T]:
    """Return a function that decodes a body as `ApiClient.call` does."""
    api = VRMClient(token="0" * 64)._api

    def understood(body: bytes) -> T:
        response = Response(status=200, headers={"content-type": "application/json"}, body=body)
        return api.decode(response, operation, into)

    return understood
