"""Verifying an archive from its files alone."""

from __future__ import annotations

from pathlib import Path

from attrs import frozen

from energy_live.archive.directory import Folder, digest
from energy_live.archive.manifest import Damaged, Manifest
from energy_live.runner import UsageError


@frozen(kw_only=True)
class Verdict:
    """What is the matter with an archive."""

    manifest: Manifest
    damage: list[str]
    """Files that are not as the manifest says."""
    missing: list[str]
    """What no run could read."""


def check(root: Path) -> Verdict:
    """Compare every file with the manifest.

    Raises:
        UsageError: There is no archive.
    """
    try:
        manifest = Manifest.at(root)
    except Damaged as trouble:
        unknown = Manifest(format="csv", service="", parameters={})
        return Verdict(manifest=unknown, damage=[str(trouble)], missing=[])
    if manifest is None:
        raise UsageError(f"{root} holds no archive")
    folder = Folder(root)
    damage = [
        f"{name}: {found}" for name in sorted(manifest.files) if (found := _trouble(folder, manifest, name))
    ]
    return Verdict(manifest=manifest, damage=damage, missing=list(manifest.missing))


def _trouble(folder: Folder, manifest: Manifest, name: str) -> str:
    entry = manifest.files[name]
    path = folder.path(name)
    if not path.resolve().is_relative_to(folder.root.resolve()):
        return "lies outside of the archive"
    try:
        size = path.stat().st_size
        sound = size == entry.bytes and digest(path) == entry.sha256
    except FileNotFoundError:
        size, sound = None, False
    except OSError as refused:
        return f"cannot be read: {refused.strerror or refused}"
    if sound:
        return ""
    part = folder.part(name)
    if part.is_file() and digest(part) == entry.sha256:
        return "a run was stopped while it put this file in place; run the archive again"
    if size is None:
        return "is missing"
    return f"has {size} bytes instead of {entry.bytes}" if size != entry.bytes else "was changed or damaged"
