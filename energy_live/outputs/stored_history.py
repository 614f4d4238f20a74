"""`StoredHistory`: reads what `SqliteOutput` has stored, also while it is written."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

from attrs import frozen

from energy_core.printable import printable
from energy_core.stream.vocabulary import Kind, SourceId
from energy_core.tables import Records
from energy_live.outputs.output import OutputError
from energy_live.outputs.sqlite_tables import US, connect

T = TypeVar("T")

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_US: Final = timedelta(microseconds=1)


@frozen
class StoredReading:
    """A stored value, or the mean of several."""

    time: datetime
    """Time of the value, or the beginning of the interval, aware."""
    source: str
    """vendor/account/site/instance, as `str(event.source)`."""
    quantity: str
    value: float
    """The value, or the mean of the interval, in `unit`."""
    unit: str
    least: float
    most: float
    count: int
    """Readings in the interval; 1 for a single value."""


@frozen
class StoredEvent:
    """A stored gap, alarm or change of state."""

    time: datetime
    source: str
    kind: str
    reason: str
    """The reason of a gap or state, or the text of an alarm."""
    state: str
    """The state, `raised` or `cleared` of an alarm; empty for a gap."""
    start: datetime | None
    """The beginning of a gap, aware; None for others."""
    end: datetime | None
    """The end of a gap, aware; None for others."""


class StoredHistory:
    """The file of a `SqliteOutput`, opened for reading. Reading runs in a thread of its own.

    ``async with StoredHistory(path) as history: await history.readings(start)``.

    Args:
        path: The file.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._thread: ThreadPoolExecutor | None = None
        self._connection: sqlite3.Connection | None = None

    async def __aenter__(self) -> Self:
        """Open the file.

        Raises:
            OutputError: There is no such file, or it cannot be read.
        """
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="energy stored history")
        try:
            await self._in_thread(self._open)
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        thread, self._thread = self._thread, None
        if thread is not None:
            await asyncio.get_running_loop().run_in_executor(thread, self._close)
            thread.shutdown(wait=False)

    async def readings(
        self,
        start: datetime,
        end: datetime | None = None,
        *,
        quantities: Collection[str] = (),
        sites: Collection[str | int] = (),
        step_s: int | None = None,
    ) -> Records[StoredReading]:
        """Return what was stored of a range, in the order of time. Of revised values the newest.

        Older parts of the range have one value a minute or an hour; `Retention` says from when on.

        Args:
            start: The beginning, aware.
            end: The end, aware, not included; None: everything from `start` on.
            quantities: Only these; empty: all.
            sites: Only these sites and products, by their number; empty: all.
            step_s: Returns means of intervals of this many seconds, which begin at multiples of it since 1970
                (UTC). None: as stored.

        Raises:
            ValueError: `step_s` is below 1, or a time has no zone.
            OutputError: The file cannot be read.
        """
        if step_s is not None and step_s < 1:
            raise ValueError(f"step_s must be a whole number of seconds from 1 on, not {step_s!r}")
        span = _us(start), 2**62 if end is None else _us(end)
        wanted = tuple(map(str, quantities)), tuple(map(str, sites))
        return await self._in_thread(lambda: self._readings(span, *wanted, step_s))

    async def latest(self, since: datetime, *, sites: Collection[str | int] = ()) -> Records[StoredReading]:
        """Return the newest stored value of each quantity of each device.

        Args:
            since: Only values from this time on, aware: an older one is no present value.
            sites: Only these sites and products, by their number; empty: all.

        Raises:
            ValueError: The time has no zone.
            OutputError: The file cannot be read.
        """
        found = await self.readings(since, sites=sites)
        newest = {(each.source, each.quantity): each for each in found}
        return Records(newest.values(), StoredReading)

    async def events(
        self, start: datetime, end: datetime | None = None, *, kinds: Collection[str] = ()
    ) -> Records[StoredEvent]:
        """Return the gaps, alarms and states that were stored of a range, in the order of time.

        Args:
            start: The beginning, aware. The time of a gap is its end.
            end: The end, aware, not included; None: everything from `start` on.
            kinds: `gap`, `alarm`, `status`; empty: all.

        Raises:
            ValueError: A time has no zone.
            OutputError: The file cannot be read.
        """
        span = _us(start), 2**62 if end is None else _us(end)
        return await self._in_thread(lambda: self._events(span, set(kinds)))

    async def sources(self) -> Sequence[SourceId]:
        """Return every device of which something is stored.

        Raises:
            OutputError: The file cannot be read.
        """
        select = "SELECT vendor, account, site, instance FROM sources ORDER BY 1, 2, 3, 4"
        return await self._in_thread(lambda: [SourceId(*row) for row in self._opened().execute(select)])

    # --- in the thread -------------------------------------------------------------------------------------

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._thread is None:
            raise OutputError(f"{self._path} is not open; use `async with`")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except sqlite3.Error as error:
            raise OutputError(f"{self._path} cannot be read, {error}") from None

    def _open(self) -> None:
        if not self._path.exists():
            raise OutputError(f"{self._path} does not exist; `energy-live run` makes it", permanent=True)
        self._connection = connect(self._path, write=False)
        self._connection.execute("SELECT 1 FROM raw_readings LIMIT 1").fetchone()

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            raise OutputError(f"{self._path} is not open")
        return self._connection

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _readings(
        self, span: tuple[int, int], quantities: Sequence[str], sites: Sequence[str], step_s: int | None
    ) -> Records[StoredReading]:
        connection = self._opened()
        sources = {
            number: source
            for number, source, site in connection.execute("SELECT number, source, site FROM sources")
            if not sites or site in sites
        }
        names = {
            number: (name, unit)
            for number, name, unit in connection.execute("SELECT number, quantity, unit FROM quantities")
            if not quantities or name in quantities
        }
        which = (
            f"source IN ({_numbers(sources)}) AND quantity IN ({_numbers(names)}) AND time >= ? AND time < ?"
        )
        columns = "source, quantity, time, mean, least, most, count"
        stored = f"""
            SELECT source, quantity, time, value AS mean, value AS least, value AS most, 1 AS count FROM (
                SELECT source, quantity, time, value, max(revision) FROM raw_readings WHERE {which}
                GROUP BY source, time, id, quantity)
            UNION ALL SELECT {columns} FROM minutes WHERE {which}
            UNION ALL SELECT {columns} FROM hours WHERE {which}"""
        if step_s is not None:
            step = step_s * US
            stored = f"""
                SELECT source, quantity, time / {step} * {step} AS time,
                    sum(mean * count) / sum(count) AS mean,
                    min(least) AS least, max(most) AS most, sum(count) AS count
                FROM ({stored}) GROUP BY source, quantity, time / {step}"""
        rows = connection.execute(f"{stored} ORDER BY time, source, quantity", span * 3)
        return Records(
            (
                StoredReading(
                    _EPOCH + time * _US, sources[source], names[of][0], mean, names[of][1], least, most, count
                )
                for source, of, time, mean, least, most, count in rows
            ),
            StoredReading,
        )

    def _events(self, span: tuple[int, int], kinds: Collection[str]) -> Records[StoredEvent]:
        select = "SELECT time, source, kind, detail FROM events WHERE time >= ? AND time < ? ORDER BY time"
        return Records(
            (
                _stored_event(_EPOCH + time * _US, source, kind, json.loads(detail))
                for time, source, kind, detail in self._opened().execute(select, span)
                if not kinds or kind in kinds
            ),
            StoredEvent,
        )

    @printable
    def __repr__(self) -> str:
        return f"<StoredHistory {self._path.name}>"


def _stored_event(time: datetime, source: str, kind: str, detail: dict[str, str]) -> StoredEvent:
    if kind == Kind.GAP:
        start, end = (datetime.fromisoformat(detail[name]) for name in ("from", "to"))
        return StoredEvent(time, source, kind, detail["reason"], "", start, end)
    if kind == Kind.ALARM:
        state = "raised" if detail["active"] else "cleared"
        return StoredEvent(time, source, kind, detail["text"], state, None, None)
    return StoredEvent(time, source, kind, detail["reason"], detail["state"], None, None)


def _numbers(of: Collection[int]) -> str:
    return ", ".join(map(str, of))


def _us(time: datetime) -> int:
    """Return microseconds since 1970.

    Raises:
        ValueError: The time has no zone.
    """
    if time.tzinfo is None:
        raise ValueError(f"the time must be aware: {time!r}")
    return (time - _EPOCH) // _US
