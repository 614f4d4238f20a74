import csv
import io
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from fcntl import ioctl

import psutil
import pytest

from energy_live.demo import late_morning
from tests.servers.command_line import (
    COMMAND,
    DEADLINE_S,
    ROOT,
    end,
    environment,
    events,
    readings,
    reset_sigint,
    run,
    started,
)


def test_forty_readings_of_both_vendors():
    """The demo prints forty readings of both vendors as JSON lines, with status events, and exits 0."""
    done = run("demo", "--events", "40", "--format", "jsonl", "--speed", "90")
    assert done.returncode == 0
    assert done.stderr == ""
    shown = events(done.stdout)
    read = readings(done.stdout)
    assert len(read) == 40
    assert shown[-1] == read[-1]
    assert {event["kind"] for event in shown} == {"reading", "status", "alarm"}
    assert all(event["v"] == 1 for event in shown)
    vendors = Counter(event["source"][0] for event in read)
    assert min(vendors["vrm"], vendors["voltstorage"]) >= 10
    assert len({quantity for event in read for quantity in event["values"]}) >= 5


def test_both_vendors_have_pv_power():
    """The demo starts in the late morning, so both vendors report PV power."""
    assert 9 <= late_morning().hour < 12
    assert late_morning().tzinfo is not None
    sunny = {
        event["source"][0]
        for event in readings(run("demo", "--events", "6", "--speed", "60").stdout)
        if event["values"].get("pv_power", 0.0) > 0.0
    }
    assert sunny == {"vrm", "voltstorage"}


def test_each_line_is_flushed():
    """Lines are written to a pipe while the demo runs."""
    with started("demo") as process:
        assert process.stdout is not None
        assert '"status"' in process.stdout.readline()
        assert process.poll() is None


def test_seconds_limit_the_demo():
    """--seconds stops the demo with exit code 0 and complete lines."""
    done = run("demo", "--seconds", "1.5", "--speed", "3600")
    assert done.returncode == 0
    assert done.stderr == ""
    assert len(readings(done.stdout)) > 3


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_signals_stop_the_demo(number, code):
    """Ctrl-C exits 130 and SIGTERM 0, without a traceback, child process or open port."""
    with started("demo") as process:
        assert process.stdout is not None
        while '"reading"' not in process.stdout.readline():
            pass
        watched = psutil.Process(process.pid)
        assert watched.children() == []
        ports = {each.laddr.port for each in watched.net_connections() if each.status == psutil.CONN_LISTEN}
        assert len(ports) == 2
        returned, _, err = end(process, number)
    assert (returned, err) == (code, "")
    open_ports = {
        each.laddr.port for each in psutil.net_connections("tcp") if each.status == psutil.CONN_LISTEN
    }
    assert not ports & open_ports


def test_the_demo_uses_only_loopback_addresses():
    """All connections of the demo are to 127.0.0.1."""
    with started("demo", "--speed", "600") as process:
        assert process.stdout is not None
        for _ in range(12):
            process.stdout.readline()
        connections = psutil.Process(process.pid).net_connections()
    assert connections
    for each in connections:
        for address in (each.laddr, each.raddr):
            assert not address or address.ip == "127.0.0.1"


def test_a_closed_pipe_stops_the_demo():
    """`energy-live demo | head -3` prints three lines and no error."""
    with started("demo", "--speed", "600") as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(3)]
        process.stdout.close()
        process.stdout = None
        _, err = process.communicate(timeout=DEADLINE_S)
        assert (process.returncode, err) == (0, "")
    assert len(events("".join(lines))) == 3


def test_a_full_pipe_does_not_block():
    """With a full pipe, Ctrl-C still exits 130, and all lines but the last are complete."""
    with started("demo", "--speed", "3600") as process:
        pipe = process.stdout
        assert pipe is not None
        deadline = time.monotonic() + DEADLINE_S
        before, now = -1, 0
        while (now == 0 or now != before) and time.monotonic() < deadline:
            time.sleep(0.5)
            before, now = now, struct.unpack("i", ioctl(pipe.fileno(), termios.FIONREAD, b"\0" * 4))[0]
        assert now > 32_768
        code, out, err = end(process, signal.SIGINT)
    assert (code, err) == (130, "")
    assert len(events(out[: out.rindex("\n") + 1])) > 3


def test_a_full_disk_is_one_line():
    """A full disk is reported in one line; the exit code is 1."""
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(
            [*COMMAND, "demo", "--events", "1"],
            stdout=full,
            stderr=subprocess.PIPE,
            env=environment(),
            cwd=ROOT,
            timeout=DEADLINE_S,
            check=False,
            encoding="utf-8",
        )
    assert done.returncode == 1
    assert done.stderr == "energy-live: No space left on device\n"


def in_a_terminal(
    *arguments: str, width: int, number: int | None = None, until: Callable[[str], bool] = bool
) -> tuple[int, str]:
    """Run in a pseudo-terminal, send a signal when `until` is true; return exit code and output."""
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 36, width, 0, 0))
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment(),
        cwd=ROOT,
        preexec_fn=reset_sigint,  # noqa: PLW1509  (one system call)
    )
    os.close(theirs)
    got, signalled, begun = b"", False, time.monotonic()
    try:
        while time.monotonic() - begun < DEADLINE_S:
            shown = got.decode(errors="replace")
            if number is not None and not signalled and until(shown):
                process.send_signal(number)
                signalled = True
            if select.select([ours], [], [], 0.1)[0]:
                try:
                    got += os.read(ours, 65536)
                except OSError:  # the program has ended
                    break
        return process.wait(timeout=DEADLINE_S), got.decode()
    finally:
        process.kill()
        process.wait(timeout=DEADLINE_S)
        os.close(ours)


def test_a_terminal_shows_a_live_table():
    """In a terminal the demo redraws a table; Ctrl-C leaves the last table and shows the cursor again."""
    words = (
        "energy-live demo",
        "source",
        "grid",
        "battery",
        "°C",
        "vrm",
        "voltstorage",
        "live",
        "requests sent",
        "┌─ solar",
        "┌─ battery",
    )

    def enough(shown: str) -> bool:
        return all(word in shown for word in words) and shown.count("energy-live demo") > 4

    code, got = in_a_terminal("demo", width=120, number=signal.SIGINT, until=enough)
    assert code == 130
    assert "Traceback" not in got
    assert enough(got), got[-2000:]
    assert got.rindex("\x1b[?25h") > got.rindex("\x1b[?25l")
    assert '{"v":1' not in got


def test_the_format_can_be_chosen():
    """--format jsonl works in a terminal; --format table prints one table to a pipe."""
    code, got = in_a_terminal("demo", "--format", "jsonl", "--events", "2", width=80)
    assert code == 0
    assert len(readings(got.replace("\r\n", "\n"))) == 2
    done = run("demo", "--format", "table", "--events", "4", "--speed", "60")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("energy-live demo") == 1
    assert "4 readings" in done.stdout


def test_csv_has_a_line_for_each_value():
    """--format csv prints a header and a line for each value of a reading, with unit and revision."""
    done = run("demo", "--format", "csv", "--events", "3", "--speed", "60")
    assert (done.returncode, done.stderr) == (0, "")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [*rows[0]] == ["time", "source", "quantity", "value", "unit", "id", "revision"]
    assert len({row["id"] for row in rows}) == 3
    assert {row["unit"] for row in rows if row["quantity"] == "battery_soc"} == {"%"}
    assert all(datetime.fromisoformat(row["time"]).tzinfo and float(row["value"]) is not None for row in rows)


def test_json_is_the_same_as_jsonl():
    """--format json prints one JSON object a line, as --format jsonl does."""
    assert len(readings(run("demo", "--format", "json", "--events", "2", "--speed", "60").stdout)) == 2
