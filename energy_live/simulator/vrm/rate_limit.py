"""VRM's rate limit as its API documentation describes it: 200 requests, one leaves every 0.33 s.

The time is a parameter, so that tests use the same model in virtual time and on sockets.
"""

from __future__ import annotations

import math


class RollingWindow:
    """The rate limit of one account.

    Args:
        size: Maximum number of requests in the window.
        leaves_every_s: Seconds after which one request leaves the window.
        count_rejected: Whether a rejected request enters the window too. The documentation does not
            specify it.

    Raises:
        ValueError: `size` or `leaves_every_s` is not above 0.
    """

    def __init__(
        self, size: int = 200, leaves_every_s: float = 0.33, *, count_rejected: bool = False
    ) -> None:
        if size < 1 or leaves_every_s <= 0.0:
            raise ValueError(f"size and leaves_every_s must be above 0: {size}, {leaves_every_s}")
        self.size = size
        self.leaves_every_s = leaves_every_s
        self.count_rejected = count_rejected
        self.rejected = 0
        """Number of rejected requests."""
        self._inside = 0
        self._last_left = -math.inf

    def level(self, now: float) -> int:
        """Return the number of requests in the window at `now`, in seconds."""
        # 1e-9 against rounding: a request that is sent after the returned wait must be admitted.
        left = (now - self._last_left) / self.leaves_every_s + 1e-9
        if left >= self._inside:
            self._inside, self._last_left = 0, now
        elif (steps := math.floor(left)) > 0:
            self._inside -= steps
            self._last_left += steps * self.leaves_every_s
        return self._inside

    def admit(self, now: float) -> float | None:
        """Admit a request and return None, or return the seconds to wait until one is admitted."""
        if self.level(now) < self.size:
            self._inside += 1
            return None
        self.rejected += 1
        if self.count_rejected:
            self._inside += 1
        over = self._inside - self.size + 1
        return max(0.0, self._last_left + over * self.leaves_every_s - now)

    def fill(self, now: float, count: int) -> None:
        """Add `count` requests, as if another program of the account had sent them."""
        self.level(now)
        self._inside += count
