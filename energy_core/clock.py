"""Time: the program's clock, many deadlines on one timer, HTTP dates, and a vendor's clock.

Nothing else in the distribution reads a clock or sleeps.
"""

from __future__ import annotations

import asyncio
import math
import re
import time  # noqa: TID251  (the only module that may)
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final, Generic, Protocol, TypeVar

from energy_core.printable import printable

T = TypeVar("T")

AHEAD_S: Final = 300.0
"""A value dated more than this after the vendor's own time is wrong."""

_EARLIEST: Final = datetime(2020, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(2200, 1, 1, tzinfo=UTC)
"""A `Date` outside these limits comes from a clock that was never set."""

_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_LONG_DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_DAY: Final = "|".join(_DAYS)
_LONG_DAY: Final = "|".join(_LONG_DAYS)
_MONTH: Final = f"(?P<month>{'|'.join(_MONTHS)})"
_TIME: Final = "(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
_HTTP_DATES: Final = (  # compiled at the first date, to keep the import short
    f"(?:{_DAY}), (?P<day>[0-9]{{2}}) {_MONTH} (?P<year>[0-9]{{4}}) {_TIME} GMT",  # IMF-fixdate
    f"(?:{_LONG_DAY}), (?P<day>[0-9]{{2}})-{_MONTH}-(?P<year>[0-9]{{2}}) {_TIME} GMT",  # RFC 850
    f"(?:{_DAY}) {_MONTH} (?P<day>[0-9]{{2}}| [0-9]) {_TIME} (?P<year>[0-9]{{4}})",  # asctime
)


class Timer(Protocol):
    """A pending callback that can be cancelled."""

    def cancel(self) -> None:
        """Cancel the callback; harmless once it has run."""


class Clock(Protocol):
    """The source of time of a client or stream; tests pass one of their own."""

    def monotonic(self) -> float:
        """Seconds that never run backwards; the base of waits and rates."""

    def utcnow(self) -> datetime:
        """The wall clock as an aware UTC datetime; for timestamps and HTTP dates only."""

    async def sleep(self, seconds: float) -> None:
        """Wait. Cancelling it is safe."""

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        """Run `callback` in the event loop once `monotonic()` has reached `when`."""


class SystemClock:
    """The time of the running event loop, so that a virtual-time loop moves everything at once."""

    def monotonic(self) -> float:
        """Seconds on the running event loop's clock."""
        return asyncio.get_running_loop().time()

    def utcnow(self) -> datetime:
        """The machine's wall clock, aware, in UTC."""
        return datetime.now(UTC)  # noqa: TID251  (the only module that may)

    async def sleep(self, seconds: float) -> None:
        """Wait on the event loop. Cancelling it is safe."""
        await asyncio.sleep(seconds)  # noqa: TID251  (the only module that may)

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        """Schedule on the running event loop."""
        return asyncio.get_running_loop().call_at(when, callback)


def monotonic_reader(clock: Clock) -> Callable[[], float]:
    """Return the fastest function that reads `clock.monotonic()`, for use on the running event loop only."""
    if type(clock) is not SystemClock:
        return clock.monotonic
    read = asyncio.get_running_loop().time
    # The `time` of asyncio's own loops only calls `time.monotonic`.
    is_asyncio = getattr(read, "__func__", None) is asyncio.BaseEventLoop.time
    return _monotonic if is_asyncio else read


def utcnow_reader(clock: Clock) -> Callable[[], datetime]:
    """Return the fastest function that reads `clock.utcnow()`."""
    return _utcnow if type(clock) is SystemClock else clock.utcnow


_monotonic: Final = time.monotonic
_utcnow: Final = partial(datetime.now, UTC)  # noqa: TID251  (the only module that may)


class DeadlineTimer(Generic[T]):
    """Many deadlines on one timer of the event loop.

    Setting and discarding a deadline changes one entry of a dict. The timer is set to the earliest deadline;
    when it fires and that one was met, it is set to the next. So a deadline that is met costs no timer.

    Args:
        clock: The source of time.
        on_expired: Called in the event loop with each key whose deadline has passed, and the present time.
            The key is removed first; the callback may set it again.
    """

    __slots__ = ("_clock", "_deadlines", "_fires_at", "_on_expired", "_timer")

    def __init__(self, clock: Clock, on_expired: Callable[[T, float], None]) -> None:
        self._clock = clock
        self._on_expired = on_expired
        self._deadlines: dict[T, float] = {}
        self._timer: Timer | None = None
        self._fires_at = math.inf

    def set(self, key: T, when: float) -> None:
        """Set the deadline of `key`, or move it, to `when` on the clock's monotonic time."""
        self._deadlines[key] = when
        # A timer that fires too early only sets the next one: most deadlines are met long before.
        if when < self._fires_at:
            self._schedule(when)

    def discard(self, key: T) -> bool:
        """Remove the deadline of `key`; return False if there is none (any more)."""
        return self._deadlines.pop(key, None) is not None

    def __contains__(self, key: T) -> bool:
        return key in self._deadlines

    def get(self, key: T) -> float | None:
        """Return the deadline of `key`, or None."""
        return self._deadlines.get(key)

    def clear(self) -> None:
        """Remove all deadlines and cancel the timer."""
        self._deadlines.clear()
        self._schedule(math.inf)

    def _schedule(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if when == math.inf else self._clock.call_at(when, self._fire)
        self._fires_at = when

    def _fire(self) -> None:
        self._timer = None
        # Event loops may fire up to a clock tick early.
        now = max(self._clock.monotonic(), self._fires_at)
        if any(when <= now for when in self._deadlines.values()):
            # A busy loop is late: data that it has just read is processed before a deadline counts as missed.
            self._timer = asyncio.get_running_loop().call_soon(self._expire, now)
        else:
            self._schedule_next()

    def _expire(self, now: float) -> None:
        self._timer = None
        self._fires_at = -math.inf  # deadlines that the callbacks set are scheduled below
        for key in [key for key, when in self._deadlines.items() if when <= now]:
            if self.discard(key):  # an earlier callback may have discarded it
                self._on_expired(key, now)
        self._schedule_next()

    def _schedule_next(self) -> None:
        self._schedule(min(self._deadlines.values(), default=math.inf))


def parse_http_date(text: str, *, now: datetime) -> datetime | None:
    """Parse an HTTP date in any of its three forms; None if it is not one.

    Args:
        text: The date, as a header has it.
        now: The present time, aware; it decides the century of a year with two digits.
    """
    text = text.strip(" \t")
    found = next((match for form in _HTTP_DATES if (match := re.fullmatch(form, text))), None)
    if found is None:
        return None
    year = int(found["year"])
    if len(found["year"]) == 2:
        year = _full_year(year, now.year)
    is_leap_second = found["second"] == "60"
    try:
        moment = datetime(
            year,
            _MONTHS.index(found["month"]) + 1,
            int(found["day"]),
            int(found["hour"]),
            int(found["minute"]),
            59 if is_leap_second else int(found["second"]),
            tzinfo=UTC,
        )
        return moment + timedelta(seconds=1) if is_leap_second else moment
    except (ValueError, OverflowError):  # there is no such day, hour or year
        return None


def _full_year(two_digits: int, this_year: int) -> int:
    """RFC 9110: more than 50 years ahead means the most recent past year with these digits."""
    year = this_year - this_year % 100 + two_digits
    return year - 100 if year > this_year + 50 else year


class VendorClock:
    """A vendor's clock, read from the `Date` headers of its responses; one for each origin.

    Between two responses it advances as our clock does. If our wall clock and our monotonic clock disagree
    about how much time has passed (the wall clock was set, or the machine slept), the larger amount counts,
    so that a correct timestamp is never rejected as being in the future.

    Args:
        clock: Our own clock.
    """

    __slots__ = ("_clock", "_date", "_monotonic_at", "_text", "_wall_at")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._text: str | None = None
        self._date: datetime | None = None
        self._wall_at = self._monotonic_at = 0.0

    def observe(self, date: str | None, age: str | None = None) -> None:
        """Update from the headers of a response that has just arrived.

        Args:
            date: Its `Date`; ignored if it cannot be parsed or is absurd.
            age: Its `Age`. A response with one comes from a cache, and its `Date` is ignored.
        """
        # The first response of each second is the most exact: later ones carry the same whole second.
        if date is None or date == self._text or age is not None:
            return
        wall = self._clock.utcnow()
        parsed = parse_http_date(date, now=wall)
        if parsed is not None and _EARLIEST < parsed < _LATEST:
            self._text, self._date = date, parsed
            self._wall_at, self._monotonic_at = wall.timestamp(), self._clock.monotonic()

    def now(self) -> datetime | None:
        """Return the vendor's present time, or None before the first `Date`. Needs a running event loop."""
        if self._date is None:
            return None
        elapsed = self._clock.utcnow().timestamp() - self._wall_at
        return self._date + timedelta(seconds=max(elapsed, self._clock.monotonic() - self._monotonic_at))

    @property
    def offset_s(self) -> float | None:
        """Seconds from our clock to the vendor's at its last response: positive if ours is behind."""
        return None if self._date is None else self._date.timestamp() - self._wall_at

    @printable
    def __repr__(self) -> str:
        offset = self.offset_s
        return (
            "<VendorClock, no response yet>" if offset is None else f"<VendorClock {offset:+.0f} s from ours>"
        )
