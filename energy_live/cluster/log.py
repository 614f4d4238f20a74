"""The log and the two buckets on the server: their shape, checked and created."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

import nats.errors
import nats.js.errors
from attrs import frozen
from nats.js import api

from energy_live.cluster.connection import LEASES, POSITIONS, ClusterConnection
from energy_live.cluster.problems import NO_JETSTREAM, ClusterError
from energy_live.cluster.subjects import PREFIX

_log: Final = logging.getLogger("energy_live.cluster")

_DAY_S: Final = 86_400.0
_SHORTEST_WINDOW_S: Final = 120.0
_LEASE_S: Final = (1.0, 120.0)
"""Shortest and longest lease; the shortest are for tests."""


@frozen(kw_only=True)
class LogLimits:
    """Limits of the stream and the buckets, used where they do not exist yet."""

    max_age_days: float = 30.0
    """Days until an event leaves the log."""
    max_bytes: int = -1
    """Bytes of the log, after which the oldest events leave it; -1: as many as the server allows."""
    replicas: int | None = None
    """Servers that keep a copy; None: 3 in a cluster of servers, else 1."""
    duplicate_window_s: float = 600.0
    """Seconds in which an event that is published twice is stored once; costs memory."""
    lease_s: float = 15.0
    """Seconds after which the lease of a host that is gone ends."""


async def prepare(connection: ClusterConnection, limits: LogLimits | None = None) -> None:
    """Check the log and the buckets, and create what is missing.

    Args:
        connection: The connection.
        limits: Limits of what is created; None: nothing is created.

    Raises:
        ClusterError: Something is missing or has another shape, or a permission is missing.
    """
    await _check_jetstream(connection)
    await _check_stream(
        connection,
        await _found_or_made(connection, partial(_log_config, connection.stream), connection.stream, limits),
    )
    for bucket, config in ((LEASES, _lease_config), (POSITIONS, _position_config)):
        made = await _found_or_made(connection, config, f"KV_{bucket}", limits)
        if made.max_msgs_per_subject != 1 or f"$KV.{bucket}.>" not in (made.subjects or ()):
            raise ClusterError(
                f"the bucket {bucket} has another shape: remove it with `nats kv del {bucket}` while no "
                "collector runs, it is created again",
                permanent=True,
            )
        if bucket == LEASES:
            _check_ttl(connection, made.max_age or 0.0)


def _check_ttl(connection: ClusterConnection, ttl_s: float) -> None:
    if not _LEASE_S[0] <= ttl_s <= _LEASE_S[1]:
        raise ClusterError(
            f"entries of the bucket {LEASES} live {ttl_s:g} s: a lease needs 5 to 60 s; remove the bucket "
            f"with `nats kv del {LEASES}` while no collector runs, it is created again",
            permanent=True,
        )
    connection.lease_s = ttl_s


async def _check_jetstream(connection: ClusterConnection) -> None:
    try:
        await connection.js.account_info()
    except nats.errors.TimeoutError:
        return  # a user may not be allowed to ask; what is needed is asked for next
    except nats.js.errors.APIError as error:
        if error.err_code in NO_JETSTREAM or error.err_code is None:  # None: there was no answer
            raise ClusterError(
                "the NATS server has no JetStream: start it with `-js`, or with a `jetstream` block in its "
                "configuration and for our account",
                permanent=True,
                code=error.err_code,
            ) from None
        raise connection.explain(error, "asking for JetStream") from None


async def _found_or_made(
    connection: ClusterConnection,
    config: Callable[[LogLimits, int], api.StreamConfig],
    name: str,
    limits: LogLimits | None,
) -> api.StreamConfig:
    doing = f"reading the stream {name}"
    try:
        return (await connection.js.stream_info(name)).config
    except nats.js.errors.NotFoundError:
        if limits is None:
            raise ClusterError(
                f"the server has no stream {name}: start a collector, or `energy-live cluster create`",
                permanent=True,
            ) from None
        doing = f"creating the stream {name}"
        info: Mapping[str, object] = connection.client._server_info  # noqa: SLF001  (there is no other way)
        replicas = limits.replicas or (3 if info.get("cluster") else 1)
        try:
            made = await connection.js.add_stream(config(limits, replicas))
        except (nats.errors.Error, TimeoutError) as error:
            raise connection.explain(error, doing) from None
        return made.config
    except (nats.errors.Error, TimeoutError) as error:
        raise connection.explain(error, doing) from None


def _log_config(name: str, limits: LogLimits, replicas: int) -> api.StreamConfig:
    return api.StreamConfig(
        name=name,
        description="readings, gaps, states and alarms of energy-live",
        subjects=[f"{PREFIX}.>"],
        retention=api.RetentionPolicy.LIMITS,
        storage=api.StorageType.FILE,
        discard=api.DiscardPolicy.OLD,
        max_age=limits.max_age_days * _DAY_S,
        max_bytes=limits.max_bytes,
        duplicate_window=limits.duplicate_window_s,
        num_replicas=replicas,
        deny_delete=True,
        allow_direct=True,
    )


async def _check_stream(connection: ClusterConnection, config: api.StreamConfig) -> None:
    edit = f"`nats stream edit {connection.stream}`, or another stream with --stream"
    faults = []
    if not {f"{PREFIX}.>", ">"} & set(config.subjects or ()):
        faults.append(f"its subjects are {', '.join(config.subjects or ()) or 'none'}, not {PREFIX}.>")
    if config.retention not in {None, api.RetentionPolicy.LIMITS}:
        faults.append(f"its retention is {config.retention}, so that one consumer takes from the others")
    if config.no_ack:
        faults.append("it does not acknowledge, so that a loss would not be noticed")
    if config.sealed:
        faults.append("it is sealed")
    if faults:
        raise ClusterError(
            f"the stream {connection.stream} has another shape: {'; '.join(faults)}: change it with {edit}",
            permanent=True,
        )
    if (config.duplicate_window or 0) < _SHORTEST_WINDOW_S:
        _log.warning(
            "the stream %s recognises duplicates for %g s only: a failover may store events twice; "
            "`nats stream edit %s --dupe-window 10m`",
            connection.stream,
            config.duplicate_window,
            connection.stream,
        )


def _lease_config(limits: LogLimits, replicas: int) -> api.StreamConfig:
    return _bucket(LEASES, replicas, max_age=limits.lease_s, window=min(limits.lease_s, 120.0))


def _position_config(_limits: LogLimits, replicas: int) -> api.StreamConfig:
    return _bucket(POSITIONS, replicas, max_age=0.0, window=120.0)


def _bucket(name: str, replicas: int, *, max_age: float, window: float) -> api.StreamConfig:
    """Return the stream of a bucket as NATS's own tools make it."""
    return api.StreamConfig(
        name=f"KV_{name}",
        subjects=[f"$KV.{name}.>"],
        storage=api.StorageType.FILE,
        discard=api.DiscardPolicy.NEW,
        max_msgs_per_subject=1,
        max_age=max_age,
        duplicate_window=window,
        num_replicas=replicas,
        allow_direct=True,
        allow_rollup_hdrs=True,
        deny_delete=True,
    )
