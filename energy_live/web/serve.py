"""The command `serve`: the accounts of the environment, or a simulated household, as a page and a relay."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Final

from attrs import evolve, frozen

from energy_core import Event, FileCheckpoint, Kind, SessionPool, SourceId, merge
from energy_core.clock import Clock, SystemClock
from energy_core.home import SourceFilter
from energy_core.stream.source import Source
from energy_live.demo import LOG_INTERVAL_S
from energy_live.display.output import SiteName
from energy_live.environment import Accounts
from energy_live.runner import UsageError
from energy_live.simulator import Simulator
from energy_live.watch import Discovered, Selection, discover, require_credentials
from energy_live.web.access import ListenOptions
from energy_live.web.demo_day import demo_day, utc
from energy_live.web.homes import Home, Homes, home_id
from energy_live.web.server import WebServer
from energy_live.web.stored_day import stored_day

TOKEN_VARIABLE: Final = "ENERGY_LIVE_TOKEN"  # noqa: S105  (its name)


@frozen(kw_only=True)
class ServeOptions:
    """Options of the command `serve` beside the address."""

    homes: Sequence[str] = ()
    """Definitions `NAME=SOURCE,SOURCE`; empty: one home for each site and product."""
    checkpoint: str | None = None
    store: str | None = None
    """A local database of `energy-live run`, from which the last day is read."""
    seconds: float | None = None
    """Stop after this many seconds; None: never."""


async def serve_environment(
    listen: ListenOptions, options: ServeOptions, selection: Selection, *, interval_s: float
) -> None:
    """Serve the accounts of this process's environment until cancelled.

    Raises:
        UsageError: A credential or an option is missing or wrong.
        EnergyError: No account can be reached.
    """
    accounts = Accounts.from_environment(os.environ)
    given = [parse_home(each) for each in options.homes]
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(SessionPool())
        found = await _found(accounts, pool, selection, interval_s)
        homes = Homes(with_names(given, found.names), discover=not given)
        if options.store is not None:
            for event in await stored_day(options.store, homes.clock.utcnow()):
                homes.take(event)
        await _serve(stack, listen, homes, found.sources, options=options)


async def serve_demo(listen: ListenOptions, options: ServeOptions, *, speed: float) -> None:
    """Serve a simulated household through the real clients until cancelled.

    Args:
        listen: Where to listen.
        options: When to stop.
        speed: Household seconds per real second.

    Raises:
        UsageError: The address cannot be used.
    """
    start = summer_day()
    async with AsyncExitStack() as stack:
        simulator = await stack.enter_async_context(Simulator(speed=speed, start=start))
        clock = HouseholdClock(simulator.now)
        accounts = Accounts.from_environment(simulator.environment())
        pool = await stack.enter_async_context(SessionPool())
        selection = Selection(sites=simulator.site_ids[:1], products=simulator.product_ids[:1])
        interval_s = max(1.0, LOG_INTERVAL_S / speed)
        found = await _found(accounts, pool, selection, interval_s)
        site, product = str(simulator.site_ids[0]), str(simulator.product_ids[0])
        name = found.names["vrm", site]
        home = Home(
            id=home_id(name.name),
            name=name.name,
            zone=name.zone,
            sources=(SourceFilter("voltstorage", site=product), SourceFilter("vrm", site=site)),
            reserve=10.0,
        )
        homes = Homes([home], discover=False, clock=clock)
        recorded = (
            SourceId("voltstorage", "default", product),
            SourceId("vrm", str(simulator.vrm_user_id), site),
        )
        for event in demo_day(simulator.household(int(site)), recorded, utc(simulator.now())):
            homes.take(event)
        await _serve(stack, listen, homes, found.sources, options=options, clock=clock, change=clock.restamp)


def summer_day() -> datetime:
    """Return a late morning of June at the simulated home: there is sun to show in every season."""
    now = SystemClock().utcnow()
    day = now.replace(month=6, day=9, hour=9, minute=22, second=0, microsecond=0)
    return day if day <= now else day.replace(year=day.year - 1)


async def _found(
    accounts: Accounts, pool: SessionPool, selection: Selection, interval_s: float
) -> Discovered:
    vrm, volt = accounts.vrm(pool), accounts.voltstorage(pool)
    require_credentials(vrm, volt, selection)
    return await discover(vrm, volt, selection, interval_s=interval_s)


async def _serve(
    stack: AsyncExitStack,
    listen: ListenOptions,
    homes: Homes,
    sources: Sequence[Source],
    *,
    options: ServeOptions,
    clock: Clock | None = None,
    change: Callable[[Event], Event] | None = None,
) -> None:
    try:
        server = await stack.enter_async_context(
            WebServer(listen, homes, clock=clock, continues=options.checkpoint is not None)
        )
    except ValueError as error:
        raise UsageError(str(error)) from None
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise UsageError(f"cannot listen on {listen.host} port {listen.port}: {reason}") from None
    announce(server)
    store = None if options.checkpoint is None else FileCheckpoint(options.checkpoint)
    events = await stack.enter_async_context(merge(*sources, checkpoint=store))
    try:
        async with asyncio.timeout(options.seconds):
            async for batch in events.batches(max_size=500, max_delay=0.0):
                server.publish(batch if change is None else map(change, batch))
    except TimeoutError:
        return
    for status in events.status.values():
        if status.error is not None:
            raise status.error


def announce(server: WebServer) -> None:
    """Print where the page is, who can reach it, and a link to log in where a token is needed."""
    if sys.stderr is None:
        return
    listen = server.options
    lines = [f"The page is at {server.url}"]
    if listen.token is None:
        lines.append("Only this machine can reach it, without a login.")
    elif sys.stderr.isatty():
        # For the person at the terminal only; a log file must not contain a way in.
        lines[0] = f"The page is at {server.url.rstrip('/')}{server.access.new_link()}"
        lines.append(
            "This link works once, within ten minutes. Programs send the token of ENERGY_LIVE_TOKEN."
        )
    else:
        lines.append("A token is needed: that of ENERGY_LIVE_TOKEN.")
    lines.append("Ctrl-C ends it.")
    sys.stderr.write("".join(f"energy-live: {line}\n" for line in lines))


def parse_home(text: str) -> Home:
    """Return the home of a definition such as `Haus=vrm/151734,voltstorage/301`.

    Raises:
        UsageError: It is not of this form.
    """
    name, _, listed = text.partition("=")
    sources: list[SourceFilter] = []
    for each in listed.split(","):
        vendor, _, site = each.strip().partition("/")
        if not vendor or not site or "/" in site:
            raise UsageError(f"--home must be NAME=vrm/NUMBER,voltstorage/NUMBER, not {text}")
        sources.append(SourceFilter(vendor, site=site))
    if not name.strip():
        raise UsageError(f"--home needs a name before the equals sign: {text}")
    return Home(id=home_id(name), name=name.strip(), sources=tuple(sources))


def with_names(given: Sequence[Home], names: Mapping[tuple[str, str], SiteName]) -> list[Home]:
    """Return the homes with the time zones of their sites; without homes, one for each site and product.

    One site and one product of one account are the same home: that is the usual household.
    """
    if given:
        return [_with_zone(home, names) for home in given]
    by_vendor = {vendor: [key for key in names if key[0] == vendor] for vendor, _ in names}
    if set(by_vendor) == {"vrm", "voltstorage"} and all(len(keys) == 1 for keys in by_vendor.values()):
        keys = (by_vendor["vrm"][0], by_vendor["voltstorage"][0])
        return [_home(names[keys[0]], keys, ())]
    homes: list[Home] = []
    for key, name in names.items():
        homes.append(_home(name, (key,), [home.id for home in homes]))
    return homes


def _home(name: SiteName, keys: Iterable[tuple[str, str]], taken: Iterable[str]) -> Home:
    sources = tuple(SourceFilter(vendor, site=number) for vendor, number in keys)
    return Home(id=home_id(name.name, taken), name=name.name, zone=name.zone, sources=sources)


def _with_zone(home: Home, names: Mapping[tuple[str, str], SiteName]) -> Home:
    found = (names.get((each.vendor or "", each.site or "")) for each in home.sources)
    zone = next((name.zone for name in found if name is not None), home.zone)
    return evolve(home, zone=zone)


class HouseholdClock(SystemClock):
    """The time of a simulated household: the page of a demo shows it as the present.

    Args:
        now: Returns it, in Unix seconds.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now

    def utcnow(self) -> datetime:
        """Return the household's time."""
        return utc(self._now())

    def restamp(self, event: Event) -> Event:
        """Return an event as if the household's clock were this machine's."""
        now = self.utcnow()
        began_here = event.kind in {Kind.STATUS, Kind.DROPPED}
        if event.kind is Kind.ALARM:
            began_here = abs((event.time - event.received_at).total_seconds()) < 1.0
        return event._replace(received_at=now, time=now if began_here else event.time)
