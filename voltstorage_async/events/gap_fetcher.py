"""Filling gaps of one product: requests pages of the export up to the vendor's latest time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, Self

from energy_core.clock import Clock
from energy_core.errors import AuthError, BadRequest, NotFound, PermissionDenied, RequestError
from energy_core.stream.dedupe import BEYOND_CAP, NOT_RECORDED
from energy_core.stream.gap_filler import GapFiller, PendingRange
from energy_core.stream.validation import Horizon
from energy_core.stream.vocabulary import Quantity
from voltstorage_async.events.recorded import BackfillConfig, RecordedData, RecordedMoment, RecordedMoments

EXPORT_FAILED: Final = "export_failed"
"""Start of the reason of a gap: the export request failed."""
EXPORT_MALFORMED: Final = "export_malformed"
"""Reason of a gap: rows within it could not be read."""

_ALL: Final = frozenset(Quantity)
_FINAL: Final = (AuthError, BadRequest, NotFound, PermissionDenied)
"""Refusals that a retry does not change."""
_RETRY_AHEAD_S: Final = 900.0
"""A retry asks for this much more than is pending: only a later row proves that a range is complete."""


class InOrder:
    """Iterate over the rows of one answer in time order, leaving out rows with a wrong time.

    A row is left out if an older row follows it, if it lies outside the requested range, or if it is dated
    after the vendor's time.

    Args:
        moments: The rows.
        start: Start of the requested range, unix seconds.
        end: End of the requested range, unix seconds; None: up to now.
        horizon: Latest allowed time.
    """

    __slots__ = (
        *("_candidate", "_end", "_horizon", "_moments", "_returned_to", "_saw_beyond_end", "_start"),
        *("disorder_since", "left_out", "unreliable"),
    )

    def __init__(self, moments: RecordedMoments, start: float, end: float | None, horizon: Horizon) -> None:
        self._moments = moments
        self._start = self._returned_to = int(start)
        self._end = float("inf") if end is None else end
        self._horizon = horizon
        self._candidate: RecordedMoment | None = None
        self._saw_beyond_end = False
        self.unreliable = False
        """Whether rows next to the returned one are missing or wrong."""
        self.left_out = 0
        """Number of rows left out."""
        self.disorder_since: int | None = None
        """Set when rows that were already returned prove to be out of order: they came after this unix
        second."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> RecordedMoment:
        """Return the next row.

        Raises:
            RequestError: the request failed. The row before the failure may be cut off, so it is not
                returned.
        """
        async for moment in self._moments:
            self.unreliable |= self._moments.malformed_nearby
            if self._is_outside(moment):
                continue
            kept, self._candidate = self._candidate, moment
            if kept is None:
                continue
            if moment.second >= kept.second:
                self._returned_to = kept.second
                return kept
            self.left_out += 1
            self.unreliable = True
            if moment.second < self._returned_to:
                self.disorder_since = moment.second
        self.unreliable |= self._moments.malformed_nearby
        kept, self._candidate = self._candidate, None
        if kept is None:
            raise StopAsyncIteration
        return kept

    def reset_unreliable(self) -> None:
        """Clear `unreliable` after a row was used; the next row is judged by its own neighbours."""
        self.unreliable = self._moments.malformed_nearby

    def _is_outside(self, moment: RecordedMoment) -> bool:
        """Count and leave out a row that was not requested or is dated in the future."""
        if moment.second > self._end:
            self._saw_beyond_end = True  # if a row within the range follows, this one was misdated
        elif moment.second < self._start:
            self.unreliable |= self._candidate is not None
        elif self._horizon.is_ahead(moment.time):
            self.unreliable = True
        else:
            self.unreliable |= self._saw_beyond_end
            return False
        self.left_out += 1
        return True


class GapFetcher:
    """Request the recorded data that a `GapFiller` needs, and report to it what was found.

    Args:
        gap_filler: Decides what is delivered.
        recorded: The product's recorded data.
        backfill: Page length, age limit and retries.
        clock: Source of time.
        horizon: Latest allowed time.
        deliver: Delivers what the gap filler has ready; may wait for a slow consumer.
    """

    __slots__ = (
        *("_clock", "_config", "_deliver", "_exported", "_gap_filler", "_horizon", "_malformed"),
        *("_recorded", "left_out"),
    )

    def __init__(
        self,
        gap_filler: GapFiller[RecordedMoment],
        recorded: RecordedData,
        backfill: BackfillConfig,
        clock: Clock,
        horizon: Horizon,
        *,
        deliver: Callable[[], Awaitable[None]],
    ) -> None:
        self.left_out = 0
        """Number of rows that are dated wrongly, or outside the requested range."""
        self._gap_filler = gap_filler
        self._recorded = recorded
        self._config = backfill
        self._clock = clock
        self._horizon = horizon
        self._deliver = deliver
        self._exported = _ALL
        self._malformed = False  # whether rows of the current request could not be read

    async def latest(self) -> RecordedMoment | None:
        """Request the latest data; None if the request fails or the data is dated in the future."""
        try:
            latest = await self._recorded.latest()
        except RequestError:
            return None  # the export request reports its own failure
        if latest is not None and self._horizon.is_ahead(latest.time):
            self.left_out += 1
            return None
        return latest

    async def fill(
        self, last_live_at: Callable[[], float | None], latest: RecordedMoment | None = None
    ) -> None:
        """Fill the open gap as far as possible; what is missing afterwards is pending or reported.

        Args:
            last_live_at: Returns the monotonic time of the last live event.
            latest: The latest data, if it was requested already.
        """
        gap_filler, gaps = self._gap_filler, self._gap_filler.gap_count
        await self._clock.sleep(self._config.settle_s)
        latest = latest or await self.latest()
        start = gap_filler.begin(gaps, None if latest is None else latest.second)
        if latest is not None:
            gap_filler.on_latest(latest.second, latest.values, latest)
        now = self._vendor_now(start, last_live_at())
        furthest = now - self._config.max_age_s
        if start < furthest:
            start = furthest
            gap_filler.skip(int(furthest), BEYOND_CAP)
        self._exported, self._malformed = _ALL, False
        try:
            await self._read_pages(now, start)
        except RequestError as error:
            reason, final = f"{EXPORT_FAILED}: {error}", isinstance(error, _FINAL)
            gap_filler.fail(reason, self._exported, self._clock.monotonic(), final=final)
        else:
            gap_filler.done(self._exported, self._clock.monotonic(), reason=self._reason)
        await self._deliver()

    async def retry(self, pending: PendingRange) -> None:
        """Request a pending range again."""
        start, gap_filler = float(pending.start), self._gap_filler
        now = self._horizon.now().timestamp()
        end = max(pending.end + 1.0, min(now, pending.end + _RETRY_AHEAD_S))
        self._exported, self._malformed = _ALL, False
        failure: RequestError | None = None
        try:
            more, until = True, start
            while more and until < end:
                until = min(start + self._config.page_s, end)
                more = await self._read_retry_rows(pending, start - self._config.overlap_s, until)
                start = self._next_start(start, until)
        except RequestError as error:
            failure = error
        reason = "" if failure is None else f"{EXPORT_FAILED}: {failure}"
        if not reason and self._malformed:
            pending.reason = EXPORT_MALFORMED
        exported = None if self._exported is _ALL else self._exported
        gap_filler.end_retry(pending, exported, error=reason, final=isinstance(failure, _FINAL))
        await self._deliver()

    @property
    def _reason(self) -> str:
        return EXPORT_MALFORMED if self._malformed else NOT_RECORDED

    def _vendor_now(self, start: float, last_live_at: float | None) -> float:
        """Return the vendor's latest time as unix seconds, derived from its own data where possible."""
        until = self._gap_filler.newest_known
        if until is not None:
            return float(until)
        if last_live_at is not None:
            return start + self._clock.monotonic() - last_live_at
        return max(start, self._horizon.now().timestamp())

    async def _read_pages(self, now: float, start: float) -> None:
        page_s = self._config.page_s
        while start + page_s < now:
            if not await self._read_page(start, start + page_s):
                return
            start = self._next_start(start, start + page_s)
        last = self._gap_filler.needed_until
        await self._read_page(start, None if last is None else max(start, last) + 1.0)

    def _next_start(self, start: float, until: float) -> float:
        """Return the start of the next page: after the last second that this page has verified."""
        reached = self._gap_filler.verified_to + 1.0
        return min(reached, until) if reached > start else until

    async def _read_page(self, start: float, end: float | None) -> bool:
        """Read one page, continuing where an answer breaks off; return whether more is needed."""
        for left in reversed(range(self._config.attempts)):
            reached = self._gap_filler.covered_to
            try:
                return await self._read_rows(start, end)
            except RequestError:
                # Without any progress the pool's own retries were enough.
                if not left or self._gap_filler.covered_to <= reached:
                    raise
            start = self._gap_filler.covered_to - self._config.overlap_s
        raise AssertionError("the last attempt returns or raises")  # pragma: no cover

    async def _read_rows(self, start: float, end: float | None) -> bool:
        gap_filler, first, more = self._gap_filler, True, True
        gap_filler.on_request(int(start))
        async with self._recorded.moments(start, end) as moments:
            rows = InOrder(moments, start, end, self._horizon)
            try:
                async for moment in rows:
                    self._note_doubt(rows)
                    more = gap_filler.on_history(
                        moment.second, moment.values, moment, full_row=first, unreliable=rows.unreliable
                    )
                    if not more:
                        break
                    rows.reset_unreliable()
                    first = False
                    if gap_filler.ready:
                        await self._deliver()
            except RequestError:
                if not first:  # some rows were delivered
                    self._exported &= moments.exported
                raise
            finally:
                self._note_doubt(rows)
                self.left_out += rows.left_out
            self._exported &= moments.exported
        return more

    async def _read_retry_rows(self, pending: PendingRange, start: float, end: float) -> bool:
        gap_filler, more = self._gap_filler, True
        gap_filler.on_request(int(start))
        async with self._recorded.moments(start, end) as moments:
            rows = InOrder(moments, start, end, self._horizon)
            try:
                async for moment in rows:
                    self._note_doubt(rows)
                    more = gap_filler.on_retry_row(
                        pending, moment.second, moment.values, moment, unreliable=rows.unreliable
                    )
                    if not more:
                        break
                    rows.reset_unreliable()
                    if gap_filler.ready:
                        await self._deliver()
            finally:
                self._note_doubt(rows)
                self.left_out += rows.left_out
                if moments.exported:
                    self._exported &= moments.exported
        return more

    def _note_doubt(self, rows: InOrder) -> None:
        self._malformed |= rows.unreliable
        if rows.disorder_since is not None:
            self._gap_filler.distrust_after(rows.disorder_since)
            rows.disorder_since = None
