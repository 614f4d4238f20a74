"""What follows a try: pure decisions about one call. The waiting and the sending are the pool's."""

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
from energy_core.retry import RetryBudget, full_jitter, parse_retry_after

BASE_S: Final = 0.5
CAP_S: Final = 20.0

_PASSING: Final = frozenset({408, 425, 429})
_PERMANENT: Final = frozenset({501, 505, 506, 508, 510, 511})

E = TypeVar("E", bound=EnergyError)


class ResponseHead(NamedTuple):
    """Status and headers of an answer, as far as a decision needs them."""

    status: int
    retry_after: float | None

    @property
    def throttling(self) -> bool:
        """Whether the server says that the account sends too much."""
        return self.status == 429 or (self.status == 503 and self.retry_after is not None)

    @property
    def readable(self) -> bool:
        """Whether there is a body to read: not after a redirect, nor a change of protocol."""
        return 200 <= self.status <= 299 or self.status >= 400

    @property
    def transient(self) -> bool:
        """Whether the same request may well succeed later."""
        return self.status in _PASSING or (500 <= self.status <= 599 and self.status not in _PERMANENT)


def read_head(status: int, headers: Mapping[str, str], *, now: datetime) -> ResponseHead:
    """Read what the headers say about trying again."""
    return ResponseHead(
        status, parse_retry_after(headers.get("retry-after"), date=headers.get("date"), now=now)
    )


class RetryConfig(NamedTuple):
    """What every call of a pool may do."""

    tries: int
    """The first included."""
    max_retry_after_s: float
    """A longer wait is an error at once."""
    random: Callable[[], float]
    """Gives numbers in [0, 1)."""


class RetryState:
    """How often one call was tried, how much of its time is gone, and what it may still do."""

    __slots__ = ("budget", "operation", "patience", "sends", "spent_s", "tries")

    def __init__(self, operation: Operation, budget: RetryBudget, patience: RetryConfig) -> None:
        self.operation = operation
        self.budget = budget
        self.patience = patience
        self.tries = 0
        self.sends = 0
        """Counted on the wire."""
        self.spent_s = 0.0
        """Time under way and between tries; waiting for a turn or in a hold does not count."""

    @property
    def left_s(self) -> float:
        """Seconds that remain of the operation's total."""
        return max(0.0, self.operation.total_s - self.spent_s)

    def pause_after(self, outcome: ResponseHead | EnergyError) -> float | None:
        """Return how long to wait before the next try, or None when the outcome is final."""
        # A 429 says that nothing was done: any operation may be sent again after it, and after nothing else.
        allowed = self.operation.repeatable or _is_429(outcome)
        if not (allowed and self.tries < self.patience.tries and self._worth_repeating(outcome)):
            return None
        throttled = isinstance(outcome, ResponseHead) and outcome.throttling
        # The lane's hold is the pause after being throttled; a second one on top would only lose the turn.
        random = self.patience.random
        pause = 0.0 if throttled else full_jitter(self.tries - 1, base=BASE_S, cap=CAP_S, random=random)
        if pause >= self.left_s or not (_is_429(outcome) or self.budget.withdraw()):
            return None
        return pause

    def _worth_repeating(self, outcome: ResponseHead | EnergyError) -> bool:
        if isinstance(outcome, ResponseHead):
            return outcome.transient and (outcome.retry_after or 0.0) <= self.patience.max_retry_after_s
        if is_of_login(outcome):
            return False  # the login had tries of its own
        if isinstance(outcome, ConnectError):
            return outcome.kind != "tls"
        return isinstance(outcome, ConnectionLost | DeadlineExceeded)

    def final(self, error: E) -> E | OutcomeUnknown:
        """Return the error to raise, with the facts of this call."""
        status = error.status if isinstance(error, RequestError) else None
        in_doubt = isinstance(error, TransportError) and not isinstance(error, ConnectError)
        in_doubt = in_doubt and not is_of_login(error)
        if in_doubt and self.sends and not self.operation.repeatable:
            reason = f"it may or may not have happened: {error}"
            return with_context(OutcomeUnknown(reason), self.operation, attempts=self.sends, status=status)
        return with_context(error, self.operation, attempts=self.sends)


def is_of_login(error: EnergyError) -> bool:
    """Whether an error is that of the login a call waited for: it names its operation already."""
    return isinstance(error, RequestError) and error.operation is not None


def _is_429(outcome: ResponseHead | EnergyError) -> bool:
    return isinstance(outcome, ResponseHead) and outcome.status == 429


def with_context(
    error: E, operation: Operation, *, attempts: int | None = None, status: int | None = None
) -> E:
    """Say in the error which operation it is about; a login's error already says so and stays the login's."""
    if isinstance(error, RequestError):
        if error.operation is None:
            error.vendor, error.operation = operation.vendor, operation.name
            error.method, error.path = operation.method, operation.path
            error.attempts = attempts if error.attempts is None else error.attempts
        if error.status is None:
            error.status = status
    return error
