"""Reads a product's statistics as tables with the vendor's own columns.

The counterpart of `history`: one module for each kind of data that an archive fetches.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final

from attrs import frozen

from energy_live.archive.csv_lines import TIME, format_cell, format_time, unique_names
from energy_live.archive.plan import StatisticsTable
from energy_live.archive.retry import RetryPolicy
from voltstorage_async import VoltStorageClient
from voltstorage_async.models import Statistics

_SEPARATOR: Final = "."
"""Joins the name of an object and of its member to a column name."""


@frozen(kw_only=True)
class StatisticsRows:
    """Rows of one table, in order of time."""

    columns: list[str]
    rows: list[dict[str, str]]
    first: str | None
    """Time of the first row."""
    last: str | None
    undated: int
    """Records that were left out because they have no time."""


async def read_statistics(
    client: VoltStorageClient, product_id: int, table: StatisticsTable, policy: RetryPolicy
) -> StatisticsRows:
    """Send the table's requests one after the other and return their rows.

    Raises:
        RequestError: One of the requests failed.
        RunStopped: The account or the service cannot be reached any more.
    """
    rows: dict[str, dict[str, str]] = {}
    undated = 0
    for start, end in table.requests:

        async def request(start: datetime = start, end: datetime = end) -> Sequence[Statistics]:
            return await client.products.statistics(product_id, start, end, timespan=table.timespan)

        for record in await policy.call(request):
            if record.start is None:
                undated += 1
            elif table.timespan != "hour" or table.begin <= record.start < table.end:
                # A period that was cut by the end of one request is complete in the next and replaces it.
                time = format_time(record.start)
                rows[time] = {TIME: time} | dict(_cells(record.raw))
    return _table([rows[time] for time in sorted(rows)], undated)


def _table(rows: list[dict[str, str]], undated: int) -> StatisticsRows:
    given = list(dict.fromkeys(name for row in rows for name in row if name != TIME))
    names = {TIME: TIME} | dict(zip(given, unique_names(given), strict=True))
    return StatisticsRows(
        columns=list(names.values()),
        rows=[{names[name]: value for name, value in row.items()} for row in rows],
        first=rows[0][TIME] if rows else None,
        last=rows[-1][TIME] if rows else None,
        undated=undated,
    )


def _cells(record: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Return column names and cells of a record; the members of an object become columns."""
    for name, value in record.items():
        if isinstance(value, Mapping):
            yield from _cells(value, f"{prefix}{name}{_SEPARATOR}")
        elif prefix or name != TIME:
            yield f"{prefix}{name}", format_cell(value)
