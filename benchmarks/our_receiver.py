"""Our side of `benchmarks.receiving`: the source that `VoltStorageClient.live` makes, merged.

Handshakes are paced by the pool (ten a second), which a thousand sockets of a benchmark need not wait for:
their link lets two hundred shake hands at a time. Everything behind the handshake is as it is.
"""

from __future__ import annotations

import asyncio
import os
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks.receivers import Receiver, Task
from energy_core.stream.endpoint import Endpoint, Words
from energy_core.stream.event import Event
from energy_core.stream.merge import merge
from energy_core.stream.vocabulary import Kind, SourceId, State
from voltstorage_async import VoltStorageClient
from voltstorage_async.field_map import FieldMap, ProductFields
from voltstorage_async.live import ProductSource

BUFFER: Final = 1024
"""The default. Thousands of sockets may all have a message in one turn of the event loop: there it is two
for each of them."""

HANDSHAKES: Final = 200

FIELDS: Final = FieldMap()
known: Final = FIELDS.events


class _Link:
    """Knows the address."""

    def __init__(self, url: str, gate: asyncio.Semaphore) -> None:
        self._url = url
        self._gate = gate

    renewable = False

    def words(self, body: bytes) -> Words:
        """No server here refuses anything."""
        return Words(body.decode())

    async def admit(self) -> None:
        """Wait until fewer than two hundred shake hands."""
        await self._gate.acquire()

    def hold(self, seconds: float) -> None:
        """Nobody holds anything here."""

    async def address(self) -> Endpoint:
        """Return the address."""
        return Endpoint(url=f"{self._url}&token=x", headers={}, generation=0)

    async def renew(self, generation: int) -> None:
        """Nothing expires here."""


def merged(**shape: int) -> Receiver:
    """Typed, deduplicated, watched and merged."""
    return Receiver(partial(_receive, look=False), **shape)


def merged_raw(**shape: int) -> Receiver:
    """The same for a consumer who looks at `raw` of every event, which is read only then."""
    return Receiver(partial(_receive, look=True), **shape)


async def _receive(task: Task, *, look: bool) -> None:
    meter, kept, reading = task.meter, task.meter.kept, Kind.READING
    before = _rss()
    async with VoltStorageClient(token="x", base_url=f"http://127.0.0.1:{task.port}/rest/") as client:
        gate = asyncio.Semaphore(HANDSHAKES)
        sources = [_source(client, number, _Link(url, gate)) for number, url in enumerate(task.urls())]
        async with merge(*sources, buffer=max(BUFFER, 2 * len(sources))) as events:
            opened = 0
            while opened < len(sources):
                event = await anext(events)
                if getattr(event.detail, "state", None) is State.LIVE:
                    opened += 1
                    gate.release()
            meter.facts["rss_kb_per_socket"] = (_rss() - before) / len(sources) / 1024
            await task.begin()
            number = 0
            async for event in events:
                if event.kind is not reading:
                    continue
                if look:
                    event.raw  # noqa: B018  (looking at it reads it)
                if kept is not None:
                    kept.append(_plain(event))
                if number == task.unmeasured:
                    meter.begin()
                number += 1
                if number == task.count:
                    break
            meter.end()


def _source(client: VoltStorageClient, number: int, link: _Link) -> ProductSource:
    id = SourceId("voltstorage", "bench", str(number), 0)  # noqa: A001
    return ProductSource(id, link, client._past(number), fields=ProductFields(FIELDS))


def _plain(event: Event) -> list[object]:
    """Give an event's values back in the vendor's order, units and signs."""
    data = event.raw["data"]
    assert isinstance(data, dict)
    unified = ((value, event.values[known[key].quantity], known[key].factor) for key, value in data.items())
    found = [value for value, ours, factor in unified if ours == value * factor + 0.0]
    return [round(event.time.timestamp()), *found]


def _rss() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
