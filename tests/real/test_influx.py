"""The InfluxDB output against InfluxDB 1.x and VictoriaMetrics of Debian, by reading everything back."""

import itertools
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from urllib.parse import unquote

import pytest
from attrs import evolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from energy_core import AlarmChange, Checkpoint, Event, Gap, Kind, Quantity, Secret, SourceId, State, Status
from energy_live.outputs.influx import InfluxConfig, InfluxOutput
from energy_live.outputs.output import OutputError
from tests.servers.real_databases import fetch, influxdb, victoria_metrics
from tests.servers.real_programs import free_port

NOON = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
SITE = SourceId("vrm", "me", "151734", 288)
PASSWORD = "pass word, ünusual"
GRID = Quantity.GRID_POWER


def event(number=0, source=SITE, detail=None, kind=Kind.READING, **values):
    time = NOON + timedelta(seconds=number)
    named = {Quantity(name): value for name, value in values.items()}
    name = f"{source.site}/{source.instance}/{time.timestamp():.0f}"
    return Event(source, kind, f"{source}/{kind}", time, time, 1, name, named, detail=detail)


def output(url, **credential):
    return InfluxOutput(InfluxConfig.from_url(url, **credential))


async def written(url, batch, **credential):
    one = output(url, **credential)
    try:
        await one.open()
        return await one.write(batch, Checkpoint())
    finally:
        await one.close()


def micros(time):
    return (time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


@pytest.fixture
async def influx(tmp_path):
    async with influxdb(tmp_path / "db") as server:
        yield server


@pytest.fixture
def place(influx):
    return f"influx+{influx.url}/?db=home"


async def test_readings_are_read_back(influx, place):
    """Time to the microsecond, every value as it was, one field for each quantity; twice changes nothing."""
    batch = [event(each, grid_power=each * 1.1, battery_soc=50.0) for each in range(1200)]
    batch.append(event(5000.123456, pv_power=-0.0, grid_power=1e-300))
    for _ in range(2):
        assert await written(place, batch) == []
    (series,) = influx.query("SELECT * FROM energy")
    columns = series["columns"]
    rows = [dict(zip(columns, row, strict=True)) for row in series["values"]]
    assert {(row["vendor"], row["site"], row["instance"]) for row in rows} == {("vrm", "151734", "288")}
    for row, one in zip(rows, batch, strict=True):
        assert row["time"] == micros(one.time)
        assert {each.value: row[each.value] for each in one.values} == one.values
        assert [name for name in Quantity if name in row and row[name] is None] == [
            name for name in Quantity if name in columns and name not in one.values
        ]


async def test_two_readings_of_one_second_stay_two(influx, place):
    """A product may send several messages in a second; none overwrites another."""
    first = event(0, SourceId("voltstorage", "me", "301"), grid_power=1.0)
    batch = [first._replace(id=f"301/{micros(NOON)}/{each}", values={GRID: float(each)}) for each in range(3)]
    await written(place, batch)
    (series,) = influx.query("SELECT grid_power FROM energy")
    assert series["values"] == [[micros(NOON) + each, float(each)] for each in range(3)]


async def test_a_revision_replaces_its_value(influx, place):
    """A value that the vendor has changed has the place of the old one."""
    one = event(grid_power=1.0)
    await written(place, [one, one._replace(values={GRID: 2.0}, revision=1)])
    assert influx.query("SELECT grid_power FROM energy")[0]["values"] == [[micros(NOON), 2.0]]


async def test_other_kinds_have_measurements_of_their_own(influx, place):
    """Gaps from their start, alarms and states are written beside the readings."""
    gap = Gap(start=NOON, end=NOON + timedelta(minutes=5), reason="not recorded", quantities=(GRID,))
    alarm = AlarmChange(active=True, alarm="a/1", text='Low "SOC",\nreally\\', device="Battery, left")
    status = Status(state=State.STALE, reason="no data")
    batch = [
        event(600, detail=gap, kind=Kind.GAP),
        event(1, detail=alarm, kind=Kind.ALARM),
        event(2, detail=status, kind=Kind.STATUS),
    ]
    await written(place, batch)
    (gaps,) = influx.query("SELECT * FROM energy_gap")
    row = dict(zip(gaps["columns"], gaps["values"][0], strict=True))
    assert (row["time"], row["seconds"], row["reason"]) == (micros(NOON), 300.0, "not recorded")
    assert (row["until"], row["quantities"]) == ("2026-06-01T12:05:00+00:00", "grid_power")
    (alarms,) = influx.query("SELECT * FROM energy_alarm")
    row = dict(zip(alarms["columns"], alarms["values"][0], strict=True))
    assert (row["active"], row["text"]) == (True, 'Low "SOC", really\\')
    assert (row["alarm"], row["device"]) == ("a/1", "Battery, left")
    (states,) = influx.query("SELECT state FROM energy_status")
    assert states["values"] == [[micros(NOON) + 2_000_000, "stale"]]


async def test_a_line_that_is_refused_is_set_aside(influx, place):
    """The rest of its batch is written, whichever lines are refused; the server says why."""
    base = micros(NOON)
    _write_raw(influx, f'energy,site=old pv_power="text" {base}000\n')
    refused = {3, 4, 77}
    batch = [
        event(each, **({"pv_power": 1.0} if each in refused else {"grid_power": 1.0})) for each in range(100)
    ]
    found = await written(place, batch)
    assert [each.event for each in found] == [batch[each] for each in sorted(refused)]
    assert all("field type conflict" in each.reason for each in found)
    (series,) = influx.query("SELECT grid_power FROM energy")
    assert [row[0] for row in series["values"]] == [
        base + each * 1_000_000 for each in set(range(100)) - refused
    ]


def _write_raw(influx, line):
    fetch(f"{influx.url}/write?db=home", line.encode())


async def test_a_server_that_refuses_everything_is_an_error(influx, place):
    """It is not the lines then: nothing is set aside, and the error quotes the server."""
    base = micros(NOON)
    _write_raw(influx, f'energy,site=old grid_power="text" {base}000\n')
    with pytest.raises(OutputError, match=r"no line was accepted: .*field type conflict") as caught:
        await written(place, [event(each, grid_power=1.0) for each in range(500)])
    assert caught.value.permanent


async def test_a_missing_database_is_one_line(influx, place):
    """It names the database and says what to do."""
    with pytest.raises(OutputError, match=r"no place db=nowhere .*create it") as caught:
        await written(place.replace("home", "nowhere"), [event(grid_power=1.0)])
    assert caught.value.permanent
    assert "\n" not in str(caught.value)


async def test_the_credential(tmp_path):
    """With it everything is written; without it, or with a wrong one, one line says what to set."""
    async with influxdb(tmp_path / "db", user="me", password=PASSWORD) as server:
        place = f"influx+{server.url}/?db=home"
        one = [event(grid_power=7.0)]
        assert await written(place, one, user="me", password=Secret(PASSWORD)) == []
        assert server.query("SELECT grid_power FROM energy")[0]["values"][0][1] == 7.0
        for credential, words in (
            ({}, "set INFLUX_TOKEN"),
            ({"user": "me", "password": Secret("wrong-password")}, "check INFLUX_TOKEN"),
            ({"token": Secret("wrong-token-1234")}, "check INFLUX_TOKEN"),
        ):
            with pytest.raises(OutputError, match=words) as caught:
                await written(place, one, **credential)
            assert caught.value.permanent
            assert "wrong" not in repr(caught.value) + str(caught.value.__cause__)


async def test_a_server_that_stops_and_starts(tmp_path):
    """While it is down writing fails, without being permanent; then the same batch is written."""
    port = free_port()
    place = f"influx+http://127.0.0.1:{port}/?db=home"
    one = output(place)
    async with influxdb(tmp_path / "db", port=port):
        await one.open()
        await one.write([event(0, grid_power=1.0)], Checkpoint())
    with pytest.raises(OutputError, match="InfluxDB") as caught:
        await one.write([event(1, grid_power=2.0)], Checkpoint())
    assert not caught.value.permanent
    async with influxdb(tmp_path / "db", port=port) as server:
        await one.write([event(1, grid_power=2.0)], Checkpoint())
        rows = server.query("SELECT grid_power FROM energy")[0]["values"]
    await one.close()
    assert [value for _, value in rows] == [1.0, 2.0]


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
NAMES = st.text(st.sampled_from("a,= \\\"\n\t%é😀'\x00\u2028/#"), min_size=1, max_size=6) | TEXTS


COUNT = itertools.count()


@given(
    names=st.tuples(NAMES, NAMES, NAMES, NAMES, NAMES),
    numbers=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=3),
)
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
async def test_any_text_and_number_is_read_back(influx, names, numbers):
    """Names with quotes, commas, equal signs, backslashes, emoji, line breaks come back, and every number."""
    vendor, site, measurement, alarm, text = names
    database = f"fuzz{next(COUNT)}"
    influx.query(f"CREATE DATABASE {database}")
    source = SourceId(vendor, "me", site, 7)
    batch = [event(each, source, grid_power=value) for each, value in enumerate(numbers)]
    batch.append(event(9, source, AlarmChange(active=True, alarm=alarm, text=text), Kind.ALARM))
    config = InfluxConfig.from_url(f"influx+{influx.url}/?db={database}")
    one = InfluxOutput(evolve(config, measurement=measurement))

    await one.open()
    assert await one.write(batch, Checkpoint()) == []
    await one.close()
    found = defaultdict(list)
    for series in influx.query("SELECT * FROM /.*/ GROUP BY *", database):
        name, tags = unquote(series["name"]), {key: unquote(value) for key, value in series["tags"].items()}
        assert (tags["vendor"], tags["site"], tags["instance"]) == (vendor, site, "7")
        rows = [dict(zip(series["columns"], row, strict=True)) for row in series["values"]]
        found[name, tags.get("alarm", "")] += rows
    assert [float(row["grid_power"]) for row in found[measurement, ""]] == numbers
    (told,) = found[f"{measurement}_alarm", alarm]
    assert told["text"] == "".join(" " if ord(char) < 32 or char == "\x7f" else char for char in text)


async def test_the_address_of_version_2_is_accepted_by_victoria_metrics(tmp_path):
    """Both addresses write; its times are milliseconds, its names are measurement and field."""
    async with victoria_metrics(tmp_path) as server:
        batch = [event(each + 0.123456, grid_power=float(each)) for each in range(3)]
        for url in (
            f"influx+{server.url}/?org=me&bucket=home",
            f"influx+{server.url}/?db=home&measurement=one",
        ):
            assert await written(url, batch, token=Secret("any-token")) == []
        found = server.series()
    samples = [(micros(each.time) // 1000, each.values[GRID]) for each in batch]
    assert found == {
        "energy_grid_power{instance=288,site=151734,vendor=vrm}": samples,
        "one_grid_power{db=home,instance=288,site=151734,vendor=vrm}": samples,
    }
