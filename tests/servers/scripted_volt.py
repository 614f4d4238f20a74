"""A VoltStorage server on a loopback socket, scripted by the test."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from voltstorage_async import Endpoints

BASE = "https://api.voltstorage.com/rest/"

TOKEN = (
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9."
    "eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9lIiwiaWF0IjoxNTE2MjM5MDIyfQ."
    "SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c"
)


def jwt(**claims: object) -> str:
    """A token with an unchecked signature."""
    parts = ({"alg": "HS256", "typ": "JWT"}, claims)
    encoded = (base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts)
    return ".".join([*encoded, "c2lnbmF0dXJl"])


def frame(time: int, **data: object) -> str:
    """A latest-data message."""
    return json.dumps({"type": "latest-data", "time": time, "data": data})


async def until(true: Callable[[], bool]) -> None:
    """Run the event loop until a condition holds."""
    async with asyncio.timeout(5):
        while not true():  # noqa: ASYNC110  (the thing itself cannot tell)
            await asyncio.sleep(0.005)


Play = Callable[[web.WebSocketResponse], Awaitable[None]]


class Service:
    """Counts requests; `plays` are the scripts of successive WebSocket connections.

    The last play serves all further connections. When its play has ended, a connection is closed with
    `close_code`; a play that wants to stay open waits for `quiet`.
    """

    def __init__(self) -> None:
        self.logins = 0
        self.refuse_logins = 0
        self.valid: set[str] = set()
        self.lifetime = 3600
        self.handshakes: list[dict[str, str]] = []
        self.auth_headers: list[str | None] = []
        self.handshake_status: list[int] = []
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.plays: list[Play] = []
        self.close_code = 1000
        self.quiet = asyncio.Event()
        self.export: Callable[[web.Request], Awaitable[web.StreamResponse]] = self.empty_export
        self.latest: dict[str, object] = {"time": None, "data": {}}
        self.sockets: set[web.WebSocketResponse] = set()
        self.base_url = ""

    async def login(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.logins += 1
        if self.refuse_logins or body["password"] != "right":
            return web.json_response({"errors": [f"no, {body['password']} is wrong"]}, status=400)
        token = jwt(sub=self.logins, iat=1000, exp=1000 + self.lifetime)
        self.valid.add(token)
        return web.json_response({"token": token})

    async def products(self, request: web.Request) -> web.Response:
        self.note(request)
        if not self.allowed(request):
            return web.json_response({"errors": ["jwt expired"]}, status=401)
        return web.json_response([{"id": 77}])

    async def events(self, request: web.Request) -> web.StreamResponse:
        self.handshakes.append(dict(request.query))
        self.auth_headers.append(request.headers.get("Authorization"))
        if self.handshake_status:
            return web.json_response({"errors": ["It is refused."]}, status=self.handshake_status.pop(0))
        if request.query.get("token") not in self.valid:
            return web.Response(status=401)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets.add(socket)
        play = self.plays.pop(0) if len(self.plays) > 1 else self.plays[0]
        try:
            await play(socket)
            await socket.close(code=self.close_code)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self.sockets.discard(socket)
        return socket

    async def serve_export(self, request: web.Request) -> web.StreamResponse:
        self.note(request)
        return await self.export(request)

    async def empty_export(self, request: web.Request) -> web.StreamResponse:
        return web.Response(text="sep=,\r\nTime,Power_Grid,Power_PV\r\n", content_type="text/csv")

    async def serve_latest(self, request: web.Request) -> web.Response:
        self.note(request)
        return web.json_response(self.latest)

    def note(self, request: web.Request) -> None:
        self.requests.append((request.method, request.path, dict(request.query)))

    def allowed(self, request: web.Request) -> bool:
        header = request.headers.get("Authorization", "").removeprefix("Bearer ")
        return (header or request.query.get("token")) in self.valid


@asynccontextmanager
async def serving(tls: ssl.SSLContext | None = None) -> AsyncIterator[Service]:
    service = Service()
    app = web.Application()
    paths = Endpoints()
    app.router.add_post(f"/rest/{paths.login}", service.login)
    app.router.add_get(f"/rest/{paths.products}", service.products)
    app.router.add_get(f"/rest/{paths.events}", service.events)
    app.router.add_get("/rest/data/export.{format}", service.serve_export)
    app.router.add_get(f"/rest/{paths.latest}", service.serve_latest)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    port = runner.addresses[0][1]
    service.base_url = f"http{'s' if tls else ''}://127.0.0.1:{port}/rest/"
    try:
        yield service
    finally:
        service.quiet.set()
        await runner.cleanup()
