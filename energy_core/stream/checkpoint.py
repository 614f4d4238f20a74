"""`Checkpoint`: where a consumer stopped, as JSON without secrets; `FileCheckpoint`: a file that keeps it."""

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
from energy_core.stream.source import OpenAlarm, StreamPosition
from energy_core.stream.vocabulary import Quantity, SourceId

VERSION: Final = 1

LARGEST: Final = 64 * 1024 * 1024
"""Bytes; a larger file is rejected unread."""

_LAST: Final = 253_402_300_799
"""Unix time of the last second that `datetime` knows."""

Positions = Mapping[SourceId, StreamPosition]

_OPTIONAL: Final[tuple[object, ...]] = (0, [], [])
"""The last members of a position where they are left out: quantities seen before, pending spans, alarms."""

_MAX_INT: Final = 2**53 - 1
"""The largest integer that every JSON reader keeps exactly."""

_EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(2200, 1, 1, tzinfo=UTC)

_FROM_CREDENTIAL: Final = re.compile(r"(?:token|login)-[0-9a-f]{8}|demo")


def from_credential(source: SourceId) -> bool:
    """Return whether the account label has the form that older versions made of a credential."""
    return _FROM_CREDENTIAL.fullmatch(source.account) is not None


@printable_class
@frozen
class Checkpoint:
    """Where a consumer stopped, in every device of every source. `Checkpoint()` is an empty one."""

    positions: Mapping[SourceId, Positions] = field(factory=dict)
    """Positions by device, grouped by the source that the device belongs to."""

    def to_json(self) -> str:
        """Return one line of JSON; docs/events.md describes its members."""
        sources = [
            {"id": list(owner), "at": [_entry(owner, source, at) for source, at in positions.items()]}
            for owner, positions in self.positions.items()
        ]
        return json.dumps({"v": VERSION, "sources": sources}, separators=(",", ":"), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the checkpoint that `to_json` wrote.

        Args:
            text: One JSON object.

        Raises:
            CheckpointError: It is damaged (`kind="corrupt"`) or from a newer version (`kind="version"`).
        """
        if not text.strip():
            _refuse("is empty")
        try:
            loaded = json.loads(text)
        except (ValueError, RecursionError):
            _refuse("is not JSON")
        version = loaded.get("v") if isinstance(loaded, dict) else None
        # A newer version is no damage: the user has to update the program.
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
    """Return the JSON members of one position; the common prefix of its ids is written once."""
    # A VRM site may have forty devices, and all of it must fit into 4 kB.
    site: str | list[str] | None = None if source.site == owner.site else source.site
    if source[:2] != owner[:2]:  # a source that passes on what another program has received
        site = list(source[:3])
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
    if at.seen or at.pending or at.alarms:
        spans = [[int(each.timestamp()) for each in span] for span in at.pending]
        entry += [_bits(at.seen), spans]
    if at.alarms:
        entry.append([list(each) for each in at.alarms])
    return entry


def _bits(quantities: frozenset[Quantity]) -> int:
    return sum(1 << number for number, each in enumerate(Quantity) if each in quantities)


def _quantities(bits: object) -> frozenset[Quantity]:
    held = _whole(bits, least=0, most=(1 << len(Quantity)) - 1)
    return frozenset(each for number, each in enumerate(Quantity) if held >> number & 1)


def _span(value: object) -> tuple[datetime, datetime]:
    match value:
        case [start, end]:
            first, last = (_whole(each, least=0, most=_LAST) for each in (start, end))
            return datetime.fromtimestamp(first, UTC), datetime.fromtimestamp(max(first, last), UTC)
    raise TypeError


def _alarm(value: object) -> OpenAlarm:
    match value:
        case [name, text, device, instance]:
            held = None if instance is None else _whole(instance)
            return OpenAlarm(_text(name), _text(text), _text(device), held)
    raise TypeError


def _owner(members: Mapping[str, object]) -> tuple[SourceId, Positions]:
    owner, at = _source_id(members["id"]), members["at"]
    if not isinstance(at, list):
        raise TypeError
    return owner, dict(_position(owner, each) for each in at)


def _source_id(value: object) -> SourceId:
    match value:
        case [vendor, account, site, instance]:
            return SourceId(_text(vendor), _text(account), _text(site), _whole(instance))
    raise TypeError


def _position(owner: SourceId, value: object) -> tuple[SourceId, StreamPosition]:
    match value:
        case [site, instance, stamp, seq, prefix, list(rest), held, *others]:
            # Up to three further members follow only where they are not empty.
            if len(others) > len(_OPTIONAL):
                raise TypeError
            seen, spans, alarms = (*others, *_OPTIONAL[len(others) :])
            if not isinstance(spans, list) or not isinstance(alarms, list):
                raise TypeError
            source = _device(owner, site, _whole(instance))
            beginning = _text(prefix)
            return source, StreamPosition(
                time=_moment(_text(stamp)),
                seq=_whole(seq, least=0),
                ids=tuple(beginning + _text(each) for each in rest),
                quantities=_quantities(held),
                seen=_quantities(seen),
                pending=tuple(_span(each) for each in spans),
                alarms=tuple(map(_alarm, alarms)),
            )
    raise TypeError


def _device(owner: SourceId, site: object, instance: int) -> SourceId:
    match site:
        case None:
            return owner._replace(instance=instance)
        case [vendor, account, name]:
            return SourceId(_text(vendor), _text(account), _text(name), instance)
    return owner._replace(site=_text(site), instance=instance)


def _text(value: object) -> str:
    """Return a text that can be encoded; raises ValueError for half a surrogate pair."""
    if not isinstance(value, str):
        raise TypeError
    value.encode()
    return value


def _whole(value: object, *, least: int = -_MAX_INT, most: int = _MAX_INT) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError
    if not least <= value <= most:
        raise ValueError(value)
    return value


def _moment(stamp: str) -> datetime:
    """Return a time, between 1970 and 2200: adding to the first or last of `datetime` would overflow."""
    time = datetime.fromisoformat(stamp)
    if time.tzinfo is None or not _EARLIEST <= time <= _LATEST:
        raise ValueError(stamp)
    return time.astimezone(UTC)


def _refuse(fault: str) -> NoReturn:
    raise CheckpointError(f"the checkpoint {fault}", kind="corrupt") from None


class CheckpointStore(Protocol):
    """Stores one text, such as a file or a row of a database."""

    async def load(self) -> str | None:
        """Return the text saved last; None if there is none."""

    async def save(self, text: str) -> None:
        """Replace the saved text, completely or not at all. Any error is logged and saving is retried."""


class FileCheckpoint:
    """Stores a checkpoint in a file that only its owner can read. File I/O runs in a thread.

    Each save writes a temporary file, fsyncs it and renames it, so the file is never half written. Use one
    file for each stream: two streams would overwrite each other's position.

    Args:
        path: Path of the file; its folder must exist.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = str(path)
        """Path of the file, as given."""
        self._path = Path(path)
        self._lock = asyncio.Lock()
        self._writing: asyncio.Future[None] | None = None

    async def load(self) -> str | None:
        """Return the content of the file; None if it does not exist. Cancelling is safe.

        Raises:
            CheckpointError: The file cannot be read (`kind="unreadable"`), or is too large or not text
                (`kind="corrupt"`).
        """
        return await asyncio.to_thread(self._read)

    async def save(self, text: str) -> None:
        """Replace the file durably. Cancelling is safe: the replacement finishes before the next one starts.

        Args:
            text: The new content.

        Raises:
            CheckpointError: The file cannot be written (`kind="unwritable"`); the old one is unchanged.
        """
        async with self._lock:
            loop, writing = asyncio.get_running_loop(), self._writing
            if writing is not None and not writing.done() and writing.get_loop() is loop:
                await asyncio.wait([writing])  # a cancelled save, which would overwrite this one
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
        except OSError as error:
            self._fail(f"the checkpoint file cannot be read, {error.strerror}", "unreadable")

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
    """Retrieve the error of a cancelled save, or asyncio logs that it never was."""
    if not writing.cancelled():
        writing.exception()
