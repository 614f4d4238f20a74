"""What follows a connection that ended: decisions without I/O.

====================================== ===========================================================
ending                                 decision
====================================== ===========================================================
closed with any code not named below   back off: first within 5 s, then full jitter up to 60 s
closed with 1013 (try again later)     the same, and at least 5 s
closed with 1008, 3000 or 44x1         a new credential at once; AuthFailed if it is refused as well
closed with 3003 or 44x3               PermissionDenied
closed 10 times in a row with some     AnswerError
other 4xxx and without an event
handshake refused with 401             a new credential at once; AuthFailed if it is refused as well
handshake refused with 403, 404        PermissionDenied, NotFound
handshake refused with 429, 503        back off, and at least for Retry-After
handshake refused with any other       back off; a redirect is never followed
status
certificate not to be trusted          TLSVerificationError
no connection, silence, drop           back off
====================================== ===========================================================

The row of failures ends with a connection that was up for 60 s, or for 10 s after its first valid event.
Whatever the server does, no more than 40 handshakes begin in any 10 minutes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from attrs import frozen

from energy_core.errors import (
    AnswerError,
    AuthFailed,
    NotFound,
    PermissionDenied,
    RequestError,
    TLSVerificationError,
)
from energy_core.printable import printable
from energy_core.retry import full_jitter
from energy_core.stream.timing import SocketTiming

_AUTH_CLOSES: Final = frozenset({1008, 3000, *range(4401, 4500, 10)})
_DENIED_CLOSES: Final = frozenset({3003, *range(4403, 4500, 10)})
_TRY_AGAIN_LATER: Final = 1013


@frozen
class Closed:
    """The server (or we, over a broken frame) closed the connection; 1006 is a drop without a word."""

    code: int


@frozen
class Refused:
    """The handshake was answered, but not with an upgrade."""

    status: int
    retry_after: float | None = None


@frozen
class Untrusted:
    """The server's certificate does not verify."""


@frozen
class Trouble:
    """Anything that may pass; `reason` is ours and holds nothing secret."""

    reason: str
    retry_after: float | None = None


Ending = Closed | Refused | Untrusted | Trouble


@frozen
class Again:
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


Decision = Again | Renew | Stop


class Recovery:
    """Decides what follows each ending of one link. The caller brings `now`, seconds that never run back."""

    __slots__ = (
        *("_event_at", "_failures", "_handshakes", "_opened_at"),
        *("_random", "_renewed", "_strange", "_timing"),
    )

    def __init__(self, timing: SocketTiming, *, random: Callable[[], float]) -> None:
        self._timing = timing
        self._random = random
        self._failures = 0
        self._strange = 0
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
        self._strange = 0

    def after(self, ending: Ending, now: float) -> Decision:
        """Decide what follows; counts the ending."""
        if self._healthy(now):
            self._failures = 0
            self._renewed = False
        self._opened_at = self._event_at = None
        strange = isinstance(ending, Closed) and _strange(ending.code)
        self._strange = self._strange + 1 if strange else 0
        match ending:
            case Closed(code):
                return self._after_close(code, now)
            case Refused(status, retry_after):
                return self._after_refusal(status, retry_after, now)
            case Untrusted():
                return Stop(TLSVerificationError("the certificate of the event server cannot be trusted"))
            case Trouble(reason, retry_after):
                return Again(reason, self._delay(now, least=retry_after or 0.0))

    def _after_close(self, code: int, now: float) -> Decision:
        if code in _AUTH_CLOSES:
            return self._renew(f"the server closed with {code}", now, status=None, code=str(code))
        if code in _DENIED_CLOSES:
            return Stop(PermissionDenied("the server closed the event stream", error_code=str(code)))
        if self._strange >= self._timing.most_strange_closes:
            message = f"the server closed the event stream {self._strange} times in a row without an event"
            return Stop(AnswerError(message, error_code=str(code)))
        least = self._timing.try_again_later_s if code == _TRY_AGAIN_LATER else 0.0
        reason = "the connection dropped" if code == 1006 else f"the server closed with {code}"
        if code == 1009:
            reason = "a message was larger than allowed"
        return Again(reason, self._delay(now, plus=least))

    def _after_refusal(self, status: int, retry_after: float | None, now: float) -> Decision:
        reason = f"the handshake was refused with status {status}"
        match status:
            case 401:
                return self._renew(reason, now, status=status, code=None)
            case 403:
                return Stop(PermissionDenied(reason, status=status))
            case 404:
                return Stop(NotFound(reason, status=status))
            case 429 | 503 if status == 429 or retry_after is not None:
                delay = self._delay(now, least=retry_after or 0.0)
                longest = self._timing.longest_retry_after_s
                return Again(reason, delay, hold=delay if retry_after is None else min(retry_after, longest))
            case _ if 300 <= status < 400:
                return Again(f"{reason}; redirects are never followed", self._delay(now))
            case _:
                return Again(reason, self._delay(now))

    def _renew(self, reason: str, now: float, *, status: int | None, code: str | None) -> Decision:
        if self._renewed:
            return Stop(
                AuthFailed(f"a renewed credential was refused too: {reason}", status=status, error_code=code)
            )
        self._renewed = True
        return Renew(reason, self._free_in(now))

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


def _strange(code: int) -> bool:
    return 4000 <= code < 5000 and code not in _AUTH_CLOSES and code not in _DENIED_CLOSES
