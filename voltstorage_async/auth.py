"""Logins: from email and password, or a token, to the credential that requests carry."""

from __future__ import annotations

from base64 import urlsafe_b64decode
from binascii import Error as Base64Error
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final

from attrs import evolve, field, frozen

from energy_core.checks import string, whole
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
"""366 days, the vendor's maximum, in seconds."""
DEFAULT_VALIDITY_S: Final = 86_400
"""A day, the vendor's default, in seconds."""

# A login only issues one more token, so it is idempotent.
LOGIN: Final = Operation(
    vendor=VENDOR,
    name="login",
    method="POST",
    path="login/password",
    repeatable=True,
    authenticated=False,
    priority=Priority.AUTH,
)

NOT_OFFERED: Final = frozenset({404, 405, 410, 415})
"""Statuses of a login path that does not exist (any more); they do not concern the password."""
_REJECTED: Final = frozenset({200, 201, 202, 203, 400, 401, 403, 422})
"""Statuses with which the vendor rejects an email or password."""


@frozen
class VoltCredentials:
    """Validated credentials: a token, or an email with its password. Made by `check_credentials`."""

    token: Secret | None = None
    email: str | None = field(default=None, repr=False)
    password: Secret | None = None
    validity: int = DEFAULT_VALIDITY_S

    @property
    def owner(self) -> str:
        """A fingerprint of the credentials, valid in this process only."""
        if self.token is not None:
            return f"token/{fingerprint(self.token)}"
        # The password is a part of it: a client with a wrong password must not share the session of another.
        return f"login/{fingerprint(self.email or '', self.password or '')}"


def check_credentials(
    *, email: str | None, password: str | None, token: str | None, validity: int
) -> VoltCredentials:
    """Return the credentials of a client's arguments.

    Raises:
        ValueError: Neither or both of a token and an email with its password are given, or `validity` is out
            of range.
        TypeError: An argument has a wrong type.
    """
    for name, value in (("email", email), ("password", password), ("token", token)):
        if value is not None:
            string(name, value)
    whole("validity", validity, least=0, most=MAX_VALIDITY_S)
    if token is not None:
        if email is not None or password is not None:
            raise ValueError("give either token, or email and password, not both")
        return VoltCredentials(token=_token(token))
    if email is None or password is None:
        raise ValueError("give email and password, or token")
    # The vendor ignores the case of an email, so clients with either spelling share one rate limiter.
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


def make_credential(
    credentials: VoltCredentials, endpoints: Endpoints, api: Callable[[], ApiClient]
) -> Credential:
    """Return the account's credential: fixed for a token, otherwise one that logs in when it must."""
    if credentials.token is not None:
        return Credential(grant=make_grant(credentials.token, endpoints.token_in, lifetime_s=None))

    async def login() -> Grant:
        return await _log_in(api(), credentials, endpoints)

    return Credential(login=login)


async def _log_in(api: ApiClient, credentials: VoltCredentials, endpoints: Endpoints) -> Grant:
    if credentials.password is not None:
        api.account.credential.mask_secret(credentials.password)
    try:
        hides = () if credentials.password is None else (credentials.password,)
        operation = evolve(LOGIN, path=endpoints.login, hides=hides)
        token = await api.call(operation, login_token, json=_login_body(credentials))
    except (AnswerError, AuthFailed) as error:
        refusal = error
    else:
        return make_grant(token, endpoints.token_in, lifetime_s=token_lifetime(token, credentials.validity))
    # Raised outside the handler, so that the answer, which may repeat the password, is not its `__context__`.
    raise _login_error(refusal)


def _login_body(credentials: VoltCredentials) -> JSON:
    password = "" if credentials.password is None else credentials.password.reveal()
    return {"email": credentials.email, "password": password, "validity": credentials.validity}


def _login_error(refusal: RequestError) -> RequestError:
    """Return the error of a failed login for its caller."""
    if refusal.status in NOT_OFFERED:
        message = "the service does not offer this login: pass a token, or another Endpoints.login"
        return refusal.as_kind(type(refusal), message)
    if refusal.body_format == "html" or refusal.status not in _REJECTED:  # a proxy's page, or an outage
        return refusal
    words = f": {refusal.vendor_message!r}" if refusal.vendor_message else ""
    return refusal.as_kind(InvalidCredentials, f"the email or the password was refused{words}")


def make_grant(token: Secret, place: TokenPlace, *, lifetime_s: float | None) -> Grant:
    """Return a grant that sends the token in a header or in the query."""
    if place == "query":
        return Grant(token=token, query={"token": token}, lifetime_s=lifetime_s)
    return Grant(
        token=token, headers={"Authorization": Secret(f"Bearer {token.reveal()}")}, lifetime_s=lifetime_s
    )


def token_lifetime(token: Secret, validity: int) -> float:
    """Return the lifetime of a token in seconds.

    It is the difference of the JWT's `exp` and `iat`. Both are the server's time, so a wrong local clock does
    not matter. The signature is not verified. A token without usable claims lives for the requested
    `validity`.
    """
    claims = _claims(token)
    expires, issued = number(claims.get("exp")), number(claims.get("iat"))
    if expires is None or issued is None or not 0 <= expires - issued <= MAX_VALIDITY_S:
        return float(validity)
    return expires - issued


def token_expiry(token: Secret) -> datetime | None:
    """Return the moment at which a JWT expires, aware, UTC; None if it does not say. It is not verified."""
    expires = number(_claims(token).get("exp"))
    try:
        return None if expires is None else datetime.fromtimestamp(expires, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _claims(token: Secret) -> Mapping[str, object]:
    """Return the claims of a JWT; none if it cannot be read."""
    payload = token.reveal().split(".")[1:2]
    try:
        claims = strict_json(urlsafe_b64decode(payload[0] + "=" * (-len(payload[0]) % 4)))
    except (IndexError, Base64Error, ValueError, DecodeError):
        return {}
    return claims if isinstance(claims, dict) else {}


class Auth:
    """`client.auth`: logs in before the first request. Requests log in automatically when they must."""

    def __init__(
        self, credentials: VoltCredentials, endpoints: Endpoints, api: ApiClient, credential: Credential
    ) -> None:
        self._credentials = credentials
        self._endpoints = endpoints
        self._api = api
        self._credential = credential

    async def login(self) -> None:
        """Log in now; the new token replaces the one in use. Cancelling is safe.

        Raises:
            InvalidCredentials: The vendor rejected the email or the password.
            AnswerError: The service does not offer this login (404, 405, 410, 415), or it failed otherwise.
            ValueError: The client has a token, not an email and a password.
        """
        if self._credentials.token is not None:
            raise ValueError("a client with a token cannot log in: it has no email and password")
        self._credential.set(await _log_in(self._api, self._credentials, self._endpoints))

    @printable
    def __repr__(self) -> str:
        return f"<Auth by {'login' if self._credentials.token is None else 'token'}>"
