"""Commands `sites` and `now`: the present values of the sites and products of the accounts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, tzinfo
from typing import Final

from energy_core import Quantity
from energy_core.home import Snapshot
from energy_core.local_days import zone_or_utc
from energy_core.stream.vocabulary import READINGS
from energy_live.reports.accounts import Connected, connected
from energy_live.reports.table import Cell, Report, ReportColumn
from energy_live.watch import Selection, check_numbers
from voltstorage_async import VoltStorageClient
from voltstorage_async.models import ProductSnapshot
from vrm_async.models import SiteSnapshot

_SHOWN: Final = {
    Quantity.BATTERY_SOC: ReportColumn("battery_soc_percent", "charge", "%", digits=1),
    Quantity.BATTERY_POWER: ReportColumn("battery_power_w", "battery", "W", signed=True),
    Quantity.GRID_POWER: ReportColumn("grid_power_w", "grid", "W", signed=True),
    Quantity.PV_POWER: ReportColumn("pv_power_w", "PV", "W"),
    Quantity.CONSUMPTION_POWER: ReportColumn("consumption_power_w", "home", "W"),
}
"""Quantities of `sites`; `now` has all."""

_SITE: Final = (
    ReportColumn("vendor", "vendor"),
    ReportColumn("number", "number"),
    ReportColumn("name", "name", wraps=True),
)
_AGE: Final = ReportColumn("age_s", "age", age=True)

SITES_COLUMNS: Final = (
    *_SITE,
    ReportColumn("state", "state"),
    ReportColumn("time", "newest data", in_table=False),
    _AGE,
    *_SHOWN.values(),
    ReportColumn("alarms", "alarms"),
    ReportColumn("problem", "problem", wraps=True),
)
NOW_COLUMNS: Final = (
    *_SITE,
    ReportColumn("device", "device"),
    ReportColumn("quantity", "quantity"),
    ReportColumn("value", "value", digits=2),
    ReportColumn("unit", "unit"),
    ReportColumn("time", "time"),
    _AGE,
)


async def list_sites() -> Report:
    """Return a row for each site and product: state, age, charge, powers, and the number of alarms."""
    async with connected("reading the sites") as accounts:
        snapshots = await read_snapshots(accounts)
    rows = [
        [
            *(*_site(each), state(each), _local(each, each.time), _age_s(each.age_s)),
            *(*_values(each), _alarms(each), each.problem or None),
        ]
        for each in snapshots
    ]
    return Report(SITES_COLUMNS, rows, accounts.errors)


async def list_values(selection: Selection) -> Report:
    """Return a row for each present value of the selected sites and products."""
    async with connected("reading the sites", selection) as accounts:
        snapshots = await read_snapshots(accounts)
    return Report(NOW_COLUMNS, [row for each in snapshots for row in _value_rows(each)], accounts.errors)


async def read_snapshots(accounts: Connected) -> list[Snapshot]:
    """Read the selected sites and products. What cannot be read is left out, with a reason in `errors`.

    Raises:
        EnergyError: Nothing could be read.
    """
    found = list[Snapshot]()
    wanted = accounts.selection
    if accounts.reads_vrm and accounts.vrm is not None:
        with accounts.noting_errors():
            sites = await accounts.vrm.now()
            check_numbers("site", wanted.sites, {each.id: each.site.identifier for each in sites})
            found += [each for each in sites if not wanted.sites or each.id in wanted.sites]
    if accounts.reads_voltstorage and accounts.volt is not None:
        with accounts.noting_errors():
            products = list[ProductSnapshot]()
            async for each in accounts.volt.now(*await _known_products(accounts.volt, wanted.products)):
                products.append(each)
                accounts.progress.text = f"reading the products, {len(products)} done"
            found += products
    if accounts.errors and not found:
        raise accounts.errors[0]
    return found


async def _known_products(volt: VoltStorageClient, wanted: Sequence[int]) -> Sequence[int]:
    """Return the wanted products that the account has."""
    if not wanted:
        return ()
    known = {product.id: product.serial_number async for product in volt.products.list()}
    check_numbers("product", wanted, known)
    return [number for number in wanted if number in known]


def state(snapshot: Snapshot) -> str:
    """Return `live`, `stale` (no data for 15 minutes), `offline` (as the vendor says), or `no data`."""
    if snapshot.time is None:
        return "no data"
    if isinstance(snapshot, ProductSnapshot) and snapshot.product.online is False:
        return "offline"
    return "stale" if snapshot.stale else "live"


def _site(snapshot: Snapshot) -> Sequence[Cell]:
    return snapshot.source.vendor, int(snapshot.source.site), snapshot.name


def _values(snapshot: Snapshot) -> Iterator[Cell]:
    """Yield the values; of a site with fresh data only the fresh ones, which were measured together."""
    for quantity in _SHOWN:
        found = snapshot.present.get(quantity)
        yield None if found is None or (found.stale and not snapshot.stale) else found.value


def _value_rows(snapshot: Snapshot) -> Iterator[Sequence[Cell]]:
    for quantity in READINGS:
        if found := snapshot.present.get(quantity):
            yield (
                *_site(snapshot),
                found.source.instance,
                str(quantity),
                found.value,
                quantity.unit,
                _local(snapshot, found.time),
                _age_s(found.age_s),
            )


def _alarms(snapshot: Snapshot) -> int | None:
    """Return the number of active alarms; None if the vendor does not say."""
    if isinstance(snapshot, SiteSnapshot):
        return snapshot.site.num_alarms
    return len(snapshot.product.errors) if isinstance(snapshot, ProductSnapshot) else None


def _age_s(seconds: float | None) -> float | None:
    """Return an age without the digits that it does not have: servers send their time in whole seconds."""
    return None if seconds is None else round(seconds, 1)


def _local(snapshot: Snapshot, moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.astimezone(_zone(snapshot))


def _zone(snapshot: Snapshot) -> tzinfo:
    if isinstance(snapshot, SiteSnapshot):
        return zone_or_utc(snapshot.site.timezone)
    return zone_or_utc(snapshot.product.timezone if isinstance(snapshot, ProductSnapshot) else None)
