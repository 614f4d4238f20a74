"""The faults of a product as alarm events."""

import asyncio

from aiohttp import web

from energy_core import Kind, merge
from energy_core.stream.vocabulary import SourceId
from tests.servers.scripted_volt import TOKEN
from voltstorage_async import VoltStorageClient
from voltstorage_async import live as volt_live


async def alarms_of(base_url, count, then=None):
    found = []
    async with (
        VoltStorageClient(token=TOKEN, base_url=base_url, account="home") as volt,
        asyncio.timeout(20),
        merge(volt.live(301)) as events,
    ):
        async for event in events:
            if event.kind is Kind.ALARM:
                found.append(event)
                if then is not None and len(found) == 1:
                    then()
                if len(found) == count:
                    return found
    raise AssertionError("the stream ended")


class Listing:
    """A list of products on a server without event streams."""

    def __init__(self):
        self.records = []

    async def serve(self, request):
        path = request.path.removeprefix("/rest/")
        if path == "products":
            return web.json_response(self.records)
        return web.json_response({"errors": ["busy"]}, status=503)


async def served(listing):
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", listing.serve)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, f"http://127.0.0.1:{runner.addresses[0][1]}/rest/"


async def test_a_fault_is_raised_and_cleared(monkeypatch):
    """By name, with the serial number as device; faults of other products are not this one's."""
    monkeypatch.setattr(volt_live, "FAULTS_S", 0.02)
    listing = Listing()
    other = {"id": 302, "errors": ["connectionLost"]}
    listing.records = [other, {"id": 301, "serialNumber": "AA0024", "errors": ["nonDefaultStrategy"]}]

    def change():
        listing.records = [other, {"id": 301}, {"id": 301, "serialNumber": "AA0024", "errors": []}]

    runner, base_url = await served(listing)
    try:
        raised, cleared = await alarms_of(base_url, 2, change)
    finally:
        await runner.cleanup()
    assert raised.source == SourceId("voltstorage", "home", "301")
    assert (raised.detail.text, raised.detail.device) == ("nonDefaultStrategy", "AA0024")
    assert (cleared.detail.active, cleared.detail.alarm) == (False, raised.detail.alarm)
