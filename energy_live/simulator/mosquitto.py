"""A real MQTT broker, Debian's mosquitto, on free ports of 127.0.0.1: VRM's broker in the simulator."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from attrs import define, field

from energy_core.clock import SystemClock

START_S: Final = 30.0
"""Seconds in which mosquitto must listen."""
GATEWAYS: Final = "gateways"
"""User name of the simulated gateways, which may publish and read everything."""

_FOLDERS: Final = "/usr/sbin:/usr/local/sbin:/opt/homebrew/sbin"
_ITERATIONS: Final = 101


class BrokerMissing(Exception):
    """Mosquitto is not installed, or does not start; the text says what to do."""


@define(kw_only=True, eq=False)
class Mosquitto:
    """A mosquitto process, as an async context manager.

    It has two listeners: WebSocket for clients, with TLS if a certificate is given, and plain MQTT for the
    simulated gateways.

    Raises:
        BrokerMissing: mosquitto is not installed, or does not start.
    """

    users: Mapping[str, str] = field(factory=dict, repr=False)
    """Passwords by user."""
    sites: Mapping[str, Sequence[str]] = field(factory=dict)
    """Portal ids that a user may read and wake, by user."""
    muted: Sequence[str] = ()
    """Users that may read, but not wake."""
    certificate: tuple[str, str] | None = None
    """Paths of a certificate and its key."""
    verbose: bool = False
    """Whether `log` has a line for each packet."""
    host: str = "127.0.0.1"
    """Address of the WebSocket's listener; 0.0.0.0 listens on all addresses of this machine."""
    password: str = field(factory=lambda: secrets.token_hex(16), repr=False)
    """Password of the simulated gateways."""
    websocket_port: int = field(default=0, init=False)
    port: int = field(default=0, init=False)
    _folder: Path | None = field(default=None, init=False)
    _process: asyncio.subprocess.Process | None = field(default=None, init=False)

    @property
    def url(self) -> str:
        """Address of the WebSocket."""
        host = "127.0.0.1" if self.host == "0.0.0.0" else self.host  # noqa: S104
        return f"{'wss' if self.certificate else 'ws'}://{host}:{self.websocket_port}/mqtt"

    @property
    def log(self) -> str:
        """What mosquitto has printed."""
        return "" if self._folder is None else (self._folder / "log").read_text(errors="replace")

    async def __aenter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="energy-live-mosquitto-"))
        self.websocket_port, self.port = _free_ports()
        try:
            await self.start()
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    async def start(self) -> None:
        """Start the process and wait until it listens; the ports stay the same over a restart."""
        program = shutil.which("mosquitto") or shutil.which("mosquitto", path=_FOLDERS)
        if program is None or self._folder is None:
            raise BrokerMissing("real time needs the broker mosquitto: apt-get install mosquitto")
        self._write(self._folder)
        with (self._folder / "log").open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                program,
                "-c",
                str(self._folder / "mosquitto.conf"),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C ends the clients first
            )
        clock = SystemClock()
        until = clock.monotonic() + START_S
        while not all(map(_listens, (self.websocket_port, self.port))):
            if self._process.returncode is not None or clock.monotonic() > until:
                text = self.log[-500:].strip()
                raise BrokerMissing(f"mosquitto does not start: {text or 'it prints nothing'}")
            await clock.sleep(0.02)

    async def stop(self) -> None:
        """End the process; connections break."""
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.terminate()
            await process.wait()

    def pause(self, signal_number: int) -> None:
        """Send a signal to the process, such as SIGSTOP and SIGCONT: it is silent in between."""
        if self._process is not None:
            self._process.send_signal(signal_number)

    def _write(self, folder: Path) -> None:
        logins = {**self.users, GATEWAYS: self.password}
        passwords = "".join(f"{user}:{_hashed(password)}\n" for user, password in logins.items())
        rights = [f"user {GATEWAYS}", "topic readwrite #"]
        for user, portal_ids in self.sites.items():
            rights.append(f"user {user}")
            for each in portal_ids:
                rights.append(f"topic read N/{each}/#")
                rights += [] if user in self.muted else [f"topic write R/{each}/#"]
        settings = [
            "allow_anonymous false",
            f"password_file {folder / 'passwords'}",
            f"acl_file {folder / 'rights'}",
            "persistence false",
            f"log_type {'all' if self.verbose else 'error'}",
            "set_tcp_nodelay true",
            "max_queued_messages 100000",
            *(["user root"] if os.geteuid() == 0 else []),
            f"listener {self.port} 127.0.0.1",
            f"listener {self.websocket_port} {self.host}",
            "protocol websockets",
        ]
        if self.certificate is not None:
            settings += [f"certfile {self.certificate[0]}", f"keyfile {self.certificate[1]}"]
        for name, text in (
            ("passwords", passwords),
            ("rights", "\n".join(rights) + "\n"),
            ("mosquitto.conf", "\n".join(settings) + "\n"),
        ):
            path = folder / name
            path.touch(mode=0o600)
            path.write_text(text)


def _hashed(password: str) -> str:
    """Return a password as mosquitto's password file has it: PBKDF2 with SHA-512."""
    salt = secrets.token_bytes(12)
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _ITERATIONS)
    encoded = [base64.b64encode(each).decode() for each in (salt, digest)]
    return f"$7${_ITERATIONS}${encoded[0]}${encoded[1]}"


def _free_ports() -> tuple[int, int]:
    with socket.socket() as first, socket.socket() as second:
        for each in (first, second):
            each.bind(("127.0.0.1", 0))
        return first.getsockname()[1], second.getsockname()[1]


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0
