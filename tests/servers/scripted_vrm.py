"""A VRM server on a real socket with scripted answers, which records its requests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

from aiohttp import web


class Asked(NamedTuple):
    """One request as it arrived."""

    method: str
    path: str
    query: list[tuple[str, str]]
    authorization: str | None
    json: object


class FakeVRM:
    """Answers by method and path; a function is called with the request."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.url = ""
        self._answers: dict[tuple[str, str], object] = {}
        self.otherwise: tuple[int, object] = 404, {"success": False, "errors": "unknown"}
        """The answer to requests without a script."""

    def answers(self, method: str, path: str, answer: object, *, status: int = 200) -> None:
        self._answers[method, path] = answer if callable(answer) else (status, answer)

    def asked_for(self, path: str) -> list[Asked]:
        return [asked for asked in self.asked if asked.path == path]

    async def handle(self, request: web.Request) -> web.Response:
        asked = Asked(
            request.method,
            request.path.removeprefix("/v2/"),
            list(request.query.items()),
            request.headers.get("X-Authorization"),
            await request.json() if request.can_read_body else None,
        )
        self.asked.append(asked)
        answer = self._answers.get((asked.method, asked.path), self.otherwise)
        status, body = answer(asked) if callable(answer) else answer
        if isinstance(body, web.Response):
            return web.Response(status=status, body=body.body, content_type=body.content_type)
        if isinstance(body, bytes):
            return web.Response(status=status, body=body, content_type="application/json")
        return web.json_response(body, status=status)


Answer = Callable[[Asked], tuple[int, object]]


@asynccontextmanager
async def serving() -> AsyncIterator[FakeVRM]:
    fake = FakeVRM()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", fake.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert runner.addresses
    fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v2/"
    try:
        yield fake
    finally:
        await runner.cleanup()
