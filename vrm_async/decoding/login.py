"""Decoding of the answer to a login. Only a client that logs in imports this module."""

from __future__ import annotations

from attrs import frozen

from energy_core.codec.coerce import flag, is_nothing
from energy_core.codec.json import JSON
from energy_core.codec.structure import model
from energy_core.errors import DecodeError
from energy_core.secret import Secret
from vrm_async.decoding.php import by_key
from vrm_async.models.account import LoginResult
from vrm_async.responses import part


@frozen(kw_only=True)
class LoginAnswer:
    """The answer to a login."""

    token: Secret | None
    """None if VRM requires a one-time code."""
    sent: bool
    """Whether VRM has sent a one-time code."""
    result: LoginResult


_login_result = model(LoginResult, wire={"user_id": "idUser"})


def login(payload: JSON) -> LoginAnswer:
    """Read the answer to a login.

    Raises:
        DecodeError: the token cannot be sent as a header.
    """
    token = part(payload, "token")
    if not is_nothing(token) and not (isinstance(token, str) and token.isascii() and token.isprintable()):
        raise DecodeError("the login's token is not text that fits into a header", kind="envelope")
    facts = {key: item for key, item in by_key(payload).items() if key in {"idUser", "verification_mode"}}
    return LoginAnswer(
        token=Secret(token) if isinstance(token, str) and token else None,
        sent=isinstance(payload, dict) and flag(payload.get("verification_sent")) is True,
        result=_login_result(facts),
    )
