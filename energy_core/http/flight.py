"""A call under way: its deadline, and the handle by which closing the pool ends it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from types import TracebackType
from typing import Final, Protocol, Self

from energy_core.clock import Clock
from energy_core.errors import ClientClosed, DeadlineExceeded, EnergyError

UNWIND_S: Final = 0.25
"""How long closing waits for aborted calls to give everything back."""


class Flight:
    """One asyncio timeout for a whole call; its deadline runs only while a request is on the wire.

    Used as a context manager, it turns its own end into `TimeoutError`; `ending()` says what that meant. A
    cancellation from outside passes through untouched.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._scope = asyncio.timeout(None)
        self._since = 0.0
        self.on_wire = False
        self.aborted = False

    async def __aenter__(self) -> Self:
        await self._scope.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._scope.__aexit__(kind, error, trace)

    def take_off(self, seconds: float) -> None:
        """Start the deadline: the turn has come, the request goes on the wire."""
        if not self.on_wire:
            self.on_wire, self._since = True, self._clock.monotonic()
            self._expire_in(seconds)

    def land(self) -> float:
        """Stop the deadline and return the seconds on the wire."""
        if not self.on_wire:
            return 0.0
        self.on_wire = False
        self._expire_in(None)
        return self._clock.monotonic() - self._since

    def abort(self) -> None:
        """End the call now; it will say `ClientClosed`."""
        self._expire_in(0.0)
        self.aborted = True

    def ending(self) -> EnergyError:
        """Return what the end of the flight means to its caller."""
        if self.aborted:
            return ClientClosed("the client was closed while the request was under way")
        return DeadlineExceeded("the answer was not whole before the deadline")

    def _expire_in(self, seconds: float | None) -> None:
        # Past its end a timeout cannot be moved any more, and an abort is not taken back.
        if not (self.aborted or self._scope.expired()):
            now = asyncio.get_running_loop().time()
            self._scope.reschedule(None if seconds is None else now + seconds)


class UnderWay(Protocol):
    """What closing the pool waits for, and in the end ends."""

    @property
    def on_wire(self) -> bool:
        """Whether it is worth waiting for."""

    def abort(self) -> None:
        """End it now; whoever uses it gets `ClientClosed`."""


class Departures:
    """Every call and every open download of one pool."""

    def __init__(self) -> None:
        self._under_way: set[UnderWay] = set()
        self._empty = asyncio.Event()
        self._empty.set()

    def __len__(self) -> int:
        return len(self._under_way)

    def add(self, one: UnderWay) -> None:
        """List what has begun."""
        self._under_way.add(one)
        self._empty.clear()

    def discard(self, one: UnderWay) -> None:
        """Strike out what has ended."""
        self._under_way.discard(one)
        if not self._under_way:
            self._empty.set()

    async def end(self, grace_s: float) -> None:
        """Let those on the wire finish for so long; end the others at once and the rest then."""
        self._abort(one for one in self._under_way if not one.on_wire)
        if not await self._emptied(grace_s):
            self._abort(self._under_way)
            await self._emptied(UNWIND_S)

    async def _emptied(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._empty.wait()
        return not self._under_way

    def _abort(self, doomed: Iterable[UnderWay]) -> None:
        for one in tuple(doomed):
            one.abort()
