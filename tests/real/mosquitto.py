"""A mosquitto broker on free ports of 127.0.0.1, in a temporary folder."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import trustme

from tests.servers.real_programs import RealProgram, accepts, free_port, need_program

USER = "energy"
PASSWORD = "a pass'word"


class Mosquitto(RealProgram):
    """A broker with four listeners: plain and TLS, each for TCP and WebSocket; an async context manager.

    Args:
        folder: An empty folder.
        users: Passwords by user; empty: everybody may connect.
        acl: Lines of an access control list, such as ``user energy`` and ``topic readwrite energy-live/#``.
        persistent: Whether retained messages survive `stop` and `start`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        users: Mapping[str, str] | None = None,
        acl: str = "",
        persistent: bool = False,
    ) -> None:
        program = need_program("mosquitto", "mosquitto")
        self.port, self.tls_port, self.ws_port, self.wss_port = (free_port() for _ in range(4))
        self.ca_file = folder / "ca.pem"
        authority = trustme.CA()
        certificate = authority.issue_cert("localhost", "127.0.0.1")
        authority.cert_pem.write_to_path(self.ca_file)
        certificate.private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
        lines = [
            "user root",  # otherwise it cannot read its folder when root starts it
            "per_listener_settings false",
            f"allow_anonymous {'false' if users else 'true'}",
            f"persistence {'true' if persistent else 'false'}",
            f"persistence_location {folder}/",
        ]
        if users:
            lines.append(f"password_file {self._password_file(folder, users)}")
        if acl:
            (folder / "acl").write_text(acl + "\n")
            lines.append(f"acl_file {folder}/acl")
        for port, tls, websockets in (
            (self.port, False, False),
            (self.tls_port, True, False),
            (self.ws_port, False, True),
            (self.wss_port, True, True),
        ):
            lines.append(f"listener {port} 127.0.0.1")
            lines += ["protocol websockets"] * websockets
            lines += [f"certfile {folder}/server.pem", f"keyfile {folder}/server.pem"] * tls
        (folder / "mosquitto.conf").write_text("\n".join([*lines, ""]))
        ports = (self.port, self.tls_port, self.ws_port, self.wss_port)
        super().__init__(
            program,
            "-c",
            str(folder / "mosquitto.conf"),
            ready=lambda: all(map(accepts, ports)),
            log=folder / "log",
        )

    @property
    def url(self) -> str:
        """The address of the plain listener."""
        return f"mqtt://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        """Start it."""
        await self.start()
        return self

    @staticmethod
    def _password_file(folder: Path, users: Mapping[str, str]) -> Path:
        file = folder / "passwords"
        file.touch(mode=0o600)
        program = need_program("mosquitto_passwd", "mosquitto")
        for user, password in users.items():
            command = [program, "-b", str(file), user, password]
            subprocess.run(command, check=True, timeout=60, capture_output=True)
        return file
