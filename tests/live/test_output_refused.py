"""What a store refuses is set aside; the rest of the batch is written."""

import asyncio
import json

from energy_core import merge
from energy_core.stream.vocabulary import Kind
from energy_live.outputs import FeedConfig, OutputFeed, RefusedEvent
from tests.servers.scripted_sources import Script


class Picky:
    """An output that refuses two readings."""

    idempotent = True

    def __init__(self):
        self.kept, self.done = [], asyncio.Event()

    async def open(self):
        return None

    async def write(self, batch, position):
        readings = [event for event in batch if event.kind is Kind.READING]
        refused = [event for event in readings if event.id in {"a-3", "a-5"}]
        self.kept += [event.id for event in readings if event not in refused]
        if len(self.kept) == 8:
            self.done.set()
        return [RefusedEvent(event, 'a name with \\ and "') for event in refused]

    async def close(self):
        pass


async def test_refused_events_are_set_aside(tmp_path, caplog):
    """They are counted, logged, and kept in a file with the reason."""
    file = tmp_path / "refused.jsonl"

    async def play(pen):
        pen.read(10)
        await asyncio.sleep(1e6)

    stream = merge(Script("a", play))
    feed = OutputFeed("test", output := Picky(), config=FeedConfig(delay_s=0.0), refused=file)
    await feed.open(stream)
    async with stream:
        feed.start()
        await asyncio.wait_for(output.done.wait(), 60)
        await feed.aclose()
    assert output.kept == ["a-1", "a-2", "a-4", "a-6", "a-7", "a-8", "a-9", "a-10"]
    assert (feed.status.refused, feed.status.written) == (2, 8)
    kept = [json.loads(line) for line in file.read_text().splitlines()]
    assert [each["event"]["id"] for each in kept] == ["a-3", "a-5"]
    assert [each["reason"] for each in kept] == ['a name with \\ and "'] * 2
    assert "output test refused 2 events" in caplog.text
