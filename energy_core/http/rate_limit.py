"""How much may be sent: arithmetic only, the caller brings `now`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from attrs import field, frozen

from energy_core.printable import printable, printable_class
from energy_core.retry import full_jitter

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


if TYPE_CHECKING:
    from attrs import Attribute

JITTER: Final = 0.1
"""A hold is up to this much longer than asked: clients told the same moment would all come back at once."""

LONGEST_HOLD_S: Final = 86_400.0
"""No hold is longer, so that one absurd header cannot silence an account for good."""

QUIET_S: Final = 60.0
"""So long without a 429, and the next one begins a new trouble instead of continuing the old one."""

IN_A_ROW: Final = 3
"""So many answers in a row that say too many, without Retry-After and not in JSON, are taken for a limit.

Fewer are what servers in trouble and proxies send now and then; the request is only repeated.
"""

LONGEST_GUESS_S: Final = 20.0
"""The longest hold we choose ourselves, when an answer says too many and not how long."""


def _count(_limit: RateLimit, attribute: Attribute[int], value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{attribute.name} must be an int, not {type(value).__name__}")
    if value < 1:
        raise ValueError(f"{attribute.name} must be at least 1: {value}")


def _rate(_limit: RateLimit, attribute: Attribute[float], value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{attribute.name} must be a number, not {type(value).__name__}")
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(f"{attribute.name} must be positive and finite: {value}")


@printable_class
@frozen
class RateLimit:
    """What one account may send.

    Args:
        burst: Requests that may be sent at once after a rest.
        per_second: Requests per second in the long run.
        in_flight: Requests that may wait for their answer at the same time.
    """

    burst: int = field(validator=_count)
    per_second: float = field(validator=_rate)
    in_flight: int = field(default=6, validator=_count)


class RateLimitState:
    """What one account may send, as far as we know."""

    __slots__ = (
        "_asked_until",
        "_bucket",
        "_held_until",
        "_last_slowdown",
        "_random",
        "_rate",
        "_trouble_at",
        "_troubles",
        "in_a_row",
        "throttled",
        "try_take",
    )

    def __init__(self, limit: RateLimit, *, random: Callable[[], float]) -> None:
        self._bucket = TokenBucket(limit.burst, limit.per_second)
        self.try_take: Callable[[float], bool] = self._bucket.try_take
        """Use one token, if a request may be sent now; without a hold only the bucket has a say."""
        self._rate = AdaptiveRate(limit.per_second)
        self._last_slowdown = False  # the bucket does not fill at the full rate
        self._random = random
        self._asked_until = -math.inf  # the vendor's own words ...
        self._held_until = -math.inf  # ... and with our jitter on top
        self._trouble_at = -math.inf
        self._troubles = 0
        self.in_a_row = 0
        """Doubtful answers since the last one that was not refused."""
        self.throttled = 0
        """Answers so far that said too many."""

    def _try_take_with_care(self, now: float) -> bool:
        if now < self._held_until:
            return False
        if self._last_slowdown:
            self._bucket.set_rate(now, self._rate.at(now))
            self._last_slowdown = self._rate.lowered
        if not self._last_slowdown:
            self.try_take = self._bucket.try_take
        return self._bucket.try_take(now)

    def free_at(self, now: float) -> float:
        """When a request may be sent if nobody sends any: `now` itself, or later."""
        return max(self._bucket.ready_at(now), self._held_until)

    def give_back(self) -> None:
        """Return a token whose request was never sent."""
        self._bucket.give_back()

    def hold(self, now: float, seconds: float) -> None:
        """Allow nothing for so long, and up to a tenth longer. The latest end of all holds counts."""
        seconds = min(max(0.0, seconds), LONGEST_HOLD_S)
        self._asked_until = max(self._asked_until, now + seconds)
        self._held_until = max(self._held_until, now + seconds * (1.0 + JITTER * self._random()))
        self.try_take = self._try_take_with_care

    def asked_s(self, now: float) -> float:
        """Seconds the vendor still asks us to wait; 0 when there is no hold."""
        return max(0.0, self._asked_until - now)

    def held_s(self, now: float) -> float:
        """Seconds until the hold ends, jitter included; 0 when there is none."""
        return max(0.0, self._held_until - now)

    def on_throttled(
        self, now: float, *, sent_at: float, retry_after: float | None, in_flight: int, certain: bool = True
    ) -> None:
        """React to an answer that said too many: empty the bucket, hold, and slow down once per trouble.

        Args:
            now: When the answer came.
            sent_at: When its request's turn had come; one from before the last reaction proves nothing new.
            retry_after: Seconds the answer asks for; None when it does not say.
            in_flight: Requests still on their way; the server may yet count them.
            certain: The limiter said it. Other answers count from the third in a row on; before, they hold
                for a moment and change nothing else.
        """
        self.throttled += 1
        if not certain:
            self.in_a_row += 1
            if self.in_a_row < IN_A_ROW:
                self.hold(now, self._guess(self.in_a_row - 1))
                return
        if sent_at > self._trouble_at:
            self._begin_throttle_episode(now, in_flight)
        else:
            self._bucket.drain(now)
        self.hold(now, self._guess(self._troubles) if retry_after is None else retry_after)

    def _begin_throttle_episode(self, now: float, in_flight: int) -> None:
        quiet = now - self._trouble_at > QUIET_S
        # The first 429 in a while, with tokens in stock, says that the stock was wrong: another program used
        # the allowance, or this one did before it was restarted. Emptying it is enough. Any other says that
        # the rate is wrong.
        if not (quiet and self._bucket.has_token(now)):
            self._rate.cut(now)
            self._last_slowdown = True
        self._troubles = 0 if quiet else self._troubles + 1
        self._trouble_at = now
        # The server is full as of now, and may yet count the refused request and those on their way.
        self._bucket.drain(now)
        self._bucket.take(now, in_flight + 1)

    def _guess(self, troubles: int) -> float:
        slot = 1.0 / self._rate.ceiling
        return full_jitter(troubles, base=slot, cap=LONGEST_GUESS_S, random=self._random)

    def level(self, now: float) -> float:
        """Tokens in stock; negative is a debt."""
        return self._bucket.level(now)

    def rate(self, now: float) -> float:
        """Requests per second now allowed in the long run."""
        return self._rate.at(now)
