import asyncio
import csv
import io
import json
import os
import signal
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from attrs import evolve

from energy_live.reports.commands import INTERVALS
from energy_live.reports.doctor import examine
from energy_live.simulator import Simulator
from energy_live.simulator.faults import outage
from tests.servers.command_line import DEADLINE_S, ROOT, end, environment, run, run_code, simulated, started
from vrm_async.history.chunks import CAPS

UNKNOWN_TOKEN = "f" * 64


@pytest.fixture(scope="module")
def services():
    """Environment variables of a running simulator."""
    with simulated("--speed", "1") as variables:
        yield variables


def only(services, name):
    return {key: value for key, value in services.items() if key.startswith(name)}


def objects(*arguments, env):
    done = run(*arguments, "--format", "json", env=env)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def test_sites_lists_the_sites_and_products_of_both_accounts(services):
    """Each site and product has a row with state, age, charge and powers; missing values are null."""
    rows = objects("sites", env=services)
    assert [(row["vendor"], row["number"]) for row in rows] == [
        *(("vrm", 151001), ("vrm", 151002)),
        *(("voltstorage", 301), ("voltstorage", 302), ("voltstorage", 303)),
    ]
    assert [row["state"] for row in rows] == ["live", "live", "live", "offline", "no data"]
    for row in rows[:3]:
        assert 0 <= row["age_s"] <= 120
        assert 0 <= row["battery_soc_percent"] <= 100
        assert isinstance(row["grid_power_w"], float)
        assert datetime.fromisoformat(row["time"]).utcoffset() is not None
    assert rows[3]["age_s"] > 200_000
    assert rows[4]["battery_power_w"] is rows[4]["age_s"] is None
    assert rows[4]["problem"]


def test_the_three_formats_have_the_same_rows(services):
    """table, json and csv have one line or object for each site and product."""
    table = run("sites", env=services)
    assert (table.returncode, table.stderr) == (0, "")
    found = list(csv.DictReader(io.StringIO(run("sites", "--format", "csv", env=services).stdout)))
    assert [row["name"] for row in found] == [row["name"] for row in objects("sites", env=services)]
    assert len(table.stdout.splitlines()) == 2 + len(found)
    for row in found:
        assert row["name"] in table.stdout


def test_now_has_a_row_for_each_value(services):
    """Each quantity of each device has a row with value, unit, time and age."""
    rows = objects("now", "--site", "151001", "--product", "301", env=services)
    assert {row["number"] for row in rows} == {151001, 301}
    units = {row["quantity"]: row["unit"] for row in rows}
    assert units["battery_soc"] == "%"
    assert units["grid_power"] == "W"
    assert {"pv_power", "consumption_power", "battery_temperature"} <= units.keys()
    assert all(isinstance(row["value"], float) and row["age_s"] >= 0 for row in rows)


@pytest.mark.parametrize("command", ["now", "alarms"])
def test_options_select_sites_and_products(services, command):
    """--site and --product limit the rows, and no other account is asked."""
    for option, number in (("--site", 151002), ("--product", 302)):
        rows = objects(command, option, str(number), env=services)
        assert {row["number"] for row in rows} <= {number}


def test_alarms_are_the_active_ones_unless_a_range_is_given(services):
    """`alarms` has active alarms of both vendors; with --last also those that have ended."""
    active = objects("alarms", env=services)
    assert {row["state"] for row in active} == {"active"}
    assert {(row["vendor"], row["alarm"]) for row in active} == {
        ("vrm", "Low battery"),
        ("voltstorage", "connectionLost"),
    }
    past = objects("alarms", "--last", "20d", "--site", "151001", env=services)
    assert {row["state"] for row in past} == {"active", "cleared"}
    assert all(row["started"] and (row["cleared"] or row["state"] == "active") for row in past)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["now", "--site", "99"], "there is no site 99 in this account; it has 151001, 151002"),
        (["alarms", "--site", "99"], "there is no site 99 in this account; it has 151001, 151002"),
        (["now", "--product", "9"], "there is no product 9 in this account; it has 301, 302, 303"),
    ],
)
def test_an_unknown_number_lists_the_known_ones(services, arguments, message):
    """A number that the account does not have is one line with the numbers that it has; exit code 1."""
    done = run(*arguments, env=services)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"energy-live: {message}\n")


@pytest.mark.parametrize("command", ["sites", "now", "alarms"])
def test_without_credentials(command):
    """Without a credential one line names the variables to set; the exit code is 2."""
    done = run(command)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert "VRM_TOKEN" in done.stderr
    assert "VOLTSTORAGE_EMAIL" in done.stderr


@pytest.mark.parametrize("command", ["sites", "now", "alarms"])
def test_one_account_failing_does_not_hide_the_other(services, command):
    """The rows of the other account are printed, the reason is one line on stderr, and the exit code is 1."""
    done = run(command, "--format", "json", env=services | {"VRM_TOKEN": UNKNOWN_TOKEN})
    assert done.returncode == 1
    assert {row["vendor"] for row in json.loads(done.stdout)} == {"voltstorage"}
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("energy-live: not read: vrm users.me")
    assert UNKNOWN_TOKEN not in done.stderr
    done = run(command, env=only(services, "VRM_") | {"VRM_TOKEN": UNKNOWN_TOKEN})
    assert (done.returncode, done.stdout) == (1, "")


async def test_one_site_failing_does_not_hide_the_others():
    """Alarms of a site that cannot be read are named on stderr; those of the other sites are printed."""
    async with Simulator() as simulator:
        simulator.faults.add(outage(403), path="installations/151001/alarm-log")
        env = only(simulator.environment(), "VRM_")
        code, out, err = await run_served("alarms", "--last", "20d", "--format", "json", env=env)
    assert code == 1
    assert {row["number"] for row in json.loads(out)} == {151002}
    assert "alarms.log" in err
    assert len(err.splitlines()) == 1


def columns(row):
    return [name for name in row if name != "time"]


def test_history_has_a_row_for_each_bucket(services):
    """`history` has a row for each local day, with energies in kWh under readable names."""
    rows = objects("history", "151001", "--last", "7d", env=services)
    assert len(rows) in {7, 8}  # seven whole days, and today once it has data
    starts = [datetime.fromisoformat(row["time"]) for row in rows]
    assert all((start.hour, start.minute) == (0, 0) for start in starts)
    assert starts == sorted(starts)
    assert {"pv_to_home_kwh", "grid_to_home_kwh", "battery_to_home_kwh"} <= {*columns(rows[0])}
    assert all(row["pv_to_home_kwh"] >= 0 for row in rows)


def test_history_of_measurements(services):
    """With --code the columns are mean, smallest and largest value of each code, with units."""
    rows = objects("history", "151001", "--last", "5h", "--interval", "hours", "--code", "bs", env=services)
    assert columns(rows[0]) == [f"battery_soc_percent{end}" for end in ("", "_min", "_max")]
    assert 4 <= len(rows) <= 6


def test_history_writes_files(services, tmp_path):
    """--out writes what is printed otherwise as CSV and Parquet, or a chart; stdout names the file."""
    printed = objects("history", "151002", "--last", "4d", env=services)
    for name in ("a.csv", "a.parquet", "A.PNG"):
        done = run("history", "151002", "--last", "4d", "--out", str(tmp_path / name), env=services)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.split()[-2:] == [str(tmp_path / name), str(len(printed))]
    saved = list(csv.reader(io.StringIO((tmp_path / "a.csv").read_text())))
    assert saved[0] == [*printed[0]]
    frame = pl.read_parquet(tmp_path / "a.parquet").to_dicts()
    # The last row is today, which grows while the test runs.
    for row, cells, expected in zip(frame[:-1], saved[1:-1], printed[:-1], strict=True):
        assert {**row, "time": row["time"].isoformat()} == expected
        assert [cells[0], *(float(cell) if cell else None for cell in cells[1:])] == [*expected.values()]
    assert (tmp_path / "A.PNG").read_bytes().startswith(b"\x89PNG")
    assert len([*tmp_path.iterdir()]) == 3


def test_history_of_a_site_without_data_is_empty_with_its_columns(services, tmp_path):
    """A range without data is an empty table with its columns, printed or as a file; exit code 0."""
    without = ("history", "151001", "--start", "2001-01-01", "--end", "2001-02-01")
    done = run(*without, "--format", "csv", env=services)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("time,pv_to_battery_kwh,")
    assert len(done.stdout.splitlines()) == 1
    for name in ("a.csv", "a.png"):
        assert run(*without, "--out", str(tmp_path / name), env=services).returncode == 0
    assert (tmp_path / "a.csv").read_text() == done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["99"], 1, "there is no site 99 in this account; it has 151001, 151002"),
        (["151001", "--period", "2027-01"], 2, "the range is in the future: it begins at 2027-01-01 00:00"),
        (["151001", "--period", "May"], 2, "period must be a year, month or day such as '2026'"),
        (["151001", "--start", "2026-05-02", "--end", "2026-05-01"], 2, "end must be after start"),
        (["151001", "--start", "2026-05-02", "--end", "2026-05-02"], 2, "end must be after start"),
        (["151001", "--start", "soon"], 2, "--start must be a date or a time such as 2026-10-31"),
        (["151001", "--last", "3d", "--period", "2026"], 2, "give one form of the range"),
        (["151001", "--interval", "minutes"], 2, "is not one of '15mins', 'hours', '2hours', 'days'"),
        (["151001", "--code", "bz"], 2, "VRM has no code 'bz'; similar ones are"),
        (["151001", "--out", "history.xls"], 2, "--out must end in .csv, .parquet or .png, not .xls"),
        (["151001", "--out", "no-such-folder/a.csv"], 1, "the directory of the file does not exist"),
    ],
)
def test_bad_input_of_history_is_one_line(services, arguments, code, message):
    """A wrong site, range, interval, code or file is one line that says what is allowed."""
    done = run("history", *arguments, env=only(services, "VRM_"))
    assert (done.returncode, done.stdout) == (code, "")
    assert len(done.stderr.splitlines()) == 1
    assert message in done.stderr


def test_history_needs_an_account_of_vrm(services):
    """Without VRM_TOKEN one line names it; the exit code is 2."""
    done = run("history", "151001", env=only(services, "VOLTSTORAGE_"))
    assert (done.returncode, done.stdout) == (2, "")
    assert "VRM_TOKEN" in done.stderr


@pytest.mark.parametrize(("name", "extra"), [("pyarrow", "arrow"), ("matplotlib", "plot")])
def test_a_missing_extra_of_history_is_one_line(name, extra):
    """A kind of file whose package is missing is one line with the command that installs it."""
    ending = {"arrow": "parquet", "plot": "png"}[extra]
    code = (
        f"import sys; sys.modules[{name!r}] = None\n"
        "from energy_live.__main__ import main; sys.exit(main(sys.argv[1:]))"
    )
    done = run_code(code, "history", "1", "--out", f"a.{ending}", env={"VRM_TOKEN": UNKNOWN_TOKEN})
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"energy-live: .{ending} needs {name}: pip install 'energy-live[{extra}]'\n"


def test_the_intervals_are_those_of_the_library():
    """--interval accepts the intervals of `stats.history`."""
    assert set(INTERVALS) == set(CAPS)


async def run_served(*arguments, env):
    """Run the command line while this process's event loop serves it."""
    done = await asyncio.to_thread(run, *arguments, env=env)
    return done.returncode, done.stdout, done.stderr


def checks(text):
    return {(row["subject"], row["check"]): row for row in json.loads(text)}


def test_doctor_finds_everything_well(services):
    """With two working accounts all checks are ok; no secret is printed; the exit code is 0."""
    done = run("doctor", "--format", "json", env=services)
    assert (done.returncode, done.stderr) == (0, "")
    found = checks(done.stdout)
    assert {row["result"] for row in found.values()} <= {"ok", "-"}
    for check in ("credential", "access", "clock", "rate limit"):
        assert found["vrm", check]["result"] == found["voltstorage", check]["result"] == "ok"
    assert found["vrm", "token"]["detail"] == "'energy-live', FULL_ACCESS, does not expire"
    assert "2 of them with full control" in found["vrm", "sites"]["detail"]
    for name in ("VRM_TOKEN", "VOLTSTORAGE_PASSWORD"):
        assert services[name] not in done.stdout


def test_doctor_names_what_fails(services):
    """A refused token and a service that cannot be reached are failed checks; the exit code is 1."""
    changed = {"VRM_TOKEN": UNKNOWN_TOKEN, "VOLTSTORAGE_BASE_URL": "http://127.0.0.1:9/rest/"}
    done = run("doctor", "--format", "json", env=services | changed)
    assert done.returncode == 1
    found = checks(done.stdout)
    assert found["vrm", "access"]["result"] == found["voltstorage", "access"]["result"] == "failed"
    assert "the connection was refused" in found["voltstorage", "access"]["detail"]
    assert UNKNOWN_TOKEN not in done.stdout


def test_doctor_without_accounts():
    """Without credentials nothing fails, and variables are named; a wrong one is a failed check."""
    found = checks(run("doctor", "--format", "json").stdout)
    assert found["vrm", "credential"] == {
        "subject": "vrm",
        "check": "credential",
        "result": "-",
        "detail": "set VRM_TOKEN to use Victron VRM",
    }
    done = run("doctor", "--format", "json", env={"VRM_BASE_URL": "http://example.com/"})
    assert done.returncode == 1
    assert checks(done.stdout)["energy-live", "environment"]["result"] == "failed"


async def examined(monkeypatch, simulator, **changed):
    for name, value in {**simulator.environment(), **changed}.items():
        monkeypatch.setenv(name, value)
    return {(row[0], row[1]): (row[2], row[3]) for row in (await examine()).rows}


async def test_doctor_warns_of_a_token_that_expires_soon(monkeypatch):
    """Fourteen days before a token expires there is a warning, of VRM's and of a fixed VoltStorage token."""
    async with Simulator(speed=1.0) as simulator:
        (token,) = simulator.tokens
        expires = int((datetime.now(UTC) + timedelta(days=13, hours=1)).timestamp())
        simulator.vrm_server.accounts.tokens[token.id] = evolve(token, expires=expires)
        monkeypatch.setenv("VOLTSTORAGE_TOKEN", simulator.volt_token(20 * 86_400.0))
        found = await examined(monkeypatch, simulator)
        assert found["vrm", "token"][0] == "warning"
        assert "in 13 days: create a new one in time" in found["vrm", "token"][1]
        assert found["voltstorage", "token"][0] == "ok"
        monkeypatch.setenv("VOLTSTORAGE_TOKEN", simulator.volt_token(5 * 86_400.0))
        found = await examined(monkeypatch, simulator)
        assert found["voltstorage", "token"][0] == "warning"


async def test_doctor_warns_of_a_wrong_clock(monkeypatch):
    """A clock that is more than a minute off is a warning that names the difference."""
    async with Simulator(speed=1.0, start=datetime.now(UTC) + timedelta(minutes=30)) as simulator:
        found = await examined(monkeypatch, simulator)
    assert found["vrm", "clock"][0] == "warning"
    assert "30 min behind the server's" in found["vrm", "clock"][1]


async def test_ages_follow_the_vendors_clock():
    """Where this machine's clock is wrong, ages are still right: they refer to the vendor's time."""
    async with Simulator(speed=1.0, start=datetime.now(UTC) - timedelta(days=3)) as simulator:
        code, out, _ = await run_served("sites", "--format", "json", env=simulator.environment())
    assert code == 0
    assert all(row["age_s"] < 120 for row in json.loads(out)[:3])


@pytest.mark.parametrize(
    "command",
    [["sites"], ["now"], ["alarms"], ["doctor"], ["history", "1"], ["history", "1", "--out", "FILE.csv"]],
)
def test_ctrl_c_stops_any_command(command, tmp_path):
    """Ctrl-C while a server does not answer exits 130 without a traceback, output or part of a file."""
    arguments = [word.replace("FILE", str(tmp_path / "a")) for word in command]
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(DEADLINE_S)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/v2/"
        with started(*arguments, env={"VRM_TOKEN": UNKNOWN_TOKEN, "VRM_BASE_URL": url}) as process:
            connection, _ = server.accept()
            with connection:
                assert connection.recv(3) == b"GET"
                assert end(process, signal.SIGINT) == (130, "", "")
    assert not [*tmp_path.iterdir()]


def test_a_closed_pipe_is_no_error(services):
    """`energy-live now | head -1` prints no error."""
    done = subprocess.run(
        f"{sys.executable} -W error -m energy_live now | head -1",
        shell=True,
        capture_output=True,
        encoding="utf-8",
        env=environment(services),
        cwd=ROOT,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.startswith("vendor")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["al"], ["alarms"]),
        (["sites", "--format", ""], ["table", "json", "csv"]),
        (["completion", "z"], ["zsh"]),
        (["now", "--pro"], ["--product"]),
    ],
)
def test_bash_completes_commands_options_and_values(tmp_path, words, expected):
    """The script of `completion bash` completes commands, options and the values of options in bash."""
    command = tmp_path / "energy-live"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m energy_live "$@"\n')
    command.chmod(0o755)
    quoted = " ".join(f"'{word}'" for word in ["energy-live", *words])
    script = (
        'eval "$(energy-live completion bash)"\n'
        f"COMP_WORDS=({quoted}) COMP_CWORD={len(words)}\n"
        "_energy_live_completion energy-live\n"
        'printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        capture_output=True,
        encoding="utf-8",
        env=environment({"PATH": f"{tmp_path}:{os.environ['PATH']}"}),
        cwd=ROOT,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.split() == expected


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_name_the_command(shell):
    """There is a script for bash, zsh and fish."""
    done = run("completion", shell)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"_ENERGY_LIVE_COMPLETE={shell}_complete" in done.stdout
