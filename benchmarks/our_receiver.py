"""Our side of `benchmarks.receiving`: the source that `VoltStorageClient.live` makes, merged.

The pool limits handshakes to ten a second. The benchmark uses its own endpoint provider with two hundred
concurrent handshakes instead; everything behind the handshake is the real code.
"""

from __future__ import annotations

import asyncio
import os
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks.receivers import Receiver, Task
from energy_core.stream.endpoint import Endpoint, RefusalText
from energy_core.stream.event import Event
from energy_core.stream.merge import merge
from energy_core.stream.vocabulary import Kind, SourceId, State
from voltstorage_async import VoltStorageClient
from voltstorage_async.field_map import FieldMap, ProductFields
from voltstorage_async.live import ProductSource

BUFFER: Final = 1024
"""The default. For thousands of sockets it is two for each, as all of them may have a message in one turn of
the event loop."""

HANDSHAKES: Final = 200

FIELDS: Final = FieldMap()
known: Final = FIELDS.events


class _Endpoints:
    """Returns a fixed address."""

    def __init__(self, url: str, gate: asyncio.Semaphore) -> None:
        self._url = url
        self._gate = gate

    renewable = False

    def refusal_text(self, body: bytes) -> RefusalText:
        """Return the text of a refusal; this server never refuses."""
        return RefusalText(body.decode())

    async def admit(self) -> None:
        """Wait until fewer than two hundred handshakes are under way."""
        await self._gate.acquire()

    def hold(self, seconds: float) -> None:
        """Ignored: this server sends no Retry-After."""

    async def address(self) -> Endpoint:
        """Return the address."""
        return Endpoint(url=f"{self._url}&token=x", headers={}, generation=0)

    async def renew(self, generation: int) -> None:
        """Not called: the token does not expire."""


def merged(**shape: int) -> Receiver:
    """Ours: typed, deduplicated, supervised and merged."""
    return Receiver(partial(_receive, look=False), **shape)


def merged_raw(**shape: int) -> Receiver:
    """Ours, for a consumer that reads `raw` of every event (it is parsed at first access)."""
    return Receiver(partial(_receive, look=True), **shape)


async def _receive(task: Task, *, look: bool) -> None:
    meter, kept, reading = task.meter, task.meter.kept, Kind.READING
    before = _rss()
    async with VoltStorageClient(token="x", base_url=f"http://127.0.0.1:{task.port}/rest/") as client:
        gate = asyncio.Semaphore(HANDSHAKES)
        sources = [_source(client, number, _Endpoints(url, gate)) for number, url in enumerate(task.urls())]
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
                    event.raw  # noqa: B018  (the first access parses it)
                if kept is not None:
                    kept.append(_plain(event))
                if number == task.unmeasured:
                    meter.begin()
                number += 1
                if number == task.count:
                    break
            meter.end()


def _source(client: VoltStorageClient, number: int, link: _Endpoints) -> ProductSource:
    id = SourceId("voltstorage", "bench", str(number), 0)  # noqa: A001
    return ProductSource(id, link, client._recorded(number), fields=ProductFields(FIELDS))


def _plain(event: Event) -> list[object]:
    """Return an event's values in the vendor's order, units and signs."""
    data = event.raw["data"]
    assert isinstance(data, dict)
    unified = ((value, event.values[known[key].quantity], known[key].factor) for key, value in data.items())
    found = [value for value, ours, factor in unified if ours == value * factor + 0.0]
    return [round(event.time.timestamp()), *found]


def _rss() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
