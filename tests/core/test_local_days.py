"""Time zones, midnights, and the three forms in which a caller gives a range."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from energy_core.local_days import EPOCH, first_day, midnight, time_range, zone, zone_or_utc

AMSTERDAM = ZoneInfo("Europe/Amsterdam")
NOW = datetime(2026, 3, 31, 12, 20, tzinfo=UTC)
START, END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)


def local(*parts):
    return datetime(*parts, tzinfo=AMSTERDAM)


def test_a_zone_is_a_name_of_the_database_or_a_tzinfo():
    """A name that is not in the database is a ValueError, whatever file it could mean."""
    assert zone(UTC) is UTC
    assert zone("Europe/Amsterdam") == AMSTERDAM
    for wrong in ("Europe/Atlantis", "", "../etc/passwd", "/etc/passwd"):
        with pytest.raises(ValueError, match="time zone database"):
            zone(wrong)
    with pytest.raises(TypeError, match="IANA name"):
        zone(3)


def test_a_servers_unknown_zone_is_utc():
    """Dirty data of a server is never an error."""
    assert zone_or_utc("Europe/Amsterdam") == AMSTERDAM
    assert zone_or_utc(None) is not None
    for dirty in (None, "", "Europe/Atlantis", "/etc/passwd"):
        assert NOW.astimezone(zone_or_utc(dirty)).utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    ("unit", "expected", "after"),
    [
        ("days", date(2026, 3, 31), date(2026, 4, 1)),
        ("weeks", date(2026, 3, 30), date(2026, 4, 6)),
        ("months", date(2026, 3, 1), date(2026, 4, 1)),
        ("years", date(2026, 1, 1), date(2027, 1, 1)),
    ],
)
def test_the_first_day_of_a_unit(unit, expected, after):
    """Weeks begin on Monday, months and years on their first day."""
    assert first_day(unit, date(2026, 3, 31)) == expected
    assert first_day(unit, date(2026, 3, 31), 1) == after
    with pytest.raises(ValueError, match="days, weeks, months, years"):
        first_day("hours", date(2026, 3, 31))


@pytest.mark.parametrize(
    ("text", "begin", "end"),
    [
        ("2026", (2026, 1, 1), (2027, 1, 1)),
        ("2026-03", (2026, 3, 1), (2026, 4, 1)),
        ("2025-12", (2025, 12, 1), (2026, 1, 1)),
        ("2026-03-29", (2026, 3, 29), (2026, 3, 30)),
    ],
)
def test_a_period_is_a_local_year_month_or_day(text, begin, end):
    """From local midnight to local midnight; a day may have 23 hours."""
    asked = time_range(period=text)
    assert asked.needs_zone
    assert asked.closed(NOW, AMSTERDAM) == (local(*begin), local(*end))
    assert asked.closed(NOW) == (datetime(*begin, tzinfo=UTC), datetime(*end, tzinfo=UTC))


def test_a_period_may_be_given_in_place_of_the_start():
    """`stats.get(site, "2026-05")` is the usual call."""
    assert time_range("2026-03") == time_range(period="2026-03")
    with pytest.raises(ValueError, match="not start, period"):
        time_range("2026", period="2026")


def test_a_range_that_includes_its_end_may_be_one_moment():
    """An export of VoltStorage includes both ends."""
    assert time_range(START, START, end_included=True).closed(NOW) == (START, START)
    with pytest.raises(ValueError, match="end must not be before start"):
        time_range(END, START, end_included=True)


@pytest.mark.parametrize(
    ("last", "begin"),
    [
        ((1, "days"), (2026, 3, 30)),
        ((30, "days"), (2026, 3, 1)),
        ((2, "weeks"), (2026, 3, 17)),
        ((1, "months"), (2026, 2, 28)),
        ((1, "years"), (2025, 3, 31)),
        ((100_000, "years"), (1970, 1, 1)),
    ],
)
def test_the_last_days_begin_at_a_local_midnight_and_end_now(last, begin):
    """That many days before today; a short month ends with its last day."""
    start, end = time_range(last=last).closed(NOW, AMSTERDAM)
    assert (start, end) == (local(*begin), NOW)


def test_the_last_hours_are_exact():
    """No zone is needed for them."""
    asked = time_range(last=(5, "hours"))
    assert not asked.needs_zone
    assert asked.closed(NOW) == (NOW - timedelta(hours=5), NOW)


def test_two_moments_are_taken_as_they_are():
    """In any zone; a side may be left open only where the method allows it."""
    assert time_range(START, END).closed(NOW, AMSTERDAM) == (START, END)
    assert not time_range(START, END).needs_zone
    assert time_range(START, required=False).resolve(NOW) == (START, None)
    assert time_range(required=False).resolve(NOW) == (None, None)
    with pytest.raises(ValueError, match="needs both start and end"):
        time_range(START, required=False).closed(NOW)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "the range needs start and end, or period, or last$"),
        ({"start": START}, "only start is given"),
        ({"end": END}, "only end is given"),
        ({"start": START, "end": END, "period": "2026"}, "one form of the range.*not start and end, period"),
        ({"period": "2026", "last": (1, "days")}, "one form of the range.*not period, last"),
        ({"start": "2026", "end": END}, "one form of the range.*not end, period"),
        ({"start": START, "last": (1, "days")}, "one form of the range.*not start, last"),
        ({"start": END, "end": START}, "end must be after start"),
        ({"start": START, "end": START}, "end must be after start"),
        ({"start": START.replace(tzinfo=None), "end": END}, "start must be an aware datetime"),
        ({"start": EPOCH - timedelta(days=1), "end": END}, "start must not lie before 1970"),
        ({"period": "26"}, "period must be a year, month or day"),
        ({"period": "2026-13"}, "period must be a year, month or day"),
        ({"period": "2026-02-30"}, "period must be a year, month or day"),
        ({"period": "yesterday"}, "period must be a year, month or day"),
        ({"period": "1969"}, "period must be a year, month or day"),
        ({"last": (0, "days")}, "the number of last must be 1"),
        ({"last": (3, "minutes")}, "hours, days, weeks, months, years, not 'minutes'"),
    ],
)
def test_a_wrong_range_is_a_value_error(given, words):
    """It says which forms there are, or what is wrong with the value."""
    with pytest.raises(ValueError, match=words):
        time_range(**given)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"start": 20260101, "end": END}, "start must be a datetime, not int"),
        ({"period": START}, "period must be a str.*give datetimes as start and end"),
        ({"period": 2026}, "period must be a str"),
        ({"last": 30}, "last must be a number and a unit"),
        ({"last": ("30", "days")}, "the number of last must be an int"),
    ],
)
def test_a_range_of_a_wrong_type_is_a_type_error(given, words):
    """It says which type is wanted."""
    with pytest.raises(TypeError, match=words):
        time_range(**given)


def test_a_skipped_midnight_is_the_moment_of_the_change():
    """In Toronto on 31 March 1919 clocks went from 23:30 to 00:30."""
    toronto = ZoneInfo("America/Toronto")
    assert f"{midnight(date(1919, 3, 31), toronto).astimezone(toronto):%H:%M}" == "00:30"
