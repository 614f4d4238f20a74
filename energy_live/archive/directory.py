"""The archive's folder: files appear whole under their names, or not at all."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final

from energy_core.atomic_file import open_synced, rename
from energy_live.runner import UsageError

PART: Final = ".part"
LOCK: Final = ".lock"
_PRIVATE: Final = 0o600
"""What an archive holds is nobody else's business."""


class Folder:
    """A directory for one archive. Names are relative to it and made by us, never by a server."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, name: str) -> Path:
        """Return where a name leads."""
        return self.root / name

    def part(self, name: str) -> Path:
        """Return where a file is written before it gets its name: in the same directory, and hidden."""
        path = self.path(name)
        return path.with_name(f".{path.name}{PART}")

    @contextmanager
    def locked(self) -> Generator[None]:
        """Keep other runs out; a lock ends with its process, however that ends.

        Raises:
            UsageError: Another run has it, or this is no place for an archive.
        """
        with _understandable(self.root):
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self.root / LOCK, os.O_CREAT | os.O_RDWR, _PRIVATE)
        try:
            if not _lock(descriptor):
                raise UsageError(f"another run is writing to {self.root}")
            yield
        finally:
            os.close(descriptor)

    @contextmanager
    def writing(self, name: str) -> Generator[IO[bytes]]:
        """Write the part of a file; when the block has ended well, it is on the disk and awaits `promote`."""
        part = self.part(name)
        part.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open_synced(part) as file:
            yield file

    def promote(self, name: str, *, lasting: bool = True) -> None:
        """Give a written part its name, in place of what had it; `lasting`: even if the power fails now."""
        rename(self.part(name), self.path(name), durable=lasting)

    def drop(self, name: str) -> None:
        """Remove the part of a file, if there is one."""
        self.part(name).unlink(missing_ok=True)

    def put(self, name: str, content: bytes) -> bool:
        """Write a small file at once; a file that has this content already is not touched."""
        with suppress(OSError):
            if self.path(name).read_bytes() == content:
                return False
        with self.writing(name) as file:
            file.write(content)
        self.promote(name)
        return True

    def size(self, name: str) -> int | None:
        """Return a file's length in bytes, or None when it is not there."""
        try:
            return self.path(name).stat().st_size
        except OSError:
            return None

    def parts(self) -> list[Path]:
        """Return the parts that interrupted runs left."""
        return sorted(self.root.rglob(f".*{PART}"))


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _understandable(root: Path) -> Generator[None]:
    try:
        yield
    except OSError as refused:
        raise UsageError(f"cannot write to {root}: {refused.strerror or refused}") from None


def _lock(descriptor: int) -> bool:
    try:
        import fcntl  # noqa: PLC0415  (there is none on Windows, where this lock is left out)
    except ImportError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
