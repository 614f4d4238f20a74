"""What follows a connection that ended: decisions without I/O.

====================================== ===========================================================
ending                                 decision
====================================== ===========================================================
closed with any code not named below   back off: first within 5 s, then full jitter up to 60 s
closed with 1013 (try again later)     the same, and at least 5 s
closed with 1008, 3000 or 44x1         one new credential at once; AuthFailed if that is refused three
                                       times in a row as well
closed with 3003 or 44x3               back off; PermissionDenied after three in a row
closed with some other 4xxx, without   back off; one new credential after the second in a row;
an event                               AnswerError after ten in a row
handshake refused with 401, not in a   one new credential at once; AuthFailed if that is refused three
page of markup                         times in a row as well
handshake refused with 400, 403 or     back off; BadRequest, PermissionDenied or NotFound after three
404, in the vendor's own JSON          in a row
handshake refused with 429, 503        back off, and at least for Retry-After
handshake refused with any other       back off; a redirect is never followed
status, or by a proxy's page
certificate not to be trusted          TLSVerificationError
no connection, silence, drop           back off
====================================== ===========================================================

Without a login there is no new credential: then AuthFailed follows three refusals in a row.

The row of failures ends with a connection that was up for 60 s, or for 10 s after its first valid event.
Whatever the server does, no more than 40 handshakes begin in any 10 minutes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from attrs import frozen

from energy_core.errors import (
    AnswerError,
    AuthFailed,
    BadRequest,
    NotFound,
    PermissionDenied,
    RequestError,
    TLSVerificationError,
)
from energy_core.printable import printable
from energy_core.retry import full_jitter
from energy_core.stream.timing import SocketConfig

_AUTH_CLOSES: Final = frozenset({1008, 3000, *range(4401, 4500, 10)})
_DENIED_CLOSES: Final = frozenset({3003, *range(4403, 4500, 10)})
_TRY_AGAIN_LATER: Final = 1013
_REFUSALS: Final[Mapping[int, type[AnswerError]]] = {400: BadRequest, 403: PermissionDenied, 404: NotFound}
"""Statuses that end a source, where the vendor says so again and again."""
_CLOSES_BEFORE_RENEWAL: Final = 2
"""So many closes in a row with an undocumented code lead to a new credential: it may be what is wrong."""


@frozen
class Closed:
    """The server (or we, over a broken frame) closed the connection; 1006 is a drop without a word."""

    code: int
    words: str = ""
    """What the server said, without any credential."""


@frozen
class HandshakeRefused:
    """The handshake was answered, but not with an upgrade."""

    status: int
    retry_after: float | None = None
    words: str = ""
    """What the server said, without any credential."""
    envelope: bool = False
    """It said so in the vendor's own JSON."""
    page: bool = False
    """It sent a page of markup, as proxies do."""


@frozen
class BadCertificate:
    """The server's certificate does not verify."""


@frozen
class TransientFailure:
    """Anything that may pass; `reason` is ours and holds nothing secret."""

    reason: str
    retry_after: float | None = None


Ending = Closed | HandshakeRefused | BadCertificate | TransientFailure


@frozen
class Retry:
    """Wait `delay` seconds and connect again; `hold` tells the shared lane to wait as well."""

    reason: str
    delay: float
    hold: float | None = None


@frozen
class Renew:
    """Get a new credential, then connect again after `delay`, which is usually nothing."""

    reason: str
    delay: float


@frozen
class Stop:
    """The source is over."""

    error: RequestError


Decision = Retry | Renew | Stop


class ReconnectPolicy:
    """Decides what follows each ending of one link. The caller brings `now`, seconds that never run back."""

    __slots__ = (
        *("_event_at", "_failures", "_handshakes", "_opened_at"),
        *("_random", "_refusal", "_refusals", "_renewable", "_renewed", "_strange", "_strange_renewed"),
        "_timing",
    )

    def __init__(self, timing: SocketConfig, *, random: Callable[[], float], renewable: bool = True) -> None:
        self._timing = timing
        self._random = random
        self._renewable = renewable
        self._failures = 0
        self._strange = 0
        self._strange_renewed = False
        self._refusal: str = ""
        self._refusals = 0  # so often in a row the server has refused for the same reason
        self._renewed = False
        self._handshakes: list[float] = []
        self._opened_at: float | None = None
        self._event_at: float | None = None

    def begin(self, now: float) -> None:
        """A handshake begins."""
        self._handshakes.append(now)
        del self._handshakes[: -self._timing.most_handshakes]
        self._opened_at = self._event_at = None

    def opened(self, now: float) -> None:
        """The handshake succeeded."""
        self._opened_at = now

    def event(self, now: float) -> None:
        """The connection brought a valid event; only the first one matters."""
        if self._event_at is None:
            self._event_at = now
        self._strange = self._refusals = 0
        self._strange_renewed = False

    def after(self, ending: Ending, now: float) -> Decision:
        """Decide what follows; counts the ending."""
        if self._healthy(now):
            self._failures = self._refusals = 0
            self._renewed = self._strange_renewed = False
        self._opened_at = self._event_at = None
        strange = isinstance(ending, Closed) and _strange(ending.code)
        self._strange = self._strange + 1 if strange else 0
        match ending:
            case Closed():
                return self._after_close(ending, now)
            case HandshakeRefused():
                return self._after_refusal(ending, now)
            case BadCertificate():
                return Stop(TLSVerificationError("the certificate of the event server cannot be trusted"))
            case TransientFailure(reason, retry_after):
                self._refusals = 0
                return Retry(reason, self._delay(now, least=retry_after or 0.0))

    def _after_close(self, ending: Closed, now: float) -> Decision:
        code = ending.code
        reason = _said(f"the server closed with {code}", ending.words)
        if code in _AUTH_CLOSES:
            return self._unauthorized(reason, now, status=None, code=str(code))
        if code in _DENIED_CLOSES:
            error = PermissionDenied(_said("the server closed the event stream", ending.words))
            error.error_code = str(code)
            return self._denied(error, reason, now)
        self._refusals = 0
        if self._strange >= self._timing.most_strange_closes:
            message = f"the server closed the event stream {self._strange} times in a row without an event"
            return Stop(AnswerError(_said(message, ending.words), error_code=str(code)))
        least = self._timing.try_again_later_s if code == _TRY_AGAIN_LATER else 0.0
        if code == 1006:
            reason = "the connection dropped"
        elif code == 1009:
            reason = "a message was larger than allowed"
        delay = self._delay(now, plus=least)
        if self._strange >= _CLOSES_BEFORE_RENEWAL and self._renewable and not self._strange_renewed:
            self._strange_renewed = True
            return Renew(reason, delay)
        return Retry(reason, delay)

    def _after_refusal(self, ending: HandshakeRefused, now: float) -> Decision:
        status, retry_after = ending.status, ending.retry_after
        reason = _said(f"the handshake was refused with status {status}", ending.words)
        if status == 401 and not ending.page:
            return self._unauthorized(reason, now, status=status, code=None)
        if status in _REFUSALS and ending.envelope:
            return self._denied(_REFUSALS[status](reason, status=status), reason, now)
        self._refusals = 0
        match status:
            case 429 | 503 if status == 429 or retry_after is not None:
                delay = self._delay(now, least=retry_after or 0.0)
                longest = self._timing.longest_retry_after_s
                return Retry(reason, delay, hold=delay if retry_after is None else min(retry_after, longest))
            case _ if 300 <= status < 400:
                return Retry(f"{reason}; redirects are never followed", self._delay(now))
            case _:
                return Retry(reason, self._delay(now))

    def _unauthorized(self, reason: str, now: float, *, status: int | None, code: str | None) -> Decision:
        """Renew the credential once; a renewed or fixed one may be refused several times before the end."""
        if self._renewable and not self._renewed:
            self._renewed, self._refusals = True, 0
            return Renew(reason, self._free_in(now))
        refused = "a renewed credential was refused too" if self._renewed else "the credential was refused"
        error = AuthFailed(f"{refused}: {reason}", status=status, error_code=code)
        return self._denied(error, reason, now, kind="credential")

    def _denied(self, error: RequestError, reason: str, now: float, *, kind: str = "") -> Decision:
        """Stop when the server has refused for the same reason several times in a row."""
        kind = kind or type(error).__name__
        self._refusals = self._refusals + 1 if kind == self._refusal else 1
        self._refusal = kind
        if self._refusals >= self._timing.most_refusals:
            return Stop(error)
        return Retry(reason, self._delay(now))

    def _delay(self, now: float, *, least: float = 0.0, plus: float = 0.0) -> float:
        timing = self._timing
        if self._failures == 0:
            delay = timing.first_delay_s * self._random()
        else:
            delay = full_jitter(
                self._failures - 1, base=timing.backoff_base_s, cap=timing.backoff_cap_s, random=self._random
            )
        self._failures += 1
        # Upwards only: nobody comes back before the time the server named, and not all at that moment.
        least = min(least * (1 + 0.1 * self._random()), timing.longest_retry_after_s)
        return max(plus + delay, least, self._free_in(now))

    def _free_in(self, now: float) -> float:
        """Seconds until another handshake fits into the window."""
        handshakes = self._handshakes
        if len(handshakes) < self._timing.most_handshakes:
            return 0.0
        return max(0.0, handshakes[0] + self._timing.handshake_window_s - now)

    def _healthy(self, now: float) -> bool:
        timing = self._timing
        if self._opened_at is None:
            return False
        if now - self._opened_at >= timing.healthy_after_s:
            return True
        return self._event_at is not None and now - self._event_at >= timing.healthy_after_event_s

    @printable
    def __repr__(self) -> str:
        renewed = ", credential renewed" if self._renewed else ""
        return f"<Recovery after {self._failures} failures in a row{renewed}>"


def _said(what: str, words: str) -> str:
    return f"{what}: {words}" if words else what


def _strange(code: int) -> bool:
    return 4000 <= code < 5000 and code not in _AUTH_CLOSES and code not in _DENIED_CLOSES
