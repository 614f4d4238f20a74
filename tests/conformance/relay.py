"""A relay between `vrm_async` and Prism, a mock of VRM's OpenAPI document, that records each exchange."""

from __future__ import annotations

import asyncio
import json
import re
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from attrs import frozen

HANDED_ON = ("x-authorization", "content-type", "accept")
_LISTENING = re.compile(r"Prism is listening on (http://\S+)")


@frozen
class Exchange:
    """A request and its answer."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    sent: bytes
    status: int
    violations: tuple[str, ...]
    """A violation of the document, in Prism's words: in the request, or in the mock's own answer."""
    body: bytes

    @property
    def answer(self) -> object:
        """The answer's JSON, or None."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    @property
    def refusals(self) -> tuple[str, ...]:
        """The violations in the request."""
        found = [said for said in self.violations if said.startswith("request")]
        if self.status in {404, 405} and b"/prism/errors#" in self.body:
            found.append(f"no path: {self.method} {self.path}")
        elif self.status == 422 and isinstance(self.answer, dict) and "validation" in self.answer:
            found += [
                _violation({**one, "location": ["request", *one["location"]]})
                for one in self.answer["validation"]
            ]
        elif self.status >= 400 and not found:
            found.append(f"status {self.status}: {self.body[:200]!r}")
        return tuple(found)


Fill = Callable[[str, object], object]
"""Converts an answer of the mock before it is passed on."""


def _violation(one: Mapping[str, Any]) -> str:
    return f"{'.'.join(one['location'])}: {one['message']}"


class Relay:
    """A server that passes every request to the mock."""

    def __init__(self, mock: str, session: aiohttp.ClientSession, fill: Fill) -> None:
        self._fill = fill
        self.seen: list[Exchange] = []
        self.url = ""
        self._mock = mock
        self._session = session

    async def handle(self, request: web.Request) -> web.Response:
        sent = await request.read()
        headers = {name: request.headers[name] for name in HANDED_ON if name in request.headers}
        url = f"{self._mock}{request.rel_url}"
        async with self._session.request(request.method, url, data=sent or None, headers=headers) as answer:
            body = await answer.read()
            kind = answer.headers.get("content-type")
            said = json.loads(answer.headers.get("sl-violations", "[]"))
        path = request.path.lstrip("/")
        if answer.status == 200 and body:
            body = json.dumps(self._fill(path, json.loads(body))).encode()
        self.seen.append(
            Exchange(
                request.method,
                path,
                tuple(request.query.items()),
                sent,
                answer.status,
                tuple(map(_violation, said)),
                body,
            )
        )
        return web.Response(status=answer.status, body=body, headers={"content-type": kind} if kind else None)


@asynccontextmanager
async def mocking(prism: str, document: Path, fill: Fill) -> AsyncIterator[Relay]:
    """Run Prism with the document, and the relay in front of it."""
    process = await asyncio.create_subprocess_exec(
        prism, "mock", "--host", "127.0.0.1", "--port", "0", str(document), stdout=PIPE, stderr=STDOUT
    )
    try:
        async with asyncio.timeout(60):
            mock = await _address(process)
        async with aiohttp.ClientSession() as session:
            relay = Relay(mock, session, fill)
            app = web.Application()
            app.router.add_route("*", "/{path:.*}", relay.handle)
            runner = web.AppRunner(app)
            await runner.setup()
            try:
                site = web.TCPSite(runner, "127.0.0.1", 0)
                await site.start()
                relay.url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
                reading = asyncio.create_task(_drained(process))
                yield relay
            finally:
                reading.cancel()
                await runner.cleanup()
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _address(process: Process) -> str:
    assert process.stdout is not None
    said = []
    async for line in process.stdout:
        said.append(line.decode(errors="replace"))
        found = _LISTENING.search(said[-1])
        if found:
            return found[1]
    raise AssertionError("Prism did not start:\n" + "".join(said[-20:]))


async def _drained(process: Process) -> None:
    """Read the log of Prism, so that its pipe never fills."""
    assert process.stdout is not None
    async for _ in process.stdout:
        pass
