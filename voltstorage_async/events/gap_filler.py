"""Filling one hole: page after page of the past, up to the present moment as the service counts it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, Self

from energy_core.clock import Clock
from energy_core.errors import AuthError, BadRequest, NotFound, PermissionDenied, RequestError
from energy_core.stream.dedupe import BEYOND_CAP, NOT_RECORDED
from energy_core.stream.gap_filler import GapFiller, Waiting
from energy_core.stream.validation import Horizon
from energy_core.stream.vocabulary import Quantity
from voltstorage_async.events.recorded import BackfillConfig, RecordedData, RecordedMoment, RecordedMoments

EXPORT_FAILED: Final = "export_failed"
"""Begins the reason of a gap that the export did not answer for."""
EXPORT_MALFORMED: Final = "export_malformed"
"""Rows within the stretch could not be read."""

_ALL: Final = frozenset(Quantity)
_FINAL: Final = (AuthError, BadRequest, NotFound, PermissionDenied)
"""Refusals that asking again does not change."""
_BEYOND_S: Final = 900.0
"""The past is asked for up to so long after what waits: only a later row proves that it is whole."""


class InOrder:
    """The rows of one answer, each known to be dated no later than the one behind it.

    A row after which an older one comes is dated wrongly, and left out; so is one outside the range that was
    asked for, and one dated after the service's own time.

    Args:
        moments: The rows.
        start: Unix seconds from which on they were asked for ...
        end: ... and up to which; None: to the present.
        horizon: Knows the service's time.
    """

    __slots__ = (
        *("_beyond", "_end", "_horizon", "_kept", "_moments", "_start", "_told"),
        *("doubt", "left_out", "wrong_since"),
    )

    def __init__(self, moments: RecordedMoments, start: float, end: float | None, horizon: Horizon) -> None:
        self._moments = moments
        self._start = self._told = int(start)
        self._end = float("inf") if end is None else end
        self._horizon = horizon
        self._kept: RecordedMoment | None = None
        self._beyond = False
        self.doubt = False
        """Whether rows before the last one, or right behind it, are missing or wrong."""
        self.left_out = 0
        """Rows that are dated wrongly, or outside the range."""
        self.wrong_since: int | None = None
        """Rows after this second were dated wrongly, though they had been told by then."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> RecordedMoment:
        """Return the next moment.

        Raises:
            RequestError: as the request itself; the row before it may have been cut, and is not returned.
        """
        async for moment in self._moments:
            self.doubt |= self._moments.doubtful
            if self._is_outside(moment):
                continue
            kept, self._kept = self._kept, moment
            if kept is None:
                continue
            if moment.second >= kept.second:
                self._told = kept.second
                return kept
            self.left_out += 1
            self.doubt = True
            if moment.second < self._told:
                self.wrong_since = moment.second
        self.doubt |= self._moments.doubtful
        kept, self._kept = self._kept, None
        if kept is None:
            raise StopAsyncIteration
        return kept

    def go_on(self) -> None:
        """Forget the doubt about what was returned: what comes next is doubted for its own sake."""
        self.doubt = self._moments.doubtful

    def _is_outside(self, moment: RecordedMoment) -> bool:
        """Count a row that was not asked for; where rows that were come behind it, it was one of them."""
        if moment.second > self._end:
            self._beyond = True
        elif moment.second < self._start:
            self.doubt |= self._kept is not None
        elif self._horizon.is_ahead(moment.time):
            self.doubt = True
        else:
            self.doubt |= self._beyond
            return False
        self.left_out += 1
        return True


class GapTracker:
    """Asks the past for what the mender wants.

    Args:
        mender: Decides what is told of the answers.
        past: Answers.
        healing: How much is asked for, how far back and how often.
        clock: Where time comes from.
        horizon: Knows the service's time.
        hand_over: Tells what the mender has ready; may wait for a slow consumer.
    """

    __slots__ = (
        *("_clock", "_doubtful", "_exported", "_hand_over", "_healing", "_horizon", "_mender", "_past"),
        "left_out",
    )

    def __init__(
        self,
        mender: GapFiller[RecordedMoment],
        past: RecordedData,
        healing: BackfillConfig,
        clock: Clock,
        horizon: Horizon,
        *,
        hand_over: Callable[[], Awaitable[None]],
    ) -> None:
        self.left_out = 0
        """Rows that are dated wrongly, or outside the range that was asked for."""
        self._mender = mender
        self._past = past
        self._healing = healing
        self._clock = clock
        self._horizon = horizon
        self._hand_over = hand_over
        self._exported = _ALL
        self._doubtful = False  # whether rows of the fill under way could not be read

    async def present(self) -> RecordedMoment | None:
        """Ask for the latest data; None where they cannot be had, or are dated after their time."""
        try:
            latest = await self._past.present()
        except RequestError:
            return None  # the export answers for itself
        if latest is not None and self._horizon.is_ahead(latest.time):
            self.left_out += 1
            return None
        return latest

    async def fill(self, heard_at: Callable[[], float | None], latest: RecordedMoment | None = None) -> None:
        """Fill the hole as far as it can be filled, and account for the rest.

        Args:
            heard_at: Returns the clock's seconds at the last live event.
            latest: The latest data, where they were asked for already.
        """
        mender, holes = self._mender, self._mender.holes
        await self._clock.sleep(self._healing.settle_s)
        latest = latest or await self.present()
        start = mender.begin(holes, None if latest is None else latest.second)
        if latest is not None:
            mender.on_latest(latest.second, latest.values, latest)
        now = self._now_there(start, heard_at())
        furthest = now - self._healing.furthest_back_s
        if start < furthest:
            start = furthest
            mender.skip(int(furthest), BEYOND_CAP)
        self._exported, self._doubtful = _ALL, False
        try:
            await self._read_up_to(now, start)
        except RequestError as error:
            reason, final = f"{EXPORT_FAILED}: {error}", isinstance(error, _FINAL)
            mender.fail(reason, self._exported, self._clock.monotonic(), final=final)
        else:
            mender.done(self._exported, self._clock.monotonic(), reason=self._why)
        await self._hand_over()

    async def fill_later(self, waiting: Waiting) -> None:
        """Ask again for what an earlier answer did not prove to be whole."""
        start, mender = float(waiting.start), self._mender
        now = self._horizon.now().timestamp()
        end = max(waiting.end + 1.0, min(now, waiting.end + _BEYOND_S))
        self._exported, self._doubtful = _ALL, False
        trouble: RequestError | None = None
        try:
            more, until = True, start
            while more and until < end:
                until = min(start + self._healing.page_s, end)
                more = await self._later_rows(waiting, start - self._healing.overlap_s, until)
                start = self._next(start, until)
        except RequestError as error:
            trouble = error
        reason = "" if trouble is None else f"{EXPORT_FAILED}: {trouble}"
        if not reason and self._doubtful:
            waiting.reason = EXPORT_MALFORMED
        exported = None if self._exported is _ALL else self._exported
        mender.answered(waiting, exported, trouble=reason, final=isinstance(trouble, _FINAL))
        await self._hand_over()

    @property
    def _why(self) -> str:
        return EXPORT_MALFORMED if self._doubtful else NOT_RECORDED

    def _now_there(self, start: float, heard_at: float | None) -> float:
        """Return the service's present moment, by its own clock as far as possible."""
        until = self._mender.until
        if until is not None:
            return float(until)
        if heard_at is not None:
            return start + self._clock.monotonic() - heard_at
        return max(start, self._horizon.now().timestamp())

    async def _read_up_to(self, now: float, start: float) -> None:
        page_s = self._healing.page_s
        while start + page_s < now:
            if not await self._page(start, start + page_s):
                return
            start = self._next(start, start + page_s)
        last = self._mender.horizon
        await self._page(start, None if last is None else max(start, last) + 1.0)

    def _next(self, start: float, until: float) -> float:
        """Return where the next page begins: right behind what this one has proved, if that is anything."""
        reached = self._mender.proven + 1.0
        return min(reached, until) if reached > start else until

    async def _page(self, start: float, end: float | None) -> bool:
        """Read one page; where it breaks off, go on from there. Returns whether more is wanted."""
        for left in reversed(range(self._healing.attempts)):
            reached = self._mender.covered_to
            try:
                return await self._rows(start, end)
            except RequestError:
                # What broke off before it began was tried often enough by the pool.
                if not left or self._mender.covered_to <= reached:
                    raise
            start = self._mender.covered_to - self._healing.overlap_s
        raise AssertionError("the last attempt returns or raises")  # pragma: no cover

    async def _rows(self, start: float, end: float | None) -> bool:
        mender, whole, more = self._mender, True, True
        mender.asked(int(start))
        async with self._past.moments(start, end) as moments:
            rows = InOrder(moments, start, end, self._horizon)
            try:
                async for moment in rows:
                    self._look_at(rows)
                    more = mender.on_history(
                        moment.second, moment.values, moment, whole=whole, doubt=rows.doubt
                    )
                    if not more:
                        break
                    rows.go_on()
                    whole = False
                    if mender.ready:
                        await self._hand_over()
            except RequestError:
                if not whole:  # some of it was told
                    self._exported &= moments.exported
                raise
            finally:
                self._look_at(rows)
                self.left_out += rows.left_out
            self._exported &= moments.exported
        return more

    async def _later_rows(self, waiting: Waiting, start: float, end: float) -> bool:
        mender, more = self._mender, True
        mender.asked(int(start))
        async with self._past.moments(start, end) as moments:
            rows = InOrder(moments, start, end, self._horizon)
            try:
                async for moment in rows:
                    self._look_at(rows)
                    more = mender.late_row(waiting, moment.second, moment.values, moment, doubt=rows.doubt)
                    if not more:
                        break
                    rows.go_on()
                    if mender.ready:
                        await self._hand_over()
            finally:
                self._look_at(rows)
                self.left_out += rows.left_out
                if moments.exported:
                    self._exported &= moments.exported
        return more

    def _look_at(self, rows: InOrder) -> None:
        self._doubtful |= rows.doubt
        if rows.wrong_since is not None:
            self._mender.doubt_since(rows.wrong_since)
            rows.wrong_since = None
