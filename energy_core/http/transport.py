"""Sending one request through aiohttp, once: rate limit, authentication headers, read timeout.

A failure is returned, not raised: aiohttp's exceptions and stack frames hold URLs and headers, and an
exception that is raised further up carries neither.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any

import aiohttp
from aiohttp import ClientSession
from aiohttp.connector import Connection
from multidict import CIMultiDict
from yarl import URL

from energy_core.clock import Clock
from energy_core.errors import ClientClosed, EnergyError, OutcomeUnknown, TransportError
from energy_core.http.credential import NO_AUTH, AuthHeaders, Grant
from energy_core.http.operation import Request
from energy_core.http.rate_limiter import RateLimiter
from energy_core.http.response import OpenResponse, ReadTimeouts, Timeouts, transport_error
from energy_core.printable import printable
from energy_core.url import origin_of

__all__ = ["ClientSession", "SendMiddleware", "Transport"]


class SendMiddleware:
    """The innermost aiohttp client middleware of one request: waits for the rate limiter before each send.

    Failures become our errors here, so that aiohttp does not send a second time after a reset. A middleware
    of an injected session may send again; each of its sends passes the rate limiter too.

    Args:
        request: The request.
        url: Its absolute URL.
        limiter: The account's rate limiter.
        grant_now: Returns the credential, or None if a login is needed first.
        grant_soon: Waits for the credential.
        on_sent: Called when the request is about to be sent.
        trusted: Whether the URL has the credential's own origin.
    """

    __slots__ = (
        "_auth",
        "_limiter",
        "_on_sent",
        "_sends",
        "_sent_to",
        "_trusted",
        "_url",
        "grant_now",
        "grant_soon",
        "read_timeouts",
        "request",
    )

    def __init__(
        self,
        request: Request,
        url: str,
        *,
        limiter: RateLimiter,
        grant_now: Callable[[], Grant | None],
        grant_soon: Callable[[], Awaitable[Grant]],
        on_sent: Callable[[], None],
        trusted: bool,
    ) -> None:
        self.request = request
        self._url = url
        self._limiter = limiter
        self.grant_now = grant_now
        self.grant_soon = grant_soon
        self._on_sent = on_sent
        self._trusted = trusted
        self.read_timeouts: ReadTimeouts | None = None  # None if aiohttp itself watches the read timeout
        self._auth = NO_AUTH
        self._sent_to: URL | None = None
        self._sends = 0

    def __deepcopy__(self, _: object) -> SendMiddleware:
        """Return itself: aioresponses copies a request's arguments, and event loops cannot be copied."""
        return self

    @printable
    def __repr__(self) -> str:
        return f"<SendMiddleware of {self.request.operation.name}, sent {self._sends} times>"

    def authorize(self, auth: AuthHeaders) -> tuple[URL, CIMultiDict[str]]:
        """Return URL and headers to send; the credential is included for its own origin only."""
        self._auth = auth
        sent = auth if self._trusted else NO_AUTH
        url = URL(self._url, encoded=True)
        self._sent_to = url = url if sent.query is None else url.extend_query(sent.query())
        return url, sent.headers()

    async def __call__(
        self, sending: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Wait for the rate limiter, refresh the authentication headers, send; called by aiohttp."""
        if self._sends or sending.url is not self._sent_to:
            self._check_resend(sending)
        limiter, priority = self._limiter, self.request.priority
        waited = not limiter.try_acquire(priority)
        if waited:
            await limiter.acquire(priority)
        try:
            if waited or self._sends:
                await self._authorize_again(sending)
            self._sends += 1
            self._on_sent()
            try:
                return await handler(sending)
            except (aiohttp.ClientError, OSError) as error:
                failure = transport_error(TimeoutError() if self._timed_out(sending) else error)
            finally:
                if self.read_timeouts is not None and sending.response is not None:
                    self.read_timeouts.stop(sending.response)
        finally:
            # The response headers arrived, or the request failed.
            limiter.release(priority)
        raise failure

    def _timed_out(self, sending: aiohttp.ClientRequest) -> bool:
        if self.read_timeouts is None or sending.response is None:
            return False
        return self.read_timeouts.expired(sending.response)

    async def _authorize_again(self, sending: aiohttp.ClientRequest) -> None:
        # The wait may have taken minutes: with a token renewed meanwhile, the old one would be refused.
        grant = self.grant_now() or await self.grant_soon()
        if grant is not self._auth.grant:
            sending.url, headers = self.authorize(AuthHeaders(grant))
            sending.headers.update(headers)

    def _check_resend(self, sending: aiohttp.ClientRequest) -> None:
        if origin_of(str(sending.url)) != origin_of(self._url):
            raise TransportError("a middleware of the session changed the request's origin; it was not sent")
        if self._sends and not self.request.operation.repeatable:
            raise OutcomeUnknown(
                "a middleware of the session tried to repeat a request that is not idempotent"
            )


def _response_class(read_timeouts: ReadTimeouts) -> type[aiohttp.ClientResponse]:
    """Return the class of a session's responses, which start their own read timeout.

    aiohttp's `sock_read` starts and stops two timers for each request, a tenth of its cost. The middleware
    stops the timeout; wrapping `start` in a coroutine would cost as much as a timer.
    """

    class TimedResponse(aiohttp.ClientResponse):
        def start(self, connection: Connection) -> Coroutine[Any, Any, aiohttp.ClientResponse]:
            if connection.protocol is None or connection.protocol.read_timeout is None:
                read_timeouts.start(self)  # otherwise aiohttp watches this request
            return super().start(connection)

        def __del__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  (aiohttp's own)
            try:  # noqa: SIM105  (every response passes here, and `suppress` costs several times as much)
                super().__del__(*args, **kwargs)
            except RuntimeError:  # still open after its event loop was closed
                pass

    return TimedResponse


class Transport:
    """One aiohttp session, created at the first request or injected; an injected one is never closed."""

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
        self._auth = NO_AUTH
        self._read_timeouts = ReadTimeouts(timeouts.read_timeout_s, clock=clock)
        # The pool watches the deadline: aiohttp's total would include the wait for the rate limiter.
        connect_s = timeouts.connect_s
        self._no_read_timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect_s)
        self._read_timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=connect_s, sock_read=timeouts.read_timeout_s
        )

    @property
    def open(self) -> bool:
        """Whether a session of our own has to be closed."""
        return self._session is not None and not self._injected

    async def exchange(self, sending: SendMiddleware) -> OpenResponse | EnergyError:
        """Send a request once and wait for the response headers. A failure is returned, not raised."""
        # The login comes before the queue: it must not wait for the requests that wait for it.
        grant = sending.grant_now() or await sending.grant_soon()
        if grant is not self._auth.grant:
            self._auth = AuthHeaders(grant)
        request = sending.request
        # aiohttp watches an injected session's responses, and requests with a body.
        if not self._injected and request.json is None and request.content is None:
            sending.read_timeouts = self._read_timeouts
        try:
            raw = await self._send(sending)
            return OpenResponse(raw, request.operation.body_limit, sending.read_timeouts)
        except asyncio.CancelledError as error:
            # aiohttp's frames hold the headers; an error reporter would print them with the traceback.
            error.__context__ = None
            raise error.with_traceback(None)  # noqa: B904  (it is the same exception)
        except EnergyError as error:
            error.__cause__ = error.__context__ = None
            return error.with_traceback(None)
        except Exception as error:  # noqa: BLE001  (a middleware of an injected session may raise anything)
            return ClientClosed("the session is closed") if self._session_closed() else transport_error(error)

    async def aclose(self, seconds: float) -> None:
        """Close the session if it is ours, waiting at most so many seconds for its sockets."""
        self._read_timeouts.close()
        if self._session is not None and not self._injected:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._session.close()

    def _send(self, middleware: SendMiddleware) -> Awaitable[aiohttp.ClientResponse]:
        session = self._session = self._session or self._new_session()
        method = middleware.request.operation.method
        url, headers = middleware.authorize(self._auth)
        if middleware.read_timeouts is not None:  # a session of our own has the other options as its defaults
            return session.request(
                method, url, headers=headers, allow_redirects=False, middlewares=(middleware,)
            )
        content = middleware.request.content
        if content is not None:
            headers = headers.copy()  # the account's requests share them
            headers["Content-Type"] = content.type
            if content.encoding:
                headers["Content-Encoding"] = content.encoding
        return session.request(
            method,
            url,
            headers=headers,
            json=middleware.request.json,
            data=None if content is None else content.data,
            ssl=self._ssl or True,
            allow_redirects=False,
            raise_for_status=False,
            auto_decompress=False,
            timeout=self._read_timeout,
            # Middlewares given per request replace the session's own; those stay, outside of ours.
            middlewares=(*(getattr(session, "_middlewares", None) or ()), middleware),
        )

    def _new_session(self) -> ClientSession:
        # No limit of connections: the rate limiters bound the requests, and aiohttp's queue would be a
        # second.
        return ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=self._ssl or True),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            timeout=self._no_read_timeout,
            auto_decompress=False,
            response_class=_response_class(self._read_timeouts),
        )

    def _session_closed(self) -> bool:
        return self._session is not None and self._session.closed
