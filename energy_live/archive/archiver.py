"""Archives a VoltStorage account: its products, their statistics and their history."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from attrs import define, field, frozen

from energy_core.clock import Clock
from energy_core.errors import NotFound, PermissionDenied, RequestError
from energy_live.archive.directory import ArchiveDirectory
from energy_live.archive.history import (
    PRECISION,
    HistoryReader,
    HistoryRefused,
    MissingDay,
    MonthResult,
    summarize_missing,
)
from energy_live.archive.manifest import Format, Manifest, ProductEntry, SectionEntry
from energy_live.archive.plan import Month, ProductPlan, StatisticsTable
from energy_live.archive.progress_bar import NoProgress, ProgressReport
from energy_live.archive.retry import RetryPolicy, RunStopped, describe_error
from energy_live.archive.staging import DamagedDay
from energy_live.archive.statistics import StatisticsRows, read_statistics
from energy_live.archive.store import ArchiveStore
from voltstorage_async import VoltStorageClient
from voltstorage_async.models import Product

PRODUCTS: Final = "products.json"
_UNREADABLE_PRODUCT: Final = ("Product", "record", "malformed")
"""Key of the client's drift counter for products that cannot be read."""
CLOCK_SKEW: Final = timedelta(minutes=1)
"""Tolerated lead of this machine's clock: the service refuses requests for the future."""

PARAMETERS: Final[Mapping[str, str | int | float]] = {
    "export.precision": PRECISION,
    "export.tolerance": 0,
    "export.tz": 0,
    "export.days_a_request": 1,
    "cells.empty": "unchanged or not sampled, never zero",
    "cells.text": "one apostrophe in front of what begins with = + - @ TAB CR LF ' or a full-width form; CSV",
    "statistics.energy": "joules [inferred], as the service sends them",
}


@frozen(kw_only=True)
class ArchiveOptions:
    """What to archive."""

    format: Format | None = None
    """None: the archive's own format; for a new archive Parquet if pyarrow is installed, otherwise CSV."""
    products: Sequence[int] = ()
    """Numbers of VoltStorage's products; empty means all of the account."""
    sites: Sequence[int] = ()
    """Numbers of VRM's sites; empty means all of the account."""
    codes: Sequence[str] = ()
    """VRM's codes to save beside the energies; those of earlier runs stay."""
    revise: timedelta | None = None
    """How much of the past VRM is asked for again; None: the last two days before the last run."""
    until: datetime | None = None
    """Only data recorded before this time (aware); None: now."""


@define(kw_only=True)
class ArchiveResult:
    """Result of a run; the archive is complete if `missing` is empty."""

    manifest: Manifest
    changed: int = 0
    """Number of files written or replaced."""
    notes: list[str] = field(factory=list)
    missing: list[str] = field(factory=list)
    """One line for each part that could not be read, with the reason."""


async def archive(
    root: Path,
    client: VoltStorageClient,
    options: ArchiveOptions,
    *,
    service: str,
    clock: Clock,
    policy: RetryPolicy = RetryPolicy(),  # noqa: B008  (frozen)
    progress: ProgressReport = NoProgress(),  # noqa: B008  (it has no state)
) -> ArchiveResult:
    """Bring the archive at `root` up to date. Cancelling is safe: the next run continues.

    Args:
        root: The archive's directory; created if it does not exist.
        client: The account to read.
        options: Format, products and end of the archive.
        service: The client's base URL, for the manifest.
        clock: Time source.
        policy: Retries of failed requests.
        progress: Progress callbacks.

    Raises:
        UsageError: The directory or the options cannot be used.
        RequestError: The list of products could not be read.
    """
    directory = ArchiveDirectory(root)
    with directory.lock():
        store = ArchiveStore.open(directory, options.format)
        store.manifest.services["voltstorage"] = service
        store.manifest.parameters |= PARAMETERS
        run = ArchiveRun(store=store, client=client, policy=policy, progress=progress)
        now = (clock.utcnow() - CLOCK_SKEW).replace(microsecond=0)
        await run.archive_products(options.products, until=min(options.until or now, now))
        run.result.changed = store.changed
        return run.result


@define(kw_only=True, eq=False)
class ArchiveRun:
    """One run, product by product; statistics before history, because they are small and cover the most."""

    store: ArchiveStore
    client: VoltStorageClient
    policy: RetryPolicy
    progress: ProgressReport
    result: ArchiveResult = field(init=False)

    @result.default
    def _result(self) -> ArchiveResult:
        return ArchiveResult(manifest=self.store.manifest)

    async def archive_products(self, wanted: Sequence[int], *, until: datetime) -> None:
        """Archive the wanted products, or all if `wanted` is empty."""
        self.store.save()  # from now on the directory is recognised as an archive
        products = await self._read_products()
        unknown = [number for number in wanted if number not in products]
        self.result.missing += [f"product {number}: not in the account's list" for number in unknown]
        plans = [
            ProductPlan(product=product, until=until)
            for number, product in products.items()
            if not wanted or number in wanted
        ]
        self.progress.add_total(sum(map(self._count_steps, plans)))
        try:
            for plan in plans:
                await self._archive_product(plan)
        except RunStopped as stopped:
            self.result.missing.append(f"the run stopped: {stopped}")
        self.result.missing.extend(self.store.manifest.missing)

    async def _read_products(self) -> dict[int, Product]:
        """Read and save the list of products; the file keeps products that have left the list."""
        unreadable = self.client.drift.counts.get(_UNREADABLE_PRODUCT, 0)
        products = {product.id: product async for product in self.client.products.list()}
        if self.client.drift.counts.get(_UNREADABLE_PRODUCT, 0) > unreadable:
            self.result.missing.append("products: some of the account's list could not be read")
        try:
            known = {one["id"]: one for one in json.loads(self.store.directory.path(PRODUCTS).read_bytes())}
        except (OSError, ValueError, TypeError, LookupError):
            known = {}
        listed = known | {number: dict(product.raw) for number, product in products.items()}
        content = json.dumps([listed[number] for number in sorted(listed)], indent=1, ensure_ascii=False)
        self.store.write(
            PRODUCTS, len(listed), (None, None), lambda file: file.write(content.encode() + b"\n")
        )
        return dict(sorted(products.items()))

    def _count_steps(self, plan: ProductPlan) -> int:
        entry = self.store.manifest.products.get(plan.product.id, ProductEntry())
        days = (
            len(month.days(plan.until))
            for month in plan.months()
            if not self.store.is_final(entry.months.get(str(month)))
        )
        return sum(days) + sum(
            len(table.requests)
            for table in plan.tables()
            if not self.store.is_final(entry.tables.get(table.name))
        )

    async def _archive_product(self, plan: ProductPlan) -> None:
        entry = self.store.manifest.products.setdefault(plan.product.id, ProductEntry())
        if not plan.begun:  # the entry of an earlier run with a later end stays
            entry.last_day = entry.last_day or plan.until.date()
            self.store.save()
            self._note(plan, f"begins after {plan.until:%Y-%m-%d}, there is nothing to save")
            return
        missing = [*await self._archive_statistics(plan, entry), *await self._archive_history(plan, entry)]
        if entry.last_day is not None and plan.last_day < entry.last_day:
            # An earlier run with a later end read days that this run has not.
            missing = list(dict.fromkeys([*missing, *entry.missing]))
        else:
            entry.last_day = plan.last_day
        entry.missing = missing
        self.store.save()
        self._add_notes(plan.product, entry)

    async def _archive_statistics(self, plan: ProductPlan, entry: ProductEntry) -> list[str]:
        """Archive the statistics; return one line for each table that could not be read."""
        missing: list[str] = []
        for table in plan.tables():
            if self.store.is_final(entry.tables.get(table.name)):
                continue
            self.progress.describe(f"{plan.product.id} {table.name}")
            try:
                rows = await read_statistics(self.client, plan.product.id, table, self.policy)
            except (PermissionDenied, NotFound) as error:
                # The other tables of this product would be refused too.
                return [*missing, f"statistics: {describe_error(error)}"]
            except RequestError as error:
                missing.append(f"{table.name}: {describe_error(error)}")
            else:
                self._write_table(plan, entry, table, rows)
            self.progress.step(len(table.requests))
        return missing

    def _write_table(
        self, plan: ProductPlan, entry: ProductEntry, table: StatisticsTable, statistics: StatisticsRows
    ) -> None:
        name = f"product-{plan.product.id}/{table.name}.{self.store.writer.suffix}"
        known = self.store.manifest.files.get(name)
        # The service may drop old data before it closes: an archive must not lose it.
        if known is not None and len(statistics.rows) < known.rows:
            self._note(plan, f"{table.name}: the service has fewer rows now, {known.rows} rows were kept")
            entry.tables[table.name].malformed = statistics.undated
            return
        final = plan.is_final(table.end)
        file = name if statistics.rows else None
        entry.tables[table.name] = SectionEntry(file=file, final=final, malformed=statistics.undated)
        if file is None:
            self.store.save()
            return
        self.store.write(
            name,
            len(statistics.rows),
            (statistics.first, statistics.last),
            lambda file: self.store.writer.table(statistics.columns, statistics.rows, file),
        )

    async def _archive_history(self, plan: ProductPlan, entry: ProductEntry) -> list[str]:
        """Archive the history; return one line for each stretch that could not be read."""
        reader = HistoryReader(
            client=self.client,
            directory=self.store.directory,
            plan=plan,
            policy=self.policy,
            progress=self.progress,
        )
        missing: list[MissingDay] = []
        for month in plan.months():
            known = entry.months.get(str(month))
            if known is not None and self.store.is_final(known):
                # A kill after the month was written may have left its staged days.
                reader.skip(empty=known.file is None)
                reader.staging.clear(month)
                continue
            self.progress.describe(f"{plan.product.id} {month}")
            try:
                result = await self._archive_month(reader, plan, entry, month)
            except HistoryRefused as refused:
                return [*summarize_missing(missing), f"history from {month} on: {refused}"]
            missing.extend(result.missing)
            if entry.months[str(month)].final:
                reader.staging.clear(month)
        return summarize_missing(missing)

    async def _archive_month(
        self, reader: HistoryReader, plan: ProductPlan, entry: ProductEntry, month: Month
    ) -> MonthResult:
        """Read a month and write its file; a staged day that was damaged in between is read again, once."""
        result = await reader.month(month, reread=entry.last_day)
        try:
            self._write_month(plan, entry, month, result)
        except DamagedDay as damage:
            self._note(plan, f"{damage}, and was read again")
            result = await reader.month(month, reread=entry.last_day)
            self._write_month(plan, entry, month, result)
        return result

    def _write_month(self, plan: ProductPlan, entry: ProductEntry, month: Month, result: MonthResult) -> None:
        name = f"product-{plan.product.id}/history-{month}.{self.store.writer.suffix}"
        known = entry.months.get(str(month))
        exists = known is not None and known.file == name and self.store.exists(name)
        for note in result.notes:
            self._note(plan, note)
        if exists and result.rows < self.store.manifest.files[name].rows:
            self._note(plan, f"{month}: the service has fewer rows now, the file was kept")
            return
        entry.months[str(month)] = SectionEntry(
            file=name if result.rows else None,
            final=plan.is_final(month.end) and not result.missing,
            malformed=result.malformed,
        )
        days = [day for day in result.days if day.rows]
        if not days or (exists and not result.changed):
            self.store.save()
            return
        self.store.write(
            name,
            result.rows,
            (days[0].first, days[-1].last),
            lambda file: self.store.writer.month(days, self.store.directory.root, file),
        )

    def _note(self, plan: ProductPlan, text: str) -> None:
        self.result.notes.append(f"product {plan.product.id}: {text}")

    def _add_notes(self, product: Product, entry: ProductEntry) -> None:
        """Add notes about the source: no history, offline, malformed rows, records without a time."""
        files = [section.file for _, section in sorted(entry.months.items()) if section.file is not None]
        last = self.store.manifest.files[files[-1]].last if files else None
        number = product.id
        if last is None:
            self.result.notes.append(f"product {number}: the service has no history of it")
        elif product.online is False:
            self.result.notes.append(f"product {number}: is offline, its last row is of {last}")
        if malformed := sum(section.malformed for section in entry.months.values()):
            self.result.notes.append(f"product {number}: {malformed} malformed rows at the source")
        for name, section in sorted(entry.tables.items()):
            if section.malformed:
                text = f"{name}: {section.malformed} records have no time and were left out"
                self.result.notes.append(f"product {number}: {text}")
