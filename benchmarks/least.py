"""The least that a typed, merged event costs in Python: what a target for the rest has to leave room for."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any

from benchmarks.receivers import Countdown, Receiver, Task, read_all
from energy_core.stream.event import Draft, Kind, SourceId
from voltstorage_async import FieldMap


def least(**shape: int) -> Receiver:
    """`recv`, msgspec into a type, unified quantities, one event in a deque, one waiting consumer; no more.

    Nothing is numbered, compared, checked, bounded, watched, held or opened again.
    """
    return Receiver(_receive, **shape)


async def _receive(task: Task) -> None:
    import msgspec
    from websockets.asyncio.client import connect

    frame = msgspec.defstruct("Frame", [("type", str), ("time", int), ("data", dict[str, float])])
    decode = msgspec.json.Decoder(frame).decode
    meanings = [(key, each.quantity, each.factor) for key, each in FieldMap().events.items()]
    source, reading = SourceId("voltstorage", "bench", "0", 0), Kind.READING
    pending: deque[Draft] = deque()
    there = asyncio.Event()

    async def read(socket: Any) -> None:
        while True:
            said = decode(await socket.recv(decode=False))
            data = said.data
            event = Draft.__new__(Draft)
            event.source = source
            event.kind = reading
            event.time = datetime.fromtimestamp(said.time, UTC)
            event.id = f"0/{said.time}/0"
            event.values = {quantity: data[key] * factor for key, quantity, factor in meanings if key in data}
            event.raw = {"time": said.time, "data": data}
            pending.append(event)
            there.set()

    async def take() -> None:
        while True:
            await there.wait()
            there.clear()
            while pending:
                count.handle(pending.popleft().raw)

    count = Countdown(task)
    async with AsyncExitStack() as stack:
        opening = [connect(url, compression=None, ping_interval=None) for url in task.urls()]
        sockets = [await stack.enter_async_context(each) for each in opening]
        await read_all(task, count, [*map(read, sockets), take()])
