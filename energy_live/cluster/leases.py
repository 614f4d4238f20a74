"""Leases: which host polls which account. One host at a time, ended by time if the host is gone.

A lease is an entry of a bucket whose entries expire. A host takes it by writing an entry that must not exist,
and renews it by replacing exactly the entry it wrote last: a host that was suspended meanwhile cannot. The
holder stops `MARGIN` of the lease's time before the server lets it expire, counted from before the renewal
was sent, so that the clocks of hosts and servers need not agree.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from attrs import define, field, frozen

from energy_core.clock import Clock
from energy_core.printable import printable_class
from energy_live.cluster.connection import LEASES, BucketEntry, ClusterConnection
from energy_live.cluster.problems import ClusterError, WrongRevision
from energy_live.cluster.subjects import name_of

MARGIN: Final = 0.2
"""Part of a lease's time before its end in which the holder has stopped already."""
RENEWALS: Final = 5
"""Renewals in the time of one lease: an election among the servers may take the time of three."""
_RETRY_S: Final = 0.3
_ACCOUNT: Final = "account."
_HOST: Final = "host."


@printable_class
@define(eq=False)
class Lease:
    """A lease that this host holds, or held."""

    key: str
    revision: int
    valid_until: float
    """Nothing may be polled from then on, on the clock's monotonic time."""
    lost: bool = False
    """Whether another host has it, or its time is over."""


@frozen
class LeaseTable:
    """All leases and hosts at one moment, as one server knows them."""

    entries: Mapping[str, BucketEntry]

    def holders(self) -> dict[str, Mapping[str, object]]:
        """Return what the holder of each account wrote, by the account's key."""
        return self._values(_ACCOUNT)

    def hosts(self) -> dict[str, Mapping[str, object]]:
        """Return what each collector wrote, by its host and instance."""
        return self._values(_HOST)

    def _values(self, prefix: str) -> dict[str, Mapping[str, object]]:
        return {
            key.removeprefix(prefix): read_object(entry.value)
            for key, entry in self.entries.items()
            if key.startswith(prefix) and not entry.deleted
        }

    def revision(self, key: str) -> int:
        """Return the revision that a new lease of an account replaces: of its removal, or 0."""
        entry = self.entries.get(f"{_ACCOUNT}{key}")
        return 0 if entry is None else entry.revision


def read_object(value: bytes) -> Mapping[str, object]:
    """Return a JSON object; empty for anything else, which another program may have written."""
    try:
        loaded = json.loads(value)
    except ValueError:
        return {}
    return loaded if isinstance(loaded, dict) else {}


def fair_share(accounts: int, caps: Sequence[int]) -> int:
    """Return how many accounts a host takes at most, so that hosts with these caps share them evenly."""
    share = 0
    left, hosts = accounts, sorted(caps)
    while hosts and left > 0:
        share = -(-left // len(hosts))
        if hosts[0] >= share:
            return share
        left -= hosts.pop(0)  # this one is full below the share: the others take the rest
    return share


@define(eq=False)
class Leases:
    """Takes, renews and returns leases for one collector.

    Args:
        connection: The connection.
        instance: Identifies this run of the collector among all.
        clock: The source of time.
    """

    connection: ClusterConnection
    instance: str
    clock: Clock
    held: dict[str, Lease] = field(factory=dict, init=False)
    """By the account's key."""

    @property
    def every_s(self) -> float:
        """Seconds between two renewals."""
        return self.connection.lease_s / RENEWALS

    def _valid_until(self, sent_at: float) -> float:
        return sent_at + self.connection.lease_s * (1.0 - MARGIN)

    async def table(self) -> LeaseTable:
        """Return all leases and hosts.

        Raises:
            ClusterError: No server answered.
        """
        return LeaseTable(await self.connection.values(LEASES))

    async def take(self, key: str, revision: int, value: Mapping[str, object]) -> Lease | None:
        """Take the lease of an account; None if another host was faster.

        Args:
            key: The account's key.
            revision: The revision of its removal, 0 if there was no lease.
            value: What others may know about the holder.

        Raises:
            ClusterError: No server answered.
        """
        sent_at = self.clock.monotonic()
        try:
            new = await self._write(f"{_ACCOUNT}{key}", value, revision)
        except WrongRevision:
            return None
        except ClusterError:
            own = await self._own_revision(f"{_ACCOUNT}{key}")  # the answer was lost, perhaps not the request
            if own is None:
                raise
            new = own
        lease = self.held[key] = Lease(key, new, self._valid_until(sent_at))
        return lease

    async def renew(self, lease: Lease, value: Mapping[str, object]) -> None:
        """Renew a lease; tries until it works or its time is over, and then sets `lost`.

        Args:
            lease: The lease.
            value: What others may know about the holder.
        """
        sent_at = self.clock.monotonic()
        while not lease.lost:
            left = lease.valid_until - self.clock.monotonic()
            if left <= 0:
                lease.lost = True
                return
            try:
                lease.revision = await self._write(
                    f"{_ACCOUNT}{lease.key}", value, lease.revision, timeout_s=min(2.0, left)
                )
            except WrongRevision:
                await self._adopt(lease, sent_at)
                return
            except ClusterError:
                # The request may have arrived: the lease then counts from the first of them.
                await self.clock.sleep(_RETRY_S)
                continue
            lease.valid_until = max(lease.valid_until, self._valid_until(sent_at))
            return

    async def _adopt(self, lease: Lease, sent_at: float) -> None:
        """Continue with our own entry, whose acknowledgement was lost; otherwise the lease is lost."""
        try:
            own = await self._own_revision(f"{_ACCOUNT}{lease.key}")
        except ClusterError:
            return  # tried again with the next renewal
        if own is None:
            lease.lost = True
        else:
            lease.revision = own
            lease.valid_until = max(lease.valid_until, self._valid_until(sent_at))

    async def give_back(self, lease: Lease) -> None:
        """Remove a lease that this host still holds, so that another one can take it at once."""
        self.held.pop(lease.key, None)
        if lease.lost or self.clock.monotonic() >= lease.valid_until:
            return
        lease.lost = True
        try:
            await self.connection.put(LEASES, f"{_ACCOUNT}{lease.key}", b"", last=lease.revision)
        except ClusterError:
            return  # it expires

    async def announce(self, host: str, value: Mapping[str, object]) -> None:
        """Tell the other hosts that this one is alive, until one lease's time later.

        Raises:
            ClusterError: No server answered.
        """
        await self.connection.put(LEASES, f"{_HOST}{host}", _json({**value, "instance": self.instance}))

    async def leave(self, host: str) -> None:
        """Remove this host from those that are alive."""
        try:
            await self.connection.put(LEASES, f"{_HOST}{host}", b"", timeout_s=1.0)
        except ClusterError:
            return  # it expires

    async def _write(
        self, key: str, value: Mapping[str, object], last: int, *, timeout_s: float = 2.0
    ) -> int:
        content = _json({**value, "instance": self.instance})
        return await self.connection.put(LEASES, key, content, last=last, timeout_s=timeout_s)

    async def _own_revision(self, key: str) -> int | None:
        entry = await self.connection.get(LEASES, key)
        if entry is None or entry.deleted or read_object(entry.value).get("instance") != self.instance:
            return None
        return entry.revision


def _json(value: Mapping[str, object]) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def account_of(key: str) -> str:
    """Return vendor and account label of an account's key, with a slash between them."""
    return "/".join(name_of(each) or each for each in key.split("."))


def caps_of(hosts: Iterable[Mapping[str, object]], drained: frozenset[str]) -> dict[str, int]:
    """Return the cap of each host that takes accounts; several instances of one name count once."""
    caps: dict[str, int] = {}
    for each in hosts:
        name, cap = each.get("host"), each.get("cap")
        if isinstance(name, str) and isinstance(cap, int) and name not in drained:
            caps[name] = max(cap, caps.get(name, 0))
    return caps
