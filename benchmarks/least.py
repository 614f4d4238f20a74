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
from functools import cache, partial
from typing import Any, Final, Self

from benchmarks.receivers import Countdown, Receiver, Task, read_all
from energy_core.clock import SystemClock
from energy_core.http.decode import strict_json
from energy_core.stream.event import Draft, Event, Kind, SourceId
from energy_core.stream.link import Address
from energy_core.stream.timing import SocketTiming
from energy_core.stream.wire import Wire
from voltstorage_async import FieldMap

BUFFER: Final = 100_000
"""Nothing here is fetched again, so nothing may be lost."""


def least(**shape: int) -> Receiver:
    """A message cut and parsed, its quantities, an event in a deque, one waiting consumer; no more."""
    return Receiver(partial(_receive, _Events), **shape)


def flat(**shape: int) -> Receiver:
    """The same, strictly parsed, recognised, deduplicated, numbered, whole and bounded, in one function."""
    return Receiver(partial(_receive, _Complete), **shape)


class _Events:
    """Makes events of messages and hands them out."""

    def __init__(self) -> None:
        self._read = FieldMap().of_events.read
        self._source = SourceId("voltstorage", "bench", "0", 0)
        self._pending: deque[Event] = deque()
        self._there = asyncio.Event()
        self._last: object = None

    def take(self, messages: list[bytes], _: float) -> None:
        decode, read, source, reading = _decoder(), self._read, self._source, Kind.READING
        for message in messages:
            said = decode(message)
            second, data = said.time, said.data
            event = Draft.__new__(Draft)
            event.source = source
            event.kind = reading
            event.time = datetime.fromtimestamp(second, UTC)
            event.id = f"0/{second}/0"
            event.values = read(data)[0]
            event.raw = {"type": said.type, "time": second, "data": data}
            event.__class__ = Event  # type: ignore[assignment]
            self._pending.append(event)  # type: ignore[arg-type]
        self._there.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while not self._pending:
            self._there.clear()
            await self._there.wait()
        return self._pending.popleft()


@cache
def _decoder() -> Callable[[bytes], Any]:
    import msgspec

    frame = msgspec.defstruct("Frame", [("type", str), ("time", int), ("data", dict[str, float])])
    return msgspec.json.Decoder(frame).decode


class _Complete(_Events):
    """Does all that is done for an event about which there is nothing to decide."""

    def __init__(self) -> None:
        super().__init__()
        self._newest, self._seq, self._bits = 0, 0, 0
        self._seconds, self._told, self._hashes = array("q"), array("Q"), array("q")
        self._horizon = SystemClock().utcnow().timestamp() + 86_400.0
        self._asked_by: asyncio.Task[object] | None = None

    def take(self, messages: list[bytes], _: float) -> None:
        read, source, reading, hashes = self._read, self._source, Kind.READING, self._hashes
        received_at = SystemClock().utcnow()
        for message in messages:
            raw = strict_json(message)
            if type(raw) is not dict:
                continue
            data, second = raw.get("data"), raw.get("time")
            if type(data) is not dict or raw.get("type") != "latest-data" or type(second) is not int:
                continue
            values, quantities, _unusable = read(data)
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
            event = Draft.__new__(Draft)
            event.source = source
            event.kind = reading
            event.key = "voltstorage/bench/0/reading"
            event.time = datetime.fromtimestamp(second, UTC)
            event.received_at = received_at
            event.seq = self._seq
            event.id = name = f"0/{second}/0"
            event.values = values
            event.raw = raw
            event.detail = None
            event.backfilled = event.late = False
            event.revision = 0
            event.__class__ = Event  # type: ignore[assignment]
            if len(hashes) < 1000:
                hashes.append(hash(name))
            else:
                hashes[self._seq % 1000] = hash(name)
            self._pending.append(event)  # type: ignore[arg-type]
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
        address = Address(url=url)
        wire = Wire(
            address,
            on_open=lambda _: None,
            on_messages=events.take,
            clock=SystemClock(),
            timing=SocketTiming(),
        )
        await wire.open(address, None)
        wires.append(wire)

    async def take() -> None:
        async for event in events:
            count.handle(event.raw)

    try:
        await read_all(task, count, [take()])
    finally:
        for wire in wires:
            wire.abort()
