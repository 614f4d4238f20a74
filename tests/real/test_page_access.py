"""The live page for everyone: accessibility rules, keyboard, widths, colours and motion."""

import pytest

from energy_core import SourceId
from energy_core.home import SourceFilter
from energy_live.web.homes import Home
from tests.real.browser import HOME, SITE, STORE, SUNNY, axe, browser, day_of_readings, screen, world
from tests.servers.page_world import BERLIN, NOON, fleet

__all__ = ["axe", "browser"]
pytestmark = pytest.mark.asyncio(loop_scope="module")

LOOKS = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "forced colours": {"forced_colors": "active"},
    "more contrast": {"contrast": "more"},
    "reduced motion": {"reduced_motion": "reduce"},
    "phone": {"width": 390, "height": 844},
    "phone, dark, German": {"width": 390, "height": 844, "color_scheme": "dark", "locale": "de-DE"},
}


def fill(home):
    """Give the home a day, a gap, a stale value, a second source and an alarm."""
    day_of_readings(home, hole=(40, 52), filled=(200, 220))
    home.send(age=3, **SUNNY)
    home.send(age=47 * 60, generator_power=0)
    home.send(STORE, battery_power=2280, battery_soc=66)
    home.publish(home.make.alarm(SITE, "high grid voltage on L2", NOON, device="MultiPlus 276"))


@pytest.mark.parametrize("look", LOOKS)
async def test_axe_finds_nothing(browser, axe, look):
    """One home, many homes, and a lost connection, in each look."""
    homes, events = fleet()
    async with world() as home, world(*homes) as many:
        fill(home)
        for event in events:
            many.server.homes.take(event)
        for url, ready in ((home.server.url, ".c-values"), (many.server.url, ".fleet")):
            async with screen(browser, url, ready=ready, **LOOKS[look]) as shown:
                await shown.page.evaluate(axe)
                assert await violations(shown) == []
                if url == home.server.url:
                    await shown.page.click("summary")
                    await home.server.__aexit__()
                    await shown.page.wait_for_selector(".banner:not([hidden])", timeout=20_000)
                    assert await violations(shown) == []
                assert shown.complaints == []


async def violations(shown):
    found = await shown.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [(each["id"], [node["html"][:120] for node in each["nodes"]][:3]) for each in found["violations"]]


@pytest.mark.parametrize("language", ["en-GB", "de-DE"])
async def test_no_width_scrolls_sideways(browser, language):
    """320 to 1680 pixels, text at 200 %, with a long name and a long alarm."""
    long = Home(id="h", name="Donaudampfschifffahrt" * 4, zone=BERLIN, sources=HOME.sources)
    homes, events = fleet()
    async with world(long) as home, world(*homes) as many:
        fill(home)
        home.publish(home.make.alarm(SITE, "Hochspannung" * 7, NOON, device="M" * 80))
        for event in events:
            many.server.homes.take(event)
        for url in (home.server.url, many.server.url):
            async with screen(browser, url, locale=language) as shown:
                await shown.page.wait_for_selector("#plot canvas, .fleet")
                for width in (320, 390, 820, 1280, 1680):
                    await shown.page.set_viewport_size({"width": width, "height": 900})
                    assert await shown.overflows() <= 0, width
                for width in (640, 1280):
                    await shown.page.set_viewport_size({"width": width, "height": 900})
                    await shown.page.evaluate("document.documentElement.style.fontSize = '200%'")
                    assert await shown.overflows() <= 0, f"{width} at 200 %"
                    await shown.page.evaluate("document.documentElement.style.fontSize = ''")
                assert shown.complaints == [] or "style" in shown.complaints[0]


async def test_the_chart_follows_the_width(browser):
    """The canvas is as wide as its card after the window has changed."""
    async with world() as home, screen(browser, home.server.url) as shown:
        fill(home)
        await shown.page.wait_for_selector("#plot canvas")
        for width in (390, 1000, 700):
            await shown.page.set_viewport_size({"width": width, "height": 900})
            await shown.page.wait_for_function(
                "() => Math.abs(document.querySelector('#plot .uplot').clientWidth"
                " - document.querySelector('#plot').clientWidth) < 2"
            )


async def test_everything_works_with_the_keyboard(browser):
    """Tab reaches the skip link, the language, the table, chips and sort buttons; each shows its focus."""
    homes, events = fleet()
    async with world(*homes) as many:
        for event in events:
            many.server.homes.take(event)
        async with screen(browser, many.server.url, ready=".fleet") as shown:
            await shown.page.keyboard.press("Tab")
            assert await focused(shown) == "Skip to the list"
            await shown.page.keyboard.press("Enter")
            assert await shown.page.evaluate("document.activeElement.id") == "list"
            await shown.page.keyboard.press("Tab")
            await shown.page.keyboard.press("Tab")
            assert await focused(shown) == "Home, now"
            outline = await shown.page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert outline == "solid"
            await shown.page.keyboard.press("Space")
            await shown.page.wait_for_selector("[aria-sort] .sort:has-text('Home, now')")
            assert await focused(shown) == "Home, now"
            for _ in range(5):
                await shown.page.keyboard.press("Tab")
            assert await focused(shown) == "<b>Anna</b> & Söhne"
            await shown.page.keyboard.press("Enter")
            await shown.page.wait_for_selector(".c-values")
            await shown.page.click("a[lang=de]")
            await shown.page.wait_for_selector("html[lang=de]")
            await shown.page.reload()
            await shown.page.wait_for_selector("html[lang=de] .c-values")


async def focused(shown):
    return await shown.page.evaluate("document.activeElement.textContent.trim()")


async def test_the_focus_stays_while_values_change(browser):
    """The page changes its texts in place: an open table stays open, a focused link focused."""
    async with world() as home, screen(browser, home.server.url) as shown:
        fill(home)
        await shown.page.wait_for_selector("summary")
        await shown.page.click("summary")
        await shown.page.focus("a[lang=de]")
        for watts in (700, 800, 900):
            home.send(consumption_power=watts)
            await shown.has("[data-node=house] .n-val", str(watts))
        assert await shown.page.evaluate("document.activeElement.lang") == "de"
        assert await shown.page.evaluate("document.querySelector('details').open")


async def test_motion_stops_where_it_is_not_wanted(browser):
    """Reduced motion has no dots and keeps its arrows; otherwise dots run at three speeds."""
    async with world() as home:
        home.send(pv_power=4000, consumption_power=500, battery_power=2000, grid_power=-1500)
        async with screen(browser, home.server.url) as shown:
            speeds = await shown.page.eval_on_selector_all(
                ".dots", "all => all.map(e => getComputedStyle(e).animationDuration)"
            )
            assert sorted(speeds) == ["1.7s", "1.7s", "1s", "2.6s"]
        async with screen(browser, home.server.url, reduced_motion="reduce") as shown:
            shown_dots = await shown.page.eval_on_selector_all(
                ".dots", "all => all.filter(e => getComputedStyle(e).display !== 'none').length"
            )
            assert shown_dots == 0
            assert await shown.page.locator(".wires .a-sun").count() == 1


async def test_the_width_of_a_ribbon_is_linear_in_power(browser):
    """8.5 pixels a kW, at least 3; the largest power of the site at most 40; half of it on phones."""
    sites = [
        Home(id=f"h{n}", name=f"H{n}", zone=BERLIN, sources=(SourceFilter("vrm", site=str(n)),))
        for n in (1, 2)
    ]
    async with world(*sites) as home:
        for n, watts in ((1, 2000), (2, 20_000)):
            home.send(
                SourceId("vrm", "me", str(n)), pv_power=watts, consumption_power=watts / 2, grid_power=-9
            )
        widths = {}
        for width in (1280, 390):
            for n in (1, 2):
                async with screen(
                    browser, f"{home.server.url}#/home/h{n}", width=width, ready=".wire.i"
                ) as shown:
                    for kind in ("sun", "house", "grid"):
                        found = await shown.page.get_attribute(f".wire.in-{kind}", "stroke-width")
                        widths[width, n, kind] = float(found)
    assert widths[1280, 1, "sun"] == 17.0
    assert widths[1280, 1, "house"] == 8.5
    assert widths[1280, 1, "grid"] == 3.0
    assert widths[1280, 2, "sun"] == 40.0
    assert widths[390, 1, "sun"] == 8.5
