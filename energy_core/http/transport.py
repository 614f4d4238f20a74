"""The wire: the only module that knows aiohttp, and the place where its exceptions become ours.

A failure leaves here as a value, not as a raised exception: aiohttp's exceptions and stack frames hold URLs
and headers, and a fresh exception raised further up carries neither.
"""

from __future__ import annotations

import asyncio
import errno
import ssl
from collections.abc import Awaitable, Coroutine
from contextlib import suppress
from typing import Any

import aiohttp
from aiohttp import ClientSession
from aiohttp.connector import Connection
from multidict import CIMultiDict
from yarl import URL

from energy_core.clock import Clock
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
from energy_core.http.credential import NO_AUTH, AuthHeaders, SendCallbacks
from energy_core.http.operation import Request
from energy_core.http.response import AiohttpResponse, OpenResponse, ReadTimeouts, Timeouts, abort_response
from energy_core.printable import printable
from energy_core.url import origin_of

__all__ = ["ClientSession", "OpenResponse", "SendMiddleware", "Timeouts", "Transport"]


class SendMiddleware:
    """One try of one request, as the innermost client middleware: it takes the turn once per wire send.

    aiohttp's own second send after a reset never happens, because the failure has become ours before aiohttp
    sees it; re-sends by a middleware of an injected session pass here and are counted.
    """

    __slots__ = ("_sent_to", "_signed", "_silence", "_trusted", "errand", "request", "sends", "url")

    def __init__(
        self,
        request: Request,
        url: str,
        errand: SendCallbacks,
        *,
        trusted: bool,
        silence: ReadTimeouts[AiohttpResponse] | None,
    ) -> None:
        self.request = request
        self.url = url
        self.errand = errand
        self._trusted = trusted
        self._silence = silence  # None where aiohttp watches
        self._signed = NO_AUTH
        self._sent_to: URL | None = None
        self.sends = 0

    def __deepcopy__(self, _: object) -> SendMiddleware:
        """Return itself: it leads to an event loop, and aioresponses copies all that it was asked with."""
        return self

    @printable
    def __repr__(self) -> str:
        return f"<Passage of {self.request.operation.name}, sent {self.sends} times>"

    def authorize(self, signed: AuthHeaders) -> tuple[URL, CIMultiDict[str]]:
        """Return the URL to send to and the headers to send, signed for the credential's own origin only."""
        self._signed = signed
        shown = signed if self._trusted else NO_AUTH
        url = URL(self.url, encoded=True)
        self._sent_to = url = url if shown.query is None else url.extend_query(shown.query())
        return url, shown.headers()

    async def __call__(
        self, sending: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Wait for the turn, bring the signature up to date, send; called by aiohttp."""
        if self.sends or sending.url is not self._sent_to:
            self._check(sending)
        errand, lane, priority = self.errand, self.errand.limiter, self.request.priority
        waited = not lane.try_acquire(priority)
        if waited:
            await lane.acquire(priority)
        try:
            if waited or self.sends:
                await self._authorize_again(sending)
            self.sends += 1
            errand.on_sent()
            try:
                return await handler(sending)
            except (aiohttp.ClientError, OSError) as error:
                failure = translated(TimeoutError() if self._fell_silent(sending) else error)
            finally:
                if self._silence is not None and sending.response is not None:
                    self._silence.stop(sending.response)
        finally:
            lane.release(priority)
        raise failure

    def _fell_silent(self, sending: aiohttp.ClientRequest) -> bool:
        if self._silence is None or sending.response is None:
            return False
        return self._silence.expired(sending.response)

    async def _authorize_again(self, sending: aiohttp.ClientRequest) -> None:
        # Minutes may have passed in the queue; a token renewed meanwhile saves a refused request.
        signature = self.errand.auth_headers() or await self.errand.authorize()
        if signature is not self._signed.by:
            sending.url, headers = self.authorize(AuthHeaders(signature))
            sending.headers.update(headers)

    def _check(self, sending: aiohttp.ClientRequest) -> None:
        if origin_of(str(sending.url)) != origin_of(self.url):
            raise TransportError("a middleware of the session pointed the request elsewhere; it was not sent")
        if self.sends and not self.request.operation.repeatable:
            raise OutcomeUnknown("a middleware of the session wanted to repeat what must not be repeated")


def _watched_by(silence: ReadTimeouts[AiohttpResponse]) -> type[aiohttp.ClientResponse]:
    """Return the class of answers whose head has to come before the silence is too long.

    aiohttp's own `sock_read` starts and stops two timers for each request, a tenth of what it costs. It is
    the passage that stops watching: a coroutine around `start` would cost as much as a timer.
    """

    class Watched(aiohttp.ClientResponse):
        def start(self, connection: Connection) -> Coroutine[Any, Any, aiohttp.ClientResponse]:
            if connection.protocol is None or connection.protocol.read_timeout is None:
                silence.start(self)  # else aiohttp watches this one
            return super().start(connection)

        def __del__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  (aiohttp's own)
            with suppress(RuntimeError):  # left open until after its event loop was closed
                super().__del__(*args, **kwargs)

    return Watched


class Transport:
    """One aiohttp session, made at the first use or injected; an injected one is never closed."""

    def __init__(
        self,
        session: ClientSession | None,
        *,
        ssl_context: ssl.SSLContext | None,
        timeouts: Timeouts,
        clock: Clock,
    ) -> None:
        if ssl_context is not None and not isinstance(ssl_context, ssl.SSLContext):
            raise TypeError(f"ssl_context must be an ssl.SSLContext, not {type(ssl_context).__name__}")
        self._injected = session is not None
        self._session = session
        self._ssl = ssl_context
        self._signed = NO_AUTH
        self._silence = ReadTimeouts[AiohttpResponse](
            timeouts.read_timeout_s, clock=clock, cut=abort_response
        )
        # The deadline is the pool's: aiohttp's total would also count the wait for a turn.
        connect_s = timeouts.connect_s
        self._patient = aiohttp.ClientTimeout(total=None, sock_connect=connect_s)
        self._impatient = aiohttp.ClientTimeout(
            total=None, sock_connect=connect_s, sock_read=timeouts.read_timeout_s
        )

    @property
    def open(self) -> bool:
        """Whether a session of our own has to be closed."""
        return self._session is not None and not self._injected

    async def exchange(
        self, request: Request, url: str, errand: SendCallbacks, *, trusted: bool
    ) -> OpenResponse | EnergyError:
        """Send once and wait for the head of the answer; a failure of the wire is returned, not raised."""
        # Before queueing: a login must not wait for the requests that wait for it.
        signature = errand.auth_headers() or await errand.authorize()
        if signature is not self._signed.by:
            self._signed = AuthHeaders(signature)
        # An injected session makes answers of its own, and a body on its way out is not the server's silence.
        silence = None if self._injected or request.json is not None else self._silence
        passage = SendMiddleware(request, url, errand, trusted=trusted, silence=silence)
        try:
            raw = await self._sending(passage, watched=silence is not None)
            return OpenResponse(raw, request.operation.body_limit, translated, silence)
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
        self._silence.close()
        if self._session is not None and not self._injected:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._session.close()

    def _sending(self, passage: SendMiddleware, *, watched: bool) -> Awaitable[aiohttp.ClientResponse]:
        session = self._session = self._session or self._own_session()
        method = passage.request.operation.method
        url, headers = passage.authorize(self._signed)
        if watched:  # our own session knows the rest
            return session.request(
                method, url, headers=headers, allow_redirects=False, middlewares=(passage,)
            )
        return session.request(
            method,
            url,
            headers=headers,
            json=passage.request.json,
            ssl=self._ssl or True,
            allow_redirects=False,
            raise_for_status=False,
            auto_decompress=False,
            timeout=self._impatient,
            # Given per request, middlewares replace the session's own: those keep their place, outside.
            middlewares=(*(getattr(session, "_middlewares", None) or ()), passage),
        )

    def _own_session(self) -> ClientSession:
        # No limit on connections: the lanes bound the requests, a second queue would hide behind them.
        return ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=self._ssl or True),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            timeout=self._patient,
            auto_decompress=False,
            response_class=_watched_by(self._silence),
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
