"""Reconnect policy of a WebSocket: what follows each way in which a connection ends. No I/O, no clock.

`ReconnectPolicy.after` takes an `Ending` and returns a `Decision`:

    closed with 1008, 3000, 44x1; handshake answered 401: renew the credential once, then stop after
        `max_refusals`
    closed with 3003, 44x3; handshake answered 400, 403, 404 in the vendor's JSON: stop after `max_refusals`
    closed with any other 4xxx: renew once, stop after `max_undocumented_closes` without an event
    handshake answered 429, or 503 with Retry-After: wait as long as the server asks, and so do other requests
    certificate not valid: stop
    everything else: retry with a growing, random delay
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from attrs import Attribute, field, frozen

from energy_core.errors import (
    AnswerError,
    AuthFailed,
    BadRequest,
    NotFound,
    PermissionDenied,
    RequestError,
    TLSVerificationError,
)
from energy_core.printable import printable, printable_class
from energy_core.retry_after import full_jitter


def _positive(_: SocketConfig, attribute: Attribute[float], value: float) -> None:
    if not 0 < value < float("inf"):
        raise ValueError(f"{attribute.name} must be positive and finite, not {value!r}")


def _count(_: SocketConfig, attribute: Attribute[int], value: int) -> None:
    if not value >= 1:
        raise ValueError(f"{attribute.name} must be at least 1, not {value!r}")


@printable_class
@frozen(kw_only=True)
class SocketConfig:
    """Timeouts and delays of a reconnecting WebSocket. Most programs keep the defaults."""

    open_timeout_s: float = field(default=10.0, validator=_positive)
    """Seconds from the first packet to the end of the handshake."""
    close_timeout_s: float = field(default=0.1, validator=_positive)
    """Seconds in which the other side must answer our close frame, or disconnect after its own."""
    ping_interval_s: float = field(default=20.0, validator=_positive)
    """Seconds without any data after which a ping is sent."""
    ping_timeout_s: float = field(default=20.0, validator=_positive)
    """Seconds without data after a ping after which the connection is dropped; 40 s with the interval."""
    first_delay_s: float = field(default=5.0, validator=_positive)
    """Upper limit of the random delay before the first attempt after a healthy connection."""
    backoff_base_s: float = field(default=2.0, validator=_positive)
    """Upper limit of the random delay before the second attempt; it doubles with each further one."""
    backoff_cap_s: float = field(default=60.0, validator=_positive)
    """Largest upper limit of that delay."""
    try_again_later_s: float = field(default=5.0, validator=_positive)
    """Shortest delay after the server closed with 1013."""
    healthy_after_s: float = field(default=60.0, validator=_positive)
    """A connection that lasted this long resets the count of failures."""
    healthy_after_event_s: float = field(default=10.0, validator=_positive)
    """So does a connection that lasted this long after its first valid event."""
    stale_after_s: float = field(default=60.0, validator=_positive)
    """A source is stale at the earliest this long after its last valid event ..."""
    stale_factor: float = field(default=3.0, validator=_positive)
    """... and this many times the usual interval between its events."""
    max_retry_after_s: float = field(default=3600.0, validator=_positive)
    """Longest delay, even if the server asks for a longer one."""
    max_handshakes: int = field(default=40, validator=_count)
    """Number of handshakes that may begin within `handshake_window_s`."""
    handshake_window_s: float = field(default=600.0, validator=_positive)
    """Window of `max_handshakes`, in seconds."""
    max_undocumented_closes: int = field(default=10, validator=_count)
    """Closes in a row with an undocumented 4xxx code, and without an event, that end the source."""
    max_refusals: int = field(default=3, validator=_count)
    """Refusals in a row of one kind, in the vendor's own JSON, that end the source."""
    max_message_bytes: int = field(default=1024 * 1024, validator=_count)
    """Size limit of a message; a larger one closes the connection with 1009."""


_AUTH_CLOSES: Final = frozenset({1008, 3000, *range(4401, 4500, 10)})
_DENIED_CLOSES: Final = frozenset({3003, *range(4403, 4500, 10)})
_TRY_AGAIN_LATER: Final = 1013
_REFUSALS: Final[Mapping[int, type[AnswerError]]] = {400: BadRequest, 403: PermissionDenied, 404: NotFound}
"""Statuses that end a source if the vendor repeats them, and their errors."""
_CLOSES_BEFORE_RENEWAL: Final = 2
"""Closes in a row with an undocumented code before the credential is renewed: it may be the cause."""


@frozen
class Closed:
    """The connection was closed by the server, or by us after a bad frame; 1006: without a close frame."""

    code: int
    text: str = ""
    """Reason from the close frame, without any credential."""


@frozen
class HandshakeRefused:
    """The handshake was answered with a status other than 101."""

    status: int
    retry_after: float | None = None
    text: str = ""
    """Text of the answer, without any credential."""
    envelope: bool = False
    """Whether the answer was the vendor's own JSON."""
    page: bool = False
    """Whether the answer was a page of markup, as proxies send."""


@frozen
class BadCertificate:
    """The server's certificate is not valid."""


@frozen
class TransientFailure:
    """A failure that may pass; `reason` is our own text and holds no secret."""

    reason: str
    retry_after: float | None = None


Ending = Closed | HandshakeRefused | BadCertificate | TransientFailure


@frozen
class Retry:
    """Connect again after `delay` seconds; `hold` makes all requests of the account wait as well."""

    reason: str
    delay: float
    hold: float | None = None


@frozen
class Renew:
    """Renew the credential, then connect again after `delay` seconds, usually 0."""

    reason: str
    delay: float


@frozen
class Stop:
    """End the source with this error."""

    error: RequestError


Decision = Retry | Renew | Stop


class ReconnectPolicy:
    """Decide what follows each ending of a connection. Callers pass `now` in monotonic seconds."""

    __slots__ = (
        *("_config", "_event_at", "_failures", "_handshakes", "_opened_at", "_random", "_refusal_kind"),
        *("_refusals", "_renewable", "_renewed", "_renewed_for_close", "_undocumented_closes"),
    )

    def __init__(self, config: SocketConfig, *, random: Callable[[], float], renewable: bool = True) -> None:
        self._config = config
        self._random = random
        self._renewable = renewable
        self._failures = 0
        self._undocumented_closes = 0
        self._renewed_for_close = False
        self._refusal_kind: str = ""
        self._refusals = 0  # refusals of this kind in a row
        self._renewed = False
        self._handshakes: list[float] = []
        self._opened_at: float | None = None
        self._event_at: float | None = None

    def begin(self, now: float) -> None:
        """Note that a handshake begins."""
        self._handshakes.append(now)
        del self._handshakes[: -self._config.max_handshakes]
        self._opened_at = self._event_at = None

    def opened(self, now: float) -> None:
        """Note that the handshake succeeded."""
        self._opened_at = now

    def event(self, now: float) -> None:
        """Note a valid event; only the first of a connection matters."""
        if self._event_at is None:
            self._event_at = now
        self._undocumented_closes = self._refusals = 0
        self._renewed_for_close = False

    def after(self, ending: Ending, now: float) -> Decision:
        """Count an ending and decide what follows."""
        if self._was_healthy(now):
            self._failures = self._refusals = 0
            self._renewed = self._renewed_for_close = False
        self._opened_at = self._event_at = None
        undocumented = isinstance(ending, Closed) and _is_undocumented(ending.code)
        self._undocumented_closes = self._undocumented_closes + 1 if undocumented else 0
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
        reason = _with_text(f"the server closed with {code}", ending.text)
        if code in _AUTH_CLOSES:
            return self._after_auth_refusal(reason, now, status=None, code=str(code))
        if code in _DENIED_CLOSES:
            error = PermissionDenied(_with_text("the server closed the event stream", ending.text))
            error.error_code = str(code)
            return self._after_denial(error, reason, now)
        self._refusals = 0
        if self._undocumented_closes >= self._config.max_undocumented_closes:
            closes = self._undocumented_closes
            message = f"the server closed the event stream {closes} times in a row without an event"
            return Stop(AnswerError(_with_text(message, ending.text), error_code=str(code)))
        least = self._config.try_again_later_s if code == _TRY_AGAIN_LATER else 0.0
        if code == 1006:
            reason = "the connection dropped"
        elif code == 1009:
            reason = "a message was larger than allowed"
        delay = self._delay(now, plus=least)
        if (
            self._undocumented_closes >= _CLOSES_BEFORE_RENEWAL
            and self._renewable
            and not self._renewed_for_close
        ):
            self._renewed_for_close = True
            return Renew(reason, delay)
        return Retry(reason, delay)

    def _after_refusal(self, ending: HandshakeRefused, now: float) -> Decision:
        status, retry_after = ending.status, ending.retry_after
        reason = _with_text(f"the handshake was refused with status {status}", ending.text)
        if status == 401 and not ending.page:
            return self._after_auth_refusal(reason, now, status=status, code=None)
        if status in _REFUSALS and ending.envelope:
            return self._after_denial(_REFUSALS[status](reason, status=status), reason, now)
        self._refusals = 0
        match status:
            case 429 | 503 if status == 429 or retry_after is not None:
                delay = self._delay(now, least=retry_after or 0.0)
                longest = self._config.max_retry_after_s
                return Retry(reason, delay, hold=delay if retry_after is None else min(retry_after, longest))
            case _ if 300 <= status < 400:
                return Retry(f"{reason}; redirects are never followed", self._delay(now))
            case _:
                return Retry(reason, self._delay(now))

    def _after_auth_refusal(
        self, reason: str, now: float, *, status: int | None, code: str | None
    ) -> Decision:
        """Renew the credential once. A renewed or fixed credential is retried until `max_refusals`."""
        if self._renewable and not self._renewed:
            self._renewed, self._refusals = True, 0
            return Renew(reason, self._seconds_until_slot(now))
        refused = "a renewed credential was refused too" if self._renewed else "the credential was refused"
        error = AuthFailed(f"{refused}: {reason}", status=status, error_code=code)
        return self._after_denial(error, reason, now, kind="credential")

    def _after_denial(self, error: RequestError, reason: str, now: float, *, kind: str = "") -> Decision:
        """Stop after `max_refusals` refusals of one kind in a row; until then, retry."""
        kind = kind or type(error).__name__
        self._refusals = self._refusals + 1 if kind == self._refusal_kind else 1
        self._refusal_kind = kind
        if self._refusals >= self._config.max_refusals:
            return Stop(error)
        return Retry(reason, self._delay(now))

    def _delay(self, now: float, *, least: float = 0.0, plus: float = 0.0) -> float:
        config = self._config
        if self._failures == 0:
            delay = config.first_delay_s * self._random()
        else:
            delay = full_jitter(
                self._failures - 1, base=config.backoff_base_s, cap=config.backoff_cap_s, random=self._random
            )
        self._failures += 1
        # Jitter only lengthens the delay: no client returns early, and not all at the same moment.
        least = min(least * (1 + 0.1 * self._random()), config.max_retry_after_s)
        return max(plus + delay, least, self._seconds_until_slot(now))

    def _seconds_until_slot(self, now: float) -> float:
        """Return the seconds until another handshake fits into the window."""
        handshakes = self._handshakes
        if len(handshakes) < self._config.max_handshakes:
            return 0.0
        return max(0.0, handshakes[0] + self._config.handshake_window_s - now)

    def _was_healthy(self, now: float) -> bool:
        config = self._config
        if self._opened_at is None:
            return False
        if now - self._opened_at >= config.healthy_after_s:
            return True
        return self._event_at is not None and now - self._event_at >= config.healthy_after_event_s

    @printable
    def __repr__(self) -> str:
        renewed = ", credential renewed" if self._renewed else ""
        return f"<ReconnectPolicy after {self._failures} failures in a row{renewed}>"


def _with_text(what: str, words: str) -> str:
    return f"{what}: {words}" if words else what


def _is_undocumented(code: int) -> bool:
    return 4000 <= code < 5000 and code not in _AUTH_CLOSES and code not in _DENIED_CLOSES
