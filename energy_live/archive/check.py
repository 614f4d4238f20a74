"""Verifies an archive against its manifest; needs no account and no network.

A module of its own, so that `--check` imports neither a client nor the code that fetches.
"""

from __future__ import annotations

from pathlib import Path

from attrs import frozen

from energy_live.archive.directory import ArchiveDirectory, sha256_of
from energy_live.archive.manifest import Manifest, ManifestError
from energy_live.runner import UsageError


@frozen(kw_only=True)
class CheckResult:
    """Result of `check`; an archive is complete and intact if both lists are empty."""

    manifest: Manifest
    damage: list[str]
    """One line for each file that differs from the manifest."""
    missing: list[str]
    """One line for each part of the account's data that no run could read, with the reason."""


def check(root: Path) -> CheckResult:
    """Compare size and checksum of every file with the manifest.

    Args:
        root: The archive's directory.

    Raises:
        UsageError: The directory holds no archive.
    """
    try:
        manifest = Manifest.load(root)
    except ManifestError as error:
        unknown = Manifest(format="csv")
        return CheckResult(manifest=unknown, damage=[str(error)], missing=[])
    if manifest is None:
        raise UsageError(f"{root} holds no archive")
    directory = ArchiveDirectory(root)
    damage = [
        f"{name}: {problem}"
        for name in sorted(manifest.files)
        if (problem := _damage_of(directory, manifest, name))
    ]
    return CheckResult(manifest=manifest, damage=damage, missing=list(manifest.missing))


def _damage_of(directory: ArchiveDirectory, manifest: Manifest, name: str) -> str:
    """Return a description of a file's damage, or an empty string."""
    entry = manifest.files[name]
    path = directory.path(name)
    if not path.resolve().is_relative_to(directory.root.resolve()):
        return "lies outside of the archive"
    try:
        size = path.stat().st_size
        intact = size == entry.bytes and sha256_of(path) == entry.sha256
    except FileNotFoundError:
        size, intact = None, False
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    if intact:
        return ""
    temporary = directory.temporary_path(name)
    if temporary.is_file() and sha256_of(temporary) == entry.sha256:
        return "a run was stopped before it renamed this file; run the archive again"
    if size is None:
        return "is missing"
    return f"has {size} bytes instead of {entry.bytes}" if size != entry.bytes else "was changed or damaged"
