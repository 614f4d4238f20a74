"""A run of the archive: everything there is, put in place piece by piece."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from attrs import define, field, frozen

from energy_core.clock import Clock
from energy_core.errors import NotFound, PermissionDenied, RequestError
from energy_live.archive.directory import LOCK, PART, Folder
from energy_live.archive.history import PRECISION, Forbidden, Gathered, History, Missing, spans
from energy_live.archive.manifest import Damaged, Format, Manifest, PieceEntry, ProductEntry
from energy_live.archive.plan import Month, Scope, Table
from energy_live.archive.progress import Meter, Silence
from energy_live.archive.retry import Patience, Stopped, reason
from energy_live.archive.staging import DamagedDay
from energy_live.archive.statistics import Records, records
from energy_live.archive.store import Store
from energy_live.archive.writer import has_parquet
from energy_live.runner import UsageError
from voltstorage_async import Product, VoltStorageClient

PRODUCTS: Final = "products.json"
_UNREADABLE_PRODUCT: Final = ("Product", "record", "malformed")
"""How the client's drift counts a product that cannot be read."""
SKEW: Final = timedelta(minutes=1)
"""How far our clock may be ahead of the service's, which refuses questions about the future."""

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
class Wish:
    """What is to be archived, and how."""

    format: Format | None = None
    """None: as the archive is, or else Parquet where it can be written."""
    products: Sequence[int] = ()
    """Only these; all of the account's, where there are none."""
    until: datetime | None = None
    """Nothing recorded from this moment on; now, where it is None."""


@define(kw_only=True)
class Outcome:
    """What a run has come to."""

    manifest: Manifest
    changed: int = 0
    """Files written or replaced."""
    notes: list[str] = field(factory=list)
    missing: list[str] = field(factory=list)
    """What is not there, and why."""


async def archive(
    root: Path,
    client: VoltStorageClient,
    wish: Wish,
    *,
    service: str,
    clock: Clock,
    patience: Patience = Patience(),  # noqa: B008  (frozen)
    meter: Meter = Silence(),  # noqa: B008  (it has no state)
) -> Outcome:
    """Bring the archive at `root` up to date. It may be stopped at any moment, and run again.

    Raises:
        UsageError: The folder, or what is wished for, cannot be used.
        RequestError: Not even the list of products is to be had.
    """
    folder = Folder(root)
    with folder.locked():
        store = Store(folder, _manifest(folder, wish, service))
        store.recover()
        run = Run(store=store, client=client, patience=patience, meter=meter)
        now = (clock.utcnow() - SKEW).replace(microsecond=0)
        await run.everything(wish.products, until=min(wish.until or now, now))
        run.outcome.changed = store.changed
        return run.outcome


def _manifest(folder: Folder, wish: Wish, service: str) -> Manifest:
    try:
        known = Manifest.at(folder.root)
    except Damaged as damage:
        raise UsageError(f"{folder.root}: {damage}; archive into another folder") from None
    if known is None:
        others = [path.name for path in folder.root.iterdir() if path.name != LOCK and PART not in path.name]
        if others:
            raise UsageError(f"{folder.root} is not empty and holds no archive")
    kind = wish.format or ("parquet" if has_parquet() else "csv")
    if known is not None:
        if wish.format not in {None, known.format}:
            raise UsageError(f"{folder.root} is an archive in {known.format}; another format needs a new one")
        kind = known.format
    if kind == "parquet" and not has_parquet():
        raise UsageError("Parquet needs an extra: pip install 'energy-live[arrow]', or choose --format csv")
    return known or Manifest(format=kind, service=service, parameters=dict(PARAMETERS))


@define(kw_only=True, eq=False)
class Run:
    """One run, product by product, each with its statistics first: they are little and say much."""

    store: Store
    client: VoltStorageClient
    patience: Patience
    meter: Meter
    outcome: Outcome = field(init=False)

    @outcome.default
    def _outcome(self) -> Outcome:
        return Outcome(manifest=self.store.manifest)

    async def everything(self, wanted: Sequence[int], *, until: datetime) -> None:
        """Archive all products, or those that are wanted."""
        self.store.save()
        products = await self._products()
        strangers = [number for number in wanted if number not in products]
        self.outcome.missing += [f"product {number}: not in the account's list" for number in strangers]
        scopes = [
            Scope(product=product, until=until)
            for number, product in products.items()
            if not wanted or number in wanted
        ]
        self.meter.plan(sum(map(self._steps, scopes)))
        try:
            for scope in scopes:
                await self._product(scope)
        except Stopped as stopped:
            self.outcome.missing.append(f"the run stopped: {stopped}")
        self.outcome.missing.extend(self.store.manifest.missing)

    async def _products(self) -> dict[int, Product]:
        """Read the list of products and keep it; one that has left the list stays in the file."""
        unreadable = self.client.drift.counts.get(_UNREADABLE_PRODUCT, 0)
        products = {product.id: product async for product in self.client.products.list()}
        if self.client.drift.counts.get(_UNREADABLE_PRODUCT, 0) > unreadable:
            self.outcome.missing.append("products: some of the account's list could not be read")
        try:
            known = {one["id"]: one for one in json.loads(self.store.folder.path(PRODUCTS).read_bytes())}
        except (OSError, ValueError, TypeError, LookupError):
            known = {}
        listed = known | {number: dict(product.raw) for number, product in products.items()}
        content = json.dumps([listed[number] for number in sorted(listed)], indent=1, ensure_ascii=False)
        self.store.write(
            PRODUCTS, len(listed), (None, None), lambda file: file.write(content.encode() + b"\n")
        )
        return dict(sorted(products.items()))

    def _steps(self, scope: Scope) -> int:
        entry = self.store.manifest.products.get(scope.product.id, ProductEntry())
        days = (
            len(month.days(scope.until))
            for month in scope.months()
            if not self.store.final(entry.months.get(str(month)))
        )
        return sum(days) + sum(
            len(table.requests)
            for table in scope.tables()
            if not self.store.final(entry.tables.get(table.name))
        )

    async def _product(self, scope: Scope) -> None:
        entry = self.store.manifest.products.setdefault(scope.product.id, ProductEntry())
        if not scope.begun:  # what an earlier run with a later end has found stays
            entry.last_day = entry.last_day or scope.until.date()
            self.store.save()
            self._note(scope, f"begins after {scope.until:%Y-%m-%d}, there is nothing to save")
            return
        missing = [*await self._tables(scope, entry), *await self._history(scope, entry)]
        if entry.last_day is not None and scope.last_day < entry.last_day:
            # A run with a later end has seen what this one was not to look at.
            missing = list(dict.fromkeys([*missing, *entry.missing]))
        else:
            entry.last_day = scope.last_day
        entry.missing = missing
        self.store.save()
        self._remark(scope.product, entry)

    async def _tables(self, scope: Scope, entry: ProductEntry) -> list[str]:
        """Archive the statistics; returns what is missing of them."""
        missing: list[str] = []
        for table in scope.tables():
            if self.store.final(entry.tables.get(table.name)):
                continue
            self.meter.at(f"{scope.product.id} {table.name}")
            try:
                found = await records(self.client, scope.product.id, table, self.patience)
            except (PermissionDenied, NotFound) as refused:
                return [*missing, f"statistics: {reason(refused)}"]
            except RequestError as error:
                missing.append(f"{table.name}: {reason(error)}")
            else:
                self._keep_table(scope, entry, table, found)
            self.meter.step(len(table.requests))
        return missing

    def _keep_table(self, scope: Scope, entry: ProductEntry, table: Table, found: Records) -> None:
        name = f"product-{scope.product.id}/{table.name}.{self.store.writer.suffix}"
        known = self.store.manifest.files.get(name)
        if known is not None and len(found.rows) < known.rows:
            self._note(scope, f"{table.name}: the service has less now, {known.rows} rows were kept")
            entry.tables[table.name].malformed = found.undated
            return
        final = scope.final(table.end)
        if not found.rows:
            entry.tables[table.name] = PieceEntry(final=final, malformed=found.undated)
            self.store.save()
            return
        entry.tables[table.name] = PieceEntry(file=name, final=final, malformed=found.undated)
        self.store.write(
            name,
            len(found.rows),
            (found.first, found.last),
            lambda file: self.store.writer.table(found.columns, found.rows, file),
        )

    async def _history(self, scope: Scope, entry: ProductEntry) -> list[str]:
        """Archive the history; returns what is missing of it."""
        history = History(
            client=self.client,
            folder=self.store.folder,
            scope=scope,
            patience=self.patience,
            meter=self.meter,
        )
        missing: list[Missing] = []
        for month in scope.months():
            known = entry.months.get(str(month))
            if known is not None and self.store.final(known):
                history.skip(empty=known.file is None)
                history.stage.clear(month)
                continue
            self.meter.at(f"{scope.product.id} {month}")
            try:
                gathered = await self._month(history, scope, entry, month)
            except Forbidden as forbidden:
                return [*spans(missing), f"history from {month} on: {forbidden}"]
            missing.extend(gathered.missing)
            if entry.months[str(month)].final:
                history.stage.clear(month)
        return spans(missing)

    async def _month(self, history: History, scope: Scope, entry: ProductEntry, month: Month) -> Gathered:
        """Read a month and keep it; a day that has changed on the disk meanwhile is read again, once."""
        gathered = await history.month(month, again=entry.last_day)
        try:
            self._keep_month(scope, entry, month, gathered)
        except DamagedDay as damage:
            self._note(scope, f"{damage}, and was read again")
            gathered = await history.month(month, again=entry.last_day)
            self._keep_month(scope, entry, month, gathered)
        return gathered

    def _keep_month(self, scope: Scope, entry: ProductEntry, month: Month, gathered: Gathered) -> None:
        name = f"product-{scope.product.id}/history-{month}.{self.store.writer.suffix}"
        known = entry.months.get(str(month))
        there = known is not None and known.file == name and self.store.there(name)
        for note in gathered.notes:
            self._note(scope, note)
        if there and gathered.rows < self.store.manifest.files[name].rows:
            self._note(scope, f"{month}: less can be read now than before, the file was kept")
            return
        entry.months[str(month)] = PieceEntry(
            file=name if gathered.rows else None,
            final=scope.final(month.end) and not gathered.missing,
            malformed=gathered.malformed,
        )
        days = [day for day in gathered.days if day.rows]
        if not days or (there and not gathered.changed):
            self.store.save()
            return
        self.store.write(
            name,
            gathered.rows,
            (days[0].first, days[-1].last),
            lambda file: self.store.writer.month(days, self.store.folder.root, file),
        )

    def _note(self, scope: Scope, what: str) -> None:
        self.outcome.notes.append(f"product {scope.product.id}: {what}")

    def _remark(self, product: Product, entry: ProductEntry) -> None:
        """Say what is no loss of the archive, and yet worth knowing."""
        files = [piece.file for _, piece in sorted(entry.months.items()) if piece.file is not None]
        last = self.store.manifest.files[files[-1]].last if files else None
        number = product.id
        if last is None:
            self.outcome.notes.append(f"product {number}: the service has no history of it")
        elif product.online is False:
            self.outcome.notes.append(f"product {number}: is offline, its last value is of {last}")
        if malformed := sum(piece.malformed for piece in entry.months.values()):
            self.outcome.notes.append(f"product {number}: {malformed} rows could not be read, or not wholly")
        for name, piece in sorted(entry.tables.items()):
            if piece.malformed:
                what = f"{name}: {piece.malformed} records have no time and were left out"
                self.outcome.notes.append(f"product {number}: {what}")
