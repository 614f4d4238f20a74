"""The wire: the only module that knows aiohttp, and the place where its exceptions become ours.

A failure leaves here as a value, not as a raised exception: aiohttp's exceptions and stack frames hold URLs
and headers, and a fresh exception raised further up carries neither.
"""

from __future__ import annotations

import asyncio
import errno
import re
import ssl
from collections.abc import Awaitable, Iterator, Mapping
from contextlib import suppress
from typing import Final

import aiohttp
from aiohttp import ClientSession
from attrs import frozen
from yarl import URL

from energy_core.errors import (
    ClientClosed,
    ConnectError,
    ConnectionLost,
    DeadlineExceeded,
    EnergyError,
    OutcomeUnknown,
    TLSVerificationError,
    TransportError,
)
from energy_core.http.body import Body
from energy_core.http.errand import Errand, Signature
from energy_core.http.headers import Headers
from energy_core.http.request import Request, origin_of
from energy_core.secret import Secret

__all__ = ["ClientSession", "Passage", "Reply", "Timeouts", "Transport"]

_NOT_SENDABLE: Final = re.compile(r"[^\x20-\x7e]")
_NOTHING: Final[Iterator[bytes]] = iter(())
_HEADERS: Final = {"Accept": "application/json, */*;q=0.5", "Accept-Encoding": "gzip, deflate"}


@frozen(kw_only=True)
class Timeouts:
    """Seconds; the total of a request belongs to its `Operation`."""

    connect_s: float = 10.0
    """Name lookup aside: TCP and TLS together."""
    read_gap_s: float = 30.0
    """The longest silence of a server that owes bytes."""
    least_bytes_per_s: float = 64.0
    """A streamed body slower than this, after its first `slow_after_s` of waiting, is given up."""
    slow_after_s: float = 60.0


class Passage:
    """One try of one request, as the innermost client middleware: it takes the turn once per wire send.

    aiohttp's own second send after a reset never happens, because the failure has become ours before aiohttp
    sees it; re-sends by a middleware of an injected session pass here and are counted.
    """

    __slots__ = ("_errand", "_sent_to", "_signature", "_trusted", "request", "sends", "url")

    def __init__(self, request: Request, url: str, errand: Errand, *, trusted: bool) -> None:
        self.request = request
        self.url = url
        self._trusted = trusted
        self._errand = errand
        self._signature: Signature | None = None
        self._sent_to: URL | None = None
        self.sends = 0

    def __deepcopy__(self, _: object) -> Passage:
        """Return itself: it leads to an event loop, and aioresponses copies all that it was asked with."""
        return self

    def __repr__(self) -> str:
        return f"<Passage of {self.request.operation.name}, sent {self.sends} times>"

    async def prepare(self, checked: Signature | None) -> Signature:
        """Fetch the signature before queueing: a login must not wait for the requests that wait for it.

        Args:
            checked: a signature that is known to be sendable.

        Raises:
            ValueError: the credential holds what cannot be sent.
        """
        signature = self._signature = self._errand.signature() or await self._errand.sign()
        if signature is not checked:
            _check_sendable({**signature.headers, **signature.query})
        return signature

    def signed_headers(self) -> dict[str, str]:
        """Return the headers to send; the credential's are among them for its own origin only."""
        if self._signature is None or not self._trusted:
            return dict(_HEADERS)
        return _HEADERS | _revealed(self._signature.headers)

    def signed_url(self) -> URL:
        """Return the URL to send to, with the credential's part of the query for its own origin only."""
        url = URL(self.url, encoded=True)
        if self._signature is not None and self._signature.query and self._trusted:
            url = url.extend_query(_revealed(self._signature.query))
        self._sent_to = url
        return url

    async def __call__(
        self, sending: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Wait for the turn, bring the signature up to date, send; called by aiohttp."""
        self._check(sending)
        errand = self._errand
        if not errand.try_turn():
            await errand.turn()
        try:
            # Minutes may have passed in the queue; a token renewed meanwhile saves a refused request.
            signature = errand.signature() or await errand.sign()
            if signature is not self._signature:
                self._sign_again(sending, signature)
            self.sends += 1
            errand.off()
            try:
                return await handler(sending)
            except (aiohttp.ClientError, OSError) as error:
                failure = translated(error)
        finally:
            errand.end_turn()
        raise failure

    def _check(self, sending: aiohttp.ClientRequest) -> None:
        if sending.url is not self._sent_to and origin_of(str(sending.url)) != origin_of(self.url):
            raise TransportError("a middleware of the session pointed the request elsewhere; it was not sent")
        if self.sends and not self.request.operation.repeatable:
            raise OutcomeUnknown("a middleware of the session wanted to repeat what must not be repeated")

    def _sign_again(self, sending: aiohttp.ClientRequest, signature: Signature) -> None:
        self._signature = signature
        sending.headers.update(self.signed_headers())
        sending.url = self.signed_url()


class Reply:
    """An answer whose head has arrived. Its body is read once, through one bounded reader."""

    __slots__ = ("_body", "_inflating", "_limit", "_raw", "headers", "status")

    def __init__(self, raw: aiohttp.ClientResponse, *, limit: int | None) -> None:
        self._raw = raw
        self.status = raw.status
        self.headers: Mapping[str, str] = Headers(raw.headers)
        self._limit = limit
        self._body: Body | None = None
        self._inflating: Iterator[bytes] = _NOTHING

    async def read(self) -> bytes:
        """Read the whole body and give the connection back.

        Raises:
            TransportError, DecodeError: the body is broken, too large, or not what its encoding says.
        """
        body, pieces = self._opened(), list[bytes]()
        while data := await self._arriving():
            pieces += body.feed(data)
        body.finish()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    @property
    def arrived(self) -> bool:
        """Whether the whole body came with the head, as small ones do."""
        content = self._raw.content
        return content.is_eof() and content.exception() is None

    def read_now(self) -> bytes:
        """Read a body that has arrived; raises like `read`."""
        data = self._raw.content.read_nowait()
        if (
            "Content-Encoding" not in self._raw.headers
            and self._limit is not None
            and len(data) <= self._limit
        ):
            return data  # nothing that `Body` would do anything about
        body = self._opened()
        whole = b"".join(body.feed(data)) if data else b""
        body.finish()
        return whole

    async def piece(self) -> bytes:
        """Return the next piece of the decompressed body, empty at its end; the same errors as `read`."""
        while not (piece := next(self._inflating, b"")):
            data = await self._arriving()
            if not data:
                self._opened().finish()
                return b""
            self._inflating = self._opened().feed(data)
        return piece

    async def first_piece(self) -> bytes:
        """Begin to read a body that is handed out and not kept: its size has no limit, its expansion has."""
        self._limit = None
        return await self.piece()

    def close(self) -> None:
        """Let go of the connection: back to the pool when the body was read to its end, closed otherwise."""
        self._raw.close()

    def _opened(self) -> Body:
        self._body = self._body or Body(self.headers, limit=self._limit)
        return self._body

    async def _arriving(self) -> bytes:
        try:
            return await self._raw.content.readany()
        except Exception as error:  # noqa: BLE001  (aiohttp's parsers add types of their own)
            failure = translated(error)
        raise failure


class Transport:
    """One aiohttp session, made at the first use or injected; an injected one is never closed."""

    def __init__(
        self, session: ClientSession | None, *, ssl_context: ssl.SSLContext | None, timeouts: Timeouts
    ) -> None:
        if ssl_context is not None and not isinstance(ssl_context, ssl.SSLContext):
            raise TypeError(f"ssl_context must be an ssl.SSLContext, not {type(ssl_context).__name__}")
        self._injected = session is not None
        self._session = session
        self._ssl = ssl_context
        self._checked: Signature | None = None
        # The deadline is the pool's: aiohttp's total would also count the wait for a turn.
        self._timeout = aiohttp.ClientTimeout(
            total=None, connect=None, sock_connect=timeouts.connect_s, sock_read=timeouts.read_gap_s
        )

    async def exchange(self, passage: Passage, *, limit: int | None) -> Reply | EnergyError:
        """Send once and wait for the head of the answer; a failure of the wire is returned, not raised."""
        self._checked = await passage.prepare(self._checked)
        try:
            return Reply(await self._sending(passage), limit=limit)
        except asyncio.CancelledError as error:
            # aiohttp's frames hold the headers; a reporter would print them with the traceback.
            error.__context__ = None
            raise error.with_traceback(None)  # noqa: B904  (it is the same one)
        except EnergyError as error:
            return _fresh(error)
        except Exception as error:  # noqa: BLE001  (a middleware of an injected session may raise anything)
            return ClientClosed("the session is closed") if self._session_closed() else translated(error)

    async def aclose(self, seconds: float) -> None:
        """Close the session if it is ours, waiting no longer than this for its sockets."""
        if self._session is not None and not self._injected:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._session.close()

    def _sending(self, passage: Passage) -> Awaitable[aiohttp.ClientResponse]:
        session = self._session = self._session or self._own_session()
        return session.request(
            passage.request.operation.method,
            passage.signed_url(),
            headers=passage.signed_headers(),
            json=passage.request.json,
            ssl=self._ssl or True,
            allow_redirects=False,
            raise_for_status=False,
            auto_decompress=False,
            timeout=self._timeout,
            # Given per request, middlewares replace the session's own: those keep their place, outside.
            middlewares=(*(getattr(session, "_middlewares", None) or ()), passage),
        )

    def _own_session(self) -> ClientSession:
        # No limit on connections: the lanes bound the requests, a second queue would hide behind them.
        return ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            timeout=self._timeout,
        )

    def _session_closed(self) -> bool:
        return self._session is not None and self._session.closed


def translated(error: BaseException) -> TransportError:
    """Say in our own words what aiohttp said; its words may hold the URL and the headers."""
    if isinstance(error, aiohttp.ClientConnectorError):
        return _not_connected(error)
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return ConnectError("the connection was not made in time", kind="timeout")
    if isinstance(error, TimeoutError):
        return DeadlineExceeded("the server fell silent")
    if isinstance(error, aiohttp.ClientResponseError):
        return TransportError("the answer is not valid HTTP")
    if isinstance(error, aiohttp.ClientError | OSError):
        return ConnectionLost("the connection broke before the answer was whole")
    return TransportError(f"sending failed with an unforeseen {type(error).__name__}")


def _not_connected(error: aiohttp.ClientConnectorError) -> ConnectError:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        reason = getattr(error.certificate_error, "verify_message", "") or "verification failed"
        return TLSVerificationError(f"the server's certificate cannot be trusted ({reason})")
    if isinstance(error, aiohttp.ClientSSLError):
        return ConnectError("no TLS connection could be made", kind="tls")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return ConnectError("the host name could not be resolved", kind="dns")
    if error.os_error.errno == errno.ECONNREFUSED:
        return ConnectError("the connection was refused", kind="refused")
    return ConnectError("the server could not be reached", kind="unreachable")


def _fresh(error: EnergyError) -> EnergyError:
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def _check_sendable(secrets: Mapping[str, Secret]) -> None:
    for name, secret in secrets.items():
        if _NOT_SENDABLE.search(name) or _NOT_SENDABLE.search(secret.reveal()):
            raise ValueError("the credential holds characters that cannot be sent: only printable ASCII can")


def _revealed(secrets: Mapping[str, Secret]) -> dict[str, str]:
    return {name: secret.reveal() for name, secret in secrets.items()}
