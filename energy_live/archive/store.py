"""Writes files of an archive together with their manifest entries.

A module of its own because the order of writes, which makes a kill at any moment safe, is decided here alone:
temporary file, manifest, rename.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import IO

from energy_live.archive.directory import TEMPORARY_SUFFIX, ArchiveDirectory, sha256_of
from energy_live.archive.manifest import NAME, FileEntry, Manifest, SectionEntry
from energy_live.archive.writer import writer_for


class ArchiveStore:
    """Files and manifest of one archive.

    Args:
        directory: Where the files are.
        manifest: The manifest, which every `write` changes.
    """

    def __init__(self, directory: ArchiveDirectory, manifest: Manifest) -> None:
        self.directory = directory
        self.manifest = manifest
        self.writer = writer_for(manifest.format)
        self.changed = 0
        """Number of files written or replaced so far."""

    def recover(self) -> None:
        """Finish or undo the writes of a killed run.

        A temporary file that the manifest lists is complete and gets its name. Any other is removed.
        """
        for temporary in self.directory.temporaries():
            path = temporary.with_name(temporary.name.removeprefix(".").removesuffix(TEMPORARY_SUFFIX))
            entry = self.manifest.files.get(path.relative_to(self.directory.root).as_posix())
            if entry is not None and sha256_of(temporary) == entry.sha256:
                temporary.replace(path)
            else:
                temporary.unlink()

    def write(
        self,
        name: str,
        rows: int,
        times: tuple[str | None, str | None],
        write: Callable[[IO[bytes]], object],
    ) -> None:
        """Write a file and its manifest entry. If the process is killed, `recover` finishes or undoes it.

        Args:
            name: The file.
            rows: Number of rows, for the manifest.
            times: Times of the first and last row, for the manifest.
            write: Writes the content to the open file.
        """
        with self.directory.write_temporary(name) as file:
            write(file)
        temporary = self.directory.temporary_path(name)
        size = temporary.stat().st_size
        entry = FileEntry(sha256=sha256_of(temporary), bytes=size, rows=rows, first=times[0], last=times[1])
        unchanged = self.manifest.files.get(name) == entry and self.directory.size(name) == size
        self.manifest.files[name] = entry
        # Before the rename: `recover` renames a temporary file only if the manifest has its checksum.
        self.save()
        if unchanged:
            self.directory.discard(name)
        else:
            self.directory.commit(name)
            self.changed += 1

    def save(self) -> None:
        """Write the manifest if it has changed."""
        self.directory.replace(NAME, self.manifest.to_bytes())

    def is_final(self, section: SectionEntry | None) -> bool:
        """Return whether a section is final and its file exists, so that it need not be read again."""
        return section is not None and section.final and (section.file is None or self.exists(section.file))

    def exists(self, name: str) -> bool:
        """Return whether a file exists in its full size; `check` compares checksums too."""
        entry = self.manifest.files.get(name)
        return entry is not None and self.directory.size(name) == entry.bytes
