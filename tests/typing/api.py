"""How a user's type checker sees the public names; run by mypy, never imported."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import assert_type

import polars as pl
from matplotlib.axes import Axes

from energy_core import Event, MergedStream, Quantity, RateLimit, SessionPool, merge
from energy_core.home import EnergyMeter, EnergyTotals, HomeState, Present, SourceFilter, SourcePreference
from energy_core.tables import Records
from voltstorage_async import (
    BackfillConfig,
    Endpoints,
    FieldMap,
    ProductEvent,
    ProductSource,
    ProductState,
    ProductStream,
    VoltStorageClient,
    merge_statistics,
)
from voltstorage_async.models import Product, ProductSnapshot, Statistics
from vrm_async import Calendar, Chunk, SavedFile, VRMClient
from vrm_async.models import (
    AccessToken,
    Alarm,
    Alarms,
    DataAttribute,
    Diagnostic,
    DynamicEssSettings,
    FleetSite,
    Graph,
    Position,
    RaisedAlarm,
    Series,
    Site,
    SiteSnapshot,
    SiteTags,
    SiteUsers,
    StateSeries,
    Stats,
    SystemOverview,
    User,
    Widget,
)


async def merged() -> None:
    async with SessionPool() as pool:
        vrm = VRMClient(pool, token="t", limit=RateLimit(200, 3.0, 6))
        volt = VoltStorageClient(pool, email="e@x.org", password="p", endpoints=Endpoints())
        async with merge(vrm.live(1, 2), volt.live(77)) as events:
            assert_type(events, MergedStream)
            assert_type(FieldMap(), FieldMap)
            async for event in events:
                assert_type(event, Event)
                assert_type(event.time, datetime)
                assert_type(event.values, Mapping[Quantity, float])
                assert_type(event.to_json(), str)
                assert_type(event.rows(), list[tuple[datetime, str, str, float, str, str, int]])
            async for event in events.readings():
                assert_type(event.values.get(Quantity.BATTERY_POWER), float | None)


async def present(vrm: VRMClient, volt: VoltStorageClient) -> None:
    for site in await vrm.now():
        assert_type(site, SiteSnapshot)
        assert_type(site.site, Site)
        assert_type(site.values.get(Quantity.BATTERY_SOC), float | None)
        assert_type(site.present.get(Quantity.BATTERY_SOC), Present | None)
    async for product in volt.now():
        assert_type(product, ProductSnapshot)
        assert_type(product.product, Product)
        assert_type(product.age_s, float | None)


def meaning(events: list[Event]) -> None:
    home = HomeState(
        SourcePreference(
            SourceFilter("vrm", site=1), by_quantity={Quantity.BATTERY_SOC: [SourceFilter("voltstorage")]}
        )
    )
    meter = EnergyMeter(UTC, changes_only=[SourceFilter("voltstorage")])
    for event in events:
        home.take(event)
        meter.take(event)
    assert_type(home.present(Quantity.GRID_POWER, at=events[-1].received_at), Present | None)
    assert_type(meter.total(), EnergyTotals)
    assert_type(meter.total().pv_kwh, float | None)


async def vrm(client: VRMClient) -> None:
    assert_type(await client.users.me(), User)
    sites = await client.sites(extended=True)
    assert_type(sites, Records[Site])
    assert_type(sites[0], Site)
    assert_type(await client.installations.system_overview(1), SystemOverview)
    async for record in client.installations.diagnostics(1):
        assert_type(record, Diagnostic)
    start, end = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)
    stats = await client.stats.get(1, type="kwh", interval="hours", start=start, end=end)
    assert_type(stats, Stats)
    assert_type(stats.to_polars(), pl.DataFrame)
    assert_type(stats.plot(), Axes)
    assert_type(await client.stats.history(1, last=(2, "years")), Stats)
    assert_type(await client.widgets.graph_history(1, "2026", attribute_codes=["bs"]), Graph)
    assert_type(client.codes["Pc"].name, str)
    for series in stats:
        assert_type(series, Series)
    assert_type(await client.alarms.rules(1), Alarms)
    assert_type((await client.alarms.rules(1)).find(143), Alarm | None)
    assert_type(await client.dynamic_ess.get(1), DynamicEssSettings)
    assert_type(await client.tags.get(1), SiteTags)
    assert_type(await client.access.users(1), SiteUsers)
    assert_type(await client.users.site_id("c0"), int)
    assert_type(await client.forecasts.last_reset(1), datetime | None)
    assert_type(await client.fleet.find("bs>=50"), Records[FleetSite])
    async for found in client.fleet.find("bs>=50"):
        assert_type(found, FleetSite)
    assert_type(client.fleet.find("bs>=50").attributes, tuple[DataAttribute, ...])
    assert_type(await client.alarms.active(sites[0]), Records[RaisedAlarm])
    assert_type(await client.alarms.log(sites[0], last=(30, "days")), Records[RaisedAlarm])
    assert_type(await client.tokens.list(), Records[AccessToken])
    assert_type(await client.widgets.gps(1), Position)
    assert_type(await client.widgets.get(1, "TankSummary"), Widget)
    assert_type(await client.widgets.graph(1, attribute_codes=["bs"], instance=0), Graph)


async def vrm_history(client: VRMClient) -> None:
    assert_type(await client.calendar(1), Calendar)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    async for part in client.stats.history(1, start=start):
        assert_type(part, Chunk[Stats])
    async for time, values in client.stats.history(1).rows():
        assert_type(time, datetime)
        assert_type(values, Mapping[str, float | None])
    async for drawn in client.widgets.graph_history(1, attribute_codes=["bs"], start=start):
        assert_type(drawn, Chunk[Graph])
    async for told in client.widgets.state_history(1, "VeBusState", start=start):
        assert_type(told, Chunk[StateSeries])
    assert_type(client.catalogue.by_code("bs"), tuple[DataAttribute, ...])
    assert_type(await client.downloads.gps(1, "track.kml", start=start, end=start), SavedFile)


async def volt(client: VoltStorageClient) -> None:
    async for product in client.products.list():
        assert_type(product, Product)
    async with client.events(77) as stream:
        assert_type(stream, ProductStream)
        async for event in stream:
            assert_type(event, ProductEvent)
            assert_type(ProductState(product_id=77).folded(event), ProductState)
    live = client.live(77, since=datetime(2026, 1, 1, tzinfo=UTC), backfill=BackfillConfig(page_s=600))
    assert_type(live, ProductSource)
    assert_type(merge_statistics(await client.products.statistics(77)), Statistics)
