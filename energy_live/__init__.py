"""Command line, demo, archive and simulator, built on the two vendor clients.

This module imports nothing before it is used, so that `energy-live --help` starts fast.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from energy_live.cluster import cluster_source as cluster_source
    from energy_live.web.relay_source import relay as relay

__all__ = ["cluster_source", "relay"]


def __getattr__(name: str) -> object:
    if name == "relay":
        from energy_live.web.relay_source import relay  # noqa: PLC0415

        return relay
    if name == "cluster_source":
        from energy_live.cluster import cluster_source  # noqa: PLC0415

        return cluster_source
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
