"""Clients compared in `benchmarks.asking`: each sends the same request repeatedly, one at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from time import process_time
from typing import Any, Final

from benchmarks.sampling import Sampler
from benchmarks.worker import Cost

TOKEN: Final = "0" * 64

Ask = Callable[[], Awaitable[Any]]
Open = Callable[[AsyncExitStack, str], Awaitable[dict[str, Ask]]]
"""Opens a client at a base URL and returns a function that sends one request."""


class Asker:
    """One client of the comparison."""

    def __init__(self, open: Open, url: str, case: str, times: int) -> None:  # noqa: A002
        self._open = open
        self._url = url
        self._case = case
        self._times = times

    def check(self) -> Sequence[object]:
        """Send one request and return the values of its answer."""
        answer, _ = asyncio.run(self._run(10))
        return _user(answer) if self._case == "me" else _sites(answer)

    def round(self, sampler: Sampler | None = None) -> Cost:
        """Send many requests and return their cost."""
        _, cost = asyncio.run(self._run(self._times, sampler))
        return Cost(cost / self._times)

    async def _run(self, times: int, sampler: Sampler | None = None) -> tuple[Any, float]:
        # In a small process malloc returns the pages of aiohttp's receive buffer after every request, which
        # costs a quarter more CPU; it stops doing so, for every client, once a large block was allocated and
        # freed.
        bytes(16 * 1024 * 1024)
        async with AsyncExitStack() as stack:
            ask = (await self._open(stack, self._url))[self._case]
            for _ in range(10):
                answer = await ask()
            if sampler is not None:
                sampler.start()
            started = process_time()
            for _ in range(times):
                answer = await ask()
            took = process_time() - started
            if sampler is not None:
                sampler.stop()
            return answer, took


def _attribute(record: Any, *names: str) -> Any:
    """Return an attribute or a dictionary entry, whichever the object has."""
    for name in names:
        if isinstance(record, dict) and name in record:
            return record[name]
        if not isinstance(record, dict) and hasattr(record, name):
            return getattr(record, name)
    raise LookupError(names)


def _user(answer: Any) -> list[object]:
    user = answer["user"] if isinstance(answer, dict) else answer
    return [_attribute(user, name) for name in ("id", "name", "email")]


def _sites(answer: Any) -> list[object]:
    sites = answer["records"] if isinstance(answer, dict) else answer
    return [[_attribute(site, "id", "idSite"), _attribute(site, "name")] for site in sites]


def raw(url: str, case: str, times: int) -> Asker:
    """aiohttp: one session, headers built once, `r.json()`."""
    import aiohttp

    async def open_raw(stack: AsyncExitStack, url: str) -> dict[str, Ask]:
        session = await stack.enter_async_context(
            aiohttp.ClientSession(headers={"X-Authorization": f"Token {TOKEN}"})
        )

        def asking(where: str) -> Ask:
            async def ask() -> Any:
                async with session.get(url + where) as answer:
                    return await answer.json()

            return ask

        return {
            "me": asking("users/me"),
            "sites": asking("users/1001/installations?extended=1"),
        }

    return Asker(open_raw, url, case, times)


def ours(url: str, case: str, times: int) -> Asker:
    """Ours: typed, authorized, rate limited, retried where it is safe."""
    from energy_core import RateLimit
    from vrm_async import VRMClient

    async def open_ours(stack: AsyncExitStack, url: str) -> dict[str, Ask]:
        wide = RateLimit(1_000_000, 1_000_000.0)  # large enough that no request waits for it
        client = await stack.enter_async_context(VRMClient(token=TOKEN, base_url=url, limit=wide))
        return {
            "me": client.users.me,
            "sites": lambda: client.sites(extended=True, user_id=1001),
        }

    return Asker(open_ours, url, case, times)


def peer(url: str, case: str, times: int) -> Asker:
    """victron-vrm: typed, with a retry, without a rate limit."""
    import victron_vrm.client

    victron_vrm.client.BASE_URL = url

    async def open_peer(stack: AsyncExitStack, _: str) -> dict[str, Ask]:
        client = await stack.enter_async_context(victron_vrm.client.VictronVRMClient(token=TOKEN))
        client._user_id = 1001
        return {"me": client.users.get_me, "sites": lambda: client.users.list_sites(extended=True)}

    return Asker(open_peer, url, case, times)
