"""VRM in real time: CPU a message beside bare aiomqtt, a restart of 128 brokers, memory a site.

`python -m benchmarks.realtime` prints the figures; it needs mosquitto, aiomqtt and trustme. The sides run in
processes of their own, one after the other in rounds, so that ratios hold on a busy machine too.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import random
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Any

import aiomqtt

from energy_core.stream.merge import merge
from energy_core.stream.poll import Poller
from energy_core.stream.polled import LookbackConfig, Polled, SiteReport
from energy_core.stream.vocabulary import Kind, SourceId
from energy_live.simulator.mosquitto import GATEWAYS, Mosquitto
from vrm_async.decoding.gateways import Gateway
from vrm_async.realtime import MqttLink
from vrm_async.realtime_brokers import broker_number
from vrm_async.realtime_link import Login
from vrm_async.realtime_outlet import SiteMode
from vrm_async.realtime_site import RealtimeConfig
from vrm_async.realtime_source import RealtimeSource

SITES = 1000
TOPICS = (
    *("Ac/Grid/L1/Power", "Ac/Consumption/L1/Power", "Dc/Pv/Power"),
    *("Dc/Battery/Power", "Dc/Battery/Voltage"),
)
SECONDS = 8
ROUNDS = 3
ADDRESSES = 128


@cache
def portal_id(number: int) -> str:
    """Return the identifier of a gateway; they are spread evenly over all brokers."""
    chance = random.Random(number)
    while True:
        found = f"{chance.randrange(16**12):012x}"
        if broker_number(found) == number % ADDRESSES:
            return found


class KnownLogin:
    """The login of the simulated gateways."""

    renewable = False

    def __init__(self, password: str) -> None:
        from energy_core.secret import Secret

        self._password = Secret(password)

    async def get(self) -> Login:
        """Return it."""
        return Login(GATEWAYS, self._password)

    async def renew(self) -> None:
        """Nothing."""


def source_of(url: str, password: str, open_link: Any, context: ssl.SSLContext | None) -> RealtimeSource:
    """Return our source of a thousand sites, whose polls bring nothing."""
    sites = {SourceId("vrm", "me", str(number)): portal_id(number) for number in range(SITES)}

    def make_poller(*, on_gateways: Any) -> Poller:
        async def graph(*_: object) -> list[Any]:
            return []

        async def poll() -> Polled:
            on_gateways({site: Gateway(each, None) for site, each in sites.items()}, graph)
            return Polled(readings=[], sites=dict.fromkeys(sites, SiteReport(None)))

        return Poller(SourceId("vrm", "me", "*"), poll, interval_s=600.0, fetch_range=graph)  # type: ignore[arg-type]

    config = RealtimeConfig(url=url, ssl_context=context, silence_s=300.0)
    login: Any = KnownLogin(password)
    return RealtimeSource(make_poller, login, config, lookback=LookbackConfig(), open_link=open_link)


# --- CPU a message ---------------------------------------------------------------------------------------


async def bare(port: int, password: str, expected: int) -> dict[str, float]:
    """Receive the messages with aiomqtt's iterator."""
    client = aiomqtt.Client(
        "127.0.0.1",
        port,
        username=GATEWAYS,
        password=password,
        transport="websockets",
        websocket_path="/mqtt",
        protocol=aiomqtt.ProtocolVersion.V5,
    )
    async with client:
        await client.subscribe("N/+/system/0/#")
        print("ready", flush=True)
        received, begun = 0, 0.0
        async with asyncio.timeout(SECONDS + 40):
            async for message in client.messages:
                json.loads(message.payload)  # type: ignore[arg-type]
                begun = begun or time.process_time()
                received += 1
                if received == expected:
                    break
        return {"cpu_us": (time.process_time() - begun) / received * 1e6, "messages": received}


async def ours(port: int, password: str, expected: int) -> dict[str, float]:
    """Receive them as readings of a merged stream; each message is a member of a reading's `raw`."""
    source = source_of(f"ws://127.0.0.1:{port}/mqtt", password, MqttLink, None)
    async with merge(source) as events:
        received, begun = 0, 0.0

        async def watch() -> None:
            while any(record.realtime.state.value != "waking" for record in source._records.values()):  # noqa: ASYNC110
                await asyncio.sleep(0.2)
            print("ready", flush=True)

        await asyncio.sleep(1.0)
        watching = asyncio.create_task(watch())
        async with asyncio.timeout(SECONDS + 100):
            async for batch in events.batches():
                for event in batch:
                    if event.kind is Kind.READING:
                        begun = begun or time.process_time()
                        received += sum(path.startswith("system/0/") for path in event.raw)
                if received >= expected:
                    break
        await watching
        return {"cpu_us": (time.process_time() - begun) / received * 1e6, "messages": received}


async def publish(port: int, password: str) -> int:
    """Publish five messages a second for each site; return how many."""
    sent = 0
    async with aiomqtt.Client("127.0.0.1", port, username=GATEWAYS, password=password) as client:
        for second in range(SECONDS):
            begun = time.monotonic()
            for number in range(SITES):
                for index, path in enumerate(TOPICS):
                    value = second * 10 + index + 0.25
                    topic = f"N/{portal_id(number)}/system/0/{path}"
                    await client.publish(topic, json.dumps({"value": value}))
                    sent += 1
                if number % 50 == 0:
                    await asyncio.sleep(max(0.0, begun + number / SITES * 0.9 - time.monotonic()))
            await asyncio.sleep(max(0.0, begun + 1.0 - time.monotonic()))
    return sent


async def one_round(side: str) -> dict[str, float]:
    """Run one side in a process of its own."""
    async with Mosquitto() as broker:
        expected = SITES * len(TOPICS) * SECONDS
        arguments = ["-m", "benchmarks.realtime", side, str(broker.websocket_port), broker.password]
        process = await asyncio.create_subprocess_exec(
            sys.executable, *arguments, str(expected), stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        while (await process.stdout.readline()).strip() != b"ready":
            pass
        publisher = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "benchmarks.realtime", "publish", str(broker.port), broker.password)
        )
        await publisher.wait()
        found: dict[str, float] = json.loads(await process.stdout.readline())
        await process.wait()
        return found


# --- a restart of all brokers ----------------------------------------------------------------------------


async def restart() -> dict[str, float]:
    """Connect a thousand sites on 128 addresses, restart the broker behind all of them, and measure."""
    import psutil
    import trustme

    authority = trustme.CA()
    names = [f"127.0.1.{number}" for number in range(ADDRESSES)]
    issued = authority.issue_cert(*names, "127.0.0.1")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    opened: list[float] = []

    class Counted(MqttLink):
        async def open(self, login: Login, timeout_s: float) -> None:
            opened.append(time.monotonic())
            await super().open(login, timeout_s)

    with tempfile.TemporaryDirectory() as folder:
        key, chain = Path(folder, "key.pem"), Path(folder, "chain.pem")
        issued.private_key_pem.write_to_path(key)
        issued.cert_chain_pems[0].write_to_path(chain)
        async with Mosquitto(certificate=(str(chain), str(key)), host="0.0.0.0") as broker:
            answering = asyncio.create_task(answer(broker))
            gc.collect()
            process = psutil.Process()
            before = process.memory_info().rss
            url = f"wss://127.0.1.{{broker}}:{broker.websocket_port}/mqtt"
            source = source_of(url, broker.password, Counted, context)
            async with merge(source) as events:
                reading = asyncio.create_task(drain(events))
                connected_s = await all_live(source)
                await asyncio.sleep(2.0)
                gc.collect()
                memory = (process.memory_info().rss - before) / SITES / 1000
                brokers = len(source._brokers)
                opened.clear()
                await broker.stop()
                await asyncio.sleep(2.0)
                await broker.start()
                back_s = await all_live(source)
                reading.cancel()
            answering.cancel()
            await asyncio.wait([reading, answering])
    return {
        "addresses": brokers,
        "connected_s": connected_s,
        "back_s": back_s,
        "connections_in_100_ms": max(
            sum(begun <= other < begun + 0.1 for other in opened) for begun in opened
        ),
        "kB_a_site": memory,
    }


async def drain(events: Any) -> None:
    """Take all events."""
    async for _ in events:
        pass


async def all_live(source: RealtimeSource) -> float:
    """Wait until all sites are received in real time; return the seconds."""
    begun = time.monotonic()
    while True:
        live = [record.mode is SiteMode.REALTIME for record in source._records.values()]
        if len(live) == SITES and all(live):
            return time.monotonic() - begun
        await asyncio.sleep(0.1)


async def answer(broker: Mosquitto) -> None:
    """Answer every keepalive with a heartbeat, as long as the broker runs; connect again after a restart."""
    while True:
        try:
            async with aiomqtt.Client(
                "127.0.0.1", broker.port, username=GATEWAYS, password=broker.password
            ) as client:
                await client.subscribe("R/#")
                async for message in client.messages:
                    each = message.topic.value.split("/")[1]
                    await client.publish(f"N/{each}/heartbeat", json.dumps({"value": int(time.time())}))
        except (aiomqtt.MqttError, OSError):
            await asyncio.sleep(0.1)


async def everything() -> None:
    """Run all and print the figures."""
    rounds: dict[str, list[dict[str, float]]] = {"bare": [], "ours": []}
    for _ in range(ROUNDS):
        for side, found in rounds.items():
            found.append(await one_round(side))
    ratios = [
        mine["cpu_us"] / theirs["cpu_us"] for mine, theirs in zip(rounds["ours"], rounds["bare"], strict=True)
    ]
    expected = SITES * len(TOPICS) * SECONDS
    print(f"{SITES} sites, {len(TOPICS)} messages a second each, {SECONDS} s, {ROUNDS} rounds:")
    for side, found in rounds.items():
        lost = [expected - each["messages"] for each in found]
        print(
            f"  {side}: {statistics.median(each['cpu_us'] for each in found):.1f} us a message, lost {lost}"
        )
    print(f"  ours / bare aiomqtt: {statistics.median(ratios):.2f} (at most 1.3)")
    print(json.dumps(await restart(), indent=2))


def main() -> None:
    """Run one side, or everything."""
    parser = argparse.ArgumentParser()
    parser.add_argument("side", nargs="?", choices=["bare", "ours", "publish", "restart"])
    parser.add_argument("rest", nargs="*")
    given = parser.parse_args()
    if given.side is None:
        asyncio.run(everything())
    elif given.side == "restart":
        print(json.dumps(asyncio.run(restart()), indent=2))
    elif given.side == "publish":
        asyncio.run(publish(int(given.rest[0]), given.rest[1]))
    else:
        side = bare if given.side == "bare" else ours
        port, password, expected = given.rest
        print(json.dumps(asyncio.run(side(int(port), password, int(expected)))), flush=True)


if __name__ == "__main__":
    main()
