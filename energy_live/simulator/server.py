"""Parts of both servers: listening, the log of requests, and fault injection."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from aiohttp import web
from attrs import define, field

from energy_core.clock import Clock
from energy_live.simulator.clock import Timeline
from energy_live.simulator.faults import Fault, FaultKind, Faults
from energy_live.simulator.voltstorage.accounts import Owner
from energy_live.simulator.vrm.accounts import Caller

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Middleware(Protocol):
    """An aiohttp middleware."""

    def __call__(self, request: web.Request, handler: Handler) -> Awaitable[web.StreamResponse]:
        """Return the response to a request, usually the handler's."""


CUT: Final = web.RequestKey("cut", Fault)
"""A fault that the handler itself applies, to a streamed answer or a WebSocket."""

CALLER: Final = web.RequestKey("caller", Caller)
"""The user who sent a request to VRM."""
OWNER: Final = web.RequestKey("owner", Owner)
"""The user who sent a request to VoltStorage."""

_KEPT: Final = 200_000
_LINGER: Final = struct.pack("ii", 1, 0)
_SECRET: Final = frozenset({"token", "password"})


@define(kw_only=True, eq=False)
class LoggedRequest:
    """A request that a server received; secrets are replaced by `***`."""

    service: str
    """`vrm` or `voltstorage`."""
    method: str
    path: str
    """Path below the base path, such as `installations/1039/stats`."""
    query: tuple[tuple[str, str], ...]
    scheme: str
    """Kind of credential: `Token`, `Bearer`, `query` or an empty string."""
    at: float
    """Time of arrival, in the clock's monotonic seconds."""
    status: int | None = None
    """Status of the answer; None before it, or if the connection broke."""


@define(eq=False)
class Journal:
    """Log of requests, and counters."""

    requests: deque[LoggedRequest] = field(factory=lambda: deque(maxlen=_KEPT))
    counters: dict[str, int] = field(factory=dict)

    def count(self, name: str, times: int = 1) -> None:
        """Add to a counter: `logins`, `failed_logins`, `limited`, `handshakes`, `frames`, `faults`."""
        self.counters[name] = self.counters.get(name, 0) + times


def abort(request: web.BaseRequest) -> None:
    """Reset the TCP connection of a request."""
    transport = request.transport
    if transport is None:
        return
    raw = transport.get_extra_info("socket")
    if raw is not None:
        # Linger 0: closing sends RST instead of FIN.
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
    transport.abort()


class SimulatedService:
    """One HTTP server of the simulator."""

    def __init__(
        self, name: str, base: str, *, clock: Clock, timeline: Timeline, journal: Journal, faults: Faults
    ) -> None:
        self.name = name
        self.base = base
        self.clock = clock
        self.timeline = timeline
        self.journal = journal
        self.faults = faults
        self.port = 0
        self._runner: web.AppRunner | None = None

    async def start(self, app: web.Application, host: str, port: int) -> None:
        """Start to listen; port 0 means a free one.

        Raises:
            OSError: The port is in use.
        """
        # First, so that the log has all requests and faults apply before authentication.
        app.middlewares.insert(0, self._middleware())
        app.on_response_prepare.append(self._date)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.2)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port, backlog=1024).start()
        except BaseException:
            await self.stop()
            raise
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Stop listening and close open connections."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def _date(self, _: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(self.timeline.dates)

    def _middleware(self) -> Middleware:
        @web.middleware
        async def outermost(request: web.Request, handler: Handler) -> web.StreamResponse:
            entry = self._enter(request)
            fault = self.faults.match(request.method, entry.path)
            response = await (handler(request) if fault is None else self._meet(fault, request, handler))
            if request.transport is not None and not request.transport.is_closing():
                entry.status = response.status
            return response

        return outermost

    def _enter(self, request: web.Request) -> LoggedRequest:
        header = request.headers.get("X-Authorization") or request.headers.get("Authorization") or ""
        scheme = header.partition(" ")[0] or ("query" if "token" in request.query else "")
        entry = LoggedRequest(
            service=self.name,
            method=request.method,
            path=request.path.removeprefix(self.base),
            query=tuple((name, "***" if name in _SECRET else value) for name, value in request.query.items()),
            scheme=scheme,
            at=self.clock.monotonic(),
        )
        self.journal.requests.append(entry)
        return entry

    async def _meet(self, fault: Fault, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.journal.count("faults")
        match fault.kind:
            case FaultKind.ANSWER:
                response = web.Response(status=fault.status, body=fault.body, headers=fault.headers)
                if not fault.declare_length:
                    response.enable_chunked_encoding()
                return response
            case FaultKind.SLOW:
                await self.clock.sleep(fault.seconds or 0.0)
            case FaultKind.RESET:
                if fault.after_handling:
                    await handler(request)
                abort(request)
                return web.Response()
            case FaultKind.TRUNCATE:
                request[CUT] = fault
                return await self._cut(fault, request, await handler(request))
            case _:
                request[CUT] = fault  # a fault of WebSockets: their handler applies it
        return await handler(request)

    async def _cut(
        self, fault: Fault, request: web.Request, response: web.StreamResponse
    ) -> web.StreamResponse:
        if not isinstance(response, web.Response) or not isinstance(response.body, bytes):
            return response  # streamed answers are truncated by their handler
        part = response.body[: int(len(response.body) * fault.keep)]
        if fault.valid_length:
            return web.Response(status=response.status, body=part, content_type=response.content_type)
        broken = web.StreamResponse(status=response.status)
        broken.content_type = response.content_type
        broken.content_length = len(response.body)
        await broken.prepare(request)
        await broken.write(part)
        # Let the event loop send what was written before the connection breaks.
        await asyncio.sleep(0)  # noqa: TID251  (not a wait)
        if request.transport is not None:
            request.transport.abort()
        return broken
