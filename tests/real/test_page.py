"""The live page in a real Chromium: what it shows is what was sent."""

import asyncio
import re
from datetime import timedelta

import pytest

from energy_core import Quantity
from energy_live.web.access import ListenOptions
from energy_live.web.serve import ServeOptions, serve_demo
from tests.real.browser import SITE, STORE, SUNNY, browser, moved, screen, words, world
from tests.servers.page_world import NOON
from tests.servers.real_programs import free_port

__all__ = ["browser"]
pytestmark = pytest.mark.asyncio(loop_scope="module")


async def nodes(shown):
    """Return name and value of every node of the flow figure."""
    found = await shown.page.eval_on_selector_all(
        ".flow li",
        "all => all.map(li => [li.dataset.node, li.querySelector('.n-name').textContent,"
        " li.querySelector('.n-val').innerText])",
    )
    return {label: (name, re.sub(r"\s+", " ", words(value))) for label, name, value in found}


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (
            SUNNY,
            {
                "sun": ("From the sun", "4.12 kW"),
                "grid": ("To the grid", "630 W"),
                "house": ("To the house", "1.18 kW"),
                "battery": ("To the battery", "2.31 kW"),
            },
        ),
        (
            {"pv_power": 0, "consumption_power": 999.6, "battery_power": -740, "grid_power": 260},
            {
                "sun": ("Sun", "0 W"),
                "grid": ("From the grid", "260 W"),
                "house": ("To the house", "1.00 kW"),
                "battery": ("From the battery", "740 W"),
            },
        ),
    ],
)
async def test_values_on_the_page_are_the_events_with_directions_in_words(browser, sent, expected):
    """Both signs; every value is also in the table, with its age and source."""
    async with world() as home, screen(browser, home.server.url) as shown:
        home.send(age=3, **sent)
        await shown.has("[data-node=house] .n-val", expected["house"][1].split()[0])
        assert await nodes(shown) == expected
        rows = await shown.page.eval_on_selector_all(
            ".values tbody tr",
            "all => all.map(tr => [tr.dataset.quantity, ...[...tr.cells].map(c => c.innerText)])",
        )
        assert {row[0] for row in rows} == set(sent)
        assert all("Victron VRM" in row[4] for row in rows)
        assert shown.complaints == []


async def test_a_new_event_is_shown_and_a_second_source_is_named(browser):
    """The preferred source counts while it is fresh; the other one is listed beside it."""
    async with world() as home, screen(browser, home.server.url) as shown:
        home.send(**SUNNY)
        home.send(STORE, battery_power=2280, battery_soc=66)
        row = ".values tr[data-quantity=battery_power]"
        await shown.has(row, "VoltStorage 301: 2.28 kW")
        home.send(battery_power=-512)
        await shown.has(row, "512 W discharging")
        home.clock.now += timedelta(seconds=1200)
        home.send(STORE, battery_power=99)
        await shown.has(row, "99 W charging")


async def test_phases_and_energies_have_names(browser):
    """Quantities beyond the figure are rows of the table, with words and units, in both languages."""
    sent = {
        "grid_l1_power": -40,
        "consumption_ac_power": 1500,
        "grid_import_energy": 12.34,
        "ev_charger_power": 11_000,
    }
    expected = {
        "en-GB": ["Grid L1 40 W feed-in", "House AC 1.50 kW", "Grid import 12.3 kWh", "Car charger 11.0 kW"],
        "de-DE": ["Netz L1 40 W Einspeisung", "Haus AC 1,50 kW", "Netzbezug 12,3 kWh", "Ladestation 11,0 kW"],
    }
    async with world() as home:
        for locale, rows in expected.items():
            async with screen(browser, home.server.url, locale=locale) as shown:
                home.send(**sent)
                for quantity, row in zip(sent, rows, strict=True):
                    cells = f".values tr[data-quantity={quantity}]"
                    await shown.page.wait_for_selector(cells)
                    found = await shown.page.eval_on_selector(
                        cells, "tr => tr.cells[0].textContent + ' ' + tr.cells[1].textContent"
                    )
                    assert words(found) == row


async def test_below_one_watt_nothing_flows(browser):
    """0.9 W is a grey line without arrow and dots; 1.1 W flows."""
    async with world() as home, screen(browser, home.server.url) as shown:
        home.send(pv_power=0.9, consumption_power=0.9, grid_power=0, battery_power=-0.9)
        await shown.has("h1", "Nothing flows")
        assert await shown.page.locator(".wire").count() == 0
        assert await shown.page.locator(".idle").count() == 4
        home.send(pv_power=1.1)
        await shown.page.wait_for_selector(".wire.s-sun", state="attached")
        assert await shown.page.locator(".dots").count() == 1


async def test_the_unit_does_not_flicker_around_a_kilowatt(browser):
    """KW from 1,000 W on, back to W below 950."""
    async with world() as home, screen(browser, home.server.url) as shown:
        seen = []
        for watts in (940, 999.4, 999.6, 980, 951, 949, 999):
            home.send(consumption_power=watts, grid_power=watts)
            text = "0.98" if watts == 980 else "0.95" if watts == 951 else None
            await shown.has(
                "[data-node=house] .n-val", text or ("1.00" if watts == 999.6 else f"{watts:.0f}")
            )
            seen.append((await nodes(shown))["house"][1])
    assert seen == ["940 W", "999 W", "1.00 kW", "0.98 kW", "0.95 kW", "949 W", "999 W"]


FLOWS = [
    # sun, grid, house, battery, generator; English; German
    (
        *(600, 0, 600, 0, None),
        "The sun covers the house",
        "Die Sonne versorgt das Haus",
    ),
    (
        *(500, 0, 900, -400, None),
        "Sun and battery supply the house",
        "Sonne und Batterie versorgen das Haus",
    ),
    (
        *(0, 10, 400, -390, None),
        "The battery supplies the house",
        "Die Batterie versorgt das Haus",
    ),
    (
        *(0, 936, 936, 0, None),
        "Importing 936 W",
        "Bezug aus dem Netz: 936 W",
    ),
    (
        *(0, 0, 800, 0, 800),
        "The generator supplies the house",
        "Der Generator versorgt das Haus",
    ),
    (
        *(0.5, 0.2, 0.7, 0, None),
        "Nothing flows",
        "Es fließt nichts",
    ),
]


def _flow(watts):
    return {"watts": 0 if watts == "stale" else watts, "fresh": watts != "stale"}


async def test_each_sentence_in_both_languages(browser):
    """Each row of the table of sentences, and its past tense where the connection is lost."""
    async with world() as home, screen(browser, home.server.url) as shown:
        for sun, grid, house, battery, generator, *texts in FLOWS:
            flows = {
                name: None
                if watts is None
                else {"watts": 0 if watts == "stale" else watts, "fresh": watts != "stale"}
                for name, watts in zip(
                    ("sun", "grid", "house", "battery", "generator"),
                    (sun, grid, house, battery, generator),
                    strict=True,
                )
            }
            for language, text in zip(("en", "de"), texts, strict=True):
                said = await shown.page.evaluate(
                    "async ([flows, lang]) => { const w = await import('/words.js'); w.setLang(lang);"
                    " return [w.sentence(w.situation(flows)),"
                    " w.pastSentence(w.situation(flows, true), '14:32')]; }",
                    [flows, language],
                )
                assert words(said[0]) == text
                assert said[1].startswith(("At 14:32 ", "Um 14:32 "))


async def test_ten_seconds_of_jitter_change_no_sentence(browser):
    """A new sentence needs ten seconds; then it comes."""
    async with world() as home, screen(browser, home.server.url, stopped=True) as shown:
        home.send(pv_power=600, grid_power=0, consumption_power=600, battery_power=0)
        await moved(shown, "h1", "The sun covers the house", 500)
        for number in range(12):
            home.send(grid_power=0 if number % 2 else 400)
            text = "0 W" if number % 2 else "400 W import"
            await moved(shown, ".values tr[data-quantity=grid_power]", text, 900)
            assert await shown.text("h1") == "The sun covers the house"
        home.send(grid_power=400)
        await moved(shown, "h1", "Sun and grid supply the house, importing 400 W", 1000)
        passed = await shown.page.evaluate("Date.now() - window.begun")
        assert passed >= 10_000


@pytest.mark.parametrize(
    ("sent", "expected", "sentence"),
    [
        (
            {"pv_power": 300, "consumption_power": 200, "battery_power": 100},
            {"sun", "house", "battery"},
            "The sun covers the house and charges the battery",
        ),
        ({"consumption_power": 242, "grid_power": 242}, {"grid", "house"}, "Importing 242 W"),
        (
            {"consumption_power": 500, "generator_power": 500, "grid_power": 0},
            {"grid", "generator", "house"},
            "The generator supplies the house",
        ),
        ({"pv_power": 50}, {"sun", "house"}, "50 W from the sun. The rest is not known"),
    ],
    ids=["boat", "flat", "generator", "sun alone"],
)
async def test_homes_without_battery_sun_or_grid(browser, sent, expected, sentence):
    """What was never reported has no node; the house is "not known", never 0."""
    async with world() as home, screen(browser, home.server.url) as shown:
        home.send(**sent)
        await shown.has("h1", sentence)
        found = await nodes(shown)
        assert set(found) == expected
        if "consumption_power" not in sent:
            assert found["house"][1] == "not known"


async def test_battery_says_when_it_is_full(browser):
    """From the charge of the day and the power now: clock to five minutes, duration to five minutes."""
    async with world() as home:
        for number in range(60, -1, -1):
            time = NOON - timedelta(minutes=5 * number)
            values = {"pv_power": 1500, "consumption_power": 300, "grid_power": 0}
            values |= {"battery_power": 1200, "battery_soc": 70 - number}
            home.publish(home.make.reading(SITE, time, **values))
        async with screen(browser, home.server.url) as shown:
            # 1,200 W raise the charge by 1 % in five minutes: 10 kWh; 3 kWh are missing.
            assert await shown.text(".c-charge .big") == "Full at about 13:50"
            assert "in 2 h 30 min at 1.20 kW" in await shown.text(".c-charge")
            assert "reserve 18 %" in await shown.text(".c-charge")


async def test_the_page_of_the_demo_shows_what_its_state_says(browser):
    """`energy-live serve --demo` and a browser, from nothing: values on the page are those of the relay."""
    port = free_port()
    demo = asyncio.create_task(serve_demo(ListenOptions(port=port), ServeOptions(), speed=1.0))
    try:
        async with asyncio.timeout(60):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    break
                except OSError:
                    await asyncio.sleep(0.02)
        async with screen(browser, f"http://127.0.0.1:{port}/") as shown:
            await shown.has(".conn", "Live, 2 sources", wait_ms=30_000)
            await shown.page.wait_for_selector("#plot canvas")
            first = await shown.text(".values tr[data-quantity=consumption_power]")
            assert "VoltStorage, product 301" in first
            assert shown.complaints == []
            await shown.page.wait_for_function(
                "old => document.querySelector('.values tr[data-quantity=consumption_power]')"
                ".textContent !== old",
                arg=first,
                timeout=20_000,
            )
            state = await shown.page.evaluate("async () => (await (await fetch('state')).json()).homes[0]")
            assert set(state["values"]) >= {str(Quantity.PV_POWER), str(Quantity.BATTERY_SOC)}
    finally:
        demo.cancel()
        await asyncio.gather(demo, return_exceptions=True)


async def test_the_page_is_small_and_loads_nothing_from_elsewhere(browser):
    """Everything comes from the relay itself, below 120 kB as transferred."""
    async with world() as home:
        home.send(**SUNNY)
        context = await browser.new_context(locale="en-GB")
        page = await context.new_page()
        requests, sizes = [], []
        page.on("request", lambda request: requests.append(request.url))

        async def note(request):
            sizes.append((await request.sizes())["responseBodySize"])

        waiting = []
        page.on("requestfinished", lambda request: waiting.append(asyncio.ensure_future(note(request))))
        await page.goto(home.server.url)
        await page.wait_for_selector(".c-values")
        await asyncio.gather(*waiting)
        await context.close()
    assert all(url.startswith((home.server.url, "ws://127.0.0.1", "data:")) for url in requests)
    assert sum(sizes) < 120_000
