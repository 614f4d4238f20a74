"""How long we wait for servers, and one timer for all who owe bytes and fall silent."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Generic, TypeVar

from attrs import frozen

from energy_core.clock import Clock, Timer, ticking
from energy_core.printable import printable_class

T = TypeVar("T")


@printable_class
@frozen(kw_only=True)
class Timeouts:
    """Seconds; the total of a request belongs to its `Operation`."""

    connect_s: float = 10.0
    """Name lookup aside: TCP and TLS together."""
    read_timeout_s: float = 30.0
    """The longest silence of a server that owes bytes; the head of an answer counts as one."""
    min_bytes_per_s: float = 64.0
    """A streamed body slower than this, after its first `slow_after_s` of waiting, is given up."""
    slow_after_s: float = 60.0


class ReadTimeouts(Generic[T]):
    """Cuts off what nobody has sent anything for in so long.

    Waiting only notes a time: the timer is set once and finds out when it rings who still waits, so that an
    answer in time costs no timer.

    Args:
        gap_s: the longest silence.
        clock: where time comes from.
        cut: cuts one off; False when there is nothing left to cut.
    """

    def __init__(self, gap_s: float, *, clock: Clock, cut: Callable[[T], bool]) -> None:
        self._gap_s = gap_s
        self._clock = clock
        self._cut = cut
        self._now: Callable[[], float] = self._first_now
        self._due: dict[T, float] = {}
        self._timer: Timer | None = None
        self._rung_at = -math.inf

    def start(self, one: T) -> None:
        """Begin to wait for bytes of this one; again for each next time."""
        self._due[one] = due = self._now() + self._gap_s
        if self._timer is None:
            self._set_timer(due)

    def stop(self, one: T) -> bool:
        """Stop waiting; tell whether it was cut off meanwhile."""
        return self._due.pop(one, None) is None

    def expired(self, one: T) -> bool:
        """Whether it was cut off, or nobody waits for it."""
        return one not in self._due

    def close(self) -> None:
        """Watch nobody any more."""
        self._due.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _first_now(self) -> float:
        self._now = ticking(self._clock)  # a session stays on the event loop of its first request
        return self._now()

    def _set_timer(self, when: float) -> None:
        self._timer_at = when
        self._timer = self._clock.call_at(when, self._ring)

    def _ring(self) -> None:
        # Event loops may ring a tick of their clock too early; we count it as the time we had set.
        now = self._rung_at = max(self._now(), self._timer_at)
        if self._overdue():
            # When the event loop was busy, bytes may have come in time: whoever reads them goes first.
            self._timer = self._clock.call_at(now, self._end_the_silent)
        else:
            self._set_next()

    def _end_the_silent(self) -> None:
        for one in self._overdue():
            if self._cut(one):
                del self._due[one]
            else:
                self._due[one] = self._rung_at + self._gap_s
        self._set_next()

    def _overdue(self) -> list[T]:
        return [one for one, due in self._due.items() if due <= self._rung_at]

    def _set_next(self) -> None:
        self._timer = None
        if self._due:
            self._set_timer(min(self._due.values()))
