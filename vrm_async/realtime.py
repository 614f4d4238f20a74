"""One connection to one of VRM's MQTT brokers, for all sites on it. The only module that imports aiomqtt.

aiomqtt runs paho's connect in a thread, which cannot be cancelled while a server or proxy is silent. So the
event loop makes the TCP connection and the TLS handshake, and the thread only that of the WebSocket; shutting
down the connection ends it. It never outlives `MqttLink.open`.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from secrets import token_hex
from typing import Final

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from energy_core.printable import printable
from energy_core.stream.reconnect import BadCertificate, HandshakeRefused, TransientFailure
from vrm_async.realtime_link import Address, LinkLost, Login, Take

LARGEST_PACKET: Final = 1024 * 1024
"""Bytes; the broker does not send larger packets."""

BAD_LOGIN: Final = frozenset({134, 135})
"""Reason codes of a refused login."""
_NOT_AUTHORIZED: Final = 128
"""The lowest reason code of MQTT 5 that is a refusal."""


_MOST_READS: Final = 10_000
_ONLY_LIVE: Final = SubscribeOptions(qos=0, retainHandling=SubscribeOptions.RETAIN_DO_NOT_SEND)


class _Inbox(asyncio.Queue[aiomqtt.Message]):
    """Passes each message on at once: a task for each, as aiomqtt's iterator makes, costs more than it."""

    def __init__(self, maxsize: int = 0, *, take: Callable[[aiomqtt.Message], None]) -> None:
        super().__init__(maxsize)
        self._take = take

    def put_nowait(self, item: aiomqtt.Message) -> None:
        self._take(item)


class _Ready:
    """Stands for an SSL context in paho: the handshake is over, and the certificate verified."""

    check_hostname = True

    def __init__(self, secure: ssl.SSLSocket) -> None:
        self._secure = secure

    def wrap_socket(self, _: socket.socket, **options: object) -> ssl.SSLSocket:  # noqa: ARG002
        return self._secure


class _Client(aiomqtt.Client):
    """aiomqtt's client on a connected socket; counts refused publishes."""

    def __init__(self, connected: socket.socket, host: str, port: int, **options: object) -> None:
        super().__init__(host, port, **options)  # type: ignore[arg-type]
        self.refusals = 0
        """Number of publishes that the broker has refused."""
        # There is no public way to give paho a socket. A test fails if it makes one of its own.
        self._client._create_socket_connection = lambda: connected  # type: ignore[method-assign]  # noqa: SLF001

    def _on_publish(self, client: object, userdata: object, mid: int, code: object, facts: object) -> None:
        self.refusals += getattr(code, "value", 0) >= _NOT_AUTHORIZED
        super()._on_publish(client, userdata, mid, code, facts)  # type: ignore[arg-type]

    @property
    def handed_over(self) -> bool:
        """Whether paho has finished its handshake, so that no thread is at work."""
        return self._client.socket() is not None

    def abandon(self) -> None:
        """Let paho notice that its socket was shut down: it stops to watch and closes it."""
        for _ in range(_MOST_READS):
            if self._client.socket() is None:
                break
            self._client.loop_read()
        if self._disconnected.done() and not self._disconnected.cancelled():
            self._disconnected.exception()  # otherwise asyncio logs that it was never retrieved


class MqttLink:
    """One connection to a broker. Use `open`, then `subscribe`, `keepalive` and `wait_lost`; then `close`.

    Args:
        address: Where the broker listens.
        ssl_context: Verifies it; None: the connection has no TLS, on this machine.
        take: Called in the event loop with topic and payload of each message that is not retained.
    """

    def __init__(self, address: Address, ssl_context: ssl.SSLContext | None, take: Take) -> None:
        self.retained = 0
        """Number of retained messages, which are dropped: their age is not known."""
        self._address = address
        self._ssl_context = ssl_context
        self._take_message: Take | None = take
        self._client: _Client | None = None
        self._entered = False
        self._socket: socket.socket | None = None
        self._guard: socket.socket | None = None  # another name of the same connection: ends the thread

    async def open(self, login: Login, timeout_s: float) -> None:
        """Connect and log in. Cancelling is safe: no thread, socket or task is left.

        Raises:
            LinkLost: the broker cannot be reached, is not trusted, or refuses the login.
        """
        try:
            async with asyncio.timeout(timeout_s):
                await self._connect()
                await self._secure()
                await self._enter(login)
        except TimeoutError:
            await self.close()
            reason = f"no connection to {self._address} within {timeout_s:g} s"
            raise LinkLost(TransientFailure(reason), reason) from None
        except BaseException:
            await self.close()
            raise

    async def _connect(self) -> None:
        loop, address = asyncio.get_running_loop(), self._address
        problem = f"no address of {address.host}"
        try:
            found = await loop.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
        except OSError:
            found = []
        for family, kind, protocol, _, where in found:
            connecting = self._socket = socket.socket(family, kind, protocol)
            connecting.setblocking(False)
            try:
                await loop.sock_connect(connecting, where)
            except OSError as error:
                connecting.close()
                problem = f"cannot connect to {address}: {error.strerror or type(error).__name__}"
            else:
                connecting.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._guard = connecting.dup()
                return
        raise LinkLost(TransientFailure(problem), problem)

    async def _secure(self) -> None:
        """Make the TLS handshake, if there is one. The server's certificate is always verified."""
        if self._ssl_context is None or self._socket is None:
            return
        secure = self._socket = self._ssl_context.wrap_socket(
            self._socket, server_hostname=self._address.host, do_handshake_on_connect=False
        )
        loop = asyncio.get_running_loop()
        while True:
            try:
                secure.do_handshake()
            except ssl.SSLWantReadError:
                await _ready(secure, loop.add_reader, loop.remove_reader)
            except ssl.SSLWantWriteError:
                await _ready(secure, loop.add_writer, loop.remove_writer)
            except ssl.SSLCertVerificationError as error:
                reason = f"the certificate of {self._address} cannot be trusted: {error.verify_message}"
                raise LinkLost(BadCertificate(), reason) from None
            except OSError as error:
                reason = f"no TLS with {self._address}: {error.strerror or type(error).__name__}"
                raise LinkLost(TransientFailure(reason), reason) from None
            else:
                return

    async def _enter(self, login: Login) -> None:
        """Make the WebSocket's handshake and log in."""
        address, connected = self._address, self._socket
        if connected is None:
            return
        connected.setblocking(True)
        limits = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        limits.MaximumPacketSize = LARGEST_PACKET
        client = self._client = _Client(
            connected,
            address.host,
            address.port,
            username=login.user,
            password=login.password.reveal(),
            identifier=f"energylive{token_hex(6)}",  # two clients of one name throw each other out
            queue_type=partial(_Inbox, take=self._take),
            protocol=aiomqtt.ProtocolVersion.V5,
            transport="websockets",
            websocket_path=address.path,
            tls_context=_Ready(connected) if isinstance(connected, ssl.SSLSocket) else None,
            properties=limits,
        )
        entering = asyncio.ensure_future(client.__aenter__())
        try:
            await asyncio.shield(entering)
            self._entered = True
        except aiomqtt.MqttError as error:
            raise self._lost(error) from None
        except asyncio.CancelledError:
            self._shut_down()  # ends the thread: there is nothing more to read
            if client.handed_over:
                entering.cancel()
            await asyncio.wait([entering], timeout=1.0)
            entering.cancel()
            if entering.done() and not entering.cancelled():
                entering.exception()
            raise
        except Exception:  # noqa: BLE001  (paho raises anything when a server's answer is no HTTP)
            reason = f"{address} does not answer as a WebSocket"
            raise LinkLost(TransientFailure(reason), reason) from None

    def _take(self, message: aiomqtt.Message) -> None:
        if message.retain:
            self.retained += 1
        elif self._take_message is not None:
            self._take_message(message.topic.value, message.payload)

    async def subscribe(self, filters: Iterable[str]) -> bool:
        """Subscribe to topics; return whether the broker granted all of them. Cancelling is safe.

        Raises:
            LinkLost: the connection has ended.
        """
        client = self._opened()
        try:
            granted = await client.subscribe([(each, _ONLY_LIVE) for each in filters])
        except aiomqtt.MqttError as error:
            raise self._lost(error) from None
        return all(_code(each) < _NOT_AUTHORIZED for each in granted)

    async def unsubscribe(self, filters: Sequence[str]) -> None:
        """Unsubscribe from topics. Cancelling is safe."""
        with suppress(aiomqtt.MqttError):
            await self._opened().unsubscribe(list(filters))

    async def keepalive(self, portal_id: str, payload: bytes, *, confirmed: bool) -> bool:
        """Ask a gateway to go on publishing: the only thing that this program ever publishes.

        Args:
            portal_id: The gateway's identifier.
            payload: Options of the keepalive.
            confirmed: Whether to wait for the broker's confirmation.

        Returns:
            False if the broker refused it.

        Raises:
            LinkLost: the connection has ended.
        """
        client = self._opened()
        before = client.refusals
        try:
            await client.publish(f"R/{portal_id}/keepalive", payload, qos=1 if confirmed else 0)
        except aiomqtt.MqttError as error:
            raise self._lost(error) from None
        return client.refusals == before

    async def wait_lost(self) -> LinkLost:
        """Wait until the connection has ended; return how. Cancelling is safe."""
        try:
            await anext(self._opened().messages)
        except aiomqtt.MqttError as error:
            return self._lost(error)
        raise AssertionError  # messages never reach the iterator

    async def close(self) -> None:
        """Close the connection. Idempotent; cancelling is safe."""
        client, self._client, self._take_message = self._client, None, None
        try:
            if client is not None and self._entered:
                with suppress(aiomqtt.MqttError, TimeoutError):
                    async with asyncio.timeout(1.0):
                        await client.__aexit__(None, None, None)
        finally:
            self._shut_down()
            if client is not None:
                client.abandon()
            if self._socket is not None:
                self._socket.close()

    def _opened(self) -> _Client:
        if self._client is None:
            raise LinkLost(TransientFailure("closed"), "closed")
        return self._client

    def _shut_down(self) -> None:
        guard, self._guard = self._guard, None
        if guard is not None:
            with suppress(OSError):  # the broker has closed it
                guard.shutdown(socket.SHUT_RDWR)
            guard.close()

    def _lost(self, error: aiomqtt.MqttError) -> LinkLost:
        # A number is one of paho's own, such as 4 for a lost connection; only a broker's is a ReasonCode.
        code = error.rc if isinstance(error, aiomqtt.MqttCodeError) else None
        if isinstance(code, ReasonCode) and code.value in BAD_LOGIN:
            reason = f"the broker {self._address} refused the login"
            return LinkLost(HandshakeRefused(401, text="login"), reason)
        why = f": {code}" if isinstance(code, ReasonCode) else ""
        reason = f"the connection to {self._address} is lost{why}"
        return LinkLost(TransientFailure(reason), reason)

    @printable
    def __repr__(self) -> str:
        return f"<MqttLink to {self._address}, {'closed' if self._client is None else 'open'}>"


async def _ready(
    each: socket.socket,
    watch: Callable[[socket.socket, Callable[[], None]], None],
    unwatch: Callable[[socket.socket], object],
) -> None:
    """Wait until a socket can be read or written. Cancelling is safe."""
    ready = asyncio.Event()
    watch(each, ready.set)
    try:
        await ready.wait()
    finally:
        unwatch(each)


def _code(reason: object) -> int:
    value = getattr(reason, "value", reason)
    return value if isinstance(value, int) else 0
