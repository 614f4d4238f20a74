"""Makes the pictures of the live page in docs/pictures: `nox -s pictures`.

They show the page itself in Chromium, on the simulated household of the demo and on twelve invented homes.
"""

import asyncio
import io
import sys
from contextlib import asynccontextmanager
from pathlib import Path

from PIL import Image
from playwright.async_api import async_playwright

from energy_live.web.access import ListenOptions
from energy_live.web.serve import ServeOptions, serve_demo
from tests.real.browser import ARGUMENTS, screen, world
from tests.servers.page_world import fleet
from tests.servers.real_programs import free_port

FOLDER = Path(__file__).parents[2] / "docs" / "pictures"


@asynccontextmanager
async def demo():
    """Run the demo; yields its address."""
    port = free_port()
    running = asyncio.create_task(serve_demo(ListenOptions(port=port), ServeOptions(), speed=1.0))
    try:
        for _ in range(600):
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                break
            except OSError:
                await asyncio.sleep(0.05)
        yield running, f"http://127.0.0.1:{port}/"
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def take(shown, name):
    """Save what the window shows, with 128 colours: a third of the size, and no visible difference."""
    picture = Image.open(io.BytesIO(await shown.page.screenshot()))
    picture.convert("RGB").quantize(128, dither=Image.Dither.NONE).save(FOLDER / f"{name}.png", optimize=True)


async def main():
    FOLDER.mkdir(exist_ok=True)
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS)
        async with demo() as (running, url):
            for name, look in (
                ("home-light", {}),
                ("home-dark", {"color_scheme": "dark"}),
                ("home-phone", {"width": 390, "height": 844, "locale": "de-DE"}),
            ):
                async with screen(browser, url, ready="#plot canvas", **look) as shown:
                    await shown.has(".conn", "2")
                    await asyncio.sleep(4)  # both sources deliver, and the widths have settled
                    await take(shown, name)
            async with screen(browser, url, ready="#plot canvas") as shown:
                await asyncio.sleep(4)
                running.cancel()
                await shown.page.wait_for_selector(".banner:not([hidden])", timeout=20_000)
                await take(shown, "lost")
        homes, events = fleet()
        async with world(*homes) as many:
            for event in events:
                many.server.homes.take(event)
            async with screen(browser, many.server.url, ready=".fleet") as shown:
                await take(shown, "fleet-light")
        await browser.close()
    for path in sorted(FOLDER.glob("*.png")):
        sys.stdout.write(f"{path.name}: {path.stat().st_size // 1000} kB\n")


if __name__ == "__main__":
    asyncio.run(main())
