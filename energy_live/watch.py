"""Connects the accounts of the environment and shows their sites and products as one merged stream."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Final

from attrs import field, frozen

from energy_core import EnergyError, FileCheckpoint, SessionPool, StreamError, merge
from energy_core.errors import CheckpointError, NotFound
from energy_core.local_days import zone_or_utc
from energy_core.stream.source import Source
from energy_live.display.output import CsvLines, Display, DisplayOptions, JsonLines, SiteName, show
from energy_live.environment import VOLTSTORAGE_VARIABLES, VRM_VARIABLES, Accounts
from energy_live.runner import UsageError, print_error
from voltstorage_async import VoltStorageClient
from vrm_async import RealtimeConfig, VRMClient


@frozen(kw_only=True)
class Selection:
    """Numbers of the sites and products to show; empty means all of the accounts'."""

    sites: Sequence[int] = ()
    products: Sequence[int] = ()

    @property
    def everything(self) -> bool:
        """Whether no number is given."""
        return not self.sites and not self.products


EVERYTHING: Final = Selection()
_MOST_LISTED: Final = 10
"""Numbers in an error message."""


@frozen
class Discovered:
    """Sources of the accounts, and the names of their sites and products."""

    sources: list[Source] = field(factory=list)
    names: dict[tuple[str, str], SiteName] = field(factory=dict)
    """By vendor and number."""


async def watch_environment(
    options: DisplayOptions, selection: Selection, *, interval_s: float, realtime: bool = False
) -> None:
    """Show the accounts of this process's environment."""
    accounts = Accounts.from_environment(os.environ)
    await watch_accounts(accounts, options, selection, interval_s=interval_s, realtime=realtime)


async def watch_accounts(
    accounts: Accounts,
    options: DisplayOptions,
    selection: Selection = EVERYTHING,
    *,
    interval_s: float,
    realtime: bool = False,
    title: str = "energy-live",
) -> None:
    """Connect the accounts through one pool, find their sites and products, and show the merged stream.

    If one account cannot be reached, its error is printed and the other account is shown.

    Args:
        accounts: Credentials and base URLs.
        options: Output format, and when to stop.
        selection: The sites and products to show.
        interval_s: Seconds between two polls of VRM.
        realtime: Whether VRM's values are received in real time.
        title: First line of the table.

    Raises:
        UsageError: A credential for the selected sites or products is missing.
        EnergyError: No account can be shown.
    """
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(SessionPool())
        vrm, volt = accounts.vrm(pool), accounts.voltstorage(pool)
        require_credentials(vrm, volt, selection)  # before any request is sent
        live = None if vrm is None or not realtime else _realtime(vrm, accounts, interval_s=interval_s)
        discovered = await discover(vrm, volt, selection, interval_s=interval_s, live=live)
        output = _output(options, title, pool=pool, names=discovered.names, vendors=accounts.origins)
        store_class = _ReplacedCheckpoint if options.from_now else FileCheckpoint
        store = None if options.checkpoint is None else store_class(options.checkpoint)
        try:
            events = await stack.enter_async_context(merge(*discovered.sources, checkpoint=store))
        except CheckpointError as error:
            raise StreamError(f"{error.fault} (--from-now starts from now and replaces the file)") from None
        # Last in, first out: the terminal is restored before connections are closed.
        await stack.enter_async_context(output)
        await show(events, output, options)


class _ReplacedCheckpoint(FileCheckpoint):
    """Writes positions to the file and ignores those that it holds."""

    async def load(self) -> str | None:
        """Return None: the stream starts with new events."""
        return None


def require_credentials(vrm: VRMClient | None, volt: VoltStorageClient | None, selection: Selection) -> None:
    """Check that there is a client for everything that is selected.

    Raises:
        UsageError: A credential is missing; the message names the variables to set.
    """
    if vrm is None and selection.sites:
        raise UsageError(f"--site needs a VRM access token: set {VRM_VARIABLES}")
    if volt is None and selection.products:
        raise UsageError(f"--product needs a VoltStorage account: set {VOLTSTORAGE_VARIABLES}")
    if vrm is None and volt is None:
        raise UsageError(
            f"no credentials in the environment: set {VRM_VARIABLES} for Victron VRM, "
            f"{VOLTSTORAGE_VARIABLES} for VoltStorage"
        )


LiveSites = Callable[..., Source]
"""Returns the source of the sites with these numbers."""


def _realtime(vrm: VRMClient, accounts: Accounts, *, interval_s: float) -> LiveSites:
    """Return what makes a source in real time.

    Raises:
        UsageError: The address of the broker is not valid.
    """
    try:
        config = RealtimeConfig(url=accounts.vrm_realtime_url)
    except ValueError as error:
        raise UsageError(f"VRM_REALTIME_URL: {error}") from None

    def live(*wanted: int) -> Source:
        try:
            return vrm.live(*wanted, interval_s=interval_s, realtime=True, realtime_config=config)
        except (ValueError, ModuleNotFoundError) as error:
            raise UsageError(str(error)) from None

    return live


async def discover(
    vrm: VRMClient | None,
    volt: VoltStorageClient | None,
    selection: Selection,
    *,
    interval_s: float,
    live: LiveSites | None = None,
) -> Discovered:
    """Find the sites and products of the accounts; one account that fails is printed and left out.

    Args:
        vrm: The client of VRM.
        volt: The client of VoltStorage.
        selection: The sites and products that are wanted.
        interval_s: Seconds between two polls of VRM.
        live: Makes the source of the sites; None: one that polls.

    Raises:
        UsageError: The accounts have no sites and no products.
        EnergyError: No account can be reached.
    """
    discovered = Discovered()
    errors: list[EnergyError] = []
    try:
        if vrm is not None and (selection.sites or selection.everything):
            await _discover_vrm(
                vrm, selection.sites, discovered, live or partial(vrm.live, interval_s=interval_s)
            )
    except EnergyError as error:
        errors.append(error)
    try:
        if volt is not None and (selection.products or selection.everything):
            await _discover_voltstorage(volt, selection.products, discovered)
    except EnergyError as error:
        errors.append(error)
    if discovered.sources:
        for reason in errors:
            print_error(f"continuing without an account: {reason}")
        return discovered
    raise errors[0] if errors else UsageError("the accounts have no sites and no products")


async def _discover_vrm(
    vrm: VRMClient, wanted: Sequence[int], discovered: Discovered, live: LiveSites
) -> None:
    sites = await vrm.sites()
    for site in sites:
        discovered.names["vrm", str(site.id)] = SiteName(
            site.name or f"site {site.id}", zone_or_utc(site.timezone)
        )
    if sites:
        check_numbers("site", wanted, {site.id: site.identifier for site in sites})
    if wanted or sites:
        discovered.sources.append(live(*wanted))


def check_numbers(kind: str, wanted: Sequence[int], known: Mapping[int, str | None]) -> None:
    """Print a warning about the wanted numbers that the account does not have.

    Args:
        kind: `site` or `product`.
        wanted: The numbers.
        known: Each number of the account with the identifier that users mistake for it.

    Raises:
        NotFound: The account has none of the numbers.
    """
    missing = [number for number in dict.fromkeys(wanted) if number not in known]
    if not missing:
        return
    numbers = {identifier: number for number, identifier in known.items() if identifier}
    hints = [
        f"; {number} is the identifier of {kind} {numbers[str(number)]}"
        for number in missing
        if str(number) in numbers
    ]
    unknown = " or ".join(map(str, missing))
    problem = f"there is no {kind} {unknown} in this account; it has {_listed(known)}{''.join(hints)}"
    if len(missing) == len(set(wanted)):
        raise NotFound(problem)
    print_error(f"continuing without it: {problem}")


def _listed(numbers: Iterable[int]) -> str:
    listed = sorted(numbers)
    shown = ", ".join(map(str, listed[:_MOST_LISTED])) or "none"
    more = len(listed) - _MOST_LISTED
    return shown if more <= 0 else f"{shown} and {more} more (`energy-live sites` lists them)"


async def _discover_voltstorage(
    volt: VoltStorageClient, wanted: Sequence[int], discovered: Discovered
) -> None:
    products = [product async for product in volt.products.list()]
    for product in products:
        name = product.serial_number or f"product {product.id}"
        discovered.names["voltstorage", str(product.id)] = SiteName(name, zone_or_utc(product.timezone))
    if products:
        check_numbers("product", wanted, {product.id: product.serial_number for product in products})
    discovered.sources.extend(
        volt.live(product_id) for product_id in dict.fromkeys(wanted or [product.id for product in products])
    )


def _output(
    options: DisplayOptions,
    title: str,
    *,
    pool: SessionPool,
    names: Mapping[tuple[str, str], SiteName],
    vendors: Mapping[str, str],
) -> Display:
    if sys.stdout is None:
        raise UsageError("there is no standard output to write to")
    if not options.table:
        return (CsvLines if options.format == "csv" else JsonLines)(sys.stdout.fileno())
    # Imported here: rich is slow to import, and JSON lines do not need it.
    from energy_live.display.live_table import LiveTable  # noqa: PLC0415

    return LiveTable(title, pool=pool, names=names, vendors=vendors)
