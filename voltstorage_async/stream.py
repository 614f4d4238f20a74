"""ProductStream: a product's events from a WebSocket that heals by itself."""

from __future__ import annotations

import asyncio
import copy
import logging
import ssl
from collections import deque
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlencode

from energy_core.errors import AuthError, DecodeError, EnergyError, InternalError, StreamBusy, StreamClosed
from energy_core.http.pool import Account, SessionPool
from energy_core.http.request import BaseUrl, base_url
from energy_core.stream.event import State, Status
from energy_core.stream.socket import Address, Link, ReconnectingSocket
from energy_core.stream.timing import SocketTiming
from voltstorage_async.codec import product_event
from voltstorage_async.endpoints import Endpoints
from voltstorage_async.events import LatestData, ProductEvent

BUFFER: Final = 1024
"""Events that may wait for their consumer before the oldest is dropped."""

_log = logging.getLogger("voltstorage_async")


def events_address(base: BaseUrl, endpoints: Endpoints, product_id: int) -> str:
    """Return where a product's events are, its id included, the token not.

    Raises:
        ValueError: `Endpoints.events_url` is not a usable WebSocket address.
    """
    root, path = base, endpoints.events
    if endpoints.events_url is not None:
        root = _socket_root(endpoints.events_url.replace("{productId}", str(product_id)))
        if root.path == "/":
            root = BaseUrl(origin=root.origin, path=base.path)
        else:
            root, path = BaseUrl(origin=root.origin, path="/"), root.path.strip("/")
    named = "{productId}" in f"{endpoints.events_url} {path}"
    query = [] if named else [("productId", str(product_id))]
    url = root.join(path.replace("{productId}", str(product_id)), query)
    return "ws" + url.removeprefix("http")


def _socket_root(address: str) -> BaseUrl:
    scheme, colon, rest = address.partition(":")
    if scheme not in {"ws", "wss"}:
        raise ValueError("events_url must begin with wss:// (ws:// serves on the loopback interface only)")
    try:
        return base_url(scheme.replace("ws", "http") + colon + rest)
    except ValueError as error:
        raise ValueError(
            f"events_url is not usable: {error}".replace("http", "ws").replace("base URL", "URL")
        ) from None


class ProductLink:
    """What a socket needs to know of the account: its turn, its token, and who to tell to wait."""

    def __init__(self, pool: SessionPool, account: Account, url: str, *, header: bool) -> None:
        self._pool = pool
        self._account = account
        self._url = url
        self._header = header

    async def admit(self) -> None:
        """Wait for this handshake's turn."""
        await self._pool.admit(self._account)

    def hold(self, seconds: float) -> None:
        """Let every request of the account wait: the server asked for it."""
        self._account.lane.hold(seconds)

    async def address(self) -> Address:
        """Return the address with the present token, logging in when there is none."""
        issued = await self._account.credential.get()
        token = issued.grant.token.reveal()
        joint = "&" if "?" in self._url else "?"
        return Address(
            url=f"{self._url}{joint}{urlencode({'token': token})}",
            headers={"Authorization": f"Bearer {token}"} if self._header else {},
            generation=issued.generation,
        )

    async def renew(self, generation: int) -> None:
        """Get a new token: the handshake refused the one of this generation."""
        await self._account.credential.renew(generation)

    def __repr__(self) -> str:
        return f"<ProductLink {self._url}>"


class ProductStream:
    """The events of one product, read in an ``async with`` by one ``async for``.

    The link is opened again whenever it ends; only leaving the ``async with`` or `aclose` ends the stream,
    or a refusal that waiting cannot mend, which is raised after what had arrived before. The socket is read
    all the time, whatever the consumer does: when `buffer` events wait, the oldest is dropped and counted.
    What was sent while the link was down is not here; `export.rows` has it.

    Cancelling a wait loses nothing. One consumer; another gets StreamBusy.
    """

    def __init__(
        self,
        product_id: int,
        link: Link,
        *,
        buffer: int = BUFFER,
        timing: SocketTiming = SocketTiming(),  # noqa: B008  (frozen)
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self.product_id = product_id
        self.received = 0
        """Messages that were events, of unknown types included."""
        self.unknown = 0
        """Those of them that nobody documented."""
        self.malformed = 0
        """Messages that could not be read."""
        self.dropped = 0
        """Events that were dropped because the consumer was too slow."""
        self.reconnects = 0
        """How often the link was lost after it had been up, or could not be opened."""
        self._capacity = buffer
        self._events: deque[ProductEvent] = deque()
        self._status = Status(state=State.CONNECTING)
        self._socket = ReconnectingSocket(
            link, on_frame=self._on_frame, on_state=self._on_state, timing=timing, ssl_context=ssl_context
        )
        self._task: asyncio.Task[None] | None = None
        self._taker: asyncio.Future[None] | None = None
        self._error: EnergyError | None = None
        self._closed = False

    @property
    def status(self) -> Status:
        """How the stream is doing now, and in how many seconds it tries again where it waits to."""
        return self._status

    async def __aenter__(self) -> Self:
        if self._task is not None or self._closed:
            raise StreamClosed("a stream is opened once; ask the client for another")
        self._task = asyncio.get_running_loop().create_task(
            self._read(), name=f"voltstorage-{self.product_id}"
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ProductEvent:
        while not self._events:
            self._check_open()
            await self._arrival()
        return self._events.popleft()

    async def aclose(self) -> None:
        """End the stream; idempotent, from any task. A waiting consumer sees the end."""
        self._closed = True
        self._events.clear()
        if not self._status.state.terminal:
            self._status = Status(state=State.CLOSED)
        self._wake()
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])

    def _check_open(self) -> None:
        if self._closed:
            raise StopAsyncIteration
        if self._error is not None:
            raise copy.copy(self._error) from self._error.__cause__
        if self._task is None:
            raise StreamClosed("open the stream with async with")

    async def _arrival(self) -> None:
        if self._taker is not None:
            raise StreamBusy("this stream has a consumer already")
        taker = self._taker = asyncio.get_running_loop().create_future()
        try:
            await taker
        finally:
            if self._taker is taker:
                self._taker = None

    def _wake(self) -> None:
        taker, self._taker = self._taker, None
        if taker is not None and not taker.done():
            taker.set_result(None)

    async def _read(self) -> None:
        """The stream's one task; whatever ends it is kept for the consumer."""
        try:
            await self._socket.run()
        except EnergyError as error:
            self._error = error
        except Exception as error:  # noqa: BLE001  (a fault of ours must reach the consumer, not vanish)
            _log.exception("the stream of product %s failed through a fault in its own code", self.product_id)
            self._error = InternalError("the stream failed through a fault in its own code")
            self._error.__cause__ = error
        else:
            self._closed = True
        over = State.AUTH_FAILED if isinstance(self._error, AuthError) else State.FAILED
        self._status = (
            Status(state=over, reason=str(self._error)) if self._error else Status(state=State.CLOSED)
        )
        self._wake()

    def _on_frame(self, frame: bytes) -> bool:
        try:
            event = product_event(self.product_id, frame)
        except DecodeError:
            self.malformed += 1
            return False
        self.received += 1
        if not isinstance(event, LatestData):
            self.unknown += 1
        if len(self._events) >= self._capacity:
            self._events.popleft()
            self.dropped += 1
        self._events.append(event)
        if self._taker is not None:
            self._wake()
        return True

    def _on_state(self, state: State, reason: str, retry_in: float | None) -> None:
        if state is State.DISCONNECTED:
            self.reconnects += 1
        if not self._closed:
            self._status = Status(state=state, reason=reason, retry_in=retry_in)

    def __repr__(self) -> str:
        lost = f", {self.dropped} dropped" if self.dropped else ""
        bad = f", {self.malformed} malformed" if self.malformed else ""
        waiting = f", {len(self._events)} waiting" if self._events else ""
        state = self._status.state
        return f"<ProductStream {self.product_id} {state}, {self.received} received{waiting}{lost}{bad}>"
