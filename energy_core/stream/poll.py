"""Poller: a source that calls a coroutine at an interval, and looks back for late data."""

from __future__ import annotations

import asyncio
import random as _random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final, TypeVar

from attrs import evolve

from energy_core.clock import Clock, SystemClock, VendorClock
from energy_core.errors import (
    AuthError,
    NoData,
    NotFound,
    PermissionDenied,
    RequestError,
    TwoFactorRequired,
)
from energy_core.printable import printable
from energy_core.retry_after import full_jitter
from energy_core.stream.device_backfill import DeviceBackfill
from energy_core.stream.lookback import FetchRange, LookbackScheduler, put
from energy_core.stream.polled import LookbackConfig, Polled, PolledReading, PolledSites, SiteReport, of_time
from energy_core.stream.source import HistoryConfig, HistoryItem, Outlet, StreamPosition
from energy_core.stream.validation import Horizon
from energy_core.stream.vocabulary import SourceId, State
from energy_core.token_expiry import TokenExpiry

MAX_WAIT_S: Final = 3600.0
"""Longest wait before the next poll, even if the vendor asks for a longer one."""
MAX_REFUSALS: Final = 3
"""Number of refusals in a row that end a poller."""
REFUSAL_DELAY_S: Final = 60.0
"""Shortest delay between two of them."""
MAX_NOTES: Final = 50
"""Number of different notes that are counted separately; the others are counted together."""

_BACKOFF_BASE_S: Final = 2.0
_BACKOFF_CAP_S: Final = 60.0

NOT_RESUMABLE: Final = "not_resumable"
"""Reason of a gap between a consumer's stop and the start of a source that cannot look back."""

T = TypeVar("T")


class Poller:
    """Poll at an interval and deliver the readings that were not delivered before.

    A failed poll (no connection, an unreadable or empty answer, a proxy's page) is counted, reported once and
    retried. Only three refusals in a row by the vendor (AuthError, PermissionDenied, NotFound), at least a
    minute apart, end the source; a login that requires a one-time code ends it at once.

    Each site has its own state: `stale` after three of its own intervals without a log (at least five
    minutes), then `live` again. Status events name the site; a poller of a single site has that site's state.

    With `fetch_range`, the poller also looks back at its devices, one after the other, beside polling: each
    hour, when a device has skipped a log slot, and when a consumer resumes. New readings are delivered with
    `backfilled` set; those known to be missing come before newer ones of the same device. Changed readings
    are delivered as a revision. A range that cannot be fetched is reported as a gap.

    Args:
        id: Name of the source in its status events.
        poll: Returns the vendor's present readings in any order, or a `Polled`, which also names the sites.
            NoData means that there is nothing new.
        interval_s: Seconds between polls.
        fetch_range: Fetches the recorded readings of a device (first argument) from a start to an end, in any
            order.
        lookback: When and how far to look back.
        clock: Source of time.
        random: Returns numbers in [0, 1) for the jitter.
        identify: Fetches the label of the account, if `id` does not have it yet.
        owner: Distinguishes credentials under one account label; empty is not checked.
        vendor_clock: The vendor's time. Readings dated after it are neither delivered nor a position.
        on_resume: Called with the positions of `resume`, before the first poll.
        expiry: Warns before the account's token expires; None: it is not checked.
    """

    def __init__(
        self,
        id: SourceId,  # noqa: A002  (as in `Source`)
        poll: Callable[[], Awaitable[Iterable[PolledReading] | Polled]],
        *,
        interval_s: float,
        fetch_range: FetchRange | None = None,
        lookback: LookbackConfig = LookbackConfig(),  # noqa: B008  (frozen)
        clock: Clock | None = None,
        random: Callable[[], float] = _random.random,
        identify: Callable[[], Awaitable[str]] | None = None,
        owner: str = "",
        vendor_clock: VendorClock | None = None,
        on_resume: Callable[[Mapping[SourceId, StreamPosition]], None] | None = None,
        expiry: TokenExpiry | None = None,
    ) -> None:
        if not 0 < interval_s < float("inf"):
            raise ValueError(f"interval_s must be a positive number of seconds, not {interval_s!r}")
        self._id = id
        self._fetch_label = identify
        self.owner = owner
        """Distinguishes credentials under one account label."""
        self._poll = poll
        self._interval_s = interval_s
        self._on_resume = on_resume
        self._expiry = expiry
        self._fetch_range = fetch_range
        self._config = lookback
        self._clock = clock or SystemClock()
        self._random = random
        self._failures = self._refusals = 0  # in a row
        self._polls = self._failed_polls = 0
        self._sites = PolledSites(polled_s=interval_s)
        self._notes: Counter[str] = Counter()
        self._reported_state = State.CONNECTING
        self.vendor_clock = vendor_clock
        """The vendor's time, learned from `Date` headers."""
        self._horizon = Horizon(self._clock, vendor_clock)
        # Ids of readings from the future, kept while the vendor returns them: their time will come.
        self._future_ids: set[str] = set()
        self._stopped: dict[SourceId, StreamPosition] = {}
        self._started: StreamPosition | None = None  # where an earlier run without readings started
        self._scheduler = LookbackScheduler(fetch_range, lookback, self._clock)
        self._wake = asyncio.Event()  # set when a look-back may be due

    @property
    def id(self) -> SourceId:
        """Name of the source in its status events; final when `identify` has returned."""
        return self._id

    async def identify(self, outlet: Outlet) -> None:
        """Fetch the label of the account, with retries; returns at once if it is known.

        Raises:
            RequestError: the vendor refused it, and a retry cannot change that.
        """
        while self._fetch_label is not None and not self._id.identified:
            label = await self._attempt(self._fetch_label, outlet)
            if label is not None:
                self._id = self._id._replace(account=label)

    @property
    def notes(self) -> Mapping[str, int | str]:
        """Number of failed polls, the counted notes of the polls, and the warning of a token that expires."""
        failed = {"failed polls": self._failed_polls} if self._failed_polls else {}
        warning = {} if self._expiry is None else self._expiry.notes
        return {**failed, **self._notes, **warning}

    def resume(self, positions: Mapping[SourceId, StreamPosition]) -> None:
        """Continue where a consumer stopped: missed readings are fetched, delivered ones left out."""
        if self._on_resume is not None:
            self._on_resume(positions)
        self._stopped = dict(positions)
        started = self._stopped.pop(self._id, None)
        if started is not None and started.ids:
            self._stopped[self._id] = started  # of a device with the same id as the poller
        else:
            self._started = started

    @property
    def history_config(self) -> HistoryConfig | None:
        """What `history` can prove; None: this poller cannot look back."""
        return self._scheduler.history_config

    async def history(self, source: SourceId, start: datetime, end: datetime) -> AsyncIterator[HistoryItem]:
        """Iterate over the recorded readings of a device, with the ids of those that were delivered.

        Raises:
            RequestError: the request failed.
        """
        for each in await self._scheduler.history(source, start, end):
            yield each

    def again(self) -> Poller:
        """Return a new poller with the same id and arguments."""
        return Poller(
            self._id,
            self._poll,
            interval_s=self._interval_s,
            fetch_range=self._fetch_range,
            lookback=self._config,
            clock=self._clock,
            random=self._random,
            identify=self._fetch_label,
            owner=self.owner,
            vendor_clock=self.vendor_clock,
            on_resume=self._on_resume,
            expiry=self._expiry,
        )

    async def run(self, outlet: Outlet) -> None:
        """Poll until cancelled.

        Raises:
            RequestError: the vendor has refused three times in a row.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                if self._scheduler.enabled:
                    tasks.create_task(self._lookback_loop(outlet), name=f"energy look-back of {self._id}")
                if self._expiry is not None:
                    tasks.create_task(self._expiry.run(), name=f"energy token of {self._id}")
                await self._poll_loop(outlet)
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from group.exceptions[0].__cause__

    # --- polling -------------------------------------------------------------------------------------------

    async def _poll_loop(self, outlet: Outlet) -> None:
        while True:
            started = self._clock.monotonic()
            self._polls += 1
            polled = await self._attempt(self._poll_once, outlet)
            if polled is None:
                continue
            self._failures = 0
            for note, count in polled.notes.items():
                counted = note in self._notes or len(self._notes) < MAX_NOTES
                self._notes[note if counted else "others"] += count
            readings = self._without_future(sorted(polled.readings, key=of_time), outlet)
            devices = self._add_to_devices(readings)
            self._update_sites(polled.sites, outlet)
            self._report_state(outlet)
            self._wake.set()
            for each in readings:
                await self._deliver(devices[each.source], outlet, until=each.time)
            self._report_stale_sites(outlet, again=True)
            self._report_state(outlet)
            if polled.read_alarms is not None:  # after the readings, which must not wait for a log
                for site, alarms in (await polled.read_alarms()).items():
                    outlet.alarms(site, alarms)
            await self._wait_for_next_poll(started + self._interval_s, outlet)

    async def _poll_once(self) -> Polled:
        try:
            return Polled.of(await self._poll())
        except NoData:
            return Polled(readings=[])

    async def _attempt(self, request: Callable[[], Awaitable[T]], outlet: Outlet) -> T | None:
        """Return the answer of a request; None after a failure, which was reported and waited out."""
        try:
            answer = await request()
        except RequestError as error:
            self._failed_polls += 1
            refused = isinstance(error, AuthError | PermissionDenied | NotFound)
            refused = refused and error.body_format in {
                None,
                "json",
            }  # a proxy's page is not the vendor's refusal
            self._refusals = self._refusals + 1 if refused else 0
            if self._refusals >= MAX_REFUSALS or isinstance(error, TwoFactorRequired):
                raise
            delay = max(self._retry_delay(error), REFUSAL_DELAY_S if refused else 0.0)
            self._failures += 1
            self._set_state(outlet, State.DISCONNECTED, str(error), delay)
        else:
            self._refusals = 0
            return answer
        await self._clock.sleep(delay)
        return None

    async def _wait_for_next_poll(self, until: float, outlet: Outlet) -> None:
        """Wait for the next poll; sites that become stale meanwhile are reported."""
        while True:
            due = self._sites.next_stale_at
            await self._clock.sleep(max(0.0, min(due, until) - self._clock.monotonic()))
            if due >= until:
                return
            self._report_stale_sites(outlet)
            self._report_state(outlet)

    def _retry_delay(self, error: RequestError) -> float:
        if error.retry_after is not None:
            # Jitter only lengthens the delay: no client returns early, and not all at the same moment.
            return min(max(error.retry_after, 0.0) * (1 + 0.1 * self._random()), MAX_WAIT_S)
        # During a long outage: on average as often as usual, and not more often than every 30 s.
        cap = max(_BACKOFF_CAP_S, 2 * self._interval_s)
        return full_jitter(
            self._failures, base=_BACKOFF_BASE_S, cap=min(cap, MAX_WAIT_S), random=self._random
        )

    def _without_future(self, readings: list[PolledReading], outlet: Outlet) -> list[PolledReading]:
        """Return the readings without those from the future, each of which the outlet reports once."""
        known, is_ahead = self._future_ids, self._horizon.is_ahead
        ahead = [each for each in readings if each.id in known or is_ahead(each.time)]
        for each in ahead:
            if each.id not in known:
                put(outlet, each.source, each)
        self._future_ids = {each.id for each in ahead}
        return [each for each in readings if each.id not in self._future_ids] if ahead else readings

    # --- devices and look-backs ----------------------------------------------------------------------------

    def _add_to_devices(self, readings: list[PolledReading]) -> dict[SourceId, DeviceBackfill]:
        """Add the readings of a poll to their devices; return these devices."""
        self._correct_start()
        now = self._clock.monotonic()
        devices: dict[SourceId, DeviceBackfill] = {}
        for each in readings:
            device = self._scheduler.device(each.source, self._stopped.pop(each.source, self._started))
            devices[each.source] = device
            device.add(each, now)
        if readings:
            self._started = None  # a device that appears later was not missed
        for source, count in Counter(each.source for each in readings).items():
            devices[source].end_poll(count)
        if not self._scheduler.enabled:
            self._give_up_gaps(devices.values())
        return devices

    def _correct_start(self) -> None:
        """Correct a start that the local clock dated after the vendor's present time."""
        started, offset_s = self._started, None if self.vendor_clock is None else self.vendor_clock.offset_s
        now = self._horizon.now()
        if started is not None and offset_s is not None and started.time > now:
            self._started = evolve(started, time=min(now, started.time + timedelta(seconds=offset_s)))

    def _give_up_gaps(self, devices: Iterable[DeviceBackfill]) -> None:
        """Report the gaps since a stop that are longer than an interval, as nothing can be fetched."""
        for device in devices:
            if any((end - start).total_seconds() > 1.5 * self._interval_s for start, end in device.open_gaps):
                device.give_up(NOT_RESUMABLE)
            device.assume_complete()

    async def _lookback_loop(self, outlet: Outlet) -> None:
        """Look back at one device after the other, while polls succeed."""
        while True:
            device = None if self._failures else self._scheduler.next_device()
            if device is None:
                await self._wait_for_lookback()
                continue
            before = device.pending
            await self._scheduler.look_back(device)
            after = device.pending
            if not set(after) <= set(before):  # a checkpoint must know the ranges before newer readings
                outlet.pending(device.source, sorted({*before, *after}))
            self._report_state(outlet)
            await self._deliver(device, outlet)
            if after != before:
                outlet.pending(device.source, after)

    async def _wait_for_lookback(self) -> None:
        """Wait until a look-back is due, or until a poll has returned something."""
        self._wake.clear()
        due = None if self._failures else self._scheduler.next_due()
        timer = None if due is None else self._clock.call_at(due, self._wake.set)
        try:
            await self._wake.wait()
        finally:
            if timer is not None:
                timer.cancel()

    async def _deliver(self, device: DeviceBackfill, outlet: Outlet, until: datetime | None = None) -> None:
        """Deliver what a device has ready; safe for both loops: items are delivered once, in order."""
        while device.has_ready(until):
            await outlet.room()
            if device.has_ready(until):
                put(outlet, device.source, device.ready.popleft())

    # --- states --------------------------------------------------------------------------------------------

    def _update_sites(self, reports: Mapping[SourceId, SiteReport], outlet: Outlet) -> None:
        """Update the sites, and report those that are new or live again."""
        now = self._horizon.now()
        trusted = {
            source: report._replace(newest=None)
            if report.newest is not None and self._horizon.is_ahead(report.newest)
            else report
            for source, report in reports.items()
        }
        for source in self._sites.update(trusted, now, self._clock.monotonic()):
            if source != self._id:
                outlet.status(State.LIVE, about=source)

    def _report_stale_sites(self, outlet: Outlet, *, again: bool = False) -> None:
        """Report sites that have become stale; with `again`, also the present age of those that were."""
        for source, reason in self._sites.check_stale(self._clock.monotonic(), again=again):
            if source != self._id:
                outlet.status(State.STALE, reason=reason, about=source)

    def _report_state(self, outlet: Outlet) -> None:
        """Report the state of the poller while polls succeed."""
        if self._failures:
            return
        own = self._sites.get(self._id)
        if self._scheduler.has_gaps:
            self._set_state(outlet, State.BACKFILLING, "looking back")
        elif own is not None and own.stale:
            self._set_state(outlet, State.STALE, own.reason(self._clock.monotonic()))
        else:
            self._set_state(outlet, State.LIVE)

    def _set_state(
        self, outlet: Outlet, state: State, reason: str = "", retry_in: float | None = None
    ) -> None:
        if state is State.STALE and self._reported_state in {State.CONNECTING, State.DISCONNECTED}:
            outlet.status(State.LIVE)  # there is no direct transition to stale
        self._reported_state = state
        outlet.status(state, reason=reason, retry_in=retry_in)

    @printable
    def __repr__(self) -> str:
        doing = f"failed {self._failures} times in a row" if self._failures else "fine"
        return f"<Poller {self._id} every {self._interval_s:g} s: asked {self._polls} times, {doing}>"
