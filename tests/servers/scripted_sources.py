"""Scripted sources for tests of merged streams."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from energy_core.stream.source import HistoryConfig, Reading
from energy_core.stream.vocabulary import Kind, Quantity, SourceId, State
from tests.servers.virtual_time import EPOCH


class Script:
    """A source that runs a function."""

    def __init__(self, site, play):
        self.id = SourceId("test", "me", site)
        self._play = play

    async def run(self, outlet):
        await self._play(Pen(self.id, outlet))


class Pen:
    def __init__(self, source, outlet):
        self.source, self.outlet, self.count = source, outlet, 0

    def read(self, n=1, *, instance=0, at=None, **marks):
        for _ in range(n):
            self.count += 1
            self.outlet.reading(
                self.source._replace(instance=instance),
                time=EPOCH + timedelta(seconds=self.count if at is None else at),
                id=f"{self.source.site}-{self.count}",
                values={Quantity.PV_POWER: float(self.count)},
                raw={"n": self.count},
                **marks,
            )


class MemoryStore:
    """A checkpoint store in memory; `trouble` is raised and `delay_s` is waited when saving."""

    def __init__(self, text=None):
        self.text, self.saves, self.trouble, self.delay_s = text, [], None, 0.0

    async def load(self):
        return self.text

    async def save(self, text):
        await asyncio.sleep(self.delay_s)
        if self.trouble is not None:
            raise self.trouble
        self.saves.append(asyncio.get_running_loop().time())
        self.text = text


class Recorder:
    """A source with a history: reading n has the time n seconds, arrives live and can be backfilled.

    `history` and `resume` return the readings that were delivered live.
    """

    history_config = HistoryConfig(settles_after=0.0)

    def __init__(self, site="a", *, every_s=1.0, moments=10**9, refill_s=0.0, resumable=True):
        self.id = SourceId("test", "me", site)
        self.every_s, self.moments, self.refill_s = every_s, moments, refill_s
        self.sent = 0
        self.asked = []
        self.trouble = None
        self.since = None
        if not resumable:
            self.resume = self.history = None

    def resume(self, positions):
        self.since = positions[self.id]

    def again(self):
        fresh = Recorder(self.id.site, every_s=self.every_s, moments=self.moments, refill_s=self.refill_s)
        fresh.sent = self.sent
        return fresh

    async def run(self, outlet):
        outlet.status(State.LIVE)
        if self.since is not None:
            first = int((self.since.time - EPOCH).total_seconds()) - 2
            self.sent = max(self.sent, int(asyncio.get_running_loop().time() / self.every_s))
            for n in range(max(1, first), self.sent + 1):
                self.put(outlet, n, backfilled=True)
        while self.sent < self.moments:
            await asyncio.sleep(self.every_s)
            self.sent += 1
            self.put(outlet, self.sent)

    async def history(self, source, start, end):
        self.asked.append((seconds(start), seconds(end)))
        await asyncio.sleep(self.refill_s)
        if self.trouble is not None:
            raise self.trouble
        for n in range(max(1, seconds(start)), min(self.sent, seconds(end)) + 1):
            yield self.reading(n)

    def reading(self, n, **marks):
        return Reading(
            EPOCH + timedelta(seconds=n),
            f"{self.id.site}-{n}",
            {Quantity.PV_POWER: float(n)},
            {"n": n},
            **marks,
        )

    def put(self, outlet, n, **marks):
        outlet.readings(self.id, [self.reading(n, **marks)])


def seconds(moment):
    return int((moment - EPOCH).total_seconds())


def readings(events):
    return [event for event in events if event.kind is Kind.READING]


def moments(events):
    return [seconds(event.time) for event in readings(events)]


def of_kind(events, kind):
    return [event.detail for event in events if event.kind is kind]


def states(events, site):
    return [event.detail.state for event in events if event.kind is Kind.STATUS and event.source.site == site]
