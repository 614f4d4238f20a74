"""A VoltStorage server with mutated frames and answers, which records what it measured, sent and mutated."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from energy_core import Quantity
from tests.servers.memory_network import Asked, MemorySocket, http
from tests.servers.mutations import HEADERS, KINDS, ODD, PAGES, STATUSES, bytes_of, mutated, text_of
from tests.servers.virtual_time import EPOCH

START = int(EPOCH.timestamp())
PRODUCT = 301
STEP_S = 2

COLUMNS = ("Power_Grid", "Power_Household", "Power_PV", "Power_Power Electronics", "SOC_State of Charge")
CELLS = ("", "--", "NaN", "1e999", "x", '"', "1,5", "-", "0x1", "\x00", "9" * 400)
HANDSHAKES = (200, 301, 302, 404, 408, 418, 429, 500, 502, 503, 504)
"""Answers with an HTML page, as proxies send it."""
BELIEVED_S = 305
OFF = (-(10**9), -86407, -3601, -61, 61, 281, 331, 3601, 86407, 10**6 + 1, 10**9 + 1)
CODES = (None, None, 1000, 1001, 1008, 1011, 1012, 1013, 3000)


def fields(second: int) -> dict[str, float]:
    """Return the values measured at a second, with the vendor's keys."""
    n = second // STEP_S
    return {
        "gridPower": float(n % 97 - 48),
        "consumption": float(n % 89),
        "pvPower": float(n % 83 * 10),
        "batteryPower": float(n % 79 - 39),
        "soc": (n % 100) / 100,
    }


def truth(second: int) -> dict[Quantity, float]:
    """Return the values measured at a second, as quantities."""
    said = fields(second)
    return {
        Quantity.GRID_POWER: said["gridPower"],
        Quantity.CONSUMPTION_POWER: said["consumption"],
        Quantity.PV_POWER: said["pvPower"],
        Quantity.BATTERY_POWER: -said["batteryPower"],
        Quantity.BATTERY_SOC: said["soc"] * 100,
    }


class FuzzedVolt:
    """Sends a frame every two seconds, closes connections, and mutates most messages while `fuzzing`."""

    def __init__(self, random: Random, now: Callable[[], float]) -> None:
        self.fuzzing = False
        self.inputs = 0
        self.touched: set[int] = set()
        """Seconds with a mutated frame or row."""
        self.sent: set[int] = set()
        """Seconds whose frame was sent unchanged."""
        self.odd = 0
        """The number of additional messages."""
        self._random = random
        self._now = now
        self._down_until = 0.0
        self._sockets: list[MemorySocket] = []

    # --- frames --------------------------------------------------------------------------------------------

    async def measure(self) -> None:
        """Send each measurement, for ever."""
        while True:
            await asyncio.sleep(STEP_S - self._now() % STEP_S)
            second = START + int(self._now())
            self._sockets = [socket for socket in self._sockets if socket.open]
            for socket in list(self._sockets):
                self._tell(socket, second)

    def _tell(self, socket: MemorySocket, second: int) -> None:
        random = self._random
        frame = {"type": "latest-data", "time": second, "data": fields(second)}
        if not self.fuzzing or random.random() > 0.5:
            socket.send(text_of(frame))
            self.sent.add(second)
            return
        self.inputs += 1
        if random.random() < 0.03:
            self.touched.add(second)
            self._end(socket)
        elif random.random() < 0.5:  # an additional message of a second without a measurement
            self.odd += 1
            socket.send(self._odd({**frame, "time": second - 1}), binary=random.random() < 0.1)
            socket.send(text_of(frame))
            self.sent.add(second)
        else:
            self.touched.add(second)
            self.odd += 1
            socket.send(self._odd(frame))

    def _odd(self, frame: dict[str, Any]) -> bytes:
        """Return a mutated message, and note every second that it may be read as.

        The client accepts a time within five minutes of now, which can hide an outage there.
        """
        message = self._mutated(frame)
        self._touch(message)
        return message

    def _touch(self, message: bytes) -> None:
        now = START + int(self._now())
        for number in map(int, re.findall(rb"1[0-9]{9}", message)):
            self.touched.add(number)
            if abs(number - now) <= BELIEVED_S:
                self.touched.update(range(min(now, number), max(now, number) + 1))

    def _mutated(self, frame: dict[str, Any]) -> bytes:
        random = self._random
        kind = random.random()
        if kind < 0.3:
            return bytes_of(text_of(frame), random)[:200_000]
        if kind < 0.4:
            return text_of(random.choice(([frame], {"data": frame}, random.choice(ODD), [frame, frame])))
        if kind < 0.6:
            off = random.choice(
                (-(10**9), -86407, -3601, -61, 61, 281, 331, 3601, 86407, 10**6 + 1, 10**9 + 1)
            )
            time: Any = frame["time"] // 2 * 2 + off
            return text_of({**frame, "time": random.choice((time, time * 1000, str(time)))})
        made = mutated(frame, random, times=random.choice((1, 1, 2)))
        return text_of(made)

    def _end(self, socket: MemorySocket) -> None:
        if self._random.random() < 0.3:
            socket.raw(bytes(self._random.randrange(256) for _ in range(9)))
        socket.close(self._random.choice(CODES))
        self._down_until = self._now() + self._random.choice((0, 0, 20, 90))

    def handshake(self, _: Asked) -> bytes | None:
        """Refuse some handshakes."""
        if not self.fuzzing or (self._now() >= self._down_until and self._random.random() > 0.1):
            return None
        self.inputs += 1
        page = b"<html><body>no</body></html>"
        odd = (self._random.choice(HEADERS),) if self._random.random() < 0.5 else ()
        return self._http(self._random.choice(HANDSHAKES), page, "text/html", headers=odd)

    def opened(self, socket: MemorySocket) -> None:
        """Accept a connection."""
        self._sockets.append(socket)

    # --- requests ------------------------------------------------------------------------------------------

    def answer(self, asked: Asked) -> bytes | float:
        """Answer a request."""
        if asked.path.endswith("login/password"):
            return self._http(200, b'{"token":"a.b.c"}')
        if "export" in asked.path:
            return self._export(asked)
        if asked.path.endswith("latest"):
            second = (START + int(self._now())) // STEP_S * STEP_S
            latest: Any = {"time": second, "data": fields(second)}
            if self.fuzzing and self._random.random() < 0.6:
                self.inputs += 1
                latest = mutated(latest, self._random)
                self._touch(text_of(latest))
                self.touched.add(second)
            return self._spoiled(text_of(latest), "application/json", [second])
        return self._http(404, b'{"errors":["unknown"]}')

    def _export(self, asked: Asked) -> bytes | float:
        start, end = (float(asked.all(name)[0]) if asked.all(name) else 4e9 for name in ("from", "to"))
        last = min(end, START + self._now())
        first = max(start, START)
        seconds = range(int(-(-first // STEP_S)) * STEP_S, int(last) + 1, STEP_S)
        rows = [(second, self._row(second)) for second in seconds]
        random = self._random
        if self.fuzzing and rows and random.random() < 0.6:
            self.inputs += 1
            for _ in range(random.choice((1, 1, 3, 10))):
                place = random.randrange(len(rows))
                second, row = rows[place]
                self.touched.add(second)
                rows[place] = (second, self._odd_row(row))
        head = "sep=,\r\nTime," + ",".join(COLUMNS) + "\r\n"
        body = (head + "".join(row for _, row in rows)).encode("utf-8", "replace")
        return self._spoiled(body, "text/csv", seconds)

    def _row(self, second: int) -> str:
        said = fields(second)
        cells = (said["gridPower"], said["consumption"], said["pvPower"], said["batteryPower"], said["soc"])
        stamp = datetime.fromtimestamp(second, UTC).isoformat(timespec="milliseconds")
        return ",".join([stamp, *map(str, cells)]) + "\r\n"

    def _odd_row(self, row: str) -> str:
        random = self._random
        cells = row.rstrip("\r\n").split(",")
        place = random.randrange(len(cells))
        cells[place] = random.choice(
            ("", "--", "NaN", "1e999", "x", '"', "1,5", "-", "0x1", "\x00", "9" * 400)
        )
        odd = random.choice((row.rstrip("\r\n")[: random.randrange(len(row))], ",".join(cells), "", row * 2))
        return odd + "\r\n"

    def _spoiled(self, body: bytes, kind: str, seconds: Any) -> bytes | float:
        random = self._random
        if not self.fuzzing or random.random() > 0.3:
            return self._http(200, body, kind)
        self.inputs += 1
        way = random.randrange(7)
        if way < 2:
            self.touched.update(seconds)
            return self._http(200, bytes_of(body, random), random.choice(KINDS))
        if way == 2:
            return self._http(200, body, kind, headers=(random.choice(HEADERS),))
        if way == 3:
            return self._http(200, body, kind, length=len(body) + random.choice((1, 1000, -1)))
        if way == 4:
            return random.choice((0.0, 1.0))
        odd = (random.choice(HEADERS),) if random.random() < 0.5 else ()
        return self._http(random.choice(STATUSES), random.choice(PAGES), random.choice(KINDS), headers=odd)

    def _http(self, *args: Any, **kwargs: Any) -> bytes:
        return http(*args, now=EPOCH + timedelta(seconds=self._now()), **kwargs)
