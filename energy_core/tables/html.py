"""Small HTML tables for notebooks: escaped, and bounded in rows, columns and length of texts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, tzinfo
from html import escape
from typing import Final

from energy_core.local_days import zone_or_utc
from energy_core.tables.column import TableColumn
from energy_core.tables.export import moment

_MOST_ROWS: Final = 20
_MOST_COLUMNS: Final = 20
_LONGEST_TEXT: Final = 60
_MISSING: Final = "\N{EN DASH}"
_ELLIPSIS: Final = "\N{HORIZONTAL ELLIPSIS}"


def table_html(columns: Iterable[TableColumn], title: str, footer: Mapping[str, object]) -> str:
    """Return the columns as a table: of a long one the first and the last ten rows.

    Args:
        columns: The columns, all of the same length.
        title: The caption.
        footer: The last row, by column.
    """
    every = list(columns)
    listed = every[:_MOST_COLUMNS]
    count = len(every[0].cells) if every else 0
    half = _MOST_ROWS // 2
    shown = [*range(count)] if count <= _MOST_ROWS else [*range(half), None, *range(count - half, count)]
    zones = {column.name: zone_or_utc(column.timezone) for column in listed}
    rows = [
        "".join(
            _cell(_ELLIPSIS if at is None else _shown(column, at, zones[column.name])) for column in listed
        )
        for at in shown
    ]
    if footer and count:
        first, *others = listed
        label = footer.get(first.name, "")
        rows.append(_head(str(label)) + "".join(_head(text(footer.get(each.name, ""))) for each in others))
    caption = [title, f"{count:,} row{'' if count == 1 else 's'}"]
    if len(every) > len(listed):
        caption.append(f"{len(every) - len(listed)} more columns")
    if any(column.kind in {"time", "datetime"} for column in listed):
        caption.append(f"times in {', '.join(dict.fromkeys(_zones(listed)))}")
    return _table(caption, [_head(column.name) for column in listed], rows)


def record_html(title: str, fields: Iterable[tuple[str, object]]) -> str:
    """Return one object as a table with a row for each field."""
    rows = [_head(name) + _cell(text(value)) for name, value in fields]
    return _table([title], [], rows[:_MOST_ROWS])


def text(value: object, where: tzinfo | None = None) -> str:
    """Return a value as text, not escaped; None is a dash."""
    match value:
        case None:
            return _MISSING
        case bool():
            return "yes" if value else "no"
        case float():
            return _number(value)
        case datetime():
            local = value if where is None else value.astimezone(where)
            seconds = f":{local:%S}" if local.second else ""
            return f"{local:%Y-%m-%d %H:%M}{seconds}{f' {local:%Z}' if where is None else ''}"
    shown = str(value)
    return shown if len(shown) <= _LONGEST_TEXT else shown[: _LONGEST_TEXT - 1] + _ELLIPSIS


def _number(value: float) -> str:
    # Three decimals, but never so few that a small value would read as 0.
    if value and abs(value) < 0.001:
        return f"{value:.3g}"
    return f"{value:,.3f}".rstrip("0").rstrip(".")


def _shown(column: TableColumn, at: int, where: tzinfo) -> str:
    value = column.cells[at]
    is_time = column.kind in {"time", "datetime"} and value is not None
    return text(moment(value, where), where) if is_time else text(value)


def _zones(columns: Iterable[TableColumn]) -> Iterable[str]:
    return (str(zone_or_utc(column.timezone)) for column in columns if column.kind in {"time", "datetime"})


def _table(caption: Iterable[str], heads: Iterable[str], rows: Iterable[str]) -> str:
    head = "".join(heads)
    return "".join(
        [
            f"<table><caption>{escape('; '.join(caption))}</caption>",
            f"<thead><tr>{head}</tr></thead>" if head else "",
            "<tbody>",
            *(f"<tr>{row}</tr>" for row in rows),
            "</tbody></table>",
        ]
    )


def _head(name: str) -> str:
    return f"<th>{escape(name)}</th>"


def _cell(shown: str) -> str:
    return f"<td>{escape(shown)}</td>"
