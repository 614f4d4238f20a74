"""Positions in a bucket: the `CheckpointStore` of one account, and what is left of its rate limit."""

from __future__ import annotations

import json
import zlib
from typing import Final

from attrs import asdict

from energy_core.errors import CheckpointError
from energy_core.http.token_bucket import SavedRateLimit
from energy_core.printable import printable
from energy_live.cluster.connection import POSITIONS, ClusterConnection
from energy_live.cluster.leases import read_object
from energy_live.cluster.problems import ClusterError, WrongRevision

_LARGEST: Final = 64 * 1024 * 1024
"""Bytes of a checkpoint; more is rejected."""


class ClusterCheckpoint:
    """Keeps a checkpoint in the bucket of positions, for one holder of a lease at a time.

    A checkpoint replaces exactly the one that was read or written last. So a host that lost the lease cannot
    overwrite the position of its successor.

    Args:
        connection: The connection.
        key: Names the checkpoint, such as ``vrm.home``.
        instance: Identifies this run of the collector.
    """

    def __init__(self, connection: ClusterConnection, key: str, instance: str) -> None:
        self.path = f"{POSITIONS} {key}"
        """Names the entry in errors."""
        self._connection = connection
        self._key = f"position.{key}"
        self._instance = instance.encode()
        self._revision = 0

    async def load(self) -> str | None:
        """Return the checkpoint; None if there is none. Cancelling is safe.

        Raises:
            CheckpointError: It is damaged (`kind="corrupt"`), or no server answers (`kind="unreadable"`).
        """
        try:
            entry = await self._connection.get(POSITIONS, self._key)
        except ClusterError as error:
            raise CheckpointError(str(error), kind="unreadable", path=self.path) from None
        self._revision = 0 if entry is None else entry.revision
        if entry is None or entry.deleted:
            return None
        _, _, packed = entry.value.partition(b"\n")
        unpacker = zlib.decompressobj()
        try:
            text = unpacker.decompress(packed, _LARGEST)
            if not unpacker.eof:
                raise CheckpointError("the position is too large or cut", path=self.path)
            return text.decode()
        except (zlib.error, UnicodeDecodeError):
            raise CheckpointError("the position is damaged", path=self.path) from None

    async def save(self, text: str) -> None:
        """Replace the checkpoint. Cancelling is safe: it is then replaced or not.

        Args:
            text: The new content.

        Raises:
            CheckpointError: It was not saved (`kind="unwritable"`): no server answers, another host has the
                lease, or it is larger than a message of the server may be.
        """
        value = self._instance + b"\n" + zlib.compress(text.encode(), 1)
        if len(value) > self._connection.max_payload:
            raise CheckpointError(
                f"the position has {len(value)} bytes and the server takes {self._connection.max_payload}: "
                "raise its max_payload, or divide the sites among two accounts",
                kind="unwritable",
                path=self.path,
            )
        try:
            self._revision = await self._connection.put(POSITIONS, self._key, value, last=self._revision)
        except WrongRevision:
            await self._adopt(value)
        except ClusterError as error:
            raise CheckpointError(str(error), kind="unwritable", path=self.path) from None

    async def _adopt(self, value: bytes) -> None:
        """Replace our own entry, whose acknowledgement was lost."""
        try:
            entry = await self._connection.get(POSITIONS, self._key)
            if entry is not None and entry.value.partition(b"\n")[0] == self._instance:
                self._revision = await self._connection.put(POSITIONS, self._key, value, last=entry.revision)
                return
        except ClusterError as error:
            raise CheckpointError(str(error), kind="unwritable", path=self.path) from None
        raise CheckpointError("another host has this account now", kind="unwritable", path=self.path)

    @printable
    def __repr__(self) -> str:
        return f"<ClusterCheckpoint {self._key}>"


async def save_rate(connection: ClusterConnection, key: str, saved: SavedRateLimit) -> None:
    """Store what is left of an account's rate limit, for its next holder.

    Raises:
        ClusterError: No server answered.
    """
    await connection.put(POSITIONS, f"rate.{key}", json.dumps(asdict(saved)).encode())


async def load_rate(
    connection: ClusterConnection, key: str, lease: str
) -> tuple[SavedRateLimit, float] | None:
    """Return what is left of an account's rate limit, and how many seconds ago that was.

    Both times are the servers': the entry's, and that of the lease which was just taken.

    Args:
        connection: The connection.
        key: The account's key.
        lease: Bucket and key of the lease, with a space between them.

    Raises:
        ClusterError: No server answered.
    """
    entry = await connection.get(POSITIONS, f"rate.{key}")
    bucket, _, name = lease.partition(" ")
    now = await connection.get(bucket, name)
    if entry is None or entry.deleted:
        return None
    found = read_object(entry.value)
    numbers = {
        name: float(value)
        for name in ("level", "rate", "asked_s", "held_s")
        if isinstance(value := found.get(name), int | float)
    }
    if not {"level", "rate"} <= numbers.keys() or not numbers["rate"] > 0:
        return None
    elapsed = 0.0 if now is None else (now.time - entry.time).total_seconds()
    return SavedRateLimit(**numbers), max(0.0, elapsed)
