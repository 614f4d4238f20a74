"""What the transport asks of a call while it sends its request, and what a signature puts on it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final, Protocol, TypeVar

from multidict import CIMultiDict

from energy_core.http.request import Priority
from energy_core.secret import Secret

_NOT_SENDABLE: Final = re.compile(r"[^\x20-\x7e]")
_HEADERS: Final = {"Accept": "application/json, */*;q=0.5", "Accept-Encoding": "gzip, deflate"}


T = TypeVar("T")


class AuthHeadersProtocol(Protocol):
    """What a credential puts on a request."""

    @property
    def headers(self) -> Mapping[str, Secret]:
        """Header names and values."""

    @property
    def query(self) -> Mapping[str, Secret]:
        """Query names and values."""


class Limiter(Protocol):
    """Where the turns to send come from."""

    def try_acquire(self, priority: Priority) -> bool:
        """Take a turn, if there is one now."""

    async def acquire(self, priority: Priority) -> None:
        """Wait for a turn."""

    def release(self, priority: Priority) -> None:
        """Hear that a turn is over: the head of an answer is there, or none will come."""


class SendCallbacks(Protocol):
    """Whose request passes: what the transport asks for while it sends. What is there needs no waiting."""

    @property
    def limiter(self) -> Limiter:
        """Where its turns come from."""

    def auth_headers(self) -> AuthHeadersProtocol | None:
        """What the request is signed with, if it is there now."""

    async def authorize(self) -> AuthHeadersProtocol:
        """Wait for the signature."""

    def on_sent(self) -> None:
        """Hear that the request is sent now; the turn has come."""


class AuthHeaders:
    """All headers of a request and the secret part of its query, made once for as long as a signature lasts.

    Args:
        signature: what signs; None for a request that carries no secret.

    Raises:
        ValueError: the credential holds what cannot be sent.
    """

    __slots__ = ("by", "headers", "query")

    def __init__(self, signature: AuthHeadersProtocol | None) -> None:
        self.by = signature
        # Functions, as in `Secret`: no dump of attributes that a reporter makes shows what they return.
        self.headers: Callable[[], CIMultiDict[str]] = _kept(CIMultiDict(_HEADERS))
        self.query: Callable[[], dict[str, str]] | None = None
        if signature is not None:
            self.headers = _kept(CIMultiDict(_HEADERS | _revealed(signature.headers)))
            self.query = _kept(_revealed(signature.query)) if signature.query else None


def _kept(value: T) -> Callable[[], T]:
    return lambda: value


def _revealed(secrets: Mapping[str, Secret]) -> dict[str, str]:
    for name, secret in secrets.items():
        if _NOT_SENDABLE.search(name) or _NOT_SENDABLE.search(secret.reveal()):
            raise ValueError("the credential holds characters that cannot be sent: only printable ASCII can")
    return {name: secret.reveal() for name, secret in secrets.items()}


NO_AUTH: Final = AuthHeaders(None)
