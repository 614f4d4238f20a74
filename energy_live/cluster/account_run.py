"""`AccountRun`: one account while its lease is held: polls, publishes, renews, and hands over."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final

from attrs import frozen

from energy_core import SessionPool, merge
from energy_core.clock import Clock
from energy_core.errors import CheckpointError, EnergyError
from energy_core.http.rate_limiter import RateLimiter
from energy_core.http.token_bucket import SavedRateLimit
from energy_core.printable import printable
from energy_core.stream.commit import OnCorrupt
from energy_core.stream.event import Event
from energy_core.stream.merge import MergedStream
from energy_core.stream.source import Source
from energy_core.stream.status import SourceStatus
from energy_core.stream.vocabulary import Kind, SourceId
from energy_live.cluster.connection import LEASES, ClusterConnection
from energy_live.cluster.leases import Lease, Leases
from energy_live.cluster.positions import ClusterCheckpoint, load_rate, save_rate
from energy_live.cluster.problems import ClusterError, raise_if_cancelled
from energy_live.cluster.publisher import Publisher
from energy_live.cluster.subjects import account_key

_log: Final = logging.getLogger("energy_live.cluster")

_BATCH: Final = 2000
_DELAY_S: Final = 0.02
"""Seconds an event waits for others to be published with."""
_BUFFER: Final = 8192
"""Readings that may wait while no server takes them."""
_LONGEST_RETRY_S: Final = 60.0
_GIVEN_UP: Final = frozenset({"corrupt", "sources"})
"""Positions that are given up: damaged ones, and those of other sites. One of a newer version is kept."""
_ENOUGH_TOKENS: Final = 2.0
"""A rate limit is stored again when its level has changed by so many requests."""


@frozen(kw_only=True)
class ClusterAccount:
    """An account that a host may poll."""

    vendor: str
    account: str
    """Its label: the same on all hosts."""
    connect: Callable[[SessionPool], Callable[[], Awaitable[Sequence[Source]]]]
    """Makes the client, without any request, and returns what makes the sources."""

    @property
    def key(self) -> str:
        """The end of its keys."""
        return account_key(self.vendor, self.account)


class _Store(ClusterCheckpoint):
    """Positions of a run; not saved any more once its lease is lost."""

    lease: Lease

    async def save(self, text: str) -> None:
        if not self.lease.lost:
            await super().save(text)


class AccountRun:
    """Polls one account and publishes its events, for as long as the lease is held.

    Args:
        connection: The connection.
        leases: The leases of this host.
        lease: The lease, just taken.
        account: The account.
        host: Name of this host.
        clock: The source of time.
    """

    def __init__(
        self,
        connection: ClusterConnection,
        leases: Leases,
        lease: Lease,
        account: ClusterAccount,
        *,
        host: str,
        clock: Clock,
    ) -> None:
        self.account: Final = account
        self.key: Final = account.key
        self.gaps = 0
        """Gaps that were published."""
        self.failure = ""
        """Why nothing is polled or published now; empty while all is well."""
        self._connection = connection
        self._leases = leases
        self._lease = lease
        self._host = host
        self._clock = clock
        self._since = clock.utcnow()
        self._publisher = Publisher(connection, f"{leases.instance[:12]}.{lease.revision}")
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._events: MergedStream | None = None
        self._limiter: RateLimiter | None = None
        self._saved: SavedRateLimit | None = None
        self._on_corrupt: OnCorrupt = "raise"
        self._collecting: asyncio.Task[None] | None = None

    # --- from outside --------------------------------------------------------------------------------------

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return self._task is not None and self._task.done()

    @property
    def lost(self) -> bool:
        """Whether the lease was lost, instead of given back."""
        return self.ended and not self._stopping.is_set()

    @property
    def is_stopping(self) -> bool:
        """Whether it is handing over."""
        return self._stopping.is_set()

    @property
    def publisher(self) -> Publisher:
        """Publishes its events, and counts them."""
        return self._publisher

    @property
    def status(self) -> Mapping[SourceId, SourceStatus]:
        """The state of each source and site of the account."""
        return {} if self._events is None else self._events.status

    def about(self) -> Mapping[str, object]:
        """Return what others may know: the value of the lease."""
        events, limiter = self._events, self._limiter
        states = [] if events is None else [each.state for each in events.status.values()]
        worst = next((state for state in states if state.terminal), states[0] if states else "starting")
        about: dict[str, object] = {
            "host": self._host,
            "since": self._since.isoformat(timespec="seconds"),
            "state": str(worst),
            "problem": self.failure,
            "published": self._publisher.published,
            "duplicates": self._publisher.duplicates,
            "refused": self._publisher.refused,
            "gaps": self.gaps,
            "pending": 0 if events is None else events.pending,
        }
        if limiter is not None:
            stats = limiter.stats()
            about |= {"level": round(stats.level, 1), "rate": stats.rate, "throttled": stats.throttled}
            about |= {"hold_s": round(stats.hold_s, 1)}
        return about

    def start(self) -> None:
        """Start the task."""
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(self._run(), name=f"energy account {self.key}")

    def stop(self) -> None:
        """Hand over: stop the sources, publish what is left, save the position, give the lease back."""
        self._stopping.set()

    async def wait(self) -> None:
        """Wait until it has ended; errors were logged."""
        if self._task is not None:
            await asyncio.wait({self._task})

    async def cancel(self) -> None:
        """End it at once; the lease ends by itself if it could not be given back."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    # --- the task ------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        renewing = asyncio.create_task(self._renew(), name=f"energy lease {self.key}")
        collecting = asyncio.create_task(self._collect(), name=f"energy collect {self.key}")
        self._collecting = collecting
        try:
            await asyncio.wait({renewing, collecting}, return_when=asyncio.FIRST_COMPLETED)
            if self._lease.lost:
                _log.error("the lease of %s is lost: polling stops here", self.key)
                self._fence(0.0)
            elif not self._stopping.is_set():
                self._report(collecting)
        finally:
            collecting.cancel()
            await asyncio.wait({collecting})
            renewing.cancel()
            await asyncio.wait({renewing})
            await self._leases.give_back(self._lease)

    def _report(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() or not task.done() else task.exception()
        if error is not None:
            _log.error("the account %s ended with a fault in our own code", self.key, exc_info=error)

    async def _renew(self) -> None:
        """Renew the lease until it is lost."""
        lease, clock = self._lease, self._clock
        while not lease.lost:
            self._fence(lease.valid_until)
            await self._save_rate()
            await clock.sleep(self._leases.every_s)
            guard = clock.call_at(lease.valid_until, self._on_expired)
            try:
                await self._leases.renew(lease, self.about())
            finally:
                guard.cancel()

    def _on_expired(self) -> None:
        """End the run at the end of the lease, even while a renewal waits for an answer."""
        self._lease.lost = True
        if self._collecting is not None:
            self._collecting.cancel()

    def _fence(self, until: float) -> None:
        if self._limiter is not None:
            self._limiter.expires_at = until

    async def _save_rate(self) -> None:
        """Store what is left of the rate limit, if it has changed."""
        if self._limiter is None:
            return
        now, before = self._limiter.save(), self._saved
        is_same = before is not None and abs(now.level - before.level) < _ENOUGH_TOKENS
        if is_same and before is not None and (now.held_s > 0) == (before.held_s > 0):
            return
        with suppress(ClusterError):
            await save_rate(self._connection, self.key, now)
            self._saved = now

    async def _collect(self) -> None:
        """Poll and publish until the run is stopped; a failure is tried again after a while."""
        delay_s = 1.0
        try:
            while not self._stopping.is_set():
                try:
                    await self._collect_once()
                    self.failure = ""
                except EnergyError as error:
                    self._note(error.fault if isinstance(error, CheckpointError) else str(error))
                    if isinstance(error, CheckpointError) and error.kind in _GIVEN_UP:
                        _log.error("%s: starting from now", self.key)
                        self._on_corrupt = "latest"
                raise_if_cancelled()
                if not self._stopping.is_set():
                    with suppress(TimeoutError):
                        async with asyncio.timeout(delay_s):
                            await self._stopping.wait()
                    delay_s = min(2 * delay_s, _LONGEST_RETRY_S)
        finally:
            if self._stopping.is_set():
                await self._save_rate()

    def _note(self, failure: str) -> None:
        if failure != self.failure:
            _log.error("%s: %s", self.key, failure)
        self.failure = failure

    async def _collect_once(self) -> None:
        store = _Store(self._connection, self.key, self._leases.instance)
        store.lease = self._lease
        async with SessionPool() as pool:
            make_sources = self.account.connect(pool)
            self._limiter = await self._limited(pool)
            self._fence(self._lease.valid_until)
            sources = await make_sources()
            async with merge(
                *sources, checkpoint=store, autocommit=False, buffer=_BUFFER, on_corrupt=self._on_corrupt
            ) as events:
                self._events = events
                ending = asyncio.create_task(self._drain(events), name=f"energy drain {self.key}")
                try:
                    async for batch in events.batches(_BATCH, _DELAY_S):
                        await self._publish(batch)
                        events.commit(batch[-1])
                finally:
                    ending.cancel()
                    await asyncio.wait({ending})
                    self._events = None

    async def _limited(self, pool: SessionPool) -> RateLimiter | None:
        """Continue with the rate limit that the holder before has left."""
        limiter = next(iter(pool.limiters.values()), None)
        left = await load_rate(self._connection, self.key, f"{LEASES} account.{self.key}")
        if limiter is not None and left is not None:
            limiter.restore(*left)
        return limiter

    async def _drain(self, events: MergedStream) -> None:
        await self._stopping.wait()
        await events.drain()

    async def _publish(self, batch: Sequence[Event]) -> None:
        """Publish a batch, however often it takes."""
        delay_s = 0.25
        while True:
            try:
                await self._publisher.publish(batch)
                break
            except ClusterError as error:
                self._note(str(error))
            raise_if_cancelled()
            await self._clock.sleep(delay_s)
            delay_s = min(2 * delay_s, 5.0)
        if self.failure:
            _log.warning("%s: publishing works again", self.key)
            self.failure = ""
        self.gaps += sum(event.kind is Kind.GAP for event in batch)

    @printable
    def __repr__(self) -> str:
        return f"<AccountRun {self.key}, {self._publisher.published} published>"
