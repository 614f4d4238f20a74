"""How a user's type checker sees the public names; run by mypy, never imported."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import assert_type

from energy_core import Event, Limit, MergedStream, Quantity, SessionPool, merge
from voltstorage_async import Endpoints, FieldMap, Product, ProductEvent, ProductStream, VoltStorageClient
from vrm_async import Diagnostic, Graph, Series, Site, Stats, SystemOverview, User, VRMClient


async def merged() -> None:
    async with SessionPool() as pool:
        vrm = VRMClient(pool, token="t", limit=Limit(200, 3.0, 6))
        volt = VoltStorageClient(pool, email="e@x.org", password="p", endpoints=Endpoints())
        async with merge(vrm.live(1, 2), volt.live(77)) as events:
            assert_type(events, MergedStream)
            assert_type(FieldMap(), FieldMap)
            async for event in events:
                assert_type(event, Event)
                assert_type(event.time, datetime)
                assert_type(event.values, Mapping[Quantity, float])
                assert_type(event.to_json(), str)


async def vrm(client: VRMClient) -> None:
    assert_type(await client.users.me(), User)
    sites = await client.users.installations(extended=True)
    assert_type(sites[0], Site)
    assert_type(await client.installations.system_overview(1), SystemOverview)
    async for record in client.installations.diagnostics(1):
        assert_type(record, Diagnostic)
    start, end = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)
    stats = await client.stats.get(1, type="kwh", interval="hours", start=start, end=end)
    assert_type(stats, Stats)
    for series in stats:
        assert_type(series, Series)
    assert_type(await client.widgets.graph(1, attribute_codes=["bs"], instance=0), Graph)


async def volt(client: VoltStorageClient) -> None:
    async for product in client.products.list():
        assert_type(product, Product)
    async with client.events(77) as stream:
        assert_type(stream, ProductStream)
        async for event in stream:
            assert_type(event, ProductEvent)
