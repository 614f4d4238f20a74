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


class Signature(Protocol):
    """What a credential puts on a request."""

    @property
    def headers(self) -> Mapping[str, Secret]:
        """Header names and values."""

    @property
    def query(self) -> Mapping[str, Secret]:
        """Query names and values."""


class Turns(Protocol):
    """Where the turns to send come from."""

    def try_enter(self, priority: Priority) -> bool:
        """Take a turn, if there is one now."""

    async def enter(self, priority: Priority) -> None:
        """Wait for a turn."""

    def leave(self, priority: Priority) -> None:
        """Hear that a turn is over: the head of an answer is there, or none will come."""


class Errand(Protocol):
    """Whose request passes: what the transport asks for while it sends. What is there needs no waiting."""

    @property
    def lane(self) -> Turns:
        """Where its turns come from."""

    def signature(self) -> Signature | None:
        """What the request is signed with, if it is there now."""

    async def sign(self) -> Signature:
        """Wait for the signature."""

    def off(self) -> None:
        """Hear that the request is sent now; the turn has come."""


class Signed:
    """All headers of a request and the secret part of its query, made once for as long as a signature lasts.

    Args:
        signature: what signs; None for a request that carries no secret.

    Raises:
        ValueError: the credential holds what cannot be sent.
    """

    __slots__ = ("by", "headers", "query")

    def __init__(self, signature: Signature | None) -> None:
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


UNSIGNED: Final = Signed(None)
