"""VoltStorage's WebSocket: one event a tick and product, on a grid of time that no connection moves."""

from __future__ import annotations

import asyncio
import json
import math
from collections import deque
from collections.abc import Callable
from typing import Final

from aiohttp import WSCloseCode, web
from attrs import define, evolve, field

from energy_core.clock import Timer
from energy_live.simulator.clock import Timeline
from energy_live.simulator.faults import Fault, FaultKind, Faults
from energy_live.simulator.server import CUT, Journal, abort
from energy_live.simulator.voltstorage.products import Product, event_fields

_KEPT: Final = 100_000
MESSAGE: Final = "latest-data"
"""The one type of message that the document shows."""


@define(eq=False)
class SentFrame:
    """One frame as it went out: what a consumer should have got."""

    product_id: int
    time: int
    data: dict[str, float]


class ProductEvents:
    """All product events. The n-th is a pure function of n, so that what a lost link missed can be told."""

    def __init__(self, timeline: Timeline, journal: Journal, faults: Faults, *, frame_s: float) -> None:
        if not frame_s > 0.0:
            raise ValueError(f"frame_s must be above 0: {frame_s}")
        self.faults = faults
        self.frames: deque[SentFrame] = deque(maxlen=_KEPT)
        """What was sent, in order, over all sockets."""
        self.close_codes: deque[int | None] = deque(maxlen=_KEPT)
        """The close code of each connection that has ended; None where it broke off."""
        self._timeline = timeline
        self._journal = journal
        self._frame_s = frame_s
        self._connections: set[EventConnection] = set()

    def time_of(self, tick: int) -> int:
        """Return the household second that the `tick`-th event tells."""
        # Rounded, so that a tick that falls on a second does not end up in the one before.
        return math.floor(round(self._timeline.start + tick * self._frame_s * self._timeline.speed, 6))

    def tick(self) -> int:
        """Return the number of the last tick."""
        return math.floor(self._timeline.elapsed() / self._frame_s + 1e-9)

    def monotonic(self) -> float:
        """Return the clock's monotonic seconds."""
        return self._timeline.clock.monotonic()

    def call_at(self, tick: int, callback: Callable[[], None]) -> Timer:
        """Call back when the `tick`-th event is due."""
        wait = tick * self._frame_s - self._timeline.elapsed()
        return self._timeline.clock.call_at(self.monotonic() + wait, callback)

    def values(self, product: Product, tick: int, *, whole: bool = False) -> dict[str, float]:
        """Return what the `tick`-th event says: everything, or what differs from the one before."""
        second = self.time_of(tick)
        if not product.has_data_at(second):
            return {}
        now = event_fields(product.household.at(second))
        if whole:
            return now
        before = event_fields(product.household.at(self.time_of(tick - 1)))
        return {name: value for name, value in now.items() if before[name] != value}

    async def follow(self, request: web.Request, product: Product) -> web.StreamResponse:
        """Serve one connection until it ends."""
        response = web.WebSocketResponse(compress=False, timeout=0.2)
        await response.prepare(request)
        link = EventConnection(self, request, response, product)
        fault = request.get(CUT)
        if fault is not None and fault.on_socket:
            link.pending.append(fault)
        self._journal.count("handshakes")
        self._connections.add(link)
        self.faults.sockets.add(link)
        try:
            await link.serve()
        finally:
            self._connections.discard(link)
            self.faults.sockets.discard(link)
            self.close_codes.append(response.close_code)
        return response

    def record(self, product: Product, tick: int, data: dict[str, float]) -> None:
        """Keep what was sent."""
        self._journal.count("frames")
        self.frames.append(SentFrame(product.id, self.time_of(tick), data))

    def close_all(self) -> None:
        """Tell every connection that the server goes away."""
        for link in list(self._connections):
            link.inject(Fault(kind=FaultKind.CLOSE, code=WSCloseCode.GOING_AWAY))


@define(eq=False)
class EventConnection:
    """One connection: a task that reads (and so answers pings), and a writer that keeps to the ticks."""

    events: ProductEvents
    request: web.Request
    socket: web.WebSocketResponse
    product: Product
    pending: list[Fault] = field(factory=list)
    sent: int = 0
    _wake: asyncio.Event = field(factory=asyncio.Event, init=False)
    _reader: asyncio.Task[None] | None = field(default=None, init=False)
    _silent_until: float = field(default=0.0, init=False)

    @property
    def product_id(self) -> int:
        """Which product the connection follows."""
        return self.product.id

    def inject(self, fault: Fault) -> None:
        """Let a fault happen now."""
        self.pending.insert(0, evolve(fault, after_frames=0))
        self._wake.set()

    async def serve(self) -> None:
        """Write until the client leaves or a fault ends it."""
        self._reader = asyncio.create_task(self._read())
        try:
            await self._write()
        except ConnectionError:
            pass  # the client left in the middle of a frame
        finally:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)

    async def _read(self) -> None:
        # No message of a client is accepted; reading is what answers its pings.
        async for _ in self.socket:
            pass
        self._wake.set()

    async def _write(self) -> None:
        tick, whole = self.events.tick(), True
        while not self._is_closed():
            await self._apply_pending()
            if self.events.monotonic() < self._silent_until:
                tick, whole = self.events.tick(), True
            elif not self._is_closed():
                # Late ticks are told one by one: what changed in each is only said once.
                whole = await self._send(tick, whole=whole)
            tick += 1
            await self._wait(tick)

    def _is_closed(self) -> bool:
        transport = self.request.transport
        return self.socket.closed or transport is None or transport.is_closing()

    async def _send(self, tick: int, *, whole: bool) -> bool:
        """Send one event if there is anything to say; returns whether the next one must be whole."""
        data = self.events.values(self.product, tick, whole=whole)
        if not data:
            return whole
        message = {"type": MESSAGE, "time": self.events.time_of(tick), "data": data}
        await self.socket.send_str(json.dumps(message, separators=(",", ":")))
        self.events.record(self.product, tick, data)
        self.sent += 1
        return False

    async def _wait(self, tick: int) -> None:
        """Wait until the tick is due, or something happens."""
        timer = self.events.call_at(tick, self._wake.set)
        await self._wake.wait()
        self._wake.clear()
        timer.cancel()

    async def _apply_pending(self) -> None:
        due = [fault for fault in self.pending if fault.after_frames <= self.sent]
        for fault in due:
            self.pending.remove(fault)
            await self._apply(fault)

    async def _apply(self, fault: Fault) -> None:
        match fault.kind:
            case FaultKind.DROP:
                abort(self.request)
            case FaultKind.CLOSE:
                await self.socket.close(code=fault.code, message=fault.text.encode())
            case FaultKind.FRAME:
                await self.socket.send_str(fault.text)
            case FaultKind.SILENT:
                self._silent_until = (
                    math.inf if fault.seconds is None else self.events.monotonic() + fault.seconds
                )
            case FaultKind.FREEZE if self._reader is not None:
                self._silent_until = math.inf
                self._reader.cancel()
