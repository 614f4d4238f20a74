import asyncio
import io
import json
import os
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from rich.console import Console

from energy_core import Event, Kind, Quantity, SourceId, State, Status
from energy_live.display.dashboard import Dashboard
from energy_live.display.output import JsonLines, SiteName, json_line

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
HOME = SourceId("vrm", "token-1", "1001")
SITES = SourceId("vrm", "token-1", "*")
BATTERY = SourceId("voltstorage", "login-2", "301")
NAMES = {("vrm", "1001"): SiteName("Elm Street", ZoneInfo("Europe/Berlin"))}


def reading(source=HOME, values=None, raw=None, at=NOON):
    return Event(
        source=source,
        kind=Kind.READING,
        key="k",
        time=at,
        received_at=at,
        seq=1,
        id="i",
        values=values or {},
        raw=raw or {},
    )


def status(source, state, reason="", retry_in=None):
    return Event(
        source=source,
        kind=Kind.STATUS,
        key="k",
        time=NOON,
        received_at=NOON,
        seq=1,
        id="i",
        detail=Status(state=state, reason=reason, retry_in=retry_in),
    )


def drawn(dashboard, width=140, height=40):
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(dashboard.render(now=NOON + timedelta(seconds=3), width=width, height=height))
    return console.file.getvalue()


@pytest.mark.parametrize(
    "odd",
    [
        "line\nbreak\r\n",
        "next line \x85, separators \u2028 and \u2029",
        "escape \x1b[2J and \x9b2J, delete \x7f, nul \x00",
        "half a pair \ud800",
        "Ünïcødé ☀️ 電池",
        '"quotes" and \\u2028',
    ],
)
def test_a_line_is_one_line_whatever_raw_holds(odd):
    """Odd text in raw stays itself, in one line of valid UTF-8 that no terminal obeys."""
    written = json_line(reading(raw={odd: [odd, {"deep": odd}]}))
    text = written.decode()
    assert len(text.splitlines()) == 1
    assert text.rstrip("\n").isprintable()
    assert json.loads(text)["raw"] == {odd: [odd, {"deep": odd}]}


async def test_lines_go_into_a_file(tmp_path):
    """A file cannot be watched for room and is written all the same."""
    with (tmp_path / "out.jsonl").open("wb") as file:
        async with JsonLines(file.fileno()) as view:
            for _ in range(3):
                await view.show(reading(raw={"text": "x" * 10_000}))
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 3


async def test_a_full_pipe_lets_the_loop_run_and_can_be_cancelled():
    """Writing waits for the reader without holding up anybody, and goes on when the pipe is read."""
    reader, writer = os.pipe()
    try:
        view = JsonLines(writer)
        big = reading(raw={"text": "x" * 200_000})
        writing = asyncio.create_task(view.show(big))
        for _ in range(50):
            await asyncio.sleep(0)
        assert not writing.done()
        got = b""
        while not writing.done() or not got.endswith(b"\n"):
            got += await asyncio.to_thread(os.read, reader, 65536)
            await asyncio.sleep(0)
        assert got == json_line(big)
        stuck = asyncio.create_task(view.show(big))
        for _ in range(50):
            await asyncio.sleep(0)
        stuck.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stuck
    finally:
        os.close(reader)
        os.close(writer)


async def test_a_reader_that_leaves_is_noticed():
    """Nobody at the other end is a BrokenPipeError, also for one that waits."""
    reader, writer = os.pipe()
    writing = asyncio.create_task(JsonLines(writer).show(reading(raw={"text": "x" * 200_000})))
    for _ in range(50):
        await asyncio.sleep(0)
    os.close(reader)
    with pytest.raises(BrokenPipeError):
        await asyncio.wait_for(writing, 5)
    os.close(writer)


def test_a_row_keeps_what_a_reading_leaves_out():
    """A device that sends only what changed keeps its other values; the age is the newest reading's."""
    dashboard = Dashboard("title", names=NAMES)
    dashboard.add(reading(values={Quantity.GRID_POWER: -1234.4, Quantity.BATTERY_SOC: 52.7}))
    dashboard.add(reading(values={Quantity.GRID_POWER: 87.0}, at=NOON + timedelta(seconds=1)))
    text = drawn(dashboard)
    assert "+87" in text
    assert "52.7" in text
    assert "-1,234" not in text
    assert "2.0 s" in text
    assert dashboard.readings == 2


def test_names_and_times_are_the_owners():
    """A row has the site's name and its local time."""
    dashboard = Dashboard("title", names=NAMES)
    dashboard.add(reading(values={Quantity.PV_POWER: 1.0}))
    assert "vrm Elm Street" in drawn(dashboard)
    assert "14:00:00" in drawn(dashboard)


def test_a_poller_lends_its_state_to_its_devices():
    """A device shows the state of what brings it; a source without readings has a row of its own."""
    dashboard = Dashboard("title", names=NAMES)
    dashboard.add(status(SITES, State.LIVE))
    dashboard.add(status(BATTERY, State.CONNECTING))
    dashboard.add(reading(values={Quantity.PV_POWER: 1.0}))
    lines = drawn(dashboard).splitlines()
    assert any("Elm Street" in row and "live" in row for row in lines)
    assert any("voltstorage 301" in row and "connecting" in row for row in lines)
    assert not any("vrm *" in row for row in lines)


def test_a_site_that_stopped_logging_is_stale_and_the_others_live():
    """Each device shows the state of its site; a site that is not there has a row and a reason."""
    dashboard = Dashboard("title", names=NAMES)
    missing = SITES._replace(site="999")
    other = SITES._replace(site="1002")
    for source, state, reason in (
        (SITES, State.LIVE, ""),
        (HOME, State.STALE, "the site has not logged for 300 s"),
        (missing, State.STALE, "the list does not have 999"),
    ):
        dashboard.add(status(source, state, reason))
    dashboard.add(reading(HOME._replace(instance=288), values={Quantity.PV_POWER: 1.0}))
    dashboard.add(reading(other, values={Quantity.PV_POWER: 1.0}))
    lines = drawn(dashboard).splitlines()
    assert any("Elm Street #288" in row and "stale" in row for row in lines)
    assert any("vrm 1002" in row and "live" in row for row in lines)
    assert any("vrm 999" in row and "stale" in row for row in lines)
    assert any("999 the list does not have 999" in row for row in lines)
    assert any("1001 the site has not logged for 300 s" in row for row in lines)
    assert not any("vrm *" in row for row in lines)
    dashboard.add(status(HOME, State.LIVE))
    assert "300 s" not in drawn(dashboard)


def test_trouble_is_told_below():
    """Why a source is not live, and when it tries again, stands under the table."""
    dashboard = Dashboard("title", names=NAMES)
    dashboard.add(status(BATTERY, State.DISCONNECTED, "the connection\x1b[2J was refused", 4.2))
    text = drawn(dashboard)
    assert "disconnected" in text
    assert "voltstorage 301 the connection [2J was refused; retry in 4 s" in text
    assert "\x1b" not in text


def test_markup_in_a_name_is_only_text():
    """A site named like rich's markup is shown as its owner wrote it."""
    dashboard = Dashboard("title", names={("vrm", "1001"): SiteName("[red]Home[/] :sun:")})
    dashboard.add(reading(values={Quantity.PV_POWER: 1.0}))
    assert "[red]Home[/] :sun:" in drawn(dashboard)


@pytest.mark.parametrize("width", [40, 60, 80, 100])
def test_a_narrow_terminal_shows_fewer_quantities(width):
    """No line is wider than the terminal; what does not fit is counted."""
    dashboard = Dashboard("title", names=NAMES)
    dashboard.add(reading(values=dict.fromkeys(Quantity, 1234.5)))
    text = drawn(dashboard, width)
    assert max(map(len, text.splitlines())) <= width
    assert f"not shown in {width} columns: " in text


def test_many_devices_in_a_low_terminal():
    """Only as many rows are drawn as there is room for; the others are counted."""
    dashboard = Dashboard("title", names=NAMES)
    for number in range(1000):
        dashboard.add(reading(SourceId("vrm", "token-1", str(number)), values={Quantity.PV_POWER: 1.0}))
    lines = drawn(dashboard, height=24).splitlines()
    assert len(lines) <= 24
    assert "not shown in 24 lines: 981 of the devices" in lines[-1]
