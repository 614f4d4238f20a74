"""The least that a typed, merged event costs in Python: what a target for the rest has to leave room for.

It is our own way of reading without anything between its parts: one flat function, nothing numbered,
compared, checked, bounded, dropped, held, watched, supervised or opened again, and no more than one consumer.
"""

from __future__ import annotations

import asyncio
from collections import deque
from datetime import UTC, datetime
from typing import Self

from benchmarks.receivers import Countdown, Receiver, Task, read_all
from energy_core.clock import SystemClock
from energy_core.stream.event import Draft, Event, Kind, SourceId
from energy_core.stream.link import Address
from energy_core.stream.timing import SocketTiming
from energy_core.stream.wire import Wire
from voltstorage_async import FieldMap


def least(**shape: int) -> Receiver:
    """A message cut and parsed, its quantities, an event in a deque, one waiting consumer; no more."""
    return Receiver(_receive, **shape)


class _Events:
    """Makes events of messages and hands them out."""

    def __init__(self) -> None:
        import msgspec

        frame = msgspec.defstruct("Frame", [("type", str), ("time", int), ("data", dict[str, float])])
        self._decode = msgspec.json.Decoder(frame).decode
        self._read = FieldMap().of_events.read
        self._source = SourceId("voltstorage", "bench", "0", 0)
        self._pending: deque[Event] = deque()
        self._there = asyncio.Event()

    def take(self, messages: list[bytes], _: float) -> None:
        decode, read, source, reading = self._decode, self._read, self._source, Kind.READING
        for message in messages:
            said = decode(message)
            second, data = said.time, said.data
            event = Draft.__new__(Draft)
            event.source = source
            event.kind = reading
            event.time = datetime.fromtimestamp(second, UTC)
            event.id = f"0/{second}/0"
            event.values = read(data).values
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


async def _receive(task: Task) -> None:
    count, events = Countdown(task), _Events()
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
