"""The tables of `PostgresOutput`, and the migrations from one version of them to the next.

All names are looked up in one schema, which the connection has as its ``search_path``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from energy_core.stream.vocabulary import Quantity
from energy_live.outputs.output import OutputError

if TYPE_CHECKING:
    import asyncpg

    from energy_live.outputs.postgres_target import PostgresTarget

MIGRATIONS: Final[Sequence[str]] = (
    """
    CREATE TABLE schema_version (version integer PRIMARY KEY, since timestamptz NOT NULL DEFAULT now());
    CREATE TABLE sources (
        source text PRIMARY KEY,
        vendor text NOT NULL, account text NOT NULL, site text NOT NULL, instance bigint NOT NULL
    );
    CREATE TABLE readings (
        time timestamptz NOT NULL, source text NOT NULL, quantity text NOT NULL,
        value double precision NOT NULL, unit text NOT NULL,
        id text NOT NULL, revision integer NOT NULL,
        received_at timestamptz NOT NULL, backfilled boolean NOT NULL,
        PRIMARY KEY (source, id, quantity, revision)
    );
    CREATE INDEX readings_time ON readings (time);
    CREATE TABLE events (
        time timestamptz NOT NULL, source text NOT NULL, kind text NOT NULL, id text NOT NULL,
        received_at timestamptz NOT NULL, detail jsonb NOT NULL,
        PRIMARY KEY (source, id, time)
    );
    CREATE INDEX events_time ON events (time);
    CREATE TABLE positions (
        output text PRIMARY KEY, writer uuid NOT NULL, position text NOT NULL,
        saved_at timestamptz NOT NULL DEFAULT now()
    );
    CREATE VIEW gaps AS
        SELECT source, (detail->>'from')::timestamptz AS start_time, (detail->>'to')::timestamptz AS end_time,
            detail->>'reason' AS reason,
            ARRAY(SELECT jsonb_array_elements_text(detail->'quantities')) AS quantities, received_at
        FROM events WHERE kind = 'gap';
    CREATE VIEW alarms AS
        SELECT time, source, (detail->>'active')::boolean AS active, detail->>'alarm' AS alarm,
            detail->>'text' AS text, detail->>'device' AS device,
            (detail->>'instance')::bigint AS instance, (detail->>'started')::timestamptz AS started
        FROM events WHERE kind = 'alarm';
    CREATE VIEW statuses AS
        SELECT time, source, detail->>'state' AS state, detail->>'reason' AS reason
        FROM events WHERE kind = 'status';
    """,
)
"""Statements that lead from each version to the next; the first creates the tables."""

# The value of the highest revision is the greatest of the arrays [revision, value]. The rows are grouped by
# `time` first, so that a condition on `time` reaches the index.
_WIDE_VIEW: Final = "CREATE OR REPLACE VIEW readings_wide AS SELECT time, source, id, {} {}".format(
    ", ".join(
        f"(max(ARRAY[revision, value]) FILTER (WHERE quantity = '{each}'))[2] AS {each}" for each in Quantity
    ),
    "FROM readings GROUP BY time, source, id",
)

_HYPERTABLE: Final = """
    ALTER TABLE readings DROP CONSTRAINT readings_pkey;
    ALTER TABLE readings ADD PRIMARY KEY (source, id, quantity, revision, time);
    SELECT {}.create_hypertable('readings', 'time');
    """
"""A hypertable needs its time in each unique key. An id has one time, so the longer key means the same."""


async def create_tables(connection: asyncpg.Connection[asyncpg.Record], target: PostgresTarget) -> None:
    """Create the tables, or migrate those of an older version. Call it in a transaction.

    Raises:
        OutputError: The tables are of a newer version or of another program, or the database cannot store
            every character.
    """
    if (encoding := await connection.fetchval("SHOW server_encoding")) != "UTF8":
        raise OutputError(
            f"{target.place} has the encoding {encoding}, which lacks characters of names; "
            "make the database with: createdb -E UTF8 -T template0",
            permanent=True,
        )
    # Two processes may open at the same time.
    await connection.execute("SELECT pg_advisory_xact_lock(hashtext('energy_live schema'))")
    version, newest = await _version(connection, target), len(MIGRATIONS)
    if version > newest:
        raise OutputError(
            f"the tables in {target.place} are of version {version}, this program knows {newest}; "
            "update energy-live, or choose another schema with ?schema=NAME",
            permanent=True,
        )
    if version == 0 and not await _exists(connection, f"to_regnamespace('{target.quoted_schema}')"):
        await connection.execute(f"CREATE SCHEMA {target.quoted_schema}")
    for number in range(version, newest):
        await connection.execute(MIGRATIONS[number])
        await connection.execute("INSERT INTO schema_version VALUES ($1)", number + 1)
    if version == 0:
        extension = "SELECT extnamespace::regnamespace::text FROM pg_extension WHERE extname = 'timescaledb'"
        if functions := await connection.fetchval(extension):
            await connection.execute(_HYPERTABLE.format(functions))
    columns = "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass('readings_wide')"
    if not set(Quantity).issubset(each["attname"] for each in await connection.fetch(columns)):
        await connection.execute(_WIDE_VIEW)


async def _version(connection: asyncpg.Connection[asyncpg.Record], target: PostgresTarget) -> int:
    if await _exists(connection, "to_regclass('schema_version')"):
        return await connection.fetchval("SELECT max(version) FROM schema_version") or 0
    for table in ("readings", "events", "sources", "positions"):
        if await _exists(connection, f"to_regclass('{table}')"):
            raise OutputError(
                f"{target.place} has a table {table} without a version, which energy-live did not make; "
                "rename it, or choose another schema with ?schema=NAME",
                permanent=True,
            )
    return 0


async def _exists(connection: asyncpg.Connection[asyncpg.Record], what: str) -> bool:
    return bool(await connection.fetchval(f"SELECT {what} IS NOT NULL"))
