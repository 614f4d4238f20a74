"""The hours of one site in one UTC year: read from VRM or from a file, merged, and written as a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import NamedTuple, TypeAlias

from attrs import field, frozen

from energy_live.archive.csv_lines import TIME, format_cell, format_time, unique_names
from vrm_async.models import Stats
from vrm_async.models.series import moment

Rows: TypeAlias = dict[int, dict[str, float]]
"""Values by column name, by the hour's start in milliseconds since the epoch; a missing value is left out."""


class SiteYear(NamedTuple):
    """A file of a site: one UTC year of its energies, or of the codes that were named."""

    kind: str
    """statistics (the energies in kWh) or codes."""
    year: int

    @property
    def start(self) -> datetime:
        """Midnight at which the year begins."""
        return datetime(self.year, 1, 1, tzinfo=UTC)

    @property
    def end(self) -> datetime:
        """Midnight at which the next year begins."""
        return datetime(self.year + 1, 1, 1, tzinfo=UTC)

    def __str__(self) -> str:
        return f"{self.kind}-hour-{self.year}"


@frozen(kw_only=True)
class YearTable:
    """The rows of one year."""

    rows: Rows = field(factory=dict)
    revised: int = 0
    """Values that differ from those of the file that they were merged with."""
    withdrawn: int = 0
    """Values of the file that VRM did not send again; they stay in the rows."""

    def add(self, stats: Stats) -> int:
        """Add an answer of VRM and return the number of new rows."""
        before = len(self.rows)
        for series in stats:
            for suffix, values in (
                ("", series.value),
                (".minimum", series.minimum),
                (".maximum", series.maximum),
            ):
                name = series.code + suffix
                for time, value in zip(series.times_ms, values or (), strict=values is not None):
                    cells = self.rows.setdefault(time, {})
                    if value is not None:
                        cells[name] = value
        return len(self.rows) - before

    @classmethod
    def of_cells(cls, lines: Iterable[Mapping[str, str]]) -> YearTable:
        """Return the table of a file."""
        rows = {
            _milliseconds(cells[TIME]): {
                name: float(cell) for name, cell in cells.items() if cell and name != TIME
            }
            for cells in lines
        }
        return cls(rows=rows)

    def merged_with(self, old: YearTable, since: datetime) -> YearTable:
        """Return the union with a file; the hours from `since` on were read again, and new values win."""
        first = _milliseconds(since.isoformat())
        rows = {time: dict(cells) for time, cells in old.rows.items()}
        revised = withdrawn = 0
        for time, cells in old.rows.items():
            if time >= first:
                sent = self.rows.get(time, {})
                withdrawn += len(cells.keys() - sent.keys())
                revised += sum(sent[name] != cells[name] for name in cells.keys() & sent.keys())
        for time, cells in self.rows.items():
            rows.setdefault(time, {}).update(cells)
        return YearTable(rows=rows, revised=revised, withdrawn=withdrawn)

    @property
    def codes(self) -> set[str]:
        """The columns with a value."""
        return {name for cells in self.rows.values() for name in cells}

    def cells(self) -> tuple[list[str], list[dict[str, str]]]:
        """Return columns and rows as text. Their order does not depend on the order of the answers."""
        given = sorted(self.codes)
        names = dict(zip(given, unique_names(given), strict=True))
        rows = [
            {TIME: format_time(moment(time))}
            | {names[name]: format_cell(float(value)) for name, value in self.rows[time].items()}
            for time in sorted(self.rows)
        ]
        return [TIME, *names.values()], rows


def _milliseconds(time: str) -> int:
    return round(datetime.fromisoformat(time).timestamp() * 1000)
