"""A product's statistics as tables: the vendor's own records, one row each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final

from attrs import frozen

from energy_live.archive.csv_lines import TIME, cell, distinct, stamp
from energy_live.archive.plan import Table
from energy_live.archive.retry import Patience
from voltstorage_async import Statistics, VoltStorageClient

_PART: Final = "."
"""Between the name of an object and that of its member."""


@frozen(kw_only=True)
class Records:
    """A table as it is written."""

    columns: list[str]
    rows: list[dict[str, str]]
    first: str | None
    last: str | None
    undated: int
    """Records that are not in it, because they do not say when their period began."""


async def records(client: VoltStorageClient, product_id: int, table: Table, patience: Patience) -> Records:
    """Read a table, request by request.

    Raises:
        RequestError: A part of it is not to be had.
        Stopped: Nothing is to be had any more.
    """
    found: dict[str, dict[str, str]] = {}
    undated = 0
    for start, end in table.requests:

        async def ask(start: datetime = start, end: datetime = end) -> Sequence[Statistics]:
            return await client.products.statistics(product_id, start, end, table.timespan)

        for one in await patience.ask(ask):
            if one.start is None:
                undated += 1
            elif table.timespan != "hour" or table.begin <= one.start < table.end:
                # A period that began in the request before is whole in this one.
                found[stamp(one.start)] = {TIME: stamp(one.start)} | dict(_cells(one.raw))
    return _table([found[time] for time in sorted(found)], undated)


def _table(rows: list[dict[str, str]], undated: int) -> Records:
    given = list(dict.fromkeys(name for row in rows for name in row if name != TIME))
    names = {TIME: TIME} | dict(zip(given, distinct(given), strict=True))
    return Records(
        columns=list(names.values()),
        rows=[{names[name]: value for name, value in row.items()} for row in rows],
        first=rows[0][TIME] if rows else None,
        last=rows[-1][TIME] if rows else None,
        undated=undated,
    )


def _cells(record: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in record.items():
        if isinstance(value, Mapping):
            yield from _cells(value, f"{prefix}{name}{_PART}")
        elif prefix or name != TIME:
            yield f"{prefix}{name}", cell(value)
