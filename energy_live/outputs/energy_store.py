"""The SQLite file of the energy counters: state, journal and what was published, changed in one transaction.

The state of a device is rewritten after some thousands of events only. Between, the events themselves are
kept in a journal, which is added to the state when the file is opened.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

from energy_core.errors import EnergyError
from energy_core.stream.checkpoint import Checkpoint
from energy_core.stream.event import Event
from energy_core.stream.vocabulary import Quantity, SourceId
from energy_live.outputs.output import OutputError

REMEDY: Final = "move it away, and the energies begin at 0"
"""What to do with a damaged file."""

DAMAGE: Final = (ValueError, TypeError, LookupError, OverflowError)
"""What reading a damaged state may raise."""

_VERSION: Final = 1
_TABLES: Final = """
CREATE TABLE position (id INTEGER PRIMARY KEY CHECK (id = 1), checkpoint TEXT NOT NULL);
CREATE TABLE device (source TEXT PRIMARY KEY, state TEXT NOT NULL);
CREATE TABLE journal (id INTEGER PRIMARY KEY, events TEXT NOT NULL);
CREATE TABLE energy (id INTEGER PRIMARY KEY, device TEXT NOT NULL, source TEXT NOT NULL,
    time INTEGER NOT NULL, microjoules TEXT NOT NULL, about TEXT NOT NULL);
CREATE INDEX energy_of_device ON energy (device, time);
CREATE TABLE missing (id INTEGER PRIMARY KEY, device TEXT NOT NULL, source TEXT NOT NULL,
    at INTEGER NOT NULL, begins INTEGER NOT NULL, ends INTEGER NOT NULL, power TEXT NOT NULL);
"""
_KEPT: Final = 31 * 86_400 * 1_000_000
"""Microseconds: published energies are kept so long, for outputs that were down."""


class EnergyRow(NamedTuple):
    """Cumulative energies of one device at one time, as they are published."""

    source: SourceId
    """The device whose powers were integrated."""
    time: int
    """Of the newest reading in them, in microseconds since 1970."""
    microjoules: Mapping[Quantity, int]
    about: Mapping[str, object]
    """Since when and over how many seconds each was measured; becomes `Event.raw`."""
    id: int = 0
    """Counts up in the order of publication."""


class MissingRow(NamedTuple):
    """A time span that is in no energy."""

    source: SourceId
    at: int
    """Time of the newest reading when this was found, in microseconds since 1970."""
    begins: int
    ends: int
    power: Quantity
    id: int = 0


class Stored(NamedTuple):
    """What `EnergyStore.load` returns."""

    position: str | None
    """The checkpoint; None in a new file."""
    states: Mapping[SourceId, Mapping[str, Any]]
    """State of the powers of each source, before the journal."""
    journal: Sequence[Event]
    newest: Mapping[str, EnergyRow]
    """The last published energies of each device."""
    missing_until: Mapping[tuple[str, Quantity], int]
    """Until when missing time was reported, in microseconds since 1970."""
    last_energy: int
    last_missing: int
    """Ids of the last rows."""


def device_of(source: SourceId) -> str:
    """Return the name of a device in the file; it does not contain the label of the account."""
    return json.dumps([source.vendor, source.site, source.instance], ensure_ascii=False)


class EnergyStore:
    """The file. All methods block; they are called in a thread, one at a time, but for the two readers.

    Args:
        path: Path of the file; its folder must exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection: sqlite3.Connection | None = None

    def load(self) -> Stored:
        """Open the file, create it if it is missing, and return its content.

        Raises:
            OutputError: It cannot be opened, is damaged, or is of a newer version.
        """
        with self._translated():
            # SQLite would create a file that everybody can read.
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
            connection = self._connection = _connect(self.path)
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version > _VERSION:
                raise OutputError(f"{self.path.name} was written by a newer version", permanent=True)
            if version == 0:
                connection.executescript(f"BEGIN; {_TABLES} PRAGMA user_version = {_VERSION}; COMMIT")
            return _stored(connection)

    def save(
        self,
        position: str,
        events: Sequence[str],
        energies: Iterable[EnergyRow],
        missing: Iterable[MissingRow],
        states: Mapping[SourceId, Mapping[str, Any]] | None,
    ) -> None:
        """Store everything of one batch durably.

        Args:
            position: The checkpoint behind the batch.
            events: The batch, as far as it changes a state, one line of JSON each.
            energies: What is published.
            missing: The same.
            states: The states behind the batch, which replace the journal; None: the journal grows.

        Raises:
            OutputError: Nothing was stored.
        """
        connection = self._connection
        if connection is None:
            raise OutputError("the energy counters are not open")
        with self._translated(), connection:
            connection.execute("BEGIN IMMEDIATE")
            if states is None:
                connection.execute("INSERT INTO journal (events) VALUES (?)", ("\n".join(events),))
            else:
                connection.execute("DELETE FROM journal")
                connection.execute("DELETE FROM device")
                rows = ((_text(source), json.dumps(state)) for source, state in states.items())
                connection.executemany("INSERT INTO device VALUES (?, ?)", rows)
            for row in energies:
                told = json.dumps(row.microjoules), json.dumps(row.about)
                values = (device_of(row.source), _text(row.source), row.time, *told)
                connection.execute(
                    "INSERT INTO energy (device, source, time, microjoules, about) VALUES (?, ?, ?, ?, ?)",
                    values,
                )
                connection.execute(
                    "DELETE FROM energy WHERE device = ? AND time < ?", (values[0], row.time - _KEPT)
                )
            connection.executemany(
                "INSERT INTO missing (device, source, at, begins, ends, power) VALUES (?, ?, ?, ?, ?, ?)",
                [
                    (device_of(each.source), _text(each.source), each.at, each.begins, each.ends, each.power)
                    for each in missing
                ],
            )
            connection.execute(
                "INSERT INTO position VALUES (1, ?) "
                "ON CONFLICT DO UPDATE SET checkpoint = excluded.checkpoint",
                (position,),
            )

    def close(self) -> None:
        """Close the file; idempotent."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()

    # --- what was published, each over a connection of its own ----------------------------------------------

    def devices(self) -> list[str]:
        """Return the devices with published energies.

        Raises:
            OutputError: The file cannot be read.
        """
        return [device for (device,) in self._rows("SELECT DISTINCT device FROM energy")]

    def energies(self, where: str, *values: int | str) -> list[EnergyRow]:
        """Return published energies in their order.

        Args:
            where: A condition on `id`, `device` and `time`.
            values: Its values.

        Raises:
            OutputError: The file cannot be read.
        """
        columns = "source, time, microjoules, about, id"
        query = f"SELECT {columns} FROM energy WHERE {where} ORDER BY id"  # noqa: S608  (no text from outside)
        return [_energy(*row) for row in self._rows(query, *values)]

    def missing(self, where: str, *values: int | str) -> list[MissingRow]:
        """Return time that was reported as not measured, like `energies`."""
        query = f"SELECT * FROM (SELECT *, at AS time FROM missing) WHERE {where} ORDER BY id"  # noqa: S608
        return [
            MissingRow(_source(source), at, begins, ends, Quantity(power), number)
            for number, _, source, at, begins, ends, power, _ in self._rows(query, *values)
        ]

    def _rows(self, query: str, *values: int | str) -> list[Any]:
        with self._translated():
            connection = _connect(self.path)
            try:
                return connection.execute(query, values).fetchall()
            finally:
                connection.close()

    @contextmanager
    def _translated(self) -> Generator[None]:
        name = self.path.name
        try:
            yield
        except OutputError:
            raise
        except sqlite3.OperationalError as error:
            raise OutputError(f"{name} cannot be used: {error}") from None
        except OSError as error:
            raise OutputError(f"{name} cannot be opened, {error.strerror}") from None
        except (sqlite3.DatabaseError, EnergyError, *DAMAGE) as error:
            raise OutputError(
                f"{name} is damaged ({error}): move it away; the energies then begin at 0 again",
                permanent=True,
            ) from None


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=10.0, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")  # a position on disk means energies on disk
    except BaseException:
        connection.close()
        raise
    return connection


def _stored(connection: sqlite3.Connection) -> Stored:
    position = connection.execute("SELECT checkpoint FROM position").fetchone()
    if position is not None:
        Checkpoint.from_json(position[0])
    newest = connection.execute(
        "SELECT source, time, microjoules, about, energy.id, device FROM energy JOIN "
        "(SELECT max(id) AS id FROM energy GROUP BY device) AS last ON energy.id = last.id"
    )
    until = connection.execute("SELECT device, power, max(ends) FROM missing GROUP BY device, power")
    journal = connection.execute("SELECT events FROM journal ORDER BY id")
    (last_energy,) = connection.execute("SELECT coalesce(max(id), 0) FROM energy").fetchone()
    (last_missing,) = connection.execute("SELECT coalesce(max(id), 0) FROM missing").fetchone()
    return Stored(
        position=None if position is None else position[0],
        states={
            _source(source): json.loads(state)
            for source, state in connection.execute("SELECT source, state FROM device")
        },
        journal=[Event.from_json(line) for (lines,) in journal for line in lines.splitlines()],
        newest={row[5]: _energy(*row[:5]) for row in newest},
        missing_until={(device, Quantity(power)): end for device, power, end in until},
        last_energy=last_energy,
        last_missing=last_missing,
    )


def _energy(source: str, time: int, microjoules: str, about: str, id: int) -> EnergyRow:  # noqa: A002
    values = {Quantity(name): int(value) for name, value in json.loads(microjoules).items()}
    return EnergyRow(_source(source), time, values, json.loads(about), id)


def _text(source: SourceId) -> str:
    return json.dumps(source, ensure_ascii=False)


def _source(text: str) -> SourceId:
    vendor, account, site, instance = json.loads(text)
    return SourceId(vendor, account, site, instance)
