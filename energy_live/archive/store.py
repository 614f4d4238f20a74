"""The files of an archive and what its manifest says of them, kept in step through any kill."""

from __future__ import annotations

from collections.abc import Callable
from typing import IO

from energy_live.archive.directory import PART, Folder, digest
from energy_live.archive.manifest import NAME, FileEntry, Manifest, PieceEntry
from energy_live.archive.writer import writer


class Store:
    """A folder with its manifest."""

    def __init__(self, folder: Folder, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest
        self.writer = writer(manifest.format)
        self.changed = 0
        """Files written or replaced."""

    def recover(self) -> None:
        """Finish what a killed run had written whole and noted, and remove what it had not."""
        for part in self.folder.parts():
            path = part.with_name(part.name.removeprefix(".").removesuffix(PART))
            entry = self.manifest.files.get(path.relative_to(self.folder.root).as_posix())
            if entry is not None and digest(part) == entry.sha256:
                part.replace(path)
            else:
                part.unlink()

    def write(
        self,
        name: str,
        rows: int,
        ends: tuple[str | None, str | None],
        write: Callable[[IO[bytes]], object],
    ) -> None:
        """Write a file: first its part, then the manifest, then its name. A kill in between is made good."""
        with self.folder.writing(name) as file:
            write(file)
        part = self.folder.part(name)
        size = part.stat().st_size
        entry = FileEntry(sha256=digest(part), bytes=size, rows=rows, first=ends[0], last=ends[1])
        same = self.manifest.files.get(name) == entry and self.folder.size(name) == size
        self.manifest.files[name] = entry
        self.save()
        if same:
            self.folder.drop(name)
        else:
            self.folder.promote(name)
            self.changed += 1

    def save(self) -> None:
        """Write the manifest, if it says anything new."""
        self.folder.put(NAME, self.manifest.to_bytes())

    def final(self, piece: PieceEntry | None) -> bool:
        """Tell whether a piece is done for good, and its file where it should be."""
        return piece is not None and piece.final and (piece.file is None or self.there(piece.file))

    def there(self, name: str) -> bool:
        """Tell whether a file is there, by its length; `--check` looks closer."""
        entry = self.manifest.files.get(name)
        return entry is not None and self.folder.size(name) == entry.bytes
