"""`PostgresOutput`: stores events in PostgreSQL, each exactly once.

A batch and the position behind it are stored in one transaction, so a crash at any moment leaves both or
neither. The primary keys drop what is written twice, such as after a lost answer to a COMMIT.
docs/how-to/postgresql-and-grafana.md shows how to use it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from energy_core.errors import CheckpointError
from energy_core.printable import printable
from energy_core.secret import Secret
from energy_core.stream.checkpoint import Checkpoint
from energy_core.stream.event import Event
from energy_core.stream.event_json import detail_members
from energy_core.stream.vocabulary import Kind, SourceId
from energy_live.outputs.output import OutputError, RefusedEvent
from energy_live.outputs.postgres_tables import create_tables
from energy_live.outputs.postgres_target import UNSTORABLE, PostgresTarget

if TYPE_CHECKING:
    import asyncpg

CONNECT_S: Final = 30.0
COMMAND_S: Final = 60.0
"""Seconds until a connection attempt or a statement that got no answer fails."""

_SERVER_SETTINGS: Final = {
    "application_name": "energy-live",
    # The server ends the transaction of a client that vanished; otherwise its locks would stay for hours.
    "idle_in_transaction_session_timeout": "60s",
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
}
_COLUMNS: Final = (
    *("time", "source", "quantity", "value", "unit"),
    *("id", "revision", "received_at", "backfilled"),
)


class PostgresOutput:
    """Stores events in tables of PostgreSQL, exactly once, and the position in the same transaction.

    Readings are rows of `readings` with the primary key (source, id, quantity, revision): a revision is a row
    of its own. The view `readings_wide` has one column for each quantity, of the highest revision. Other
    events are rows of `events` with the views `gaps`, `alarms` and `statuses`. Where the extension
    TimescaleDB is installed in the database, `readings` becomes a hypertable (untested).

    Needs the extra `postgres`. The connection is encrypted and the certificate verified unless the server
    runs on this machine; ``?sslmode=disable`` leaves the encryption out.

    Args:
        url: ``postgresql://USER@HOST:PORT/DATABASE``, without a password. Options: `schema` (default
            energy_live), `sslmode`, `sslrootcert` (a file of trusted certificates), `host` (the folder of a
            Unix socket).
        password: None: ``PGPASSWORD``, or the file ``~/.pgpass``.
        name: Names the position in the table `positions`. Two processes that store into one schema need
            different names: the one that opened last goes on, the other gets an error.

    Raises:
        ValueError: The URL is not valid, or holds a password.
    """

    idempotent = True

    def __init__(self, url: str, *, password: Secret | None = None, name: str = "energy-live") -> None:
        self._target = PostgresTarget.of_url(url)
        self._password = password
        self._name = name
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None
        self._writer = uuid4()
        self._known_sources: set[SourceId] = set()
        self._expects_duplicates = True
        """Whether the next batch goes through the temporary table; a plain COPY is 1.5 times as fast."""

    async def open(self) -> Checkpoint:
        """Connect, create or migrate the tables, and return the stored position. Cancelling is safe.

        Raises:
            OutputError: No connection, a missing database or right, tables of a newer version or of others.
        """
        try:
            import asyncpg  # noqa: F401, PLC0415  (an extra)
        except ImportError:
            what = 'PostgreSQL needs an extra: pip install "energy-live[postgres]"'
            raise OutputError(what, permanent=True) from None
        await self.close()
        try:
            self._connection = connection = await self._connect()
            async with connection.transaction():
                await create_tables(connection, self._target)
                position = await self._take_over(connection)
            await connection.execute("CREATE TEMP TABLE new_readings (LIKE readings) ON COMMIT DELETE ROWS")
        except Exception as error:  # noqa: BLE001  (others are raised unchanged)
            raise self._target.output_error(error) from None
        self._known_sources.clear()
        self._expects_duplicates = True
        try:
            return Checkpoint.from_json(position) if position else Checkpoint()
        except CheckpointError as error:
            table = f"{self._target.schema}.positions"
            what = f"{error.fault}: delete the row {self._name!r} of {table} to start from now"
            raise OutputError(
                f"the position stored in {table} cannot be used, {what}", permanent=True
            ) from None

    async def write(self, batch: Sequence[Event], position: Checkpoint) -> Sequence[RefusedEvent] | None:
        """Store events and position in one transaction. Cancelling is safe: then neither is stored.

        Raises:
            OutputError: Neither was stored, or the answer to the COMMIT was lost. Writing the batch again
                stores only what is missing.
        """
        connection = self._connection
        if connection is None:
            raise OutputError("the connection to PostgreSQL is closed")
        try:
            async with connection.transaction():
                # First, because the row's lock makes the transaction of a vanished process end before ours.
                await self._store_position(connection, position)
                await self._store_sources(connection, batch)
                await self._store_readings(connection, batch)
                await self._store_events(connection, batch)
        except Exception as error:  # noqa: BLE001  (others are raised unchanged)
            raise self._target.output_error(error) from None
        return None

    async def close(self) -> None:
        """Close the connection. Cancelling is safe: it is then closed without goodbye."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            await connection.close(timeout=5)
        except Exception:  # noqa: BLE001  (the connection may be broken in any way)
            connection.terminate()
        except BaseException:
            connection.terminate()
            raise

    async def _connect(self) -> asyncpg.Connection[asyncpg.Record]:
        import asyncpg  # noqa: PLC0415  (an extra)

        target = self._target
        context = await asyncio.to_thread(target.ssl_context)
        return await asyncpg.connect(
            host=target.host,
            port=target.port,
            user=target.user,
            database=target.database,
            password=self._password.reveal() if self._password is not None else None,
            ssl=context if context is not None else False,
            timeout=CONNECT_S,
            command_timeout=COMMAND_S,
            server_settings={**_SERVER_SETTINGS, "search_path": target.quoted_schema},
        )

    # --- one batch -----------------------------------------------------------------------------------------

    async def _take_over(self, connection: asyncpg.Connection[asyncpg.Record]) -> str:
        """Make this object the only writer of the position, and return it; empty if there is none."""
        self._writer = uuid4()
        return str(
            await connection.fetchval(
                "INSERT INTO positions (output, writer, position) VALUES ($1, $2, '')"
                " ON CONFLICT (output) DO UPDATE SET writer = EXCLUDED.writer RETURNING position",
                self._name,
                self._writer,
            )
        )

    async def _store_position(
        self, connection: asyncpg.Connection[asyncpg.Record], position: Checkpoint
    ) -> None:
        done = await connection.execute(
            "UPDATE positions SET position = $3, saved_at = now() WHERE output = $1 AND writer = $2",
            self._name,
            self._writer,
            position.to_json(),
        )
        if done != "UPDATE 1":
            raise OutputError(
                f"another process has taken over the position {self._name!r} in {self._target.place}; "
                "give each process that stores there a name of its own",
                permanent=True,
            )

    async def _store_sources(
        self, connection: asyncpg.Connection[asyncpg.Record], batch: Sequence[Event]
    ) -> None:
        if new := {event.source for event in batch}.difference(self._known_sources):
            await connection.executemany(
                "INSERT INTO sources VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
                [(_storable(str(each)), *map(_storable, each[:3]), each.instance) for each in sorted(new)],
            )
            self._known_sources |= new  # if the transaction fails, the output is opened again

    async def _store_readings(
        self, connection: asyncpg.Connection[asyncpg.Record], batch: Sequence[Event]
    ) -> None:
        import asyncpg  # noqa: PLC0415  (an extra)

        rows = _reading_rows(batch)
        if not rows:
            return
        if not self._expects_duplicates:
            try:
                async with connection.transaction():  # a savepoint
                    await connection.copy_records_to_table("readings", records=rows, columns=_COLUMNS)
            except asyncpg.UniqueViolationError:
                pass
            else:
                return
        await connection.copy_records_to_table("new_readings", records=rows, columns=_COLUMNS)
        done = await connection.execute(
            "INSERT INTO readings SELECT * FROM new_readings ON CONFLICT DO NOTHING"
        )
        self._expects_duplicates = done != f"INSERT 0 {len(rows)}"

    async def _store_events(
        self, connection: asyncpg.Connection[asyncpg.Record], batch: Sequence[Event]
    ) -> None:
        if rows := [_event_row(event) for event in batch if event.kind is not Kind.READING]:
            await connection.executemany(
                "INSERT INTO events VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
                rows,
            )

    @printable
    def __repr__(self) -> str:
        target = self._target
        where = f"{target.host or 'local'}:{target.port}/{target.database or ''}"
        return f"<PostgresOutput {where} {target.schema}>"


def _storable(text: str) -> str:
    return text if text.isprintable() else UNSTORABLE.sub("\ufffd", text)


def _reading_rows(
    batch: Sequence[Event],
) -> list[tuple[datetime, str, str, float, str, str, int, datetime, bool]]:
    sources: dict[SourceId, str] = {}
    rows = []
    for event in batch:
        if event.kind is Kind.READING:
            source = sources.get(event.source)
            if source is None:
                source = sources[event.source] = _storable(str(event.source))
            name, time, revision = _storable(event.id), event.time, event.revision
            received_at, backfilled = event.received_at, event.backfilled
            rows += [
                (time, source, each.value, value, each.unit, name, revision, received_at, backfilled)
                for each, value in event.values.items()
            ]
    return rows


def _event_row(event: Event) -> tuple[datetime, str, str, str, datetime, str]:
    detail = json.dumps(_storable_json(detail_members(event.detail)), ensure_ascii=False)
    source = _storable(str(event.source))
    return event.time, source, event.kind.value, _storable(event.id), event.received_at, detail


def _storable_json(value: object) -> object:
    match value:
        case dict():
            return {name: _storable_json(each) for name, each in value.items()}
        case str():
            return _storable(value)
    return value
