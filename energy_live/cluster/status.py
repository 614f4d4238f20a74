"""Who holds what, how far consumers are behind, and which hosts are drained: read from the servers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

import nats.errors
import nats.js.errors
from attrs import frozen

from energy_core.clock import Clock, SystemClock
from energy_live.cluster.collector import DRAIN
from energy_live.cluster.connection import LEASES, POSITIONS, ClusterConnection, names
from energy_live.cluster.leases import LeaseTable, account_of
from energy_live.cluster.log_reader import accounts_of_log
from energy_live.cluster.problems import ClusterError
from energy_live.cluster.subjects import name_of, token

_POSITION: Final = "position."
_LOOK_S: Final = 0.5


@frozen(kw_only=True)
class ConsumerLag:
    """How far one consumer is behind the log."""

    name: str
    waiting: int
    """Events it has not got yet."""
    unacknowledged: int
    """Events it has got and not finished."""
    active: datetime | None
    """When it last acknowledged one, aware."""


@frozen(kw_only=True)
class ClusterStatus:
    """A cluster at one moment."""

    accounts: Mapping[str, Mapping[str, object]]
    """What the holder of each lease wrote, by vendor and account."""
    unheld: tuple[str, ...]
    """Accounts with a position or events in the log that no host polls."""
    hosts: Mapping[str, Mapping[str, object]]
    """What each collector wrote, by its host and instance."""
    drained: frozenset[str]
    """Hosts that take no accounts."""
    consumers: tuple[ConsumerLag, ...]
    events: int
    """Events in the log."""
    size: int
    """Bytes of the log."""


async def cluster_status(connection: ClusterConnection) -> ClusterStatus:
    """Ask the servers.

    Raises:
        ClusterError: No server answers, something is missing, or it refuses.
    """
    table = LeaseTable(await connection.values(LEASES))
    stored = await connection.values(POSITIONS, f"{_POSITION}>")
    held = {account_of(key): value for key, value in table.holders().items()}
    known = {account_of(key.removeprefix(_POSITION)) for key, entry in stored.items() if not entry.deleted}
    logged = await accounts_of_log(connection)
    labels = {each.partition("/")[2] for each in (*held, *known)}
    unheld = {*(known - held.keys()), *(f"?/{each}" for each in logged - labels)}
    log = await _log_state(connection)
    return ClusterStatus(
        accounts=held,
        unheld=tuple(sorted(unheld)),
        hosts=table.hosts(),
        drained=await drained_hosts(connection),
        consumers=await consumer_lags(connection),
        events=log[0],
        size=log[1],
    )


async def _log_state(connection: ClusterConnection) -> tuple[int, int]:
    try:
        state = (await connection.js.stream_info(connection.stream)).state
    except (nats.errors.Error, TimeoutError) as error:
        raise connection.explain(error, "reading the log") from None
    return state.messages, state.bytes


async def consumer_lags(connection: ClusterConnection) -> tuple[ConsumerLag, ...]:
    """Return how far each durable consumer is behind.

    Raises:
        ClusterError: No server answers, or it refuses.
    """
    try:
        found = await connection.js.consumers_info(connection.stream)
    except (nats.errors.Error, TimeoutError) as error:
        raise connection.explain(error, "listing the consumers") from None
    return tuple(
        ConsumerLag(
            name=each.name,
            waiting=each.num_pending or 0,
            unacknowledged=each.num_ack_pending or 0,
            active=None if each.ack_floor is None else each.ack_floor.last_active,
        )
        for each in sorted(found, key=lambda each: each.name)
        if each.config.durable_name
    )


async def drained_hosts(connection: ClusterConnection) -> frozenset[str]:
    """Return the hosts that an administrator has drained.

    Raises:
        ClusterError: No server answers, or it refuses.
    """
    found = await connection.values(POSITIONS, f"{DRAIN}*")
    coded = [key.removeprefix(DRAIN) for key, entry in found.items() if not entry.deleted]
    return frozenset(name_of(each) or each for each in coded)


async def drain(
    connection: ClusterConnection, host: str, *, undo: bool = False, clock: Clock | None = None
) -> int:
    """Let a host hand over its accounts, and wait until it has none; or let it take accounts again.

    Args:
        connection: The connection.
        host: The host.
        undo: Let it take accounts again.
        clock: The source of time.

    Returns:
        How many accounts it held.

    Raises:
        ClusterError: There is no such host, no server answers, or it refuses.
    """
    clock = clock or SystemClock()
    table = LeaseTable(await connection.values(LEASES))
    alive = {str(each.get("host")) for each in table.hosts().values()}
    coded = token(host)
    if coded not in alive and not (undo and host in await drained_hosts(connection)):
        found = names(sorted(name_of(each) or each for each in alive)) or "none"
        raise ClusterError(f"there is no host {host}; alive are: {found}", permanent=True)
    await connection.put(POSITIONS, f"{DRAIN}{coded}", b"" if undo else b"1")
    held = count = _held(table, host)
    while held and not undo:
        await clock.sleep(_LOOK_S)
        held = _held(LeaseTable(await connection.values(LEASES)), host)
    return count


def _held(table: LeaseTable, host: str) -> int:
    return sum(value.get("host") == host for value in table.holders().values())
