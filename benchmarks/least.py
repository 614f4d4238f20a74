"""What an event costs in Python at the least: what a target for the rest has to leave room for.

`least` is our own way of reading without anything between its parts: nothing numbered, compared, checked,
bounded, dropped, held, watched, supervised or opened again. `flat` adds what every event of ours has to go
through, written as one function that could be neither tested nor used in parts.
"""

from __future__ import annotations

import asyncio
from array import array
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, Self, cast

from benchmarks.receivers import Countdown, Receiver, Task, read_all
from energy_core.clock import SystemClock
from energy_core.codec.json import strict_json
from energy_core.codec.lazy_value import LazyMapping
from energy_core.stream.connection import Connection
from energy_core.stream.endpoint import Endpoint
from energy_core.stream.event import Event
from energy_core.stream.reconnect import SocketConfig
from energy_core.stream.vocabulary import Kind, SourceId
from voltstorage_async import FieldMap
from voltstorage_async.field_reader import Glance

BUFFER: Final = 100_000
"""Nothing here is fetched again, so nothing may be lost."""


def least(**shape: int) -> Receiver:
    """A message cut, its quantities read at a glance, an event in a deque, one waiting consumer; no more."""
    return Receiver(partial(_receive, _Events), **shape)


def flat(**shape: int) -> Receiver:
    """The same, recognised, deduplicated, numbered, whole and bounded, in one function."""
    return Receiver(partial(_receive, _Complete), **shape)


class _Events:
    """Makes events of messages and hands them out."""

    def __init__(self) -> None:
        self._straight = FieldMap().straight
        self._glance: Glance | None = None
        self._source = SourceId("voltstorage", "bench", "0", 0)
        self._pending: deque[Event] = deque()
        self._there = asyncio.Event()
        self._last: object = None

    def take(self, messages: list[bytes], _: float) -> None:
        glance, source, reading = self._looking_at(messages), self._source, Kind.READING
        for message in messages:
            told = glance(message)
            assert told is not None
            second, (values, _quantities, _unusable) = told
            time, raw = datetime.fromtimestamp(second, UTC), LazyMapping(strict_json, message)
            fields = (source, reading, "", time, time, 0, f"0/{second}/0", values, raw)
            self._pending.append(tuple.__new__(Event, (*fields, None, False, False, 0)))
        self._there.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while not self._pending:
            self._there.clear()
            await self._there.wait()
        return self._pending.popleft()

    def _looking_at(self, messages: list[bytes]) -> Glance:
        """Return what reads these; the first of all has to be read in full."""
        if self._glance is None:
            raw = cast("dict[str, Any]", strict_json(messages[0]))
            self._glance = self._straight.like(messages[0], raw, raw["data"])
            assert self._glance is not None
        return self._glance


class _Complete(_Events):
    """Does all that is done for an event about which there is nothing to decide."""

    def __init__(self) -> None:
        super().__init__()
        self._newest, self._seq, self._bits = 0, 0, 0
        self._seconds, self._told, self._hashes = array("q"), array("Q"), array("q")
        self._horizon = SystemClock().utcnow().timestamp() + 86_400.0
        self._asked_by: asyncio.Task[object] | None = None

    def take(self, messages: list[bytes], _: float) -> None:
        glance, source, reading = self._looking_at(messages), self._source, Kind.READING
        hashes, received_at = self._hashes, SystemClock().utcnow()
        key = "voltstorage/bench/0/reading"
        for message in messages:
            told = glance(message)
            assert told is not None
            second, (values, quantities, _unusable) = told
            if second > self._horizon or second <= self._newest or len(self._pending) >= BUFFER:
                continue
            if quantities is not self._last:
                self._last, self._bits = quantities, hash(quantities) & 0xFFFF
            self._seconds.append(second)
            self._told.append(self._bits)
            if len(self._seconds) > 1000:
                del self._seconds[:100], self._told[:100]
            self._newest = second
            self._seq += 1
            name, raw = f"0/{second}/0", LazyMapping(strict_json, message)
            time = datetime.fromtimestamp(second, UTC)
            fields = (source, reading, key, time, received_at, self._seq, name, values, raw)
            if len(hashes) < 1000:
                hashes.append(hash(name))
            else:
                hashes[self._seq % 1000] = hash(name)
            self._pending.append(tuple.__new__(Event, (*fields, None, False, False, 0)))
        self._there.set()

    async def __anext__(self) -> Event:
        if asyncio.current_task() is not self._asked_by:
            self._asked_by = asyncio.current_task()
        while not self._pending:
            self._there.clear()
            await self._there.wait()
        return self._pending.popleft()


async def _receive(make: Callable[[], _Events], task: Task) -> None:
    count, events = Countdown(task), make()
    wires = []
    for url in task.urls():
        address = Endpoint(url=url)
        wire = Connection(
            address,
            on_open=lambda _: None,
            on_messages=events.take,
            clock=SystemClock(),
            timing=SocketConfig(),
        )
        await wire.open(address, None)
        wires.append(wire)

    async def take() -> None:
        async for event in events:
            count.handle(event.raw if count.keeps else None)

    try:
        await read_all(task, count, [take()])
    finally:
        for wire in wires:
            wire.abort()
