"""Collectors as processes, simulated accounts, NATS servers, and the faults between them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import signal
import sys
from collections import defaultdict
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import NamedTuple

from energy_live.simulator import Simulator
from energy_live.simulator.vrm.sites import LOGGED_EVERY_S
from tests.servers.command_line import environment
from tests.servers.nats_servers import NatsServer
from tests.servers.tcp_proxy import TcpProxy, proxied

CUT, STOP, KILL, SERVER = "cut a link", "stop a collector", "kill a collector", "kill a server"


class Asked(NamedTuple):
    """One request that an account's server received."""

    at: float
    account: str
    collector: int


class Fault(NamedTuple):
    """One fault that was injected."""

    at: float
    until: float
    kind: str
    which: int


def now() -> float:
    return asyncio.get_running_loop().time()


class _Watched:
    """Notes who has sent each request."""

    def __init__(self, accounts, label: str, asked: list[Asked]) -> None:
        self._accounts, self._label, self._asked = accounts, label, asked

    def __getattr__(self, name):
        return getattr(self._accounts, name)

    def caller(self, header):
        found = self._accounts.caller(header)
        if found is not None and found.token is not None:
            self._asked.append(Asked(now(), self._label, int(found.token.name.rpartition("-")[2])))
        return found


class Accounts:
    """Simulated VRM accounts; each collector has an access token of its own for each of them."""

    def __init__(self, simulators: list[Simulator], collectors: int) -> None:
        self.simulators = simulators
        self.asked: list[Asked] = []
        for number, simulator in enumerate(simulators):
            self._watch(self.label(number), simulator, collectors)

    @staticmethod
    def label(number: int) -> str:
        return f"fleet {number}"

    @staticmethod
    def token(number: int, collector: int) -> str:
        return f"{number:032x}{collector:032x}"

    def _watch(self, label: str, simulator: Simulator, collectors: int) -> None:
        accounts = simulator.vrm_server.accounts
        number = int(label.split()[1])
        for collector in range(collectors):
            accounts.create(
                simulator.world.user, f"collector-{collector}", value=self.token(number, collector)
            )
        simulator.vrm_server.accounts = _Watched(accounts, label, self.asked)

    def settings(self, interval_s: float) -> str:
        """Return the array of accounts of a host's settings."""
        return "".join(
            f"[[account]]\nname = {json.dumps(self.label(number))}\nsecret = 'TOKEN_{number}'\n"
            f"base_url = {json.dumps(simulator.vrm_url)}\ninterval_s = {interval_s}\n"
            for number, simulator in enumerate(self.simulators)
        )

    def secrets(self, collector: int) -> dict[str, str]:
        return {f"TOKEN_{n}": self.token(n, collector) for n in range(len(self.simulators))}

    def polled_since(self, moment: float) -> set[str]:
        return {each.account for each in self.asked if each.at > moment}

    def throttled(self) -> dict[str, int]:
        return {self.label(n): s.counters.get("limited", 0) for n, s in enumerate(self.simulators)}

    def truth(self, number: int, since: datetime, until: datetime) -> dict[str, set[int]]:
        """Return the Unix seconds of all logs of each site."""
        found = {}
        for site in self.simulators[number].world.sites:
            if site.user == self.simulators[number].vrm_user_id:
                first = math.ceil((since.timestamp() - site.log_offset_s) / LOGGED_EVERY_S)
                last = math.floor((until.timestamp() - site.log_offset_s) / LOGGED_EVERY_S)
                found[str(site.id)] = {
                    int(n * LOGGED_EVERY_S + site.log_offset_s) for n in range(first, last + 1)
                }
        return found


class Collectors:
    """Collectors as processes, each behind proxies of its own to every NATS server."""

    def __init__(self, folder: Path, proxies: list[list[TcpProxy]]) -> None:
        self.folder = folder
        self.proxies = proxies
        self.processes: dict[int, asyncio.subprocess.Process] = {}
        self.secrets: dict[int, dict[str, str]] = {}

    def write(self, number: int, accounts: Accounts, interval_s: float) -> None:
        url = ",".join(f"nats://127.0.0.1:{each.port}" for each in self.proxies[number])
        self.secrets[number] = accounts.secrets(number)
        (self.folder / f"host-{number}.toml").write_text(
            f"log_level = 'info'\nlog_format = 'json'\nhealth = ''\nstate = '{self.folder}/state-{number}'\n"
            f"[cluster]\nurl = '{url}'\nhost = 'host-{number}'\n"
            f"{accounts.settings(interval_s)}"
        )

    async def start(self, number: int) -> None:
        with (self.folder / f"host-{number}.log").open("ab") as log:
            self.processes[number] = await asyncio.create_subprocess_exec(
                # Without -W error: nats-py leaves the sockets of failed attempts to the garbage collector.
                sys.executable,
                *("-m", "energy_live", "run", "--config", str(self.folder / f"host-{number}.toml")),
                env=environment(self.secrets[number]),
                stdout=log,
                stderr=log,
            )

    def signal(self, number: int, which: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.processes[number].send_signal(which)

    async def kill(self, number: int) -> None:
        self.signal(number, signal.SIGKILL)
        await self.processes[number].wait()

    async def terminate(self, number: int) -> int:
        self.signal(number, signal.SIGTERM)
        return await self.processes[number].wait()

    def log(self, number: int) -> str:
        return (self.folder / f"host-{number}.log").read_text()

    async def aclose(self) -> None:
        for number in self.processes:
            if self.processes[number].returncode is None:
                self.signal(number, signal.SIGCONT)
                await self.kill(number)


@contextlib.asynccontextmanager
async def simulated_accounts(
    count: int, sites: int, collectors: int, speed: float
) -> AsyncIterator[Accounts]:
    """Run simulators of accounts with so many sites each."""
    async with contextlib.AsyncExitStack() as stack:
        simulators = [
            await stack.enter_async_context(
                Simulator(
                    seed=number + 1,
                    speed=speed,
                    start=datetime.now(UTC) - timedelta(hours=6),
                    more_sites=sites - 2,
                )
            )
            for number in range(count)
        ]
        yield Accounts(simulators, collectors)


@contextlib.asynccontextmanager
async def collectors(folder: Path, servers: list[NatsServer], count: int) -> AsyncIterator[Collectors]:
    """Prepare collectors; each has its own link to every server."""
    async with contextlib.AsyncExitStack() as stack:
        proxies = [
            [await stack.enter_async_context(proxied("127.0.0.1", each.port)) for each in servers]
            for _ in range(count)
        ]
        group = Collectors(folder, proxies)
        stack.push_async_callback(group.aclose)
        yield group


class Faults:
    """Injects one fault after the other."""

    def __init__(
        self, random: Random, group: Collectors, servers: list[NatsServer], *, stop_s: float, down_s: float
    ) -> None:
        self.random = random
        self.group = group
        self.servers = servers
        self.stop_s = stop_s
        self.down_s = down_s
        self.done: list[Fault] = []
        self.busy: set[int] = set()  # collectors that are stopped, cut or just started
        self.server_down = False
        self._tasks: set[asyncio.Task[None]] = set()

    def inject(self, kind: str) -> bool:
        """Begin a fault; return False if it cannot be injected now."""
        free = [each for each in range(len(self.group.proxies)) if each not in self.busy]
        if kind == SERVER:
            if self.server_down:
                return False
            which = self.random.randrange(len(self.servers))
        elif len(free) < 2:  # one collector stays as it is
            return False
        else:
            which = self.random.choice(free)
        begin = {KILL: self._kill, STOP: self._stop, CUT: self._cut, SERVER: self._server}[kind]
        task = asyncio.create_task(begin(which))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def settle(self) -> None:
        """Wait until all faults are over."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    def _note(self, kind: str, which: int, began: float) -> None:
        self.done.append(Fault(began, now(), kind, which))

    async def _kill(self, which: int) -> None:
        self.busy.add(which)
        began = now()
        await self.group.kill(which)
        await asyncio.sleep(self.random.uniform(0.5, 3.0))
        await self.group.start(which)
        self._note(KILL, which, began)
        self.busy.discard(which)

    async def _stop(self, which: int) -> None:
        self.busy.add(which)
        began = now()
        self.group.signal(which, signal.SIGSTOP)
        await asyncio.sleep(self.stop_s)
        self.group.signal(which, signal.SIGCONT)
        self._note(STOP, which, began)
        self.busy.discard(which)

    async def _cut(self, which: int) -> None:
        self.busy.add(which)
        began = now()
        links, silent = self.group.proxies[which], self.random.random() < 0.5
        for each in links:
            each.down = True
            if silent:
                each.swallow_up = each.swallow_down = True
            else:
                each.cut()
        await asyncio.sleep(self.random.uniform(0.2, 1.0) * self.stop_s)
        for each in links:
            each.cut()  # what was swallowed is lost: the connection cannot go on
            each.down = each.swallow_up = each.swallow_down = False
        self._note(CUT, which, began)
        self.busy.discard(which)

    async def _server(self, which: int) -> None:
        self.server_down = True
        began = now()
        await self.servers[which].kill()
        await asyncio.sleep(self.random.uniform(0.3, 1.0) * self.down_s)
        await self.servers[which].start()
        self._note(SERVER, which, began)
        self.server_down = False


def overlaps(asked: list[Asked], window_s: float) -> list[tuple[float, str]]:
    """Return for how long a collector still sent requests after another one had begun, and for which account.

    A collector that gets an account back is none: that takes longer than `window_s`.
    """
    found = []
    by_account = defaultdict(list)
    for each in sorted(asked):
        by_account[each.account].append(each)
    for account, requests in by_account.items():
        last: dict[int, float] = {}
        for number, each in enumerate(requests):
            before = last.get(each.collector)
            if before is not None and requests[number - 1].collector != each.collector:
                between = [other for other in requests[:number] if other.at > before]
                goes_on = any(
                    other.collector == between[0].collector and other.at < each.at + window_s
                    for other in requests[number + 1 :]
                )
                if goes_on and each.at - between[0].at < window_s:
                    found.append((each.at - between[0].at, account))
            last[each.collector] = each.at
    return found


def takeovers(asked: list[Asked], faults: list[Fault], ended: float) -> list[tuple[Fault, str, float]]:
    """Return how long each account of a collector that was killed or stopped was not polled by any."""
    found = []
    by_account = defaultdict(list)
    for each in sorted(asked):
        by_account[each.account].append(each)
    for fault in faults:
        if fault.kind not in {KILL, STOP}:
            continue
        for account, requests in by_account.items():
            before = [each for each in requests if each.at <= fault.at]
            if before and before[-1].collector == fault.which:
                # A request that it had sent before may arrive a moment later.
                others = (
                    each for each in requests if each.collector != fault.which or each.at > fault.at + 1
                )
                after = next((each.at for each in others if each.at > fault.at), ended)
                found.append((fault, account, after - fault.at))
    return found
