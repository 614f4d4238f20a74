import asyncio
import io
import json
import os
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from rich.console import Console

from energy_core import Event, Kind, Quantity, SourceId, State, Status
from energy_live.display.live_table import Dashboard
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
def test_json_lines_escape_control_characters(odd):
    """Any text in raw is preserved, in one printable line of valid UTF-8."""
    written = json_line(reading(raw={odd: [odd, {"deep": odd}]}))
    text = written.decode()
    assert len(text.splitlines()) == 1
    assert text.rstrip("\n").isprintable()
    assert json.loads(text)["raw"] == {odd: [odd, {"deep": odd}]}


async def test_json_lines_to_a_file(tmp_path):
    """A regular file, which select and epoll cannot wait for, is written too."""
    with (tmp_path / "out.jsonl").open("wb") as file:
        async with JsonLines(file.fileno()) as view:
            for _ in range(3):
                await view.show(reading(raw={"text": "x" * 10_000}))
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 3


async def test_writing_to_a_full_pipe_does_not_block_the_loop():
    """Writing waits for a slow reader while the event loop runs, and can be cancelled."""
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


async def test_a_closed_reader_raises_broken_pipe_error():
    """BrokenPipeError is raised also while writing waits."""
    reader, writer = os.pipe()
    writing = asyncio.create_task(JsonLines(writer).show(reading(raw={"text": "x" * 200_000})))
    for _ in range(50):
        await asyncio.sleep(0)
    os.close(reader)
    with pytest.raises(BrokenPipeError):
        await asyncio.wait_for(writing, 5)
    os.close(writer)


def test_a_row_keeps_values_that_a_reading_omits():
    """A row keeps values that later readings omit; the age is that of the newest reading."""
    dashboard = Dashboard("title", names=NAMES)
    dashboard.add(reading(values={Quantity.GRID_POWER: -1234.4, Quantity.BATTERY_SOC: 52.7}))
    dashboard.add(reading(values={Quantity.GRID_POWER: 87.0}, at=NOON + timedelta(seconds=1)))
    text = drawn(dashboard)
    assert "+87" in text
    assert "52.7" in text
    assert "-1,234" not in text
    assert "2.0 s" in text
    assert dashboard.readings == 2


def test_rows_have_names_and_local_times():
    """A row has the site's name and its local time."""
    dashboard = Dashboard("title", names=NAMES)
    dashboard.add(reading(values={Quantity.PV_POWER: 1.0}))
    assert "vrm Elm Street" in drawn(dashboard)
    assert "14:00:00" in drawn(dashboard)


def test_devices_have_the_state_of_their_source():
    """A device has the state of its source; a source without readings has its own row."""
    dashboard = Dashboard("title", names=NAMES)
    dashboard.add(status(SITES, State.LIVE))
    dashboard.add(status(BATTERY, State.CONNECTING))
    dashboard.add(reading(values={Quantity.PV_POWER: 1.0}))
    lines = drawn(dashboard).splitlines()
    assert any("Elm Street" in row and "live" in row for row in lines)
    assert any("voltstorage 301" in row and "connecting" in row for row in lines)
    assert not any("vrm *" in row for row in lines)


def test_a_site_that_stopped_logging_is_stale_and_the_others_live():
    """Each device has the state of its site; an unknown site has its own row and an error."""
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


def test_errors_are_below_the_table():
    """The reason for a failure and the time to the next attempt are below the table."""
    dashboard = Dashboard("title", names=NAMES)
    dashboard.add(status(BATTERY, State.DISCONNECTED, "the connection\x1b[2J was refused", 4.2))
    text = drawn(dashboard)
    assert "disconnected" in text
    assert "voltstorage 301 the connection [2J was refused; retry in 4 s" in text
    assert "\x1b" not in text


def test_markup_in_a_name_is_only_text():
    """Markup of rich in a site's name is not interpreted."""
    dashboard = Dashboard("title", names={("vrm", "1001"): SiteName("[red]Home[/] :sun:")})
    dashboard.add(reading(values={Quantity.PV_POWER: 1.0}))
    assert "[red]Home[/] :sun:" in drawn(dashboard)


@pytest.mark.parametrize("width", [40, 60, 80, 100])
def test_a_narrow_terminal_shows_fewer_quantities(width):
    """No line is wider than the terminal; a note counts the hidden columns."""
    dashboard = Dashboard("title", names=NAMES)
    dashboard.add(reading(values=dict.fromkeys(Quantity, 1234.5)))
    text = drawn(dashboard, width)
    assert max(map(len, text.splitlines())) <= width
    assert f"not shown in {width} columns: " in text


def test_many_devices_in_a_low_terminal():
    """No more lines than the terminal has; a note counts the hidden rows."""
    dashboard = Dashboard("title", names=NAMES)
    for number in range(1000):
        dashboard.add(reading(SourceId("vrm", "token-1", str(number)), values={Quantity.PV_POWER: 1.0}))
    lines = drawn(dashboard, height=24).splitlines()
    assert len(lines) <= 24
    assert "not shown in 24 lines: 981 of the devices" in lines[-1]


POWERS = {
    Quantity.PV_POWER: 5126.0,
    Quantity.GRID_POWER: -4576.0,
    Quantity.BATTERY_POWER: 300.0,
    Quantity.CONSUMPTION_POWER: 250.0,
    Quantity.BATTERY_SOC: 88.0,
}


def pictured(values, width=140, height=40):
    dashboard = Dashboard("home", names=NAMES)
    dashboard.add(reading(values=values))
    console = Console(file=io.StringIO(), width=width, color_system=None)
    now = NOON + timedelta(seconds=3)
    console.print(dashboard.render(now=now, width=width, height=height, picture=True))
    return console.file.getvalue()


def test_the_picture_shows_watts_and_directions():
    """Above the table are boxes for solar, battery, home and grid, with watts and directions."""
    shown = pictured(POWERS)
    for words in (
        "solar",
        "5,126 W",
        "battery 88.0 %",
        "charging",
        "300 W",
        "feeding in",
        "4,576 W",
        "250 W",
    ):
        assert words in shown.partition("source")[0]
    (line,) = (line for line in shown.splitlines() if "300 W" in line)
    assert line.index("◀──") < line.index("250 W") < line.index("──▶") < line.index("4,576 W")
    turned = {**POWERS, Quantity.GRID_POWER: 900.0, Quantity.BATTERY_POWER: -700.0}
    shown = pictured(turned)
    assert "importing" in shown
    assert "discharging" in shown
    (line,) = (line for line in shown.splitlines() if "700 W" in line)
    assert line.index("──▶") < line.index("250 W") < line.index("◀──") < line.index("900 W")


@pytest.mark.parametrize("power", [0.0, -0.4, 4.9])
def test_a_few_watts_have_no_direction(power):
    """A power of a few watts is idle: no arrow, and no minus sign."""
    shown = pictured({Quantity.GRID_POWER: power})
    assert "idle" in shown
    assert "▶" not in shown
    assert "◀" not in shown
    assert "-0 W" not in shown


@pytest.mark.parametrize(
    ("values", "drawn_parts"),
    [
        ({Quantity.GRID_POWER: 50.0}, {"grid"}),
        ({Quantity.PV_POWER: 50.0}, {"solar"}),
        ({Quantity.BATTERY_POWER: 50.0}, {"battery"}),
        ({Quantity.BATTERY_SOC: 50.0}, set()),
    ],
)
def test_a_part_without_a_value_is_not_drawn(values, drawn_parts):
    """Only parts with a measured value are drawn; a missing value is never 0 W."""
    shown = pictured(values)
    assert {part for part in ("solar", "battery", "grid") if f"┌─ {part}" in shown} == drawn_parts
    assert " 0 W" not in shown


@pytest.mark.parametrize(("width", "height"), [(69, 40), (140, 14)])
def test_no_picture_without_room(width, height):
    """In a narrow or low terminal there is only the table."""
    assert "┌─" not in pictured(POWERS, width, height)
    assert "┌─" in pictured(POWERS, 70, 15)
    assert "Elm Street" in pictured(POWERS, width, height)
