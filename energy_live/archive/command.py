"""What `energy-live archive` prints and returns."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from energy_core import SessionPool
from energy_core.clock import SystemClock
from energy_live.archive.archiver import Outcome, Wish, archive
from energy_live.archive.check import check
from energy_live.archive.manifest import Format, Manifest
from energy_live.archive.progress import meter
from energy_live.environment import VOLTSTORAGE_VARIABLES, Accounts
from energy_live.runner import FAILED, USAGE, UsageError, print_error, run

FORMATS: Final[Mapping[str, Format]] = {"csv": "csv", "parquet": "parquet"}
_ADVICE: Final = "restore the damaged files, or remove them and run the archive again"


def run_archive(directory: str, *, format: str | None, products: Sequence[int], until: object) -> int:  # noqa: A002
    """Run the archive with the environment's account; 0 when it is complete, 1 when something is missing."""
    root, outcomes = Path(directory), list[Outcome]()
    wish = Wish(
        format=FORMATS.get(format or ""),
        products=products,
        until=until if isinstance(until, datetime) else None,
    )

    async def work() -> None:
        outcomes.append(await _saved(root, wish))

    code = run(work())
    if not outcomes:
        return code or print_error("stopped; run it again to go on")
    _tell(summary(root, outcomes[0]))
    return FAILED if outcomes[0].missing else 0


async def _saved(root: Path, wish: Wish) -> Outcome:
    clock = SystemClock()
    accounts = Accounts.from_environment(os.environ)
    async with SessionPool() as pool:
        client = accounts.voltstorage(pool)
        if client is None:
            raise UsageError(f"an archive needs a VoltStorage account: set {VOLTSTORAGE_VARIABLES}")
        service = accounts.voltstorage_base_url
        with meter(clock) as told:
            return await archive(root, client, wish, service=service, clock=clock, meter=told)


def run_check(directory: str) -> int:
    """Check an archive; 0 when all is there and sound."""
    root = Path(directory)
    try:
        verdict = check(root)
    except UsageError as unusable:
        return print_error(unusable, USAGE)
    _tell(
        [
            _extent(root, verdict.manifest),
            *_listed("damaged", verdict.damage),
            *_listed("missing", verdict.missing),
            "every file is sound"
            if not verdict.damage
            else "restore the damaged files, or remove them and run the archive",
        ]
    )
    return FAILED if verdict.damage or verdict.missing else 0


def summary(root: Path, outcome: Outcome) -> list[str]:
    """Return what a run has come to, in lines."""
    return [
        f"{_extent(root, outcome.manifest)}, {outcome.changed} written now",
        *_listed("note", outcome.notes),
        *_listed("missing", outcome.missing),
        "incomplete; run it again for what is missing" if outcome.missing else "complete",
    ]


def _extent(root: Path, manifest: Manifest) -> str:
    files = manifest.files.values()
    rows, size = sum(one.rows for one in files), sum(one.bytes for one in files)
    return f"{root}: {len(files)} files ({manifest.format}), {rows:,} rows, {size / 1e6:,.1f} MB"


def _listed(kind: str, lines: Sequence[str]) -> Iterable[str]:
    return (f"  {kind}: {line}" for line in lines)


def _tell(lines: Iterable[str]) -> None:
    if sys.stdout is not None:
        for line in lines:
            sys.stdout.write("".join(char if char.isprintable() else " " for char in line) + "\n")
