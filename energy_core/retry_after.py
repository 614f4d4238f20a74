"""Retry delays: full jitter, and the Retry-After header."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from itertools import islice
from typing import Final

import backoff

from energy_core.clock import parse_http_date

LONGEST_S: Final = 365 * 86_400.0
"""Longer Retry-Afters count as this; a header may hold a number of any length."""

_DOUBLINGS: Final = 64
"""After so many doublings every cap is reached, so attempt 10**6 costs no more than attempt 64."""

_SECONDS = re.compile(r"[0-9]+(?:\.[0-9]+)?")
"""RFC 9110 allows whole seconds only; servers send fractions too."""


def full_jitter(attempt: int, *, base: float, cap: float, random: Callable[[], float]) -> float:
    """Return a delay between 0 and `base` doubled `attempt` times, never above `cap`.

    Args:
        attempt: Counts from 0; any size.
        base: Seconds the first delay can reach.
        cap: Seconds no delay exceeds; finite.
        random: Returns numbers in [0, 1).
    """
    ceilings = backoff.expo(base=2, factor=base, max_value=cap)
    next(ceilings)  # the first value of backoff's generators is None
    return random() * next(islice(ceilings, min(max(attempt, 0), _DOUBLINGS), None))


def parse_retry_after(value: str | None, *, date: str | None, now: datetime) -> float | None:
    """Return the seconds of a Retry-After header, or None if it is missing or not valid. Never raises.

    Accepted are seconds in ASCII digits, a decimal fraction (rounded up: ``0.493`` is 1), and the three forms
    of an HTTP date.

    Args:
        value: The header, None if absent.
        date: The Date header of the same response: a date in Retry-After is relative to the server's clock.
        now: Our clock, aware; used if the response has no valid Date.
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
