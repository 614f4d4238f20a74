"""VRM's rate limit as its description words it: a window of 200 requests from which one leaves every 0.33 s.

Arithmetic only: the caller brings the time, so that one model judges clients in virtual time and on sockets.
"""

from __future__ import annotations

import math


class RollingWindow:
    """How many requests are in the window of one account.

    Args:
        size: The most requests the window holds.
        leaves_every_s: One request leaves per that many seconds, in whole steps.
        count_rejected: Whether a refused request enters the window all the same. The description does not
            say; the default is the kinder reading.
    """

    def __init__(
        self, size: int = 200, leaves_every_s: float = 0.33, *, count_rejected: bool = False
    ) -> None:
        if size < 1 or leaves_every_s <= 0.0:
            raise ValueError(f"a window needs a size and a pace above 0: {size}, {leaves_every_s}")
        self.size = size
        self.leaves_every_s = leaves_every_s
        self.count_rejected = count_rejected
        self.rejected = 0
        self._inside = 0
        self._last_left = -math.inf

    def level(self, now: float) -> int:
        """Return how many requests are in the window."""
        # The crumb lets a request that comes back when it was told to find its place.
        left = (now - self._last_left) / self.leaves_every_s + 1e-9
        if left >= self._inside:
            self._inside, self._last_left = 0, now
        elif (steps := math.floor(left)) > 0:
            self._inside -= steps
            self._last_left += steps * self.leaves_every_s
        return self._inside

    def admit(self, now: float) -> float | None:
        """Let a request in, or return the seconds after which one fits again."""
        if self.level(now) < self.size:
            self._inside += 1
            return None
        self.rejected += 1
        if self.count_rejected:
            self._inside += 1
        over = self._inside - self.size + 1
        return max(0.0, self._last_left + over * self.leaves_every_s - now)

    def fill(self, now: float, count: int) -> None:
        """Put `count` requests in at once, as if another program had just made them."""
        self.level(now)
        self._inside += count
