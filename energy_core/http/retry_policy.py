"""Retry decisions of one call: pure functions of an outcome. Waiting and sending happen in `call.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final, NamedTuple, TypeVar

from energy_core.errors import (
    ConnectError,
    ConnectionLost,
    DeadlineExceeded,
    EnergyError,
    OutcomeUnknown,
    RequestError,
    TransportError,
)
from energy_core.http.operation import Operation
from energy_core.printable import printable
from energy_core.retry_after import full_jitter, parse_retry_after

BASE_S: Final = 0.5
CAP_S: Final = 20.0

_TRANSIENT: Final = frozenset({408, 425, 429})
_PERMANENT: Final = frozenset({501, 505, 506, 508, 510, 511})

E = TypeVar("E", bound=EnergyError)


class RetryConfig(NamedTuple):
    """The retry settings of a pool."""

    tries: int
    """Attempts of each call, the first included."""
    max_retry_after_s: float
    """A longer Retry-After is an error at once."""
    random: Callable[[], float]
    """Returns numbers in [0, 1)."""


class RetryBudget:
    """Keeps the retries of an account a small share of its calls, so that they do not worsen an outage.

    Each call adds a share of one retry, each retry takes one. A few are there from the start, so that a
    program that makes a single call can retry it.
    """

    __slots__ = ("_level", "calls")

    START: Final = 10.0
    SHARE: Final = 0.15
    MAX: Final = 100.0

    def __init__(self) -> None:
        self.calls = 0
        """Calls (not retries) since the last withdrawal; each call adds one."""
        self._level = self.START

    def withdraw(self, cost: float = 1.0) -> bool:
        """Take one retry out of the budget; return False if there is none."""
        self._level = min(self.MAX, self._level + self.calls * self.SHARE)
        self.calls = 0
        if self._level < cost:
            return False
        self._level -= cost
        return True

    @printable
    def __repr__(self) -> str:
        level = min(self.MAX, self._level + self.calls * self.SHARE)
        return f"<RetryBudget {level:.1f} of {self.MAX:g} retries>"


class ResponseHead(NamedTuple):
    """Status and headers of a response, as far as a decision needs them."""

    status: int
    retry_after: float | None

    @property
    def throttling(self) -> bool:
        """Whether the server says that the account sends too many requests."""
        return self.status == 429 or (self.status == 503 and self.retry_after is not None)

    @property
    def readable(self) -> bool:
        """Whether there is a body to read: not after a redirect or a change of protocol."""
        return 200 <= self.status <= 299 or self.status >= 400

    @property
    def transient(self) -> bool:
        """Whether the same request may succeed later."""
        return self.status in _TRANSIENT or (500 <= self.status <= 599 and self.status not in _PERMANENT)


def read_head(status: int, headers: Mapping[str, str], *, now: datetime) -> ResponseHead:
    """Return status and Retry-After of a response."""
    return ResponseHead(
        status, parse_retry_after(headers.get("retry-after"), date=headers.get("date"), now=now)
    )


def pause_before_retry(
    outcome: ResponseHead | EnergyError,
    operation: Operation,
    config: RetryConfig,
    budget: RetryBudget,
    *,
    tries: int,
    left_s: float,
) -> float | None:
    """Return the seconds to wait before the next attempt, or None if the outcome is final.

    Args:
        outcome: A response other than 2xx, or the error of an attempt.
        operation: What was asked.
        config: The pool's settings.
        budget: The account's retry budget; a retry that is allowed is taken from it.
        tries: Attempts so far.
        left_s: Seconds left of the operation's total.
    """
    # After a 429, and only then, even an operation that is not idempotent was certainly not carried out.
    allowed = operation.repeatable or _is_429(outcome)
    if not (allowed and tries < config.tries and _may_succeed_later(outcome, config)):
        return None
    throttled = isinstance(outcome, ResponseHead) and outcome.throttling
    # A throttled account waits in its rate limiter, which holds all its requests.
    pause = 0.0 if throttled else full_jitter(tries - 1, base=BASE_S, cap=CAP_S, random=config.random)
    if pause >= left_s or not (_is_429(outcome) or budget.withdraw()):
        return None
    return pause


def _may_succeed_later(outcome: ResponseHead | EnergyError, config: RetryConfig) -> bool:
    if isinstance(outcome, ResponseHead):
        return outcome.transient and (outcome.retry_after or 0.0) <= config.max_retry_after_s
    if is_of_login(outcome):
        return False  # the login had retries of its own
    if isinstance(outcome, ConnectError):
        return outcome.kind != "tls"
    return isinstance(outcome, ConnectionLost | DeadlineExceeded)


def final_error(error: E, operation: Operation, *, sends: int) -> E | OutcomeUnknown:
    """Return the error to raise at the end of a call, with its context.

    If the request was sent and its operation is not idempotent, a lost connection becomes `OutcomeUnknown`.
    """
    status = error.status if isinstance(error, RequestError) else None
    in_doubt = isinstance(error, TransportError) and not isinstance(error, ConnectError)
    in_doubt = in_doubt and not is_of_login(error)
    if in_doubt and sends and not operation.repeatable:
        reason = f"it may or may not have happened: {error}"
        return with_context(OutcomeUnknown(reason), operation, attempts=sends, status=status)
    return with_context(error, operation, attempts=sends)


def is_of_login(error: EnergyError) -> bool:
    """Return whether an error comes from the login that a call waited for: it has its own operation."""
    return isinstance(error, RequestError) and error.operation is not None


def _is_429(outcome: ResponseHead | EnergyError) -> bool:
    return isinstance(outcome, ResponseHead) and outcome.status == 429


def with_context(
    error: E, operation: Operation, *, attempts: int | None = None, status: int | None = None
) -> E:
    """Add vendor, operation and attempts to an error; the error of a login keeps the login's."""
    if isinstance(error, RequestError):
        if error.operation is None:
            error.vendor, error.operation = operation.vendor, operation.name
            error.method, error.path = operation.method, operation.path
            error.attempts = attempts if error.attempts is None else error.attempts
        if error.status is None:
            error.status = status
    return error
