"""Retries of the archive: which errors are retried, which skip one request, and which end the run."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from attrs import field, frozen

from energy_core.clock import Clock, SystemClock
from energy_core.errors import (
    AuthError,
    ConnectError,
    DecodeError,
    RateLimited,
    RequestError,
    ServerFault,
    TLSVerificationError,
    TransportError,
    UnexpectedRedirect,
)
from energy_core.retry_after import full_jitter

T = TypeVar("T")

_RETRIED: Final = (TransportError, ServerFault, RateLimited, DecodeError)
_ENDS_RUN: Final = (AuthError, ConnectError, RateLimited, UnexpectedRedirect)
"""Errors that the next request would meet too."""


class RunStopped(Exception):
    """The run cannot continue; the message is the reason. Files written so far stay."""


@frozen(kw_only=True)
class RetryPolicy:
    """Number of attempts and pauses between them, in addition to the client's own retries.

    The pauses are longer than the client's (seconds up to two minutes), because an archive runs for hours.
    """

    attempts: int = 4
    base_s: float = 5.0
    """Longest first pause; it doubles with each attempt."""
    cap_s: float = 120.0
    """Longest pause."""
    clock: Clock = field(factory=SystemClock)
    random: Callable[[], float] = random.random

    async def call(self, request: Callable[[], Awaitable[T]]) -> T:
        """Call `request` until it returns, and return its result. Cancelling is safe.

        Raises:
            RequestError: The request failed; others may succeed.
            RunStopped: The request failed for a reason that others would meet too.
        """
        for attempt in range(self.attempts):
            try:
                return await request()
            except RequestError as error:
                failure = error
                if attempt + 1 == self.attempts or not _is_retried(error):
                    break
            pause = full_jitter(attempt, base=self.base_s, cap=self.cap_s, random=self.random)
            await self.clock.sleep(max(pause, failure.retry_after or 0.0))
        if isinstance(failure, _ENDS_RUN):
            raise RunStopped(describe_error(failure))
        raise failure


def _is_retried(error: RequestError) -> bool:
    return isinstance(error, _RETRIED) and not isinstance(error, TLSVerificationError)


def describe_error(error: RequestError) -> str:
    """Return an error as a short text, which is the same each time: the manifest keeps it as the reason."""
    text = error.message or type(error).__name__
    return text if error.status is None else f"{text} (status {error.status})"
