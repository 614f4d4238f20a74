"""How much may be sent: arithmetic only, the caller brings `now`."""

from __future__ import annotations

import math
from typing import Final

from energy_core.printable import printable

WHOLE: Final = 1.0 - 1e-6
"""Counts as one token: a timer that fires a rounding error early must not fire again for the rest."""


class TokenBucket:
    """A bucket that starts full, holds `burst` tokens and gains `per_second`.

    Elapsed time never counts below zero: a clock that steps back leaves the level as it was, and the bucket
    goes on filling from there. The level may be negative, which is a debt that later tokens pay first.
    """

    __slots__ = ("_level", "_seen", "burst", "per_second")

    def __init__(self, burst: float, per_second: float) -> None:
        self.burst = _positive("burst", burst)
        self.per_second = _positive("per_second", per_second)
        self._level = self.burst
        self._seen = math.inf  # the first `now` is the beginning, whatever it is

    def level(self, now: float) -> float:
        """Tokens there at `now`."""
        if now > self._seen:
            level = self._level + (now - self._seen) * self.per_second
            self._level = level if level < self.burst else self.burst  # noqa: FURB136  (min() doubles the cost)
        self._seen = now
        return self._level

    def has_token(self, now: float) -> bool:
        """Whether one whole token is there at `now`."""
        return self.level(now) >= WHOLE

    def try_take(self, now: float) -> bool:
        """Take one whole token if it is there."""
        level = self._level  # `level()` once more, spelled out: every request passes here
        if now > self._seen:
            level += (now - self._seen) * self.per_second
            if level > self.burst:  # noqa: PLR1730  (min() doubles the cost)
                level = self.burst
        self._seen = now
        taken = level >= WHOLE
        self._level = level - 1.0 if taken else level
        return taken

    def take(self, now: float, tokens: float = 1.0) -> None:
        """Take tokens, on credit when there are not enough."""
        self._level = self.level(now) - tokens

    def give_back(self, tokens: float = 1.0) -> None:
        """Return tokens that were taken and not used."""
        self._level = min(self.burst, self._level + tokens)

    def ready_at(self, now: float) -> float:
        """When one whole token will be there if nobody takes any: `now` itself, or later."""
        missing = WHOLE - self.level(now)
        return now if missing <= 0 else now + (1.0 - self._level) / self.per_second

    def drain(self, now: float) -> None:
        """Forget the tokens in stock; a debt stays."""
        self._level = min(self.level(now), 0.0)

    def set_rate(self, now: float, per_second: float) -> None:
        """Fill at another rate from `now` on."""
        self.level(now)
        self.per_second = _positive("per_second", per_second)

    @printable
    def __repr__(self) -> str:
        return f"<TokenBucket {self._level:.2f} of {self.burst:g}, {self.per_second:.3g}/s>"


class AdaptiveRate:
    """A rate that is cut when the server says too many, and comes back to its ceiling.

    Most of what a cut took comes back within seconds, to a little below the rate that was too high; from
    there the rate grows slowly. Multiplying down and adding up is what lets several programs on one account
    find equal shares without knowing of each other.
    """

    __slots__ = ("_cut_at", "_floor", "_good", "_low", "ceiling", "lowered")

    CUT: Final = 0.7
    BACK: Final = 0.9
    """The part of the rate before a cut that comes back fast ..."""
    BACK_S: Final = 30.0
    """... in so many seconds."""
    REGAIN: Final = 0.001
    """Requests per second gained in each second after that."""

    def __init__(self, ceiling: float) -> None:
        self.ceiling = _positive("ceiling", ceiling)
        self.lowered = False
        """Whether the rate was cut and has not been seen back at its ceiling since."""
        self._floor = ceiling / 100
        self._low = self._good = ceiling
        self._cut_at = math.inf

    def at(self, now: float) -> float:
        """Return the rate at `now`."""
        if not self.lowered:
            return self.ceiling
        elapsed = max(0.0, now - self._cut_at)
        good = self._good * self.BACK
        if elapsed < self.BACK_S:
            return self._low + max(0.0, good - self._low) * elapsed / self.BACK_S
        rate = max(self._low, good) + (elapsed - self.BACK_S) * self.REGAIN
        self.lowered = rate < self.ceiling
        return rate if self.lowered else self.ceiling

    def cut(self, now: float) -> None:
        """Go slower from `now` on."""
        self._good = self.at(now)
        self._low = max(self._floor, self._good * self.CUT)
        self._cut_at = now
        self.lowered = True


def _positive(name: str, value: float) -> float:
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(f"{name} must be a positive, finite number: {value!r}")
    return float(value)
