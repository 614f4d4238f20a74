"""Five outputs of one stream at once, one of them down; and the memory that an outage takes."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import quantiles
from time import process_time
from typing import Any

from benchmarks.sampling import Sampler
from benchmarks.stores import DEVICES, QUANTITIES, SOURCES, events
from benchmarks.worker import Cost
from energy_core import Checkpoint, Event, SourceId, State, merge
from energy_core.secret import Secret
from energy_live.outputs import Output, OutputError, OutputFeed


class Timed:
    """An output that notes how long after its arrival each reading is stored."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self.idempotent = output.idempotent
        self.delays: list[float] = []

    async def open(self) -> Checkpoint | None:
        """Open it."""
        return await self._output.open()

    async def write(self, batch: Sequence[Event], position: Checkpoint) -> Any:
        """Write, and note the delays."""
        refused = await self._output.write(batch, position)
        now = datetime.now(UTC)
        self.delays += [(now - event.received_at).total_seconds() for event in batch if event.values]
        return refused

    async def close(self) -> None:
        """Close it."""
        await self._output.close()


class Dead:
    """An output that is always down."""

    idempotent = True

    async def open(self) -> Checkpoint | None:
        """Raise."""
        raise OutputError("down")

    async def write(self, batch: Sequence[Event], position: Checkpoint) -> None:
        """Not called."""

    async def close(self) -> None:
        """Do nothing."""


class Steady:
    """A source with so many readings a second, of forty devices in turn."""

    id = SourceId("vrm", "home", "*")

    def __init__(self, per_second: int, seconds: float) -> None:
        self._per_second, self._seconds = per_second, seconds

    async def run(self, outlet: Any) -> None:
        """Deliver what is due every ten milliseconds."""
        outlet.status(State.LIVE)
        loop, number, total = asyncio.get_running_loop(), 0, int(self._per_second * self._seconds)
        start, begin = datetime.now(UTC), loop.time()
        while number < total:
            due = int((loop.time() - begin) * self._per_second)
            for _ in range(min(due, total) - number):
                source, time = SOURCES[number % DEVICES], start + timedelta(seconds=number / self._per_second)
                values = {each: float(number % 500 + place) for place, each in enumerate(QUANTITIES)}
                outlet.reading(source, time=time, id=f"{source.site}/0/{number}/r", values=values, raw={})
                number += 1
            await asyncio.sleep(0.01)


class Together:
    """The delays of one output of five, from arrival to store.

    Args:
        places: Where the stores are: a folder, and the addresses of the servers that run.
        seconds: How long a round is.
        per_second: Readings a second.
    """

    def __init__(self, places: Mapping[str, str], seconds: float, per_second: int) -> None:
        self._places, self._seconds, self._per_second = places, seconds, per_second
        self._round = 0

    def check(self) -> Sequence[object]:
        """Return the outputs that have stored every reading."""
        delays = asyncio.run(self._run())
        complete = int(self._per_second * self._seconds)
        # Influx and SQLite get each reading once; a broker the newest of each batch only.
        return sorted(name for name, each in delays.items() if len(each) >= complete)

    def round(self, sampler: Sampler | None = None) -> Cost:  # noqa: ARG002
        """Return the 99th percentile of the slowest output, and of each."""
        delays = asyncio.run(self._run())
        found = {name: quantiles(each, n=100)[98] for name, each in delays.items()}
        return Cost(max(found.values()), {f"{name}_p99_ms": each * 1000 for name, each in found.items()})

    async def _run(self) -> dict[str, list[float]]:
        self._round += 1
        timed = {name: Timed(output) for name, output in self._outputs().items()}
        feeds = [OutputFeed(name, output) for name, output in timed.items()]
        stream = merge(Steady(self._per_second, self._seconds))
        for feed in feeds:
            await feed.open(stream)
        async with stream:
            for feed in feeds:
                feed.start()
            await asyncio.sleep(self._seconds + 2.0)
            for feed in feeds:
                await feed.aclose()
        return {name: output.delays for name, output in timed.items() if name != "dead"}

    def _outputs(self) -> dict[str, Output]:
        from energy_live.outputs.influx import InfluxConfig, InfluxOutput
        from energy_live.outputs.mqtt import MqttOutput
        from energy_live.outputs.parquet import ParquetOutput
        from energy_live.outputs.postgres import PostgresOutput
        from energy_live.outputs.sqlite import SqliteOutput

        places, number = self._places, self._round
        folder = Path(places["folder"], f"together-{number}")
        folder.mkdir()
        outputs: dict[str, Output] = {"dead": Dead(), "sqlite": SqliteOutput(folder / "a.sqlite")}
        outputs["parquet"] = ParquetOutput(folder / "files")
        if "postgres" in places:
            url = f"{places['postgres']}?sslmode=disable&schema=together{number}"
            outputs["postgres"] = PostgresOutput(url, password=Secret("none"))
        if "influx" in places:
            outputs["influx"] = InfluxOutput(InfluxConfig.from_url(f"influx+{places['influx']}/?db=together"))
        elif "mqtt" in places:
            outputs["mqtt"] = MqttOutput(places["mqtt"])
        return outputs


def together(places: Mapping[str, str], seconds: float, per_second: int) -> Together:
    """Return the side."""
    return Together(places, seconds, per_second)


def outage(readings: int) -> Outage:
    """Return the side."""
    return Outage(readings)


class Outage:
    """Memory while an output is down: readings of an hour at ten a second, as fast as the stream takes them.

    Args:
        readings: How many.
    """

    def __init__(self, readings: int) -> None:
        self._readings = readings

    def check(self) -> Sequence[object]:
        """Return how many readings the output could not take."""
        return [asyncio.run(self._run())[1]]

    def round(self, sampler: Sampler | None = None) -> Cost:  # noqa: ARG002
        """Return the CPU of a reading, and the memory that is held at the end."""
        started = process_time()
        held_kb, lost = asyncio.run(self._run())
        return Cost((process_time() - started) / self._readings, {"held_kb": held_kb, "lost": lost})

    async def _run(self) -> tuple[float, int]:
        feed, readings = OutputFeed("dead", Dead()), self._readings

        class Burst(Steady):
            async def run(self, outlet: Any) -> None:
                outlet.status(State.LIVE)
                for event in events(readings):
                    outlet.reading(event.source, time=event.time, id=event.id, values=event.values, raw={})
                    if event.seq % 100 == 0:
                        await asyncio.sleep(0)
                await asyncio.Event().wait()

        tracemalloc.start()
        stream = merge(Burst(1, 1))
        await feed.open(stream)
        async with stream:
            feed.start()
            while feed.status.pending + feed.status.lost < readings:  # noqa: ASYNC110  (of another task)
                await asyncio.sleep(0.05)
            held_kb = tracemalloc.get_traced_memory()[0] / 1024
            lost = feed.status.lost
            await feed.aclose(0.0)
        tracemalloc.stop()
        return held_kb, lost
