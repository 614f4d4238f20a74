"""The tables of `SqliteOutput`: creation, migration, check, and what is kept for how long.

`raw_readings` has what was delivered, and its primary key keeps each value once. After some days the readings
of a minute become one row of `minutes`, and later those of an hour one row of `hours`. The views `readings`,
`readings_wide`, `gaps`, `alarms` and `statuses` have the columns of the PostgreSQL output.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from attrs import frozen

from energy_core.stream.vocabulary import Quantity
from energy_live.outputs.output import OutputError

APPLICATION_ID: Final = 0x656E6C76
"""Marks the file as ours: "enlv"."""

US: Final = 1_000_000
"""Microseconds in a second: times are integers, microseconds since 1970 (UTC)."""
MINUTE: Final = 60 * US
HOUR: Final = 3600 * US
DAY: Final = 86_400 * US

BUSY_S: Final = 10.0
"""Seconds to wait for another program that has locked the file."""
_LARGE: Final = 512 * 1024 * 1024
"""Bytes; of a larger file only the small tables are checked at the start."""

_MEANS: Final = """(
    source INTEGER NOT NULL, quantity INTEGER NOT NULL, time INTEGER NOT NULL,
    count INTEGER NOT NULL, mean REAL NOT NULL, least REAL NOT NULL, most REAL NOT NULL,
    PRIMARY KEY (source, quantity, time)
) WITHOUT ROWID"""

MIGRATIONS: Final[Sequence[Sequence[str]]] = (
    (
        """CREATE TABLE sources (
            number INTEGER PRIMARY KEY, source TEXT NOT NULL UNIQUE,
            vendor TEXT NOT NULL, account TEXT NOT NULL, site TEXT NOT NULL, instance INTEGER NOT NULL
        )""",
        """CREATE TABLE quantities (
            number INTEGER PRIMARY KEY, quantity TEXT NOT NULL UNIQUE, unit TEXT NOT NULL
        )""",
        # An id has one time, so this key means (source, id, quantity, revision), and keeps rows in the order
        # in which they are read.
        """CREATE TABLE raw_readings (
            source INTEGER NOT NULL, time INTEGER NOT NULL, id TEXT NOT NULL, quantity INTEGER NOT NULL,
            revision INTEGER NOT NULL, value REAL NOT NULL, delay_ms INTEGER NOT NULL,
            backfilled INTEGER NOT NULL, PRIMARY KEY (source, time, id, quantity, revision)
        ) WITHOUT ROWID""",
        f"CREATE TABLE minutes {_MEANS}",
        f"CREATE TABLE hours {_MEANS}",
        """CREATE TABLE events (
            time INTEGER NOT NULL, source TEXT NOT NULL, kind TEXT NOT NULL, id TEXT NOT NULL,
            received_at INTEGER NOT NULL, detail TEXT NOT NULL, PRIMARY KEY (source, id, time)
        ) WITHOUT ROWID""",
        "CREATE INDEX events_time ON events (kind, time)",
        """CREATE TABLE positions (
            output TEXT PRIMARY KEY, position TEXT NOT NULL, saved_at INTEGER NOT NULL
        )""",
    ),
)
"""Statements that lead from each version to the next; the first creates the tables."""

_TIME: Final = "strftime('%Y-%m-%dT%H:%M:%f', {0} / 1e6, 'unixepoch') || 'Z'"

_DETAIL: Final = "json_extract(detail, '$.{0}')"

_LATEST: Final = """
    FROM raw_readings r JOIN sources s ON s.number = r.source JOIN quantities q ON q.number = r.quantity"""

VIEWS: Final = {
    "readings": f"""
        SELECT {_TIME.format("r.time")} AS time, s.source, q.quantity, r.value, q.unit, r.id, r.revision,
            {_TIME.format("(r.time + r.delay_ms * 1000)")} AS received_at, r.backfilled,
            r.time / 1e6 AS unix_time {_LATEST}""",
    # Of each value the highest revision: SQLite takes `value` from the row that has the maximum.
    "readings_wide": f"""
        SELECT {_TIME.format("time")} AS time, source, id, {{columns}}, time / 1e6 AS unix_time
        FROM (SELECT r.time, s.source, r.id, q.quantity, r.value, max(r.revision) {_LATEST}
              GROUP BY r.source, r.time, r.id, r.quantity)
        GROUP BY source, time, id""",
    "gaps": f"""
        SELECT source, {_DETAIL.format("from")} AS start_time, {_DETAIL.format("to")} AS end_time,
            {_DETAIL.format("reason")} AS reason, {_DETAIL.format("quantities")} AS quantities,
            {_TIME.format("received_at")} AS received_at FROM events WHERE kind = 'gap'""",
    "alarms": f"""
        SELECT {_TIME.format("time")} AS time, source, {_DETAIL.format("active")} AS active,
            {_DETAIL.format("alarm")} AS alarm, {_DETAIL.format("text")} AS text,
            {_DETAIL.format("device")} AS device,
            {_DETAIL.format("instance")} AS instance, {_DETAIL.format("started")} AS started
        FROM events WHERE kind = 'alarm'""",
    "statuses": f"""
        SELECT {_TIME.format("time")} AS time, source, {_DETAIL.format("state")} AS state,
            {_DETAIL.format("reason")} AS reason FROM events WHERE kind = 'status'""",
}
"""The views, replaced at each start: a new quantity is a new column."""


@frozen(kw_only=True)
class Retention:
    """How long a local database keeps what it stores; 0 days: for ever.

    Raises:
        ValueError: A number of days is negative.
    """

    raw_days: int = 7
    """Days of readings as they were delivered; then the means of minutes remain."""
    minute_days: int = 90
    """Days of minutes; then the means of hours remain."""
    hour_days: int = 0
    """Days of hours."""
    event_days: int = 365
    """Days of gaps, alarms and states."""

    def __attrs_post_init__(self) -> None:
        for name in ("raw_days", "minute_days", "hour_days", "event_days"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 or more days, not {getattr(self, name)}")


def connect(path: Path, *, write: bool) -> sqlite3.Connection:
    """Open the file; with `write`, create it if it does not exist.

    Raises:
        sqlite3.Error: It cannot be opened.
    """
    mode = "rwc" if write else "ro"
    uri = path.absolute().as_uri() + f"?mode={mode}"
    connection = sqlite3.connect(uri, uri=True, timeout=BUSY_S, isolation_level=None)
    connection.execute("PRAGMA cache_size = -8000")
    if write:
        connection.execute("PRAGMA journal_mode = WAL")
        # A power cut may lose the last transactions, and never a part of one: the position in them is lost
        # with them, so that their readings are fetched again.
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA journal_size_limit = 16777216")
    return connection


def prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Check the file, and create or migrate its tables.

    Raises:
        OutputError: It is damaged, of a newer version, or of another program.
        sqlite3.Error: It cannot be read or written.
    """
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application != APPLICATION_ID and (application or version or tables):
        raise OutputError(f"{path} is a database of another program; choose another file", permanent=True)
    if version > len(MIGRATIONS):
        raise OutputError(
            f"{path} is of version {version}, this program knows {len(MIGRATIONS)}; update energy-live, or "
            "choose another file",
            permanent=True,
        )
    _check(connection, path)
    connection.execute("BEGIN IMMEDIATE")
    with connection:
        for number in range(version, len(MIGRATIONS)):
            for statement in MIGRATIONS[number]:
                connection.execute(statement)
        if version < len(MIGRATIONS):
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        _replace_views(connection)


def _check(connection: sqlite3.Connection, path: Path) -> None:
    """Check the pages of the file; of a large one those of its small tables.

    Raises:
        OutputError: It is damaged.
    """
    small = path.stat().st_size <= _LARGE
    checks = ["quick_check(1)"] if small else [f"quick_check({name})" for name in ("positions", "sources")]
    for check in checks:
        (found,) = connection.execute(f"PRAGMA {check}").fetchone()
        if found != "ok":
            raise damaged(path, str(found))


def damaged(path: Path, how: str) -> OutputError:
    """Return the error of a damaged file, which names the remedy."""
    return OutputError(
        f"{path} is damaged ({how.splitlines()[0]}); stop energy-live, save what is left with "
        f"`sqlite3 {path.name} .recover`, and move the file away: a new one is made",
        permanent=True,
    )


def _replace_views(connection: sqlite3.Connection) -> None:
    columns = ", ".join(f"max(value) FILTER (WHERE quantity = '{each}') AS {each}" for each in Quantity)
    known = dict(connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'view'"))
    for name, select in VIEWS.items():
        statement = f"CREATE VIEW {name} AS {select.format(columns=columns)}"
        if known.get(name) != statement:
            connection.execute(f"DROP VIEW IF EXISTS {name}")
            connection.execute(statement)


# --- what is kept for how long -----------------------------------------------------------------------------


def thin_out(connection: sqlite3.Connection, retention: Retention, now: int) -> bool:
    """Replace the oldest hour or day of readings that is older than it may be; return whether to go on.

    One step is one transaction of a few milliseconds, so that new readings do not wait. A row that came after
    its minute was replaced fills a minute without one, or replaces the value of a minute that had one only.

    Args:
        connection: The database, not in a transaction.
        retention: What to keep.
        now: The present, in microseconds since 1970.
    """
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        return (
            _thin_readings(connection, _limit(now, retention.raw_days, DAY))
            or _thin_means(connection, _limit(now, retention.minute_days, DAY))
            or _forget(connection, "hours", _limit(now, retention.hour_days, DAY))
            or _forget(connection, "events", _limit(now, retention.event_days, DAY))
        )


def _limit(now: int, days: int, unit: int) -> int:
    """Return the time before which rows are replaced, a whole number of days; 0 without a limit."""
    return (now // unit - days) * unit if days else 0


def _thin_readings(connection: sqlite3.Connection, limit: int) -> bool:
    """Replace the readings of the first hour before `limit` of one source by minutes."""
    span = _oldest(connection, "raw_readings", limit, HOUR)
    if span is None:
        return False
    latest = """SELECT source, quantity, time, value, max(revision) AS revision FROM raw_readings
        WHERE source = ? AND time >= ? AND time < ? GROUP BY source, time, id, quantity"""
    minutes = f"""
        INSERT INTO minutes
        SELECT source, quantity, time / {MINUTE} * {MINUTE}, count(*), avg(value), min(value), max(value)
        FROM ({latest}) WHERE true GROUP BY source, quantity, time / {MINUTE} {{having}}
        ON CONFLICT (source, quantity, time) DO """
    replace = "UPDATE SET mean = excluded.mean, least = excluded.least, most = excluded.most WHERE count = 1"
    connection.execute(minutes.format(having="HAVING max(revision) > 0") + replace, span)
    connection.execute(minutes.format(having="") + "NOTHING", span)
    connection.execute("DELETE FROM raw_readings WHERE source = ? AND time >= ? AND time < ?", span)
    return True


def _thin_means(connection: sqlite3.Connection, limit: int) -> bool:
    """Replace the minutes of the first day before `limit` of one source by hours."""
    span = _oldest(connection, "minutes", limit, DAY)
    if span is None:
        return False
    connection.execute(
        f"""
        INSERT INTO hours
        SELECT source, quantity, time / {HOUR} * {HOUR}, sum(count), sum(mean * count) / sum(count),
            min(least), max(most)
        FROM minutes WHERE source = ? AND time >= ? AND time < ? GROUP BY source, quantity, time / {HOUR}
        ON CONFLICT DO NOTHING""",
        span,
    )
    connection.execute("DELETE FROM minutes WHERE source = ? AND time >= ? AND time < ?", span)
    return True


def _oldest(
    connection: sqlite3.Connection, table: str, limit: int, length: int
) -> tuple[int, int, int] | None:
    """Return a source that has rows before `limit`, and the first interval of them, as start and end."""
    if limit:
        for (source,) in connection.execute("SELECT number FROM sources").fetchall():
            select = f"SELECT min(time) FROM {table} WHERE source = ?"
            if table == "minutes":  # its key has the quantity before the time
                select = f"""SELECT min((SELECT min(time) FROM {table} m
                    WHERE m.source = ? AND m.quantity = q.number)) FROM quantities q"""
            (first,) = connection.execute(select, (source,)).fetchone()
            if first is not None and first < limit:
                start = first // length * length
                return source, start, start + length
    return None


def _forget(connection: sqlite3.Connection, table: str, limit: int) -> bool:
    """Delete the first day before `limit`."""
    (first,) = connection.execute(f"SELECT min(time) FROM {table}").fetchone() if limit else (None,)
    if first is None or first >= limit:
        return False
    connection.execute(f"DELETE FROM {table} WHERE time < ?", (min(limit, (first // DAY + 1) * DAY),))
    return True
