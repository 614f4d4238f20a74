"""Reads the past from a local database of `energy-live run`, as events for the homes of the page."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from energy_core import Event, Gap, Kind, Quantity, SourceId
from energy_live.outputs.output import OutputError
from energy_live.outputs.stored_history import StoredEvent, StoredHistory, StoredReading

STEP_S: Final = 60
"""The past is read as means of so many seconds."""
SPAN: Final = timedelta(hours=25)

_NAMES: Final[Mapping[str, Quantity]] = {quantity.value: quantity for quantity in Quantity}


async def stored_day(path: str | os.PathLike[str], now: datetime) -> list[Event]:
    """Return the last 25 hours of a database; empty if the file does not exist yet.

    Args:
        path: The file of an `SqliteOutput`.
        now: The present time, aware.

    Raises:
        OutputError: The file cannot be read.
    """
    if not await asyncio.to_thread(Path(path).exists):
        return []
    return await stored_events(path, now - SPAN, now)


async def stored_events(path: str | os.PathLike[str], start: datetime, end: datetime) -> list[Event]:
    """Return the readings and gaps of a range, in the order of time.

    Raises:
        OutputError: The file cannot be read.
    """
    async with StoredHistory(path) as history:
        readings = await history.readings(start, end, step_s=STEP_S)
        gaps = await history.events(start, kinds=["gap"])
        sources = {str(source): source for source in await history.sources()}
    events = [*_readings(readings, sources), *_gaps(gaps, sources)]
    events.sort(key=lambda event: event.time)
    return _numbered(events)


def _readings(stored: Iterable[StoredReading], sources: Mapping[str, SourceId]) -> list[Event]:
    values: dict[tuple[str, datetime], dict[Quantity, float]] = {}
    for each in stored:
        quantity = _NAMES.get(each.quantity)
        if quantity is not None:
            values.setdefault((each.source, each.time), {})[quantity] = each.value
    return [
        Event(sources[name], Kind.READING, f"{name}/reading", time, time, 0, f"{name}/{time}", measured)
        for (name, time), measured in values.items()
        if name in sources
    ]


def _gaps(stored: Iterable[StoredEvent], sources: Mapping[str, SourceId]) -> list[Event]:
    return [
        Event(
            sources[each.source],
            Kind.GAP,
            f"{each.source}/gap",
            each.end,
            each.end,
            0,
            f"gap/{each.end}",
            detail=Gap(start=each.start, end=each.end, reason=each.reason),
        )
        for each in stored
        if each.source in sources and each.start is not None and each.end is not None
    ]


def _numbered(events: Iterable[Event]) -> list[Event]:
    """Return the events with the numbers of a stream: a jump would mean lost readings."""
    seq: dict[SourceId, int] = {}
    found: list[Event] = []
    for event in events:
        seq[event.source] = seq.get(event.source, 0) + 1
        found.append(event._replace(seq=seq[event.source]))
    return found


async def try_stored_day(path: str | os.PathLike[str], now: datetime) -> list[Event]:
    """Return the same; empty where the file cannot be read: a page without its past is better than none."""
    with suppress(OutputError):
        return await stored_day(path, now)
    return []
