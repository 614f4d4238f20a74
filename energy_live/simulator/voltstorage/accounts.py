"""VoltStorage's accounts and the JSON Web Tokens that its login issues.

The document shows such a token; its claims other than `exp` are a guess.
"""

from __future__ import annotations

import hmac
import json
from base64 import urlsafe_b64encode
from hashlib import sha256
from typing import Final

from attrs import define, field, frozen

from energy_core.clock import Clock
from energy_live.simulator.vrm.accounts import invented

LONGEST_VALIDITY_S: Final = 31_622_400
"""Longest validity that a login may request: a leap year."""


def _part(content: bytes) -> str:
    return urlsafe_b64encode(content).rstrip(b"=").decode()


@frozen(kw_only=True)
class Owner:
    """A user of VoltStorage."""

    id: int
    name: str
    email: str
    password: str = field(repr=False)


@define(eq=False)
class VoltAccounts:
    """Users of VoltStorage and their valid tokens.

    Tokens expire by the monotonic clock, so that a wrong wall clock (`skew_s`) shows in their claims only.
    """

    seed: int
    clock: Clock
    skew_s: float = 0.0
    """Seconds that the wall clock is ahead, as seen in `iat` and `exp`."""
    owners: list[Owner] = field(factory=list)
    _valid: dict[str, tuple[int, float]] = field(factory=dict, init=False, repr=False)
    _issued: int = field(default=0, init=False)

    def find(self, email: str, password: str) -> Owner | None:
        """Return the user with this address (case-insensitive) and password."""
        matching = (owner for owner in self.owners if owner.email == email.lower())
        return next((owner for owner in matching if owner.password == password), None)

    def issue(self, owner: Owner, validity_s: float) -> str:
        """Return a new signed token that expires after `validity_s` real seconds."""
        self._issued += 1
        issued_at = int(self.clock.utcnow().timestamp() + self.skew_s)
        claims = {
            "sub": str(owner.id),
            "iat": issued_at,
            "exp": issued_at + int(validity_s),
            "jti": self._issued,
        }
        head = _part(b'{"alg":"HS256","typ":"JWT"}')
        body = _part(json.dumps(claims, separators=(",", ":")).encode())
        key = invented(self.seed, "jwt").encode()
        token = f"{head}.{body}.{_part(hmac.digest(key, f'{head}.{body}'.encode(), sha256))}"
        self._valid[token] = (owner.id, self.clock.monotonic() + validity_s)
        return token

    def expire(self) -> None:
        """Invalidate every token."""
        self._valid.clear()

    def owner(self, token: str) -> Owner | None:
        """Return the user of a token, or None if it is unknown or has expired."""
        number, until = self._valid.get(token, (0, 0.0))
        if self.clock.monotonic() >= until:
            self._valid.pop(token, None)
            return None
        return next((owner for owner in self.owners if owner.id == number), None)
