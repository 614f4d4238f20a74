"""Checking what the caller gave, before anything is sent: a wrong argument is named at once."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from math import isfinite

from energy_core.http.operation import Query


def entity_id(name: str, value: object) -> int:
    """Return a database id: an int that is not negative."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    if value < 0:
        raise ValueError(f"{name} must not be negative: {value}")
    return value


def whole(name: str, value: object, *, least: int, most: int | None = None) -> int:
    """Return an int within its bounds."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    if value < least or (most is not None and value > most):
        raise ValueError(
            f"{name} must be {f'{least}..{most}' if most is not None else f'at least {least}'}: {value}"
        )
    return value


def ratio(name: str, value: object) -> float:
    """Return a finite number that is not negative."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number, not {type(value).__name__}")
    if not (isfinite(value) and value >= 0):
        raise ValueError(f"{name} must be a finite number and not negative: {value}")
    return float(value)


def flag(name: str, value: object) -> str:
    """Return a boolean as the vendor spells it in a query."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be a bool, not {type(value).__name__}")
    return "true" if value else "false"


def text(name: str, value: object) -> str:
    """Return a text that holds something."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {type(value).__name__}")
    if not value.strip():
        raise ValueError(f"{name} must not be empty")
    return value


def choice(name: str, value: object, known: tuple[str, ...]) -> str:
    """Return one of the known texts."""
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}: {value!r}")
    return str(value)


def names(name: str, value: object) -> str:
    """Return one or many names as the comma-separated list the vendor takes."""
    given = [value] if isinstance(value, str) else list(_iterable(name, value))
    if not given:
        raise ValueError(f"{name} must not be empty")
    return ",".join(text(name, each) for each in given)


def ids(name: str, value: object) -> list[int]:
    """Return one or many ids."""
    given = [value] if isinstance(value, int) else list(_iterable(name, value))
    if not given:
        raise ValueError(f"{name} must not be empty")
    return [entity_id(name, each) for each in given]


def _iterable(name: str, value: object) -> Iterable[object]:
    if isinstance(value, bytes | str) or not isinstance(value, Iterable):
        raise TypeError(f"{name} must be one or a sequence of them, not {type(value).__name__}")
    return value


def span(start: object, end: object) -> tuple[datetime | None, datetime | None]:
    """Return aware moments in the right order, either of them open."""
    begins = None if start is None else _moment("start", start)
    ends = None if end is None else _moment("end", end)
    if begins is not None and ends is not None and ends < begins:
        raise ValueError(f"end must not be before start: {ends.isoformat()} < {begins.isoformat()}")
    return begins, ends


def _moment(name: str, value: object) -> datetime:
    if not isinstance(value, datetime):
        raise TypeError(f"{name} must be a datetime, not {type(value).__name__}")
    if value.utcoffset() is None:
        raise ValueError(f"{name} must be an aware datetime: give it a tzinfo, such as datetime.UTC")
    return value


def unix(moment: datetime) -> str:
    """Return unix seconds, with a fraction only where there is one."""
    return f"{moment.timestamp():.6f}".rstrip("0").rstrip(".")


def unplaced(path: str, **parts: int | str) -> Query:
    """Return as query what the path has no place for."""
    return [(name, str(value)) for name, value in parts.items() if f"{{{name}}}" not in path]
