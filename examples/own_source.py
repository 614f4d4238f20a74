"""Write a source for another device: a meter that sends lines of "unix-seconds watts" over TCP."""

import asyncio
from contextlib import closing, suppress
from datetime import UTC, datetime
from os import environ

from energy_core import Quantity, SourceId, State, SystemClock, merge
from energy_core.stream.source import Outlet


class Meter:
    """A source has an id, and a coroutine that passes readings to an outlet."""

    id = SourceId("acme", "home", "meter-1")

    async def run(self, outlet: Outlet) -> None:
        """Read until cancelled; report a lost connection as a status and connect again."""
        while True:
            with suppress(OSError):
                reader, writer = await asyncio.open_connection("127.0.0.1", int(environ["METER_PORT"]))
                with closing(writer):
                    outlet.status(State.LIVE)
                    async for line in reader:
                        second, watts = line.decode().split()
                        time = datetime.fromtimestamp(int(second), UTC)
                        values = {Quantity.GRID_POWER: float(watts)}
                        outlet.reading(self.id, time=time, id=second, values=values, raw={"watts": watts})
            outlet.status(State.DISCONNECTED, reason="the meter is not reachable", retry_in=1.0)
            await SystemClock().sleep(1.0)


async def main() -> None:
    async with merge(Meter()) as events:
        async for event in events:
            print(f"{event.time:%H:%M:%S} {event.kind}", dict(event.values) or event.detail)


asyncio.run(main())
