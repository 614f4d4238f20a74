"""How this package declares what VRM offers: what only reads may be repeated, what writes may not."""

from __future__ import annotations

from typing import Final

from energy_core.http.request import MIB, Operation

SITE: Final = "installations/{idSite}"
USER: Final = "users/{idUser}"


def reads(name: str, path: str, *, method: str = "GET", body_limit: int = 16 * MIB) -> Operation:
    """Declare an operation that changes nothing, whatever its method is: VRM also asks with POST."""
    return Operation(
        vendor="vrm", name=name, method=method, path=path, repeatable=True, body_limit=body_limit
    )


def writes(name: str, method: str, path: str) -> Operation:
    """Declare an operation that changes something, and is therefore sent once, whatever its method is."""
    return Operation(vendor="vrm", name=name, method=method, path=path, repeatable=False)
