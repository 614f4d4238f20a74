"""Where `MqttOutput` publishes: the checked URL, TLS, and errors that say what to do there."""

from __future__ import annotations

import re
import ssl
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from attrs import frozen

from energy_live.outputs.home_assistant import Topics
from energy_live.outputs.output import OutputError

_PORTS: Final = {"mqtt": 1883, "mqtts": 8883}
_OPTIONS: Final = ("base", "cafile", "discovery", "expire_after")
_SECONDS: Final = re.compile(r"[1-9][0-9]{0,7}")
_BASE: Final = re.compile(r"[A-Za-z0-9-]+")
_PREFIX: Final = re.compile(r"[A-Za-z0-9_-]+(?:/[A-Za-z0-9_-]+)*")


@frozen(kw_only=True)
class MqttTarget:
    """A broker, and the topics there; made by `of_url`."""

    host: str
    port: int
    user: str | None
    tls: bool
    ca_file: str | None
    topics: Topics
    expire_after_s: int

    @classmethod
    def of_url(cls, url: str) -> MqttTarget:
        """Parse and check a URL.

        Raises:
            ValueError: It is not valid, or holds a password. The message does not repeat it.
        """
        try:
            parts = urlsplit(url)
            port = parts.port or _PORTS.get(parts.scheme, 0)
            options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
        except ValueError:
            raise ValueError("the URL must have the form mqtts://USER@HOST:PORT") from None
        if parts.scheme not in _PORTS:
            raise ValueError("the URL must begin with mqtt:// or mqtts://")
        if parts.password is not None or "password" in options:
            raise ValueError(
                "the URL must not hold a password, because process lists show it: "
                "set MQTT_PASSWORD or use a password file"
            )
        if not parts.hostname or parts.path.strip("/"):
            raise ValueError("the URL must have the form mqtts://USER@HOST:PORT")
        if unknown := sorted(set(options).difference(_OPTIONS)):
            raise ValueError(f"the URL has the unknown option {unknown[0]!r}; known: {', '.join(_OPTIONS)}")
        base, discovery = options.get("base", "energy-live"), options.get("discovery", "homeassistant")
        if not _BASE.fullmatch(base):
            raise ValueError("base must consist of letters, digits and hyphens")
        if not _PREFIX.fullmatch(discovery):
            raise ValueError("discovery must be the beginning of a topic, such as homeassistant")
        expire_after = options.get("expire_after", "1800")
        if not _SECONDS.fullmatch(expire_after):
            raise ValueError("expire_after must be a whole number of seconds from 1 on")
        return cls(
            host=unquote(parts.hostname),
            port=port,
            user=unquote(parts.username) if parts.username else None,
            tls=parts.scheme == "mqtts",
            ca_file=options.get("cafile"),
            topics=Topics(base=base, discovery=discovery),
            expire_after_s=int(expire_after),
        )

    @property
    def place(self) -> str:
        """Names the broker in messages."""
        return f"the MQTT broker {self.host}:{self.port}"

    def ssl_context(self) -> ssl.SSLContext | None:
        """Return the context for TLS, None without TLS. Reads files.

        Raises:
            OutputError: The file of certificates cannot be used.
        """
        if not self.tls:
            return None
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
        except OSError as error:
            what = f"cafile={self.ca_file} cannot be used: {error.strerror or error}"
            raise OutputError(what, permanent=True) from None
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.sslsocket_class = _ClosingSocket
        return context


class _ClosingSocket(ssl.SSLSocket):
    """Closes itself when the handshake fails; paho leaves that to the garbage collector."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except OSError:
            self.close()
            raise
