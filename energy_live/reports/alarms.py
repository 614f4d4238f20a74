"""Command `alarms`: what is wrong now, or what was in a range."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Final

from energy_core.local_days import zone_or_utc
from energy_live.reports.accounts import Connected, connected
from energy_live.reports.table import Cell, Report, ReportColumn
from energy_live.watch import Selection, check_numbers
from voltstorage_async.models import Product
from vrm_async import VRMClient
from vrm_async.models import RaisedAlarm, Site

ALARMS_COLUMNS: Final = (
    ReportColumn("vendor", "vendor"),
    ReportColumn("number", "number"),
    ReportColumn("name", "name", wraps=True),
    ReportColumn("state", "state"),
    ReportColumn("alarm", "alarm", wraps=True),
    ReportColumn("device", "device", wraps=True),
    ReportColumn("started", "started"),
    ReportColumn("cleared", "cleared"),
)

_AT_ONCE: Final = 6
"""Sites that are read at the same time; VRM answers that many requests at once."""


async def list_alarms(selection: Selection, last: tuple[int, str] | None) -> Report:
    """Return a row for each active alarm, or for each alarm that was raised in a range.

    Args:
        selection: The sites and products.
        last: A number and a unit, such as `(7, "days")`; None for the alarms that are active now.
    """
    tables = list[Sequence[Sequence[Cell]]]()
    async with connected("reading the sites", selection) as accounts:
        if accounts.reads_vrm and accounts.vrm is not None:
            with accounts.noting_errors():
                tables += await _site_tables(accounts, accounts.vrm, last)
        if accounts.reads_voltstorage and accounts.volt is not None:
            with accounts.noting_errors():
                listed = [product async for product in accounts.volt.products.list()]
                wanted = selection.products
                check_numbers("product", wanted, {each.id: each.serial_number for each in listed})
                tables += [[*_product_rows(each)] for each in listed if not wanted or each.id in wanted]
        if accounts.errors and not tables:
            raise accounts.errors[0]
    return Report(ALARMS_COLUMNS, [row for table in tables for row in table], accounts.errors)


async def _site_tables(
    accounts: Connected, vrm: VRMClient, last: tuple[int, str] | None
) -> list[Sequence[Sequence[Cell]]]:
    """Return the rows of each site that could be read."""
    wanted = accounts.selection.sites
    listed = await vrm.sites(extended=True)
    check_numbers("site", wanted, {site.id: site.identifier for site in listed})
    sites = [site for site in listed if not wanted or site.id in wanted]
    rows: dict[int, Sequence[Sequence[Cell]]] = {}
    left = iter(sites)

    async def read() -> None:
        for site in left:
            accounts.progress.text = f"reading the alarms of {len(sites)} sites, {len(rows)} done"
            with accounts.noting_errors():
                rows[site.id] = [*_site_rows(site, await _alarms(vrm, site, last))]

    async with asyncio.TaskGroup() as group:
        for _ in range(min(_AT_ONCE, len(sites))):
            group.create_task(read())
    return [rows[site.id] for site in sites if site.id in rows]


async def _alarms(vrm: VRMClient, site: Site, last: tuple[int, str] | None) -> Sequence[RaisedAlarm]:
    if last is not None:
        return await vrm.alarms.log(site, last=last)
    # The list of sites has the number of active alarms, so that most sites need no request of their own.
    return () if site.num_alarms == 0 else await vrm.alarms.active(site)


def _site_rows(site: Site, alarms: Sequence[RaisedAlarm]) -> Iterator[Sequence[Cell]]:
    zone = zone_or_utc(site.timezone)
    for alarm in alarms:
        what = alarm.description or f"attribute {alarm.attribute_id}"
        device = alarm.device if not alarm.instance else f"{alarm.device or 'device'} {alarm.instance}"
        yield (
            "vrm",
            site.id,
            site.name,
            "active" if alarm.active else "cleared",
            f"{what}: {alarm.name_enum}" if alarm.name_enum else what,
            device,
            alarm.started and alarm.started.astimezone(zone),
            alarm.cleared and alarm.cleared.astimezone(zone),
        )


def _product_rows(product: Product) -> Iterator[Sequence[Cell]]:
    """Yield a row for each present fault; VoltStorage sends neither their time nor past ones."""
    name = product.serial_number or f"product {product.id}"
    for error in product.errors:
        yield "voltstorage", product.id, name, "active", error, None, None, None
