"""Fetches again, in background tasks, what did not fit into the buffer of a slow consumer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Final, NamedTuple, TypeAlias

from energy_core.errors import EnergyError, InternalError
from energy_core.printable import printable
from energy_core.stream.dedupe import NOT_RECORDED, TOO_MANY_GAPS
from energy_core.stream.fanout import Fanout
from energy_core.stream.source import Outlet, Reading, ReportedAlarm, Source, TimeSpan
from energy_core.stream.subscriber import SLOW, Subscriber
from energy_core.stream.vocabulary import Gap, Kind, SourceId, Status

RETRY_S: Final = (60.0, 300.0, 900.0)
"""Seconds after a refill at which spans that the vendor's record did not have yet are retried."""

_MOST_RETRIES: Final = 8
"""Spans of one source that are retried at the same time; further ones are reported as gaps."""

Refill: TypeAlias = Callable[[Outlet, SourceId, datetime, datetime], Awaitable[Sequence[TimeSpan] | None]]
"""The method `refill` of a `Backfillable` source."""

Check: TypeAlias = Callable[[SourceId, Sequence[Reading]], object]
"""Raises if readings are not valid."""


class RefillOutlet(Outlet):
    """The outlet of a refill: delivers readings of one device to one subscriber, and ignores all others.

    Args:
        subscriber: The consumer that lacks the readings.
        source: The device.
        check: Validates readings before any of them is delivered.
        late: Whether live readings went on meanwhile instead of being held.
    """

    __slots__ = ("_check", "_put", "_source", "_subscriber")

    def __init__(self, subscriber: Subscriber, source: SourceId, *, check: Check, late: bool = False) -> None:
        self._put = subscriber.put_late if late else subscriber.put_refill
        self._subscriber = subscriber
        self._source = source
        self._check = check

    def readings(self, source: SourceId, readings: Sequence[Reading]) -> None:
        """Deliver readings that the consumer lacks; all of them are marked backfilled."""
        self._check(source, readings)
        if source == self._source and not self._subscriber.buffer.ended:
            received_at = self._subscriber.clock.utcnow()
            for reading in readings:
                self._put(source, reading._replace(backfilled=True), received_at)

    def put_gap(self, source: SourceId, gap: Gap) -> None:
        """Report to the consumer what cannot be fetched again."""
        if source == self._source and not self._subscriber.buffer.ended:
            sequence, now = self._subscriber.sequences[source], self._subscriber.clock.utcnow()
            self._subscriber.put_control(sequence, source, Kind.GAP, gap, gap.end, now)

    def set_status(self, status: Status, about: SourceId | None) -> None:
        """Ignore it: a refill does not change the state of the live connection."""

    def pending(self, source: SourceId, spans: Sequence[TimeSpan]) -> None:
        """Ignore it: the spans that `Backfillable.refill` returns are retried."""

    def alarms(self, source: SourceId, reported: Sequence[ReportedAlarm]) -> None:
        """Ignored: a refill is about readings."""

    async def room(self) -> None:
        """Wait until the consumer has room. Cancelling is safe."""
        await self._subscriber.buffer.room()


class _Outcome(NamedTuple):
    error: str | None
    """Why the refill failed, None if it did not."""
    incomplete: Sequence[TimeSpan]
    """Spans that the vendor's record may have only later."""


class _Retry(NamedTuple):
    subscriber: Subscriber
    source: SourceId
    span: TimeSpan


class Refills:
    """The refills of one source.

    Args:
        source: The source.
        fanout: The subscribers of the stream.
        new_check: Makes the validation of one refill.
        on_gaps: Called with the number of gaps that were reported.
        internal_error: Makes an error of an exception that is a bug in the source, and logs it.
    """

    __slots__ = (
        *("_fanout", "_internal_error", "_new_check", "_on_gaps", "_retries", "_retry_s", "_running"),
        *("_source", "stopped"),
    )

    def __init__(
        self,
        source: Source,
        fanout: Fanout,
        *,
        new_check: Callable[[], Check],
        on_gaps: Callable[[int], None],
        internal_error: Callable[[Exception], InternalError],
    ) -> None:
        self.stopped = False
        """Set when the source ends: no refill is started any more."""
        self._source = source
        self._fanout = fanout
        self._new_check = new_check
        self._on_gaps = on_gaps
        self._internal_error = internal_error
        self._retry_s: Sequence[float] = getattr(source, "retry_s", RETRY_S)
        self._running: set[asyncio.Task[_Outcome]] = set()
        self._retries: dict[asyncio.Task[None], _Retry] = {}

    @property
    def pending(self) -> list[TimeSpan]:
        """Spans that will be retried."""
        return [each.span for each in self._retries.values()]

    def start(self, subscriber: Subscriber, source: SourceId) -> None:
        """Fetch again what did not fit into a subscriber's buffer; report a gap where that is impossible."""
        refill: Refill | None = getattr(self._source, "refill", None)
        span = None if refill is None or self.stopped else subscriber.begin_refill(source)
        if refill is None or span is None:
            self._on_gaps(subscriber.give_up_refill(source, SLOW))
            return
        outlet = RefillOutlet(subscriber, source, check=self._new_check())
        work = self._fetch(partial(refill, outlet, source, *span))
        task = asyncio.get_running_loop().create_task(work, name=f"energy refill of {source}")
        self._running.add(task)
        subscriber.refill_tasks.add(task)
        task.add_done_callback(partial(self._on_done, subscriber, source))

    async def stop(self) -> None:
        """Cancel all refills and wait until they have ended."""
        self.stopped = True
        tasks = (*self._running, *self._retries)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _fetch(self, refill: Callable[[], Awaitable[Sequence[TimeSpan] | None]]) -> _Outcome:
        try:
            return _Outcome(None, await refill() or ())  # None: the source proved all of it complete
        except EnergyError as error:
            return _Outcome(str(error), ())
        except Exception as error:  # noqa: BLE001  (any error of a refill becomes the reason of a gap)
            return _Outcome(str(self._internal_error(error)), ())

    def _on_done(self, subscriber: Subscriber, source: SourceId, task: asyncio.Task[_Outcome]) -> None:
        self._running.discard(task)
        subscriber.refill_tasks.discard(task)
        # Cancelled when its source or subscriber ends: nothing else will fetch the readings.
        error, incomplete = (SLOW, ()) if task.cancelled() else task.result()
        # Before held readings are delivered: a checkpoint taken then must contain the pending spans.
        for span in incomplete:
            self._retry_later(_Retry(subscriber, source, span))
        self._on_gaps(subscriber.end_refill(source, error=error))

    def _retry_later(self, retry: _Retry) -> None:
        """Fetch a span again later, while live readings go on."""
        if len(self._retries) >= _MOST_RETRIES:
            self._report_gap(retry, TOO_MANY_GAPS)
            return
        work = self._run_retries(retry)
        task = asyncio.get_running_loop().create_task(work, name=f"energy later refill of {retry.source}")
        self._retries[task] = retry
        retry.subscriber.refill_tasks.add(task)
        self._set_pending(retry)
        task.add_done_callback(self._on_retries_done)

    async def _run_retries(self, retry: _Retry) -> None:
        clock = self._fanout.clock
        # The delays count from the refill, not from each other: a slow fetch does not postpone the next.
        since, error = clock.monotonic(), None
        missing: list[TimeSpan] = [retry.span]
        for wait_s in self._retry_s:
            await clock.sleep(max(0.0, since + wait_s - clock.monotonic()))
            spans, missing = missing, []
            for span in spans:
                error, incomplete = await self._fetch_late(retry._replace(span=span))
                missing += [span] if error else incomplete
            if not missing:
                return
        for span in missing:
            self._report_gap(retry._replace(span=span), error or NOT_RECORDED)

    async def _fetch_late(self, retry: _Retry) -> _Outcome:
        refill: Refill | None = None if self.stopped else getattr(self._source, "refill", None)
        if refill is None:
            return _Outcome(SLOW, ())
        outlet = RefillOutlet(retry.subscriber, retry.source, check=self._new_check(), late=True)
        return await self._fetch(partial(refill, outlet, retry.source, *retry.span))

    def _on_retries_done(self, task: asyncio.Task[None]) -> None:
        retry = self._retries.pop(task)
        retry.subscriber.refill_tasks.discard(task)
        if task.cancelled():
            self._report_gap(retry, NOT_RECORDED)
        self._set_pending(retry)

    def _report_gap(self, retry: _Retry, reason: str) -> None:
        subscriber, source, (start, end) = retry
        # An ended stream delivers nothing more; its checkpoint still contains the span.
        if not (subscriber.buffer.ended or self._fanout.ended):
            self._on_gaps(1)
            gap, now = Gap(start=start, end=end, reason=reason), self._fanout.clock.utcnow()
            subscriber.put_control(subscriber.sequences[source], source, Kind.GAP, gap, end, now)

    def _set_pending(self, retry: _Retry) -> None:
        """Update the spans a subscriber waits for; after its end they stay for the last checkpoint."""
        subscriber, source, _ = retry
        if not subscriber.buffer.ended:
            spans = [each.span for each in self._retries.values() if each[:2] == (subscriber, source)]
            subscriber.sequences[source].set_pending(spans, by_refill=True)

    @printable
    def __repr__(self) -> str:
        return f"<Refills, {len(self._running)} running, {len(self._retries)} to be retried>"
