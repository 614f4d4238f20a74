"""Where a consumer stopped: a small JSON without secrets, and a file that is replaced as a whole."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import tempfile
from collections.abc import Mapping
from datetime import datetime
from os.path import commonprefix
from pathlib import Path
from typing import Final, NoReturn, Protocol, Self

from attrs import field, frozen

from energy_core.errors import CheckpointError
from energy_core.stream.detail import SourceId
from energy_core.stream.event import Position
from energy_core.stream.quantity import Quantity

VERSION: Final = 1

LARGEST: Final = 64 * 1024 * 1024
"""Bytes; a larger file is not a checkpoint."""

Positions = Mapping[SourceId, Position]

_FROM_CREDENTIAL: Final = re.compile(r"(?:token|login)-[0-9a-f]{8}|demo")


def from_credential(source: SourceId) -> bool:
    """Whether an older version made the account's label of its credential."""
    return _FROM_CREDENTIAL.fullmatch(source.account) is not None


@frozen
class Checkpoint:
    """Where a consumer stopped in every source, grouped by the source that speaks for them.

    Without an argument it says that nothing was consumed yet.
    """

    positions: Mapping[SourceId, Positions] = field(factory=dict)

    def to_json(self) -> str:
        """Return one line of JSON; docs/events.md describes it."""
        sources = [
            {"id": list(owner), "at": [_entry(owner, source, at) for source, at in positions.items()]}
            for owner, positions in self.positions.items()
        ]
        return json.dumps({"v": VERSION, "sources": sources}, separators=(",", ":"), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote.

        Raises:
            CheckpointError: it is damaged, or from a newer version.
        """
        try:
            loaded = json.loads(text)
        except (ValueError, RecursionError):
            _refuse("is not JSON")
        version = loaded.get("v") if isinstance(loaded, dict) else None
        if isinstance(version, int) and not isinstance(version, bool) and version > VERSION:
            raise CheckpointError(
                f"the checkpoint is of version {version}; this program knows {VERSION}", kind="version"
            )
        if version != VERSION or isinstance(version, bool):
            _refuse("has no version")
        try:
            return cls(dict(_owner(each) for each in loaded["sources"]))
        except (LookupError, TypeError, ValueError, AttributeError):
            _refuse("is damaged")


def _entry(owner: SourceId, source: SourceId, at: Position) -> list[object]:
    """Return one position; what many ids begin with is written once."""
    site = None if source.site == owner.site else source.site
    prefix = commonprefix(at.ids)  # noqa: RUF071  (of texts, not of paths)
    rest = [each[len(prefix) :] for each in at.ids]
    held = sum(1 << number for number, each in enumerate(Quantity) if each in at.quantities)
    return [site, source.instance, at.time.isoformat(), at.seq, prefix, rest, held]


def _owner(said: Mapping[str, object]) -> tuple[SourceId, Positions]:
    owner, at = _source_id(said["id"]), said["at"]
    if not isinstance(at, list):
        raise TypeError
    return owner, dict(_position(owner, each) for each in at)


def _source_id(said: object) -> SourceId:
    match said:
        case [str(vendor), str(account), str(site), int(instance)]:
            return SourceId(vendor, account, site, instance)
    raise TypeError


def _position(owner: SourceId, said: object) -> tuple[SourceId, Position]:
    match said:
        case [str() | None as site, int(instance), str(stamp), int(seq), str(prefix), list(rest), int(held)]:
            time = datetime.fromisoformat(stamp)
            if time.tzinfo is None or seq < 0 or not 0 <= held < 1 << len(Quantity):
                raise ValueError(stamp)
            source = SourceId(owner.vendor, owner.account, owner.site if site is None else site, instance)
            ids = tuple(prefix + _text(each) for each in rest)
            quantities = frozenset(each for number, each in enumerate(Quantity) if held >> number & 1)
            return source, Position(time=time, seq=seq, ids=ids, quantities=quantities)
    raise TypeError


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    raise TypeError


def _refuse(fault: str) -> NoReturn:
    raise CheckpointError(f"the checkpoint {fault}", kind="corrupt") from None


class CheckpointStore(Protocol):
    """Anything that can keep one text: a file, a row of a database."""

    async def load(self) -> str | None:
        """Return what was saved last; None when nothing was."""

    async def save(self, text: str) -> None:
        """Keep it, in place of what was saved before, as a whole or not at all."""


class FileCheckpoint:
    """A file that only its owner can read, replaced as a whole; file I/O happens in a thread.

    One stream at a time: two would overwrite each other's.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._turn = asyncio.Lock()

    async def load(self) -> str | None:
        """Return what the file holds; None when there is none.

        Raises:
            CheckpointError: it cannot be read.
        """
        return await asyncio.to_thread(self._read)

    async def save(self, text: str) -> None:
        """Replace the file, durably. Cancelling it lets the replacement finish.

        Raises:
            CheckpointError: it cannot be written; the file before it is untouched.
        """
        async with self._turn:
            await asyncio.to_thread(self._replace, text)

    def _read(self) -> str | None:
        try:
            if self._path.stat().st_size > LARGEST:
                raise CheckpointError("the checkpoint file is too large to be one", kind="corrupt")
            return self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except UnicodeDecodeError:
            raise CheckpointError("the checkpoint file is not text", kind="corrupt") from None
        except OSError as trouble:
            raise CheckpointError(
                f"the checkpoint file cannot be read: {trouble.strerror}", kind="unreadable"
            ) from trouble

    def _replace(self, text: str) -> None:
        folder = self._path.parent
        try:
            handle, name = tempfile.mkstemp(prefix=f".{self._path.name}.", suffix=".new", dir=folder)  # 0600
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as file:
                    file.write(text)
                    file.flush()
                    os.fsync(file.fileno())
                Path(name).replace(self._path)
            except BaseException:
                with contextlib.suppress(OSError):
                    Path(name).unlink()
                raise
            _sync_folder(folder)
        except OSError as trouble:
            raise CheckpointError(
                f"the checkpoint file cannot be written: {trouble.strerror}", kind="unwritable"
            ) from trouble

    def __repr__(self) -> str:
        return f"<FileCheckpoint {self._path.name}>"


def _sync_folder(folder: Path) -> None:
    """Make the new name durable too, where a folder can be opened."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
