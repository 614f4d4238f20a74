"""Messages to systemd for ``Type=notify``: one datagram each to the socket that ``NOTIFY_SOCKET`` names.

The form is that of sd_notify(3). Without the variable nothing is sent.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Mapping
from typing import Final

_log: Final = logging.getLogger("energy_live.service")


class SystemdNotifier:
    """Sends the state of the service to systemd.

    Args:
        environment: The variables of the process.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")

    def ready(self, status: str) -> None:
        """Say that the service runs."""
        self._send(f"READY=1\nSTATUS={_line(status)}")

    def status(self, status: str) -> None:
        """Set the line that `systemctl status` shows."""
        self._send(f"STATUS={_line(status)}")

    def reloading(self, monotonic_s: float) -> None:
        """Say that settings are read again; `ready` ends it."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={int(monotonic_s * 1e6)}")

    def stopping(self) -> None:
        """Say that the service ends."""
        self._send("STOPPING=1")

    def alive(self) -> None:
        """Answer the watchdog of ``WatchdogSec=``."""
        self._send("WATCHDOG=1")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        # A name that begins with @ is in the abstract namespace, which begins with a zero byte.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
                out.setblocking(False)
                out.sendto(message.encode(), address)
        except OSError as error:
            _log.warning("systemd does not get the state of the service: %s", error.strerror)


def _line(text: str) -> str:
    return " ".join(text.split())
