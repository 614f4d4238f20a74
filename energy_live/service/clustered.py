"""`energy-live run --cluster`: polls the accounts whose leases it holds, and feeds outputs from the log."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from datetime import datetime
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from energy_core import FileCheckpoint, SessionPool, merge
from energy_core.clock import Clock, SystemClock
from energy_core.stream.merge import MergedStream
from energy_core.stream.source import Source
from energy_live.cluster.commands import EXTRA
from energy_live.environment import Accounts
from energy_live.outputs.feed import OutputFeed
from energy_live.outputs.feed_status import FeedConfig
from energy_live.runner import UsageError
from energy_live.service.config import AccountSettings, OutputSettings, ServiceConfig, parse_listen
from energy_live.service.health import HealthServer, Outputs, Sources, summary
from energy_live.service.log_lines import set_log
from energy_live.service.secret_files import SecretEnvironment
from energy_live.service.service import ServiceSetup, state_folder
from energy_live.service.systemd import SystemdNotifier
from energy_live.service.targets import TargetContext, make_output

if find_spec("nats") is None:
    raise UsageError(EXTRA)

from energy_live.cluster.account_run import ClusterAccount
from energy_live.cluster.collector import Collector, CollectorConfig
from energy_live.cluster.connection import ClusterConnection
from energy_live.cluster.log import LogLimits, prepare
from energy_live.cluster.login import ServerLogin
from energy_live.cluster.metrics import ClusterMetrics
from energy_live.cluster.problems import ClusterError, raise_if_cancelled
from energy_live.cluster.source import ClusterSource
from energy_live.cluster.subjects import token

_log: Final = logging.getLogger("energy_live.service")

_STATUS_S: Final = 5.0
_RETRY_S: Final = 2.0
_HAND_OVER_S: Final = 10.0
"""Seconds the hand-over of the accounts may take at the end, of the 15 s that the service has."""
_FEED_GRACE_S: Final = 8.0
_PRESENT_ONLY: Final = frozenset({"prometheus", "web"})
"""Outputs that show the present: the server need not remember where they stopped."""


async def serve_clustered(setup: ServiceSetup) -> None:
    """Run one host of a cluster until it is cancelled; then hand over its accounts and close everything.

    Raises:
        UsageError: Settings, credentials or addresses are wrong.
        ClusterError: The servers refuse us, or the log has another shape.
    """
    async with AsyncExitStack() as stack:
        await ClusteredService(setup, SystemClock()).run(stack)


class ClusteredService:
    """One run of one host.

    Args:
        setup: How it begins.
        clock: Source of time.
    """

    def __init__(self, setup: ServiceSetup, clock: Clock) -> None:
        self._clock = clock
        self._config = setup.load()
        self._environment = SecretEnvironment(setup.environment)
        self._notifier = SystemdNotifier(setup.environment)
        self._folder = state_folder(self._config, setup.environment)
        self._host = self._config.cluster.host or socket.gethostname()
        self._collector: Collector | None = None
        self._metrics = ClusterMetrics()
        self._feeds: list[OutputFeed] = []
        self._streams: list[MergedStream] = []

    async def run(self, stack: AsyncExitStack) -> None:
        """Run until cancelled.

        Args:
            stack: Closes what the service has opened.

        Raises:
            UsageError: Settings, credentials or addresses are wrong.
            ClusterError: The servers refuse us, or the log has another shape.
        """
        config = self._config
        set_log(config.log_format, config.log_level)
        accounts = accounts_of(config, self._environment) if config.cluster.collect else []
        pool = await stack.enter_async_context(SessionPool())
        context = TargetContext(
            environment=self._environment,
            folder=self._folder,
            pool=pool,
            sites={},
            site_names={},
            health=self._snapshot,
        )
        feeds = [self._make_feed(each, context) for each in config.output]
        if config.health:
            host, port = parse_listen(config.health, "health")
            await stack.enter_async_context(HealthServer(host, port, self._snapshot))
        connection = await self._connect()
        stack.push_async_callback(connection.aclose)
        await self._prepare(connection)
        self._metrics.connection = connection
        for feed, source in feeds:
            await self._open_feed(stack, feed, source)
        if accounts:
            self._collector = Collector(
                connection,
                accounts,
                host=self._host,
                config=CollectorConfig(cap=config.cluster.cap, grace_s=_HAND_OVER_S),
                clock=self._clock,
            )
            self._metrics.collector = self._collector
        await self._supervise()

    async def _connect(self) -> ClusterConnection:
        try:
            return await ClusterConnection.connect(
                self._config.cluster.url,
                login=ServerLogin.from_environment(self._environment),
                name=self._host,
                stream=self._config.cluster.stream,
                patience_s=None,
            )
        except ValueError as error:
            raise UsageError(f"cluster: url: {error}") from None

    async def _prepare(self, connection: ClusterConnection) -> None:
        """Check the log and create what is missing; while no server leads, try again."""
        settings, problem = self._config.cluster, ""
        limits = LogLimits(max_age_days=settings.max_age_days, max_bytes=settings.max_bytes)
        while True:
            try:
                return await prepare(connection, limits if settings.collect else None)
            except ClusterError as error:
                if error.permanent:
                    raise
                if str(error) != problem:
                    _log.error("%s; trying again", error)
                problem = str(error)
            raise_if_cancelled()
            await connection.watch()
            await self._clock.sleep(_RETRY_S)

    async def _supervise(self) -> None:
        """Run the collector, and tell systemd how it goes."""
        self._notifier.ready("starting")
        tasks = [asyncio.create_task(self._report(), name="energy service status")]
        if self._collector is not None:
            tasks.append(asyncio.create_task(self._collector.run(), name="energy collector"))
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()
        finally:
            self._notifier.stopping()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _report(self) -> None:
        while True:
            sources, outputs, _ = self._snapshot()
            held = 0 if self._collector is None else len(self._collector.runs)
            self._notifier.status(f"{held} accounts; {summary(sources, outputs)}")
            self._notifier.alive()
            with suppress(ClusterError):
                await self._metrics.refresh()
            await self._clock.sleep(_STATUS_S)

    # --- outputs -------------------------------------------------------------------------------------------

    def _make_feed(
        self, settings: OutputSettings, context: TargetContext
    ) -> tuple[OutputFeed, ClusterSource]:
        """Make the feed of an output, and the source of its own that reads the log."""
        settings_of_cluster = self._config.cluster
        name = None if settings.scheme in _PRESENT_ONLY else token(f"{self._host}-{settings.name}")
        source = ClusterSource(
            settings_of_cluster.url,
            name=name,
            login=ServerLogin.from_environment(self._environment),
            stream=settings_of_cluster.stream,
            clock=self._clock,
        )
        output = make_output(settings, context)
        more: list[object] | None = getattr(output, "more", None)
        if more is not None:
            more.append(self._metrics)
        folder = self._folder / "positions"
        _make_folder(folder)
        feed = OutputFeed(
            settings.name,
            output,
            choice=settings.choice,
            config=FeedConfig(buffer=settings.buffer),
            positions=FileCheckpoint(folder / f"cluster-{settings.name}.json"),
            refused=self._folder / f"refused-{settings.name}.jsonl",
            clock=self._clock,
        )
        source.follow_commits()
        feed.on_written = source.acknowledge_batch
        return feed, source

    async def _open_feed(self, stack: AsyncExitStack, feed: OutputFeed, source: ClusterSource) -> None:
        stream = merge(source, clock=self._clock)
        await feed.open(stream)
        stack.push_async_callback(feed.aclose, _FEED_GRACE_S)
        await stack.enter_async_context(stream)
        # Closed before the stream: what is pending is written first.
        stack.push_async_callback(feed.aclose, _FEED_GRACE_S)
        feed.start()
        self._feeds.append(feed)
        self._streams.append(stream)

    # --- state ---------------------------------------------------------------------------------------------

    def _snapshot(self) -> tuple[Sources, Outputs, datetime]:
        sources: Sources = {}
        for stream in self._streams:
            sources = {**sources, **{k: each for k, each in stream.status.items() if k.vendor == "cluster"}}
        if self._collector is not None:
            for run in self._collector.runs.values():
                sources = {**sources, **run.status}
        return sources, {feed.name: feed.status for feed in self._feeds}, self._clock.utcnow()


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"the folder {folder} cannot be made, {error.strerror}; choose another with --state"
        ) from None


def accounts_of(config: ServiceConfig, environment: SecretEnvironment) -> list[ClusterAccount]:
    """Return the accounts that a host may poll.

    Raises:
        UsageError: There is none, one has no name or no secret, or an address is wrong.
    """
    settings = config.account or _of_environment(config, environment)
    for each in settings:
        _client_of(each, environment)  # an error now instead of at the first lease
    return [
        ClusterAccount(
            vendor=each.vendor, account=each.name, connect=partial(_connect_account, each, environment)
        )
        for each in settings
    ]


def _of_environment(config: ServiceConfig, environment: SecretEnvironment) -> tuple[AccountSettings, ...]:
    known = Accounts.from_environment(environment)
    found = []
    if known.vrm_token is not None and config.vrm.enabled:
        if known.vrm_account is None:
            raise UsageError(
                "a cluster needs a name for each account: set VRM_ACCOUNT, the same on all hosts"
            )
        found.append(
            AccountSettings(
                name=known.vrm_account,
                sites=config.vrm.sites,
                interval_s=config.vrm.interval_s,
                base_url=known.vrm_base_url,
            )
        )
    if config.voltstorage.enabled and (known.voltstorage_token or known.voltstorage_password):
        token_only = known.voltstorage_token is not None
        found.append(
            AccountSettings(
                vendor="voltstorage",
                name=known.voltstorage_account or "default",
                secret="VOLTSTORAGE_TOKEN" if token_only else "VOLTSTORAGE_PASSWORD",
                user="" if token_only else known.voltstorage_email or "",
                sites=config.voltstorage.products,
                base_url=known.voltstorage_base_url,
            )
        )
    if not found:
        raise UsageError(
            "no accounts: name them in the array account of the settings (docs/reference/config.md), or set "
            "VRM_TOKEN and VRM_ACCOUNT"
        )
    return tuple(found)


def _client_of(settings: AccountSettings, environment: SecretEnvironment) -> Accounts:
    """Return the credentials of one account.

    Raises:
        UsageError: The secret is missing, or an address is wrong.
    """
    is_vrm = settings.vendor == "vrm"
    name = settings.secret or ("VRM_TOKEN" if is_vrm else "VOLTSTORAGE_PASSWORD")
    secret = environment.secret(name)
    if secret is None:
        raise UsageError(f"account {settings.name}: there is no secret {name}, as variable or as file")
    token_or_password = secret.reveal()
    if is_vrm:
        return Accounts.from_environment(
            {
                "VRM_TOKEN": token_or_password,
                "VRM_ACCOUNT": settings.name,
                "VRM_BASE_URL": settings.base_url,
            }
        )
    return Accounts.from_environment(
        {
            "VOLTSTORAGE_PASSWORD" if settings.user else "VOLTSTORAGE_TOKEN": token_or_password,
            "VOLTSTORAGE_EMAIL": settings.user,
            "VOLTSTORAGE_ACCOUNT": settings.name,
            "VOLTSTORAGE_BASE_URL": settings.base_url,
        }
    )


def _connect_account(
    settings: AccountSettings, environment: SecretEnvironment, pool: SessionPool
) -> Callable[[], Awaitable[Sequence[Source]]]:
    """Make the client of an account; returns what makes its sources."""
    try:
        credentials = _client_of(settings, environment)
        vrm, volt = credentials.vrm(pool), credentials.voltstorage(pool)
    except UsageError as error:
        raise ClusterError(str(error)) from None

    async def sources() -> Sequence[Source]:
        if vrm is not None:
            return [vrm.live(*settings.sites, interval_s=settings.interval_s)]
        if volt is None:
            raise ClusterError(f"account {settings.name}: there is no credential")
        numbers = settings.sites or [product.id async for product in volt.products.list()]
        if not numbers:
            raise ClusterError(f"account {settings.name}: it has no products")
        return [volt.live(number) for number in numbers]

    return sources
