"""Email and password, or a token: how a request comes to carry a credential."""

from __future__ import annotations

from base64 import urlsafe_b64decode
from binascii import Error as Base64Error
from collections.abc import Callable
from typing import Final

from attrs import evolve, field, frozen

from energy_core.codec.coerce import number
from energy_core.codec.json import JSON, strict_json
from energy_core.errors import AnswerError, AuthFailed, DecodeError, InvalidCredentials, RequestError
from energy_core.http.client import ApiClient
from energy_core.http.credential import Credential, Grant
from energy_core.http.operation import Operation, Priority
from energy_core.printable import printable
from energy_core.secret import Secret, fingerprint
from voltstorage_async.codec import VENDOR, login_token
from voltstorage_async.endpoints import Endpoints, TokenPlace

MAX_VALIDITY_S: Final = 31_622_400
"""A leap year, the vendor's own maximum."""
DEFAULT_VALIDITY_S: Final = 86_400
"""A day, the vendor's own default."""

# A login changes nothing at the vendor's side but to hand out one more token, so it may be repeated.
LOGIN: Final = Operation(
    vendor=VENDOR,
    name="login",
    method="POST",
    path="login/password",
    repeatable=True,
    authenticated=False,
    priority=Priority.AUTH,
)


GONE: Final = frozenset({404, 405, 410, 415})
"""What a login is answered that is no longer offered; it says nothing about the password."""
_REFUSED: Final = frozenset({200, 201, 202, 203, 400, 401, 403, 422})
"""Where a refusal is about the credentials."""


@frozen
class VoltCredentials:
    """Who the account is: a token, or an email with its password. Made by `identity`, which checks it."""

    token: Secret | None = None
    email: str | None = field(default=None, repr=False)
    password: Secret | None = None
    validity: int = DEFAULT_VALIDITY_S

    @property
    def owner(self) -> str:
        """A fingerprint that distinguishes credentials, in this process only."""
        if self.token is not None:
            return f"token/{fingerprint(self.token)}"
        # With another password it is another one: a wrong password must not use the session of a right one.
        return f"login/{fingerprint(self.email or '', self.password or '')}"


def identity(*, email: str | None, password: str | None, token: str | None, validity: int) -> VoltCredentials:
    """Check what the user gave.

    Raises:
        ValueError: not exactly one of a token, or an email with its password; or a validity out of range.
        TypeError: something is not what it should be.
    """
    for name, value in (("email", email), ("password", password), ("token", token)):
        if value is not None and not isinstance(value, str):
            raise TypeError(f"{name} must be a str, not {type(value).__name__}")
    if isinstance(validity, bool) or not isinstance(validity, int):
        raise TypeError(f"validity must be an int of seconds, not {type(validity).__name__}")
    if not 0 <= validity <= MAX_VALIDITY_S:
        raise ValueError(f"validity must be 0..{MAX_VALIDITY_S} seconds: {validity}")
    if token is not None:
        if email is not None or password is not None:
            raise ValueError("give either token, or email and password, not both")
        return VoltCredentials(token=_token(token))
    if email is None or password is None:
        raise ValueError("give email and password, or token")
    # The vendor does not tell upper from lower case in an email, so neither may the account's lane.
    return VoltCredentials(email=_email(email), password=_password(password), validity=validity)


def _token(text: str) -> Secret:
    token = text.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError("token must be printable ASCII without spaces")
    return Secret(token)


def _email(text: str) -> str:
    email = text.strip().lower()
    if "@" not in email or not email.isprintable():
        raise ValueError("email must be an email address")
    return email


def _password(text: str) -> Secret:
    if not text:
        raise ValueError("password must not be empty")
    return Secret(text)


def credential(who: VoltCredentials, endpoints: Endpoints, api: Callable[[], ApiClient]) -> Credential:
    """Return the account's credential: fixed for a token, else one that logs in by itself."""
    if who.token is not None:
        return Credential(grant=grant(who.token, endpoints.token_in, lifetime_s=None))

    async def login() -> Grant:
        return await _log_in(api(), who, endpoints)

    return Credential(login=login)


async def _log_in(api: ApiClient, who: VoltCredentials, endpoints: Endpoints) -> Grant:
    if who.password is not None:
        api.account.credential.guard(who.password)
    try:
        hides = () if who.password is None else (who.password,)
        operation = evolve(LOGIN, path=endpoints.login, hides=hides)
        token = await api.call(operation, login_token, json=_form(who))
    except (AnswerError, AuthFailed) as error:
        refusal = error
    else:
        return grant(token, endpoints.token_in, lifetime_s=lifetime(token, who.validity))
    # Raised outside the handler: the vendor may have repeated what it was sent.
    raise _meaning(refusal)


def _form(who: VoltCredentials) -> JSON:
    password = "" if who.password is None else who.password.reveal()
    return {"email": who.email, "password": password, "validity": who.validity}


def _meaning(refusal: RequestError) -> RequestError:
    """Return what a refused login means for its caller."""
    if refusal.status in GONE:
        gone = "this way of logging in is gone: pass a token, or another Endpoints.login"
        return refusal.as_a(type(refusal), gone)
    if refusal.form == "html" or refusal.status not in _REFUSED:  # not about these credentials
        return refusal
    said = f": {refusal.words!r}" if refusal.words else ""
    return refusal.as_a(InvalidCredentials, f"the email or the password was refused{said}")


def grant(token: Secret, place: TokenPlace, *, lifetime_s: float | None) -> Grant:
    """Put a token where requests carry it."""
    if place == "query":
        return Grant(token=token, query={"token": token}, lifetime_s=lifetime_s)
    return Grant(
        token=token, headers={"Authorization": Secret(f"Bearer {token.reveal()}")}, lifetime_s=lifetime_s
    )


def lifetime(token: Secret, validity: int) -> float:
    """Return for how many seconds a token is good.

    The difference of a JWT's own `exp` and `iat` is both the server's time, so a wrong clock here does no
    harm. The signature is not checked: the token is only held against itself. Without a usable pair, what
    was asked for counts.
    """
    payload = token.reveal().split(".")[1:2]
    try:
        claims = strict_json(urlsafe_b64decode(payload[0] + "=" * (-len(payload[0]) % 4)))
    except (IndexError, Base64Error, ValueError, DecodeError):
        return float(validity)
    if not isinstance(claims, dict):
        return float(validity)
    ends, begins = number(claims.get("exp")), number(claims.get("iat"))
    if ends is None or begins is None or not 0 <= ends - begins <= MAX_VALIDITY_S:
        return float(validity)
    return ends - begins


class Auth:
    """`client.auth`: logging in ahead of time. Requests log in by themselves when they must."""

    def __init__(
        self, who: VoltCredentials, endpoints: Endpoints, api: ApiClient, credential: Credential
    ) -> None:
        self._who = who
        self._endpoints = endpoints
        self._api = api
        self._credential = credential

    async def login(self) -> None:
        """Log in now and let the new token replace the one in use.

        Raises:
            InvalidCredentials: the email or the password was refused.
            AnswerError: this login is no longer offered (404, 405, 410, 415), or refused for another reason.
            ValueError: the client was given a token, not an email and a password.
        """
        if self._who.token is not None:
            raise ValueError("a client with a token has nothing to log in with")
        self._credential.set(await _log_in(self._api, self._who, self._endpoints))

    @printable
    def __repr__(self) -> str:
        return f"<Auth by {'login' if self._who.token is None else 'token'}>"
