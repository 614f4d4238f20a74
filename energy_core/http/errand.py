"""What the transport asks of a call while it sends its request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from energy_core.secret import Secret


class Signature(Protocol):
    """What a credential puts on a request."""

    @property
    def headers(self) -> Mapping[str, Secret]:
        """Header names and values."""

    @property
    def query(self) -> Mapping[str, Secret]:
        """Query names and values."""


class Errand(Protocol):
    """Whose request passes: what the transport asks for while it sends. What is there needs no waiting."""

    def signature(self) -> Signature | None:
        """What the request is signed with, if it is there now."""

    async def sign(self) -> Signature:
        """Wait for the signature."""

    def try_turn(self) -> bool:
        """Take the turn to send, if it is there now."""

    async def turn(self) -> None:
        """Wait for the turn."""

    def off(self) -> None:
        """Hear that the request is sent now; the turn has come."""

    def end_turn(self) -> None:
        """Hear that the turn is over: the head of an answer is there, or none will come."""
