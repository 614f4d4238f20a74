"""Seeded network faults between a client and the simulator, which stop on cancellation."""

from __future__ import annotations

import asyncio
from random import Random

from energy_live.simulator import Fault, Faults, faults
from energy_live.simulator.faults import Rule
from tests.servers.tcp_proxy import TcpProxy


class Weather:
    """Breaks the connections of a proxy repeatedly.

    A black hole ends with a closed connection: TCP gives up, it never skips bytes.
    """

    def __init__(self, random: Random, proxy: TcpProxy, switchboard: Faults, *, every_s: float) -> None:
        self.struck: list[str] = []
        self._expired_at = -10
        self._random = random
        self._proxy = proxy
        self._faults = switchboard
        self._every_s = every_s

    async def blow(self) -> None:
        """Run until cancelled, then restore the proxy."""
        kinds = (
            *(self._cut, self._reset, self._half_close, self._outage, self._close),
            *(self._swallow_down, self._swallow_up, self._delay, self._slice, self._expire),
        )
        try:
            while True:
                await asyncio.sleep(self._random.expovariate(1 / self._every_s))
                kind = self._random.choice(kinds)
                self.struck.append(kind.__name__)
                await kind()
        finally:
            self._proxy.cut()  # later bytes must not follow the discarded ones
            self._proxy.swallow_down = self._proxy.swallow_up = self._proxy.down = False
            self._proxy.delay_s, self._proxy.chunk = 0.0, 65_536

    async def _cut(self) -> None:
        self._proxy.cut()

    async def _reset(self) -> None:
        self._proxy.reset()

    async def _half_close(self) -> None:
        self._proxy.half_close()

    async def _expire(self) -> None:
        # A refused renewed token ends a source, so tokens are refused rarely.
        if len(self.struck) - self._expired_at >= 10:
            self._expired_at = len(self.struck)
            self._faults.expire_tokens()
            self._proxy.cut()

    async def _close(self) -> None:
        self._faults.inject(faults.close(self._random.choice([1000, 1001, 1011, 1012, 1013, 4000])))

    async def _outage(self) -> None:
        self._proxy.down = True
        self._proxy.cut()
        await self._a_while()
        self._proxy.down = False

    async def _swallow_down(self) -> None:
        self._proxy.swallow_down = True
        await self._a_while()
        self._proxy.cut()
        self._proxy.swallow_down = False

    async def _swallow_up(self) -> None:
        self._proxy.swallow_up = True
        await self._a_while()
        self._proxy.cut()
        self._proxy.swallow_up = False

    async def _delay(self) -> None:
        self._proxy.delay_s = self._random.uniform(0.002, 0.02)
        await self._a_while()
        self._proxy.delay_s = 0.0

    async def _slice(self) -> None:
        self._proxy.chunk = self._random.randint(1, 50)
        await self._a_while()
        self._proxy.chunk = 65_536

    async def _a_while(self) -> None:
        await asyncio.sleep(self._random.uniform(0.05, 0.4))


class Moody(Rule):
    """Makes a share of the requests to a path fail in various ways."""

    def __init__(self, random: Random, path: str, *, share: float) -> None:
        super().__init__(faults.reset(), method="*", path=path, times=None, after=0)
        self._random = random
        self._share = share

    def meets(self, method: str, path: str) -> bool:
        if self._random.random() >= self._share or not super().matches(method, path):
            return False
        self.fault = self._random.choice(MOODS)
        return True


MOODS: tuple[Fault, ...] = (
    faults.reset(),
    faults.reset(after_handling=True),
    faults.outage(500),
    faults.outage(503),
    faults.html_page(),
    faults.truncated(0.5, valid_length=False),
    faults.answer(400, '{"errors":["The parameter from must not lie in the future."]}'),
    faults.answer(403, '{"errors":["You lack the permission to read this product."]}'),
)
