"""Sides of the stores that are servers, compared in `benchmarks.storing`; see `benchmarks.stores`."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Sequence
from typing import Any

from benchmarks.stores import BATCH, DEVICES, QUANTITIES, Ours, Row, Storing, batches_of, position
from energy_core import Event
from energy_core.home.days import micros
from energy_core.secret import Secret
from energy_live.outputs import Output

# --- PostgreSQL ---------------------------------------------------------------------------------------------


class OurPostgres(Ours):
    """`PostgresOutput`."""

    def __init__(self, url: str, password: str) -> None:
        super().__init__()
        self._url, self._password = url, password

    async def opened(self) -> Output:
        """Make new tables."""
        from energy_live.outputs.postgres import PostgresOutput

        output = PostgresOutput(f"{self._url}?schema=ours&sslmode=disable", password=Secret(self._password))
        await output.open()
        # Its first batch takes the slow way, as after every start.
        await output.write([], position(0))
        return output

    async def stored(self) -> int:
        """Count the rows and drop the tables."""
        return await _counted(self._url, self._password, "ours")


class BarePostgres:
    """COPY of ready rows into the same table, a transaction a batch."""

    def __init__(self, url: str, password: str) -> None:
        self._url, self._password = url, password

    async def begin(self, readings: Sequence[Event]) -> Sequence[Sequence[Row]]:
        """Make the same tables and ready rows."""
        import asyncpg

        from energy_live.outputs.postgres import PostgresOutput

        options = "?schema=bare&sslmode=disable"
        output = PostgresOutput(f"{self._url}{options}", password=Secret(self._password))
        await output.open()
        await output.close()
        self.connection = await asyncpg.connect(self._url, password=self._password, ssl=False)
        rows = [
            (each.time, str(each.source), name.value, value, name.unit, each.id, 0, each.received_at, False)
            for each in readings
            for name, value in each.values.items()
        ]
        return batches_of(rows, BATCH * len(QUANTITIES))

    async def write(self, batch: Sequence[Row], number: int) -> None:  # noqa: ARG002
        """Copy a batch."""
        columns = (
            "time",
            "source",
            "quantity",
            "value",
            "unit",
            "id",
            "revision",
            "received_at",
            "backfilled",
        )
        async with self.connection.transaction():
            await self.connection.copy_records_to_table(
                "readings", schema_name="bare", records=batch, columns=columns
            )

    async def end(self) -> None:
        """Close the connection."""
        await self.connection.close()

    async def stored(self) -> int:
        """Count the rows and drop the tables."""
        return await _counted(self._url, self._password, "bare")


async def _counted(url: str, password: str, schema: str) -> int:
    import asyncpg

    connection = await asyncpg.connect(url, password=password, ssl=False)
    found = await connection.fetchval(f"SELECT count(*) FROM {schema}.readings")
    await connection.execute(f"DROP SCHEMA {schema} CASCADE; CHECKPOINT")
    await connection.close()
    return int(found)


# --- InfluxDB -----------------------------------------------------------------------------------------------


class OurInflux(Ours):
    """`InfluxOutput`."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url

    async def opened(self) -> Output:
        """Make a new database."""
        from energy_live.outputs.influx import InfluxConfig, InfluxOutput

        await _influx_query(self._url, "CREATE DATABASE ours")
        output = InfluxOutput(InfluxConfig.from_url(f"influx+{self._url}/?db=ours"))
        await output.open()
        return output

    async def stored(self) -> int:
        """Count the values and drop the database."""
        return await _influx_count(self._url, "ours")


class BareInflux:
    """aiohttp: POSTs of lines that an f-string makes of ready rows, compressed alike."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def begin(self, readings: Sequence[Event]) -> Sequence[Sequence[Row]]:
        """Make a new database and ready rows."""
        import aiohttp

        await _influx_query(self._url, "CREATE DATABASE bare")
        self.session = aiohttp.ClientSession()
        rows = [(*each.source, *each.values.values(), micros(each.time)) for each in readings]
        return batches_of(rows, BATCH)

    async def write(self, batch: Sequence[Row], number: int) -> None:  # noqa: ARG002
        """Send a batch."""
        lines = [
            f"energy,vendor={vendor},site={site},instance={instance} "
            f"grid_power={grid},battery_power={battery},pv_power={pv},battery_soc={soc} {time}"
            for vendor, _, site, instance, grid, battery, pv, soc, time in batch
        ]
        body = gzip.compress("\n".join(lines).encode(), compresslevel=1)
        url = f"{self._url}/write?db=bare&precision=u"
        async with self.session.post(url, data=body, headers={"Content-Encoding": "gzip"}) as answer:
            assert answer.status == 204

    async def end(self) -> None:
        """Close the session."""
        await self.session.close()

    async def stored(self) -> int:
        """Count the values and drop the database."""
        return await _influx_count(self._url, "bare")


async def _influx_query(url: str, query: str, database: str = "") -> Any:
    import aiohttp

    told = {"q": query, "db": database}
    async with aiohttp.ClientSession() as session, session.post(f"{url}/query", data=told) as answer:
        return await answer.json()


async def _influx_count(url: str, database: str) -> int:
    answer = await _influx_query(url, "SELECT count(*) FROM energy", database)
    await _influx_query(url, f"DROP DATABASE {database}")
    return int(sum(answer["results"][0]["series"][0]["values"][0][1:]))


# --- MQTT ---------------------------------------------------------------------------------------------------


class OurMqtt(Ours):
    """`MqttOutput`: a batch has one reading of each device, because only the newest is published."""

    def __init__(self, url: str) -> None:
        super().__init__(batch=DEVICES)
        self._url = url

    async def begin(self, readings: Sequence[Event]) -> Sequence[Sequence[Any]]:
        """Connect, announce the devices, and subscribe to what is published."""
        batches = await super().begin(readings)
        await self.output.write(batches[0], position(0))
        self._listener = await _MqttListener.started(self._url, "energy-live/vrm/+/+/+")
        return batches[1:]

    async def opened(self) -> Output:
        """Connect."""
        from energy_live.outputs.mqtt import MqttOutput

        output = MqttOutput(self._url)
        await output.open()
        return output

    async def stored(self) -> int:
        """Return how many states were published."""
        return await self._listener.counted()


class BareMqtt:
    """aiomqtt: the messages of a batch are published at once, and their confirmations awaited."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def begin(self, readings: Sequence[Event]) -> Sequence[Sequence[tuple[str, str]]]:
        """Connect; make ready messages."""
        import aiomqtt

        self.client = _mqtt_client(aiomqtt, self._url)
        await self.client.__aenter__()
        self._listener = await _MqttListener.started(self._url, "bare/vrm/+/+/+")
        messages = [
            (
                f"bare/vrm/{each.source.site}/0/{name}",
                json.dumps({"value": value, "unit": name.unit, "time": each.time.isoformat()}),
            )
            for each in readings
            for name, value in each.values.items()
        ]
        return batches_of(messages, DEVICES * len(QUANTITIES))[1:]

    async def write(self, batch: Sequence[tuple[str, str]], number: int) -> None:  # noqa: ARG002
        """Publish a batch."""
        publish = self.client.publish
        await asyncio.gather(
            *(publish(topic, payload, qos=1, retain=True, timeout=60) for topic, payload in batch)
        )

    async def end(self) -> None:
        """Disconnect."""
        await self.client.__aexit__(None, None, None)

    async def stored(self) -> int:
        """Return how many states were published."""
        return await self._listener.counted()


def _mqtt_client(aiomqtt: Any, url: str) -> Any:
    host, _, port = url.removeprefix("mqtt://").partition(":")
    protocol = aiomqtt.ProtocolVersion.V5
    client = aiomqtt.Client(
        host, int(port), protocol=protocol, max_inflight_messages=1000, max_queued_outgoing_messages=0
    )
    client.pending_calls_threshold = 10_000
    return client


class _MqttListener:
    """Counts the messages of a topic, in the same process for both sides."""

    def __init__(self) -> None:
        self._count = 0
        self._task: asyncio.Task[None] | None = None

    @classmethod
    async def started(cls, url: str, topic: str) -> _MqttListener:
        """Subscribe."""
        import aiomqtt

        listener, ready = cls(), asyncio.Event()

        async def listen() -> None:
            async with _mqtt_client(aiomqtt, url) as client:
                await client.subscribe(topic, qos=0)
                ready.set()
                async for message in client.messages:
                    listener._count += not message.retain

        listener._task = asyncio.create_task(listen())
        await ready.wait()
        return listener

    async def counted(self) -> int:
        """Return the messages so far, once no more come."""
        before = -1
        while before != self._count:
            before = self._count
            await asyncio.sleep(0.2)
        assert self._task
        self._task.cancel()
        await asyncio.wait({self._task})
        return self._count


def remote(name: str, readings: int, **options: Any) -> Storing:
    """Return the side of a store by its name."""
    kinds = (OurPostgres, BarePostgres, OurInflux, BareInflux, OurMqtt, BareMqtt)
    found: dict[str, Any] = {each.__name__: each for each in kinds}
    return Storing(found[name](**options), readings)
