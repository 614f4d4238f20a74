"""The live page and the relay: many clients of one server on one core, and the page in a real browser.

`python -m benchmarks.relaying` prints the figures of aim 9. The server runs in a process of its own, on one
core; the clients on the others. Latency is from `publish` to the bytes in the process of the clients: it
includes their own delay.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from energy_core import Event, Kind, Quantity, SourceId
from energy_live.web.access import ListenOptions
from energy_live.web.homes import Homes
from energy_live.web.server import WebServer

CLIENTS: Final = 500
SOURCES: Final = 20
SECONDS: Final = 20.0
_SENT: Final = re.compile(rb'"grid_power":([0-9.]+)')
_HANDSHAKE: Final = (
    "GET /events?raw=no&policy={policy} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
    "Connection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


# --- the server's process ----------------------------------------------------------------------------------


def _event(number: int, seq: int) -> Event:
    source, now = SourceId("vrm", "bench", str(number)), datetime.now(UTC)
    values = {
        Quantity.GRID_POWER: time.monotonic(),
        Quantity.PV_POWER: 4120.0,
        Quantity.CONSUMPTION_POWER: 1180.0,
        Quantity.BATTERY_POWER: 2310.0,
        Quantity.BATTERY_SOC: 68.0,
    }
    return Event(source, Kind.READING, f"{source}/reading", now, now, seq, f"{number}/{seq}", values)


async def _serve(together: bool) -> None:
    """Publish one event a second of each source: spread over the second, or all at once."""
    async with WebServer(
        ListenOptions(port=0, max_clients=100_000, max_requests=1_000_000), Homes()
    ) as server:
        print(server.port, flush=True)
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        offsets = [0.0 if together else number / SOURCES for number in range(SOURCES)]
        due = sorted((loop.time() + 1 + offset, number, 1) for number, offset in enumerate(offsets))
        asking = asyncio.ensure_future(reader.readline())
        while True:
            await asyncio.sleep(max(0.0, due[0][0] - loop.time()))
            batch = []
            while due[0][0] <= loop.time():
                at, number, seq = due.pop(0)
                batch.append(_event(number, seq))
                due.append((at + 1.0, number, seq + 1))
                due.sort()
            server.publish(batch)
            if asking.done():
                if not asking.result():
                    return
                print(json.dumps(_server_figures(server)), flush=True)
                asking = asyncio.ensure_future(reader.readline())


def _server_figures(server: WebServer) -> dict[str, float]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "cpu_s": used.ru_utime + used.ru_stime,
        "rss": pages * os.sysconf("SC_PAGE_SIZE"),
        "clients": server.clients,
        "dropped": server.log.dropped,
    }


# --- the clients -------------------------------------------------------------------------------------------


class _Client(asyncio.Protocol):
    """Reads frames and notes how long each event took."""

    def __init__(self, policy: str, latencies: list[float], *, slow: bool) -> None:
        self._request = _HANDSHAKE.format(policy=policy).encode()
        self._latencies = latencies
        self._slow = slow

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(self._request)
        if self._slow:
            transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        self._latencies += [now - float(sent) for sent in _SENT.findall(data)]


@contextmanager
def _server(*, together: bool) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "benchmarks.relaying", "--serve", *(["--together"] if together else [])]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(10)


async def _ask(process: subprocess.Popen[str]) -> dict[str, float]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("?\n")
    process.stdin.flush()
    return json.loads(await asyncio.to_thread(process.stdout.readline))


async def _run(*, clients: int, slow: int, together: bool) -> dict[str, float]:
    """Connect clients for a while; return the server's and their figures."""
    loop, latencies = asyncio.get_running_loop(), []
    with _server(together=together) as process:
        assert process.stdout is not None
        port = int(await asyncio.to_thread(process.stdout.readline))
        before = await _ask(process)
        transports = []
        for number in range(clients):
            policy = "drop_oldest" if number < slow else "block"
            transport, _ = await loop.create_connection(
                lambda number=number, policy=policy: _Client(policy, latencies, slow=number < slow),
                "127.0.0.1",
                port,
            )
            transports.append(transport)
        await asyncio.sleep(3)
        latencies.clear()
        begun, idle = await _ask(process), time.monotonic()
        await asyncio.sleep(SECONDS)
        after, passed = await _ask(process), time.monotonic() - idle
        for transport in transports:
            transport.abort()
    latencies.sort()
    return {
        "events": len(latencies),
        "p50_ms": latencies[len(latencies) // 2] * 1000,
        "p99_ms": latencies[len(latencies) * 99 // 100] * 1000,
        "worst_ms": latencies[-1] * 1000,
        "cpu": (after["cpu_s"] - begun["cpu_s"]) / passed,
        "kb_a_client": (after["rss"] - before["rss"]) / clients / 1000,
        "dropped": after["dropped"],
    }


# --- the page in Chromium ----------------------------------------------------------------------------------


async def _page() -> dict[str, float]:
    """Return the first paint, the bytes, the heap after an hour of events, and the longest task."""
    from playwright.async_api import async_playwright

    from tests.real.browser import ARGUMENTS, HOME, SITE, Numbered
    from tests.servers.page_world import FixedClock

    clock, make = FixedClock(), Numbered()
    async with (
        WebServer(ListenOptions(port=0), Homes([HOME], clock=clock), clock=clock) as server,
        async_playwright() as driver,
    ):
        browser = await driver.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS)
        page = await browser.new_page()
        sizes: list[int] = []

        async def note(request: object) -> None:
            sizes.append((await request.sizes())["responseBodySize"])  # type: ignore[attr-defined]

        waiting: list[asyncio.Future[None]] = []
        page.on("requestfinished", lambda request: waiting.append(asyncio.ensure_future(note(request))))
        server.publish([make.reading(SITE, clock.now, pv_power=1000, consumption_power=500, battery_soc=50)])
        await page.goto(server.url)
        await page.wait_for_selector("#plot canvas")
        paint = await page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
        await asyncio.gather(*waiting)
        cdp = await page.context.new_cdp_session(page)

        async def heap() -> float:
            await cdp.send("HeapProfiler.collectGarbage")
            return (await cdp.send("Runtime.getHeapUsage"))["usedSize"]

        async def publish(count: int, every_s: float) -> None:
            for _ in range(count):
                clock.now = clock.now.replace(microsecond=(clock.now.microsecond + 1) % 1_000_000)
                watts = float(random.randint(0, 4000))
                server.publish([make.reading(SITE, clock.now, pv_power=watts, consumption_power=500)])
                await asyncio.sleep(every_s)

        await publish(200, 0.01)
        before = await heap()
        await page.evaluate(
            "window.longest = 0; new PerformanceObserver(l => l.getEntries().forEach(e => "
            "longest = Math.max(longest, e.duration))).observe({entryTypes: ['longtask']})"
        )
        await publish(200, 0.05)
        longest = await page.evaluate("longest")
        await publish(72_000, 0.0)
        await asyncio.sleep(2)
        after = await heap()
        await browser.close()
    return {
        "first_paint_ms": paint,
        "kb": sum(sizes) / 1000,
        "heap_mb": (after - before) / 1e6,
        "longest_task_ms": longest,
    }


def main() -> None:
    """Measure and print everything."""
    cores = sorted(os.sched_getaffinity(0))
    if "--serve" in sys.argv:
        os.sched_setaffinity(0, cores[:1])
        asyncio.run(_serve("--together" in sys.argv))
        return
    if len(cores) > 1:
        os.sched_setaffinity(0, cores[1:])
    spread = asyncio.run(_run(clients=CLIENTS, slow=0, together=False))
    slow = asyncio.run(_run(clients=CLIENTS, slow=5, together=False))
    burst = asyncio.run(_run(clients=CLIENTS, slow=0, together=True))
    os.sched_setaffinity(0, cores)
    page = asyncio.run(_page())
    print(f"{CLIENTS} clients, {SOURCES} events a second, one core for the server")
    named = {"spread over the second": spread, "five do not read": slow, "all at once": burst}
    for name, found in named.items():
        times = ", ".join(f"{each} {found[f'{each}_ms']:.1f} ms" for each in ("p50", "p99", "worst"))
        cost = f"CPU {found['cpu']:.0%}, {found['kb_a_client']:.0f} kB a client"
        print(f"  {name}: {times}, {cost}, {found['dropped']:.0f} dropped")
    print(
        f"  page: first paint {page['first_paint_ms']:.0f} ms, {page['kb']:.0f} kB, longest task "
        f"{page['longest_task_ms']:.0f} ms (0: below 50), {page['heap_mb']:.2f} MB more after 72,000 events"
    )


if __name__ == "__main__":
    main()
