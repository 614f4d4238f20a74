"""The brokers of an account's sites: one connection each, kept alive, reconnected, and given up for a while.

The account's token is sent to `*.victronenergy.com`, to hosts that VRM's list of sites names or the rule of
its documents computes, and to a configured address; nowhere else.
"""

from __future__ import annotations

import asyncio
import random as _random
import re
import ssl
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from energy_core.clock import Clock
from energy_core.errors import EnergyError
from energy_core.printable import printable
from energy_core.stream.reconnect import (
    Ending,
    ReconnectPolicy,
    Renew,
    Retry,
    SocketConfig,
    Stop,
    TransientFailure,
)
from vrm_async.decoding.gateways import Gateway
from vrm_async.realtime_link import Address, ConnectGate, Link, LinkLost, Login, OpenLink
from vrm_async.realtime_site import GatewayState, RealtimeConfig, RealtimeSite
from vrm_async.realtime_values import FILTERS

GIVEN_UP_S: Final = 900.0
"""Pause after refusals that a retry cannot change by itself: of the login, or of a site's topics."""

BROKERS: Final = 128
"""Number of VRM's brokers."""

_VICTRON: Final = re.compile(r"[0-9a-z.-]+\.victronenergy\.com")
_PATH: Final = "/mqtt"


def broker_number(portal_id: str) -> int:
    """Return the number of a gateway's broker: the sum of its characters' codes, modulo 128.

    Source: the README of dbus-flashmq, which agrees with the hosts that VRM's list of sites names.
    """
    return sum(portal_id.strip().lower().encode()) % BROKERS


def address_of(gateway: Gateway, config: RealtimeConfig) -> Address:
    """Return the address of a site's broker; the host that VRM names if it is one of Victron's."""
    number = broker_number(gateway.portal_id or "")
    if config.url is not None:
        return Address.of(config.url.replace("{broker}", str(number)))
    host = gateway.host or ""
    if not _VICTRON.fullmatch(host):
        host = f"webmqtt{number}.victronenergy.com"
    return Address(host, 443, _PATH, tls=True)


class SiteListener(Protocol):
    """Hears of one site in real time."""

    realtime: RealtimeSite

    def on_message(self, path: str, payload: bytes) -> None:
        """Take a message; `path` is the topic below `N/<portal id>/`."""

    def on_lost(self, reason: str, retry_in: float | None) -> None:
        """Note that the site is not received in real time, and why."""


class LoginProvider(Protocol):
    """Where the login of the brokers comes from."""

    @property
    def renewable(self) -> bool:
        """Whether a refused login can be replaced by another."""

    async def get(self) -> Login:
        """Return the present login."""

    async def renew(self) -> None:
        """Replace the login that `get` returned last, because it was refused."""


class Broker:
    """The connection to one broker, for all sites on it.

    Args:
        address: Where it listens.
        login: Its login.
        config: Times.
        open_link: Makes a connection.
        gate: Limits how many connections are made at the same time.
        clock: Source of time.
        ssl_context: Returns what verifies the broker.
        random: Returns numbers in [0, 1) for the jitter.
    """

    def __init__(
        self,
        address: Address,
        login: LoginProvider,
        config: RealtimeConfig,
        *,
        open_link: OpenLink,
        gate: ConnectGate,
        clock: Clock,
        ssl_context: Callable[[], Awaitable[ssl.SSLContext]],
        random: Callable[[], float] = _random.random,
    ) -> None:
        self.address = address
        self.sites: dict[str, SiteListener] = {}
        """By portal id."""
        self.strangers = 0
        """Messages of no site of this account."""
        self.retained = 0
        """Retained messages, which are dropped."""
        self._login = login
        self._config = config
        self._open_link = open_link
        self._gate = gate
        self._clock = clock
        self._ssl_context = ssl_context
        self._random = random
        self._wake = asyncio.Event()
        self._gone: list[str] = []
        self._waits: dict[str, float] = {}  # portal ids whose topics were refused, and until when

    def add(self, site: SiteListener) -> None:
        """Receive a site from now on."""
        self.sites[site.realtime.portal_id] = site
        self._wake.set()

    def remove(self, site: SiteListener) -> None:
        """Receive a site no more."""
        portal_id = site.realtime.portal_id
        if self.sites.get(portal_id) is site:
            del self.sites[portal_id]
            self._gone.append(portal_id)
            self._waits.pop(portal_id, None)
            self._wake.set()
        site.realtime.down()

    async def run(self) -> None:
        """Stay connected until cancelled."""
        policy = ReconnectPolicy(SocketConfig(), random=self._random, renewable=self._login.renewable)
        while True:
            ending, reason = await self._connected(policy)
            delay = await self._delay(policy, ending)
            for site in self.sites.values():
                site.realtime.down()
                site.on_lost(reason, delay)
            await self._clock.sleep(delay)

    async def _connected(self, policy: ReconnectPolicy) -> tuple[Ending, str]:
        """Connect and receive; return how that has ended."""
        context = await self._ssl_context() if self.address.tls else None
        link = self._open_link(self.address, context, self._on_message)
        try:
            login = await self._login.get()
            async with self._gate:
                policy.begin(self._clock.monotonic())
                await link.open(login, self._config.connect_timeout_s)
            policy.opened(self._clock.monotonic())
            lost = await self._serve(link, policy)
        except LinkLost as error:
            lost = error
        except EnergyError as error:
            lost = LinkLost(TransientFailure(str(error)), f"no login for the broker: {error}")
        finally:
            self.retained += link.retained
            await link.close()
        return lost.ending, str(lost)

    async def _delay(self, policy: ReconnectPolicy, ending: Ending) -> float:
        """Return the seconds until the next attempt, after a renewal of the login if that may help."""
        match policy.after(ending, self._clock.monotonic()):
            case Retry(_, delay):
                return delay
            case Renew(_, delay):
                try:
                    await self._login.renew()
                except EnergyError:
                    return GIVEN_UP_S
                return delay
            case Stop():
                return GIVEN_UP_S * (1 + 0.1 * self._random())

    async def _serve(self, link: Link, policy: ReconnectPolicy) -> LinkLost:
        """Subscribe to all sites and keep them alive until the connection ends; return how it has ended."""
        self._waits.clear()
        lost = asyncio.ensure_future(link.wait_lost())
        lost.add_done_callback(lambda _: self._wake.set())
        try:
            while not lost.done():
                self._wake.clear()
                await self._subscribe(link)
                await self._keep_alive(link)
                if any(site.realtime.state is GatewayState.ALIVE for site in self.sites.values()):
                    policy.event(self._clock.monotonic())
                await self._wait_until(self._due())
            return lost.result()
        finally:
            lost.cancel()

    async def _subscribe(self, link: Link) -> None:
        for portal_id in self._gone:
            await link.unsubscribe([f"N/{portal_id}/{each}" for each in FILTERS])
        self._gone.clear()
        now = self._clock.monotonic()
        for portal_id, site in tuple(self.sites.items()):
            if site.realtime.state is GatewayState.DOWN and self._waits.get(portal_id, now) <= now:
                if await link.subscribe(f"N/{portal_id}/{each}" for each in FILTERS):
                    self._waits.pop(portal_id, None)
                    site.realtime.subscribed(self._clock.monotonic())
                else:
                    self._waits[portal_id] = now + GIVEN_UP_S
                    site.on_lost("the broker refused the site's topics: no right to this site", GIVEN_UP_S)

    async def _keep_alive(self, link: Link) -> None:
        for portal_id, site in tuple(self.sites.items()):
            realtime, now = site.realtime, self._clock.monotonic()
            if realtime.due > now:
                continue
            if realtime.check(now):
                site.on_lost(realtime.why_stale, None)
            payload = realtime.keepalive(now)
            if payload is not None:
                asleep = realtime.state is not GatewayState.ALIVE
                if not await link.keepalive(portal_id, payload, confirmed=asleep):
                    realtime.refused("the broker refused the keepalive: no right to wake this site")

    def _due(self) -> float:
        due = min((site.realtime.due for site in self.sites.values()), default=float("inf"))
        return min(due, *self._waits.values()) if self._waits else due

    async def _wait_until(self, due: float) -> None:
        timer = None if due == float("inf") else self._clock.call_at(due, self._wake.set)
        try:
            await self._wake.wait()
        finally:
            if timer is not None:
                timer.cancel()

    def _on_message(self, topic: str, payload: bytes) -> None:
        portal_id, _, path = topic.removeprefix("N/").partition("/")
        site = self.sites.get(portal_id)
        if site is None or site.realtime.state is GatewayState.DOWN:
            self.strangers += 1
        else:
            site.on_message(path, payload)

    @printable
    def __repr__(self) -> str:
        return f"<Broker {self.address}, {len(self.sites)} sites>"
