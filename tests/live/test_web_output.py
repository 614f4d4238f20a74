"""The page as an output of `energy-live run`, and the last day from the local database."""

import asyncio
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest

from energy_core import Checkpoint, SourceId
from energy_live.display.output import SiteName
from energy_live.outputs import OutputError
from energy_live.outputs.sqlite import SqliteOutput
from energy_live.web.access import ListenOptions
from energy_live.web.output import WebOutput
from energy_live.web.stored_day import stored_day
from tests.servers.page_world import Numbered

NOW = datetime.now(UTC).replace(microsecond=0, second=0)
SITE = SourceId("vrm", "home", "151734")
NAMES = {("vrm", "151734"): SiteName("Haus", UTC)}


async def stored(path, hours=3):
    """Store readings of some hours, with a gap of half an hour."""
    make, output = Numbered(), SqliteOutput(path)
    await output.open()
    events = [
        make.reading(SITE, NOW - timedelta(minutes=minute), pv_power=1000.0, battery_soc=50.0)
        for minute in range(60 * hours, 0, -1)
        if not 60 <= minute < 90
    ]
    gap = make.gap(SITE, NOW - timedelta(minutes=90), NOW - timedelta(minutes=60))
    await output.write([*events, gap], Checkpoint())
    await output.close()


async def history_of(output):
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{output.server.port}/history") as answer,
    ):
        return (await answer.json())["homes"][0]


async def test_the_last_day_is_there_after_a_restart(tmp_path):
    """Chart, gap and kWh come from the database; events that follow go on from there."""
    await stored(tmp_path / "energy.sqlite")
    listen = ListenOptions(port=0)
    output = WebOutput(listen, lambda: NAMES, store=tmp_path / "energy.sqlite")
    assert await output.open() is None
    try:
        await output.write([Numbered().reading(SITE, NOW, pv_power=900.0)], Checkpoint())
        home = await history_of(output)
        values = [value for value in home["curves"]["pv_power"]["values"] if value is not None]
        assert 28 <= len(values) <= 33
        assert (max(values), values[-1] < 1000.0) == (1000.0, True)
        assert [(gap["reason"]) for gap in home["gaps"]] == ["not_recorded"]
        record = output.server.homes.records["haus"]
        assert 2.3 < record.meter.total().pv_kwh < 2.6
    finally:
        await output.close()
    assert output.server is None


async def test_an_older_range_is_read_from_the_memory_or_is_empty(tmp_path):
    """Without a database the page begins empty; an unreadable file does not keep it from starting."""
    (tmp_path / "energy.sqlite").write_bytes(b"not a database" * 100)
    output = WebOutput(ListenOptions(port=0), lambda: NAMES, store=tmp_path / "energy.sqlite")
    await output.open()
    assert (await history_of(output))["curves"] == {}
    await output.close()
    assert await stored_day(tmp_path / "missing.sqlite", NOW) == []


async def test_an_address_in_use_is_an_output_error_that_says_so():
    """Only the user can help; another attempt follows all the same."""
    first = WebOutput(ListenOptions(port=0), lambda: NAMES)
    await first.open()
    second = WebOutput(ListenOptions(port=first.server.port), lambda: NAMES)
    with pytest.raises(OutputError, match="cannot listen on") as raised:
        await second.open()
    assert raised.value.permanent
    await second.close()
    await first.close()
    with pytest.raises(OutputError):
        await first.write([], Checkpoint())


async def test_a_slow_page_does_not_hold_up_the_feed():
    """Publishing never waits for a client: one that does not read loses events, which is reported."""
    output = WebOutput(ListenOptions(port=0), lambda: NAMES)
    await output.open()
    reader, writer = await asyncio.open_connection("127.0.0.1", output.server.port)
    writer.write(
        b"GET /events.sse?policy=drop_oldest HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n"
    )
    await reader.readuntil(b"event: relay")
    make = Numbered()
    for begin in range(0, 60_000, 500):
        batch = [
            make.reading(SITE, NOW + timedelta(seconds=n), pv_power=n) for n in range(begin, begin + 500)
        ]
        await output.write(batch, Checkpoint())
        await asyncio.sleep(0)
    assert output.server.log.head == 60_000
    async with asyncio.timeout(30):
        found = b""
        while b'"kind":"dropped"' not in found:
            found = found[-200:] + await reader.read(65_536)
    writer.close()
    await output.close()
