"""Authentication: access tokens, and logins, which VRM has deprecated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from attrs import evolve

from energy_core.codec.json import JSON
from energy_core.errors import (
    AnswerError,
    AuthFailed,
    ConnectError,
    InvalidCredentials,
    RateLimited,
    RequestError,
    TwoFactorRequired,
)
from energy_core.http.client import ApiClient
from energy_core.http.credential import Credential, Grant
from energy_core.http.operation import Operation, Priority
from energy_core.secret import Secret
from vrm_async.credentials import Credentials
from vrm_async.responses import content, is_no_such_path

if TYPE_CHECKING:
    from vrm_async.decoding.login import LoginAnswer
    from vrm_async.models.account import LoginResult

LOGIN: Final = Operation(
    vendor="vrm",
    name="auth.login",
    method="POST",
    path="auth/login",
    repeatable=True,  # a repeated login makes a second token; one with a one-time code is not repeatable
    authenticated=False,
    priority=Priority.AUTH,
)
LOGIN_WITH_CODE: Final = evolve(LOGIN, repeatable=False)
LOGIN_AS_DEMO: Final = evolve(LOGIN, name="auth.login_as_demo", method="GET", path="auth/loginAsDemo")
LOGOUT: Final = Operation(
    vendor="vrm",
    name="auth.logout",
    method="POST",
    path="auth/logout",
    repeatable=False,
    priority=Priority.AUTH,
)
LOGOUT_BY_GET: Final = evolve(LOGOUT, method="GET")

DEPRECATED: Final = (
    "logins to VRM, with their bearer tokens, are deprecated since 1 June 2026: "
    "pass a personal access token instead, VRMClient(token=...)"
)

GONE: Final = frozenset({404, 405, 410, 415})
"""Statuses of a login that VRM no longer offers; they do not concern the credentials."""
_ALTERNATIVE: Final = "pass a personal access token, VRMClient(token=...)"
_REFUSED: Final = frozenset({200, 201, 202, 203, 400, 401, 403, 422})
"""Statuses of a login that VRM refused because of the credentials."""
_NOT_DONE: Final = (AnswerError, ConnectError, RateLimited)
"""Errors after which the token is certainly still valid."""


class HasCredential(Protocol):
    """An account, as far as a login needs it."""

    @property
    def credential(self) -> Credential:
        """Stores the token of a login."""


class Auth:
    """Login and logout; `client.auth`. A client logs in by itself, so most programs do not need it."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._sms_token = credentials.sms_token
        self._two_factor = False

    def credential(self, **kwargs: object) -> Credential:
        """Return the credential of the account."""
        if self._credentials.token is not None:
            return Credential(grant=_grant("Token", self._credentials.token), **kwargs)  # type: ignore[arg-type]
        return Credential(login=self._renew, **kwargs)  # type: ignore[arg-type]

    def bind(self, api: ApiClient, account: HasCredential) -> None:
        """Set the client that sends the login, and the account that keeps its token."""
        self._api = api
        self._account = account

    async def login(self, *, sms_token: str | None = None, remember_me: bool = False) -> LoginResult:
        """Log in now, with a one-time code if VRM requires one.

        The token stays inside the client. Cancelling is safe, but a one-time code may then be used up.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/auth/login

        Args:
            sms_token: The one-time code.
            remember_me: Whether to request a token with a longer life.

        Raises:
            TwoFactorRequired: VRM requires a one-time code; call again with it.
            InvalidCredentials: VRM refused the user name, the password or the code.
            AnswerError: this login is no longer offered (404, 405, 410, 415), or refused for another reason.
        """
        if not self._credentials.logs_in:
            raise ValueError("this client holds an access token and has nothing to log in with")
        if sms_token is not None and not sms_token.strip():
            raise ValueError("sms_token must not be empty")
        code = Secret(sms_token.strip()) if sms_token is not None else self._take_code()
        answer, grant = await self._ask(code, remember_me=remember_me)
        self._account.credential.set(grant)
        return answer.result

    async def logout(self) -> None:
        """Revoke the token of the login. The next call logs in again. Does nothing without a login.

        The token is not sent after this; calls in progress may have sent it already.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/auth/logout
        """
        if not self._credentials.logs_in:
            raise ValueError("this client holds an access token: revoke it with tokens.revoke(...)")
        if self._account.credential.valid() is None:
            return
        revoked = True
        try:
            await self._revoke()
        except _NOT_DONE:
            revoked = False  # the caller can try again with the same token
            raise
        finally:
            if revoked:  # or unknown, as after a broken connection
                self._account.credential.forget()

    async def _revoke(self) -> None:
        try:
            await self._api.call(LOGOUT, content)
        except AnswerError as error:
            refusal = error
        else:
            return
        if not is_no_such_path(refusal):
            raise refusal
        await self._api.call(LOGOUT_BY_GET, content)  # VRM's two documents name POST and GET

    async def _renew(self) -> Grant:
        code = self._take_code()
        try:
            return (await self._ask(code))[1]
        except (ConnectError, RateLimited):
            self._sms_token = code  # it was not sent and is still valid
            raise

    def _take_code(self) -> Secret | None:
        """Return the one-time code at the first call, then None."""
        code, self._sms_token = self._sms_token, None
        return code

    async def _ask(self, code: Secret | None, *, remember_me: bool = False) -> tuple[LoginAnswer, Grant]:
        from vrm_async.decoding.login import login  # noqa: PLC0415  (most clients never log in)

        operation, body = self._question(code, remember_me=remember_me)
        call = self._api.call(operation, login, json=body)
        del body  # a traceback with local variables must not contain the password
        try:
            answer = await call
        except (AnswerError, AuthFailed) as error:
            refusal = error
        else:
            return self._granted(answer, operation, code)
        # Raised outside the handler, so that VRM's answer, which may contain the credentials, is not chained.
        raise self._meaning(refusal, code)

    def _granted(
        self, answer: LoginAnswer, operation: Operation, code: Secret | None
    ) -> tuple[LoginAnswer, Grant]:
        if answer.token is None and operation is LOGIN_AS_DEMO:
            raise InvalidCredentials("VRM sent no token for the demo login", **_facts(operation))  # type: ignore[arg-type]
        if answer.token is None:
            raise TwoFactorRequired(
                "VRM requires a one-time code: call auth.login(sms_token=...)",
                sent=answer.sent,
                **_facts(operation),
            )
        self._two_factor = self._two_factor or code is not None
        return answer, _grant("Bearer", answer.token)

    def _question(self, code: Secret | None, *, remember_me: bool) -> tuple[Operation, JSON]:
        if self._credentials.username is None or self._credentials.password is None:
            return LOGIN_AS_DEMO, None
        password = self._credentials.password
        body: dict[str, JSON] = {"username": self._credentials.username, "password": password.reveal()}
        if remember_me:
            body["remember_me"] = True
        self._account.credential.mask_secret(password)
        if code is None:
            return evolve(LOGIN, hides=(password,)), body
        self._account.credential.mask_secret(code)
        return evolve(LOGIN_WITH_CODE, hides=(password, code)), {**body, "sms_token": code.reveal()}

    def _meaning(self, refusal: RequestError, code: Secret | None) -> RequestError:
        """Return the error to raise for a refused login."""
        if refusal.status in GONE:
            gone = f"this way of logging in is gone: {_ALTERNATIVE}"
            return refusal.as_kind(type(refusal), gone)
        if refusal.body_format == "html" or refusal.status not in _REFUSED:  # not VRM's answer
            return refusal
        if self._two_factor and code is None:
            spent = "the one-time code has been used: get a new one and call auth.login(sms_token=...)"
            return refusal.as_kind(TwoFactorRequired, spent)
        refused = "user name, password or one-time code" if code else "user name or password"
        if self._credentials.username is None:
            refused = "demo login"
        text = f": {refusal.vendor_message!r}" if refusal.vendor_message else ""
        return refusal.as_kind(InvalidCredentials, f"VRM refused the {refused}{text}")


def _facts(operation: Operation) -> dict[str, object]:
    return {
        "vendor": operation.vendor,
        "operation": operation.name,
        "method": operation.method,
        "path": operation.path,
    }


def _grant(scheme: str, token: Secret) -> Grant:
    return Grant(token=token, headers={"X-Authorization": Secret(f"{scheme} {token.reveal()}")})
