"""A real Chromium, and pages of a relay whose homes and time the test controls."""

import os
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from energy_core import SourceId
from energy_core.home import SourceFilter
from energy_live.web.access import ListenOptions
from energy_live.web.homes import Home, Homes
from energy_live.web.server import WebServer
from tests.servers.page_world import BERLIN, NOON, FixedClock, Numbered
from tests.servers.real_programs import lacking, need_program

ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--no-first-run"),
]
SITE, STORE = SourceId("vrm", "me", "151734"), SourceId("voltstorage", "me", "301")
HOME = Home(
    id="haus",
    name="Haus Lindenweg",
    zone=BERLIN,
    sources=(SourceFilter("vrm", site="151734"), SourceFilter("voltstorage", site="301")),
    reserve=18.0,
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser():
    """One Chromium for all tests of a module."""
    program = need_program("chromium", "chromium")
    playwright = pytest.importorskip("playwright.async_api")
    async with playwright.async_playwright() as driver:
        chromium = await driver.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield chromium
        await chromium.close()


@pytest.fixture(scope="session")
def axe():
    """The text of axe-core, which `nox -s real` installs with npm."""
    path = Path(os.environ.get("AXE", ""))
    if not path.is_file():
        lacking("axe-core", "`nox -s real` installs it with npm; or set AXE to its axe.min.js")
    return path.read_text(encoding="utf-8")


class Screen:
    """One page in one browser window, and everything it complained about."""

    def __init__(self, page):
        self.page = page
        self.complaints = []
        page.on("console", lambda message: self._note(message.type, message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _note(self, kind, text):
        # A failed request is logged by the browser itself while the connection is lost.
        if kind in {"error", "warning"} and "net::ERR" not in text and "WebSocket connection" not in text:
            self.complaints.append(text)

    async def text(self, selector):
        return (await self.page.inner_text(selector)).replace("\u00a0", " ").strip()

    async def has(self, selector, text, wait_ms=20_000):
        """Wait until an element has a text."""
        await self.page.wait_for_function(
            "([selector, text]) => document.querySelector(selector)?.textContent.replaceAll('\\u00a0', ' ')"
            ".includes(text)",
            arg=[selector, text],
            timeout=wait_ms,
        )

    async def overflows(self):
        """Return how many pixels the page is wider than the window."""
        return await self.page.evaluate("document.documentElement.scrollWidth - innerWidth")


class World:
    """A relay with one home, whose events come from the test."""

    def __init__(self, server, clock):
        self.server, self.clock, self.make = server, clock, Numbered()

    def send(self, source=SITE, *, age=0, **values):
        """Publish a reading that was taken `age` seconds ago."""
        time = self.clock.now - timedelta(seconds=age)
        self.server.publish([self.make.reading(source, time, **values)])

    def publish(self, *events):
        self.server.publish(events)


@asynccontextmanager
async def world(*homes, now=NOON, port=0, discover=False):
    """Serve homes, by default one."""
    clock = FixedClock(now)
    relay = Homes(homes or [HOME], discover=discover, clock=clock)
    listen = ListenOptions(port=port, max_requests=100_000)
    async with WebServer(listen, relay, clock=clock) as server:
        yield World(server, clock)


@asynccontextmanager
async def screen(browser, url, *, width=1280, height=900, ready="h1", stopped=False, **options):
    """Open a page in a window of its own; `stopped`: its timers run when the test moves them."""
    chosen = {"locale": "en-GB", "timezone_id": "Europe/Berlin", **options}
    context = await browser.new_context(viewport={"width": width, "height": height}, **chosen)
    try:
        shown = Screen(await context.new_page())
        if stopped:
            await shown.page.clock.install()
        await shown.page.goto(url)
        await shown.page.wait_for_selector(ready, timeout=30_000)
        yield shown
    finally:
        await context.close()


SUNNY = {
    "pv_power": 4120,
    "consumption_power": 1180,
    "battery_power": 2310,
    "grid_power": -630,
    "battery_soc": 68,
    "battery_voltage": 52.4,
    "battery_temperature": 24.6,
}


def words(text):
    return text.replace("\u00a0", " ")


async def moved(shown, selector, text, step_ms):
    """Move the page's timers on until an element has a text."""
    await shown.page.evaluate("window.begun = Date.now()")
    for _ in range(60):
        await shown.page.clock.run_for(step_ms)
        found = await shown.page.evaluate("s => document.querySelector(s)?.textContent", selector)
        if text in words(found or ""):
            return
    raise AssertionError(f"{selector} never had {text!r}, but {found!r}")


def day_of_readings(home, *, hole=None, filled=None):
    """Publish a day of one reading every five minutes, but for a hole, with a part that was fetched later."""
    for number in range(288, -1, -1):
        time = NOON - timedelta(minutes=5 * number)
        late = filled is not None and filled[0] <= number < filled[1]
        if hole is None or not hole[0] <= number < hole[1]:
            home.publish(
                home.make.reading(
                    SITE,
                    time,
                    backfilled=late,
                    received_at=NOON if late else time,
                    pv_power=1000,
                    consumption_power=400,
                    grid_power=-600,
                    battery_soc=50,
                )
            )


async def chart(shown):
    """Return what the chart draws: its columns, holes and the times."""
    return await shown.page.evaluate(
        "async () => { const d = await import('/draw.js');"
        " const h = (await (await fetch('history')).json()).homes[0];"
        " return [d.columns(h).map(c => Array.from(c, v => v === undefined ? 'joined' : v)), d.holes(h)]; }"
    )
