"""`Collector`: polls the accounts whose leases this host holds, and publishes their events."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Final
from uuid import uuid4

from attrs import field, frozen

from energy_core.clock import Clock, SystemClock
from energy_core.printable import printable
from energy_live.cluster.account_run import AccountRun, ClusterAccount
from energy_live.cluster.connection import POSITIONS, ClusterConnection, names
from energy_live.cluster.leases import Leases, LeaseTable, caps_of, fair_share
from energy_live.cluster.problems import ClusterError, raise_if_cancelled
from energy_live.cluster.subjects import token

_log: Final = logging.getLogger("energy_live.cluster")

DRAIN: Final = "drain."
"""Prefix of the keys that say which hosts take no accounts."""


@frozen(kw_only=True)
class CollectorConfig:
    """Sizes and times of a collector."""

    cap: int = 1000
    """Accounts this host polls at most."""
    sweep_s: float = 1.0
    """Seconds between two looks at the leases."""
    settle_sweeps: int = field(default=4)
    """Sweeps in a row in which this host has more than its share, before it gives accounts away."""
    grace_s: float = 10.0
    """Seconds a hand-over at the end may take."""


class Collector:
    """Takes leases, evenly with the other hosts, and runs each account while its lease is held.

    Args:
        connection: Open and prepared.
        accounts: All accounts that this host may poll.
        host: Name of this host.
        config: Sizes and times.
        clock: The source of time.
        random: Returns numbers in [0, 1).
    """

    def __init__(
        self,
        connection: ClusterConnection,
        accounts: Sequence[ClusterAccount],
        *,
        host: str,
        config: CollectorConfig | None = None,
        clock: Clock | None = None,
        random: Callable[[], float] = random.random,
    ) -> None:
        self.host: Final = host
        self.instance: Final = uuid4().hex
        self.drained = False
        """Whether an administrator wants this host to take no accounts."""
        self.lost = 0
        """Leases that were lost instead of given back."""
        self._connection = connection
        self._accounts = {each.key: each for each in accounts}
        self._config = config or CollectorConfig()
        self._clock = clock or SystemClock()
        self._random = random
        self._leases = Leases(connection, self.instance, self._clock)
        self._runs: dict[str, AccountRun] = {}
        self._stopping = asyncio.Event()
        self._announced_at = float("-inf")
        self._above = 0  # sweeps in a row with more than the share
        self._problem = ""

    @property
    def runs(self) -> Mapping[str, AccountRun]:
        """The accounts that this host polls now, by key."""
        return self._runs

    def stop(self) -> None:
        """Make `run` hand over and return."""
        self._stopping.set()

    async def run(self) -> None:
        """Poll until cancelled or stopped; then hand every account over, which takes `grace_s` at most.

        Raises:
            ClusterError: The server has closed the connection for good.
        """
        try:
            while not self._stopping.is_set():
                try:
                    await self._sweep()
                    self._note("")
                except ClusterError as error:
                    self._note(str(error))
                    raise_if_cancelled()
                    await self._connection.watch()
                if self._connection.is_closed:
                    raise ClusterError(
                        f"the NATS server has closed the connection: {self._connection.problem}",
                        permanent=True,
                    )
                await self._wait()
        finally:
            await self._hand_over_all()

    async def _wait(self) -> None:
        # Spread, so that the hosts do not all take leases in the same moment.
        seconds = self._config.sweep_s * (0.75 + 0.5 * self._random())
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return

    def _note(self, problem: str) -> None:
        """Log a problem once, and its end."""
        if problem and problem != self._problem:
            _log.error("%s; accounts stop when their lease ends", problem)
        elif self._problem and not problem:
            _log.warning("the cluster is back")
        self._problem = problem

    # --- leases --------------------------------------------------------------------------------------------

    async def _sweep(self) -> None:
        await self._reap()
        is_first = self._announced_at == float("-inf")
        if self._clock.monotonic() >= self._announced_at + self._leases.every_s:
            await self._leases.announce(token(self.host) + "." + self.instance[:8], self._about())
            self._announced_at = self._clock.monotonic()
        if is_first:
            return  # the other hosts have to know of this one before it takes a share
        table = await self._leases.table()
        drained = frozenset(
            key.removeprefix(DRAIN)
            for key, entry in (await self._connection.values(POSITIONS, f"{DRAIN}*")).items()
            if not entry.deleted
        )
        self.drained = token(self.host) in drained
        share = self._share(table, drained)
        if len(self._runs) > share:
            self._above += 1
            if self.drained or self._above >= self._config.settle_sweeps:
                self._give_away(share)
        else:
            self._above = 0
            await self._take(table, share)

    def _about(self) -> Mapping[str, object]:
        return {
            "host": token(self.host),
            "cap": self._config.cap,
            "held": len(self._runs),
            "lost": self.lost,
            "accounts": len(self._accounts),
        }

    def _share(self, table: LeaseTable, drained: frozenset[str]) -> int:
        if self.drained:
            return 0
        caps = caps_of(table.hosts().values(), drained)
        caps[token(self.host)] = self._config.cap
        return min(self._config.cap, fair_share(len(self._accounts), list(caps.values())))

    async def _take(self, table: LeaseTable, share: int) -> None:
        held = table.holders()
        free = [key for key in self._accounts if key not in held and key not in self._runs]
        # Every host begins elsewhere, so that two rarely want the same one.
        free.sort(key=lambda _: self._random())
        await asyncio.gather(*(self._take_one(table, key) for key in free[: share - len(self._runs)]))

    async def _take_one(self, table: LeaseTable, key: str) -> None:
        lease = await self._leases.take(key, table.revision(key), {"host": self.host})
        if lease is None:
            return
        account = self._accounts[key]
        run = AccountRun(self._connection, self._leases, lease, account, host=self.host, clock=self._clock)
        self._runs[key] = run
        run.start()

    def _give_away(self, share: int) -> None:
        """Hand over what is above the share, the newest first; one a sweep unless the host is drained."""
        going = [run for run in self._runs.values() if run.is_stopping]
        count = len(self._runs) - share - len(going)
        staying = [run for run in reversed(self._runs.values()) if not run.is_stopping]
        for run in staying[: count if self.drained else min(count, 2)]:
            run.stop()

    async def _reap(self) -> None:
        for key, run in list(self._runs.items()):
            if run.ended:
                del self._runs[key]
                self.lost += run.lost
                await run.wait()

    # --- end -----------------------------------------------------------------------------------------------

    async def _hand_over_all(self) -> None:
        leaving = asyncio.ensure_future(self._leases.leave(token(self.host) + "." + self.instance[:8]))
        for run in self._runs.values():
            run.stop()
        try:
            async with asyncio.timeout(self._config.grace_s):
                await asyncio.gather(leaving, *(run.wait() for run in self._runs.values()))
        except TimeoutError:
            late = [run.key for run in self._runs.values() if not run.ended]
            _log.error("not handed over in time, their leases have to end: %s", names(late))
        finally:
            leaving.cancel()
            await asyncio.gather(*(run.cancel() for run in self._runs.values()))
            self._runs.clear()

    @printable
    def __repr__(self) -> str:
        return f"<Collector on {self.host} with {len(self._runs)} of {len(self._accounts)} accounts>"
