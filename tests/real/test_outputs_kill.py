"""`energy-live run` is killed, and its stores are stopped, at random moments: nothing is lost or doubled.

`ENERGY_LIVE_KILLS=50` and `ENERGY_LIVE_OUTAGE_S=600` run the long form: `nox -s chaos -- outputs`.
"""

import asyncio
import os
import random
import signal
import sqlite3
from contextlib import asynccontextmanager, closing
from datetime import datetime
from typing import NamedTuple

import pytest

from energy_live.simulator import Simulator
from energy_live.simulator.voltstorage.export import ExportRequest
from energy_live.simulator.voltstorage.products import EXPORTED
from tests.real.postgresql import PASSWORD
from tests.servers.command_line import COMMAND, DEADLINE_S, environment
from tests.servers.real_programs import need_module, until

need_module("duckdb", "arrow")
import duckdb  # noqa: E402  (needs the line above)

KILLS = min(int(os.environ.get("ENERGY_LIVE_KILLS", "4")), 50)
OUTAGE_S = float(os.environ.get("ENERGY_LIVE_OUTAGE_S", "8"))
SEED = int(os.environ.get("ENERGY_LIVE_SEED", "20260301"))
PACE = 20.0
FRAME_S = 0.05

PRODUCT, SITE = 301, 151001
VENDORS = "(source LIKE 'vrm/%' OR source LIKE 'voltstorage/%')"


class Reading(NamedTuple):
    source: str
    id: str
    quantity: str
    revision: int
    second: int
    value: float


class World:
    """One simulator, the three stores, and the program that fills them."""

    def __init__(self, simulator, server, database, folder):
        self.simulator, self.server, self.database, self.folder = simulator, server, database, folder
        self.process = None

    @property
    def url(self):
        return f"postgresql://postgres@127.0.0.1:{self.server.port}/{self.database}"

    async def start(self):
        # The household lives in the past of this machine's clock: nothing may be thinned out.
        outputs = ("sqlite:energy.sqlite?raw_days=0&event_days=0", self.url, "parquet:files")
        self.process = await asyncio.create_subprocess_exec(
            *COMMAND,
            *("run", "--state", str(self.folder), "--health", "", "--interval", "0.3"),
            *("--product", str(PRODUCT), "--site", str(SITE)),
            *(word for output in outputs for word in ("--to", output)),
            env=environment(self.simulator.environment() | {"PGPASSWORD": PASSWORD}),
            stderr=asyncio.subprocess.PIPE,
        )

    async def end(self, number):
        """Send a signal; return what the program has logged."""
        assert self.process.returncode is None, (await self.process.stderr.read()).decode()
        self.process.send_signal(number)
        async with asyncio.timeout(DEADLINE_S):
            _, log = await self.process.communicate()
        return log.decode()

    async def caught_up(self):
        """Wait until every store has what the product sends now."""
        now = int(self.simulator.now())

        def fresh():
            return all(
                max((each.second for each in read() if each.source.startswith("volt")), default=0) >= now
                for read in (self.sqlite, self.postgresql)
            )

        await until(fresh, DEADLINE_S * 2)

    # --- what is stored ------------------------------------------------------------------------------------

    def sqlite(self):
        return [
            Reading(*row)
            for row in self._sqlite(
                "SELECT source, id, quantity, revision, CAST(unix_time AS INTEGER), value FROM readings "
                f"WHERE {VENDORS}"
            )
        ]

    def sqlite_gaps(self):
        select = "SELECT source, start_time, end_time FROM gaps WHERE quantities = '[]'"
        return {spanned(*row) for row in self._sqlite(select)}

    def _sqlite(self, select):
        path = self.folder / "energy.sqlite"
        if not path.exists():
            return []
        try:
            with closing(sqlite3.connect(path, timeout=30.0)) as connection:
                return connection.execute(select).fetchall()
        except sqlite3.OperationalError as error:
            if "no such table" not in str(error):  # otherwise the program has just made the file
                raise
            return []

    def postgresql(self):
        lines = self._postgresql(
            "SELECT source, id, quantity, revision, floor(extract(epoch FROM time))::bigint, value "
            f"FROM readings WHERE {VENDORS}"
        )
        rows = [line.split("|") for line in lines]
        return [Reading(a, b, c, int(d), int(e), float(f)) for a, b, c, d, e, f in rows]

    def postgresql_gaps(self):
        lines = self._postgresql(
            "SELECT source, to_char(start_time AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US+00:00'), "
            "to_char(end_time AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US+00:00') FROM gaps "
            "WHERE quantities = '{}'"
        )
        return {spanned(*line.split("|")) for line in lines}

    def _postgresql(self, select):
        try:
            return self.server.sql("SET search_path = energy_live", select, database=self.database)
        except AssertionError:  # it is stopped, or has no tables yet
            return []

    def parquet(self):
        """Return device and second of each reading in the files, and the gaps in them."""
        files = f"read_parquet('{self.folder}/files/**/*.parquet', union_by_name = true)"
        source = "concat_ws('/', vendor, account, site, instance)"
        readings = (
            f"SELECT DISTINCT {source}, CAST(floor(epoch(time)) AS BIGINT) FROM {files} "
            "WHERE kind = 'reading' AND vendor IN ('vrm', 'voltstorage')"
        )
        gaps = (
            f"SELECT {source}, CAST(epoch(time) AS BIGINT), CAST(epoch(until) AS BIGINT) FROM {files} "
            "WHERE kind = 'gap' AND missing IS NULL"
        )
        with duckdb.connect() as connection:
            return connection.execute(readings).fetchall(), connection.execute(gaps).fetchall()


def spanned(source, start, end):
    first, last = (datetime.fromisoformat(each).timestamp() for each in (start, end))
    return source, int(first), int(last)


@pytest.fixture
async def world(postgresql, tmp_path):
    """The program reads one product and one site."""
    database = f"kill_{random.randrange(10**9)}"
    postgresql.sql(f"CREATE DATABASE {database}")
    async with Simulator(speed=PACE, frame_s=FRAME_S) as simulator:
        made = World(simulator, postgresql, database, tmp_path)
        try:
            yield made
        finally:
            if made.process is not None and made.process.returncode is None:
                made.process.kill()
                await made.process.communicate()
            postgresql.sql(f"DROP DATABASE {database} WITH (FORCE)")


def recorded_seconds(simulator, start, end):
    """Return every second in which a value of the product changed: the truth."""
    product = next(each for each in simulator.world.products if each.id == PRODUCT)
    rows = ExportRequest(product=product, start=start, end=end + 1.0, fields=EXPORTED).rows()
    return {int(moment) for moment, _ in rows}


def check_once(readings):
    """No reading is there twice, not even under two ids."""
    keys = [(each.source, each.id, each.quantity, each.revision) for each in readings]
    assert len(keys) == len(set(keys))
    battery = [(each.second, each.quantity) for each in readings if each.source.startswith("voltstorage/")]
    assert len(battery) == len(set(battery))


def check_complete(simulator, readings, gaps, *, since):
    """Every second that the product has recorded and every log of the site is there, or in a gap.

    Readings are pairs of device and second, gaps have a device, start and end; `since` is the first second
    that any store had, by vendor.
    """
    stored = {
        vendor: {second for source, second in readings if source.startswith(vendor)} for vendor in since
    }
    reported = {
        vendor: {
            second
            for source, start, end in gaps
            if source.startswith(vendor)
            for second in range(start, end + 1)
        }
        for vendor in since
    }
    recorded = recorded_seconds(simulator, since["voltstorage/"], max(stored["voltstorage/"]))
    recorded.discard(since["voltstorage/"])  # an export begins with a row, whether or not a value changed
    assert len(recorded) > 20
    assert sorted(recorded - stored["voltstorage/"] - reported["voltstorage/"]) == []
    minutes = {second // 60 for second in stored["vrm/"] | reported["vrm/"]}
    assert sorted(set(range(since["vrm/"] // 60, max(stored["vrm/"]) // 60 + 1)) - minutes) == []


def check_stores(world):
    """Each database has everything once, the files have everything, and the values are the same."""
    sqlite, postgresql = world.sqlite(), world.postgresql()
    since = {
        vendor: min(each.second for each in [*sqlite, *postgresql] if each.source.startswith(vendor))
        for vendor in ("vrm/", "voltstorage/")
    }
    files, gaps = world.parquet()
    for readings, found in (
        ([(each.source, each.second) for each in sqlite], world.sqlite_gaps()),
        ([(each.source, each.second) for each in postgresql], world.postgresql_gaps()),
        (files, gaps),
    ):
        check_complete(world.simulator, readings, found, since=since)
    check_once(sqlite)
    check_once(postgresql)
    here, there = ({each[:4]: each.value for each in store} for store in (sqlite, postgresql))
    assert {key: here[key] for key in here.keys() & there} == {key: there[key] for key in here.keys() & there}


async def test_a_killed_service_loses_and_doubles_nothing(world):
    """Killed with SIGKILL at random moments, the last run catches up and ends in order."""
    chance = random.Random(SEED)
    await world.start()
    await until(lambda: world.sqlite() and world.postgresql(), DEADLINE_S)
    for _ in range(KILLS):
        await world.end(signal.SIGKILL)
        await asyncio.sleep(chance.uniform(0.0, 0.5))
        await world.start()
        await asyncio.sleep(chance.uniform(0.3, 4.0))  # a moment anywhere: starting, catching up, live
    await world.caught_up()
    await world.end(signal.SIGTERM)
    check_stores(world)


async def test_stores_that_come_and_go_lose_nothing(world):
    """PostgreSQL is stopped, crashed and started at random, and the file of SQLite is locked meanwhile."""
    chance = random.Random(SEED + 1)
    await world.start()
    await until(lambda: world.sqlite() and world.postgresql(), DEADLINE_S)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + OUTAGE_S
    while loop.time() < deadline:
        stop = chance.choice(("fast", "immediate"))
        await asyncio.to_thread(world.server.stop, stop)
        try:
            async with locked(world.folder / "energy.sqlite"):
                await asyncio.sleep(chance.uniform(0.2, 3.0))
        finally:
            await asyncio.to_thread(world.server.start)
        await asyncio.sleep(chance.uniform(0.2, 3.0))
    await world.caught_up()
    log = await world.end(signal.SIGTERM)
    assert "is back" in log
    check_stores(world)


@asynccontextmanager
async def locked(path):
    """Keep other programs from writing to a database of SQLite."""
    connection = sqlite3.connect(path, isolation_level=None, timeout=30.0)
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")
    finally:
        connection.close()
