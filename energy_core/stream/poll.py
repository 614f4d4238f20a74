"""Poller: asking again and again, as a source."""

from __future__ import annotations

import random as _random
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime
from typing import Final

from attrs import field, frozen

from energy_core.clock import Clock, SystemClock
from energy_core.errors import AuthError, NoData, NotFound, PermissionDenied, RequestError
from energy_core.retry import full_jitter
from energy_core.stream.event import Outlet, Quantity, SourceId, State

LONGEST_WAIT_S: Final = 3600.0
"""However long a vendor asks us to wait, a poller tries again within the hour."""

_BACKOFF_BASE_S: Final = 2.0
_BACKOFF_CAP_S: Final = 60.0
_REMEMBERED: Final = 32


@frozen(kw_only=True)
class Observation:
    """One polled moment of one device."""

    source: SourceId
    """The device it is about; one poller may speak for many."""
    time: datetime
    """When the device or the server says it was, aware."""
    id: str
    """Stable across runs and free of values; an id that was emitted is not emitted again."""
    values: Mapping[Quantity, float]
    """In the units and signs of `Quantity`."""
    raw: Mapping[str, object] = field(repr=False)
    """The vendor's own mapping."""


class Poller:
    """Asks every `interval_s` seconds and emits what it has not emitted before.

    Trouble on the way (no connection, a refusal that may pass, an unreadable answer) is announced once and
    waited out; a refusal that will not pass (AuthError, PermissionDenied, NotFound) ends the source.

    Args:
        id: Names the source in its status events.
        ask: Brings what the vendor has now, in any order; NoData means nothing new.
        interval_s: Seconds from one question to the next.
        clock: Where time comes from.
        random: Gives numbers in [0, 1) for the jitter.
    """

    def __init__(
        self,
        id: SourceId,  # noqa: A002  (the source's own word)
        ask: Callable[[], Awaitable[Iterable[Observation]]],
        *,
        interval_s: float,
        clock: Clock | None = None,
        random: Callable[[], float] = _random.random,
    ) -> None:
        if not 0 < interval_s < float("inf"):
            raise ValueError(f"interval_s must be a positive number of seconds, not {interval_s!r}")
        self._id = id
        self._ask = ask
        self._interval_s = interval_s
        self._clock = clock or SystemClock()
        self._random = random
        self._failures = 0
        self._asked = 0
        self._emitted: dict[SourceId, OrderedDict[str, None]] = {}

    @property
    def id(self) -> SourceId:
        """Names the source in its status events."""
        return self._id

    async def run(self, outlet: Outlet) -> None:
        """Ask until cancelled, or until the vendor says no for good."""
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
        for observation in self._unseen(observations):
            await outlet.room()
            outlet.reading(
                observation.source,
                time=observation.time,
                id=observation.id,
                values=observation.values,
                raw=observation.raw,
            )

    def _unseen(self, observations: list[Observation]) -> list[Observation]:
        """Leave out what was emitted before, and remember a little more than this answer holds."""
        answer: dict[SourceId, OrderedDict[str, None]] = {}
        unseen = []
        for observation in observations:
            emitted = self._emitted.setdefault(observation.source, OrderedDict())
            answer.setdefault(observation.source, OrderedDict())[observation.id] = None
            if observation.id not in emitted:
                unseen.append(observation)
            emitted[observation.id] = None
            emitted.move_to_end(observation.id)
        for source, ids in answer.items():
            emitted = self._emitted[source]
            while len(emitted) > max(_REMEMBERED, len(ids)):
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


def _moment(observation: Observation) -> datetime:
    return observation.time
