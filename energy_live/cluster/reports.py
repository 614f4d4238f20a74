"""The tables of `energy-live cluster`, and what its commands do."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final

from energy_core.clock import SystemClock
from energy_live.cluster.connection import ClusterConnection
from energy_live.cluster.log import LogLimits, prepare
from energy_live.cluster.login import ServerLogin
from energy_live.cluster.problems import ClusterError
from energy_live.cluster.status import ClusterStatus, cluster_status, drain
from energy_live.cluster.subjects import name_of
from energy_live.reports.table import Cell, Report, ReportColumn
from energy_live.runner import UsageError

COLUMNS: Final = (
    ReportColumn("kind", "Kind"),
    ReportColumn("name", "Name"),
    ReportColumn("host", "Host"),
    ReportColumn("state", "State"),
    ReportColumn("since_s", "For", age=True),
    ReportColumn("rate_left", "Rate", "left", digits=0),
    ReportColumn("events", "Events"),
    ReportColumn("waiting", "Waiting"),
    ReportColumn("gaps", "Gaps"),
    ReportColumn("problem", "Problem", wraps=True),
)


@asynccontextmanager
async def connected(url: str, stream: str) -> AsyncIterator[ClusterConnection]:
    """Connect for one command.

    Raises:
        UsageError: An address is wrong.
        ClusterError: No server answers, or it refuses.
    """
    try:
        login = ServerLogin.from_environment(os.environ)
        connection = await ClusterConnection.connect(url, login=login, stream=stream, patience_s=5.0)
    except ValueError as error:
        raise UsageError(str(error)) from None
    try:
        yield connection
    finally:
        await connection.aclose()


async def status_report(url: str, stream: str) -> Report:
    """Return a row for each account, host and consumer, and one for the log."""
    async with connected(url, stream) as connection:
        await prepare(connection)
        return report_of(await cluster_status(connection), SystemClock().utcnow())


def report_of(status: ClusterStatus, now: datetime) -> Report:
    """Return the table of a cluster; it has failed if an account is not polled."""
    rows: list[list[Cell]] = []
    for name, about in sorted(status.accounts.items()):
        since = _age(about.get("since"), now)
        state = _text(about, "state") or "starting"
        numbers = [_number(about, each) for each in ("level", "published", "pending", "gaps")]
        rows.append(["account", name, _text(about, "host"), state, since, *numbers, _text(about, "problem")])
    rows += [
        ["account", each.removeprefix("?/"), "", "not polled", None, None, None, None, None, ""]
        for each in status.unheld
    ]
    for key, about in sorted(status.hosts.items()):
        coded = _text(about, "host") or key.rpartition(".")[0]
        host = name_of(coded) or coded
        state = "drained" if host in status.drained else "live"
        held = f"holds {about.get('held', 0)}, at most {about.get('cap', '?')}; lost {about.get('lost', 0)}"
        rows.append(["host", host, host, state, None, None, None, None, None, held])
    for each in status.consumers:
        idle = None if each.active is None else max(0.0, (now - each.active).total_seconds())
        waiting = each.waiting + each.unacknowledged
        rows.append(["consumer", each.name, "", "", idle, None, None, waiting, None, ""])
    size = f"{status.size / 1e6:,.1f} MB"
    rows.append(["log", "", "", "", None, None, status.events, None, None, size])
    failed = any("not polled" in row for row in rows)
    return Report(columns=COLUMNS, rows=rows, failed=failed)


async def drain_report(url: str, stream: str, host: str, *, undo: bool) -> str:
    """Drain a host, or let it take accounts again; return the line to print."""
    async with connected(url, stream) as connection:
        await prepare(connection)
        count = await drain(connection, host, undo=undo)
    if undo:
        return f"{host} takes accounts again"
    return f"{host} has handed over {count} accounts and takes no others until `cluster drain --undo {host}`"


async def create_report(url: str, stream: str, limits: LogLimits) -> str:
    """Create the log and the buckets, or check them; return the line to print."""
    async with connected(url, stream) as connection:
        before = await _exists(connection)
        await prepare(connection, limits)
    return f"the stream {stream} and its buckets are {'as they should be' if before else 'created'}"


async def _exists(connection: ClusterConnection) -> bool:
    try:
        await prepare(connection)
    except ClusterError:
        return False
    return True


def _text(about: Mapping[str, object], name: str) -> str:
    value = about.get(name)
    return value if isinstance(value, str) else ""


def _number(about: Mapping[str, object], name: str) -> int | float | None:
    value = about.get(name)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _age(value: object, now: datetime) -> float | None:
    try:
        since = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return None if since is None or since.tzinfo is None else max(0.0, (now - since).total_seconds())
