"""VoltStorage's accounts and the JSON web tokens its login gives out."""

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
"""A leap year, the most a login may ask for."""


def _part(content: bytes) -> str:
    return urlsafe_b64encode(content).rstrip(b"=").decode()


@frozen(kw_only=True)
class Owner:
    """Somebody with an account at VoltStorage."""

    id: int
    name: str
    email: str
    password: str = field(repr=False)


@define(eq=False)
class VoltAccounts:
    """Owners and the tokens they hold, whose lives the monotonic clock measures, not their labels."""

    seed: int
    clock: Clock
    skew_s: float = 0.0
    """How far the server's wall clock is ahead of the real one; only the labels `iat` and `exp` show it."""
    owners: list[Owner] = field(factory=list)
    _live: dict[str, tuple[int, float]] = field(factory=dict, init=False, repr=False)
    _issued: int = field(default=0, init=False)

    def find(self, email: str, password: str) -> Owner | None:
        """Return the owner whose address (in any case) and password these are."""
        matching = (owner for owner in self.owners if owner.email == email.lower())
        return next((owner for owner in matching if owner.password == password), None)

    def issue(self, owner: Owner, validity_s: float) -> str:
        """Return a signed token that is good for `validity_s` seconds."""
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
        self._live[token] = (owner.id, self.clock.monotonic() + validity_s)
        return token

    def expire(self) -> None:
        """Make every token invalid."""
        self._live.clear()

    def owner(self, token: str) -> Owner | None:
        """Return whose token this is, or None if it is foreign, forged or over."""
        number, until = self._live.get(token, (0, 0.0))
        if self.clock.monotonic() >= until:
            self._live.pop(token, None)
            return None
        return next((owner for owner in self.owners if owner.id == number), None)
