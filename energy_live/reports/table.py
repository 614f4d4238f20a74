"""`Report`: what a command prints, as a table for people, as JSON or as CSV."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import chain
from typing import Final, TypeAlias

from attrs import field, frozen

from energy_core.csv_safety import escape_text, format_line
from energy_live.runner import FAILED, UsageError

Cell: TypeAlias = str | int | float | bool | datetime | None

_STYLES: Final[Mapping[str, str]] = {
    "live": "green",
    "ok": "green",
    "stale": "yellow",
    "offline": "yellow",
    "warning": "yellow",
    "failed": "bold red",
    "active": "bold red",
}
_WIDEST: Final = 10_000
_CONTROL: Final = {code: f"\\u{code:04x}" for code in (*range(0x7F, 0xA0), 0x2028, 0x2029)}
"""Control characters and line separators that JSON allows in text but terminals and line readers act on."""


@frozen
class ReportColumn:
    """One column. `name` is its key in JSON and its heading in CSV, where values are not rounded."""

    name: str
    title: str
    """Heading in a table."""
    unit: str = ""
    """Second line of the heading in a table."""
    digits: int = 0
    """Decimals of a number in a table."""
    signed: bool = False
    """Whether a positive number has a sign in a table."""
    age: bool = False
    """Whether a table shows the number of seconds as an age, such as `5 min`."""
    wraps: bool = False
    """Whether a narrow terminal may show a text in several lines."""
    in_table: bool = True
    """Whether a table has the column; JSON and CSV have it always."""


@frozen
class Report:
    """Columns and rows, and what could not be read."""

    columns: Sequence[ReportColumn]
    rows: Sequence[Sequence[Cell]]
    """A missing value is None: an empty cell of a table or of CSV, null in JSON. Times are aware, in the
    site's zone."""
    problems: Sequence[object] = field(factory=list)
    """Reasons why rows may be missing; the command prints them on stderr and exits with 1."""
    failed: bool = False
    """Whether the command exits with 1 although nothing is missing."""

    @property
    def exit_code(self) -> int:
        """0, or 1 if rows may be missing."""
        return FAILED if self.problems or self.failed else 0

    def render(self, form: str, *, width: int | None = None) -> str:
        """Return the report as text that ends with a line break.

        Args:
            form: `table`, `json` (an array with one object a row) or `csv`.
            width: Columns of the terminal; None: lines are as long as they need, without colours.
        """
        match form:
            case "json":
                return self._json()
            case "csv":
                return self._csv()
        return self._table(width)

    def _json(self) -> str:
        names = [column.name for column in self.columns]
        lines = [
            json.dumps(dict(zip(names, map(_plain, row), strict=True)), ensure_ascii=False)
            for row in self.rows
        ]
        text = "[\n  " + ",\n  ".join(lines) + "\n]\n" if lines else "[]\n"
        return text.translate(_CONTROL)

    def _csv(self) -> str:
        header = format_line(column.name for column in self.columns)
        return header + "".join(format_line(map(_csv_cell, row)) for row in self.rows)

    def _table(self, width: int | None) -> str:
        # Imported here: rich is slow to import, and the other forms do not need it.
        from rich.cells import cell_len  # noqa: PLC0415
        from rich.console import Console  # noqa: PLC0415
        from rich.measure import Measurement  # noqa: PLC0415
        from rich.table import Table  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        table = Table(box=None, pad_edge=False)
        two_lines = any(column.unit for column in self.columns)
        shown = [at for at, column in enumerate(self.columns) if column.in_table]
        for at, column in ((at, self.columns[at]) for at in shown):
            cells = [row[at] for row in self.rows]
            title = Text.assemble(column.title, *(("\n", (column.unit, "dim")) if two_lines else ()))
            right = bool(column.age or column.unit or any(map(_is_number, cells)))
            table.add_column(
                title, justify="right" if right else "left", no_wrap=not column.wraps, overflow="fold"
            )
            # rich would narrow a column further than to its longest word.
            words = [word for cell in cells for word in str(cell).split()] if column.wraps else []
            table.columns[-1].min_width = max(map(cell_len, (*words, column.title)))
        dates = {at for at in range(len(self.columns)) if _are_dates(row[at] for row in self.rows)}
        for row in self.rows:
            texts = [_shown(row[at], self.columns[at], only_date=at in dates) for at in shown]
            table.add_row(*(Text(text, style=_STYLES.get(text, "")) for text in texts))
        out = io.StringIO()
        colours = width is not None and "NO_COLOR" not in os.environ
        console = Console(file=out, width=_WIDEST, force_terminal=colours, legacy_windows=False)
        # Only texts are wrapped: in a narrower terminal lines are too long, but no number is cut.
        least = Measurement.get(console, console.options, table).minimum
        console.print(table, width=_WIDEST if width is None else max(width, least))
        return "".join(line.rstrip() + "\n" for line in out.getvalue().splitlines())


def write_report(report: Report, form: str) -> None:
    """Write a report to stdout. It blocks, so no event loop may run; Ctrl-C interrupts it.

    Raises:
        UsageError: There is no stdout.
        OSError: Stdout cannot be written, for example because its reader has closed it.
    """
    if sys.stdout is None:
        raise UsageError("there is no standard output to write to")
    width = os.get_terminal_size(sys.stdout.fileno()).columns if sys.stdout.isatty() else None
    text = report.render(form, width=width or None)
    # JSON and CSV are UTF-8 everywhere; a terminal may have another encoding.
    encoding = sys.stdout.encoding if form == "table" else "utf-8"
    left = memoryview(text.encode(encoding, errors="replace" if form == "table" else "backslashreplace"))
    while left:  # not print: Python reports an error at exit if the reader has left
        left = left[os.write(sys.stdout.fileno(), left) :]


def age_text(seconds: float) -> str:
    """Return an age for people: `17 s`, `5 min`, `3 h`, `12 days`."""
    seconds = max(0.0, seconds)
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 172_800 else f"{seconds / 86_400:.0f} days"


def printable_line(text: str) -> str:
    """Replace control characters by spaces: names and messages come from servers."""
    return "".join(char if char.isprintable() else " " for char in text)


def _shown(cell: Cell, column: ReportColumn, *, only_date: bool) -> str:
    match cell:
        case None:
            return ""
        case bool():
            return "yes" if cell else "no"
        case datetime():
            return f"{cell:%Y-%m-%d}" if only_date else f"{cell:%Y-%m-%d %H:%M:%S}"
        case float():
            return age_text(cell) if column.age else _number(cell, column)
    return printable_line(str(cell))


def _number(value: float, column: ReportColumn) -> str:
    rounded = round(value, column.digits) or 0.0  # 0.0 instead of -0.0
    return format(rounded, f"{'+' if column.signed and rounded else ''},.{column.digits}f")


def _is_number(cell: Cell) -> bool:
    return isinstance(cell, int | float) and not isinstance(cell, bool)


def _are_dates(cells: Iterable[Cell]) -> bool:
    """Whether all times of a column are local midnights, so that the date says it all."""
    times = [cell for cell in cells if isinstance(cell, datetime)]
    return bool(times) and not any(chain.from_iterable((at.hour, at.minute, at.second) for at in times))


def _plain(cell: Cell) -> str | int | float | bool | None:
    return cell.isoformat() if isinstance(cell, datetime) else cell


def _csv_cell(cell: Cell) -> str:
    match cell:
        case None:
            return ""
        case bool():
            return "true" if cell else "false"
        case datetime():
            return cell.isoformat()
        case str():
            return escape_text(cell)
    return repr(cell)
