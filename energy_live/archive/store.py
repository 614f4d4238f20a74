"""Writes files of an archive together with their manifest entries.

A module of its own because the order of writes, which makes a kill at any moment safe, is decided here alone:
temporary file, manifest, rename.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import IO, Self

from energy_live.archive.directory import LOCK_NAME, TEMPORARY_SUFFIX, ArchiveDirectory, sha256_of
from energy_live.archive.manifest import NAME, FileEntry, Format, Manifest, ManifestError, SectionEntry
from energy_live.archive.writer import has_parquet, writer_for
from energy_live.runner import UsageError


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
        self._staged: list[str] = []

    @classmethod
    def open(cls, directory: ArchiveDirectory, kind: Format | None) -> Self:
        """Open an archive whose directory is locked, and finish or undo the writes of a killed run.

        Args:
            directory: The archive's directory; an empty one becomes an archive.
            kind: The format; None for the archive's own, or Parquet if pyarrow is installed, otherwise CSV.

        Raises:
            UsageError: The directory holds something else, or the archive has another format.
        """
        root = directory.root
        try:
            known = Manifest.load(root)
        except ManifestError as error:
            raise UsageError(f"{root}: {error}; archive into another directory") from None
        if known is None and any(
            path.name != LOCK_NAME and TEMPORARY_SUFFIX not in path.name for path in root.iterdir()
        ):
            raise UsageError(f"{root} is not empty and holds no archive")
        wanted = kind or ("parquet" if has_parquet() else "csv")
        if known is not None:
            if kind not in {None, known.format}:
                raise UsageError(
                    f"{root} is an archive in {known.format}; another format needs a new directory"
                )
            wanted = known.format
        if wanted == "parquet" and not has_parquet():
            raise UsageError(
                "Parquet needs an extra: pip install 'energy-live[arrow]', or choose --format csv"
            )
        store = cls(directory, known or Manifest(format=wanted))
        # Under the lock, every temporary file belongs to a run that was killed.
        store.recover()
        return store

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
        self.stage(name, rows, times, write)
        self.flush()

    def stage(
        self,
        name: str,
        rows: int,
        times: tuple[str | None, str | None],
        write: Callable[[IO[bytes]], object],
    ) -> None:
        """Like `write`, but the file gets its name and the manifest is written with the next `flush`."""
        with self.directory.write_temporary(name) as file:
            write(file)
        temporary = self.directory.temporary_path(name)
        size = temporary.stat().st_size
        entry = FileEntry(sha256=sha256_of(temporary), bytes=size, rows=rows, first=times[0], last=times[1])
        self.manifest.files[name] = entry
        if self.is_intact(name):
            self.directory.discard(name)
        else:
            self._staged.append(name)

    def flush_if_due(self) -> None:
        """Flush once 2 % of the files are staged.

        The manifest grows with the files, so that writing it after each would take quadratic time. A kill
        loses the staged files.
        """
        if len(self._staged) * 50 >= len(self.manifest.files):
            self.flush()

    def flush(self) -> None:
        """Write the manifest, and rename the staged files to their names."""
        # Before the rename: `recover` renames a temporary file only if the manifest has its checksum.
        self.save()
        for name in self._staged:
            self.directory.commit(name)
            self.changed += 1
        self._staged.clear()

    def save(self) -> None:
        """Write the manifest if it has changed."""
        self.directory.replace(NAME, self.manifest.to_bytes())

    def is_final(self, section: SectionEntry | None) -> bool:
        """Return whether a section is final and its file exists, so that it need not be read again."""
        return section is not None and section.final and (section.file is None or self.exists(section.file))

    def is_intact(self, name: str) -> bool:
        """Return whether a file has the checksum of the manifest."""
        entry = self.manifest.files.get(name)
        return (
            entry is not None
            and self.directory.size(name) == entry.bytes
            and sha256_of(self.directory.path(name)) == entry.sha256
        )

    def exists(self, name: str) -> bool:
        """Return whether a file exists in its full size; `check` compares checksums too."""
        entry = self.manifest.files.get(name)
        return entry is not None and self.directory.size(name) == entry.bytes
