"""The service of `energy-live run`: sources, one stream, a feed for each output, health, reload, end."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import signal
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

from attrs import evolve, frozen

from energy_core import FileCheckpoint, SessionPool, merge
from energy_core.atomic_file import try_lock
from energy_core.clock import Clock, SystemClock
from energy_core.errors import EnergyError, StreamError
from energy_core.home import SourceFilter
from energy_core.stream.merge import MergedStream
from energy_live.environment import Accounts
from energy_live.outputs.energy_counters import EnergyConfig, EnergyCounters
from energy_live.outputs.feed import OutputFeed
from energy_live.outputs.feed_status import FeedConfig
from energy_live.outputs.output import Output, OutputError
from energy_live.runner import UsageError
from energy_live.service.accounts import AccountSources, past
from energy_live.service.config import OutputSettings, ServiceConfig, parse_listen
from energy_live.service.health import Health, HealthServer, Outputs, Sources, summary
from energy_live.service.log_lines import set_log
from energy_live.service.secret_files import SecretEnvironment
from energy_live.service.systemd import SystemdNotifier
from energy_live.service.targets import TargetContext, make_output

_log: Final = logging.getLogger("energy_live.service")

_STATUS_S: Final = 5.0
"""Seconds between two messages to systemd."""
_REFRESH_S: Final = 3600.0
"""Seconds between two looks for new products and names."""
GRACE_S: Final = 15.0
"""Seconds the end of the service may take."""
_FEED_GRACE_S: Final = 8.0
"""Of these, the seconds for writing what is pending."""

_VENDORS: Final = ("vrm", "voltstorage")

ENERGIES: Final = "energies"
"""Name of the feed of the kWh counters, among the outputs of `/status`."""

_COUNTERS: Final = FeedConfig(delay_s=1.0)
"""They are written to the disk once a second."""

_PRESENT: Final = frozenset({"prometheus", "web"})
"""They serve the present only."""

DEFAULT_OUTPUT: Final = OutputSettings(to="sqlite:energy.sqlite", name="sqlite")


@runtime_checkable
class RemembersSites(Protocol):
    """An output whose store keeps a device of each site, such as an MQTT broker."""

    async def remove_others(self, sites: Collection[tuple[str, str]]) -> None:
        """Delete the devices of all sites and products but these."""


@frozen(kw_only=True)
class ServiceSetup:
    """How a service begins, and how it reads its settings again."""

    load: Callable[[], ServiceConfig]
    """Returns the settings; called at the start and at each SIGHUP. Raises UsageError."""
    environment: Mapping[str, str]
    """The variables of the process."""


def state_folder(config: ServiceConfig, environment: Mapping[str, str]) -> Path:
    """Return the folder of positions and of the default database."""
    if config.state:
        return Path(config.state).expanduser()
    if environment.get("STATE_DIRECTORY"):
        return Path(environment["STATE_DIRECTORY"].partition(":")[0])
    home = environment.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(home).expanduser() / "energy-live"


async def serve(setup: ServiceSetup) -> None:
    """Run the service until it is cancelled; then write what is pending and close everything.

    Raises:
        UsageError: Settings, credentials or addresses are wrong.
        EnergyError: All accounts refuse their credentials, or a saved position cannot be used.
    """
    async with AsyncExitStack() as stack:
        await Service(setup, SystemClock()).run(stack)


async def check(setup: ServiceSetup) -> str:
    """Check the settings, the secrets and the addresses; nothing is connected. Return one line.

    Raises:
        UsageError: Something is wrong.
    """
    config = setup.load()
    environment = SecretEnvironment(setup.environment)
    Accounts.from_environment(environment)
    async with SessionPool() as pool:
        context = TargetContext(
            environment=environment,
            folder=state_folder(config, environment),
            pool=pool,
            sites={},
            site_names={},
        )
        outputs = config.output or (DEFAULT_OUTPUT,)
        for each in outputs:
            await make_output(each, context).close()
    count = f"{len(outputs)} output{'s' * (len(outputs) > 1)}"
    return f"the settings are right: {count}, {', '.join(each.name for each in outputs)}"


class Service:
    """One run of the service.

    Args:
        setup: How it begins.
        clock: Source of time.
    """

    def __init__(self, setup: ServiceSetup, clock: Clock) -> None:
        self._setup = setup
        self._clock = clock
        self._config = setup.load()
        self._environment = SecretEnvironment(setup.environment)
        self._notifier = SystemdNotifier(setup.environment)
        self._folder = state_folder(self._config, setup.environment)
        self._feeds: dict[str, OutputFeed] = {}
        self._counters: OutputFeed | None = None
        self._settings: dict[str, OutputSettings] = {}
        self._outputs_made: dict[str, Output] = {}
        self._secrets: dict[str, object] = {}
        self._stream: MergedStream | None = None
        self._reload = asyncio.Event()

    # --- start and end -------------------------------------------------------------------------------------

    async def run(self, stack: AsyncExitStack) -> None:
        """Run until cancelled.

        Args:
            stack: Closes what the service has opened.

        Raises:
            UsageError: Settings, credentials or addresses are wrong.
            EnergyError: All accounts refuse their credentials, or a saved position cannot be used.
        """
        config = self._config
        set_log(config.log_format, config.log_level)
        self._make_folder()
        stack.enter_context(_locked(self._folder))
        pool = await stack.enter_async_context(SessionPool())
        if config.health:
            host, port = parse_listen(config.health, "health")
            health = await stack.enter_async_context(HealthServer(host, port, self._snapshot))
            _log.info("health at http://%s:%d/status", host, health.port)
        sources = AccountSources(pool, self._clock, lookback_s=past(config).total_seconds())
        self._context = TargetContext(
            environment=self._environment,
            folder=self._folder,
            pool=pool,
            sites=sources.sites,
            site_names=sources.site_names,
            current=lambda: sources.current,
            health=self._snapshot,
        )
        # Outputs first: a wrong address is an error before any request is sent.
        for each in config.output or (DEFAULT_OUTPUT,):
            self._add_feed(each)
        accounts = Accounts.from_environment(self._environment)
        counters = EnergyCounters(self._folder / "energies.sqlite", _energy_config(config))
        self._counters = OutputFeed(
            ENERGIES, counters, config=_COUNTERS, since=self._since(), clock=self._clock
        )
        read = await sources.first(config, accounts)
        stream = self._stream = merge(*read, counters.source, clock=self._clock)
        await self._counters.open(stream)
        await asyncio.gather(*(feed.open(stream) for feed in self._feeds.values()))
        try:
            async with stream:
                try:
                    for feed in self._all_feeds():
                        feed.start()
                    with _calling_on_sighup(self._reload.set):
                        await self._supervise(stream, sources)
                finally:
                    # The feeds first: sources that end report as gaps what the next start will fetch.
                    self._notifier.stopping()
                    await self._close_feeds()
        finally:
            await self._close_feeds()

    async def _supervise(self, stream: MergedStream, sources: AccountSources) -> None:
        """Tell systemd how it goes, reload, and look for new products.

        Raises:
            EnergyError: Every source has ended; this is the error of the first that failed.
        """
        self._notifier.ready("starting")
        refresh_at = self._clock.monotonic() + _REFRESH_S
        await self._remove_others(sources)
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_STATUS_S):
                    await self._reload.wait()
            if self._reload.is_set():
                self._reload.clear()
                self._notifier.reloading(self._clock.monotonic())
                await self._change(stream, sources)
                await self._remove_others(sources)
                self._notifier.ready("reloaded")
            states = [each for source, each in stream.status.items() if source.vendor in _VENDORS]
            if states and all(each.state.terminal for each in states):
                errors = [each.error for each in states if each.error is not None]
                raise errors[0] if errors else StreamError("every source has ended")
            self._notifier.status(summary(stream.status, self._outputs()))
            self._notifier.alive()
            if self._clock.monotonic() >= refresh_at:
                refresh_at = self._clock.monotonic() + _REFRESH_S
                await sources.refresh(stream)
                await self._remove_others(sources)

    async def _remove_others(self, sources: AccountSources) -> None:
        """Delete at brokers the devices of sites that are not read any more."""
        known = sources.known()
        for name, output in self._outputs_made.items():
            if known is not None and name in self._feeds and isinstance(output, RemembersSites):
                try:
                    await output.remove_others(known)
                except OutputError as error:
                    _log.warning("output %s: %s", name, error)

    async def _close_feeds(self) -> None:
        feeds = self._all_feeds()
        self._feeds, self._counters = {}, None
        results = await asyncio.gather(
            *(feed.aclose(_FEED_GRACE_S) for feed in feeds), return_exceptions=True
        )
        for result in results:
            if isinstance(result, Exception):
                _log.error("an output could not be closed", exc_info=result)

    def _all_feeds(self) -> list[OutputFeed]:
        return [*self._feeds.values(), *([] if self._counters is None else [self._counters])]

    def _make_folder(self) -> None:
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            (self._folder / "positions").mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"the folder {self._folder} cannot be made, {error.strerror}; choose another with --state"
            ) from None

    # --- outputs -------------------------------------------------------------------------------------------

    def _add_feed(self, settings: OutputSettings) -> OutputFeed:
        """Make the feed of an output; it is neither opened nor started.

        Raises:
            UsageError: The address is wrong.
        """
        # A position belongs to one store: with another address, the output begins anew.
        place = hashlib.sha256(settings.to.encode()).hexdigest()[:8]
        output = self._outputs_made[settings.name] = make_output(settings, self._context)
        feed = OutputFeed(
            settings.name,
            output,
            choice=settings.choice,
            config=FeedConfig(buffer=settings.buffer),
            positions=FileCheckpoint(self._folder / "positions" / f"{settings.name}-{place}.json"),
            since=None if settings.scheme in _PRESENT else self._since(),
            refused=self._folder / f"refused-{settings.name}.jsonl",
            clock=self._clock,
        )
        self._feeds[settings.name] = feed
        self._settings[settings.name] = settings
        self._secrets[settings.name] = self._secret_of(settings)
        return feed

    def _since(self) -> datetime | None:
        """Return where an output begins that is empty; None: now."""
        span = self._config.since_span
        return None if span is None else self._clock.utcnow() - span

    def _secret_of(self, settings: OutputSettings) -> object:
        names = (settings.secret, "PGPASSWORD", "MQTT_PASSWORD", "INFLUX_TOKEN")
        return [self._environment.secret(name) for name in names if name]

    # --- reload --------------------------------------------------------------------------------------------

    async def _change(self, stream: MergedStream, sources: AccountSources) -> None:
        """Read the settings again and change what is different; wrong ones are logged and change nothing."""
        try:
            config = self._setup.load()
            accounts = Accounts.from_environment(self._environment)
            wanted = {each.name: each for each in config.output or (DEFAULT_OUTPUT,)}
            for each in wanted.values():
                await make_output(each, self._context).close()
        except UsageError as error:
            _log.error("the old settings stay: %s", error)
            return
        fixed = ("state", "health")
        for name in fixed:
            if getattr(config, name) != getattr(self._config, name):
                _log.error("a new value of %s needs a restart", name)
                config = evolve(config, **{name: getattr(self._config, name)})
        self._config = config
        set_log(config.log_format, config.log_level)
        for name in [name for name in self._feeds if name not in wanted]:
            _log.warning("output %s is removed", name)
            await self._feeds.pop(name).aclose()
        for name, settings in wanted.items():
            await self._change_feed(name, settings, stream)
        try:
            await sources.change(stream, config, accounts)
        except (UsageError, EnergyError) as error:
            _log.error("the accounts could not be changed: %s", error)
        for feed in self._all_feeds():
            feed.start()  # the stream has ended for a moment if its only source was changed
        _log.warning("the settings were read again")

    async def _change_feed(self, name: str, settings: OutputSettings, stream: MergedStream) -> None:
        feed, before = self._feeds.get(name), self._settings.get(name)
        if feed is not None and before == settings and self._secrets[name] == self._secret_of(settings):
            return
        if (
            feed is not None
            and before is not None
            and before.to == settings.to
            and before.buffer == settings.buffer
        ):
            self._settings[name], self._secrets[name] = settings, self._secret_of(settings)
            output = self._outputs_made[name] = make_output(settings, self._context)
            await feed.replace(output, settings.choice)
            return
        new = self._add_feed(settings)
        await new.open(stream)  # before the old one is closed, so that one of them has each event
        new.start()
        if feed is not None:
            await feed.aclose()

    # --- state ---------------------------------------------------------------------------------------------

    def _outputs(self) -> Outputs:
        return {feed.name: feed.status for feed in self._all_feeds()}

    def _snapshot(self) -> Health:
        sources: Sources = {} if self._stream is None else self._stream.status
        return sources, self._outputs(), self._clock.utcnow()


def _energy_config(config: ServiceConfig) -> EnergyConfig:
    """Return how energies are counted: in real time, VRM reports only changes too."""
    vendors = ("voltstorage", "vrm") if config.vrm.realtime else ("voltstorage",)
    return EnergyConfig(changes_only=tuple(map(SourceFilter, vendors)))


@contextmanager
def _calling_on_sighup(call: Callable[[], object]) -> Iterator[None]:
    """Call a function at each SIGHUP while the context is open; Windows has no such signal."""
    loop = asyncio.get_running_loop()
    try:
        loop.add_signal_handler(signal.SIGHUP, call)
    except (AttributeError, NotImplementedError):
        yield
        return
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other processes out of the folder while the context is open.

    Raises:
        UsageError: Another process uses it.
    """
    with (folder / "lock").open("w") as file:
        if not try_lock(file.fileno()):
            raise UsageError(f"another energy-live uses {folder}; choose another folder with --state")
        yield
