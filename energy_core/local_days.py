"""Local days: time zones, midnights, and the ranges of time that a caller may give.

A local day begins at the first moment that bears its date and has 23, 24 or 25 hours. Every method of both
vendors that takes a range reads it with `time_range`.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

from attrs import frozen

from energy_core.checks import aware, whole

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""Unix time 0."""

_DAY: Final = timedelta(days=1)
_SECOND: Final = timedelta(seconds=1)


def unix_second(time: datetime) -> int:
    """Return the unix second in which an aware time lies."""
    return (time - EPOCH) // _SECOND


def from_unix_second(second: int) -> datetime:
    """Return the beginning of a unix second, in UTC."""
    return EPOCH + second * _SECOND


def zone(value: str | tzinfo) -> tzinfo:
    """Return a time zone from its IANA name; a tzinfo is returned as it is.

    Reads a file at the first use of a name; call it in a thread where that matters.

    Raises:
        ValueError: this machine's time zone database does not have the name.
        TypeError: it is neither a str nor a tzinfo.
    """
    if isinstance(value, tzinfo):
        return value
    if not isinstance(value, str):
        raise TypeError(f"a time zone must be an IANA name or a tzinfo, not {type(value).__name__}")
    try:  # a missing name, a path outside the database and a directory raise different errors
        return ZoneInfo(value)
    except (KeyError, ValueError, OSError):
        raise ValueError(
            f"the time zone {value[:64]!r} is not in this machine's time zone database"
        ) from None


def zone_or_utc(name: str | None) -> tzinfo:
    """Return the time zone that a server named; UTC where it named none, or one that is not known here."""
    try:
        return zone(name or "UTC")
    except ValueError:
        return UTC


def midnight(day: date, where: tzinfo) -> datetime:
    """Return the first moment of a local day, in UTC."""
    # fold=0 and fold=1 differ where clocks change: at a midnight that comes twice, or that is skipped.
    naive = datetime.combine(day, time())
    first, second = (naive.replace(tzinfo=where, fold=fold).astimezone(UTC) for fold in (0, 1))
    if first.astimezone(where).date() == day and second >= first:
        return first  # the usual case; a midnight that comes twice is the earlier one
    # Clocks skip midnight: the day begins between the two readings, at the moment of the change.
    early, late = sorted((first, second))
    while late - early > _SECOND:
        middle = early + (late - early) // 2
        early, late = (early, middle) if middle.astimezone(where).date() >= day else (middle, late)
    return late.replace(microsecond=0)


def _start_of_day(day: date, count: int) -> date:
    return day + count * _DAY


def _start_of_week(day: date, count: int) -> date:
    return day - day.weekday() * _DAY + 7 * count * _DAY


def _start_of_month(day: date, count: int) -> date:
    years, month = divmod(day.month - 1 + count, 12)
    return date(day.year + years, month + 1, 1)


def _start_of_year(day: date, count: int) -> date:
    return date(day.year + count, 1, 1)


_STARTS: Final[dict[str, Callable[[date, int], date]]] = {
    "days": _start_of_day,
    "weeks": _start_of_week,
    "months": _start_of_month,
    "years": _start_of_year,
}
CALENDAR_UNITS: Final = tuple(_STARTS)
"""days, weeks, months, years: the units that begin at a local midnight."""


def first_day(unit: str, day: date, count: int = 0) -> date:
    """Return the first day of the day's week, month or year, or of the one `count` units later.

    Args:
        unit: One of `CALENDAR_UNITS`. A week begins on Monday.
        day: Any day of the unit.
        count: How many units later; negative for earlier.
    """
    if unit not in _STARTS:
        raise ValueError(f"unit must be one of {', '.join(_STARTS)}, not {unit!r}")
    return _STARTS[unit](day, count)


_PERIOD: Final = re.compile(r"(\d{4})(?:-(\d{2})(?:-(\d{2}))?)?", re.ASCII)
_LAST_UNITS: Final = ("hours", *CALENDAR_UNITS)


@frozen
class TimeRange:
    """A range as a caller gave it; `resolve` turns it into two moments. Made by `time_range`."""

    start: datetime | None = None
    """Aware; None for an open beginning, or where `period` or `last` is given."""
    end: datetime | None = None
    """Aware, after `start`; None likewise."""
    period: tuple[str, date] | None = None
    """The unit (days, months or years) and its first day."""
    last: tuple[int, str] | None = None
    """How many units before now; hours, days, weeks, months or years."""

    @property
    def needs_zone(self) -> bool:
        """Whether the local time zone decides where the range begins or ends."""
        return self.period is not None or (self.last is not None and self.last[1] != "hours")

    def resolve(self, now: datetime, where: tzinfo = UTC) -> tuple[datetime | None, datetime | None]:
        """Return start and end; a side that was left open is None.

        Args:
            now: The present moment, aware: where `last` ends.
            where: The time zone whose midnights count.
        """
        if self.period is not None:
            unit, day = self.period
            return midnight(day, where), midnight(first_day(unit, day, 1), where)
        if self.last is None:
            return self.start, self.end
        count, unit = self.last
        if unit == "hours":
            return now - timedelta(hours=count), now
        return midnight(_back(now.astimezone(where).date(), count, unit), where), now

    def closed(self, now: datetime, where: tzinfo = UTC) -> tuple[datetime, datetime]:
        """Return start and end of a range that was read with ``required=True``.

        Raises:
            ValueError: a side of the range is open.
        """
        start, end = self.resolve(now, where)
        if start is None or end is None:
            raise ValueError("the range needs both start and end")
        return start, end


def time_range(
    start: datetime | str | None = None,
    end: datetime | None = None,
    *,
    period: str | None = None,
    last: tuple[int, str] | None = None,
    required: bool = True,
    end_included: bool = False,
) -> TimeRange:
    """Read a range in one of its three forms.

    Args:
        start: The first moment, aware, not before 1970; or a period as text, as with `period`.
        end: The first moment after the range, aware, after `start`.
        period: A local year, month or day: ``"2026"``, ``"2026-05"`` or ``"2026-05-17"``.
        last: A number and a unit, such as ``(30, "days")``: the range ends now. With days, weeks, months or
            years it begins at the local midnight that many units before today; with hours exactly then.
        required: Whether both ends must be given; otherwise either, or all, may be left open.
        end_included: Whether the service counts `end` as a part of the range; it may then equal `start`.

    Raises:
        ValueError: two forms are given, or none where one is required; or one has a wrong value.
        TypeError: an argument has a wrong type.
    """
    # The first argument of a range may be a period: stats.get(site, "2026-05").
    if isinstance(start, str) and period is None:
        start, period = None, start
    given = [name for name, value in (("start", start), ("end", end)) if value is not None]
    forms = [*([" and ".join(given)] if given else [])]
    forms += [name for name, value in (("period", period), ("last", last)) if value is not None]
    if len(forms) > 1:
        raise ValueError(
            f"give one form of the range: start and end, period, or last; not {', '.join(forms)}"
        )
    if period is not None:
        return TimeRange(period=_period(period))
    if last is not None:
        return TimeRange(last=_last(last))
    if required and len(given) < 2:
        raise ValueError(
            "the range needs start and end, or period, or last"
            + ("" if not given else f"; only {given[0]} is given")
        )
    begin = None if start is None else _moment("start", start)
    end = None if end is None else _moment("end", end)
    if begin is not None and end is not None and (end < begin or (end == begin and not end_included)):
        after = "not be before" if end_included else "be after"
        raise ValueError(f"end must {after} start: {begin.isoformat()} to {end.isoformat()}")
    return TimeRange(begin, end)


def _moment(name: str, value: object) -> datetime:
    moment = aware(name, value)
    if moment < EPOCH:
        raise ValueError(f"{name} must not lie before 1970: {moment.isoformat()}")
    return moment


def _period(value: object) -> tuple[str, date]:
    if not isinstance(value, str):
        hint = "; give datetimes as start and end" if isinstance(value, date) else ""
        raise TypeError(f"period must be a str such as '2026-05', not {type(value).__name__}{hint}")
    found = _PERIOD.fullmatch(value)
    try:
        if found is not None:
            year, month, day = (None if part is None else int(part) for part in found.groups())
            begin = date(year or 0, month or 1, day or 1)
            if begin.year >= 1970 and begin.year < 9999:
                return "years" if month is None else "months" if day is None else "days", begin
    except ValueError:
        pass
    raise ValueError(
        f"period must be a year, month or day such as '2026', '2026-05' or '2026-05-17', not {value[:32]!r}"
    )


def _last(value: object) -> tuple[int, str]:
    if not isinstance(value, tuple) or len(value) != 2:
        raise TypeError("last must be a number and a unit, such as (30, 'days')")
    count, unit = value
    if unit not in _LAST_UNITS:
        raise ValueError(f"the unit of last must be one of {', '.join(_LAST_UNITS)}, not {unit!r}")
    return whole("the number of last", count, least=1, most=100_000), str(unit)


def _back(today: date, count: int, unit: str) -> date:
    """Return the day that lies so many units before today; a short month ends with its last day."""
    try:
        if unit in {"days", "weeks"}:
            return today - count * _DAY * (7 if unit == "weeks" else 1)
        first = first_day("months", today, -count * (12 if unit == "years" else 1))
    except (ValueError, OverflowError):
        return EPOCH.date()
    return first.replace(day=min(today.day, monthrange(first.year, first.month)[1]))
