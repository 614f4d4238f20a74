"""Local days, weeks, months and years of a site."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy_core.local_days import zone
from tests.servers.vrm_history import FixedClock
from vrm_async import Calendar, Span

CASABLANCA = Calendar("Africa/Casablanca")
NOW = datetime(2026, 3, 29, 12, tzinfo=UTC)
AMSTERDAM = Calendar("Europe/Amsterdam", FixedClock(NOW))


def plain(*parts):
    return datetime(*parts, tzinfo=UTC).replace(tzinfo=None)


def local(calendar, *parts):
    return datetime(*parts, tzinfo=calendar.zone)


@pytest.mark.parametrize(
    ("place", "day", "hours"),
    [
        ("Europe/Amsterdam", date(2026, 3, 29), 23),
        ("Europe/Amsterdam", date(2026, 10, 25), 25),
        ("Europe/Amsterdam", date(2026, 6, 1), 24),
        ("Africa/Casablanca", date(2026, 2, 15), 25),
        ("Africa/Casablanca", date(2026, 3, 22), 23),
        ("Australia/Lord_Howe", date(2026, 4, 5), 24.5),
        ("Asia/Kolkata", date(2026, 3, 29), 24),
    ],
)
def test_a_day_is_as_long_as_its_clocks_make_it(place, day, hours):
    """23 hours in spring, 25 in autumn, and in Morocco twice a year around Ramadan."""
    span = Calendar(place).day(day)
    assert span.hours == hours
    assert span.duration == timedelta(hours=hours)


@pytest.mark.parametrize(
    ("place", "day", "clock"),
    [
        ("America/Santiago", date(2026, 9, 6), "01:00"),
        ("Africa/Cairo", date(2026, 4, 24), "01:00"),
        ("America/Havana", date(2026, 11, 1), "00:00"),
        ("America/Toronto", date(1919, 3, 31), "00:30"),
    ],
)
def test_a_day_begins_with_the_first_moment_of_its_date(place, day, clock):
    """Where midnight is skipped the day begins after the gap; where it comes twice, with the first one."""
    calendar = Calendar(place)
    start = calendar.midnight(day)
    assert f"{start.astimezone(calendar.zone):%H:%M}" == clock
    assert calendar.date_of(start) == day
    assert calendar.date_of(start - timedelta(seconds=1)) == day - timedelta(days=1)


def test_a_date_that_a_zone_skipped_has_no_length():
    """Samoa had no 30 December 2011; the days around it meet."""
    samoa = Calendar("Pacific/Apia")
    assert samoa.day(date(2011, 12, 30)).hours == 0
    assert samoa.next("days", samoa.midnight(date(2011, 12, 29))) == samoa.midnight(date(2011, 12, 31))


def test_relative_days_weeks_months_and_years():
    """Today, yesterday, weeks, months and years begin at local midnight, not 24 hours ago."""
    assert tuple(AMSTERDAM.today()) == (
        datetime(2026, 3, 28, 23, tzinfo=UTC),
        datetime(2026, 3, 29, 22, tzinfo=UTC),
    )
    assert AMSTERDAM.yesterday().end == AMSTERDAM.today().start
    assert AMSTERDAM.tomorrow().start == AMSTERDAM.today().end
    assert AMSTERDAM.this_week().start == local(AMSTERDAM, 2026, 3, 23)
    assert AMSTERDAM.last_week().end == AMSTERDAM.this_week().start
    assert AMSTERDAM.this_month() == AMSTERDAM.month(2026, 3)
    assert AMSTERDAM.last_month() == AMSTERDAM.month(2026, 2)
    assert AMSTERDAM.this_year() == AMSTERDAM.year(2026)
    assert AMSTERDAM.last_year() == AMSTERDAM.year(2025)
    assert AMSTERDAM.week(date(2026, 3, 25)) == AMSTERDAM.this_week()
    assert NOW in AMSTERDAM.today()
    assert AMSTERDAM.today().end not in AMSTERDAM.today()


def test_the_date_is_the_sites_own():
    """Half an hour before midnight in Greenwich it is tomorrow in Amsterdam."""
    late = datetime(2026, 1, 31, 23, 30, tzinfo=UTC)
    assert AMSTERDAM.date_of(late) == date(2026, 2, 1)
    assert Calendar("Europe/Amsterdam", FixedClock(late)).this_month().start == datetime(
        2026, 1, 31, 23, tzinfo=UTC
    )


def test_days_months_and_years_of_a_span():
    """They are whole and follow each other without a gap."""
    year = CASABLANCA.year(2026)
    days = list(CASABLANCA.each("days", year))
    assert len(days) == 365
    assert all(before.end == after.start for before, after in pairwise(days))
    assert sorted({day.hours for day in days}) == [23, 24, 25]
    assert len(list(CASABLANCA.each("months", year))) == 12
    assert next(CASABLANCA.each("years", Span(year.start, year.end + timedelta(hours=1)))) == year
    with pytest.raises(ValueError, match="unit must be one of days, weeks, months, years"):
        list(CASABLANCA.each("hours", year))


@given(
    st.datetimes(plain(1990, 1, 1), plain(2037, 1, 1), timezones=st.just(UTC)),
    st.sampled_from(["Europe/Amsterdam", "Africa/Casablanca", "America/Santiago", "Asia/Kolkata"]),
    st.sampled_from(["days", "weeks", "months", "years"]),
)
def test_every_moment_is_in_one_period(moment, place, unit):
    """It lies at or after the floor and before the next beginning, and the floor is its own floor."""
    calendar = Calendar(place)
    floor = calendar.floor(unit, moment)
    assert floor <= moment < calendar.next(unit, floor)
    assert calendar.floor(unit, floor) == floor


def test_a_wrong_zone_or_moment_is_refused():
    """An unknown name, another type, or a naive datetime raises."""
    assert zone(UTC) is UTC
    assert Calendar(ZoneInfo("Europe/Paris")).zone.key == "Europe/Paris"
    for wrong in ("Europe/Atlantis", "", "../etc/passwd", "/etc/passwd"):
        with pytest.raises(ValueError, match="time zone database"):
            Calendar(wrong)
    with pytest.raises(TypeError, match="IANA name"):
        Calendar(3)
    with pytest.raises(ValueError, match="aware"):
        AMSTERDAM.date_of(plain(2026, 1, 1))
