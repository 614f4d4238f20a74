"""What the transport asks of a call while it sends its request, and what a signature puts on it."""

from __future__ import annotations

import asyncio
import copy
import logging
import math
import random
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, NamedTuple, Protocol, TypeVar

from attrs import field, frozen
from multidict import CIMultiDict

from energy_core.clock import Clock, SystemClock
from energy_core.errors import AuthError, AuthFailed, ClientClosed, EnergyError, RequestError
from energy_core.http.operation import Priority
from energy_core.printable import printable, printable_class
from energy_core.retry import full_jitter
from energy_core.secret import Secret, masker

_NOT_SENDABLE: Final = re.compile(r"[^\x20-\x7e]")
_HEADERS: Final = {"Accept": "application/json, */*;q=0.5", "Accept-Encoding": "gzip, deflate"}


T = TypeVar("T")


class AuthHeadersProtocol(Protocol):
    """What a credential puts on a request."""

    @property
    def headers(self) -> Mapping[str, Secret]:
        """Header names and values."""

    @property
    def query(self) -> Mapping[str, Secret]:
        """Query names and values."""


class Limiter(Protocol):
    """Where the turns to send come from."""

    def try_acquire(self, priority: Priority) -> bool:
        """Take a turn, if there is one now."""

    async def acquire(self, priority: Priority) -> None:
        """Wait for a turn."""

    def release(self, priority: Priority) -> None:
        """Hear that a turn is over: the head of an answer is there, or none will come."""


class SendCallbacks(Protocol):
    """Whose request passes: what the transport asks for while it sends. What is there needs no waiting."""

    @property
    def limiter(self) -> Limiter:
        """Where its turns come from."""

    def auth_headers(self) -> AuthHeadersProtocol | None:
        """What the request is signed with, if it is there now."""

    async def authorize(self) -> AuthHeadersProtocol:
        """Wait for the signature."""

    def on_sent(self) -> None:
        """Hear that the request is sent now; the turn has come."""


class AuthHeaders:
    """All headers of a request and the secret part of its query, made once for as long as a signature lasts.

    Args:
        signature: what signs; None for a request that carries no secret.

    Raises:
        ValueError: the credential holds what cannot be sent.
    """

    __slots__ = ("by", "headers", "query")

    def __init__(self, signature: AuthHeadersProtocol | None) -> None:
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


NO_AUTH: Final = AuthHeaders(None)


RENEW_AT: Final = 0.8
"""The part of a credential's life after which a new one is fetched while the old one serves on."""

RENEW_JITTER: Final = 0.05
"""Up to this part of the life later, so that many programs started together do not log in together."""

RENEW_AGAIN_S: Final = 30.0
"""Between two tries to renew in the background."""

FAILED_FIRST_S: Final = 1.0
FAILED_LONGEST_S: Final = 20.0
"""How long an account does not log in after a second login in a row that failed for another reason than a
refusal: at most this, doubled with each, up to the longest. It counts for all its calls and streams."""

REFUSED_FIRST_S: Final = 30.0
REFUSED_LONGEST_S: Final = 3600.0
"""How long a refused login is not tried again: doubles with each refusal in a row, up to the longest."""

REMEMBERED: Final = 16
"""Secrets of an account that are masked in what its server says; the latest count."""

_log = logging.getLogger("energy_core.http")


@printable_class
@frozen(kw_only=True)
class Grant:
    """What a login gives.

    Args:
        token: The credential itself, for those who need it apart from a request.
        headers: Attached to every request.
        query: Attached to every request's query.
        lifetime_s: Seconds it is valid, counted from when it is here; None when it does not end by itself.
    """

    token: Secret
    headers: Mapping[str, Secret] = field(factory=dict)
    query: Mapping[str, Secret] = field(factory=dict)
    lifetime_s: float | None = None


class Issued(NamedTuple):
    """A grant and its place in the row of grants; whoever is refused says which one was refused."""

    grant: Grant
    generation: int


class Credential:
    """The credential of one account.

    With a `login` it renews itself: in the background past four fifths of its life, at once when it has ended
    or was refused. However many callers wait, one login runs, in a task of its own: whoever gives up waiting
    stops nobody else.

    Args:
        grant: The first credential, or the only one when there is no `login`.
        login: Fetches a new one.
        clock: Where time comes from; a life is counted on its monotonic side: a wrong wall clock is no harm.
        random: Gives numbers in [0, 1).
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
        self._since: float | None = None  # when the current life began; None until it is first looked at
        self._renew_at = self._ends_at = math.inf
        self._task: asyncio.Task[Issued | Exception] | None = None
        self._refusal: AuthError | None = None
        self._refusals = 0
        self._refused_until = -math.inf
        self._failure: RequestError | None = None
        self._failures = 0
        self._failed_until = -math.inf
        self._useless: int | None = None  # the generation that was refused although it was new
        self._useless_until = -math.inf
        self._closed = False
        self._secrets: OrderedDict[Secret, None] = OrderedDict()
        self._mask: Callable[[str], str] | None = None
        if grant is not None:
            self.set(grant)

    async def get(self) -> Issued:
        """Return what is valid now, after a login where there must be one. Cancelling is safe.

        Raises:
            AuthError: The login was refused, now or a short while ago; or there is no login and no grant.
            ClientClosed: The credential is closed, or was while waiting.
        """
        issued = self.valid()
        return await self._new() if issued is None else issued

    def valid(self) -> Issued | None:
        """Return what `get` would return at once, or None where it would wait for a login.

        Raises:
            ClientClosed: The credential is closed.
        """
        if self._closed:
            raise ClientClosed("the client is closed")
        if self._login is None or self._issued is None:
            return self._issued
        now = self._clock.monotonic()
        if self._since is None:
            self._begin_life(self._issued.grant, now)
        if now >= self._ends_at:
            return None
        if now >= self._renew_at and now >= self._refused_until:
            _ = self._begin_login()  # nobody waits for this one
        return self._issued

    async def renew(self, generation: int) -> Issued:
        """Return a later grant than the refused `generation`; logs in only if nobody has. Cancelling is safe.

        One that was new when it was refused is returned as it is for half a minute: another login would bring
        one that is refused too.

        Raises:
            AuthError: As for `get`; a fixed credential cannot be renewed and raises `AuthFailed`.
            ClientClosed: The credential is closed, or was while waiting.
        """
        self._check_open()
        if self._issued is not None and self._issued.generation != generation:
            return self._issued
        useless = generation == self._useless and self._clock.monotonic() < self._useless_until
        if self._issued is not None and useless:
            return self._issued
        self._since = self._ends_at = -math.inf  # refused once is refused for all: nobody is handed it again
        return await self._new()

    @property
    def renewable(self) -> bool:
        """Whether a refused credential can be replaced by a login."""
        return self._login is not None

    def forget(self) -> None:
        """Never hand out the current grant again: it was revoked. The next request logs in."""
        self._issued = None
        self._since, self._renew_at, self._ends_at = None, math.inf, math.inf

    def note_useless(self, generation: int) -> None:
        """Note that a grant was refused although a login had only just brought it."""
        if generation == self._generation != self._useless:
            self._useless = generation
            self._useless_until = self._clock.monotonic() + RENEW_AGAIN_S

    def set(self, grant: Grant) -> None:
        """Make `grant` the next generation; what went wrong with earlier ones is forgotten."""
        self._issue(grant)
        self._since = None

    def guard(self, secret: Secret) -> None:
        """Mask a secret that is sent, such as a password, in everything that the server says."""
        self._secrets[secret] = None
        self._secrets.move_to_end(secret)
        while len(self._secrets) > REMEMBERED:
            self._secrets.popitem(last=False)
        self._mask = None

    def hide(self, text: str) -> str:
        """Return a text of the server's without any secret of the account that it repeats."""
        if self._mask is None:  # made when there is something to mask: most programs never need it
            self._mask = masker(self._secrets)
        return self._mask(text)

    async def aclose(self) -> None:
        """Stop a running login; those who wait for it get `ClientClosed`. May be called again."""
        self._closed = True
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])

    @printable
    def __repr__(self) -> str:
        doing = "closed" if self._closed else "logging in" if self._is_logging_in() else "idle"
        return f"<Credential generation {self._generation}, {doing}, {self._refusals} refusals in a row>"

    # The two places where somebody stands still: a caller, and the login.

    async def _new(self) -> Issued:
        task = self._begin_login()
        await asyncio.wait([task])  # unlike awaiting the task itself, being cancelled here does not cancel it
        self._check_open()
        if task.cancelled():
            raise ClientClosed("the login was cancelled")
        outcome = task.result()
        if isinstance(outcome, Exception):
            raise _for_one(outcome)
        return outcome

    async def _log_in(self, login: Callable[[], Awaitable[Grant]]) -> Issued | Exception:
        before = self._generation
        try:
            grant = await login()
        except Exception as error:  # noqa: BLE001  (handed to everybody who waits)
            return self._issued_since(before) or self._note_failure(error)
        return self._issued_since(before) or self._accept(grant)

    # Decisions, all of them synchronous.

    def _check_open(self) -> None:
        if self._closed:
            raise ClientClosed("the client is closed")

    def _is_logging_in(self) -> bool:
        return self._task is not None and not self._task.done()

    def _begin_login(self) -> asyncio.Task[Issued | Exception]:
        """Return the running login, or begin one unless that is known to be no use."""
        if self._task is None or self._task.done():
            if self._login is None:
                raise AuthFailed("the credential was refused" if self._issued else "there is no credential")
            if self._refusal is not None and self._clock.monotonic() < self._refused_until:
                raise _for_one(self._refusal)
            if self._failure is not None and self._clock.monotonic() < self._failed_until:
                failure = copy.copy(self._failure)
                failure.attempts = 0  # none for this caller
                raise failure
            self._task = asyncio.get_running_loop().create_task(
                self._log_in(self._login), name="energy-login"
            )
        return self._task

    def _issued_since(self, generation: int) -> Issued | None:
        """What was set while a login ran: it counts, however the login ends."""
        return self._issued if self._generation != generation else None

    def _accept(self, grant: Grant) -> Issued | Exception:
        if grant.lifetime_s is not None and not grant.lifetime_s > 0:
            return self._note_failure(AuthFailed("the login gave a credential that has already ended"))
        issued = self._issue(grant)
        self._begin_life(grant, self._clock.monotonic())
        return issued

    def _issue(self, grant: Grant) -> Issued:
        self._generation += 1
        self._refusal, self._refusals, self._refused_until = None, 0, -math.inf
        self._failure, self._failures, self._failed_until = None, 0, -math.inf
        self._issued = Issued(grant, self._generation)
        for secret in (grant.token, *grant.headers.values(), *grant.query.values()):
            self.guard(secret)
        return self._issued

    def _begin_life(self, grant: Grant, now: float) -> None:
        life = math.inf if grant.lifetime_s is None else grant.lifetime_s
        self._since = now
        self._ends_at = now + life
        self._renew_at = now + life * (RENEW_AT + RENEW_JITTER * self._random())

    def _note_failure(self, error: Exception) -> Exception:
        """Remember a refusal, so that a wrong password is not sent on and on, and an outage for seconds."""
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
            if self._failures:  # a single failure may pass at once
                self._failed_until += full_jitter(
                    self._failures - 1, base=FAILED_FIRST_S, cap=FAILED_LONGEST_S, random=self._random
                )
            self._failures += 1
        _log.warning("a login failed: %s", error if isinstance(error, EnergyError) else type(error).__name__)
        return error


def _for_one(error: Exception) -> Exception:
    """A copy for each who waits: one instance raised in many tasks would collect all their tracebacks."""
    return copy.copy(error) if isinstance(error, EnergyError) else error
