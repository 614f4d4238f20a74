"""Cells of one CSV row as numbers and texts: a careful way for everything, a quick one for plain numbers.

Reading the values is most of what a row costs, so the quick way is written out for the columns at hand, as
`attrs` writes constructors: no loop, no look-up.
"""

from __future__ import annotations

import linecache
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta, tzinfo
from functools import lru_cache
from math import isfinite
from typing import Final, Literal, TypeAlias

from attrs import field, frozen

from energy_core.codec.coerce import number
from energy_core.local_days import EPOCH
from voltstorage_async.field_reader import EARLIEST_YEAR, decimal

Numbers: TypeAlias = Callable[[object], dict[str, float]]

Purity: TypeAlias = Literal["digits", "ascii", "any"]
"""What a block of lines is known to hold: no letters in its cells, or none that `float` reads otherwise than
we do, or whatever."""

_MOST_WRITTEN_OUT: Final = 64
"""Columns beyond which writing them out is not worth it; a line may have thousands."""


@frozen
class CsvLayout:
    """The columns of one export, and how to read a row, which is a sequence of cells."""

    columns: tuple[str, ...]
    time_at: int
    purity: Purity = field(default="any", eq=False)
    comma: bool = field(default=False, eq=False)
    """Whether a comma in a number is its decimal point, whatever it looks like: "1,234" is 1.234."""
    numbers: Numbers = field(init=False, eq=False, repr=False)
    """The cells that are numbers, the time's excepted."""

    @numbers.default
    def _reader(self) -> Numbers:
        return _reader(self.columns, self.time_at, self.purity, self.comma)

    def texts(self, record: object) -> dict[str, str]:
        """The cells that are neither empty nor numbers, the time's excepted."""
        cells = _named(record, self.columns, self.time_at)
        return {name: cell for name, cell in cells if decimal(cell, comma=self.comma) is None}

    def __reduce__(self) -> tuple[object, ...]:
        return CsvLayout, (self.columns, self.time_at, self.purity, self.comma)


def row_time(value: object, offset: tzinfo) -> datetime | None:
    """Read a row's time from ISO 8601 text, or from unix seconds or milliseconds as a number or as text.

    Before `EARLIEST_YEAR` there is none.

    Args:
        value: As the service wrote it.
        offset: The zone of text that names none.
    """
    count = number(value)
    try:
        if count is not None and (count >= _YEAR_2001 or not isinstance(value, str)):
            time = EPOCH + timedelta(seconds=count / 1000 if count >= _MILLISECONDS else count)
        elif isinstance(value, str):
            time = datetime.fromisoformat(value.strip())
        else:
            return None
    except (ValueError, OverflowError):
        return None
    if time.year < EARLIEST_YEAR:
        return None
    return time.replace(tzinfo=offset) if time.tzinfo is None else time


_YEAR_2001: Final = 1e9
"""Text of fewer digits may be a day, such as 20200325."""
_MILLISECONDS: Final = 1e11
"""From here on a time counts milliseconds: as seconds it would be in the year 5138."""


def _named(record: object, columns: Sequence[str], time_at: int) -> Iterator[tuple[str, str]]:
    cells = record if isinstance(record, list | tuple) else ()
    pairs = enumerate(zip(columns, cells, strict=False))
    return ((name, cell) for at, (name, cell) in pairs if cell and at != time_at)


@lru_cache(maxsize=64)
def _reader(columns: tuple[str, ...], time_at: int, purity: Purity, comma: bool) -> Numbers:
    def careful(record: object) -> dict[str, float]:
        cells = _named(record, columns, time_at)
        return {name: value for name, cell in cells if (value := decimal(cell, comma=comma)) is not None}

    if purity == "any" or len(columns) > _MOST_WRITTEN_OUT:
        return careful
    quick = _written_out(columns, time_at, careful)
    if purity == "digits":
        return quick

    def checked(record: object) -> dict[str, float]:
        values = quick(record)
        return values if isfinite(sum(values.values())) else careful(record)

    return checked


def _written_out(columns: tuple[str, ...], time_at: int, careful: Numbers) -> Numbers:
    """Return a reader with one line a column; it leaves rows that hold text to `careful`.

    Names are the vendor's, so they are written as `repr` writes them: text, whatever they hold.
    """
    numbered = [at for at in range(len(columns)) if at != time_at]
    source = "\n".join(
        [
            "def quick(record, float=float):",
            f"    {', '.join(f'cell_{at}' for at in range(len(columns)))}, = record",
            "    values = {}",
            "    try:",
            "        pass",
            *(f"        if cell_{at}: values[{columns[at]!r}] = float(cell_{at})" for at in numbered),
            "    except ValueError:",
            "        return careful(record)",
            "    return values",
            "",
        ]
    )
    file = f"<quick reader of {len(columns)} columns, time at {time_at}>"
    space: dict[str, Numbers] = {"careful": careful}
    exec(compile(source, file, "exec"), space)  # noqa: S102  (see above)
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)  # for tracebacks
    return space["quick"]
