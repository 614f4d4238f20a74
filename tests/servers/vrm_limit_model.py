"""A model of VRM's limiter, after its own words.

"Rolling window of max 200 requests, where every 0.33 s a request gets removed."
"""

from __future__ import annotations

import math

LEAK_S = 0.33


class VRMLimitModel:
    """Lets requests through or refuses them as the server would, and remembers both.

    Args:
        start: The moment the watch begins.
        used: Requests already in the window at that moment.
        count_refused: The harsher reading of the rule: a refused request goes into the window too.
    """

    def __init__(
        self, *, start: float, used: int = 0, window: int = 200, count_refused: bool = False
    ) -> None:
        self.start = start
        self.window = window
        self.count_refused = count_refused
        self.in_window = used
        self.slots = 0
        """Moments so far at which a request could leave the window, whether there was one or not."""
        self.entered = 0
        """Requests that went into the window: what the allowance was spent on."""
        self.accepted: list[float] = []
        self.refused: list[float] = []

    def ask(self, now: float) -> int | None:
        """A request arrives: None lets it through, a number refuses it and is its Retry-After in seconds."""
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
        """Requests let through, as a share of those that can leave in this time plus `with_free` ones."""
        self._empty(now)
        return len(self.accepted) / (self.slots + with_free)
