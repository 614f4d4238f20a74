"""Many homes on one page, hostile names, and the one-time link, in a real Chromium."""

import random
from datetime import timedelta

import pytest

from energy_core import SourceId
from energy_core.home import SourceFilter
from energy_core.secret import Secret
from energy_live.web.access import ListenOptions
from energy_live.web.homes import Home, Homes
from energy_live.web.server import WebServer
from tests.real.browser import HOME, SITE, browser, moved, screen, world
from tests.servers.page_world import BERLIN, NOON, fleet

__all__ = ["browser"]
pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_names_are_shown_as_they_are(browser):
    """Markup in names of sites, devices and alarms is text; long names wrap."""
    evil = [
        "<b>Anna</b>",
        "<img src=x onerror=alert(1)>",
        "javascript:alert(1)",
        "A" * 80,
        "Ä\u202eöü\u0000\u2028é\U0001f3e0",
        "'\"><script>document.title='owned'</script>",
        "{{7*7}}${7*7}",
    ]
    homes = [
        Home(id=f"h{n}", name=name, zone=BERLIN, sources=(SourceFilter("vrm", site=str(n)),))
        for n, name in enumerate(evil)
    ]
    async with world(*homes) as home:
        for n, name in enumerate(evil):
            source = SourceId("vrm", "me", str(n))
            home.publish(
                home.make.reading(source, NOON, pv_power=10, consumption_power=10),
                home.make.alarm(source, name, NOON, device=name),
            )
        for width in (320, 1280):
            async with screen(browser, home.server.url, width=width, ready=".site") as shown:
                names = await shown.page.eval_on_selector_all(".site", "all => all.map(a => a.textContent)")
                assert sorted(names) == sorted(evil)
                assert await shown.overflows() <= 0
                await shown.page.click("a.site >> nth=0")
                await shown.page.wait_for_selector(".alarm")
                assert await shown.page.locator("main b >> text=Anna").count() == 0
                assert await shown.page.locator("img, main script, iframe").count() == 0
                assert await shown.overflows() <= 0
                assert await shown.page.title() != "owned"
                assert shown.complaints == []


async def test_random_names_stay_text(browser):
    """Sixty names of characters that matter in markup, addresses and scripts."""
    draw = random.Random(7)
    parts = [
        "<",
        ">",
        "&",
        '"',
        "'",
        "`",
        "script",
        "=",
        "/",
        "\\",
        "%3C",
        "&lt;",
        "onload",
        " ",
        "\u202e",
        "é",
        "\n",
    ]
    names = ["".join(draw.choices(parts, k=draw.randint(1, 14))).strip() or "x" for _ in range(60)]
    homes = [
        Home(id=f"h{n}", name=name, zone=BERLIN, sources=(SourceFilter("vrm", site=str(n)),))
        for n, name in enumerate(names)
    ]
    async with world(*homes) as home:
        for n in range(60):
            home.send(SourceId("vrm", "me", str(n)), pv_power=1, consumption_power=1)
        async with screen(browser, home.server.url, ready=".fleet") as shown:
            found = await shown.page.eval_on_selector_all(".site", "all => all.map(a => a.textContent)")
            assert sorted(found) == sorted(names)
            assert await shown.page.locator("main script, main img, main [onload]").count() == 0
            assert shown.complaints == []


async def test_a_link_logs_a_browser_in_once(browser):
    """Without it the page is refused; with it page, data and stream work; a second browser cannot use it."""
    options = ListenOptions(port=0, token=Secret("a-long-random-token-0123456789"))
    async with WebServer(options, Homes([HOME])) as server:
        context = await browser.new_context()
        page = await context.new_page()
        assert (await page.goto(server.url)).status == 401
        link = server.url.rstrip("/") + server.access.new_link()
        await page.goto(link)
        await page.wait_for_selector("h1", timeout=20_000)
        await page.wait_for_function("() => document.querySelector('.conn').textContent.includes('Live')")
        assert "code=" not in page.url
        (cookie,) = await context.cookies()
        assert (cookie["httpOnly"], cookie["secure"], cookie["sameSite"]) == (True, True, "Strict")
        other = await browser.new_context()
        assert (await (await other.new_page()).goto(link)).status == 401
        await other.close()
        await context.close()


async def test_many_homes_are_sorted_by_what_is_wrong(browser):
    """Offline, stale, alarm, low, backfilling, fine; chips filter; a click opens a home."""
    homes, events = fleet()
    async with world(*homes) as home:
        for event in events:
            home.server.homes.take(event)
        async with screen(browser, home.server.url, ready=".fleet") as shown:
            assert await shown.text("h1") == "5 of 12 homes need attention"
            assert await shown.text(".lead") == (
                "1 is offline, 1 is stale, 2 report alarms, 1 has a low battery."
            )
            states = await shown.page.eval_on_selector_all(
                ".state > div", "all => all.map(e => e.firstChild.textContent)"
            )
            assert states == [
                "Offline",
                "Stale",
                "Alarm",
                "Alarm",
                "Low charge",
                "Backfilling",
                *["Fine"] * 6,
            ]
            await shown.page.click(".chips button:has-text('Alarm')")
            await shown.page.wait_for_function(
                "() => document.querySelectorAll('.fleet tbody tr').length === 2"
            )
            await shown.page.click(".chips button:has-text('All')")
            await shown.page.click(".sort:has-text('Charge')")
            await shown.page.wait_for_selector("[aria-sort=ascending] .sort:has-text('Charge')")
            levels = await shown.page.eval_on_selector_all(
                ".lvl", "all => all.map(e => parseInt(e.textContent))"
            )
            assert levels == sorted(levels)
            await shown.page.click("a.site:has-text('Haus Lindenweg')")
            await shown.page.wait_for_selector(".c-values")
            assert "high grid voltage on L2" in await shown.text(".alarm")
            await shown.page.click("nav a")
            await shown.page.wait_for_selector(".fleet")


async def test_no_homes_one_and_five_hundred(browser):
    """Without a home the page says what it waits for; 500 homes are one table."""
    async with world(discover=True) as home:
        home.server.homes.records.clear()
        async with screen(browser, home.server.url) as shown:
            assert await shown.text("h1") == "No home has reported anything yet"
            home.send(pv_power=5, consumption_power=5)
            home.publish(home.make.gap(SITE, NOON - timedelta(hours=1), NOON))
            await shown.page.wait_for_selector(".c-values", timeout=20_000)
    homes = [
        Home(id=f"h{n}", name=f"Haus {n}", zone=BERLIN, sources=(SourceFilter("vrm", site=str(n)),))
        for n in range(500)
    ]
    async with world(*homes) as home:
        for n in range(500):
            source = SourceId("vrm", "me", str(n))
            home.publish(
                home.make.reading(source, NOON, pv_power=n, consumption_power=n, battery_soc=n % 100)
            )
        async with screen(browser, home.server.url, ready=".fleet") as shown:
            assert await shown.page.locator(".fleet tbody tr").count() == 500


async def rows(shown):
    return await shown.page.eval_on_selector_all(".fleet tbody tr", "all => all.map(tr => tr.dataset.home)")


async def test_a_row_moves_after_ten_seconds_and_never_under_the_pointer(browser):
    """The state of a row changes at once, its place later."""
    homes = [
        Home(id=f"h{n}", name=f"Haus {n}", zone=BERLIN, sources=(SourceFilter("vrm", site=str(n)),))
        for n in range(3)
    ]
    async with world(*homes) as home:
        sources = [SourceId("vrm", "me", str(n)) for n in range(3)]
        for source in sources:
            home.send(source, pv_power=100, consumption_power=100)
        async with screen(browser, home.server.url, ready=".fleet", stopped=True) as shown:
            await moved(shown, ".conn", "Live", 500)
            assert await rows(shown) == ["h0", "h1", "h2"]
            home.publish(home.make.alarm(sources[2], "overload", NOON))
            await moved(shown, "tr[data-home=h2] .state", "Alarm", 300)
            assert await rows(shown) == ["h0", "h1", "h2"]
            await shown.page.hover("tr[data-home=h1]")
            await shown.page.clock.run_for(15_000)
            assert await rows(shown) == ["h0", "h1", "h2"]
            await shown.page.mouse.move(5, 5)
            await shown.page.clock.run_for(3000)
            assert await rows(shown) == ["h2", "h0", "h1"]
