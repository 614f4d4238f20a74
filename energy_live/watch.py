"""Connects the accounts that the environment opens and shows what they have as one stream."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

from attrs import field, frozen

from energy_core import CheckpointError, EnergyError, FileCheckpoint, SessionPool, StreamError, merge
from energy_core.errors import NotFound
from energy_core.stream.event import Source
from energy_live.display.output import JsonLines, Place, View, Wish, show
from energy_live.environment import VOLTSTORAGE_WAYS, VRM_WAYS, Accounts, Unusable
from energy_live.exits import complain
from voltstorage_async import VoltStorageClient
from vrm_async import VRMClient


@frozen(kw_only=True)
class Choice:
    """Which of the accounts' things to show; empty means all of them."""

    sites: Sequence[int] = ()
    products: Sequence[int] = ()

    @property
    def everything(self) -> bool:
        """Whether nothing was named."""
        return not self.sites and not self.products


EVERYTHING: Final = Choice()
WHAT_TO_DO: Final = "check the number, and that the account may still see it"


@frozen
class Found:
    """What there is to show."""

    sources: list[Source] = field(factory=list)
    places: dict[tuple[str, str], Place] = field(factory=dict)


async def watch(wish: Wish, choice: Choice, *, interval_s: float) -> None:
    """Show the accounts of this process's own environment."""
    await follow(Accounts.of(os.environ), wish, choice, interval_s=interval_s)


async def follow(
    accounts: Accounts,
    wish: Wish,
    choice: Choice = EVERYTHING,
    *,
    interval_s: float,
    title: str = "energy-live",
) -> None:
    """Connect through one pool, find what there is, and show it.

    One account that cannot be reached is complained about and does not keep the other from being shown.

    Args:
        accounts: Who asks.
        wish: How to show it and for how long.
        choice: What of it.
        interval_s: How often VRM is asked.
        title: Stands above the table.

    Raises:
        Unusable: There is no credential for what is wanted.
        EnergyError: Nothing can be shown, and this is why.
    """
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(SessionPool())
        vrm, volt = accounts.vrm(pool), accounts.voltstorage(pool)
        _refuse_missing(vrm, volt, choice)
        found = await _find(vrm, volt, choice, interval_s)
        view = _view(wish, title, pool=pool, places=found.places, lanes=accounts.origins)
        keep = _FromNow if wish.from_now else FileCheckpoint
        kept = None if wish.checkpoint is None else keep(wish.checkpoint)
        try:
            events = await stack.enter_async_context(merge(*found.sources, checkpoint=kept))
        except CheckpointError as trouble:
            raise StreamError(f"{trouble.fault} (--from-now starts from now and replaces the file)") from None
        await stack.enter_async_context(view)
        await show(events, view, wish)


class _FromNow(FileCheckpoint):
    """Keeps positions in a file whose present text does not matter."""

    async def load(self) -> str | None:
        """Return None: nothing is known."""
        return None


def _refuse_missing(vrm: VRMClient | None, volt: VoltStorageClient | None, choice: Choice) -> None:
    if vrm is None and choice.sites:
        raise Unusable(f"--site needs a VRM access token: set {VRM_WAYS}")
    if volt is None and choice.products:
        raise Unusable(f"--product needs a VoltStorage account: set {VOLTSTORAGE_WAYS}")
    if vrm is None and volt is None:
        raise Unusable(
            f"no credentials in the environment: set {VRM_WAYS} for Victron VRM, "
            f"{VOLTSTORAGE_WAYS} for VoltStorage"
        )


async def _find(
    vrm: VRMClient | None, volt: VoltStorageClient | None, choice: Choice, interval_s: float
) -> Found:
    found = Found()
    troubles: list[EnergyError] = []
    try:
        if vrm is not None and (choice.sites or choice.everything):
            await _look_at_vrm(vrm, choice.sites, found, interval_s)
    except EnergyError as trouble:
        troubles.append(trouble)
    try:
        if volt is not None and (choice.products or choice.everything):
            await _look_at_voltstorage(volt, choice.products, found)
    except EnergyError as trouble:
        troubles.append(trouble)
    if found.sources:
        for missing in troubles:
            complain(f"going on without an account: {missing}")
        return found
    raise troubles[0] if troubles else Unusable("the accounts have no sites and no products")


async def _look_at_vrm(vrm: VRMClient, wanted: Sequence[int], found: Found, interval_s: float) -> None:
    sites = await vrm.users.installations()
    for site in sites:
        found.places["vrm", str(site.id)] = Place(site.name or f"site {site.id}", _zone(site.timezone))
    if sites:
        _look_for("--site", wanted, {site.id: site.identifier for site in sites})
    if wanted or sites:
        found.sources.append(vrm.live(*wanted, interval_s=interval_s))


def _look_for(option: str, wanted: Sequence[int], known: Mapping[int, str | None]) -> None:
    """Complain about numbers that the account's list does not have.

    Args:
        option: What they were given by.
        wanted: The numbers.
        known: Those of the list, each with the other name that it is sometimes mistaken for.

    Raises:
        NotFound: the list has none of them.
    """
    others = {name: number for number, name in known.items() if name}
    missing = [number for number in dict.fromkeys(wanted) if number not in known]
    troubles = [
        f"{option} {number} is not a number of the account's list: use {option} {others[str(number)]} for it"
        if str(number) in others
        else f"{option} {number}: the account's list does not have it; {WHAT_TO_DO}"
        for number in missing
    ]
    if missing and len(missing) == len(set(wanted)):
        raise NotFound("; ".join(troubles))
    for trouble in troubles:
        complain(f"going on without it: {trouble}")


async def _look_at_voltstorage(volt: VoltStorageClient, wanted: Sequence[int], found: Found) -> None:
    products = [product async for product in volt.products.list()]
    for product in products:
        name = product.serial_number or f"product {product.id}"
        found.places["voltstorage", str(product.id)] = Place(name, _zone(product.timezone))
    if products:
        _look_for("--product", wanted, {product.id: product.serial_number for product in products})
    found.sources.extend(
        volt.live(product_id) for product_id in dict.fromkeys(wanted or [product.id for product in products])
    )


def _zone(name: str | None) -> tzinfo:
    try:
        return ZoneInfo(name or "UTC")
    except (ValueError, OSError, LookupError):  # whatever a vendor calls a time zone
        return UTC


def _view(
    wish: Wish,
    title: str,
    *,
    pool: SessionPool,
    places: Mapping[tuple[str, str], Place],
    lanes: Mapping[str, str],
) -> View:
    if sys.stdout is None:
        raise Unusable("there is no standard output to show anything on")
    if not wish.table:
        return JsonLines(sys.stdout.fileno())
    # rich is slow to load, and lines of JSON do without it.
    from energy_live.display.live_table import LiveTable  # noqa: PLC0415

    return LiveTable(title, pool=pool, places=places, lanes=lanes)
