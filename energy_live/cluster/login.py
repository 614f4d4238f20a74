"""Addresses of servers, and who we are to them."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from typing import Final, Self

from attrs import frozen

from energy_core.printable import printable_class
from energy_core.secret import Secret
from energy_live.cluster.problems import ClusterError

_SCHEMES: Final = ("nats://", "tls://", "ws://", "wss://")


@printable_class
@frozen(kw_only=True)
class ServerLogin:
    """Who we are to the servers; nothing of it is printed."""

    user: str | None = None
    password: Secret | None = None
    token: Secret | None = None
    creds: str | None = None
    """Path of a file with a user's JWT and seed, as `nsc` writes it."""
    ca: str | None = None
    """Path of the certificate authority that signed the servers' certificates; default: the system's."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read NATS_USER, NATS_PASSWORD, NATS_TOKEN, NATS_CREDS and NATS_CA; empty ones are not set."""

        def text(name: str) -> str | None:
            return environment.get(name, "").strip() or None

        password, token = text("NATS_PASSWORD"), text("NATS_TOKEN")
        return cls(
            user=text("NATS_USER"),
            password=None if password is None else Secret(password),
            token=None if token is None else Secret(token),
            creds=text("NATS_CREDS"),
            ca=text("NATS_CA"),
        )


def servers_of(url: str) -> list[str]:
    """Split the addresses of servers.

    Raises:
        ValueError: There is none, or one is not an address; the message has no credential.
    """
    servers = [each.strip() for each in url.split(",") if each.strip()]
    if not servers or not all(each.startswith(_SCHEMES) for each in servers):
        raise ValueError("a cluster needs addresses such as nats://10.0.0.5:4222, with commas between them")
    return servers


async def trusting(ca: str) -> ssl.SSLContext:
    """Return a TLS context that trusts the authorities of a file.

    Raises:
        ClusterError: The file cannot be used.
    """
    try:
        return await asyncio.to_thread(ssl.create_default_context, cafile=ca)
    except OSError as error:
        raise ClusterError(
            f"NATS_CA: {ca} cannot be used: {error.strerror or error}", permanent=True
        ) from None
