"""A third vendor: a meter on the network that says "unix-seconds watts" once a second, in a line."""

import asyncio
from contextlib import closing, suppress
from datetime import UTC, datetime
from os import environ

from energy_core import Quantity, SourceId, State, SystemClock, merge
from energy_core.sources import Outlet


class Meter:
    """All that `merge` wants of a source: an id, and a coroutine that fills the outlet."""

    id = SourceId("acme", "home", "meter-1")

    async def run(self, outlet: Outlet) -> None:
        """Read until cancelled. What the network does is a status, and never the end."""
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
            outlet.status(State.DISCONNECTED, reason="the meter is away", retry_in=1.0)
            await SystemClock().sleep(1.0)


async def main() -> None:
    async with merge(Meter()) as events:
        async for event in events:
            print(f"{event.time:%H:%M:%S} {event.kind}", dict(event.values) or event.detail)


asyncio.run(main())
