"""Energies in kWh that last: over restarts, crashes, late data and revisions; published once, never less."""

import asyncio
import sqlite3
from datetime import UTC
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from energy_core import Checkpoint, Kind, Quantity, SourceId, State, merge
from energy_core.home import EnergyMeter, SourceFilter
from energy_core.stream.source import Reading, StreamPosition
from energy_live.outputs import FeedConfig, OutputFeed
from energy_live.outputs.energy_counters import NOT_MEASURED, EnergyConfig, EnergyCounters
from energy_live.outputs.output import OutputError
from tests.servers.home_events import HOME, EventMaker, at
from tests.servers.real_programs import until

GRID, PV = Quantity.GRID_POWER, Quantity.PV_POWER
BATTERY, HOME_LOADS = Quantity.BATTERY_POWER, Quantity.CONSUMPTION_POWER
IMPORT, EXPORT = Quantity.GRID_IMPORT_ENERGY, Quantity.GRID_EXPORT_ENERGY
ENERGIES = {
    IMPORT: "grid_import_kwh",
    EXPORT: "grid_export_kwh",
    Quantity.PV_ENERGY: "pv_kwh",
    Quantity.CONSUMPTION_ENERGY: "consumption_kwh",
    Quantity.BATTERY_CHARGE_ENERGY: "battery_charge_kwh",
    Quantity.BATTERY_DISCHARGE_ENERGY: "battery_discharge_kwh",
}
MICROJOULES = 3.6e12
STORE = SourceId("voltstorage", "me", "301")


def place(number):
    return Checkpoint({HOME: {HOME: StreamPosition(time=at(number), seq=number)}})


def rows(path):
    """Everything published so far, in its order."""
    return EnergyCounters(path)._store.energies("true")


async def counted(path, batches, *, restart=lambda _: False, config=None):
    """Write the batches, with a new process where `restart` says so; return what was published."""
    counters = EnergyCounters(path, config)
    await counters.open()
    for number, batch in enumerate(batches):
        await counters.write(batch, place(number))
        if restart(number):
            await counters.close()
            counters = EnergyCounters(path, config)
            assert await counters.open() == place(number)
    await counters.close()
    return rows(path)


# --- the energies ------------------------------------------------------------------------------------------


async def test_an_hour_of_readings(tmp_path):
    """1,000 W from the grid and 500 W into the battery for an hour: 1 and 0.5 kWh; published each minute."""
    maker = EventMaker()
    values = {GRID: 1000.0, BATTERY: 500.0, Quantity.BATTERY_SOC: 50.0}
    found = await counted(tmp_path / "e.db", [[maker.reading(each * 10, values)] for each in range(361)])
    assert [row.time // 1_000_000 for row in found] == [
        at(each).timestamp() for each in (10, *range(60, 3601, 60))
    ]
    assert found[-1].microjoules == {
        IMPORT: MICROJOULES,
        EXPORT: 0,
        Quantity.BATTERY_CHARGE_ENERGY: MICROJOULES / 2,
        Quantity.BATTERY_DISCHARGE_ENERGY: 0,
    }
    assert found[-1].source == HOME
    assert found[-1].about["grid_power"] == {
        "since": at(0).isoformat(),
        "measured_s": 3600.0,
        "not_measured_s": 0.0,
    }


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["reading"] * 6 + ["late", "late", "revision", "gap", "status", "closed", "lost"]),
        st.sampled_from([1.0, 20.0, 60.0, 300.0, 1300.0]),
        st.sampled_from([-900.0, -1.5, 0.0, 400.0, 1234.5]),
        st.booleans(),
    ),
    min_size=2,
    max_size=30,
)


def _played(steps, source):
    """The events of one source, and where the program is started again."""
    maker, now, events = EventMaker(source), 0.0, []
    for kind, seconds, watts, both in steps:
        values = {GRID: watts, **({PV: watts, BATTERY: -watts, HOME_LOADS: watts} if both else {})}
        if kind == "reading":
            now += seconds
            events.append(maker.reading(now, values, backfilled=both and watts > 0))
        elif kind == "late":
            events.append(maker.reading(now - seconds / 7, values, backfilled=both))
        elif kind == "revision":
            events.append(maker.reading(now, values, revision=len(events)))
        elif kind == "gap":
            events.append(maker.gap(now - seconds, now, *([GRID] if both else [])))
        elif kind == "status":
            events.append(maker.status(State.DISCONNECTED))
        elif kind == "closed":
            events.append(maker.status(State.CLOSED))
        else:
            maker.lose()
    return events


@given(steps=STEPS, restarts=st.sets(st.integers(0, 30)), size=st.integers(1, 5), hold=st.booleans())
@settings(max_examples=40)
async def test_restarts_change_nothing(tmp_path_factory, steps, restarts, size, hold):
    """What is published is what a meter that never stops would say, but never less than before."""
    path = tmp_path_factory.mktemp("energies") / "e.db"
    source = STORE if hold else HOME
    events = _played(steps, source)
    batches = [events[each : each + size] for each in range(0, len(events), size)]
    config = EnergyConfig(journal=7)  # the state is written anew again and again
    found = await counted(path, batches, restart=restarts.__contains__, config=config)
    meter = EnergyMeter(UTC, changes_only=[SourceFilter("voltstorage")])
    newest, told, before = None, None, {}
    expected = []
    for event in events:
        if event.kind is Kind.STATUS and event.detail.state is State.CLOSED:
            event = event._replace(kind=Kind.READING, detail=None, values={}, time=at(-(10**6)))  # noqa: PLW2901
        meter.take(event)
        if event.kind is not Kind.READING or not event.values:
            continue
        newest = event.time if newest is None else max(newest, event.time)
        minute = newest.timestamp() // 60
        total = meter.total()
        sums = {
            each: round(value * MICROJOULES)
            for each, name in ENERGIES.items()
            if (value := getattr(total, name)) is not None
        }
        if sums and (told is None or minute > told):
            told = minute
            before |= {each: max(value, before.get(each, 0)) for each, value in sums.items()}
            expected.append((newest, dict(before)))
    assert [(row.time / 1e6, row.microjoules) for row in found] == [
        (time.timestamp(), sums) for time, sums in expected
    ]
    for one, two in pairwise(found):
        assert one.time < two.time
        assert all(two.microjoules[each] >= value for each, value in one.microjoules.items())


async def test_a_revision_downwards_is_held(tmp_path):
    """The published energy stands still until the true one has caught up."""
    maker = EventMaker()
    first = [maker.reading(each * 60, {GRID: 1000.0}) for each in range(5)]
    lower = [maker.reading(each * 60, {GRID: 0.0}, revision=1) for each in range(5)]
    later = [maker.reading(each * 60, {GRID: 1000.0}) for each in range(5, 12)]
    found = await counted(tmp_path / "e.db", [first, lower, later], restart=lambda _: True)
    joules = [row.microjoules[IMPORT] / 1e6 for row in found]
    assert joules == [60_000.0 * each for each in (1, 2, 3, 4, 4, 4, 4, 4, 4.5, 5.5, 6.5)]


async def test_time_that_is_not_measured_is_published(tmp_path):
    """Once, two hours later; also after a restart. What is filled before is not named."""
    maker = EventMaker()
    events = [maker.reading(each, {GRID: 1000.0}) for each in (0, 60, 120)]
    events += [maker.gap(120, 600), maker.reading(600, {GRID: 1000.0})]
    events += [maker.reading(each, {GRID: 1000.0}) for each in (3000, 3060)]
    events += [maker.reading(each, {GRID: 1000.0}, backfilled=True) for each in range(1200, 3000, 600)]
    events += [maker.reading(each, {GRID: 1000.0}) for each in range(3120, 15000, 60)]
    path = tmp_path / "e.db"
    found = await counted(path, [[event] for event in events], restart=lambda number: number % 50 == 0)
    (missing,) = EnergyCounters(path)._store.missing("true")
    assert (missing.begins, missing.ends, missing.power) == (
        at(120).timestamp() * 1e6,
        at(600).timestamp() * 1e6,
        GRID,
    )
    assert found[-1].about["grid_power"]["not_measured_s"] == 480.0


async def test_what_comes_too_late_is_counted(tmp_path):
    """A reading older than all that are kept changes nothing, and the state of the source says so."""
    maker, counters = EventMaker(), EnergyCounters(tmp_path / "e.db", EnergyConfig(keep=8))
    await counters.open()
    await counters.write([maker.reading(each * 60, {GRID: 600.0}) for each in range(30)], place(0))
    assert counters.source.notes == {}
    await counters.write([maker.reading(30, {GRID: 9.0}), maker.reading(1800, {GRID: 600.0})], place(1))
    await counters.close()
    assert counters.source.notes == {"too_late": 1}
    assert rows(tmp_path / "e.db")[-1].microjoules[IMPORT] == 1800 * 600 * 10**6


async def test_another_label_of_the_account_continues(tmp_path):
    """A device is itself by vendor, site and instance."""
    old, new = HOME, HOME._replace(account="another")
    maker = EventMaker(old)
    first = [maker.reading(each * 60, {GRID: 600.0}) for each in range(3)]
    maker.source = new
    second = [maker.reading(each * 60, {GRID: 600.0}) for each in range(3, 6)]
    found = await counted(tmp_path / "e.db", [first, second], restart=lambda _: True)
    assert [row.microjoules[IMPORT] // 10**6 for row in found] == [36_000 * each for each in range(1, 6)]
    assert found[-1].source == new


# --- faults ------------------------------------------------------------------------------------------------


async def test_a_write_that_was_cancelled_counts_once(tmp_path):
    """Whether or not it was stored, the same batch is written again after opening."""
    maker = EventMaker()
    path = tmp_path / "e.db"
    counters = EnergyCounters(path)
    await counters.open()
    for number in range(6):
        batch = [maker.reading(number * 60 + each, {GRID: 1000.0}) for each in range(0, 60, 10)]
        writing = asyncio.ensure_future(counters.write(batch, place(number)))
        await asyncio.sleep(0)
        writing.cancel()
        await asyncio.wait({writing})
        await counters.close()
        await counters.open()
        await counters.write(batch, place(number))
    await counters.write([maker.reading(360, {GRID: 1000.0})], place(6))
    await counters.close()
    assert rows(path)[-1].microjoules[IMPORT] == 360_000 * 10**6


async def test_a_full_disk_loses_nothing(tmp_path):
    """Writing fails, and nothing is published, until there is room again."""
    maker, path = EventMaker(), tmp_path / "e.db"
    counters = EnergyCounters(path)
    await counters.open()
    await counters.write([maker.reading(0, {GRID: 1000.0})], place(0))
    connection = counters._store._connection
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    batch = [maker.reading(each, {GRID: 1000.0}) for each in range(60, 6001, 60)]
    with pytest.raises(OutputError, match="full") as caught:
        await counters.write(batch, place(1))
    assert not caught.value.permanent
    assert rows(path) == []
    await counters.close()
    assert await counters.open() == place(0)
    await counters.write(batch, place(1))
    await counters.close()
    assert rows(path)[-1].microjoules[IMPORT] == 6_000_000 * 10**6


@pytest.mark.parametrize("damage", ["text", "version", "state", "journal", "position", "values"])
async def test_a_file_that_cannot_be_used(tmp_path, damage):
    """One line names the file and what to do; nothing is overwritten."""
    maker, path = EventMaker(), tmp_path / "e.db"
    batches = [[maker.reading(each * 60, {GRID: 1000.0})] for each in range(5)]
    await counted(path, batches, config=EnergyConfig(journal=3))
    if damage == "text":
        path.write_text("not a database at all " * 1000)
    else:
        with sqlite3.connect(path) as connection:
            connection.execute(
                {
                    "version": "PRAGMA user_version = 99",
                    "state": "UPDATE device SET state = replace(state, '\"times\": [', '\"times\": [7, ')",
                    "journal": "UPDATE journal SET events = '{}'",
                    "position": "UPDATE position SET checkpoint = '{}'",
                    "values": "UPDATE energy SET microjoules = '{\"colour\": 1}'",
                }[damage]
            )
        connection.close()
    before = path.read_bytes()
    counters = EnergyCounters(path)
    with pytest.raises(OutputError, match=r"e\.db") as caught:
        await counters.open()
    await counters.close()
    assert caught.value.permanent
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before


async def test_the_file_is_its_owners(tmp_path):
    """No other user can read it."""
    await counted(tmp_path / "e.db", [])
    assert (tmp_path / "e.db").stat().st_mode & 0o077 == 0


# --- publishing --------------------------------------------------------------------------------------------


class Home:
    """A source with a complete past: reading n is n minutes after the start and has 600 W."""

    def __init__(self, readings, *, ends=False):
        self.id = HOME
        self._readings = readings
        self._ends = ends
        self._since = -1

    def resume(self, positions):
        if HOME in positions and positions[HOME].ids:
            self._since = int(positions[HOME].ids[-1])

    async def run(self, outlet):
        outlet.status(State.LIVE)
        await self._put(outlet, self._since, self._readings)
        if not self._ends:
            await asyncio.Event().wait()

    async def history(self, source, start, end):
        for number in range(self._readings):
            yield Reading(at(number * 60), str(number), {GRID: 600.0})

    async def _put(self, outlet, since, until):
        for number in range(since + 1, until):
            await outlet.room()
            time = at(number * 60)
            outlet.reading(HOME, time=time, id=str(number), values={GRID: 600.0}, raw={}, backfilled=True)
            await asyncio.sleep(0)


class Shelf:
    """An output in memory that keeps its position, and can be down."""

    idempotent = False

    def __init__(self):
        self.events, self.position, self.is_down = [], Checkpoint(), False

    async def open(self):
        if self.is_down:
            raise OutputError("down")
        return self.position

    async def write(self, batch, position):
        self.events += batch
        self.position = position

    async def close(self):
        pass

    def energies(self):
        return [
            (event.time, event.values[IMPORT])
            for event in self.events
            if event.kind is Kind.READING and IMPORT in event.values
        ]


async def _run(path, shelves, readings):
    """One run of the program, until everything is counted and the outputs that are up have it."""
    counters = EnergyCounters(path)
    config = FeedConfig(delay_s=0.01)
    feeds = [OutputFeed("energies", counters, config=config)]
    feeds += [OutputFeed(str(number), each, config=config) for number, each in enumerate(shelves)]
    stream = merge(Home(readings), counters.source)
    for feed in feeds:
        await feed.open(stream)
    last = at((readings - 1) * 60)
    async with stream:
        for feed in feeds:
            feed.start()
        for each in shelves:
            if not each.is_down:
                await until(lambda each=each: each.energies() and each.energies()[-1][0] == last)
        for feed in feeds:
            await feed.aclose()


async def test_every_output_gets_every_energy_once(tmp_path):
    """Over restarts, and for an output that was down for two of them; 10 Wh each minute, without a jump."""
    path = tmp_path / "e.db"
    steady, down = Shelf(), Shelf()
    await _run(path, [steady, down], 10)
    down.is_down = True
    await _run(path, [steady, down], 20)
    await _run(path, [steady, down], 30)
    down.is_down = False
    await _run(path, [steady, down], 40)
    expected = [(at(each * 60), pytest.approx(each * 0.01)) for each in range(1, 40)]
    assert steady.energies() == expected
    assert down.energies() == expected
    energies = [event for event in steady.events if event.kind is Kind.READING and IMPORT in event.values]
    assert {event.source for event in energies} == {HOME._replace(vendor="test-energy")}
    assert [event.seq for event in energies] == list(range(1, 40))
    assert energies[5].raw["grid_power"]["measured_s"] == 360.0
    assert len({event.id for event in energies}) == 39


async def test_the_stream_ends_without_the_energies(tmp_path):
    """A stream ends with its last other source, although the energies wait for more."""
    counters = EnergyCounters(tmp_path / "e.db")
    async with asyncio.timeout(30), merge(Home(3, ends=True), counters.source) as events:
        assert [event.id async for event in events.readings()] == ["0", "1", "2"]


async def test_not_measured_time_is_a_gap_of_the_energies(tmp_path):
    """It names the energies, so that a display can show what they lack."""
    maker, path = EventMaker(), tmp_path / "e.db"
    events = [maker.reading(each, {GRID: 600.0}) for each in (0, 60, 3000, 3060, *range(3120, 12000, 60))]
    counters = EnergyCounters(path)
    await counters.open()
    async with asyncio.timeout(30), merge(Silent(), counters.source) as stream:
        await counters.write(events, place(1))
        async for event in stream:
            if event.kind is Kind.GAP:
                break
    await counters.close()
    assert event.source == HOME._replace(vendor="test-energy")
    gap = event.detail
    assert (gap.start, gap.end, gap.reason, gap.quantities) == (
        at(60),
        at(3000),
        NOT_MEASURED,
        (IMPORT, EXPORT),
    )


class Silent:
    """A source without readings."""

    id = SourceId("test", "me", "silent")

    async def run(self, outlet):
        outlet.status(State.LIVE)
        await asyncio.Event().wait()
