"""The state of a rate limit: token bucket, holds, adaptive rate. Arithmetic only; the caller passes `now`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from attrs import field, frozen

from energy_core.printable import printable, printable_class
from energy_core.retry_after import full_jitter

if TYPE_CHECKING:
    from attrs import Attribute

WHOLE: Final = 1.0 - 1e-6
"""Counts as one token: a timer that fires a rounding error early must not fire again for the rest."""


class TokenBucket:
    """A token bucket that starts full, holds `burst` tokens and gains `per_second`.

    A clock that steps back leaves the level unchanged; the bucket continues to fill from there. The level may
    be negative: later tokens fill that debt first.
    """

    __slots__ = ("_level", "_seen", "burst", "per_second")

    def __init__(self, burst: float, per_second: float) -> None:
        self.burst = _positive("burst", burst)
        self.per_second = _positive("per_second", per_second)
        self._level = self.burst
        self._seen = math.inf  # the first `now` starts the bucket, whatever it is

    def level(self, now: float) -> float:
        """Return the tokens at `now`; negative is a debt."""
        if now > self._seen:
            level = self._level + (now - self._seen) * self.per_second
            self._level = level if level < self.burst else self.burst  # noqa: FURB136  (min() doubles the cost)
        self._seen = now
        return self._level

    def has_token(self, now: float) -> bool:
        """Return whether there is a whole token at `now`."""
        return self.level(now) >= WHOLE

    def try_take(self, now: float) -> bool:
        """Take one token; return False if there is no whole one."""
        level = self._level  # the code of `level()`, inlined for speed
        if now > self._seen:
            level += (now - self._seen) * self.per_second
            if level > self.burst:  # noqa: PLR1730  (min() doubles the cost)
                level = self.burst
        self._seen = now
        taken = level >= WHOLE
        self._level = level - 1.0 if taken else level
        return taken

    def take(self, now: float, tokens: float = 1.0) -> None:
        """Take tokens; the level may become negative."""
        self._level = self.level(now) - tokens

    def give_back(self, tokens: float = 1.0) -> None:
        """Put back tokens that were taken and not used."""
        self._level = min(self.burst, self._level + tokens)

    def ready_at(self, now: float) -> float:
        """Return when there will be a whole token if none is taken: `now` or later."""
        missing = WHOLE - self.level(now)
        return now if missing <= 0 else now + (1.0 - self._level) / self.per_second

    def drain(self, now: float) -> None:
        """Remove all tokens; a debt stays."""
        self._level = min(self.level(now), 0.0)

    def set_rate(self, now: float, per_second: float) -> None:
        """Change the rate from `now` on."""
        self.level(now)
        self.per_second = _positive("per_second", per_second)

    @printable
    def __repr__(self) -> str:
        return f"<TokenBucket {self._level:.2f} of {self.burst:g}, {self.per_second:.3g}/s>"


class AdaptiveRate:
    """A rate that is cut when the server throttles, and then recovers up to its ceiling (AIMD).

    After a cut the rate recovers within seconds to a little below the rate that was too high, and from there
    slowly. Multiplicative decrease and additive increase let several programs on one account converge to
    equal shares without knowing of each other.
    """

    __slots__ = ("_cut_at", "_floor", "_good", "_low", "ceiling", "lowered")

    CUT: Final = 0.7
    BACK: Final = 0.9
    """The part of the rate before a cut that is regained within `BACK_S`."""
    BACK_S: Final = 30.0
    REGAIN: Final = 0.001
    """Requests per second gained in each second after that."""

    def __init__(self, ceiling: float) -> None:
        self.ceiling = _positive("ceiling", ceiling)
        self.lowered = False
        """Whether the rate was cut and is still below its ceiling."""
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
        """Reduce the rate from `now` on."""
        self._good = self.at(now)
        self._low = max(self._floor, self._good * self.CUT)
        self._cut_at = now
        self.lowered = True

    def resume(self, now: float, rate: float) -> None:
        """Continue with a rate below the ceiling that another process had reached."""
        self._low = self._good = max(self._floor, rate)
        self._cut_at = now
        self.lowered = True


def _positive(name: str, value: float) -> float:
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(f"{name} must be a positive, finite number: {value!r}")
    return float(value)


JITTER: Final = 0.1
"""A hold lasts up to this part longer than asked, so that clients do not all return at the same moment."""

LONGEST_HOLD_S: Final = 86_400.0
"""The longest hold, so that one absurd header cannot stop an account for good."""

QUIET_S: Final = 60.0
"""After so long without a 429 the next one starts a new throttle episode."""

IN_A_ROW: Final = 3
"""So many 429s in a row without Retry-After and without JSON count as throttling.

Overloaded servers and proxies send single ones; after those the request is only retried.
"""

LONGEST_GUESS_S: Final = 20.0
"""The longest hold after a 429 without Retry-After."""


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
    """The rate limit of one account.

    Args:
        burst: Requests that may be sent at once after a pause.
        per_second: Requests per second in the long run.
        in_flight: Requests that may wait for their response headers at the same time.
    """

    burst: int = field(validator=_count)
    per_second: float = field(validator=_rate)
    in_flight: int = field(default=6, validator=_count)


@frozen(kw_only=True)
class SavedRateLimit:
    """What is left of a rate limit, for another process that continues with the same account."""

    level: float
    """Tokens in the bucket; negative is a debt."""
    rate: float
    """Requests per second that were allowed in the long run."""
    asked_s: float = 0.0
    """Seconds the vendor still asked to wait."""
    held_s: float = 0.0
    """Seconds until the hold ended, jitter included."""


class RateLimitState:
    """The present state of one account's rate limit, as far as the server's answers show it."""

    __slots__ = (
        "_asked_until",
        "_bucket",
        "_episode_at",
        "_episodes",
        "_held_until",
        "_random",
        "_rate",
        "_slowed",
        "doubtful_in_a_row",
        "throttled",
    )

    def __init__(self, limit: RateLimit, *, random: Callable[[], float]) -> None:
        self._bucket = TokenBucket(limit.burst, limit.per_second)
        self._rate = AdaptiveRate(limit.per_second)
        self._slowed = False  # the bucket fills at a reduced rate
        self._random = random
        self._asked_until = -math.inf  # as the vendor asked
        self._held_until = -math.inf  # with our jitter added
        self._episode_at = -math.inf  # the last 429 that counted
        self._episodes = 0  # 429s that counted, in a row
        self.doubtful_in_a_row = 0
        """Doubtful 429s since the last accepted request."""
        self.throttled = 0
        """All 429s so far."""

    def try_take(self, now: float) -> bool:
        """Take one token; return False during a hold or without a whole token."""
        if now < self._held_until:
            return False
        if self._slowed:
            self._bucket.set_rate(now, self._rate.at(now))
            self._slowed = self._rate.lowered
        return self._bucket.try_take(now)

    def free_at(self, now: float) -> float:
        """Return when the next request may be sent if none is sent before: `now` or later."""
        return max(self._bucket.ready_at(now), self._held_until)

    def give_back(self) -> None:
        """Put back a token whose request was not sent."""
        self._bucket.give_back()

    def hold(self, now: float, seconds: float) -> None:
        """Allow nothing for so many seconds and up to a tenth longer. The latest end of all holds counts."""
        seconds = min(max(0.0, seconds), LONGEST_HOLD_S)
        self._asked_until = max(self._asked_until, now + seconds)
        self._held_until = max(self._held_until, now + seconds * (1.0 + JITTER * self._random()))

    def asked_s(self, now: float) -> float:
        """Return the seconds the vendor still asks us to wait; 0 without a hold."""
        return max(0.0, self._asked_until - now)

    def held_s(self, now: float) -> float:
        """Return the seconds until the hold ends, jitter included; 0 without a hold."""
        return max(0.0, self._held_until - now)

    def on_throttled(
        self, now: float, *, sent_at: float, retry_after: float | None, in_flight: int, certain: bool = True
    ) -> None:
        """Update after a 429: empty the bucket, hold, and reduce the rate once per episode.

        Args:
            now: When the response came.
            sent_at: When its request was sent. A request sent before the last reaction does not count again.
            retry_after: Seconds the response asks for; None if it does not.
            in_flight: Requests still in flight; the server may yet count them.
            certain: The response comes from a rate limiter. A doubtful one counts from the third in a row on;
                before, it only causes a short hold.
        """
        self.throttled += 1
        if not certain:
            self.doubtful_in_a_row += 1
            if self.doubtful_in_a_row < IN_A_ROW:
                self.hold(now, self._default_hold(self.doubtful_in_a_row - 1))
                return
        if sent_at > self._episode_at:
            self._start_throttle_episode(now, in_flight)
        else:
            self._bucket.drain(now)
        self.hold(now, self._default_hold(self._episodes) if retry_after is None else retry_after)

    def _start_throttle_episode(self, now: float, in_flight: int) -> None:
        is_first = now - self._episode_at > QUIET_S
        # A first 429 while the bucket has tokens shows that the level was wrong: another program used the
        # account, or this one before a restart. Emptying the bucket is enough. Any other 429 shows that the
        # rate is too high.
        if not (is_first and self._bucket.has_token(now)):
            self._rate.cut(now)
            self._slowed = True
        self._episodes = 0 if is_first else self._episodes + 1
        self._episode_at = now
        # The server's window is full, and it may yet count the refused request and those in flight.
        self._bucket.drain(now)
        self._bucket.take(now, in_flight + 1)

    def _default_hold(self, attempt: int) -> float:
        interval_s = 1.0 / self._rate.ceiling
        return full_jitter(attempt, base=interval_s, cap=LONGEST_GUESS_S, random=self._random)

    def level(self, now: float) -> float:
        """Return the tokens in the bucket; negative is a debt."""
        return self._bucket.level(now)

    def rate(self, now: float) -> float:
        """Return the requests per second that are now allowed in the long run."""
        return self._rate.at(now)

    def save(self, now: float) -> SavedRateLimit:
        """Return what is left of the limit."""
        asked_s, held_s = self.asked_s(now), self.held_s(now)
        return SavedRateLimit(level=self.level(now), rate=self.rate(now), asked_s=asked_s, held_s=held_s)

    def restore(self, now: float, saved: SavedRateLimit, elapsed_s: float) -> None:
        """Continue from what another process left `elapsed_s` seconds ago; never with more than this has."""
        elapsed_s = max(0.0, elapsed_s)
        self._bucket.drain(now)
        self._bucket.give_back(min(saved.level + elapsed_s * saved.rate, self._bucket.burst))
        if saved.rate < self._rate.ceiling:
            self._rate.resume(now, saved.rate)
            self._bucket.set_rate(now, self._rate.at(now))
            self._slowed = True
        self._asked_until = max(self._asked_until, now + saved.asked_s - elapsed_s)
        self._held_until = max(self._held_until, now + saved.held_s - elapsed_s)
