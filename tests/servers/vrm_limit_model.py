"""A model of VRM's rate limiter, from its documentation.

"Rolling window of max 200 requests, where every 0.33 s a request gets removed."
"""

from __future__ import annotations

import math

LEAK_S = 0.33


class VRMLimitModel:
    """Accepts or refuses requests like the server, and counts both.

    Args:
        start: The time at which counting starts.
        used: Requests already in the window at that time.
        count_refused: The stricter reading of the rule: refused requests count too.
    """

    def __init__(
        self, *, start: float, used: int = 0, window: int = 200, count_refused: bool = False
    ) -> None:
        self.start = start
        self.window = window
        self.count_refused = count_refused
        self.in_window = used
        self.slots = 0
        """Times so far at which a request could leave the window."""
        self.entered = 0
        """Requests that entered the window."""
        self.accepted: list[float] = []
        self.refused: list[float] = []

    def ask(self, now: float) -> int | None:
        """Handle a request; returns None to accept it, or the Retry-After in seconds."""
        self._empty(now)
        if self.in_window < self.window:
            self._enter()
            self.accepted.append(now)
            return None
        if self.count_refused:
            self._enter()
        self.refused.append(now)
        until_free = self.in_window - self.window + 1
        return max(1, math.ceil(self.start + (self.slots + until_free) * LEAK_S - now))

    def _enter(self) -> None:
        self.in_window += 1
        self.entered += 1

    def _empty(self, now: float) -> None:
        slots = int((now - self.start) / LEAK_S)
        self.in_window = max(0, self.in_window - (slots - self.slots))
        self.slots = slots

    def share_used(self, now: float, *, with_free: int = 0) -> float:
        """Accepted requests as a share of those that can leave in this time plus `with_free`."""
        self._empty(now)
        return len(self.accepted) / (self.slots + with_free)
