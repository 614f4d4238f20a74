"""VoltStorage's WebSocket: one event per product and tick, sent as text frames.

Ticks are the same for all connections. The document shows one message type; the path of the WebSocket is a
guess.
"""

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
"""The only message type that the document shows."""


@define(eq=False)
class SentFrame:
    """A frame that was sent; tests compare what a consumer received with it."""

    product_id: int
    time: int
    data: dict[str, float]


class ProductEvents:
    """Events of all products. The n-th event is a function of n, so that missed events can be computed."""

    def __init__(self, timeline: Timeline, journal: Journal, faults: Faults, *, frame_s: float) -> None:
        if not frame_s > 0.0:
            raise ValueError(f"frame_s must be above 0: {frame_s}")
        self.faults = faults
        self.frames: deque[SentFrame] = deque(maxlen=_KEPT)
        """Frames sent over all connections, the oldest first."""
        self.close_codes: deque[int | None] = deque(maxlen=_KEPT)
        """Close code of each ended connection; None if it ended without a close frame."""
        self._timeline = timeline
        self._journal = journal
        self._frame_s = frame_s
        self._connections: set[EventConnection] = set()

    def time_of(self, tick: int) -> int:
        """Return the household time of the event of a tick, in Unix seconds."""
        # Rounded first: floating point may put a tick just below its second.
        return math.floor(round(self._timeline.at(tick * self._frame_s), 6))

    def tick(self) -> int:
        """Return the number of the current tick."""
        return math.floor(self._timeline.elapsed() / self._frame_s + 1e-9)

    def monotonic(self) -> float:
        """Return the clock's monotonic seconds."""
        return self._timeline.clock.monotonic()

    def call_at(self, tick: int, callback: Callable[[], None]) -> Timer:
        """Call `callback` when a tick is due."""
        wait = tick * self._frame_s - self._timeline.elapsed()
        return self._timeline.clock.call_at(self.monotonic() + wait, callback)

    def values(self, product: Product, tick: int, *, all_values: bool = False) -> dict[str, float]:
        """Return the values of the event of a tick: all, or those that have changed since the tick before."""
        second = self.time_of(tick)
        if not product.has_data_at(second):
            return {}
        now = event_fields(product.household.at(second))
        if all_values:
            return now
        before = event_fields(product.household.at(self.time_of(tick - 1)))
        return {name: value for name, value in now.items() if before[name] != value}

    async def follow(self, request: web.Request, product: Product) -> web.StreamResponse:
        """Serve one connection until it is closed."""
        response = web.WebSocketResponse(compress=False, timeout=0.2)
        await response.prepare(request)
        connection = EventConnection(self, request, response, product)
        fault = request.get(CUT)
        if fault is not None and fault.on_socket:
            connection.pending.append(fault)
        self._journal.count("handshakes")
        self._connections.add(connection)
        self.faults.sockets.add(connection)
        try:
            await connection.serve()
        finally:
            self._connections.discard(connection)
            self.faults.sockets.discard(connection)
            self.close_codes.append(response.close_code)
        return response

    def record(self, product: Product, tick: int, data: dict[str, float]) -> None:
        """Add a sent frame to `frames`."""
        self._journal.count("frames")
        self.frames.append(SentFrame(product.id, self.time_of(tick), data))

    def close_all(self) -> None:
        """Close every connection with code 1001 (going away)."""
        for connection in list(self._connections):
            connection.inject(Fault(kind=FaultKind.CLOSE, code=WSCloseCode.GOING_AWAY))


@define(eq=False)
class EventConnection:
    """One WebSocket: a task that reads, which answers pings, and a loop that sends an event every tick."""

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
        """The product whose events are sent."""
        return self.product.id

    def inject(self, fault: Fault) -> None:
        """Apply a fault now, before the next event."""
        self.pending.insert(0, evolve(fault, after_frames=0))
        self._wake.set()

    async def serve(self) -> None:
        """Send events until the client leaves or a fault ends the connection."""
        self._reader = asyncio.create_task(self._read())
        try:
            await self._write()
        except ConnectionError:
            pass  # the client left while a frame was sent
        finally:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)

    async def _read(self) -> None:
        # Messages of clients are ignored; aiohttp answers pings while it reads.
        async for _ in self.socket:
            pass
        self._wake.set()

    async def _write(self) -> None:
        tick, all_values = self.events.tick(), True
        while not self._is_closed():
            await self._apply_pending()
            if self.events.monotonic() < self._silent_until:
                tick, all_values = self.events.tick(), True
            elif not self._is_closed():
                # Each late tick is sent by itself: its changes are in no other event.
                all_values = await self._send(tick, all_values=all_values)
            tick += 1
            await self._wait(tick)

    def _is_closed(self) -> bool:
        transport = self.request.transport
        return self.socket.closed or transport is None or transport.is_closing()

    async def _send(self, tick: int, *, all_values: bool) -> bool:
        """Send the event of a tick, if it has values; return whether the next one must have all values."""
        data = self.events.values(self.product, tick, all_values=all_values)
        if not data:
            return all_values
        message = {"type": MESSAGE, "time": self.events.time_of(tick), "data": data}
        await self.socket.send_str(json.dumps(message, separators=(",", ":")))
        self.events.record(self.product, tick, data)
        self.sent += 1
        return False

    async def _wait(self, tick: int) -> None:
        """Wait until a tick is due or a fault is injected."""
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
