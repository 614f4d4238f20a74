"""Poller: asking again and again, as a source."""

from __future__ import annotations

import asyncio
import random as _random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime
from typing import Final, TypeVar

from energy_core.clock import Clock, SystemClock
from energy_core.errors import AuthError, NoData, NotFound, PermissionDenied, RequestError, StreamError
from energy_core.retry import full_jitter
from energy_core.stream.device import Device, Tellable
from energy_core.stream.event import Outlet, Position, SourceId, State
from energy_core.stream.lookback import Looking
from energy_core.stream.looker import LookBack, Looker
from energy_core.stream.observation import Observation
from energy_core.stream.past import Missing

__all__ = ["LookBack", "Looking", "Observation", "Poller"]

LONGEST_WAIT_S: Final = 3600.0
"""However long a vendor asks us to wait, a poller tries again within the hour."""

T = TypeVar("T")

_BACKOFF_BASE_S: Final = 2.0
_BACKOFF_CAP_S: Final = 60.0

NOT_RESUMABLE: Final = "not_resumable"
"""The reason of a gap between a consumer's stop and the start of a source that cannot look back."""


class Poller:
    """Asks every `interval_s` seconds and emits what it has not emitted before.

    Trouble on the way (no connection, a refusal that may pass, an unreadable answer) is announced once and
    waited out; a refusal that will not pass (AuthError, PermissionDenied, NotFound) ends the source.

    With `look_back` it also asks for the past of its devices, one after the other and beside polling: each
    hour, when a device has skipped a log slot, and when a consumer goes on where it stopped. Moments that are
    new come backfilled, where something was known to be missing before newer ones of the device; moments that
    have changed come as a revision, and a stretch that cannot be had is a gap.

    Args:
        id: Names the source in its status events.
        ask: Brings what the vendor has now, in any order; NoData means nothing new.
        interval_s: Seconds from one question to the next.
        look_back: Brings what the vendor says of one device (the first argument) from a start to an end, in
            any order.
        looking: When and how far it looks back.
        clock: Where time comes from.
        random: Gives numbers in [0, 1) for the jitter.
        identify: Brings the label of the account, where `id` does not know it yet.
        owner: Tells the account's credential from others of its label; empty: it needs not be told.
    """

    def __init__(
        self,
        id: SourceId,  # noqa: A002  (the source's own word)
        ask: Callable[[], Awaitable[Iterable[Observation]]],
        *,
        interval_s: float,
        look_back: LookBack | None = None,
        looking: Looking = Looking(),  # noqa: B008  (frozen)
        clock: Clock | None = None,
        random: Callable[[], float] = _random.random,
        identify: Callable[[], Awaitable[str]] | None = None,
        owner: str = "",
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
        self._failures = 0
        self._asked = 0
        self._stopped: dict[SourceId, Position] = {}
        self._looker = Looker(look_back, looking, self._clock)
        self._awake = asyncio.Event()
        """Set when there may be something to look for."""

    @property
    def id(self) -> SourceId:
        """Names the source in its status events; final from the end of `identify` on."""
        return self._id

    async def identify(self, outlet: Outlet) -> None:
        """Ask for the label of the account until the vendor has answered; returns at once where it is known.

        Raises:
            RequestError: a refusal that waiting cannot mend.
        """
        while self._label is not None and not self._id.identified:
            label = await self._attempt(self._label, outlet)
            if label is not None:
                self._id = self._id._replace(account=label)

    def resume(self, positions: Mapping[SourceId, Position]) -> None:
        """Go on where a consumer stopped: what it has is not emitted again, what it missed is looked for."""
        self._stopped = dict(positions)

    async def refill(self, outlet: Outlet, source: SourceId, start: datetime, end: datetime) -> None:
        """Fetch again what a slow consumer had no room for.

        Raises:
            StreamError: this poller cannot look back.
            EnergyError: the vendor does not tell.
        """
        if not self._looker.looks:
            raise StreamError("slow_consumer")
        for each in await self._looker.recall(source, start, end):
            if isinstance(each, Missing) or start <= each.time <= end:
                await outlet.room()
                _put(outlet, source, each)

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
        )

    async def run(self, outlet: Outlet) -> None:
        """Ask until cancelled, or until the vendor says no for good."""
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
            observations = await self._attempt(self._asked_for, outlet)
            if observations is None:
                continue
            self._failures = 0
            observations.sort(key=_moment)
            devices = self._take(observations)
            self._announce(outlet)
            self._awake.set()
            for each in observations:
                await self._tell(devices[each.source], outlet, until=each.time)
            await self._clock.sleep(max(0.0, started + self._interval_s - self._clock.monotonic()))

    async def _asked_for(self) -> list[Observation]:
        try:
            return list(await self._ask())
        except NoData:
            return []

    async def _attempt(self, ask: Callable[[], Awaitable[T]], outlet: Outlet) -> T | None:
        """Ask once; None after trouble that has been announced and waited out."""
        try:
            return await ask()
        except (AuthError, PermissionDenied, NotFound):
            raise
        except RequestError as trouble:
            delay = self._delay(trouble)
            self._failures += 1
            outlet.status(State.DISCONNECTED, reason=str(trouble), retry_in=delay)
            await self._clock.sleep(delay)
            return None

    async def _look(self, outlet: Outlet) -> None:
        """Look back at one device after the other, as long as polling is well."""
        while True:
            device = None if self._failures else self._looker.next()
            if device is None:
                await self._idle()
                continue
            await self._looker.look(device)
            self._announce(outlet)
            await self._tell(device, outlet)

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

    def _take(self, observations: list[Observation]) -> dict[SourceId, Device]:
        """Hand every device what was polled of it; return these devices."""
        now = self._clock.monotonic()
        touched: dict[SourceId, Device] = {}
        for each in observations:
            device = self._looker.device(each.source, self._stopped.pop(each.source, None))
            touched[each.source] = device
            device.take(each, now)
        for source, count in Counter(each.source for each in observations).items():
            touched[source].answered(count)
        if not self._looker.looks:
            self._give_up(touched.values())
        return touched

    def _give_up(self, devices: Iterable[Device]) -> None:
        """Say of a stop that nobody can look back to what may be missing; one interval is nothing."""
        for device in devices:
            if any((end - start).total_seconds() > 1.5 * self._interval_s for start, end in device.holes):
                device.give_up(NOT_RESUMABLE)
            device.go_on()

    def _announce(self, outlet: Outlet) -> None:
        if self._failures:
            return
        if self._looker.holes:
            outlet.status(State.BACKFILLING, reason="looking back")
        else:
            outlet.status(State.LIVE)

    async def _tell(self, device: Device, outlet: Outlet, until: datetime | None = None) -> None:
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

    def __repr__(self) -> str:
        doing = f"failed {self._failures} times in a row" if self._failures else "fine"
        return f"<Poller {self._id} every {self._interval_s:g} s: asked {self._asked} times, {doing}>"


def _put(outlet: Outlet, source: SourceId, each: Tellable) -> None:
    if isinstance(each, Missing):
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


def _moment(observation: Observation) -> datetime:
    return observation.time
