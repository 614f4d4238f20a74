"""Asking a service that may not last: what is worth another try, what is given up, and what ends a run."""

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
from energy_core.retry import full_jitter

T = TypeVar("T")

_WORTH_IT: Final = (TransportError, ServerFault, RateLimited, DecodeError)
_HOPELESS: Final = (AuthError, ConnectError, RateLimited, UnexpectedRedirect)
"""What will not be better for the next question either."""


class Stopped(Exception):
    """The run cannot go on; the message says why. What is there already stays."""


@frozen(kw_only=True)
class Patience:
    """How often and with which pauses something is asked for, each time through the client's own retries."""

    attempts: int = 4
    base_s: float = 5.0
    cap_s: float = 120.0
    clock: Clock = field(factory=SystemClock)
    random: Callable[[], float] = random.random

    async def ask(self, question: Callable[[], Awaitable[T]]) -> T:
        """Ask until there is an answer.

        Raises:
            RequestError: There is none to this question.
            Stopped: There will be none to any other.
        """
        for attempt in range(self.attempts):
            try:
                return await question()
            except RequestError as error:
                failure = error
                if attempt + 1 == self.attempts or not _worth_another(error):
                    break
            pause = full_jitter(attempt, base=self.base_s, cap=self.cap_s, random=self.random)
            await self.clock.sleep(max(pause, failure.retry_after or 0.0))
        if isinstance(failure, _HOPELESS):
            raise Stopped(reason(failure))
        raise failure


def _worth_another(error: RequestError) -> bool:
    return isinstance(error, _WORTH_IT) and not isinstance(error, TLSVerificationError)


def reason(error: RequestError) -> str:
    """Return why something is not there, in a few words that are the same each time."""
    said = error.message or type(error).__name__
    return said if error.status is None else f"{said} (status {error.status})"
