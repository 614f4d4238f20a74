"""Command `archive`: its output and its exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from energy_core import SessionPool
from energy_core.clock import SystemClock
from energy_live.archive.archiver import ArchiveOptions, ArchiveResult, archive
from energy_live.archive.check import check
from energy_live.archive.manifest import Format, Manifest
from energy_live.archive.progress_bar import progress_for_terminal
from energy_live.environment import VOLTSTORAGE_VARIABLES, Accounts
from energy_live.runner import FAILED, USAGE, UsageError, print_error, run

_FORMATS: Final[Mapping[str, Format]] = {"csv": "csv", "parquet": "parquet"}


def run_archive(
    directory: str,
    *,
    format: str | None,  # noqa: A002
    products: Sequence[int],
    until: object,
) -> int:
    """Archive the account of the environment and print a summary.

    Returns:
        The exit code: 0 if the archive is complete, 1 if data is missing or the run failed, 2 for wrong
        options.
    """
    root, results = Path(directory), list[ArchiveResult]()
    options = ArchiveOptions(
        format=_FORMATS.get(format or ""),
        products=products,
        until=until if isinstance(until, datetime) else None,
    )

    async def work() -> None:
        results.append(await _archive_account(root, options))

    code = run(work())
    if not results:
        return code or print_error("stopped; run it again to continue")
    _print_lines(_summary(root, results[0]))
    return FAILED if results[0].missing else 0


async def _archive_account(root: Path, options: ArchiveOptions) -> ArchiveResult:
    clock = SystemClock()
    accounts = Accounts.from_environment(os.environ)
    async with SessionPool() as pool:
        client = accounts.voltstorage(pool)
        if client is None:
            raise UsageError(f"an archive needs a VoltStorage account: set {VOLTSTORAGE_VARIABLES}")
        service = accounts.voltstorage_base_url
        with progress_for_terminal(clock) as progress:
            return await archive(root, client, options, service=service, clock=clock, progress=progress)


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


def _summary(root: Path, result: ArchiveResult) -> list[str]:
    return [
        f"{_totals(root, result.manifest)}, {result.changed} written now",
        *_labelled("note", result.notes),
        *_labelled("missing", result.missing),
        "incomplete; run it again to fetch the missing data" if result.missing else "complete",
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
