"""Where a consumer stopped: a small JSON without secrets, and a file that is replaced as a whole."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from os.path import commonprefix
from pathlib import Path
from typing import Final, NoReturn, Protocol, Self

from attrs import field, frozen

from energy_core.atomic_file import replace_file
from energy_core.errors import CheckpointError
from energy_core.printable import printable, printable_class
from energy_core.stream.event import StreamPosition
from energy_core.stream.vocabulary import Quantity, SourceId

VERSION: Final = 1

LARGEST: Final = 64 * 1024 * 1024
"""Bytes; a larger file is not a checkpoint."""

_LAST: Final = 253_402_300_799
"""The last second there is."""

Positions = Mapping[SourceId, StreamPosition]

_MOST: Final = 2**53 - 1
"""No count of ours is larger, nor any number that every reader of JSON reads."""

_EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(2200, 1, 1, tzinfo=UTC)

_FROM_CREDENTIAL: Final = re.compile(r"(?:token|login)-[0-9a-f]{8}|demo")


def from_credential(source: SourceId) -> bool:
    """Whether an older version made the account's label of its credential."""
    return _FROM_CREDENTIAL.fullmatch(source.account) is not None


@printable_class
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
        if not text.strip():
            _refuse("is empty")
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


def _entry(owner: SourceId, source: SourceId, at: StreamPosition) -> list[object]:
    """Return one position; what many ids begin with is written once."""
    site = None if source.site == owner.site else source.site
    prefix = commonprefix(at.ids)  # noqa: RUF071  (of texts, not of paths)
    rest = [each[len(prefix) :] for each in at.ids]
    entry: list[object] = [
        site,
        source.instance,
        at.time.isoformat(),
        at.seq,
        prefix,
        rest,
        _bits(at.quantities),
    ]
    if at.seen or at.pending:
        stretches = [[int(each.timestamp()) for each in stretch] for stretch in at.pending]
        entry += [_bits(at.seen), stretches]
    return entry


def _bits(quantities: frozenset[Quantity]) -> int:
    return sum(1 << number for number, each in enumerate(Quantity) if each in quantities)


def _quantities(bits: object) -> frozenset[Quantity]:
    held = _whole(bits, least=0, most=(1 << len(Quantity)) - 1)
    return frozenset(each for number, each in enumerate(Quantity) if held >> number & 1)


def _stretch(said: object) -> tuple[datetime, datetime]:
    match said:
        case [start, end]:
            first, last = (_whole(each, least=0, most=_LAST) for each in (start, end))
            return datetime.fromtimestamp(first, UTC), datetime.fromtimestamp(max(first, last), UTC)
    raise TypeError


def _owner(said: Mapping[str, object]) -> tuple[SourceId, Positions]:
    owner, at = _source_id(said["id"]), said["at"]
    if not isinstance(at, list):
        raise TypeError
    return owner, dict(_position(owner, each) for each in at)


def _source_id(said: object) -> SourceId:
    match said:
        case [vendor, account, site, instance]:
            return SourceId(_text(vendor), _text(account), _text(site), _whole(instance))
    raise TypeError


def _position(owner: SourceId, said: object) -> tuple[SourceId, StreamPosition]:
    match said:
        case [site, instance, stamp, seq, prefix, list(rest), held, *others]:
            seen, stretches = others or (0, [])
            if not isinstance(stretches, list):
                raise TypeError
            where = owner.site if site is None else _text(site)
            source = SourceId(owner.vendor, owner.account, where, _whole(instance))
            beginning = _text(prefix)
            return source, StreamPosition(
                time=_moment(_text(stamp)),
                seq=_whole(seq, least=0),
                ids=tuple(beginning + _text(each) for each in rest),
                quantities=_quantities(held),
                seen=_quantities(seen),
                pending=tuple(_stretch(each) for each in stretches),
            )
    raise TypeError


def _text(value: object) -> str:
    """Return a text that can be written again: half a surrogate pair cannot."""
    if not isinstance(value, str):
        raise TypeError
    value.encode()
    return value


def _whole(value: object, *, least: int = -_MOST, most: int = _MOST) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError
    if not least <= value <= most:
        raise ValueError(value)
    return value


def _moment(stamp: str) -> datetime:
    """Return a moment with which times can be computed: the first and last of the calendar are not."""
    time = datetime.fromisoformat(stamp)
    if time.tzinfo is None or not _EARLIEST <= time <= _LATEST:
        raise ValueError(stamp)
    return time.astimezone(UTC)


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
        self.path = str(path)
        """Where the file is, as it was given."""
        self._path = Path(path)
        self._turn = asyncio.Lock()
        self._writing: asyncio.Future[None] | None = None

    async def load(self) -> str | None:
        """Return what the file holds; None when there is none.

        Raises:
            CheckpointError: it cannot be read.
        """
        return await asyncio.to_thread(self._read)

    async def save(self, text: str) -> None:
        """Replace the file, durably. Cancelling it lets the replacement finish, before the next one begins.

        Raises:
            CheckpointError: it cannot be written; the file before it is untouched.
        """
        async with self._turn:
            loop, writing = asyncio.get_running_loop(), self._writing
            if writing is not None and not writing.done() and writing.get_loop() is loop:
                await asyncio.wait([writing])  # of a save that was cancelled: it would undo this one
            self._writing = writing = loop.run_in_executor(None, self._replace, text)
            writing.add_done_callback(_retrieve)
            await asyncio.shield(writing)

    def _read(self) -> str | None:
        try:
            if self._path.stat().st_size > LARGEST:
                self._fail("the checkpoint file is too large to be one", "corrupt")
            return self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except UnicodeDecodeError:
            self._fail("the checkpoint file is not text", "corrupt")
        except OSError as trouble:
            self._fail(f"the checkpoint file cannot be read, {trouble.strerror}", "unreadable")

    def _replace(self, text: str) -> None:
        try:
            replace_file(self._path, text.encode())
        except OSError as error:
            self._fail(f"the checkpoint file cannot be written, {error.strerror}", "unwritable")

    def _fail(self, fault: str, kind: str) -> NoReturn:
        raise CheckpointError(fault, kind=kind, path=self.path) from None

    @printable
    def __repr__(self) -> str:
        return f"<FileCheckpoint {self._path.name}>"


def _retrieve(writing: asyncio.Future[None]) -> None:
    """Take the error of a save that nothing waits for any more."""
    if not writing.cancelled():
        writing.exception()
