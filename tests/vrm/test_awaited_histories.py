"""`await` on a history: one value of the whole range, and its files."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from energy_core.errors import ServerFault
from energy_core.local_days import time_range
from energy_live.simulator import Simulator
from tests.servers.vrm_history import DAY, FixedClock, Service, ms
from vrm_async import VRMClient
from vrm_async.decoding.series import Asked
from vrm_async.history.base import REREAD
from vrm_async.history.joining import joined_graph, joined_states, joined_stats
from vrm_async.history.stats import SiteFacts, StatsHistory
from vrm_async.models import Graph, Series, StateSeries, StateSet, Stats


def utc(*parts):
    return datetime(*parts, tzinfo=UTC)


START, END = utc(2026, 1, 1), utc(2026, 4, 1)
HOURS = (END - START) // timedelta(hours=1)


def history(service, start=START, end=END):
    async def find_facts():
        return SiteFacts(calendar=service.calendar)

    return StatsHistory(
        "test",
        service.answer,
        find_facts,
        time_range=time_range(start, end),
        interval=service.interval,
        reread=REREAD,
        checkpoint=None,
        clock=FixedClock(),
        no_stats=Asked("kwh").no_stats,
    )


async def test_the_whole_range_is_one_value():
    """Every bucket once and in order, in as many requests as iterating takes."""
    service = Service()
    found = await history(service)
    assert len(service.asked) == 3
    assert list(found["Pc"].times_ms) == [ms(START + timedelta(hours=hour)) for hour in range(HOURS)]
    assert found.to_polars()["pv_to_home_kwh"].sum() == HOURS


async def test_a_cancelled_await_continues():
    """Chunks that had arrived are not requested again; a history is read once."""
    service = HangsAtTheSecond()
    reading = history(service)
    waiting = asyncio.ensure_future(_wait(reading))
    await service.hangs.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    service.errors = [ServerFault("once")]
    with pytest.raises(ServerFault):
        await reading
    found = await reading
    assert list(found["Pc"].times_ms) == [ms(START + timedelta(hours=hour)) for hour in range(HOURS)]
    assert [begin for begin, _ in service.asked].count(START) == 1
    with pytest.raises(RuntimeError, match="was read already"):
        await reading


class HangsAtTheSecond(Service):
    """Does not answer its second request."""

    def __init__(self):
        super().__init__()
        self.hangs = asyncio.Event()

    async def ask(self, start, end):
        if len(self.asked) == 1:
            self.asked.append((start, end))
            self.hangs.set()
            await asyncio.Event().wait()
        return await super().ask(start, end)


async def _wait(reading):
    return await reading


async def test_a_range_without_data_is_an_empty_table():
    """It has the usual codes of the type as columns; some empty chunks among others add none."""
    service = Service(since=utc(2026, 3, 1))
    assert (await history(service, end=utc(2026, 2, 1))).to_polars().shape == (0, 10)
    assert (await history(service)).to_polars().columns == ["time", "pv_to_home_kwh"]


async def test_rows_write_what_is_left(tmp_path):
    """All rows, or those after the ones that were taken; the file is that of the stats."""
    await history(Service()).rows().to_csv(tmp_path / "rows.csv")
    (await history(Service())).to_csv(tmp_path / "stats.csv")
    assert (tmp_path / "rows.csv").read_bytes() == (tmp_path / "stats.csv").read_bytes()
    rows = history(Service()).rows()
    taken = [await anext(rows) for _ in range(5)]
    await rows.to_csv(tmp_path / "rest.csv")
    lines = (tmp_path / "stats.csv").read_text().splitlines()
    assert (tmp_path / "rest.csv").read_text().splitlines() == [lines[0], *lines[6:]]
    assert taken[-1][0] == START + timedelta(hours=4)
    await history(Service()).rows().to_parquet(tmp_path / "rows.parquet")
    assert (tmp_path / "rows.parquet").stat().st_size > 1000


async def test_a_path_is_checked_before_the_first_request(tmp_path):
    """A history of years is not read in vain."""
    service = Service()
    with pytest.raises(NotADirectoryError):
        await history(service).rows().to_csv(tmp_path / "missing" / "x.csv")
    assert service.asked == []


def series(code, start, values, unit="kWh", **more):
    times = [ms(start + index * timedelta(hours=1)) for index in range(len(values))]
    return Series(code=code, times_ms=times, value=values, unit=unit, **more)


def test_totals_of_chunks_are_added():
    """Those of energies; a mean has no sum, and a missing total is none."""
    first = Stats(
        series=(series("Pc", START, [1.0]), series("bs", START, [50.0], "%", minimum=[1.0])),
        totals={"Pc": 1.0, "bs": 50.0, "kwh": 1.0, "Gc": None},
    )
    second = Stats(
        series=(series("Pc", START + DAY, [2.0]), series("bs", START + DAY, [60.0], "%")),
        totals={"Pc": 2.0, "bs": 60.0, "kwh": None, "Gc": None},
        timezone="Europe/Berlin",
    )
    found = joined_stats([first, second])
    assert found.totals == {"Pc": 3.0, "bs": None, "kwh": 1.0, "Gc": None}
    assert list(found["bs"].minimum) == [1.0, None]
    assert found["Pc"].maximum is None
    assert found.timezone == "Europe/Berlin"
    assert joined_stats([first]) is first


def test_totals_of_instances_are_added():
    """Each instance on its own."""
    parts = [
        Stats(totals_by_instance={1: {"Pc": 1.0}}),
        Stats(totals_by_instance={1: {"Pc": 2.0}, 2: {"Pc": 5.0}}),
    ]
    assert joined_stats(parts).totals_by_instance == {1: {"Pc": 3.0}, 2: {"Pc": 5.0}}


def test_graphs_and_states_are_joined():
    """One series or set for each attribute."""
    graphs = [
        Graph(series=(series("bs", start, [1.0], "%", attribute_id=1),), instance=0) for start in (START, END)
    ]
    assert len(joined_graph(graphs)["bs"]) == 2
    assert joined_graph(graphs).instance == 0
    sets = [
        StateSeries(
            name="VeBusState",
            states=(StateSet(code="S", times_ms=[number], ends_ms=ends, numbers=[number], names=["x"]),),
        )
        for number, ends in ((1, []), (2, [3]))
    ]
    assert joined_states(sets)["S"].ends_ms == [None, 3]
    assert joined_states(sets)["S"].times_ms == [1, 2]


async def test_a_range_in_the_future_is_an_error():
    """By VRM's clock, and only if nothing came: forecasts are in the future."""
    async with (
        Simulator(speed=1.0, start=utc(2026, 11, 1)) as simulator,
        VRMClient(token=simulator.vrm_token, base_url=simulator.vrm_url) as vrm,
    ):
        site = simulator.site_ids[0]
        with pytest.raises(ValueError, match=r"begins in the future, at 2026-12-2.*up to now \(2026-11-01T"):
            await vrm.stats.get(site, utc(2026, 12, 20), utc(2026, 12, 22))
        with pytest.raises(ValueError, match="begins in the future"):
            await vrm.widgets.graph(site, utc(2026, 12, 20), utc(2026, 12, 22), attribute_codes=["bs"])
        ahead = await vrm.stats.get(site, utc(2026, 11, 2), utc(2026, 11, 3), type="forecast")
        assert ahead.to_polars()["pv_forecast_wh"].null_count() < 24
        assert (
            await vrm.stats.get(site, utc(2026, 12, 20), utc(2026, 12, 22), type="forecast")
        ).to_polars().height == 0


async def test_stats_graphs_and_lists_of_the_simulator_are_tables():
    """With the site's time zone, which needs no request of its own."""
    async with (
        Simulator(speed=1.0, start=utc(2026, 11, 1)) as simulator,
        VRMClient(token=simulator.vrm_token, base_url=simulator.vrm_url) as vrm,
    ):
        sites = await vrm.sites()
        assert sites.to_polars()["id"].to_list() == [*simulator.site_ids]
        site = sites[0]
        month = await vrm.stats.get(site, "2026-10", interval="days")
        frame = month.to_polars()
        assert frame.height == 31
        assert set(frame["time"].dt.hour()) == {0}
        assert str(frame.schema["time"].time_zone) == site.timezone
        hours = await vrm.stats.history(site.id, utc(2026, 9, 2), utc(2026, 11, 1))
        assert hours.timezone == site.timezone
        assert 1400 < len(hours["Pc"]) <= 60 * 24
        assert list(hours["Pc"].times_ms) == sorted(set(hours["Pc"].times_ms))
        graph = await vrm.widgets.graph_history(
            site.id, "2026-10-20", attribute_codes=["bs", "none"], instance=None
        )
        assert graph.timezone == site.timezone
        assert {"battery_soc_percent", "none"} <= set(graph.to_polars().columns)
        states = await vrm.widgets.state_history(site, "VeBusState", period="2026-10-20")
        assert states.to_polars().columns == ["code", "start", "end", "number", "name"]
        assert vrm.codes["Pc"].name == "PV to home"
