"""Atomic file writes: write to a temporary file in the same directory, fsync it, rename it.

A reader of the target sees the old content or the new content, never a part of it. All files are created with
mode 0600.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

_MODE: Final = 0o600
_BUFFER_BYTES: Final = 256 * 1024
"""`AtomicFile` buffers this many bytes before it starts a thread to write them."""


class AtomicFile:
    """Writes a file from async code: ``async with AtomicFile(path) as file: await file.write(data)``.

    File I/O runs in threads. When the block raises or is cancelled, the temporary file is removed and the
    target is left as it was.

    Raises:
        IsADirectoryError: `path` is a directory.
        NotADirectoryError: the parent of `path` is not a directory.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = check_target(path)
        self.written = 0
        """Bytes passed to `write` so far."""
        self._file: IO[bytes] | None = None
        self._temporary: Path | None = None
        self._buffer: list[bytes] = []
        self._buffered = 0

    async def __aenter__(self) -> Self:
        opening = asyncio.ensure_future(asyncio.to_thread(self._open))
        try:
            await asyncio.shield(opening)
        except asyncio.CancelledError:
            # The thread goes on after a cancellation, so its file is removed once it has been created.
            opening.add_done_callback(lambda _: self._discard())
            raise
        return self

    async def write(self, data: bytes) -> None:
        """Append data to the temporary file."""
        self.written += len(data)
        self._buffered += len(data)
        self._buffer.append(data)
        if self._buffered >= _BUFFER_BYTES:
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
        self._temporary, self._file = _create_temporary(self.path)

    def _flush(self) -> None:
        buffer, self._buffer, self._buffered = self._buffer, [], 0
        if self._file is not None:
            self._file.write(b"".join(buffer))

    def _commit(self) -> None:
        self._flush()
        if self._file is None or self._temporary is None:
            return
        _sync_and_close(self._file)
        rename(self._temporary, self.path)
        self._temporary = None

    def _discard(self) -> None:
        if self._file is not None:
            self._file.close()
        if self._temporary is not None:
            self._temporary.unlink(missing_ok=True)


def check_target(path: str | os.PathLike[str]) -> Path:
    """Return the path of a file that may be written.

    Raises:
        IsADirectoryError: `path` is a directory.
        NotADirectoryError: the parent of `path` is not a directory.
    """
    target = Path(path)
    if target.is_dir():
        raise IsADirectoryError(f"the path is a directory, not a file: {target}")
    if not target.parent.is_dir():
        raise NotADirectoryError(f"the directory of the file does not exist: {target.parent}")
    return target


def replace_file(path: Path, content: bytes) -> None:
    """Replace the content of a file, durably. Blocks; an error leaves the file as it was.

    Raises:
        OSError: the file cannot be written.
    """
    temporary, file = _create_temporary(path)
    try:
        with file:
            file.write(content)
            _sync_and_close(file)
        rename(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


@contextmanager
def open_synced(path: Path) -> Generator[IO[bytes]]:
    """Create or truncate a file for reading and writing; it is fsynced when the block ends without an error.

    For a temporary file that the caller names, and renames later with `rename`.
    """
    flags = os.O_CREAT | os.O_TRUNC | os.O_RDWR | getattr(os, "O_BINARY", 0)
    with open(os.open(path, flags, _MODE), "w+b") as file:  # noqa: PTH123  (a descriptor)
        yield file
        _sync_and_close(file)


def rename(source: Path, target: Path, *, durable: bool = True) -> None:
    """Rename a file, replacing the target.

    Args:
        source: the present name.
        target: the new name, in the same directory.
        durable: fsync the directory, so that the new name survives a power failure.
    """
    source.replace(target)
    if durable:
        _sync_directory(target.parent)


def _create_temporary(path: Path) -> tuple[Path, IO[bytes]]:
    number, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)  # mode 0600
    return Path(name), os.fdopen(number, "wb")


def _sync_and_close(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())
    file.close()


def _sync_directory(directory: Path) -> None:
    # Some systems (Windows, some network file systems) cannot open or sync a directory.
    with suppress(OSError):
        number = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def try_lock(descriptor: int) -> bool:
    """Lock an open file for this process until it is closed; return False if another process has it."""
    try:
        import fcntl  # noqa: PLC0415  (Windows has no fcntl; there is no lock there)
    except ImportError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
