"""Histories through the whole client, against a scripted VRM and the simulator."""

import asyncio
from datetime import UTC, date, datetime, timedelta

import pytest

from energy_core.errors import DecodeError, NotFound
from energy_live.simulator import Simulator
from vrm_async import Calendar, VRMClient

TOKEN = "0123456789abcdef" * 4


def utc(*chunks):
    return datetime(*chunks, tzinfo=UTC)


def listed(*sites):
    records = [
        {"idSite": number, "name": "x", "timezone": zone, "syscreated": 1767225600} for number, zone in sites
    ]
    return {"success": True, "records": records}


def stats(asked):
    start = int(dict(asked.query)["start"])
    return 200, {"success": True, "records": {"Pc": [[start * 1000, 1.0]]}, "totals": {"Pc": 1.0}}


@pytest.fixture
async def vrm(fake):
    async with VRMClient(token=TOKEN, base_url=fake.url) as client:
        yield client


async def test_the_time_zone_is_found_once_for_all_sites(fake, vrm):
    """The list of installations is requested once, for any number of sites and histories."""
    fake.answers("GET", "users/22/installations", listed((1, "Europe/Amsterdam"), (2, "Africa/Casablanca")))
    for site in (1, 2):
        fake.answers("GET", f"installations/{site}/stats", stats)
    day = {"start": utc(2026, 6, 5, 12), "end": utc(2026, 6, 5, 13), "interval": "days"}
    one, two, _ = await asyncio.gather(
        *(anext(vrm.stats.history(site, **day)) for site in (1, 2)), vrm.calendar(2)
    )
    assert one.start == utc(2026, 6, 4, 22)
    assert two.start == utc(2026, 6, 4, 23)
    assert len(fake.asked_for("users/22/installations")) == 1
    assert (await vrm.calendar(1)) == Calendar("Europe/Amsterdam")


async def test_a_given_zone_is_not_requested(fake, vrm):
    """Only stats are requested."""
    fake.answers("GET", "installations/1/stats", stats)
    history = vrm.stats.history(1, start=utc(2026, 1, 1), end=utc(2026, 1, 2), timezone="Asia/Kolkata")
    chunk = await anext(history)
    assert chunk.data["Pc"].unit == "kWh"
    assert [asked.path for asked in fake.asked] == ["installations/1/stats"]
    assert dict(fake.asked[0].query) == {
        "type": "kwh",
        "interval": "hours",
        "start": "1767225600",
        "end": "1767312000",
    }


async def test_from_the_first_day_of_the_site(fake, vrm):
    """Without a start a history begins at VRM's syscreated."""
    fake.answers("GET", "users/22/installations", listed((1, "Europe/Amsterdam")))
    fake.answers("GET", "installations/1/stats", stats)
    chunk = await anext(vrm.stats.history(1, interval="days", attribute_codes=["bs"], show_instance=True))
    assert chunk.start == utc(2025, 12, 31, 23)
    assert ("show_instance", "1") in fake.asked[-1].query
    assert ("attributeCodes[]", "bs") in fake.asked[-1].query


@pytest.mark.parametrize(
    ("period", "start", "end"),
    [
        ("2026-03-29", utc(2026, 3, 28, 23), utc(2026, 3, 29, 22)),
        ("2026-03", utc(2026, 2, 28, 23), utc(2026, 3, 31, 22)),
        ("2026", utc(2025, 12, 31, 23), utc(2026, 12, 31, 23)),
    ],
)
async def test_a_period_is_the_sites_local_days(fake, vrm, period, start, end):
    """A day, month or year begins at the site's midnight, for graphs and states too."""
    fake.answers("GET", "users/22/installations", listed((1, "Europe/Amsterdam")))
    fake.answers("GET", "installations/1/stats", stats)
    empty = {"success": True, "records": {"data": {}, "meta": {}}}
    for widget in ("Graph", "VeBusState"):
        fake.answers("GET", f"installations/1/widgets/{widget}", empty)
    (site,) = await vrm.sites()
    histories = [
        vrm.stats.history(site, period, interval="months" if period == "2026" else "days"),
        vrm.stats.history(1, period, interval="days", timezone="Europe/Amsterdam"),
    ]
    if period != "2026":  # a year of graphs is more requests than the rate limit grants at once
        histories += [
            vrm.widgets.graph_history(site, period, attribute_codes=["bs"]),
            vrm.widgets.state_history(site, "VeBusState", period=period),
        ]
    for history in histories:
        chunks = [chunk async for chunk in history]
        assert (chunks[0].start, chunks[-1].end) == (start, end)


async def test_the_last_days_end_now(fake, vrm):
    """They begin at the site's midnight that many days before today."""
    fake.answers("GET", "users/22/installations", listed((1, "Europe/Amsterdam")))
    fake.answers("GET", "installations/1/stats", stats)
    chunks = [chunk async for chunk in vrm.stats.history(1, last=(3, "days"), interval="days")]
    today = Calendar("Europe/Amsterdam").today()
    assert timedelta(days=2, hours=23) <= today.start - chunks[0].start <= timedelta(days=4, hours=1)
    assert chunks[-1].end >= today.end


def test_a_range_is_given_in_one_form(vrm):
    """Two forms are an error, and so is a graph without a beginning."""
    with pytest.raises(ValueError, match="one form"):
        vrm.stats.history(1, "2026-05", last=(3, "days"))
    with pytest.raises(ValueError, match="one form"):
        vrm.widgets.graph_history(1, "2026-05", attribute_codes=["bs"], end=utc(2026, 1, 1))
    with pytest.raises(ValueError, match="beginning"):
        vrm.widgets.graph_history(1, attribute_codes=["bs"])
    with pytest.raises(ValueError, match="beginning"):
        vrm.widgets.state_history(1, "VeBusState", end=utc(2026, 1, 1))


async def test_a_site_that_is_not_in_the_list_is_requested_by_its_id(fake, vrm):
    """An administrator sees more sites than their own; the error for an unknown site names a way."""

    def answer(asked):
        wanted = dict(asked.query).get("idSite")
        return 200, listed((7, "Europe/Paris")) if wanted == "7" else listed((1, "UTC"))

    fake.answers("GET", "users/22/installations", answer)
    assert (await vrm.calendar(7)).zone.key == "Europe/Paris"
    with pytest.raises(NotFound, match="timezone"):
        await vrm.calendar(8)


@pytest.mark.parametrize("zone", [None, "", "Europe/Atlantis", "../../etc/passwd"])
async def test_an_unknown_zone_is_an_error_and_not_utc(fake, vrm, zone):
    """The error names the argument to pass."""
    fake.answers("GET", "users/22/installations", listed((1, zone)))
    with pytest.raises(DecodeError, match="pass timezone"):
        await anext(vrm.stats.history(1, start=utc(2026, 1, 1)))


async def test_the_error_for_a_missing_zone_or_first_day_names_the_argument(fake, vrm):
    """It names the site and the argument; with that argument the history works."""
    sites = [{"idSite": 1, "timezone": None, "syscreated": 1767225600}]
    sites += [{"idSite": 2, "timezone": "UTC", "syscreated": created} for created in (0,)]
    sites += [{"idSite": 3, "timezone": "UTC", "syscreated": 40}, {"idSite": 4, "timezone": "UTC"}]
    sites += [{"idSite": 5, "timezone": "UTC", "syscreated": 4102444800}]
    fake.answers("GET", "users/22/installations", {"success": True, "records": sites})
    fake.answers("GET", "installations/1/stats", stats)
    with pytest.raises(DecodeError, match=r"site 1: VRM sends no time zone; .*pass timezone"):
        await anext(vrm.stats.history(1))
    with pytest.raises(DecodeError, match=r"site 1: .*Calendar\("):
        await vrm.calendar(1)
    assert (await anext(vrm.stats.history(1, timezone="UTC"))).start == utc(2026, 1, 1)
    for site, problem in ((2, "sent no time"), (3, "1970-01-01"), (4, "sent no time"), (5, "2100-01-01")):
        with pytest.raises(DecodeError, match=rf"site {site}: VRM .*{problem}.* \(syscreated\); pass start"):
            await anext(vrm.stats.history(site))
        fake.answers("GET", f"installations/{site}/stats", stats)
        assert (await anext(vrm.stats.history(site, start=utc(2026, 1, 1)))).start == utc(2026, 1, 1)


async def test_a_zone_that_is_set_later_is_found(fake, vrm):
    """A site without a zone is requested again."""
    zones = iter([None, "Europe/Paris"])
    fake.answers("GET", "users/22/installations", lambda _: (200, listed((1, next(zones)))))
    with pytest.raises(DecodeError, match="site 1"):
        await vrm.calendar(1)
    assert (await vrm.calendar(1)).zone.key == "Europe/Paris"


async def test_a_bucket_that_begins_at_the_end_is_left_out(fake, vrm):
    """A server may include it; it is not in the totals either, and `raw` is unchanged."""
    start, end = utc(2026, 1, 1), utc(2026, 1, 1, 2)
    hours = [int(start.timestamp() + hour * 3600) * 1000 for hour in range(3)]
    records = {
        "Pc": [[time, 1.5] for time in hours],
        "Gc": [[hours[0], 0.25]],
    }
    totals = {"Pc": 4.5, "Gc": 0.25, "kwh": 4.75}
    fake.answers("GET", "installations/1/stats", {"success": True, "records": records, "totals": totals})
    found = await vrm.stats.get(1, start=start, end=end)
    assert {series.code: len(series) for series in found} == {"Pc": 2, "Gc": 1}
    assert dict(found.totals) == {"Pc": 3.0, "Gc": 0.25, "kwh": 3.25}
    assert found.raw["totals"] == totals
    apart = [{"instance": 5, "stats": records}]
    sums = [{"instance": 5, "totals": totals}]
    fake.answers("GET", "installations/1/stats", {"success": True, "records": apart, "totals": sums})
    found = await vrm.stats.get(1, start=start, end=end, show_instance=True)
    assert found.totals_by_instance[5]["Pc"] == 3.0
    whole = await vrm.stats.get(1, start=start, end=utc(2026, 1, 1, 3), show_instance=True)
    assert dict(whole.totals_by_instance[5]) == totals
    measured = {"bs": [[time, 50.0, 40.0, 60.0] for time in hours]}
    answer = {"success": True, "records": measured, "totals": {"bs": 150.0}}
    fake.answers("GET", "installations/1/stats", answer)
    found = await vrm.stats.get(1, start=start, end=end, attribute_codes=["bs"])
    assert (list(found["bs"].maximum), dict(found.totals)) == ([60.0, 60.0], {"bs": None})


async def test_two_chunks_of_a_client_are_stitched(fake, vrm):
    """Whatever the server includes, each bucket comes once, and the totals of the chunks add up."""

    def inclusive(asked):
        start, end = int(dict(asked.query)["start"]), int(dict(asked.query)["end"])
        points = [[second * 1000, 1.0] for second in range(start, end + 1, 3600)]
        return 200, {
            "success": True,
            "records": {"Pc": points},
            "totals": {"Pc": len(points), "kwh": len(points)},
        }

    fake.answers("GET", "installations/1/stats", inclusive)
    range_ = {"start": utc(2026, 1, 1), "end": utc(2026, 2, 11)}
    chunks = [chunk async for chunk in vrm.stats.history(1, timezone="UTC", **range_)]
    times = [time for chunk in chunks for time, _ in chunk.data["Pc"]]
    assert len(chunks) == 2
    assert len(times) == len(set(times)) == 41 * 24
    assert sum(chunk.data.totals["kwh"] for chunk in chunks) == 41 * 24


async def test_buckets_that_are_not_the_sites_are_requested_again_in_hours(fake, vrm):
    """New York's days with labels at UTC midnight are aggregated from their own hours."""

    def answer(asked):
        query = dict(asked.query)
        start, end = int(query["start"]), int(query["end"])
        if query["interval"] == "hours":
            points = [[second * 1000, 0.5] for second in range(start, end, 3600)]
        else:
            points = [[second * 1000, 12.0] for second in range(start - 5 * 3600, end, 86400)]
        return 200, {"success": True, "records": {"Pc": points}, "totals": {"Pc": 99.0}}

    fake.answers("GET", "installations/1/stats", answer)
    days = vrm.stats.history(
        1, interval="days", start=utc(2026, 1, 1, 5), end=utc(2026, 1, 3, 5), timezone="America/New_York"
    )
    (chunk,) = [chunk async for chunk in days]
    assert list(chunk.data["Pc"]) == [(utc(2026, 1, 1, 5), 12.0), (utc(2026, 1, 2, 5), 12.0)]
    assert chunk.data.totals["Pc"] == 24.0
    assert [dict(asked.query)["interval"] for asked in fake.asked] == ["days", "hours"]


async def test_no_data_is_an_empty_answer(fake, vrm):
    """One request without data returns no series; a history has an empty chunk."""
    fake.answers("GET", "installations/1/stats", {"success": False, "error_code": "no_data", "errors": ["x"]})
    range_ = {"start": utc(2026, 1, 1), "end": utc(2026, 1, 2)}
    assert len(await vrm.stats.get(1, **range_)) == 0
    assert [chunk.empty async for chunk in vrm.stats.history(1, timezone="UTC", **range_)] == [True]


@pytest.fixture
async def simulator():
    async with Simulator(speed=1.0, start=utc(2026, 11, 1), window=10_000) as running:
        yield running


@pytest.fixture
async def live(simulator):
    async with VRMClient(token=simulator.vrm_token, base_url=simulator.vrm_url) as client:
        yield client


@pytest.mark.parametrize(
    ("which", "days"),
    [
        (0, {date(2026, 3, 29): 23, date(2026, 10, 25): 25, date(2026, 10, 26): 24}),
        (1, {date(2026, 2, 15): 25, date(2026, 3, 22): 23, date(2026, 3, 29): 24}),
    ],
    ids=["Europe/Amsterdam", "Africa/Casablanca"],
)
async def test_clock_changes_on_the_simulator(live, simulator, which, days):
    """Such a day has 23 or 25 hours, and they add up to its daily bucket."""
    site = simulator.site_ids[which]
    calendar = await live.calendar(site)
    for day, hours in days.items():
        span = calendar.day(day)
        [chunk] = [chunk async for chunk in live.stats.history(site, start=span.start, end=span.end)]
        assert len(chunk.data["Pc"]) == hours
        [whole] = [p async for p in live.stats.history(site, start=span.start, end=span.end, interval="days")]
        assert [time for time, _ in whole.data["Pc"]] == [span.start]
        assert whole.data["Pc"].value[0] == pytest.approx(sum(chunk.data["Pc"].value), abs=1e-3)


async def test_a_year_in_every_interval_on_the_simulator(live, simulator):
    """Hours, days, weeks, months and the year have the same sums, except for hours without a network."""
    site = simulator.site_ids[0]
    year = (await live.calendar(site)).year(2025)
    sums, questions = {}, {}
    for interval in ("days", "months", "years"):
        chunks = [
            p async for p in live.stats.history(site, start=year.start, end=year.end, interval=interval)
        ]
        sums[interval] = sum(sum(chunk.data["Pc"].value) for chunk in chunks)
        questions[interval] = len(chunks)
    assert questions == {"days": 3, "months": 1, "years": 1}
    assert sums["days"] == pytest.approx(sums["years"], rel=1e-6)
    assert sums["months"] == pytest.approx(sums["years"], rel=1e-6)
