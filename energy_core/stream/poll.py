"""Poller: asking again and again, as a source."""

from __future__ import annotations

import asyncio
import random as _random
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final, TypeAlias

from energy_core.clock import Clock, SystemClock
from energy_core.errors import AuthError, NoData, NotFound, PermissionDenied, RequestError, StreamError
from energy_core.retry import full_jitter
from energy_core.stream.event import Outlet, Position, SourceId, State
from energy_core.stream.lookback import EPOCH, Looking, Past, Rhythm
from energy_core.stream.observation import Observation

__all__ = ["LookBack", "Looking", "Observation", "Poller"]

LONGEST_WAIT_S: Final = 3600.0
"""However long a vendor asks us to wait, a poller tries again within the hour."""

_BACKOFF_BASE_S: Final = 2.0
_BACKOFF_CAP_S: Final = 60.0
_REMEMBERED: Final = 32
_REMEMBERED_LOOKING_BACK: Final = 2048

NOT_RESUMABLE: Final = "not_resumable"
"""The reason of a gap between a consumer's stop and the start of a source that cannot look back."""
BEYOND_CAP: Final = "beyond_cap"
"""The reason of a gap that lies further back than is looked for."""


LookBack: TypeAlias = Callable[[datetime, datetime], Awaitable[Iterable[Observation]]]
"""Brings what the vendor says of a stretch of the past, at background priority."""


class Poller:
    """Asks every `interval_s` seconds and emits what it has not emitted before.

    Trouble on the way (no connection, a refusal that may pass, an unreadable answer) is announced once and
    waited out; a refusal that will not pass (AuthError, PermissionDenied, NotFound) ends the source.

    With `look_back` it also asks for the past: each hour, when a device has skipped a log slot, and when a
    consumer goes on where it stopped. Moments that are new come backfilled before newer ones, moments that
    have changed come as a revision, and a stretch that cannot be had is a gap.

    Args:
        id: Names the source in its status events.
        ask: Brings what the vendor has now, in any order; NoData means nothing new.
        interval_s: Seconds from one question to the next.
        look_back: Brings what the vendor says of a stretch of the past, in any order.
        looking: When and how far it looks back.
        clock: Where time comes from.
        random: Gives numbers in [0, 1) for the jitter.
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
    ) -> None:
        if not 0 < interval_s < float("inf"):
            raise ValueError(f"interval_s must be a positive number of seconds, not {interval_s!r}")
        self._id = id
        self._ask = ask
        self._interval_s = interval_s
        self._look_back = look_back
        self._looking = looking
        self._clock = clock or SystemClock()
        self._random = random
        self._failures = 0
        self._asked = 0
        self._remembered = _REMEMBERED if look_back is None else _REMEMBERED_LOOKING_BACK
        self._emitted: dict[SourceId, OrderedDict[str, None]] = {}
        self._stopped: dict[SourceId, datetime] = {}
        self._rhythms: dict[SourceId, Rhythm] = {}
        self._past: Past | None = None
        self._next_look = self._rests_until = 0.0
        self._trouble = ""
        """Why the last look failed; empty: it did not."""
        self._looked = EPOCH

    @property
    def id(self) -> SourceId:
        """Names the source in its status events."""
        return self._id

    def resume(self, positions: Mapping[SourceId, Position]) -> None:
        """Go on where a consumer stopped: what it has is not emitted again, what it missed is looked for."""
        for source, position in positions.items():
            self._emitted[source] = OrderedDict.fromkeys(position.ids)
            self._stopped[source] = position.time

    async def refill(self, outlet: Outlet, source: SourceId, start: datetime, end: datetime) -> None:
        """Fetch again what a slow consumer had no room for.

        Raises:
            StreamError: this poller cannot look back.
            EnergyError: the vendor does not tell.
        """
        if self._look_back is None:
            raise StreamError("slow_consumer")
        for since, until in self._looking.ranges(end, start):
            for each in sorted(await self._look_back(since, until), key=_moment):
                if each.source == source and start <= each.time <= end:
                    await outlet.room()
                    _put(outlet, each)

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
        )

    async def run(self, outlet: Outlet) -> None:
        """Ask until cancelled, or until the vendor says no for good."""
        self._looked = self._clock.utcnow()
        self._past = Past(self._looked, self._stopped)
        self._next_look = self._clock.monotonic() + self._looking.every_s
        while True:
            started = self._clock.monotonic()
            self._asked += 1
            try:
                observations = list(await self._ask())
            except (AuthError, PermissionDenied, NotFound):
                raise
            except NoData:
                observations = []
            except RequestError as trouble:
                delay = self._delay(trouble)
                self._failures += 1
                outlet.status(State.DISCONNECTED, reason=str(trouble), retry_in=delay)
                await self._clock.sleep(delay)
                continue
            self._failures = 0
            outlet.status(State.LIVE)
            await self._emit(observations, outlet)
            await self._clock.sleep(max(0.0, started + self._interval_s - self._clock.monotonic()))

    async def _emit(self, observations: list[Observation], outlet: Outlet) -> None:
        observations.sort(key=_moment)
        unseen = self._unseen(observations)
        holes = self._holes(unseen)
        if self._look_back is None:
            for source, (start, end) in holes.items():
                if source in self._stopped and (end - start).total_seconds() > 1.5 * self._interval_s:
                    outlet.gap(source, start=start, end=end, reason=NOT_RESUMABLE)
        elif holes or self._clock.monotonic() >= self._next_look:
            if holes:
                outlet.status(State.BACKFILLING, reason="looking back")
            found = await self._look(holes, outlet)
            outlet.status(State.LIVE)
            unseen = sorted([*self._unseen(found), *unseen], key=_moment)
        self._stopped.clear()
        for observation in unseen:
            await outlet.room()
            _put(outlet, observation)

    def _holes(self, unseen: list[Observation]) -> dict[SourceId, tuple[datetime, datetime]]:
        """Return where something may be missing before these: since a stop, or since a skipped slot."""
        holes: dict[SourceId, tuple[datetime, datetime]] = {}
        for each in unseen:
            since = self._rhythms.setdefault(each.source, Rhythm()).skipped(each.time)
            since = self._stopped.get(each.source, since)
            if since is not None and since < each.time and each.source not in holes:
                holes[each.source] = since, each.time
        return holes

    async def _look(
        self, holes: Mapping[SourceId, tuple[datetime, datetime]], outlet: Outlet
    ) -> list[Observation]:
        """Look back; return what is new, and report as gaps the holes that cannot be looked into."""
        if self._look_back is None or self._past is None:
            return []
        now, started, looking = self._clock.utcnow(), self._clock.monotonic(), self._looking
        if started < self._rests_until:
            self._report(holes, outlet, self._trouble)
            return []
        reach = looking.reach(now)
        found: list[Observation] = []
        try:
            async with asyncio.timeout(looking.patience_s):
                for start, end in looking.ranges(now, self._since(holes)):
                    with suppress(NoData):
                        found += await self._look_back(start, end)
        except (AuthError, PermissionDenied, NotFound):
            raise
        except (RequestError, TimeoutError) as error:
            self._trouble = str(error) or f"looking back took more than {looking.patience_s:g} s"
            self._next_look = self._rests_until = self._clock.monotonic() + looking.rest_s
            self._report(holes, outlet, self._trouble)
        else:
            stretches = {source: start for source, (start, _) in holes.items()}
            if self._trouble:
                stretches |= dict.fromkeys(self._rhythms, self._looked)
            beyond = {source: (start, reach) for source, start in stretches.items() if start < reach}
            self._report(beyond, outlet, BEYOND_CAP)
            self._next_look, self._looked, self._trouble = started + looking.every_s, now, ""
        return self._past.sift(found, self._emitted, now - timedelta(seconds=looking.settled_s))

    def _since(self, holes: Mapping[SourceId, tuple[datetime, datetime]]) -> datetime | None:
        """Return how far back a look has to reach; None: as far as every look."""
        starts = [start for start, _ in holes.values()]
        if self._trouble:  # what the looks that failed should have covered
            starts.append(self._looked - timedelta(seconds=self._looking.span_s - self._looking.every_s))
        return min(starts, default=None)

    def _report(
        self, holes: Mapping[SourceId, tuple[datetime, datetime]], outlet: Outlet, reason: str
    ) -> None:
        for source, (start, end) in holes.items():
            outlet.gap(source, start=start, end=end, reason=reason)

    def _unseen(self, observations: list[Observation]) -> list[Observation]:
        """Leave out what was emitted before, and remember a little more than this answer holds."""
        answer: dict[SourceId, OrderedDict[str, None]] = {}
        unseen = []
        for observation in observations:
            emitted = self._emitted.setdefault(observation.source, OrderedDict())
            answer.setdefault(observation.source, OrderedDict())[observation.id] = None
            if observation.revision or observation.id not in emitted:
                unseen.append(observation)
            emitted[observation.id] = None
            emitted.move_to_end(observation.id)
        for source, ids in answer.items():
            emitted = self._emitted[source]
            while len(emitted) > max(self._remembered, len(ids)):
                emitted.popitem(last=False)
        return unseen

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


def _put(outlet: Outlet, observation: Observation) -> None:
    outlet.reading(
        observation.source,
        time=observation.time,
        id=observation.id,
        values=observation.values,
        raw=observation.raw,
        backfilled=observation.backfilled,
        revision=observation.revision,
    )


def _moment(observation: Observation) -> datetime:
    return observation.time
