"""The archive's directory: file names, temporary files, and a lock against two runs at once."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final

from energy_core.atomic_file import open_synced, rename, try_lock
from energy_live.runner import UsageError

TEMPORARY_SUFFIX: Final = ".part"
LOCK_NAME: Final = ".lock"
_MODE: Final = 0o600


class ArchiveDirectory:
    """Files of one archive, written to temporary names first; only their owner can read them.

    Args:
        root: The directory. File names are relative to it; they are never taken from a server.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, name: str) -> Path:
        """Return the path of a file."""
        return self.root / name

    def temporary_path(self, name: str) -> Path:
        """Return the hidden path, in the same directory, that a file has while it is written."""
        path = self.path(name)
        return path.with_name(f".{path.name}{TEMPORARY_SUFFIX}")

    @contextmanager
    def lock(self) -> Generator[None]:
        """Create the directory and lock it; the operating system releases the lock when the process ends.

        Raises:
            UsageError: Another run holds the lock, or the directory cannot be written to.
        """
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)  # the data is private
            descriptor = os.open(self.root / LOCK_NAME, os.O_CREAT | os.O_RDWR, _MODE)
        except OSError as error:
            raise UsageError(f"cannot write to {self.root}: {error.strerror or error}") from None
        try:
            if not try_lock(descriptor):
                raise UsageError(f"another run is writing to {self.root}")
            yield
        finally:
            os.close(descriptor)

    @contextmanager
    def write_temporary(self, name: str) -> Generator[IO[bytes]]:
        """Open a file's temporary for writing; it is synced to disk when the block ends without an error."""
        temporary = self.temporary_path(name)
        temporary.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open_synced(temporary) as file:
            yield file

    def commit(self, name: str, *, durable: bool = True) -> None:
        """Rename a file's temporary to its name, replacing the file.

        Args:
            name: The file.
            durable: Whether the rename must survive a power failure from now on.
        """
        rename(self.temporary_path(name), self.path(name), durable=durable)

    def discard(self, name: str) -> None:
        """Remove a file's temporary, if there is one."""
        self.temporary_path(name).unlink(missing_ok=True)

    def replace(self, name: str, content: bytes) -> bool:
        """Replace a small file; returns False and leaves the file alone if it has this content already."""
        with suppress(OSError):
            if self.path(name).read_bytes() == content:
                return False
        with self.write_temporary(name) as file:
            file.write(content)
        self.commit(name)
        return True

    def size(self, name: str) -> int | None:
        """Return a file's size in bytes, or None if it does not exist."""
        try:
            return self.path(name).stat().st_size
        except OSError:
            return None

    def temporaries(self) -> list[Path]:
        """Return the temporary files that interrupted runs have left."""
        return sorted(self.root.rglob(f".*{TEMPORARY_SUFFIX}"))


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
