"""States of the live page: lost, stale, gaps, backfills, alarms, and days of 23 and 25 hours."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from tests.real.browser import SITE, SUNNY, browser, chart, day_of_readings, moved, screen, world
from tests.servers.page_world import BERLIN, NOON

__all__ = ["browser"]
pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_lost_connection_is_shown_and_heals(browser):
    """Within ten seconds: a bar on top, the past tense, clock times instead of ages, and nothing moves."""
    async with world() as home:
        port = home.server.port
        async with screen(browser, home.server.url) as shown:
            home.send(age=3, **SUNNY)
            await shown.has("h1", "The sun covers the house and charges the battery")
            await home.server.__aexit__()
            await shown.page.wait_for_selector(".banner:not([hidden])", timeout=10_000)
            assert (await shown.text("h1")).startswith("At 11:2")
            assert "Last known: 4.12 kW" in await shown.text(".lead")
            assert "Not connected" in await shown.text(".conn")
            assert re.match(r"11:2\d:\d\d", await shown.text("[data-node=sun] .small"))
            assert await shown.page.locator(".dots").count() == 0
            assert "Power at 11:2" in await shown.text("#h-flow")
            async with world(port=port) as again:
                again.send(**SUNNY)
                await shown.page.click(".banner button")
                await shown.page.wait_for_selector(".banner[hidden]", state="attached", timeout=20_000)
                await shown.has("h1", "The sun covers the house and charges the battery")
                assert shown.complaints == []


async def test_a_silent_connection_is_lost_too(browser):
    """A connection that is open and brings nothing, not even a sign of life, is lost within ten seconds."""
    async with world() as home, screen(browser, home.server.url, stopped=True) as shown:
        home.send(**SUNNY)
        await moved(shown, "h1", "The sun covers", 500)
        await shown.page.context.set_offline(True)
        for task in tuple(home.server._streams):
            task.cancel()  # it sends nothing any more
        await moved(shown, ".banner", "Connection lost", 1000)
        assert await shown.page.evaluate("Date.now() - window.begun") <= 10_000
        await shown.page.context.set_offline(False)
        await moved(shown, ".conn", "Live", 1000)


async def test_a_stale_value_is_no_part_of_sentence_sum_or_time(browser):
    """It is marked with a clock and its age; its flow is dotted; a value that never came is "not known"."""
    async with world() as home, screen(browser, home.server.url) as shown:
        home.send(age=47 * 60, generator_power=900, battery_power=2000, battery_soc=50)
        home.send(pv_power=500, grid_power=0, consumption_power=500)
        await shown.has("[data-node=generator]", "47 min old")
        assert await shown.text("h1") == "The sun covers the house"
        assert await shown.text(".lead") == "500 W from the sun: 500 W for the house."
        assert await shown.page.locator(".idle.unknown").count() == 2
        assert "not known" in (await shown.text(".c-charge .big")).lower()
        assert await shown.page.locator("[data-node=generator] .aged .icon").count() == 1


async def test_a_site_that_is_stale_as_a_whole_says_when_it_was_not(browser):
    """Past tense with the time of the newest value."""
    async with world() as home, screen(browser, home.server.url) as shown:
        home.send(age=40 * 60, **SUNNY)
        await shown.has("h1", "At 10:42 the sun covered the house and charged the battery")


async def test_a_gap_is_a_gap_in_chart_table_and_energy_until_it_is_filled(browser):
    """Lines end at a gap; the table has a row for it; kWh leave it out. Backfilled, it is drawn dashed."""
    async with world() as home, screen(browser, home.server.url) as shown:
        day_of_readings(home, hole=(40, 52))
        gap = (NOON - timedelta(minutes=255), NOON - timedelta(minutes=205))
        home.publish(home.make.gap(SITE, *gap))
        await shown.page.reload()
        await shown.page.wait_for_selector("#plot canvas")
        columns, holes = await chart(shown)
        assert len(holes) == 1
        assert 55 * 60 <= holes[0][1] - holes[0][0] <= 65 * 60
        assert [value for value in columns[1] if value not in {None, 1000}] == []
        inside = [v for t, v in zip(columns[0], columns[1], strict=True) if holes[0][0] < t < holes[0][1]]
        assert set(inside) == {None}
        assert "has no record of it" in await shown.text(".record")
        await shown.page.click("summary")
        assert "gap, reported" in await shown.text(".hours")
        before = float(re.search(r"Sun\s*([\d.]+)", await shown.text(".inout"))[1])
        await shown.has(".c-today", "missing")
        for number in range(51, 39, -1):
            time = NOON - timedelta(minutes=5 * number)
            home.publish(
                home.make.reading(
                    SITE, time, backfilled=True, received_at=NOON, pv_power=1000, grid_power=-600
                )
            )
        await shown.page.reload()
        await shown.page.wait_for_selector("#plot canvas")
        columns, holes = await chart(shown)
        assert holes == []
        assert columns[2].count(1000) >= 12
        after = float(re.search(r"Sun\s*([\d.]+)", await shown.text(".inout"))[1])
        assert 0.9 <= after - before <= 1.2
        assert "Backfilled" in await shown.text(".record")


async def test_backfilled_parts_appear_while_the_page_is_open(browser):
    """The chart asks for its data again when readings arrive late."""
    async with world() as home, screen(browser, home.server.url) as shown:
        day_of_readings(home, hole=(40, 52))
        await shown.page.reload()
        await shown.has(".record", "Missing")
        for number in range(52, 38, -1):
            time = NOON - timedelta(minutes=5 * number)
            home.publish(home.make.reading(SITE, time, backfilled=True, received_at=NOON, pv_power=900))
        await shown.has(".record", "Backfilled")
        assert "Missing" not in await shown.text(".record")


@pytest.mark.parametrize(("day", "hours"), [((2026, 3, 29), 23), ((2026, 10, 25), 25)])
async def test_days_with_23_and_25_hours(browser, day, hours):
    """The clock of the site, kWh of the whole local day, one bin after the other."""
    end = datetime(*day, 21, 50, tzinfo=UTC)
    async with world(now=end) as home:
        midnight = datetime(*day, tzinfo=BERLIN).astimezone(UTC)
        moment = midnight
        while moment <= end:
            home.publish(
                home.make.reading(SITE, moment, pv_power=1000, grid_power=-500, consumption_power=500)
            )
            moment += timedelta(minutes=5)
        passed = (end - midnight).total_seconds() / 3600
        assert hours - 1.2 < passed < hours
        async with screen(browser, home.server.url, timezone_id="America/New_York") as shown:
            sun = float(re.search(r"Sun\s*([\d.]+)", await shown.text(".inout"))[1])
            assert abs(sun - passed) < 0.15
            assert "time of Europe/Berlin" in await shown.text(".top")
            columns, _ = await chart(shown)
            assert {b - a for a, b in zip(columns[0], columns[0][1:], strict=False)} == {300}


async def test_gaps_alarms_and_states_show_while_the_page_is_open(browser):
    """An alarm appears and goes, a silent source is counted, and one polite region says so."""
    async with world() as home, screen(browser, home.server.url) as shown:
        home.send(**SUNNY)
        home.publish(home.make.status(SITE, "live", NOON))
        await shown.has(".conn", "Live, 1 source")
        home.publish(
            home.make.alarm(SITE, "high grid voltage", NOON - timedelta(minutes=44), device="MultiPlus")
        )
        await shown.has(".alarm", "high grid voltage")
        assert "since 10:38 (44 min)" in await shown.text(".alarm")
        await shown.has("#announce", "Haus Lindenweg: alarm, high grid voltage")
        home.publish(home.make.alarm(SITE, "high grid voltage", NOON, active=False))
        await shown.page.wait_for_selector(".alarm", state="detached")
        home.publish(home.make.status(SITE, "stale", NOON))
        await shown.has(".conn", "Live, 0 of 1 sources")
        assert await shown.page.locator("[aria-live]").count() == 1


async def test_a_backfill_that_runs_is_shown_with_its_progress(browser):
    """Range and share that was fetched, until the source is live again."""
    async with world() as home, screen(browser, home.server.url) as shown:
        home.send(age=3600, **SUNNY)
        home.publish(home.make.status(SITE, "live", NOON - timedelta(hours=1)))
        home.publish(home.make.status(SITE, "backfilling", NOON))
        await shown.has(".record .now", "60 min, 0 % fetched".replace("60 min", "1 h 00 min"))
        time = NOON - timedelta(minutes=15)
        home.publish(home.make.reading(SITE, time, backfilled=True, received_at=NOON, pv_power=1))
        await shown.has(".record .now", "1 h 00 min, 75 % fetched")
        assert await shown.page.locator(".record .now .icon").count() == 1
        home.publish(home.make.status(SITE, "live", NOON))
        await shown.page.wait_for_selector(".record .now", state="detached")
