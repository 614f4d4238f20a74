"""The sources of the service: what the accounts and the settings say, also after they have changed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import timedelta
from random import random
from typing import Final

from energy_core import SessionPool
from energy_core.clock import Clock
from energy_core.errors import AuthError, EnergyError, PermissionDenied
from energy_core.local_days import zone_or_utc
from energy_core.retry_after import full_jitter
from energy_core.stream.merge import MergedStream
from energy_core.stream.polled import LookbackConfig
from energy_core.stream.source import Source
from energy_live.display.output import SiteName
from energy_live.environment import VOLTSTORAGE_VARIABLES, VRM_VARIABLES, Accounts
from energy_live.runner import UsageError
from energy_live.service.config import ServiceConfig
from voltstorage_async import VoltStorageClient
from voltstorage_async.events.recorded import BackfillConfig
from vrm_async import VRMClient

_log: Final = logging.getLogger("energy_live.service")

_NAMES_S: Final = 10.0
"""Seconds the start waits for the names of sites and products."""
_RETRY_BASE_S: Final = 2.0
_RETRY_CAP_S: Final = 300.0


class AccountSources:
    """Makes the sources of a stream, and keeps them as the settings and accounts say.

    Args:
        pool: Shared by both vendors.
        clock: Source of time.
        lookback_s: Seconds of the past that are fetched after an outage, at least a day.
    """

    def __init__(self, pool: SessionPool, clock: Clock, *, lookback_s: float) -> None:
        self.sites: dict[tuple[str, str], SiteName] = {}
        """Names and time zones of sites and products by vendor and number."""
        self.site_names: dict[tuple[str, str], str] = {}
        """The names alone."""
        self.current: frozenset[tuple[str, str]] | None = None
        """Sites and products that are read now; None while a list of them has not been read."""
        self._listed: dict[str, frozenset[tuple[str, str]]] = {}
        """What the accounts have, by vendor, as far as it was read."""
        self._pool = pool
        self._clock = clock
        day = 86_400.0
        past = max(lookback_s, day)
        # One request covers six hours of a device; each may wait for its turn.
        self._lookback = LookbackConfig(max_age_s=past, timeout_s=60.0 + past / day * 20.0)
        self._backfill = BackfillConfig(max_age_s=past)
        self._config = ServiceConfig()
        self._accounts = Accounts()
        self._vrm: VRMClient | None = None
        self._volt: VoltStorageClient | None = None
        self._sources: dict[str, Source] = {}
        """By a name of our own: `vrm`, or the number of a product."""

    # --- start ---------------------------------------------------------------------------------------------

    async def first(self, config: ServiceConfig, accounts: Accounts) -> list[Source]:
        """Return the sources to begin with. While no account can be reached, it tries again.

        Raises:
            UsageError: There is no credential, or one is not valid.
            EnergyError: An account refuses its credential.
        """
        self._config, self._accounts = config, accounts
        self._vrm = accounts.vrm(self._pool) if config.vrm.enabled else None
        self._volt = accounts.voltstorage(self._pool) if config.voltstorage.enabled else None
        if self._vrm is None and self._volt is None:
            raise UsageError(
                f"no credentials: set {VRM_VARIABLES} for Victron VRM, {VOLTSTORAGE_VARIABLES} for "
                "VoltStorage, as variables or as files (docs/reference/config.md, Secrets)"
            )
        if self._vrm is not None:
            self._sources["vrm"] = self._vrm_source(self._vrm)
        attempt = 0
        while True:
            try:
                async with asyncio.timeout(_NAMES_S if self._sources else None):
                    self._sources |= await self._new_products()
            except (EnergyError, TimeoutError) as error:
                refused = isinstance(error, AuthError | PermissionDenied)
                if refused and not self._sources:
                    raise
                _log.error("the products of VoltStorage cannot be listed, trying again: %s", error)
            if self._sources:
                break
            wait_s = full_jitter(attempt, base=_RETRY_BASE_S, cap=_RETRY_CAP_S, random=random)
            attempt += 1
            await self._clock.sleep(max(wait_s, 1.0))
        await self._try_site_names()
        self._note_current()
        return list(self._sources.values())

    def _vrm_source(self, vrm: VRMClient) -> Source:
        settings = self._config.vrm
        if not settings.realtime:
            return vrm.live(*settings.sites, interval_s=settings.interval_s, lookback=self._lookback)
        try:
            return vrm.live(
                *settings.sites, interval_s=settings.interval_s, lookback=self._lookback, realtime=True
            )
        except ModuleNotFoundError as error:
            raise UsageError(f"vrm: realtime: {error}") from None

    async def _new_products(self) -> Mapping[str, Source]:
        """Return a source for each product that has none yet."""
        if self._volt is None:
            return {}
        wanted = self._config.voltstorage.products
        numbers = list(dict.fromkeys(wanted))
        if not wanted:
            products = [product async for product in self._volt.products.list()]
            numbers = [product.id for product in products]
            for product in products:
                self._note("voltstorage", product.id, product.serial_number, product.timezone)
            self._listed["voltstorage"] = _keys("voltstorage", numbers)
        return {
            str(number): self._volt.live(number, backfill=self._backfill)
            for number in numbers
            if str(number) not in self._sources
        }

    async def _try_site_names(self) -> None:
        with suppress(EnergyError, TimeoutError):
            async with asyncio.timeout(_NAMES_S):
                await self._read_site_names()

    async def _read_site_names(self) -> None:
        if self._vrm is not None:
            sites = await self._vrm.sites()
            for site in sites:
                self._note("vrm", site.id, site.name, site.timezone)
            self._listed["vrm"] = _keys("vrm", [site.id for site in sites])

    def _note_current(self) -> None:
        """Set `current` to what the settings and the lists say."""
        chosen = {"vrm": self._config.vrm.sites, "voltstorage": self._config.voltstorage.products}
        clients = {"vrm": self._vrm, "voltstorage": self._volt}
        found: list[frozenset[tuple[str, str]] | None] = [
            _keys(vendor, chosen[vendor]) if chosen[vendor] else self._listed.get(vendor)
            for vendor, client in clients.items()
            if client is not None
        ]
        known = [each for each in found if each is not None]
        self.current = frozenset[tuple[str, str]]().union(*known) if len(known) == len(found) else None

    def _note(self, vendor: str, number: int, name: str | None, timezone: str | None) -> None:
        kind = "site" if vendor == "vrm" else "product"
        known = self.sites[vendor, str(number)] = SiteName(name or f"{kind} {number}", zone_or_utc(timezone))
        self.site_names[vendor, str(number)] = known.name

    # --- afterwards ----------------------------------------------------------------------------------------

    async def refresh(self, stream: MergedStream) -> None:
        """Read the names again, and start sources of new products. A failure is logged."""
        try:
            await self._read_site_names()
            for number, source in (await self._new_products()).items():
                self._sources[number] = source
                stream.add(source)
                _log.warning("product %s of VoltStorage is new", number)
        except EnergyError as error:
            _log.warning("sites and products cannot be listed: %s", error)
        self._note_current()

    def known(self) -> set[tuple[str, str]] | None:
        """Return vendor and number of every site and product that is read; None while a list is missing."""
        vrm, volt = self._config.vrm, self._config.voltstorage
        sites = {number for vendor, number in self.sites if vendor == "vrm"}
        if self._vrm is not None and not sites:
            return None
        chosen = {str(each) for each in vrm.sites} or sites
        products = {name for name in self._sources if name != "vrm"}
        if self._volt is not None and not products:
            return None
        read = {("vrm", each) for each in chosen} if self._vrm is not None else set()
        return read | {("voltstorage", each) for each in products if volt.enabled}

    async def change(self, stream: MergedStream, config: ServiceConfig, accounts: Accounts) -> None:
        """Make the sources of the stream those of new settings or credentials; the others are not touched.

        Raises:
            UsageError: There would be no account, or a credential is not valid; nothing is changed.
        """
        old, before = self._config, self._accounts
        vrm_changed = (config.vrm, _vrm_part(accounts)) != (old.vrm, _vrm_part(before))
        volt_changed = (config.voltstorage, _volt_part(accounts)) != (old.voltstorage, _volt_part(before))
        self._config, self._accounts = config, accounts
        self._listed = {
            vendor: listed
            for vendor, listed in self._listed.items()
            if _PARTS[vendor](accounts) == _PARTS[vendor](before)
        }
        if vrm_changed:
            await self._remove(stream, [name for name in self._sources if name == "vrm"])
            if self._vrm is not None:
                await self._vrm.aclose()
            self._vrm = accounts.vrm(self._pool) if config.vrm.enabled else None
            if self._vrm is not None:
                self._add(stream, {"vrm": self._vrm_source(self._vrm)})
        if volt_changed:
            enabled = config.voltstorage.enabled
            if _volt_part(accounts) != _volt_part(before) or enabled != old.voltstorage.enabled:
                await self._remove(stream, [name for name in self._sources if name != "vrm"])
                if self._volt is not None:
                    await self._volt.aclose()
                self._volt = accounts.voltstorage(self._pool) if enabled else None
            elif config.voltstorage.products:
                wanted = {str(number) for number in config.voltstorage.products}
                await self._remove(stream, [name for name in self._sources if name not in {"vrm", *wanted}])
            try:
                self._add(stream, await self._new_products())
            except EnergyError as error:
                _log.error("the products of VoltStorage cannot be listed, trying again: %s", error)
        if "vrm" not in self._listed:
            await self._try_site_names()
        self._note_current()

    def _add(self, stream: MergedStream, sources: Mapping[str, Source]) -> None:
        for name, source in sources.items():
            self._sources[name] = source
            stream.add(source)

    async def _remove(self, stream: MergedStream, names: list[str]) -> None:
        for name in names:
            source = self._sources.pop(name)
            with suppress(KeyError):
                await stream.remove(source.id)


def _vrm_part(accounts: Accounts) -> tuple[object, ...]:
    return accounts.vrm_token, accounts.vrm_account, accounts.vrm_base_url


def _volt_part(accounts: Accounts) -> tuple[object, ...]:
    return (
        *(accounts.voltstorage_token, accounts.voltstorage_email, accounts.voltstorage_password),
        *(accounts.voltstorage_account, accounts.voltstorage_base_url),
    )


_PARTS: Final = {"vrm": _vrm_part, "voltstorage": _volt_part}


def _keys(vendor: str, numbers: Iterable[int]) -> frozenset[tuple[str, str]]:
    return frozenset((vendor, str(number)) for number in numbers)


def past(config: ServiceConfig) -> timedelta:
    """Return how much of the past is loaded into an empty output."""
    return config.since_span or timedelta()
