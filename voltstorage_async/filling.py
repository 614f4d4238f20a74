"""Filling one hole: page after page of the past, up to the present moment as the service counts it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from energy_core.clock import Clock
from energy_core.errors import RequestError
from energy_core.stream.delivered import BEYOND_CAP
from energy_core.stream.event import Quantity
from energy_core.stream.hole import Mender
from voltstorage_async.backfill import Healing, Moment, Past

EXPORT_FAILED: Final = "export_failed"
"""Begins the reason of a gap that the export did not answer for."""
EXPORT_MALFORMED: Final = "export_malformed"
"""Rows within the stretch could not be read."""

_ALL: Final = frozenset(Quantity)


class Filling:
    """Asks the past for what the mender wants.

    Args:
        mender: Decides what is told of the answers.
        past: Answers.
        healing: How much is asked for, how far back and how often.
        clock: Where time comes from.
        hand_over: Tells what the mender has ready; may wait for a slow consumer.
    """

    __slots__ = ("_clock", "_exported", "_hand_over", "_healing", "_mender", "_past")

    def __init__(
        self,
        mender: Mender[Moment],
        past: Past,
        healing: Healing,
        clock: Clock,
        hand_over: Callable[[], Awaitable[None]],
    ) -> None:
        self._mender = mender
        self._past = past
        self._healing = healing
        self._clock = clock
        self._hand_over = hand_over
        self._exported = _ALL

    async def present(self) -> Moment | None:
        """Ask for the latest data; None where they cannot be had."""
        try:
            return await self._past.present()
        except RequestError:
            return None  # the export answers for itself

    async def fill(self, heard_at: Callable[[], float | None], latest: Moment | None = None) -> None:
        """Fill the hole as far as it can be filled, and account for the rest.

        Args:
            heard_at: Returns the clock's seconds at the last live event.
            latest: The latest data, where they were asked for already.
        """
        mender, holes = self._mender, self._mender.holes
        await self._clock.sleep(self._healing.settle_s)
        latest = latest or await self.present()
        start = mender.begin(holes)
        if latest is not None:
            mender.latest(latest.second, latest.values, latest)
        now = self._now_there(start, heard_at())
        furthest = now - self._healing.furthest_back_s
        if start < furthest:
            start = furthest
            mender.skip(int(furthest), BEYOND_CAP)
        self._exported = _ALL
        try:
            await self._read_up_to(now, start)
        except RequestError as error:
            mender.fail(f"{EXPORT_FAILED}: {error}", self._exported)
        else:
            mender.done(self._exported)
        await self._hand_over()

    def _now_there(self, start: float, heard_at: float | None) -> float:
        """Return the service's present moment, by its own clock as far as possible."""
        until = self._mender.until
        if until is not None:
            return float(until)
        if heard_at is not None:
            return start + self._clock.monotonic() - heard_at
        return max(start, self._clock.utcnow().timestamp())

    async def _read_up_to(self, now: float, start: float) -> None:
        page_s = self._healing.page_s
        while start + page_s < now:
            if not await self._page(start, start + page_s):
                return
            start += page_s
        last = self._mender.horizon
        await self._page(start, None if last is None else max(start, last) + 1.0)

    async def _page(self, start: float, end: float | None) -> bool:
        """Read one page; where it breaks off, go on from there. Returns whether more is wanted."""
        for left in reversed(range(self._healing.attempts)):
            reached = self._mender.reach
            try:
                return await self._rows(start, end)
            except RequestError:
                # What broke off before it began was tried often enough by the pool.
                if not left or self._mender.reach <= reached:
                    raise
            start = self._mender.reach - self._healing.overlap_s
        raise AssertionError("the last attempt returns or raises")  # pragma: no cover

    async def _rows(self, start: float, end: float | None) -> bool:
        mender, whole, more = self._mender, True, True
        async with self._past.moments(start, end) as moments:
            try:
                async for moment in moments:
                    more = mender.row(moment.second, moment.values, moment, whole=whole)
                    if not more:
                        break
                    whole = False
                    if mender.ready:
                        await self._hand_over()
            except RequestError:
                if not whole:  # some of it was told
                    self._exported &= moments.exported
                raise
            self._exported &= moments.exported
            if moments.malformed:
                mender.damaged(int(start), EXPORT_MALFORMED)
        return more
