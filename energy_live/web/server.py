"""The relay's HTTP server: routes, streams and files of the page."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final, Protocol, Self

from aiohttp import WSMsgType, web

from energy_core import Event
from energy_core.clock import Clock, SystemClock
from energy_core.printable import printable
from energy_live.web.access import SECURITY_HEADERS, ListenOptions, RelayAccess
from energy_live.web.event_log import DEFAULT_CAPACITY, EventLog, EventSelection, Reader, SlowReader
from energy_live.web.files import FILES, Handler, send_file
from energy_live.web.homes import Homes
from energy_live.web.queries import (
    BadQuery,
    answer,
    drop,
    encode,
    json_answer,
    parse_time,
    policy,
    selection,
    text,
    time,
)


class Middleware(Protocol):
    """Handles every request before its route."""

    def __call__(self, request: web.Request, handler: Handler) -> Awaitable[web.StreamResponse]:
        """Return the answer, usually that of the handler."""


_HEARTBEAT_S: Final = 15.0
"""Seconds between two pings; a client that does not answer for half of that is dropped."""
_SIGN_OF_LIFE_S: Final = 4.0
"""Quiet seconds after which a WebSocket client gets a line without an event."""
_QUIET_PULSES: Final = 7
"""Half of these seconds times this, and a client of server-sent events gets a comment."""
_WRITE_TIMEOUT_S: Final = 30.0
_WRITE_BUFFER: Final = 16 * 1024
_MAX_MESSAGE: Final = 1024
"""Bytes of a message from a client; messages have no meaning and are ignored."""
_MAX_MESSAGES: Final = 60  # of one client, before it is disconnected
_MAX_RANGE: Final = timedelta(days=2)


class WebServer:
    """Serves one event log and the homes made of it.

    `publish` adds events. `async with` starts and stops the server; it leaves no task and no socket behind.

    Args:
        options: Where to listen.
        homes: The homes of the page.
        clock: Source of time, also of "now" on the page.
        capacity: Events to keep in memory for clients that come back.
        continues: Whether the stream continues from a checkpoint: then it delivers or reports everything that
            happened while this program was not running.

    Raises:
        ValueError: The options would let others read without a token or without TLS.
    """

    def __init__(
        self,
        options: ListenOptions,
        homes: Homes,
        *,
        clock: Clock | None = None,
        capacity: int = DEFAULT_CAPACITY,
        continues: bool = False,
    ) -> None:
        options.check()
        self.clock = clock or SystemClock()
        self.options = options
        self.homes = homes
        self.log = EventLog(secrets.token_hex(4), capacity=capacity, clock=self.clock)
        self.access = RelayAccess(options, self.clock)
        self._continues = continues
        self.clients = 0
        """Streams that are open."""
        self.port = 0
        self._runner: web.AppRunner | None = None
        self._pulses = 0
        self._pulsing: asyncio.Task[None] | None = None
        self._streams: set[asyncio.Task[object]] = set()
        self._cache: dict[tuple[str, str], tuple[int, float, bytes]] = {}

    def publish(self, events: Iterable[Event]) -> None:
        """Add events of the stream, in its order: to the homes, to the log and so to every client."""
        events = list(events)
        for event in events:
            self.homes.take(event)
        self.log.append(events)

    @property
    def url(self) -> str:
        """The address of the page."""
        return self.options.base(self.port) + "/"

    async def __aenter__(self) -> Self:
        """Start to listen.

        Raises:
            OSError: The address is in use or not permitted, or a file of TLS cannot be read.
        """
        context = await asyncio.to_thread(self.options.tls_context)
        app = web.Application(middlewares=[self._guard()], client_max_size=_MAX_MESSAGE)
        for method, path, handler in self.routes():
            app.router.add_route(method, path, handler)
        self._runner = web.AppRunner(
            app, access_log=None, handle_signals=False, shutdown_timeout=1.0, max_line_size=4096
        )
        await self._runner.setup()
        try:
            site = web.TCPSite(
                self._runner, self.options.host, self.options.port, ssl_context=context, backlog=1024
            )
            await site.start()
        except BaseException:
            await self._stop()
            raise
        self.port = self._runner.addresses[0][1]
        self._pulsing = asyncio.create_task(self._pulse(), name="energy relay pulse")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stop()

    async def _stop(self) -> None:
        self.log.end()
        if self._pulsing is not None:
            self._pulsing.cancel()
        streams = [task for task in self._streams if not task.done()]
        if streams:  # they finish by themselves once the log has ended
            await asyncio.wait(streams, timeout=1.0)
        for task in self._streams:
            task.cancel()
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    def routes(self) -> list[tuple[str, str, Handler]]:
        """Return method, path and handler of every route; `openapi.json` describes the same."""
        return [
            *(("GET", path, send_file(*file)) for path, file in FILES.items()),
            ("GET", "/events", self._web_socket),
            ("GET", "/events.sse", self._server_sent_events),
            ("GET", "/state", self._state),
            ("GET", "/history", self._history),
            ("GET", "/healthz", self._health),
            ("GET", "/login", self._login),
            ("POST", "/link", self._link),
        ]

    # --- every request -------------------------------------------------------------------------------------

    def _guard(self) -> Middleware:
        @web.middleware
        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            problem = self.access.problem(request)
            if problem is not None:
                return answer(*problem)
            try:
                return await handler(request)
            except web.HTTPException as error:
                return answer(error.status, error.reason)
            except BadQuery as error:
                return answer(400, str(error))
            except ConnectionError:
                return answer(503, "the client has left")  # before the answer; nothing is sent

        return guard

    # --- plain answers -------------------------------------------------------------------------------------

    async def _state(self, request: web.Request) -> web.StreamResponse:
        home = text(request, "home")
        try:
            body = self._cached("state", home or "", lambda: self.homes.to_json(home))
        except KeyError:
            return answer(404, "there is no such home")
        return json_answer(body)

    async def _history(self, request: web.Request) -> web.StreamResponse:
        home, start, end = text(request, "home"), time(request, "from"), time(request, "to")
        if end is not None and start is None:
            start = end - timedelta(days=1)
        if start is not None and not timedelta() < (end or self.clock.utcnow()) - start <= _MAX_RANGE:
            raise BadQuery("from must be before to, by two days at most")
        try:
            if start is None and end is None:
                body = self._cached("history", home or "", lambda: self.homes.history(home, None, None))
            else:
                body = encode(self.homes.history(home, start, end))
        except KeyError:
            return answer(404, "there is no such home")
        return json_answer(body)

    def _cached(self, kind: str, home: str, make: Callable[[], Mapping[str, object]]) -> bytes:
        """Return a body without what came meanwhile being missing: many browsers ask for the same one."""
        now = self.clock.monotonic()
        known = self._cache.get((kind, home))
        if known is not None and known[0] == self.log.head and now - known[1] < 1.0:
            return known[2]
        body = encode({"cursor": self.log.cursor, **make()})
        if len(self._cache) > 1000:
            self._cache.clear()
        self._cache[kind, home] = (self.log.head, now, body)
        return body

    async def _health(self, request: web.Request) -> web.StreamResponse:
        health: dict[str, object] = {"status": "ok"}
        if self.access.is_allowed(request):
            health |= {
                "clients": self.clients,
                "events": self.log.head,
                "kept": len(self.log.entries),
                "dropped": self.log.dropped,
                "refused": self.access.refused,
                "homes": len(self.homes.records),
            }
        return json_answer(encode(health))

    async def _login(self, request: web.Request) -> web.StreamResponse:
        session = self.access.redeem(text(request, "code") or "")
        if session is None:
            return answer(401, "this link was used before, or is older than ten minutes")
        # A page of our own leads on: a strict cookie is not sent with a redirect that another site began.
        response = web.Response(
            text='<!doctype html><meta http-equiv="refresh" content="0;url=/"><title>energy-live</title>',
            content_type="text/html",
            headers={**SECURITY_HEADERS, "Cache-Control": "no-store"},
        )
        self.access.set_cookie(response, session)
        return response

    async def _link(self, request: web.Request) -> web.StreamResponse:
        if not self.access.has_token(request):
            return answer(401, "a token is needed")
        return json_answer(encode({"url": self.options.base(self.port) + self.access.new_link()}))

    # --- streams -------------------------------------------------------------------------------------------

    def _open(self, request: web.Request, cursor: str | None) -> tuple[Reader, bytes]:
        """Return a reader and the first line of its stream."""
        if self.clients >= self.options.max_clients:
            raise web.HTTPServiceUnavailable(reason="too many clients")
        chosen, rule = selection(request), policy(request)
        position: str | datetime | None = cursor
        if cursor is not None and "T" in cursor:
            position = parse_time("since", cursor)
        index, resumed = self.log.position(position)
        reader = Reader(self.log, chosen, rule, index)
        if not resumed:
            boot, _, number = (cursor or "").rpartition("-")
            known = int(number) if boot == self.log.boot and number.isdigit() else 0
            for source, loss in self.log.removed_since(min(known, self.log.first)).items():
                reader.lose(source, loss)
        first = {
            "v": 1,
            "kind": "relay",
            "boot": self.log.boot,
            "resumed": resumed,
            "complete": resumed or self.log.first == 0,
            "cursor": f"{self.log.boot}-{index}",
            "continues": self._continues,
            "alarms": _members(self.homes.alarms.values(), chosen),
            "states": _members(self.homes.states.values(), chosen),
        }
        return reader, encode(first)

    async def _web_socket(self, request: web.Request) -> web.StreamResponse:
        reader, first = self._open(request, text(request, "since"))
        socket = web.WebSocketResponse(
            heartbeat=_HEARTBEAT_S, max_msg_size=_MAX_MESSAGE, compress=False, writer_limit=_WRITE_BUFFER
        )
        await socket.prepare(request)
        if request.transport is not None:
            request.transport.set_write_buffer_limits(high=_WRITE_BUFFER)
        sender = asyncio.create_task(self._send(request, socket, reader, first), name="energy relay client")
        self._streams.add(sender)
        self.clients += 1
        messages = 0
        try:
            async for _ in socket:
                messages += 1
                if messages > _MAX_MESSAGES:
                    await socket.close(code=1008, message=b"this stream takes no messages")
        finally:
            self.clients -= 1
            self.log.close(reader)
            sender.cancel()
            self._streams.discard(sender)
            with suppress(asyncio.CancelledError):
                await sender
        return socket

    async def _send(
        self, request: web.Request, socket: web.WebSocketResponse, reader: Reader, first: bytes
    ) -> None:
        self.log.open(reader)
        try:
            await self._write(request, socket, first)
            written = self._pulses
            while True:
                lines = reader.take()
                if lines:
                    await self._write(request, socket, b"\n".join([line for _, line in lines]))
                    written = self._pulses
                elif self.log.ended:
                    await socket.close(code=1001, message=b"the relay stops")
                    return
                elif self._pulses - written >= 2:  # pages do not see pings
                    await self._write(request, socket, self._sign_of_life(reader))
                    written = self._pulses
                else:
                    await self.log.wait(reader.next)
        except SlowReader:
            await socket.close(code=1013, message=b"slow consumer")
        except (TimeoutError, ConnectionError, RuntimeError):
            drop(request)
        finally:
            self.log.close(reader)

    async def _write(self, request: web.Request, socket: web.WebSocketResponse, data: bytes) -> None:
        """Send one message; a client that takes nothing for too long is a TimeoutError."""
        if request.transport is None or not request.transport.get_write_buffer_size():
            await socket.send_frame(data, WSMsgType.TEXT)  # a timeout would cost a third of it
            return
        async with asyncio.timeout(_WRITE_TIMEOUT_S):
            await socket.send_frame(data, WSMsgType.TEXT)

    def _sign_of_life(self, reader: Reader) -> bytes:
        now, cursor = self.clock.utcnow().isoformat(), f"{self.log.boot}-{reader.next}"
        return encode({"v": 1, "kind": "relay", "boot": self.log.boot, "cursor": cursor, "now": now})

    async def _pulse(self) -> None:
        """Wake all readers now and then: one timer instead of one for each client."""
        while True:
            await self.clock.sleep(_SIGN_OF_LIFE_S / 2)
            self._pulses += 1
            self.log.wake()

    async def _server_sent_events(self, request: web.Request) -> web.StreamResponse:
        since = request.headers.get("Last-Event-ID") or text(request, "since")
        reader, first = self._open(request, since)
        response = web.StreamResponse(
            headers={**SECURITY_HEADERS, "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        )
        response.content_type = "text/event-stream"
        response.charset = "utf-8"
        await response.prepare(request)
        if request.transport is not None:
            request.transport.set_write_buffer_limits(high=_WRITE_BUFFER)
        self.clients += 1
        self.log.open(reader)
        task = asyncio.current_task()
        if task is not None:
            self._streams.add(task)
        try:
            cursor = f"{self.log.boot}-{reader.next}".encode()
            data, written = b"event: relay\nid: %s\ndata: %s\n\n" % (cursor, first), self._pulses
            while data or not self.log.ended:
                if data:
                    async with asyncio.timeout(_WRITE_TIMEOUT_S):
                        await response.write(data)
                    written = self._pulses
                else:
                    await self.log.wait(reader.next)
                lines = reader.take()
                data = b"".join(b"id: %s\ndata: %s\n\n" % (name.encode(), line) for name, line in lines)
                if not data and self._pulses - written >= _QUIET_PULSES:
                    data = b":\n\n"
        except (SlowReader, TimeoutError, ConnectionError):
            drop(request)
        finally:
            self.clients -= 1
            self.log.close(reader)
            if task is not None:
                self._streams.discard(task)
        return response

    @printable
    def __repr__(self) -> str:
        return f"<WebServer port {self.port}, {self.clients} clients, {self.log!r}>"


def _members(events: Iterable[Event], chosen: EventSelection) -> list[object]:
    return [json.loads(event.to_json()) for event in events if chosen.has_source(event.source)]
