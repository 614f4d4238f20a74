"""Command line, demo, archive and simulator, built on the two vendor clients.

This module imports nothing before it is used, so that `energy-live --help` starts fast.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from energy_live.web.relay_source import relay as relay

__all__ = ["relay"]


def __getattr__(name: str) -> object:
    if name == "relay":
        from energy_live.web.relay_source import relay  # noqa: PLC0415

        return relay
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
