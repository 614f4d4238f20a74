"""Archives a VRM account: the hourly statistics of every site from its first day on.

The counterpart of `archiver`. One file holds one site's UTC year. Several sites are read at the same time, so
that VRM's rate limit and not its response time decides how long a run takes.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

from attrs import define, field

from energy_core.clock import Clock
from energy_core.errors import NotFound, PermissionDenied, RequestError
from energy_live.archive.archiver import CLOCK_SKEW, ArchiveOptions, ArchiveResult
from energy_live.archive.directory import ArchiveDirectory
from energy_live.archive.manifest import SiteEntry, YearEntry
from energy_live.archive.progress_bar import NoProgress, ProgressReport
from energy_live.archive.retry import RetryPolicy, RunStopped, describe_error
from energy_live.archive.store import ArchiveStore
from energy_live.archive.year_table import SiteYear, YearTable
from vrm_async import VRMClient
from vrm_async.history.base import REREAD
from vrm_async.models import Site

SITES: Final = "sites.json"
WORKERS: Final = 8
"""Sites that are read at the same time: more than VRM's limit of six requests in flight."""
PARAMETERS: Final = {
    "vrm.interval": "hours",
    "vrm.time": "start of the hour, UTC",
    "vrm.statistics": "kWh an hour",
    "vrm.codes": "mean of the hour, .minimum and .maximum, in VRM's unit of the code",
    "vrm.empty": "VRM sent no value, never zero",
}
_HOUR: Final = timedelta(hours=1)
_CHUNK: Final = timedelta(days=31)
"""The longest range of one request for hours; for the progress bar."""
_NO_SITE_BEFORE: Final = datetime(2000, 1, 1, tzinfo=UTC)
"""VRM went online later."""
_STATISTICS: Final = "statistics"
_CODES: Final = "codes"


async def archive_sites(
    root: Path,
    client: VRMClient,
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
        options: Format, sites, codes, end of the archive, and how much is read again.
        service: The client's base URL, for the manifest.
        clock: Time source.
        policy: Retries of failed requests.
        progress: Progress callbacks.

    Raises:
        UsageError: The directory or the options cannot be used.
        RequestError: The list of sites could not be read.
    """
    directory = ArchiveDirectory(root)
    with directory.lock():
        store = ArchiveStore.open(directory, options.format)
        store.manifest.services["vrm"] = service
        store.manifest.parameters |= PARAMETERS
        now = clock.utcnow() - CLOCK_SKEW
        until = min(options.until or now, now).replace(minute=0, second=0, microsecond=0)
        run = SiteArchiveRun(
            store=store, client=client, policy=policy, progress=progress, options=options, until=until
        )
        try:
            await run.archive()
        finally:
            store.flush()
        run.result.changed = store.changed
        return run.result


class _Reading(NamedTuple):
    """A range of one file that has to be read."""

    file: SiteYear
    start: datetime
    end: datetime
    merge: bool
    """Whether the file's other hours stay."""

    @property
    def requests(self) -> int:
        return -((self.start - self.end) // _CHUNK)


@define(kw_only=True, eq=False)
class SiteArchiveRun:
    """One run over the sites of an account."""

    store: ArchiveStore
    client: VRMClient
    policy: RetryPolicy
    progress: ProgressReport
    options: ArchiveOptions
    until: datetime
    """End of the last whole hour to save."""
    result: ArchiveResult = field(init=False)
    _codes: list[str] = field(init=False)
    _found_codes: set[str] | None = field(default=None, init=False)
    """Columns of the files of codes that this run has read; None if it has read none."""

    @result.default
    def _result(self) -> ArchiveResult:
        return ArchiveResult(manifest=self.store.manifest)

    @_codes.default
    def _all_codes(self) -> list[str]:
        """Return the codes of this run and of the archive."""
        years = (year for site in self.store.manifest.sites.values() for year in site.years.values())
        return sorted({*self.options.codes, *(code for year in years for code in year.codes)})

    async def archive(self) -> None:
        """Archive the wanted sites, or all."""
        self.store.save()  # from now on the directory is recognised as an archive
        sites = await self._read_sites()
        wanted = self.options.sites
        self.result.missing += [
            f"site {number}: not in the account's list" for number in wanted if number not in sites
        ]
        waiting = [site for number, site in sites.items() if not wanted or number in wanted]
        self.progress.add_total(sum(one.requests for site in waiting for one in self._readings(site)))
        queue = iter(waiting)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(WORKERS, len(waiting))):
                    group.create_task(self._archive_next(queue))
        except ExceptionGroup as failures:
            failure = failures.exceptions[0]
            if not isinstance(failure, RunStopped):
                raise failure from None
            self.result.missing.append(f"the run stopped: {failure}")
        self._add_notes()
        self.result.missing.extend(self.store.manifest.missing)

    async def _read_sites(self) -> dict[int, Site]:
        """Read and save the list of sites; the file keeps sites that have left the list."""
        sites = {site.id: site for site in await self.client.sites()}
        try:
            known = {one["idSite"]: one for one in json.loads(self.store.directory.path(SITES).read_bytes())}
        except (OSError, ValueError, TypeError, LookupError):
            known = {}
        listed = known | {number: _record(site) for number, site in sites.items()}
        content = json.dumps([listed[number] for number in sorted(listed)], indent=1, ensure_ascii=False)
        self.store.write(SITES, len(listed), (None, None), lambda file: file.write(content.encode() + b"\n"))
        return dict(sorted(sites.items()))

    async def _archive_next(self, queue: Iterator[Site]) -> None:
        for site in queue:
            await self._archive_site(site)

    async def _archive_site(self, site: Site) -> None:
        entry = self.store.manifest.sites.setdefault(site.id, SiteEntry())
        if not self._is_dated(site):
            entry.missing = ["VRM sent no usable time of its creation, so its first day is not known"]
            return
        missing: list[str] = []
        for reading in self._readings(site, verified=True):
            self.progress.describe(f"{site.id} {reading.file.year}")
            try:
                table = await self._read(site, reading)
            except (PermissionDenied, NotFound) as error:
                missing.append(f"{reading.file.kind}: {describe_error(error)}")
                break
            except RequestError as error:
                # The service has a problem: the rest of the site is left to the next run.
                missing.append(f"{reading.file} and what follows: {describe_error(error)}")
                break
            self._save(site, entry, reading, table)
            self.store.flush_if_due()
        entry.missing = missing
        if not missing:
            entry.until = max(entry.until or self.until, self.until)

    def _is_dated(self, site: Site) -> bool:
        # A site that was created after the end of the archive has nothing to save, which is no failure.
        return site.created is not None and site.created >= _NO_SITE_BEFORE

    def _readings(self, site: Site, *, verified: bool = False) -> Iterator[_Reading]:
        """Return what has to be read of a site, the oldest first.

        Args:
            site: The site.
            verified: Whether a year whose file is damaged is read again as a whole.
        """
        if site.created is None or not self._is_dated(site):
            return
        first = max(site.created.replace(minute=0, second=0, microsecond=0), _NO_SITE_BEFORE)
        for kind in (_STATISTICS, _CODES) if self._codes else (_STATISTICS,):
            for year in range(first.year, self.until.year + 1):
                file = SiteYear(kind, year)
                start, end = max(file.start, first), min(file.end, self.until)
                reading = self._reading(site, file, start, end)
                if reading is None or reading.start >= reading.end:
                    continue
                damaged = verified and reading.merge and not self.store.is_intact(self._name(site, file))
                yield _Reading(file, start, end, merge=False) if damaged else reading

    def _reading(self, site: Site, file: SiteYear, start: datetime, end: datetime) -> _Reading | None:
        entry = self.store.manifest.sites.get(site.id, SiteEntry())
        known = entry.years.get(str(file))
        if (
            known is None
            or known.codes != self._codes_of(file)
            or (known.file is not None and not self.store.exists(known.file))
        ):
            return _Reading(file, start, end, merge=self.store.exists(self._name(site, file)))
        if self.options.revise is not None:
            start = max(start, min(known.settled_until, self.until - self.options.revise))
        elif known.until >= end:
            return None
        else:
            start = max(start, known.settled_until)
        return _Reading(file, start, end, merge=known.file is not None)

    def _name(self, site: Site, file: SiteYear) -> str:
        return f"site-{site.id}/{file}.{self.store.writer.suffix}"

    def _codes_of(self, file: SiteYear) -> list[str]:
        return self._codes if file.kind == _CODES else []

    async def _read(self, site: Site, reading: _Reading) -> YearTable:
        """Request a range, one request for each 31 days.

        Raises:
            RequestError: One of the requests failed.
            RunStopped: The account or the service cannot be reached any more.
        """
        table = YearTable()
        chunks = self.client.stats.history(
            site,
            reading.start,
            reading.end,
            interval="hours",
            attribute_codes=self._codes_of(reading.file) or None,
            timezone=UTC,
        )
        while (chunk := await self.policy.call(lambda: anext(chunks, None))) is not None:
            self.progress.add_rows(table.add(chunk.data))
            self.progress.step()
        return table

    def _save(self, site: Site, entry: SiteEntry, reading: _Reading, table: YearTable) -> None:
        name = self._name(site, reading.file)
        known = self.store.manifest.files.get(name)
        if reading.merge:
            lines = self.store.writer.read_table(self.store.directory.path(name))
            table = table.merged_with(YearTable.of_cells(lines), reading.start)
        elif known is not None and len(table.rows) < known.rows:
            self._note(site, f"{reading.file}: the file is damaged and VRM has fewer rows now; restore it")
            return
        self._add_table_notes(site, reading.file, table)
        if table.rows:
            columns, rows = table.cells()
            self.store.stage(
                name,
                len(rows),
                (rows[0][columns[0]], rows[-1][columns[0]]),
                lambda file: self.store.writer.table(columns, rows, file),
            )
        before = entry.years.get(str(reading.file))
        if before is not None and before.codes != self._codes_of(reading.file):
            before = None  # the new codes are not read any further
        settled = min(reading.file.end, max(reading.start, self.until - REREAD))
        entry.years[str(reading.file)] = YearEntry(
            file=name if table.rows else None,
            until=reading.end if before is None else max(before.until, reading.end),
            settled_until=settled if before is None else max(before.settled_until, settled),
            codes=self._codes_of(reading.file),
        )

    def _add_table_notes(self, site: Site, file: SiteYear, table: YearTable) -> None:
        if file.kind == _CODES:
            self._found_codes = (self._found_codes or set()) | table.codes
        if table.revised:
            self._note(site, f"{file}: {table.revised} values were changed by late data")
        if table.withdrawn:
            self._note(site, f"{file}: VRM no longer sends {table.withdrawn} values, they were kept")

    def _note(self, site: Site, text: str) -> None:
        self.result.notes.append(f"site {site.id}: {text}")

    def _add_notes(self) -> None:
        self.result.notes.sort()  # sites end in any order
        if self._found_codes is not None:
            self.result.notes += [
                f"VRM sent no value of the code {code} in what was read now"
                for code in self._codes
                if code not in self._found_codes
            ]
        self.result.notes.append(
            f"VRM: hours from {self.until - REREAD:%Y-%m-%d %H:%M} UTC on may still change, and older ones "
            "where a gateway was offline: it sends its logs late. --revise 30 reads the last 30 days again"
        )


def _record(site: Site) -> dict[str, object]:
    """Return a site's record without what changes from minute to minute."""
    return {name: value for name, value in site.raw.items() if name not in {"last_timestamp", "alarm"}}
