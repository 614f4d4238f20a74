"""Command `archive`: its output and its exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from energy_core import SessionPool
from energy_core.clock import SystemClock
from energy_core.errors import EnergyError
from energy_live.archive.archiver import ArchiveOptions, ArchiveResult, archive
from energy_live.archive.check import check
from energy_live.archive.manifest import Format, Manifest
from energy_live.archive.progress_bar import progress_for_terminal
from energy_live.archive.sites import archive_sites
from energy_live.environment import VOLTSTORAGE_VARIABLES, VRM_VARIABLES, Accounts
from energy_live.runner import FAILED, USAGE, UsageError, print_error, run
from energy_live.watch import Selection
from voltstorage_async import VoltStorageClient
from vrm_async import VRMClient

_FORMATS: Final[Mapping[str, Format]] = {"csv": "csv", "parquet": "parquet"}


def run_archive(
    directory: str,
    *,
    format: str | None,  # noqa: A002
    selection: Selection,
    codes: Sequence[str],
    until: object,
    revise_days: int | None,
) -> int:
    """Archive the accounts of the environment and print a summary.

    Returns:
        The exit code: 0 if the archive is complete, 1 if data is missing or the run failed, 2 for wrong
        options.
    """
    root, results = Path(directory), list[ArchiveResult]()
    options = ArchiveOptions(
        format=_FORMATS.get(format or ""),
        products=selection.products,
        sites=selection.sites,
        codes=codes,
        until=until if isinstance(until, datetime) else None,
        revise=None if revise_days is None else timedelta(days=revise_days),
    )

    async def work() -> None:
        results.extend(await _archive_accounts(root, options))

    code = run(work())
    if not results:
        return code or print_error("stopped; run it again to continue")
    _print_lines(_summary(root, results))
    return FAILED if any(result.missing for result in results) else 0


async def _archive_accounts(root: Path, options: ArchiveOptions) -> list[ArchiveResult]:
    """Archive one account after the other; a failure of one does not stop the other."""
    clock = SystemClock()
    accounts = Accounts.from_environment(os.environ)
    results: list[ArchiveResult] = []
    failures: dict[str, EnergyError] = {}
    async with SessionPool() as pool:
        vrm, volt = _chosen(accounts.vrm(pool), accounts.voltstorage(pool), options)
        if volt is not None:
            try:
                with progress_for_terminal(clock) as progress:
                    service = accounts.voltstorage_base_url
                    results.append(
                        await archive(root, volt, options, service=service, clock=clock, progress=progress)
                    )
            except EnergyError as error:
                failures["VoltStorage"] = error
        if vrm is not None:
            try:
                with progress_for_terminal(clock) as progress:
                    service = accounts.vrm_base_url
                    results.append(
                        await archive_sites(
                            root, vrm, options, service=service, clock=clock, progress=progress
                        )
                    )
            except EnergyError as error:
                failures["VRM"] = error
    if not results:
        raise next(iter(failures.values()))
    results[-1].missing += [f"{vendor}: {error}" for vendor, error in failures.items()]
    return results


def _chosen(
    vrm: VRMClient | None, volt: VoltStorageClient | None, options: ArchiveOptions
) -> tuple[VRMClient | None, VoltStorageClient | None]:
    """Return the accounts to archive.

    Raises:
        UsageError: The environment lacks one that the options need, or has none.
    """
    of_vrm = {"--site": options.sites, "--code": options.codes, "--revise": options.revise}
    given = next((name for name, value in of_vrm.items() if value), None)
    if given is not None and vrm is None:
        raise UsageError(f"{given} needs a VRM access token: set {VRM_VARIABLES}")
    if options.products and volt is None:
        raise UsageError(f"--product needs a VoltStorage account: set {VOLTSTORAGE_VARIABLES}")
    if vrm is None and volt is None:
        raise UsageError(
            f"an archive needs an account: set {VRM_VARIABLES} for Victron VRM, "
            f"{VOLTSTORAGE_VARIABLES} for VoltStorage"
        )
    if options.sites and not options.products:
        return vrm, None
    if options.products and not options.sites:
        return None, volt
    return vrm, volt


def run_check(directory: str) -> int:
    """Verify an archive and print the result.

    Returns:
        The exit code: 0 if all files are there and intact, 1 if not, 2 if there is no archive.
    """
    root = Path(directory)
    try:
        result = check(root)
    except UsageError as error:
        return print_error(error, USAGE)
    _print_lines(
        [
            _totals(root, result.manifest),
            *_labelled("damaged", result.damage),
            *_labelled("missing", result.missing),
            "restore the damaged files, or remove them and run the archive again"
            if result.damage
            else "every file is intact",
        ]
    )
    return FAILED if result.damage or result.missing else 0


def _summary(root: Path, results: Sequence[ArchiveResult]) -> list[str]:
    # Each result lists what the whole archive misses.
    missing = list(dict.fromkeys(line for result in results for line in result.missing))
    changed = sum(result.changed for result in results)
    return [
        f"{_totals(root, results[-1].manifest)}, {changed} written now",
        *_labelled("note", [note for result in results for note in result.notes]),
        *_labelled("missing", missing),
        "incomplete; run it again to fetch the missing data" if missing else "complete",
    ]


def _totals(root: Path, manifest: Manifest) -> str:
    files = manifest.files.values()
    rows, size = sum(one.rows for one in files), sum(one.bytes for one in files)
    return f"{root}: {len(files)} files ({manifest.format}), {rows:,} rows, {size / 1e6:,.1f} MB"


def _labelled(label: str, lines: Sequence[str]) -> Iterable[str]:
    return (f"  {label}: {line}" for line in lines)


def _print_lines(lines: Iterable[str]) -> None:
    if sys.stdout is not None:
        for line in lines:
            # Control characters in a server's message must not reach the terminal.
            sys.stdout.write("".join(char if char.isprintable() else " " for char in line) + "\n")
