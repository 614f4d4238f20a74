"""Several collectors, one log: leases, positions and the stream ENERGY on NATS JetStream (extra `nats`).

`connection` connects and checks the server. `leases` decide which host polls which account; `collector` polls
the accounts it holds, and `publisher` writes their events into the log. `source` reads the log again, as a
source of `merge`. `status` answers who holds what.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from energy_core.stream.source import Source

__all__ = ["cluster_source"]


def cluster_source(
    url: str,
    *,
    account: str | None = None,
    sites: Sequence[str | int] = (),
    name: str | None = None,
    start: datetime | None = None,
) -> Source:
    """Return a source of the events that the collectors of a cluster have published.

    Merge it like any other source. With a checkpoint, an event is acknowledged once it was committed;
    without one, when it was delivered.

    Args:
        url: Servers such as ``nats://10.0.0.5:4222``, several with commas between them. A user or token in it
            is used; `NATS_CREDS`, `NATS_USER` and `NATS_PASSWORD` of the environment are better.
        account: Only events of this account, by its label; default: all.
        sites: Only events of these sites or products; default: all.
        name: Name of the durable consumer: the server remembers where it stopped, also if this program ends.
            Two programs with one name share the events between them. Default: nothing is remembered.
        start: Where to begin, aware; default: with a name at the start of the log, else with new events.
            An existing durable consumer continues where it stopped.

    Raises:
        ValueError: An argument is wrong.
    """
    from energy_live.cluster.source import ClusterSource  # noqa: PLC0415  (imports nats)

    return ClusterSource(url, account=account, sites=tuple(map(str, sites)), name=name, start=start)
