"""`PostgresOutput` on a real server."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import asyncpg
import pytest
import trustme

from energy_core import Checkpoint
from energy_core.secret import Secret
from energy_core.stream.vocabulary import AlarmChange, Quantity, SourceId, State
from energy_live.outputs import OutputError, postgres_tables
from energy_live.outputs.postgres import PostgresOutput
from tests.real.output_events import (
    ACCOUNT,
    BATTERY,
    batch_at,
    control,
    gap,
    number_at,
    position,
    reading,
    status,
)
from tests.real.postgresql import PASSWORD, PostgreSQLServer

KILLS = min(int(os.environ.get("ENERGY_LIVE_KILLS", "8")), 50)


class Database(NamedTuple):
    server: PostgreSQLServer
    name: str

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.server.port}/{self.name}"

    def sql(self, *statements: str) -> list[str]:
        return list(self.server.sql(*statements, database=self.name))

    def rows(self, statement: str, schema: str = "energy_live") -> list[str]:
        return self.sql('SET search_path = "{}"'.format(schema.replace('"', '""')), statement)


@pytest.fixture
def database(postgresql: PostgreSQLServer) -> Iterator[Database]:
    """Make an empty database."""
    name = f"test_{random.randrange(10**9)}"
    postgresql.sql(f"CREATE DATABASE {name}")
    yield Database(postgresql, name)
    postgresql.sql(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(autouse=True)
def _password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", PASSWORD)


@asynccontextmanager
async def opened(url: str, **options) -> AsyncIterator[PostgresOutput]:
    output = PostgresOutput(url, **options)
    try:
        await output.open()
        yield output
    finally:
        await output.close()


async def refusal(url: str, **options) -> OutputError:
    output = PostgresOutput(url, **options)
    try:
        with pytest.raises(OutputError) as caught:
            await output.open()
    finally:
        await output.close()
    assert "\n" not in str(caught.value)
    assert PASSWORD not in str(caught.value)
    return caught.value


async def test_events_are_rows_and_the_position_is_stored_with_them(database):
    alarm = AlarmChange(active=True, alarm="7", text="Low battery", device="Battery", instance=261)
    events = [
        reading(0),
        reading(1, BATTERY, {Quantity.BATTERY_POWER: -250.5}),
        status(2, State.STALE, ACCOUNT),
        gap(20),
        control(21, alarm),
    ]
    async with opened(database.url) as output:
        await output.write(events, position(22))
    async with opened(database.url) as output:
        assert await output.open() == position(22)
    assert database.rows("SELECT quantity, value, unit FROM readings WHERE source LIKE '%/261'") == [
        "battery_power|-250.5|W"
    ]
    assert database.rows("SELECT count(*) FROM readings") == ["5"]
    assert database.rows("SELECT source, site, instance FROM sources ORDER BY 1") == [
        "vrm/home/*/0|*|0",
        "vrm/home/1001/0|1001|0",
        "vrm/home/1001/261|1001|261",
    ]
    assert database.rows("SELECT end_time - start_time, reason, quantities FROM gaps") == [
        "00:00:10|not_recorded|{pv_power,grid_power}"
    ]
    assert database.rows("SELECT active, text, device, instance, started FROM alarms") == [
        "t|Low battery|Battery|261|"
    ]
    assert database.rows("SELECT source, state, reason FROM statuses") == ["vrm/home/*/0|stale|in a test"]


async def test_the_same_batch_again_changes_nothing(database):
    async with opened(database.url) as output:
        for _ in range(3):
            await output.write([*batch_at(0, 100), *batch_at(0, 3)], position(100))
        await output.write([*batch_at(100, 50), reading(3)], position(150))
    assert database.rows("SELECT count(*), count(DISTINCT id) FROM readings") == ["600|150"]
    assert database.rows("SELECT count(*) FROM events") == ["6"]


async def test_a_revision_is_a_row_and_the_wide_view_has_the_highest(database):
    async with opened(database.url) as output:
        first = reading(0, values={Quantity.PV_POWER: 900.0, Quantity.BATTERY_SOC: 50.0})
        await output.write([first, reading(1)], position(2))
        await output.write([reading(0, values={Quantity.PV_POWER: -1.0}, revision=2)], position(2))
        await output.write([reading(0, values={Quantity.PV_POWER: 5.0}, revision=1)], position(2))
    assert database.rows(
        "SELECT revision, value FROM readings WHERE quantity = 'pv_power' "
        "AND time = '2026-11-01T00:00:00Z' ORDER BY 1",
    ) == ["0|900", "1|5", "2|-1"]
    assert database.rows("SELECT pv_power, battery_soc, grid_power FROM readings_wide ORDER BY time") == [
        "-1|50|",
        "1|1|1",
    ]


async def test_any_name_is_stored(database):
    odd, schema = "a 'b' \"c\"; DROP TABLE readings; -- \n\t\\ {x} %s 🔋", 'mine 🔋 "x"; y'
    source = SourceId("vrm", odd, odd, 1)
    async with opened(f"{database.url}?schema={quote(schema)}", name=odd) as output:
        alarm = AlarmChange(active=True, alarm=odd, text=odd + "\0" + "\ud83d", device=odd)
        await output.write([reading(0, source, id=odd), control(1, alarm, source)], position(1, source))
        assert await output.open() == position(1, source)
    same = f"SELECT site = $x${odd}$x$ AND account = $x${odd}$x$ FROM sources"
    assert database.rows(same, schema) == ["t"]
    assert database.rows(f"SELECT count(*) FROM readings WHERE id = $x${odd}$x$", schema) == ["4"]
    (text,) = database.rows("SELECT to_json(text) FROM alarms", schema)
    assert json.loads(text) == odd + "\ufffd\ufffd"


async def test_wrong_passwords_and_missing_databases_say_what_to_do(database, monkeypatch):
    wrong = await refusal(database.url, password=Secret("wrong one"))
    assert wrong.permanent
    assert 'password authentication failed for user "postgres"; set PGPASSWORD' in str(wrong)
    assert "wrong one" not in str(wrong)
    monkeypatch.delenv("PGPASSWORD")
    assert (await refusal(database.url)).permanent
    async with opened(database.url, password=Secret(PASSWORD)):
        pass
    nowhere = await refusal(database.url.rpartition("/")[0] + "/no%20where", password=Secret(PASSWORD))
    assert nowhere.permanent
    assert 'database "no where" does not exist; make it with: createdb no where' in str(nowhere)


async def test_missing_rights_say_which(database):
    database.sql(f"CREATE ROLE guest_{database.name} LOGIN PASSWORD 'guest'")
    guest = database.url.replace("postgres@", f"guest_{database.name}@")
    error = await refusal(guest, password=Secret("guest"))
    assert error.permanent
    assert "permission denied for database" in str(error)
    assert "GRANT CREATE ON DATABASE test_" in str(error)


async def test_tables_of_others_and_of_newer_versions_are_not_touched(database):
    database.sql("CREATE SCHEMA energy_live", "CREATE TABLE energy_live.readings (x int)")
    error = await refusal(database.url)
    assert error.permanent
    assert "has a table readings without a version" in str(error)
    assert database.rows("SELECT count(*) FROM readings") == ["0"]
    async with opened(f"{database.url}?schema=other"):
        database.sql("INSERT INTO other.schema_version VALUES (99)")
    newer = await refusal(f"{database.url}?schema=other")
    assert newer.permanent
    assert f"of version 99, this program knows {len(postgres_tables.MIGRATIONS)}; update energy-live" in str(
        newer
    )


async def test_tables_of_an_older_version_are_migrated(database, monkeypatch):
    async with opened(database.url) as output:
        await output.write([reading(0)], position(1))
    step = "ALTER TABLE readings ADD note text"
    monkeypatch.setattr(postgres_tables, "MIGRATIONS", (*postgres_tables.MIGRATIONS, step))
    for stored in (1, 3):
        async with opened(database.url) as output:
            assert number_at(await output.open()) == stored
            await output.write(batch_at(1, 2), position(3))
    assert database.rows("SELECT version FROM schema_version ORDER BY 1") == ["1", "2"]
    assert database.rows("SELECT count(*), count(note) FROM readings") == ["12|0"]


async def test_a_view_without_the_newest_quantities_is_made_again(database):
    async with opened(database.url):
        pass
    database.sql(
        "DROP VIEW energy_live.readings_wide",
        "CREATE VIEW energy_live.readings_wide AS SELECT time, source, id, "
        "(max(ARRAY[revision, value]) FILTER (WHERE quantity = 'grid_power'))[2] AS grid_power "
        "FROM energy_live.readings GROUP BY time, source, id",
    )
    async with opened(database.url) as output:
        await output.write([reading(7)], position(8))
    assert database.rows("SELECT grid_power, pv_power FROM readings_wide") == ["7|7"]


async def test_a_database_that_lacks_characters_is_refused(postgresql):
    postgresql.sql("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
    error = await refusal(f"postgresql://postgres@127.0.0.1:{postgresql.port}/latin")
    assert error.permanent
    assert "createdb -E UTF8" in str(error)


async def test_a_damaged_position_is_not_ignored(database):
    async with opened(database.url) as output:
        await output.write([reading(0)], position(1))
        database.sql("UPDATE energy_live.positions SET position = '{'")
    error = await refusal(database.url)
    assert error.permanent
    assert "delete the row 'energy-live' of energy_live.positions" in str(error)


async def test_the_process_that_opened_last_goes_on(database):
    async with (
        opened(database.url) as first,
        opened(database.url) as second,
        opened(database.url, name="b") as other,
    ):
        await second.write([reading(0)], position(1))
        with pytest.raises(OutputError, match="another process has taken over") as caught:
            await first.write([reading(1)], position(2))
        assert caught.value.permanent
        await other.write([reading(0), reading(1)], position(2))
        await second.write([reading(1)], position(2))
    assert database.rows("SELECT output, position LIKE '%id-2%' FROM positions ORDER BY 1") == [
        "b|t",
        "energy-live|t",
    ]
    assert database.rows("SELECT count(*) FROM readings") == ["8"]


async def test_tables_dropped_meanwhile_are_an_error_and_made_again_by_open(database):
    async with opened(database.url) as output:
        await output.write([reading(0)], position(1))
        database.sql("DROP SCHEMA energy_live CASCADE")
        with pytest.raises(OutputError) as caught:
            await output.write([reading(1)], position(2))
        assert caught.value.permanent
        assert "is not as energy-live made it" in str(caught.value)
        assert await output.open() == Checkpoint()


async def test_a_cancelled_write_stores_nothing(database):
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    async with opened(database.url) as output:
        await output.write([reading(0)], position(1))
        async with locked_positions(database):
            writing = asyncio.create_task(output.write([reading(1)], position(2)))
            async with asyncio.timeout(60):
                while await asyncio.to_thread(database.sql, waiting) != ["1"]:
                    pass
            writing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await writing
        assert await output.open() == position(1)
        await output.write([reading(1)], position(2))
    assert database.rows("SELECT count(*) FROM readings") == ["8"]


async def test_kills_at_random_moments_lose_and_double_nothing(database):
    """After each kill the tables hold exactly what the stored position says."""
    total, size, chance = 1_000_000, 25, random.Random(7)
    command = [sys.executable, "-m", "tests.real.postgres_writer", database.url, str(total), str(size)]
    found = "SELECT count(*), count(DISTINCT time), max(value), (SELECT count(*) FROM events) FROM readings"
    async with opened(database.url):
        pass
    watching = await asyncpg.connect(database.url, password=PASSWORD)
    for _ in range(KILLS):
        writer = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
        assert await writer.stdout.readline() == b"open\n"
        # Chosen by the number of stored readings; what the writer does at that moment is up to the machine.
        rows = "SELECT count(*) FROM energy_live.readings"
        target = await watching.fetchval(rows) + chance.randrange(4000)
        while await watching.fetchval(rows) < target:
            assert writer.returncode is None
        writer.kill()
        await writer.communicate()
        async with opened(database.url) as output:
            number = number_at(await output.open())
        events = 2 * (number // 50)
        assert database.rows(found) == [f"{number * 4}|{number}|{number - 1}|{events}"]
    await watching.close()


async def test_a_server_that_is_killed_and_started_again_loses_and_doubles_nothing(database):
    number = 0
    output = PostgresOutput(database.url)
    await output.open()
    for mode in ("immediate", "fast", "immediate"):
        for _ in range(3):
            await output.write(batch_at(number, 40), position(number + 40))
            number += 40
        database.server.stop(mode)
        try:
            with pytest.raises(OutputError) as caught:
                await output.write(batch_at(number, 40), position(number + 40))
            assert not caught.value.permanent
            with pytest.raises(OutputError) as caught:
                await output.open()
            assert not caught.value.permanent
            assert "no connection to PostgreSQL on 127.0.0.1" in str(caught.value)
        finally:
            database.server.start()
        assert number_at(await output.open()) == number
    await output.close()
    assert database.rows("SELECT count(*), max(value) FROM readings") == [f"{number * 4}|{number - 1}"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 110 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=110m", "tmpfs", str(folder)]
    if os.getuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a small file system")
    for each in (tmp_path, *tmp_path.parents):  # the server runs as another user
        if each.owner() == "root" and not each.stat().st_mode & 0o001:
            each.chmod(0o755)
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


async def test_a_full_disk_loses_nothing(small_disk):
    """The batch that does not fit is stored once there is room again."""
    server = PostgreSQLServer(folder=small_disk / "server")
    ballast, number, size = small_disk / "ballast", 0, 2000
    output = PostgresOutput(server.url)
    try:
        await output.open()
        free = os.statvfs(small_disk)
        with ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_bsize - 4 * 2**20)
        failed: OutputError | None = None
        while failed is None:
            try:
                await output.write(batch_at(number, size), position(number + size))
                number += size
            except OutputError as error:
                failed = error
        assert not failed.permanent
        await output.close()
        ballast.unlink()
        if not server.is_running():  # it ends when not even its log of changes can grow
            server.start()
        assert number_at(await output.open()) == number
        for _ in range(2):
            await output.write(batch_at(number, size), position(number + size))
            number += size
        found = "SELECT count(*), max(value) FROM energy_live.readings"
        assert server.sql(found) == [f"{number * 4}|{number - 1}"]
    finally:
        await output.close()
        server.remove()


async def test_tls_is_verified(tmp_path: Path) -> None:
    authority, other = trustme.CA(), trustme.CA()
    server = PostgreSQLServer()
    try:
        plain = await refusal(f"{server.url}?sslmode=verify-full")
        assert plain.permanent
        assert "offers no TLS" in str(plain)
        certificate = authority.issue_cert("127.0.0.1")
        certificate.private_key_pem.write_to_path(server.data / "server.key")
        certificate.cert_chain_pems[0].write_to_path(server.data / "server.crt")
        server.enable_tls()
        for name, each in (("ca.pem", authority), ("other.pem", other)):
            each.cert_pem.write_to_path(tmp_path / name)
        async with opened(f"{server.url}?sslmode=verify-full&sslrootcert={tmp_path}/ca.pem"):
            assert server.sql("SELECT count(*) FROM pg_stat_ssl WHERE ssl AND pid <> pg_backend_pid()") == [
                "1"
            ]
        for options in ("", f"&sslrootcert={tmp_path}/other.pem"):
            error = await refusal(f"{server.url}?sslmode=verify-full{options}")
            assert error.permanent
            assert "cannot be trusted" in str(error)
            assert "sslrootcert" in str(error)
        absent = await refusal(f"{server.url}?sslmode=verify-full&sslrootcert={tmp_path}/absent.pem")
        assert absent.permanent
        assert "No such file" in str(absent)
    finally:
        server.remove()


@asynccontextmanager
async def locked_positions(database: Database) -> AsyncIterator[None]:
    """Hold a lock on the table of positions in another session."""
    connection = await asyncpg.connect(database.url, password=PASSWORD)
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE energy_live.positions")
            yield
    finally:
        await connection.close()
