"""Poller: asking again and again, as a source."""

from __future__ import annotations

import asyncio
import random as _random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
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
    StreamError,
    TwoFactorRequired,
)
from energy_core.printable import printable
from energy_core.retry import full_jitter
from energy_core.stream.lookback import DeviceBackfill, LookBack, LookbackConfig, LookbackScheduler, Tellable
from energy_core.stream.lookback_match import MissingRange, Polled, PolledReading, Seen
from energy_core.stream.reconnect import Site
from energy_core.stream.source import Outlet, StreamPosition
from energy_core.stream.validation import Horizon
from energy_core.stream.vocabulary import SourceId, State

__all__ = ["LookBack", "LookbackConfig", "Polled", "PolledReading", "Poller", "Seen"]

LONGEST_WAIT_S: Final = 3600.0
"""However long a vendor asks us to wait, a poller tries again within the hour."""

T = TypeVar("T")

REFUSALS: Final = 3
"""So many refusals in a row end a poller."""
REFUSED_AGAIN_S: Final = 60.0
"""At least so many seconds lie between two of them."""

MOST_NOTES: Final = 50
"""So many kinds of odd things are counted apart."""

_BACKOFF_BASE_S: Final = 2.0
_BACKOFF_CAP_S: Final = 60.0

NOT_RESUMABLE: Final = "not_resumable"
"""The reason of a gap between a consumer's stop and the start of a source that cannot look back."""


class Poller:
    """Asks every `interval_s` seconds and emits what it has not emitted before.

    A poll that fails (no connection, an unreadable or empty answer, a proxy's page) is counted, announced
    once and repeated. Only three refusals of the vendor in a row (AuthError, PermissionDenied, NotFound), at
    least a minute apart, end the source; a login that asks for a one-time code ends it at once.

    Each site has a state of its own: `stale` after three of its own intervals without a log (at least five
    minutes), then `live` again. Its status events name it; a poller of one site has that site's state.

    With `look_back` it also asks for the past of its devices, one after the other and beside polling: each
    hour, when a device has skipped a log slot, and when a consumer goes on where it stopped. Moments that are
    new come backfilled, where something was known to be missing before newer ones of the device; moments that
    have changed come as a revision, and a stretch that cannot be had is a gap.

    Args:
        id: Names the source in its status events.
        ask: Returns what the vendor has now, in any order, or `Polled`, which also names the sites; NoData
            means nothing new.
        interval_s: Seconds from one question to the next.
        look_back: Brings what the vendor says of one device (the first argument) from a start to an end, in
            any order.
        looking: When and how far it looks back.
        clock: Where time comes from.
        random: Gives numbers in [0, 1) for the jitter.
        identify: Brings the label of the account, where `id` does not know it yet.
        owner: Distinguishes credentials under one account label; empty: not checked.
        vendor_clock: The vendor's time: what is dated after it is not delivered and is no position.
    """

    def __init__(
        self,
        id: SourceId,  # noqa: A002  (the source's own word)
        ask: Callable[[], Awaitable[Iterable[PolledReading] | Polled]],
        *,
        interval_s: float,
        look_back: LookBack | None = None,
        looking: LookbackConfig = LookbackConfig(),  # noqa: B008  (frozen)
        clock: Clock | None = None,
        random: Callable[[], float] = _random.random,
        identify: Callable[[], Awaitable[str]] | None = None,
        owner: str = "",
        vendor_clock: VendorClock | None = None,
    ) -> None:
        if not 0 < interval_s < float("inf"):
            raise ValueError(f"interval_s must be a positive number of seconds, not {interval_s!r}")
        self._id = id
        self._label = identify
        self.owner = owner
        self._ask = ask
        self._interval_s = interval_s
        self._look_back = look_back
        self._looking = looking
        self._clock = clock or SystemClock()
        self._random = random
        self._failures = self._refusals = 0
        self._asked = self._failed = 0
        self._sites: dict[SourceId, Site] = {}
        self._odd: Counter[str] = Counter()
        self._announced = State.CONNECTING
        self.vendor_clock = vendor_clock
        self._horizon = Horizon(self._clock, vendor_clock)
        self._ahead: set[str] = set()
        """Ids that were set aside, kept while the vendor sends them: their time will come."""
        self._stopped: dict[SourceId, StreamPosition] = {}
        self._begun: StreamPosition | None = None
        """Where an earlier run began that brought nothing."""
        self._looker = LookbackScheduler(look_back, looking, self._clock)
        self._awake = asyncio.Event()
        """Set when there may be something to look for."""

    @property
    def id(self) -> SourceId:
        """Names the source in its status events; final from the end of `identify` on."""
        return self._id

    async def identify(self, outlet: Outlet) -> None:
        """Ask for the label of the account until the vendor has answered; returns at once where it is known.

        Raises:
            RequestError: a refusal that waiting cannot change.
        """
        while self._label is not None and not self._id.identified:
            label = await self._attempt(self._label, outlet)
            if label is not None:
                self._id = self._id._replace(account=label)

    @property
    def notes(self) -> Mapping[str, int | str]:
        """How many polls have failed, and what else was not as it should be, counted."""
        failed = {"failed polls": self._failed} if self._failed else {}
        return {**failed, **self._odd}

    def resume(self, positions: Mapping[SourceId, StreamPosition]) -> None:
        """Go on where a consumer stopped: what it has is not emitted again, what it missed is looked for."""
        self._stopped = dict(positions)
        begun = self._stopped.pop(self._id, None)
        if begun is not None and begun.ids:
            self._stopped[self._id] = begun  # of a device with the poller's own name
        else:
            self._begun = begun

    async def refill(
        self, outlet: Outlet, source: SourceId, start: datetime, end: datetime
    ) -> Sequence[tuple[datetime, datetime]]:
        """Fetch again what a slow consumer had no room for; return what the vendor lacks as yet.

        Raises:
            StreamError: this poller cannot look back.
            EnergyError: the vendor does not tell.
        """
        if not self._looker.looks:
            raise StreamError("slow_consumer")
        found, lacking = await self._looker.recall(source, start, end)
        for each in found:
            if isinstance(each, MissingRange) or start <= each.time <= end:
                await outlet.room()
                _put(outlet, source, each)
        return lacking

    def again(self) -> Poller:
        """Return a fresh poller that asks the same."""
        return Poller(
            self._id,
            self._ask,
            interval_s=self._interval_s,
            look_back=self._look_back,
            looking=self._looking,
            clock=self._clock,
            random=self._random,
            identify=self._label,
            owner=self.owner,
            vendor_clock=self.vendor_clock,
        )

    async def run(self, outlet: Outlet) -> None:
        """Ask until cancelled, or until the vendor has refused three times in a row."""
        if not self._looker.looks:
            await self._poll(outlet)
            return
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._look(outlet), name=f"energy look back of {self._id}")
                await self._poll(outlet)
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from group.exceptions[0].__cause__

    async def _poll(self, outlet: Outlet) -> None:
        while True:
            started = self._clock.monotonic()
            self._asked += 1
            polled = await self._attempt(self._asked_for, outlet)
            if polled is None:
                continue
            self._failures = 0
            for what, times in polled.odd.items():
                self._odd[what if what in self._odd or len(self._odd) < MOST_NOTES else "others"] += times
            observations = self._set_aside(sorted(polled.observations, key=_moment), outlet)
            devices = self._take(observations)
            self._note_sites(polled.sites, outlet)
            self._announce(outlet)
            self._awake.set()
            for each in observations:
                await self._tell(devices[each.source], outlet, until=each.time)
            self._announce_stale(outlet, again=True)
            self._announce(outlet)
            await self._rest(started + self._interval_s, outlet)

    async def _asked_for(self) -> Polled:
        try:
            return _polled(await self._ask())
        except NoData:
            return Polled(observations=[])

    async def _attempt(self, ask: Callable[[], Awaitable[T]], outlet: Outlet) -> T | None:
        """Ask once; None after trouble that has been announced and waited out."""
        try:
            answer = await ask()
        except RequestError as trouble:
            self._failed += 1
            refused = isinstance(trouble, AuthError | PermissionDenied | NotFound)
            refused = refused and trouble.form in {None, "json"}  # a proxy's page is no refusal of the vendor
            self._refusals = self._refusals + 1 if refused else 0
            if self._refusals >= REFUSALS or isinstance(trouble, TwoFactorRequired):
                raise
            delay = max(self._delay(trouble), REFUSED_AGAIN_S if refused else 0.0)
            self._failures += 1
            self._say(outlet, State.DISCONNECTED, str(trouble), delay)
        else:
            self._refusals = 0
            return answer
        await self._clock.sleep(delay)
        return None

    async def _rest(self, until: float, outlet: Outlet) -> None:
        """Wait for the next poll, and announce the sites that become stale meanwhile."""
        while True:
            due = min((site.stale_at for site in self._sites.values() if not site.stale), default=until)
            await self._clock.sleep(max(0.0, min(due, until) - self._clock.monotonic()))
            if due >= until:
                return
            self._announce_stale(outlet)
            self._announce(outlet)

    def _note_sites(self, seen: Mapping[SourceId, Seen], outlet: Outlet) -> None:
        """Note when the sites have logged, and announce those that do so again."""
        now = self._clock.monotonic()
        for source, (logged, trouble) in seen.items():
            site = self._sites.get(source)
            newest = None if logged is None or self._horizon.is_ahead(logged) else logged
            if site is None:
                age_s = float("inf") if newest is None else (self._horizon.now() - newest).total_seconds()
                site = self._sites[source] = Site(newest, age_s, now, polled_s=self._interval_s)
                if source != self._id:
                    outlet.status(State.LIVE, about=source)
            elif site.note(newest, now) and site.stale:
                site.stale = False
                if source != self._id:
                    outlet.status(State.LIVE, about=source)
            site.trouble = trouble
        for source in self._sites.keys() - seen.keys() if seen else ():
            self._sites[source].trouble = "the vendor's answer does not have the site any more"

    def _announce_stale(self, outlet: Outlet, *, again: bool = False) -> None:
        """Announce the sites that have become stale, and with `again` the present age of those that were."""
        now = self._clock.monotonic()
        for source, site in self._sites.items():
            known, site.stale = site.stale, site.stale or now >= site.stale_at
            if site.stale and source != self._id and (again or not known):
                outlet.status(State.STALE, reason=site.reason(now), about=source)

    async def _look(self, outlet: Outlet) -> None:
        """Look back at one device after the other, as long as polling is well."""
        while True:
            device = None if self._failures else self._looker.next()
            if device is None:
                await self._idle()
                continue
            before = device.pending
            await self._looker.look(device)
            after = device.pending
            if not set(after) <= set(before):  # a checkpoint knows of it before what is newer is delivered
                outlet.pending(device.source, sorted({*before, *after}))
            self._announce(outlet)
            await self._tell(device, outlet)
            if after != before:
                outlet.pending(device.source, after)

    async def _idle(self) -> None:
        """Wait until a look is due, or until polling has brought something."""
        self._awake.clear()
        when = None if self._failures else self._looker.when()
        timer = None if when is None else self._clock.call_at(when, self._awake.set)
        try:
            await self._awake.wait()
        finally:
            if timer is not None:
                timer.cancel()

    def _correct_begun(self) -> None:
        """Move a beginning that our own clock dated after the vendor's present, by what the two differ."""
        begun, offset_s = self._begun, None if self.vendor_clock is None else self.vendor_clock.offset_s
        now = self._horizon.now()
        if begun is not None and offset_s is not None and begun.time > now:
            self._begun = evolve(begun, time=min(now, begun.time + timedelta(seconds=offset_s)))

    def _take(self, observations: list[PolledReading]) -> dict[SourceId, DeviceBackfill]:
        """Hand every device what was polled of it; return these devices."""
        self._correct_begun()
        now = self._clock.monotonic()
        touched: dict[SourceId, DeviceBackfill] = {}
        for each in observations:
            device = self._looker.device(each.source, self._stopped.pop(each.source, self._begun))
            touched[each.source] = device
            device.take(each, now)
        if observations:
            self._begun = None  # a device that comes later was not missed
        for source, count in Counter(each.source for each in observations).items():
            touched[source].answered(count)
        if not self._looker.looks:
            self._give_up(touched.values())
        return touched

    def _set_aside(self, observations: list[PolledReading], outlet: Outlet) -> list[PolledReading]:
        """Return those that can be right; the outlet counts and reports the others, once each."""
        ahead = [each for each in observations if each.id in self._ahead or self._horizon.is_ahead(each.time)]
        for each in ahead:
            if each.id not in self._ahead:
                _put(outlet, each.source, each)
        self._ahead = {each.id for each in ahead}
        return [each for each in observations if each.id not in self._ahead] if ahead else observations

    def _give_up(self, devices: Iterable[DeviceBackfill]) -> None:
        """Say of a stop that nobody can look back to what may be missing; one interval is nothing."""
        for device in devices:
            if any((end - start).total_seconds() > 1.5 * self._interval_s for start, end in device.holes):
                device.give_up(NOT_RESUMABLE)
            device.go_on()

    def _announce(self, outlet: Outlet) -> None:
        if self._failures:
            return
        own = self._sites.get(self._id)
        if self._looker.holes:
            self._say(outlet, State.BACKFILLING, "looking back")
        elif own is not None and own.stale:
            self._say(outlet, State.STALE, own.reason(self._clock.monotonic()))
        else:
            self._say(outlet, State.LIVE)

    def _say(self, outlet: Outlet, state: State, reason: str = "", retry_in: float | None = None) -> None:
        if state is State.STALE and self._announced in {State.CONNECTING, State.DISCONNECTED}:
            outlet.status(State.LIVE)  # the way from there to stale
        self._announced = state
        outlet.status(state, reason=reason, retry_in=retry_in)

    async def _tell(self, device: DeviceBackfill, outlet: Outlet, until: datetime | None = None) -> None:
        """Tell what is ready; whoever else does so at the same time, each thing is told once and in order."""
        while device.is_ready(until):
            await outlet.room()
            if device.is_ready(until):
                _put(outlet, device.source, device.ready.popleft())

    def _delay(self, trouble: RequestError) -> float:
        if trouble.retry_after is not None:
            # Upwards only: nobody comes back early, and not all at the same moment.
            return min(max(trouble.retry_after, 0.0) * (1 + 0.1 * self._random()), LONGEST_WAIT_S)
        # In a long outage a poller asks, on average, as often as in good times and never more than each 30 s.
        cap = max(_BACKOFF_CAP_S, 2 * self._interval_s)
        return full_jitter(
            self._failures, base=_BACKOFF_BASE_S, cap=min(cap, LONGEST_WAIT_S), random=self._random
        )

    @printable
    def __repr__(self) -> str:
        doing = f"failed {self._failures} times in a row" if self._failures else "fine"
        return f"<Poller {self._id} every {self._interval_s:g} s: asked {self._asked} times, {doing}>"


def _put(outlet: Outlet, source: SourceId, each: Tellable) -> None:
    if isinstance(each, MissingRange):
        outlet.gap(source, start=each.start, end=each.end, reason=each.reason)
        return
    outlet.reading(
        source,
        time=each.time,
        id=each.id,
        values=each.values,
        raw=each.raw,
        backfilled=each.backfilled,
        revision=each.revision,
    )


def _polled(answer: Iterable[PolledReading] | Polled) -> Polled:
    """Return an answer with the sites that it is about, each by its newest moment."""
    if isinstance(answer, Polled):
        return answer
    observations = sorted(answer, key=_moment)
    sites = {each.source._replace(instance=0): Seen(each.time) for each in observations}
    return Polled(observations=observations, sites=sites)


def _moment(observation: PolledReading) -> datetime:
    return observation.time
