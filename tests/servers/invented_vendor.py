"""An invented vendor: three operations, a token that must never appear in any output, and short timings."""

from __future__ import annotations

from energy_core.http.credential import Credential, Grant
from energy_core.http.operation import Operation
from energy_core.http.response import Timeouts
from energy_core.http.token_bucket import RateLimit
from energy_core.secret import Secret

SENTINEL = "s3ntinel-t0ken-0f-n0-0ne"
FAST = Timeouts(connect_s=1.0, read_timeout_s=0.3)
WIDE = RateLimit(100_000, 100_000.0, 64)

READ = Operation(vendor="acme", name="things.get", method="GET", path="things/{id}", repeatable=True)
REVOKE = Operation(
    vendor="acme", name="things.revoke", method="GET", path="things/{id}/revoke", repeatable=False
)
CREATE = Operation(vendor="acme", name="things.create", method="POST", path="things", repeatable=False)


def fixed_token() -> Credential:
    """A credential that puts the sentinel into a header and into the query."""
    secret = Secret(SENTINEL)
    headers = {"X-Authorization": Secret(f"Token {SENTINEL}")}
    return Credential(grant=Grant(token=secret, headers=headers, query={"token": secret}))


def as_it_is(answer: object) -> object:
    """A decoder for tests that do not test models."""
    return answer
