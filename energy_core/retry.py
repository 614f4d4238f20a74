"""When to ask again: jittered delays, Retry-After as the RFC writes it, and a budget for retries."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from itertools import islice
from typing import Final

import backoff

from energy_core.clock import parse_http_date
from energy_core.printable import printable

LONGEST_S: Final = 365 * 86_400.0
"""No Retry-After counts for more than this: a header may hold a number of any length."""

_DOUBLINGS: Final = 64
"""Past this many doublings any cap is reached; so attempt 10**6 costs no more than attempt 64."""

_SECONDS = re.compile(r"[0-9]+(?:\.[0-9]+)?")
"""RFC 9110 allows whole seconds only; servers send fractions too."""


def full_jitter(attempt: int, *, base: float, cap: float, random: Callable[[], float]) -> float:
    """Return a delay between 0 and `base` doubled `attempt` times, never above `cap`.

    Args:
        attempt: Counts from 0; any size.
        base: Seconds the first delay can reach.
        cap: Seconds no delay exceeds; finite.
        random: Gives numbers in [0, 1).
    """
    ceilings = backoff.expo(base=2, factor=base, max_value=cap)
    next(ceilings)  # backoff's generators begin with an empty step
    return random() * next(islice(ceilings, min(max(attempt, 0), _DOUBLINGS), None))


def parse_retry_after(value: str | None, *, date: str | None, now: datetime) -> float | None:
    """Return the seconds a Retry-After header asks for, or None when it is missing or not valid.

    Seconds in ASCII digits count, a plain decimal fraction rounded up (``0.493`` is 1), and the three forms
    of an HTTP-date. A header that cannot be read must not hide the answer that carried it, so nothing is
    raised.

    Args:
        value: The header, None when absent.
        date: The same answer's Date header: the server's own clock, against which its dates are meant.
        now: Our clock, aware; used when the answer has no valid Date.
    """
    if value is None:
        return None
    text = value.strip(" \t")
    if _SECONDS.fullmatch(text):
        whole, _, fraction = text.partition(".")
        digits = whole.lstrip("0") or "0"
        if len(digits) > 9:
            return LONGEST_S
        return min(float(digits) + (fraction.strip("0") != ""), LONGEST_S)
    moment = parse_http_date(text, now=now)
    if moment is None:
        return None
    server_now = parse_http_date(date, now=now) if date is not None else None
    wait = (moment - (server_now or now)).total_seconds()
    return min(max(wait, 0.0), LONGEST_S)


class RetryBudget:
    """Keeps retries a small share of all requests, so that an outage is not made worse by them.

    Every call pays in a share of one retry, every retry takes one out. A few are there from the start, or a
    program that makes a single call could never retry it.
    """

    __slots__ = ("_level",)

    START: Final = 10.0
    SHARE: Final = 0.15
    MOST: Final = 100.0

    def __init__(self) -> None:
        self._level = self.START

    def deposit(self) -> None:
        """Pay in for one call (not for its retries)."""
        if self._level < self.MOST:
            self._level += self.SHARE

    def withdraw(self, cost: float = 1.0) -> bool:
        """Take one retry out; False when the budget does not allow it."""
        if self._level < cost:
            return False
        self._level -= cost
        return True

    @printable
    def __repr__(self) -> str:
        return f"<RetryBudget {self._level:.1f} of {self.MOST:g} retries>"
