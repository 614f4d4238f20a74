"""Accounts polled by collectors while collectors, servers and links fail, and what is true afterwards."""

from __future__ import annotations

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import nats
from nats.js import api

from energy_core import merge
from energy_core.secret import Secret
from energy_core.stream.event import Event
from energy_core.stream.vocabulary import Kind, SourceId
from energy_live.cluster.connection import STREAM, ClusterConnection
from energy_live.cluster.log import LogLimits, prepare
from energy_live.cluster.problems import ClusterError
from energy_live.cluster.source import ClusterSource
from energy_live.cluster.subjects import read_event
from energy_live.outputs import OutputFeed
from energy_live.outputs.postgres import PostgresOutput
from tests.real.postgresql import PASSWORD
from tests.servers.cluster_run import (
    CUT,
    KILL,
    SERVER,
    STOP,
    Accounts,
    Collectors,
    Fault,
    Faults,
    collectors,
    now,
    overlaps,
    simulated_accounts,
    takeovers,
)
from tests.servers.nats_servers import NatsServer, nats_cluster


@dataclass(frozen=True)
class Storm:
    """Sizes and times of one run."""

    accounts: int = 4
    sites: int = 3
    hosts: int = 3
    servers: int = 3
    seconds: float = 25.0
    """How long faults are injected; 0: each kind once, in this order."""
    pause_s: tuple[float, float] = (5.0, 30.0)
    stop_s: float = 20.0
    down_s: float = 15.0
    lease_s: float = 15.0
    speed: float = 20.0
    """Household seconds a second: a site logs once a minute of it."""
    interval_s: float = 1.0
    seed: int = 1
    postgresql: str = ""
    """Address of a database behind the log; empty: none."""


@dataclass
class Outcome:
    """What a run has left."""

    faults: list[Fault] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    overlaps: list[tuple[float, str]] = field(default_factory=list)
    takeovers: list[tuple[Fault, str, float]] = field(default_factory=list)
    limited: dict[str, int] = field(default_factory=dict)
    truth: dict[SourceId, set[int]] = field(default_factory=dict)
    until: float = 0.0
    unstored: int = 0
    """Values of the log that the database behind it lacks, or has with another value."""
    codes: list[int] = field(default_factory=list)
    """Exit codes of the collectors."""
    log: str = ""
    """What the collectors have logged."""

    def doubled(self) -> dict[tuple[SourceId, str, int], int]:
        """Return readings that the log has more than once."""
        counts = Counter(
            (each.source, each.id, each.revision) for each in self.events if each.kind is Kind.READING
        )
        return {key: count for key, count in counts.items() if count > 1}

    def lost(self) -> tuple[dict[SourceId, list[int]], dict[SourceId, list[int]], int]:
        """Return logs that were lost in silence, those in a gap, and the gaps without a missing log."""
        delivered, gaps = defaultdict(set), defaultdict(list)
        for each in self.events:
            if each.kind is Kind.READING:
                delivered[each.source].add(int(each.time.timestamp()))
            elif each.kind is Kind.GAP:
                gaps[each.source].append((each.detail.start.timestamp(), each.detail.end.timestamp()))
        lost, reported, needless = {}, {}, 0
        for device, logs in self.truth.items():
            known = delivered[device]
            first = min(known, default=None)
            missing = sorted(
                each for each in logs if first is not None and each >= first and each not in known
            )
            if first is None:
                missing = sorted(logs)
            inside = [each for each in missing if any(a <= each <= b for a, b in gaps[device])]
            needless += sum(not any(a <= each <= b for each in missing) for a, b in gaps[device])
            if inside:
                reported[device] = inside
            if silent := [each for each in missing if each not in set(inside)]:
                lost[device] = silent
        return lost, reported, needless

    def report(self) -> str:
        """Return the figures in a few lines."""
        lost, reported, needless = self.lost()
        slowest = sorted((s for _, _, s in self.takeovers), reverse=True)[:5]
        readings = sum(each.kind is Kind.READING for each in self.events)
        return "\n".join(
            [
                f"faults: {dict(Counter(each.kind for each in self.faults))}",
                f"events {len(self.events)}, readings {readings}, truth {sum(map(len, self.truth.values()))}",
                f"lost in silence {sum(map(len, lost.values()))}, in gaps {sum(map(len, reported.values()))}",
                f"gaps with nothing missing {needless}, doubled {len(self.doubled())}",
                f"overlaps {len(self.overlaps)}, longest {max(self.overlaps, default=(0, ''))}",
                f"take-overs {len(self.takeovers)}, slowest {[round(each, 1) for each in slowest]}",
                f"values that PostgreSQL lacks {self.unstored}",
                f"429s {sum(self.limited.values())}, most {max(self.limited.values(), default=0)}",
            ]
        )


async def until_polled(accounts: Accounts, count: int, seconds: float = 90.0) -> None:
    """Wait until every account is polled."""
    async with asyncio.timeout(seconds):
        while len({each.account for each in accounts.asked}) < count:  # noqa: ASYNC110  (other processes)
            await asyncio.sleep(0.1)


async def create(servers: list[NatsServer], limits: LogLimits) -> None:
    """Create log and buckets; the servers may still be choosing their leader."""
    connection = await ClusterConnection.connect(",".join(each.url for each in servers))
    try:
        async with asyncio.timeout(60):
            while True:
                try:
                    return await prepare(connection, limits)
                except ClusterError as error:
                    if error.permanent:
                        raise
                await asyncio.sleep(0.5)
    finally:
        await connection.aclose()


async def read_log(servers: list[NatsServer]) -> list[Event]:
    """Return all events of the log, read without our own source."""
    client = await nats.connect([each.url for each in servers])
    try:
        js = client.jetstream(timeout=10)
        subscription = await js.pull_subscribe(
            "energy.>", stream=STREAM, config=api.ConsumerConfig(ack_policy=api.AckPolicy.NONE)
        )
        total = (await js.stream_info(STREAM)).state.messages
        events: list[Event] = []
        while len(events) < total:
            messages = await subscription.fetch(min(1000, total - len(events)), timeout=20)
            events += [read_event(each.data, each.subject) for each in messages]
        return events
    finally:
        await client.close()


async def weather(storm: Storm, faults: Faults, random: Random) -> None:
    """Inject the faults."""
    kinds = [KILL, STOP, SERVER, CUT]
    if not storm.seconds:
        random.shuffle(kinds)
        for kind in kinds:
            assert faults.inject(kind)
            await faults.settle()
            await asyncio.sleep(1.2 * storm.lease_s)
        return
    until = now() + storm.seconds
    while now() < until:
        random.shuffle(kinds)
        next(kind for kind in kinds if faults.inject(kind) or kind == kinds[-1])
        await asyncio.sleep(random.uniform(*storm.pause_s))
    await faults.settle()


async def run_storm(storm: Storm, folder: Path) -> Outcome:
    """Run it; returns when all faults are over, the cluster has recovered and the collectors have ended."""
    random, outcome = Random(storm.seed), Outcome()
    async with (
        nats_cluster(folder, storm.servers) as servers,
        simulated_accounts(storm.accounts, storm.sites, storm.hosts, storm.speed) as accounts,
        collectors(folder, servers, storm.hosts) as group,
        AsyncExitStack() as stack,
    ):
        await create(servers, LogLimits(lease_s=storm.lease_s))
        for host in range(storm.hosts):
            group.write(host, accounts, storm.interval_s)
            await group.start(host)
        await until_polled(accounts, storm.accounts)
        await asyncio.sleep(storm.lease_s / 2)
        behind = await stack.enter_async_context(stored_behind(storm, servers))
        faults = Faults(random, group, servers, stop_s=storm.stop_s, down_s=storm.down_s)
        await weather(storm, faults, random)
        await recovered(accounts, storm)
        outcome.until = now()
        (folder / "asked.json").write_text(json.dumps({"asked": accounts.asked, "faults": faults.done}))
        await end(group, storm, outcome)
        outcome.faults, outcome.limited = faults.done, accounts.throttled()
        outcome.overlaps = overlaps(accounts.asked, 1.5 * storm.interval_s + 1.0)
        outcome.takeovers = takeovers(accounts.asked, faults.done, outcome.until)
        outcome.events = await read_log(servers)
        outcome.unstored = await behind(outcome.events)
        collect_truth(accounts, outcome)
    return outcome


@asynccontextmanager
async def stored_behind(
    storm: Storm, servers: list[NatsServer]
) -> AsyncIterator[Callable[[list[Event]], Awaitable[int]]]:
    """Store the log in PostgreSQL; gives a function that returns how many values it lacks in the end."""
    if not storm.postgresql:
        yield lambda _: asyncio.sleep(0, 0)
        return
    import asyncpg  # noqa: PLC0415  (an extra)

    source = ClusterSource(",".join(each.url for each in servers), name="postgresql")
    acknowledge = source.follow_commits()
    assert acknowledge == source.acknowledge
    feed = OutputFeed("postgresql", PostgresOutput(storm.postgresql, password=Secret(PASSWORD)))
    feed.on_written = source.acknowledge_batch
    stream = merge(source)
    await feed.open(stream)
    async with stream:
        feed.start()

        async def lacking(events: list[Event]) -> int:
            connection = await asyncpg.connect(storm.postgresql, password=PASSWORD)
            try:
                wanted = values_of(events)
                async with asyncio.timeout(120):
                    while True:
                        rows = await connection.fetch(
                            "select source, id, quantity, revision from energy_live.readings"
                        )
                        missing = len(wanted - {tuple(row) for row in rows})
                        if not missing:
                            return 0
                        await asyncio.sleep(1.0)
            except TimeoutError:
                return missing
            finally:
                await connection.close()

        try:
            yield lacking
        finally:
            await feed.aclose()


def values_of(events: list[Event]) -> set[tuple[str, str, str, int]]:
    return {
        (str(each.source), each.id, str(quantity), each.revision)
        for each in events
        if each.kind is Kind.READING
        for quantity in each.values
    }


async def recovered(accounts: Accounts, storm: Storm) -> None:
    """Wait until every account has been polled for a while, so that look-backs are done."""
    wanted = len(accounts.simulators)
    async with asyncio.timeout(120):
        since = 3 * storm.interval_s
        while len(accounts.polled_since(now() - since)) < wanted:  # noqa: ASYNC110  (other processes)
            await asyncio.sleep(0.2)
    await asyncio.sleep(2.0 * storm.lease_s)


async def end(group: Collectors, storm: Storm, outcome: Outcome) -> None:
    """End the collectors with SIGTERM, together."""
    codes = await asyncio.gather(*(group.terminate(each) for each in range(storm.hosts)))
    outcome.log = "\n".join(group.log(each) for each in range(storm.hosts))
    outcome.codes = list(codes)


def collect_truth(accounts: Accounts, outcome: Outcome) -> None:
    """Note every log of every site between its first and last reading."""
    newest: dict[str, datetime] = {}
    for each in outcome.events:
        if each.kind is Kind.READING:
            newest[each.source.account] = max(each.time, newest.get(each.source.account, each.time))
    oldest = min(
        (each.time for each in outcome.events if each.kind is Kind.READING), default=datetime.now(UTC)
    )
    for number in range(len(accounts.simulators)):
        label = accounts.label(number)
        if label not in newest:
            continue
        for site, logs in accounts.truth(number, oldest, newest[label]).items():
            device = SourceId("vrm", label, site)
            own = [each for each in logs if each <= newest[label].timestamp() - 60]
            outcome.truth[device] = set(own)
