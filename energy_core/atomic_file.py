"""A file that is there whole or not at all."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

_PIECE: Final = 256 * 1024
"""Bytes that are collected before a thread writes them."""


class AtomicFile:
    """Writes beside the target and renames when all is written: ``async with Saving(path) as file``.

    The file is readable by its owner alone (mode 0600). After an error what was there before is left.

    Raises:
        IsADirectoryError, NotADirectoryError: the path does not name a file in a directory.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.written = 0
        """Bytes taken so far."""
        if self.path.is_dir():
            raise IsADirectoryError(f"the path names a directory, and a file is to be written: {self.path}")
        if not self.path.parent.is_dir():
            raise NotADirectoryError(f"there is no directory to write into: {self.path.parent}")
        self._file: IO[bytes] | None = None
        self._beside: Path | None = None
        self._waiting: list[bytes] = []
        self._size = 0

    async def __aenter__(self) -> Self:
        opening = asyncio.ensure_future(asyncio.to_thread(self._open))
        try:
            await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(lambda _: self._discard())  # a thread cannot be cancelled
            raise
        return self

    async def write(self, data: bytes) -> None:
        """Take some bytes."""
        self.written += len(data)
        self._size += len(data)
        self._waiting.append(data)
        if self._size >= _PIECE:
            await asyncio.to_thread(self._flush)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                await asyncio.to_thread(self._commit)
        finally:
            self._discard()

    def _open(self) -> None:
        number, name = tempfile.mkstemp(prefix=f".{self.path.name}.", suffix=".part", dir=self.path.parent)
        self._beside, self._file = Path(name), os.fdopen(number, "wb")

    def _flush(self) -> None:
        waiting, self._waiting, self._size = self._waiting, [], 0
        if self._file is not None:
            self._file.write(b"".join(waiting))

    def _commit(self) -> None:
        self._flush()
        if self._file is None or self._beside is None:
            return
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._beside.replace(self.path)
        self._beside = None
        _sync_directory(self.path.parent)

    def _discard(self) -> None:
        if self._file is not None:
            self._file.close()
        if self._beside is not None:
            self._beside.unlink(missing_ok=True)


def _sync_directory(directory: Path) -> None:
    """Make the new name last through a power cut, where the system lets a directory be opened."""
    try:
        number = os.open(directory, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(number)
    finally:
        os.close(number)
