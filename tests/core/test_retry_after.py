import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from energy_core.clock import parse_http_date
from energy_core.http.retry_policy import RetryBudget
from energy_core.retry_after import LONGEST_S, full_jitter, parse_retry_after

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

FORMS = [
    "Sun, 01 Mar 2026 12:02:00 GMT",
    "Sunday, 01-Mar-26 12:02:00 GMT",
    "Sun Mar  1 12:02:00 2026",
]


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0", 0.0),
        ("7", 7.0),
        (" 7\t", 7.0),
        ("007", 7.0),
        ("86400", 86_400.0),
        ("31536000", LONGEST_S),
        ("31536001", LONGEST_S),
        (str(10**30), LONGEST_S),
        ("9" * 5000, LONGEST_S),
        ("0" * 5000 + "3", 3.0),
        ("30.0", 30.0),
        ("0.493", 1.0),
        ("0.0", 0.0),
        ("00.000", 0.0),
        ("1.0", 1.0),
        ("29.000000001", 30.0),
        ("1." + "0" * 5000 + "1", 2.0),
        (" 2.5\t", 3.0),
        ("31536000.5", LONGEST_S),
        ("9" * 5000 + ".9", LONGEST_S),
    ],
)
def test_delta_seconds(header, seconds):
    """ASCII digits are seconds, however many there are; a plain decimal fraction is rounded up."""
    assert parse_retry_after(header, date=None, now=NOON) == seconds


@pytest.mark.parametrize(
    "header",
    [
        None, "", " ", "-1", "+1", "-1.0", "1.", ".5", "1.0.0", "1,5", "1.0e1", "1.\u0665",
        "1e3", "0x10", "1_000", "inf", "nan", "\u0661",
        "\u0663\u0664", "\u00b2", "\uff11\uff12",
        "5, 10", "5,5", "5;q=1", "5 s", "5\n", "\n5", "\x005", "tomorrow", "\ud800",
        "Sun, 01 Mar 2026 12:02:00 GMT, Sun, 01 Mar 2026 12:03:00 GMT",
        "sun, 01 mar 2026 12:02:00 gmt",
        "Sun, 1 Mar 2026 12:02:00 GMT",
        "Sun, 01 Mar 2026 12:02:00 UTC",
        "Sun, 01 Mar 2026 12:02:00 +0000",
        "Sun, 01 Mar 2026 12:02 GMT",
        "Sun, 31 Feb 2026 12:02:00 GMT",
        "Sun, 01 Mar 0000 12:02:00 GMT",
        "Sun, 01 Mar 2026 24:02:00 GMT",
        "Sun, 01 Mar 2026 12:60:00 GMT",
        "Sun, 01 Mar 2026 12:02:61 GMT",
        "Fri, 31 Dec 9999 23:59:60 GMT",
        "Sun, \u0660\u0661 Mar 2026 12:02:00 GMT",
        "Sun, 01-Mar-26 12:02:00 GMT",
        "2026-03-01T12:02:00Z",
    ],
)  # fmt: skip
def test_an_invalid_header_counts_as_missing(header):
    """A header that RFC 9110 does not allow is ignored."""
    assert parse_retry_after(header, date=None, now=NOON) is None


@pytest.fixture(params=["UTC", "Asia/Jerusalem", None])
def time_zone(request, monkeypatch):
    """The machine's own time zone, which must not matter."""
    if request.param is None:
        monkeypatch.delenv("TZ", raising=False)
    else:
        monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("header", FORMS)
@pytest.mark.parametrize("skew", [timedelta(), timedelta(days=1), timedelta(days=-1)])
def test_a_date_is_relative_to_the_servers_clock(time_zone, header, skew):
    """All three forms give two minutes if the response is dated noon, however wrong our own clock is."""
    for date in (
        "Sun, 01 Mar 2026 12:00:00 GMT",
        "Sunday, 01-Mar-26 12:00:00 GMT",
        "Sun Mar  1 12:00:00 2026",
    ):
        assert parse_retry_after(header, date=date, now=NOON + skew) == 120.0


@pytest.mark.parametrize("header", FORMS)
@pytest.mark.parametrize("date", [None, "", "yesterday", "1772366400"])
def test_without_a_valid_date_our_clock_is_used(time_zone, header, date):
    """If the response has no valid Date, our own clock is used."""
    assert parse_retry_after(header, date=date, now=NOON) == 120.0


@pytest.mark.parametrize("header", ["Thu, 01 Jan 1970 00:00:00 GMT", "Sunday, 01-Mar-26 11:59:59 GMT"])
def test_a_date_in_the_past_means_now(header):
    """A date in the past means no wait."""
    assert parse_retry_after(header, date=None, now=NOON) == 0.0


def test_a_date_far_away_is_capped():
    """A date at the end of the calendar counts as the longest wait."""
    assert parse_retry_after("Fri, 31 Dec 9999 23:59:59 GMT", date=None, now=NOON) == LONGEST_S


def test_two_digit_years_are_at_most_fifty_years_ahead():
    """76 is ahead of 2026, 77 lies in the past, as RFC 9110 requires."""
    assert parse_http_date("Sunday, 01-Mar-76 12:00:00 GMT", now=NOON) == NOON.replace(year=2076)
    assert parse_http_date("Sunday, 01-Mar-77 12:00:00 GMT", now=NOON) == NOON.replace(year=1977)


def test_a_leap_second_is_a_moment():
    """Second 60, which the grammar allows, is the first second of the next minute."""
    leap = parse_http_date("Wed, 31 Dec 2036 23:59:60 GMT", now=NOON)
    assert leap == datetime(2037, 1, 1, tzinfo=UTC)


near_misses = st.one_of(
    st.text(),
    st.text(alphabet="0123456789+-.,eE \t\u0661\u00b2"),
    st.builds(
        lambda text, at, new: text[:at] + new + text[at + 1 :],
        st.sampled_from([*FORMS, "120"]),
        st.integers(0, 30),
        st.text(max_size=2),
    ),
    st.from_regex(r"\A[A-Z][a-z]{2}, [0-9]{2} (Jan|Feb|Dec) [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT\Z"),
)


@given(header=near_misses, date=st.none() | near_misses)
@example(header="Fri, 31 Dec 9999 23:59:60 GMT", date="Mon, 01 Jan 0001 00:00:00 GMT")
def test_any_header_gives_seconds_or_none(header, date):
    """No header, however broken, raises: the response that carried it must not be lost."""
    seconds = parse_retry_after(header, date=date, now=NOON)
    assert seconds is None or (isinstance(seconds, float) and 0.0 <= seconds <= LONGEST_S)


def test_jitter_spreads_from_zero_to_the_doubled_base():
    """Each attempt doubles the longest delay until the cap."""
    almost_one = 1 - 2**-53
    ceilings = [full_jitter(n, base=0.33, cap=20.0, random=lambda: almost_one) for n in range(9)]
    assert ceilings == pytest.approx([0.33, 0.66, 1.32, 2.64, 5.28, 10.56, 20.0, 20.0, 20.0])
    assert full_jitter(3, base=0.33, cap=20.0, random=lambda: 0.0) == 0.0


@pytest.mark.parametrize("attempt", [64, 1024, 10**6, 10**30])
def test_any_attempt_has_a_delay(attempt):
    """A delay exists after a million attempts."""
    assert full_jitter(attempt, base=0.05, cap=20.0, random=lambda: 0.5) == 10.0


def test_an_outage_causes_at_most_a_fifth_more_requests():
    """10,000 calls that would each like two retries make at most 12,000 requests."""
    budget, sent = RetryBudget(), 0
    for _ in range(10_000):
        budget.calls += 1
        sent += 1
        for _ in range(2):
            if not budget.withdraw():
                break
            sent += 1
    assert 10_000 < sent <= 12_000


def test_a_single_call_can_be_retried():
    """A program that has made no other call yet has a few retries."""
    budget = RetryBudget()
    budget.calls += 1
    assert budget.withdraw()
    assert budget.withdraw()


def test_an_outage_after_a_long_calm_is_bounded_too():
    """A million good calls save at most a hundred retries."""
    budget = RetryBudget()
    for _ in range(1_000_000):
        budget.calls += 1
    assert sum(budget.withdraw() for _ in range(1000)) == 100
