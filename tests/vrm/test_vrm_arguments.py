import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from energy_core import RateLimit, SessionPool
from vrm_async import VRMClient
from vrm_async.resources.stats import INTERVALS, TYPES

TOKEN = "0123456789abcdef" * 4
ANYTHING = re.compile(r"^https://vrmapi\.victronenergy\.com/v2/.*$")
START = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)
NAIVE = datetime(2026, 3, 1)  # noqa: DTZ001  (that is the point)


@pytest.fixture(autouse=True)
def nothing_is_sent(mocked):
    """A wrong argument never leaves the machine."""
    yield
    assert mocked.requests == {}


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({}, "token"),
        ({"token": ""}, "token"),
        ({"token": "  \n"}, "token"),
        ({"token": "two words"}, "token"),
        ({"token": "line\r\nbreak"}, "token"),
        ({"token": "é" * 64}, "token"),
        ({"username": "anna"}, "password"),
        ({"password": "secret-pass"}, "username"),
        ({"username": "", "password": "secret-pass"}, "username"),
        ({"username": "anna", "password": ""}, "password"),
        ({"username": "anna", "password": "secret-pass", "sms_token": " "}, "sms_token"),
        ({"sms_token": "123456"}, "username"),
        ({"token": TOKEN, "username": "anna"}, "username"),
        ({"token": TOKEN, "username": "anna", "password": "secret-pass"}, "password"),
        ({"token": TOKEN, "sms_token": "123456"}, "sms_token"),
        ({"token": TOKEN, "demo": True}, "demo"),
        ({"demo": True, "username": "anna", "password": "secret-pass"}, "demo"),
        ({"token": TOKEN, "base_url": "http://example.com/v2/"}, "base URL"),
        ({"token": TOKEN, "base_url": "https://user:pw@example.com/v2/"}, "URL"),
        ({"token": TOKEN, "base_url": "https://example.com/v2/?x=1"}, "URL"),
    ],
)
def test_a_wrong_combination_is_named(arguments, named):
    """The message names the argument and never repeats a value."""
    with pytest.raises(ValueError, match=named) as wrong:
        VRMClient(**arguments)
    for secret in (TOKEN, "secret-pass", "123456", "line", "pw"):
        assert secret not in str(wrong.value).replace("password", "")


@pytest.mark.parametrize(
    "arguments",
    [
        {"token": 5},
        {"token": b"x"},
        {"username": 1, "password": "x"},
        {"demo": "yes"},
        {"token": TOKEN, "limit": (200, 3.0)},
        {"token": TOKEN, "base_url": 5},
    ],
)
def test_an_argument_of_another_type_is_refused(arguments):
    """Only text is a credential, only a bool a wish, only a `RateLimit` a limit."""
    with pytest.raises(TypeError):
        VRMClient(**arguments)


def test_a_token_in_the_place_of_the_pool_is_noticed():
    """The first argument is the pool; the message says so without the token."""
    with pytest.raises(TypeError, match="pool must be a SessionPool") as wrong:
        VRMClient(TOKEN)
    assert TOKEN not in str(wrong.value)


async def test_two_limits_for_one_account_are_refused():
    """Two clients of one account share a lane, which has one limit."""
    async with SessionPool() as pool:
        VRMClient(pool, token=TOKEN)
        VRMClient(pool, token=f" {TOKEN} ")
        VRMClient(pool, token=TOKEN[:-1])
        with pytest.raises(ValueError, match="Limit"):
            VRMClient(pool, token=TOKEN, limit=RateLimit(10, 1.0))


WRONG_IDS = [
    (-1, ValueError),
    (True, TypeError),
    (1.5, TypeError),
    ("1", TypeError),
    ("../admin", TypeError),
    (None, TypeError),
]


@pytest.mark.parametrize(("wrong", "expected"), WRONG_IDS)
@pytest.mark.parametrize(
    "ask",
    [
        lambda vrm, wrong: vrm.installations.system_overview(wrong),
        lambda vrm, wrong: anext(vrm.installations.diagnostics(wrong)),
        lambda vrm, wrong: vrm.stats.get(wrong, start=START, end=START + DAY),
        lambda vrm, wrong: vrm.stats.overall(wrong),
        lambda vrm, wrong: vrm.widgets.graph(wrong, attribute_codes=["bs"]),
        lambda vrm, wrong: vrm.widgets.summary(wrong, "BatterySummary"),
        lambda vrm, wrong: vrm.widgets.state(wrong, "VeBusState"),
    ],
    ids=["system_overview", "diagnostics", "stats", "overall", "graph", "summary", "state"],
)
async def test_a_wrong_site_id_is_named(vrm, ask, wrong, expected):
    """Every method says `site_id`."""
    with pytest.raises(expected, match="site"):
        await ask(vrm, wrong)


@pytest.mark.parametrize(("wrong", "expected"), WRONG_IDS[:-1])
async def test_a_wrong_instance_is_named(vrm, wrong, expected):
    """0 is an instance and there is no upper bound; what is no whole number is none."""
    for ask in (
        vrm.widgets.graph(1, attribute_codes=["bs"], instance=wrong),
        vrm.widgets.summary(1, "BatterySummary", instance=wrong),
        vrm.widgets.state(1, "VeBusState", instance=wrong),
    ):
        with pytest.raises(expected, match="instance"):
            await ask


@pytest.mark.parametrize(("wrong", "expected"), WRONG_IDS[:-1])
async def test_a_wrong_user_or_token_id_is_named(vrm, wrong, expected):
    """Ids of users and tokens are checked as ids of sites are."""
    with pytest.raises(expected, match="user_id"):
        await vrm.sites(user_id=wrong)
    with pytest.raises(expected, match="site"):
        await vrm.site(wrong, user_id=1)
    with pytest.raises(expected, match="token_id"):
        await vrm.tokens.revoke(wrong)
    with pytest.raises(expected, match="site"):
        vrm.live(1, wrong)


@pytest.mark.parametrize(
    ("span", "expected", "named"),
    [
        ({"start": NAIVE, "end": START + DAY}, ValueError, "start must be an aware"),
        ({"start": START, "end": NAIVE}, ValueError, "end must be an aware"),
        ({"start": START, "end": START}, ValueError, "end must be after start"),
        ({"start": START + DAY, "end": START}, ValueError, "end must be after start"),
        ({"start": 1772323200, "end": START}, TypeError, "start must be a datetime"),
        ({"start": START.date(), "end": START}, TypeError, "start must be a datetime"),
        (
            {"start": datetime(1969, 1, 1, tzinfo=UTC), "end": START},
            ValueError,
            "start must not lie before 1970",
        ),
    ],
)
async def test_a_wrong_range_is_named(vrm, span, expected, named):
    """Naive, reversed and empty ranges fail wherever there is a range."""
    with pytest.raises(expected, match=named):
        await vrm.stats.get(1, **span)
    with pytest.raises(expected, match=named):
        await vrm.widgets.graph(1, attribute_codes=["bs"], **span)
    with pytest.raises(expected, match=named):
        await vrm.widgets.state(1, "VeBusState", **span)


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ([], ValueError),
        ("bs", TypeError),
        ([1], TypeError),
        ([""], ValueError),
        (["b s"], ValueError),
        (["a\r\nb"], ValueError),
    ],
)
async def test_wrong_codes_are_named(vrm, codes, expected):
    """Codes are a non-empty list of text; one text alone is a common slip and no list."""
    with pytest.raises(expected, match="attribute_codes"):
        await vrm.widgets.graph(1, attribute_codes=codes)
    with pytest.raises(expected, match="attribute_codes"):
        await vrm.stats.get(1, start=START, end=START + DAY, attribute_codes=codes)


async def test_codes_belong_to_the_type_custom(vrm):
    """Neither codes without it nor it without codes."""
    for wrong in ({"type": "kwh", "attribute_codes": ["bs"]}, {"type": "custom"}):
        with pytest.raises(ValueError, match="attribute_codes"):
            await vrm.stats.get(1, start=START, end=START + DAY, **wrong)


async def test_an_unknown_interval_or_type_is_answered_with_the_known_ones(vrm):
    """The message lists what may be said."""
    with pytest.raises(ValueError, match="interval must be one of") as wrong:
        await vrm.stats.get(1, start=START, end=START + DAY, interval="minutes")
    assert all(known in str(wrong.value) for known in INTERVALS)
    with pytest.raises(ValueError, match="type must be one of") as wrong:
        await vrm.stats.get(1, start=START, end=START + DAY, type="money")
    assert all(known in str(wrong.value) for known in TYPES)
    with pytest.raises(ValueError, match="type must be one of kwh, custom"):
        await vrm.stats.overall(1, type="forecast")


@pytest.mark.parametrize("name", ["", "../admin", "Battery Summary", "a/b", "a%2fb", "ä", "A" * 65])
async def test_a_widget_name_cannot_change_the_path(vrm, name):
    """Letters and digits only."""
    with pytest.raises(ValueError, match="name"):
        await vrm.widgets.summary(1, name)
    with pytest.raises(ValueError, match="name"):
        await vrm.widgets.state(1, name)


@pytest.mark.parametrize("count", [0, 1001, -1])
def test_a_page_has_a_size(vrm, count):
    """1 to 1,000 records."""
    with pytest.raises(ValueError, match="page_size"):
        vrm.installations.diagnostics(1, page_size=count)


@pytest.mark.parametrize("interval_s", [0, -1.0, float("nan"), float("inf")])
def test_a_poll_needs_an_interval(vrm, interval_s):
    """A source that never rests, or never asks, is refused."""
    with pytest.raises(ValueError, match="interval_s"):
        vrm.live(1, interval_s=interval_s)


async def test_a_new_token_needs_a_name(vrm):
    """An empty name and a naive expiry are refused."""
    with pytest.raises(ValueError, match="name"):
        await vrm.tokens.create(" ")
    with pytest.raises(TypeError, match="name"):
        await vrm.tokens.create(5)
    with pytest.raises(ValueError, match="expires"):
        await vrm.tokens.create("x", expires=NAIVE)


async def test_a_range_is_measured_in_hours_that_pass(vrm):
    """October has an hour more than 31 days of 24 hours where the clocks go back, and VRM counts seconds."""
    home = ZoneInfo("Europe/Amsterdam")
    with pytest.raises(ValueError, match="31 days"):
        await vrm.stats.get(
            1, start=datetime(2026, 10, 1, tzinfo=home), end=datetime(2026, 11, 1, tzinfo=home)
        )


# --- how far a range may reach --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("interval", "start", "last", "named"),
    [
        ("15mins", START, START + 31 * DAY, "31 days"),
        ("hours", START, START + 31 * DAY, "31 days"),
        ("days", START, START + 180 * DAY, "180 days"),
        ("weeks", START, START + 140 * DAY, "140 days"),
        ("months", START, datetime(2028, 3, 1, tzinfo=UTC), "24 months"),
        ("months", datetime(2026, 12, 31, tzinfo=UTC), datetime(2028, 12, 31, tzinfo=UTC), "24 months"),
        ("months", datetime(2024, 2, 29, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC), "24 months"),
        ("years", START, datetime(2031, 3, 1, tzinfo=UTC), "60 months"),
    ],
)
async def test_a_range_beyond_the_cap_is_refused_by_name(interval, start, last, named, mocked):
    """Up to the documented cap VRM is asked; beyond it the cap is named, as VRM would say: no data."""
    mocked.get(ANYTHING, payload={"success": True, "records": [], "totals": []})
    async with VRMClient(token=TOKEN) as vrm:
        await vrm.stats.get(1, interval=interval, start=start, end=last)
        mocked.requests.clear()
        with pytest.raises(ValueError, match=named):
            await vrm.stats.get(1, interval=interval, start=start, end=last + timedelta(seconds=1))
