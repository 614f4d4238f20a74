"""Command `history --local`: what `energy-live run` has stored, without asking a service."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from energy_core.clock import SystemClock
from energy_core.local_days import TimeRange, time_range
from energy_core.stream.vocabulary import Quantity
from energy_core.tables.column import with_unit
from energy_live.outputs.stored_history import StoredHistory, StoredReading
from energy_live.reports.history import HistoryOptions
from energy_live.reports.table import Cell, Report, ReportColumn
from energy_live.runner import UsageError

STATE_FILE: Final = "energy.sqlite"

_STEPS: Final = {"15mins": 900, "hours": 3600, "2hours": 7200, "days": 86_400}
_UNITS: Final[Mapping[str, str]] = {each.value: each.unit for each in Quantity}


def default_file(environment: Mapping[str, str]) -> Path:
    """Return the file of `energy-live run` without a setting of its folder."""
    home = environment.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(home).expanduser() / "energy-live" / STATE_FILE


async def show_local_history(options: HistoryOptions, file: str) -> Report:
    """Return a row for each interval and device of a site or product; times are local to this machine.

    Args:
        options: As of `history`; `codes` are quantities, and days begin at midnight UTC.
        file: The database; empty: that of `energy-live run`.

    Raises:
        UsageError: An option has a wrong value.
        OutputError: The file does not exist, or cannot be read.
    """
    step_s = _STEPS.get(options.interval)
    if step_s is None:
        raise UsageError(f"--local has the intervals {', '.join(_STEPS)}, not {options.interval}")
    if options.out is not None:
        raise UsageError("--local prints only; for a file use --format csv > FILE")
    for each in options.codes:
        if each not in _UNITS:
            raise UsageError(f"--local has the quantities {', '.join(_UNITS)}, not {each}")
    now = SystemClock().utcnow()
    start, end = _range(options).resolve(now, now.astimezone().tzinfo or UTC)
    async with StoredHistory(file or default_file(os.environ)) as history:
        if start is None:
            raise UsageError("--local needs the beginning of a range: --last, --period or --start")
        found = await history.readings(
            start, end, sites=[options.site], quantities=options.codes, step_s=step_s
        )
    return _report(list(found))


def _range(options: HistoryOptions) -> TimeRange:
    try:
        start, end = (_moment(each) for each in (options.start, options.end))
        return time_range(start, end, period=options.period, last=options.last, required=False)
    except ValueError as error:
        raise UsageError(str(error)) from None


def _moment(text: str | None) -> datetime | None:
    """Return a time; without an offset it is local to this machine."""
    if text is None:
        return None
    moment = datetime.fromisoformat(text)
    return moment.astimezone() if moment.tzinfo is None else moment


def _report(found: list[StoredReading]) -> Report:
    quantities = [each for each in _UNITS if any(each == reading.quantity for reading in found)]
    columns = [ReportColumn("time", "time"), ReportColumn("source", "source")]
    columns += [
        ReportColumn(with_unit(each, _UNITS[each]), each.replace("_", " "), _UNITS[each], digits=1)
        for each in quantities
    ]
    rows: dict[tuple[datetime, str], dict[str, float]] = {}
    for each in found:
        rows.setdefault((each.time, each.source), {})[each.quantity] = each.value
    return Report(
        columns,
        [
            _row(time, source, [values.get(name) for name in quantities])
            for (time, source), values in rows.items()
        ],
    )


def _row(time: datetime, source: str, values: list[float | None]) -> list[Cell]:
    return [time.astimezone(), source, *values]
