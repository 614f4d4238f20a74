"""Credential: the token of one account, renewed by one shared login; and the headers a token becomes."""

from __future__ import annotations

import asyncio
import copy
import logging
import math
import random
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, NamedTuple, TypeVar

from attrs import field, frozen
from multidict import CIMultiDict

from energy_core.clock import Clock, SystemClock
from energy_core.errors import AuthError, AuthFailed, ClientClosed, EnergyError, RequestError
from energy_core.printable import printable, printable_class
from energy_core.retry_after import full_jitter
from energy_core.secret import Secret, masker

RENEW_AT: Final = 0.8
"""The part of a credential's lifetime after which it is renewed in the background."""

RENEW_JITTER: Final = 0.05
"""Up to this part of the lifetime later, so that programs started together do not log in together."""

RENEW_AGAIN_S: Final = 30.0
"""Pause between two attempts to renew in the background."""

FAILED_FIRST_S: Final = 1.0
FAILED_LONGEST_S: Final = 20.0
"""Pause after a second login in a row that failed without being refused: at most the first value, doubled
with each further failure up to the longest. It holds for all calls and streams of the account."""

REFUSED_FIRST_S: Final = 30.0
REFUSED_LONGEST_S: Final = 3600.0
"""Pause after a refused login: doubles with each refusal in a row, up to the longest."""

REMEMBERED: Final = 16
"""How many of an account's latest secrets are masked in its server's answers."""

_NOT_SENDABLE: Final = re.compile(r"[^\x20-\x7e]")
_HEADERS: Final = {"Accept": "application/json, */*;q=0.5", "Accept-Encoding": "gzip, deflate"}

_log = logging.getLogger("energy_core.http")

T = TypeVar("T")


@printable_class
@frozen(kw_only=True)
class Grant:
    """The result of a login.

    Args:
        token: The credential itself, where it is needed apart from a request.
        headers: Attached to every request.
        query: Attached to every request's query.
        lifetime_s: Seconds it is valid from its arrival; None if it does not expire.
    """

    token: Secret
    headers: Mapping[str, Secret] = field(factory=dict)
    query: Mapping[str, Secret] = field(factory=dict)
    lifetime_s: float | None = None


class Issued(NamedTuple):
    """A grant and its number; a refused request names the number that was refused."""

    grant: Grant
    generation: int


class AuthHeaders:
    """All headers of a request and the secret part of its query, built once for each grant.

    Args:
        grant: None for a request without a credential.

    Raises:
        ValueError: the credential contains characters that cannot be sent.
    """

    __slots__ = ("grant", "headers", "query")

    def __init__(self, grant: Grant | None) -> None:
        self.grant = grant
        # Functions, as in `Secret`: error reporters print attributes, and not what a function returns.
        self.headers: Callable[[], CIMultiDict[str]] = _hidden(CIMultiDict(_HEADERS))
        self.query: Callable[[], dict[str, str]] | None = None
        if grant is not None:
            self.headers = _hidden(CIMultiDict(_HEADERS | _revealed(grant.headers)))
            self.query = _hidden(_revealed(grant.query)) if grant.query else None


def _hidden(value: T) -> Callable[[], T]:
    return lambda: value


def _revealed(secrets: Mapping[str, Secret]) -> dict[str, str]:
    for name, secret in secrets.items():
        if _NOT_SENDABLE.search(name) or _NOT_SENDABLE.search(secret.reveal()):
            raise ValueError("the credential has characters that cannot be sent: only printable ASCII can")
    return {name: secret.reveal() for name, secret in secrets.items()}


NO_AUTH: Final = AuthHeaders(None)


class Credential:
    """The credential of one account.

    With a `login` it renews itself: in the background after four fifths of its lifetime, at once when it has
    expired or was refused. All callers wait for one login, which runs in a task of its own: cancelling one
    caller does not cancel it.

    Args:
        grant: The first credential, or the only one if there is no `login`.
        login: Returns a new grant.
        clock: The source of time. Lifetimes use its monotonic time, so that a wrong wall clock does not
            matter.
        random: Returns numbers in [0, 1).
    """

    def __init__(
        self,
        *,
        grant: Grant | None = None,
        login: Callable[[], Awaitable[Grant]] | None = None,
        clock: Clock = SystemClock(),  # noqa: B008  (it has no state)
        random: Callable[[], float] = random.random,
    ) -> None:
        self._login = login
        self._clock = clock
        self._random = random
        self._issued: Issued | None = None
        self._generation = 0
        self._since: float | None = None  # start of the current lifetime; None until the first request
        self._renew_at = self._expires_at = math.inf
        self._task: asyncio.Task[Issued | Exception] | None = None
        self._refusal: AuthError | None = None
        self._refusals = 0
        self._refused_until = -math.inf
        self._failure: RequestError | None = None
        self._failures = 0
        self._failed_until = -math.inf
        self._useless: int | None = None  # a generation that was refused although it was new
        self._useless_until = -math.inf
        self._closed = False
        self._secrets: OrderedDict[Secret, None] = OrderedDict()
        self._mask: Callable[[str], str] | None = None
        if grant is not None:
            self.set(grant)

    async def get(self) -> Issued:
        """Return the valid credential, after a login if one is needed. Cancelling is safe.

        Raises:
            AuthError: The login was refused, now or recently; or there is no login and no grant.
            ClientClosed: The credential is closed, or was closed while waiting.
        """
        issued = self.valid()
        return await self._renewed() if issued is None else issued

    def valid(self) -> Issued | None:
        """Return the valid credential, or None if a login is needed first; never waits.

        Raises:
            ClientClosed: The credential is closed.
        """
        if self._closed:
            raise ClientClosed("the client is closed")
        if self._login is None or self._issued is None:
            return self._issued
        now = self._clock.monotonic()
        if self._since is None:
            self._start_lifetime(self._issued.grant, now)
        if now >= self._expires_at:
            return None
        if now >= self._renew_at and now >= self._refused_until:
            _ = self._start_login()  # in the background
        return self._issued

    async def renew(self, generation: int) -> Issued:
        """Return a newer grant than the refused one, logging in if there is none. Cancelling is safe.

        A grant that was refused right after its login is returned again for half a minute: the grant of
        another login would be refused too.

        Raises:
            AuthError: As for `get`; a fixed credential cannot be renewed and raises `AuthFailed`.
            ClientClosed: The credential is closed, or was closed while waiting.
        """
        self._check_open()
        if self._issued is not None and self._issued.generation != generation:
            return self._issued
        useless = generation == self._useless and self._clock.monotonic() < self._useless_until
        if self._issued is not None and useless:
            return self._issued
        self._since = self._expires_at = -math.inf  # no other call gets it either
        return await self._renewed()

    @property
    def renewable(self) -> bool:
        """Whether a refused credential can be replaced by a login."""
        return self._login is not None

    def forget(self) -> None:
        """Discard the current grant, because it was revoked. The next request logs in."""
        self._issued = None
        self._since, self._renew_at, self._expires_at = None, math.inf, math.inf

    def mark_useless(self, generation: int) -> None:
        """Note that a grant was refused right after its login."""
        if generation == self._generation != self._useless:
            self._useless = generation
            self._useless_until = self._clock.monotonic() + RENEW_AGAIN_S

    def set(self, grant: Grant) -> None:
        """Make `grant` the next generation and reset the counters of failed and refused logins."""
        self._issue(grant)
        self._since = None

    def mask_secret(self, secret: Secret) -> None:
        """Mask a secret, such as a password, in the server's answers from now on."""
        self._secrets[secret] = None
        self._secrets.move_to_end(secret)
        while len(self._secrets) > REMEMBERED:
            self._secrets.popitem(last=False)
        self._mask = None

    def mask(self, text: str) -> str:
        """Return a server's text with the account's secrets masked."""
        if self._mask is None:  # compiled at the first error: most programs never need it
            self._mask = masker(self._secrets)
        return self._mask(text)

    async def aclose(self) -> None:
        """Cancel a running login; waiting callers get `ClientClosed`. Idempotent."""
        self._closed = True
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])

    @printable
    def __repr__(self) -> str:
        state = "closed" if self._closed else "logging in" if self._is_logging_in() else "idle"
        return f"<Credential generation {self._generation}, {state}, {self._refusals} refusals in a row>"

    # The two coroutines that wait: for the login, and the login itself.

    async def _renewed(self) -> Issued:
        task = self._start_login()
        await asyncio.wait([task])  # awaiting the task itself would cancel it with this caller
        self._check_open()
        if task.cancelled():
            raise ClientClosed("the login was cancelled")
        outcome = task.result()
        if isinstance(outcome, Exception):
            raise _copy_of(outcome)
        return outcome

    async def _log_in(self, login: Callable[[], Awaitable[Grant]]) -> Issued | Exception:
        before = self._generation
        try:
            grant = await login()
        except Exception as error:  # noqa: BLE001  (raised in every waiting caller)
            return self._issued_since(before) or self._note_failure(error)
        return self._issued_since(before) or self._accept(grant)

    # Decisions; none of them waits.

    def _check_open(self) -> None:
        if self._closed:
            raise ClientClosed("the client is closed")

    def _is_logging_in(self) -> bool:
        return self._task is not None and not self._task.done()

    def _start_login(self) -> asyncio.Task[Issued | Exception]:
        """Return the running login, or start one unless the last one failed a short while ago."""
        if self._task is None or self._task.done():
            if self._login is None:
                raise AuthFailed("the credential was refused" if self._issued else "there is no credential")
            if self._refusal is not None and self._clock.monotonic() < self._refused_until:
                raise _copy_of(self._refusal)
            if self._failure is not None and self._clock.monotonic() < self._failed_until:
                failure = copy.copy(self._failure)
                failure.attempts = 0  # this caller sent nothing
                raise failure
            self._task = asyncio.get_running_loop().create_task(
                self._log_in(self._login), name="energy-login"
            )
        return self._task

    def _issued_since(self, generation: int) -> Issued | None:
        """Return a grant that was set while a login ran; it takes precedence over the login's outcome."""
        return self._issued if self._generation != generation else None

    def _accept(self, grant: Grant) -> Issued | Exception:
        if grant.lifetime_s is not None and not grant.lifetime_s > 0:
            return self._note_failure(AuthFailed("the login returned a credential that has already expired"))
        issued = self._issue(grant)
        self._start_lifetime(grant, self._clock.monotonic())
        return issued

    def _issue(self, grant: Grant) -> Issued:
        self._generation += 1
        self._refusal, self._refusals, self._refused_until = None, 0, -math.inf
        self._failure, self._failures, self._failed_until = None, 0, -math.inf
        self._issued = Issued(grant, self._generation)
        for secret in (grant.token, *grant.headers.values(), *grant.query.values()):
            self.mask_secret(secret)
        return self._issued

    def _start_lifetime(self, grant: Grant, now: float) -> None:
        lifetime_s = math.inf if grant.lifetime_s is None else grant.lifetime_s
        self._since = now
        self._expires_at = now + lifetime_s
        self._renew_at = now + lifetime_s * (RENEW_AT + RENEW_JITTER * self._random())

    def _note_failure(self, error: Exception) -> Exception:
        """Remember a refusal, so that a wrong password is not sent repeatedly, and an outage for seconds."""
        now = self._clock.monotonic()
        self._renew_at = now + RENEW_AGAIN_S
        if isinstance(error, AuthError):
            self._refusal = error
            self._refused_until = now + min(
                REFUSED_LONGEST_S, REFUSED_FIRST_S * 2.0 ** min(self._refusals, 16)
            )
            self._refusals += 1
        elif isinstance(error, RequestError):
            self._failure = error
            self._failed_until = now
            if self._failures:  # after a single failure there is no pause
                self._failed_until += full_jitter(
                    self._failures - 1, base=FAILED_FIRST_S, cap=FAILED_LONGEST_S, random=self._random
                )
            self._failures += 1
        _log.warning("a login failed: %s", error if isinstance(error, EnergyError) else type(error).__name__)
        return error


def _copy_of(error: Exception) -> Exception:
    """Copy an error for each waiting caller: one instance would collect the tracebacks of all of them."""
    return copy.copy(error) if isinstance(error, EnergyError) else error
