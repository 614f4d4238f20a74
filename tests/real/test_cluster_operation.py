"""Operating a cluster on a real nats-server: hand-over, rate limits, status, drain, metrics, the service."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
import zlib
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import aiohttp
import pytest

pytest.importorskip("nats", reason="nats-py is missing: pip install 'energy-live[nats]'")

from prometheus_client import CollectorRegistry, generate_latest

from energy_live.cluster.account_run import ClusterAccount
from energy_live.cluster.collector import Collector, CollectorConfig
from energy_live.cluster.connection import POSITIONS, ClusterConnection
from energy_live.cluster.log import LogLimits, prepare
from energy_live.cluster.metrics import ClusterMetrics
from energy_live.cluster.reports import report_of
from energy_live.cluster.status import cluster_status, drain
from energy_live.simulator import Simulator
from tests.servers.command_line import environment, run
from tests.servers.nats_servers import nats_server
from tests.servers.real_programs import free_port, until
from vrm_async import VRMClient

FAST = CollectorConfig(sweep_s=0.1, settle_sweeps=2)


def account(simulator: Simulator, label: str, interval_s: float = 0.2) -> ClusterAccount:
    def connect(pool):
        client = VRMClient(pool, token=simulator.vrm_token, account=label, base_url=simulator.vrm_url)

        async def sources():
            return [client.live(interval_s=interval_s)]

        return sources

    return ClusterAccount(vendor="vrm", account=label, connect=connect)


@pytest.fixture
async def server(tmp_path):
    async with nats_server(tmp_path) as running:
        yield running


@pytest.fixture
async def connection(server):
    connected = await ClusterConnection.connect(server.url)
    await prepare(connected, LogLimits(lease_s=4.0))
    yield connected
    await connected.aclose()


@asynccontextmanager
async def collecting(server, accounts, host, config=FAST):
    """Run one host; gives its collector."""
    connection = await ClusterConnection.connect(server.url)
    await prepare(connection)
    collector = Collector(connection, accounts, host=host, config=config)
    task = asyncio.create_task(collector.run())
    try:
        yield collector
    finally:
        collector.stop()
        await task
        await connection.aclose()


def holds(collector, count):
    def ready() -> bool:
        runs = [run for run in collector.runs.values() if not run.is_stopping and not run.ended]
        return len(runs) == count and all(run.publisher.published for run in runs)

    return ready


async def test_a_hand_over_is_at_once_and_draws_no_429(server, connection):
    """The successor begins with what is left of the rate limit, with the vendor's window nearly full."""
    async with Simulator(speed=1.0) as simulator:
        greedy = [account(simulator, "home", interval_s=0.001)]
        async with collecting(server, greedy, "a") as first:
            await until(holds(first, 1))
            await until(lambda: len(simulator.requests) > 190)
            async with collecting(server, greedy, "b") as second:
                before = len(simulator.requests)
                first.stop()
                await until(holds(second, 1), 3.0)  # less than a lease takes to end
                await until(lambda: len(simulator.requests) > before + 12)
        assert simulator.counters.get("limited", 0) == 0


async def test_a_take_over_after_a_crash_draws_few_429s(server, connection):
    """What the successor knows is a few seconds old: at most eight requests are refused."""
    async with Simulator(speed=1.0) as simulator:
        greedy = [account(simulator, "home", interval_s=0.001)]
        async with collecting(server, greedy, "a") as first:
            await until(lambda: len(simulator.requests) > 190)
            await asyncio.gather(*(each.cancel() for each in first.runs.values()))
            first.stop()
            async with collecting(server, greedy, "b") as second:
                await until(holds(second, 1))
                before = len(simulator.requests)
                await until(lambda: len(simulator.requests) > before + 12)
        assert simulator.counters.get("limited", 0) <= 8


async def test_hosts_share_evenly_up_to_their_cap_and_say_so(server, connection):
    """Status has each account, host and consumer; metrics have the same; a drained host hands over."""
    async with Simulator(speed=30.0) as simulator:
        accounts = [account(simulator, f"home {n}") for n in range(6)]
        async with (
            collecting(server, accounts, "a") as first,
            collecting(server, accounts, "b", CollectorConfig(cap=2, sweep_s=0.1)) as second,
        ):
            await until(lambda: holds(first, 4)() and holds(second, 2)())
            status = await cluster_status(connection)
            assert sorted(status.accounts) == [f"vrm/home {n}" for n in range(6)]
            assert sorted(each["host"] for each in status.accounts.values()) == ["a"] * 4 + ["b"] * 2
            await until(lambda: all_live(connection))
            metrics = ClusterMetrics()
            metrics.collector, metrics.connection = second, connection
            await metrics.refresh()
            registry = CollectorRegistry()
            registry.register(metrics)
            text = generate_latest(registry).decode()
            assert text.count("energy_live_cluster_lease_held{") == 2
            assert "energy_live_cluster_connected 1.0" in text
            assert "energy_live_cluster_published_total{" in text
            assert await drain(connection, "b") == 2
            assert holds(second, 0)()
            await until(holds(first, 6))
            assert (await cluster_status(connection)).drained == {"b"}
            await drain(connection, "b", undo=True)
            await until(lambda: holds(first, 4)() and holds(second, 2)())
            report = report_of(await cluster_status(connection), datetime.now(UTC))
            assert report.exit_code == 0
            assert [row[0] for row in report.rows].count("account") == 6
        left = await cluster_status(connection)
        assert left.unheld == tuple(f"vrm/home {n}" for n in range(6))
        assert report_of(left, datetime.now(UTC)).exit_code == 1


async def all_live(connection) -> bool:
    status = await cluster_status(connection)
    return all(each.get("state") == "live" and each["published"] > 0 for each in status.accounts.values())


async def test_a_position_of_a_newer_version_is_kept_and_the_others_go_on(server, connection, caplog):
    """The host that cannot read it says so; a damaged one is given up with a line."""
    newer = b"other\n" + zlib.compress(b'{"v":99,"sources":[]}')
    await connection.put(POSITIONS, "position.vrm.newer", newer)
    await connection.put(POSITIONS, "position.vrm.damaged", b"other\nxx")
    async with Simulator(speed=30.0) as simulator:
        accounts = [account(simulator, label) for label in ("newer", "damaged", "home")]
        async with collecting(server, accounts, "a") as host:
            await until(lambda: sum(run.publisher.published > 0 for run in host.runs.values()) == 2)
            assert "version 99" in host.runs["vrm.newer"].failure
    assert (await connection.get(POSITIONS, "position.vrm.newer")).value == newer
    assert "vrm.damaged: starting from now" in caplog.text


async def test_the_service_collects_and_feeds_outputs(server, tmp_path):
    """`energy-live run --cluster` with two outputs and `cluster status`, as one would type them."""
    async with Simulator(speed=30.0, frame_s=0.2) as simulator:
        env = simulator.environment() | {"VRM_ACCOUNT": "my home", "NATS_URL": server.url}
        arguments = ("run", "--cluster", server.url, "--interval", "0.5", "--health", "")
        port = free_port()
        outputs = ("--state", str(tmp_path), "--to", "sqlite:a.sqlite", "--to", "sqlite:b.sqlite")
        outputs += ("--prometheus", f"127.0.0.1:{port}")
        command = (sys.executable, "-m", "energy_live", *arguments, *outputs)
        process = await asyncio.create_subprocess_exec(*command, env=environment(env))
        try:
            await until(lambda: all(stored(tmp_path / f"{each}.sqlite") > 5 for each in "ab"))
            done = await asyncio.to_thread(run, "cluster", "status", "--format", "json", env=environment(env))
            rows = json.loads(done.stdout)
            assert {row["name"] for row in rows if row["kind"] == "account"} == {
                "vrm/my home",
                "voltstorage/default",
            }
            assert sum(row["kind"] == "consumer" for row in rows) == 2
            assert done.returncode == 0, done.stderr
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"http://127.0.0.1:{port}/metrics") as got,
            ):
                text = await got.text()
            assert 'energy_live_cluster_lease_held{account="vrm/my home"} 1.0' in text
            assert "energy_live_cluster_consumer_waiting_events{" in text
            assert "energy_live_battery_soc_ratio{" in text
        finally:
            process.terminate()
            assert await process.wait() == 0
        done = await asyncio.to_thread(run, "cluster", "status", env=environment(env))
        assert done.returncode == 1
        assert done.stdout.count("not polled") == 2


def stored(path) -> int:
    try:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
            return database.execute("select count(*) from readings").fetchone()[0]
    except sqlite3.Error:
        return 0


@pytest.fixture(autouse=True)
async def no_task_left():
    yield
    assert asyncio.all_tasks() == {asyncio.current_task()}
