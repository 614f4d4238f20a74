"""`energy-live archive`: options, environment, exit codes, output."""

from __future__ import annotations

import asyncio
import os
import pty
from contextlib import suppress

import pytest

from energy_live.simulator.faults import answer
from tests.servers.archive_run import files, household, save
from tests.servers.command_line import COMMAND, ROOT, environment, run

UNTIL = "2024-11-04T09:30"


@pytest.fixture
async def home():
    async with household(history_days=2) as sim:
        yield sim


async def command(sim, *arguments):
    return await asyncio.to_thread(run, "archive", *map(str, arguments), env=sim.environment())


def read_terminal(terminal):
    """Return the output on a pseudo-terminal until the program has ended."""
    shown = b""
    with suppress(OSError):
        while piece := os.read(terminal, 4096):
            shown += piece
    os.close(terminal)
    return shown.decode()


async def test_an_archive_from_the_command_line(home, tmp_path):
    """The command writes the files of `archive()`, prints a summary, and exits 0."""
    done = await command(home, tmp_path / "a", "--format", "csv", "--product", 301, "--until", UNTIL)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0].endswith("7 written now")
    assert done.stdout.splitlines()[-1] == "complete"
    await save(home, tmp_path / "b", products=(301,))
    expected, written = files(tmp_path / "b"), files(tmp_path / "a")
    assert {name for name in expected if expected[name] != written[name]} == {
        "manifest.json"
    }  # it has the base URL
    assert expected.keys() == written.keys()
    checked = await asyncio.to_thread(run, "archive", str(tmp_path / "a"), "--check")
    assert (checked.returncode, checked.stderr) == (0, "")
    assert checked.stdout.endswith("every file is intact\n")


async def test_missing_data_is_listed_and_exits_1(home, tmp_path):
    """The summary lists missing data with the reasons; --check lists it again, offline."""
    home.faults.add(answer(403, '{"errors":["not \\u001b[31myours"]}'), path="data/export.csv", times=None)
    wish = ("--format", "csv", "--product", 301, "--product", 900, "--until", UNTIL)
    done = await command(home, tmp_path, *wish)
    assert done.returncode == 1
    assert done.stdout.splitlines()[-3:] == [
        "  missing: product 900: not in the account's list",
        "  missing: product 301: history from 2024-11 on: not [31myours (status 403)",
        "incomplete; run it again to fetch the missing data",
    ]
    checked = await asyncio.to_thread(run, "archive", str(tmp_path), "--check")
    assert checked.returncode == 1
    assert "missing: product 301: history from 2024-11 on" in checked.stdout


async def test_damage_is_listed_and_exits_1(home, tmp_path):
    """--check lists a changed file; it needs no credentials and no network."""
    await save(home, tmp_path, products=(301,))
    with (tmp_path / "product-301/statistics-day.csv").open("ab") as file:
        file.write(b"0")
    checked = await asyncio.to_thread(run, "archive", str(tmp_path), "--check")
    assert checked.returncode == 1
    assert "damaged: product-301/statistics-day.csv: has" in checked.stdout


async def test_a_terminal_shows_a_bar(home, tmp_path):
    """If stderr is a terminal, it has a progress bar; stdout has only the summary."""
    outer, inner = pty.openpty()
    shown = asyncio.get_running_loop().run_in_executor(None, read_terminal, outer)
    process = await asyncio.create_subprocess_exec(
        *[*COMMAND, "archive", str(tmp_path / "a"), "--product", "301", "--until", UNTIL],
        env=environment(home.environment()),
        cwd=ROOT,
        stderr=inner,
        stdout=asyncio.subprocess.PIPE,
    )
    os.close(inner)
    out, _ = await process.communicate()
    bar = await shown
    assert process.returncode == 0
    assert "rows" in bar
    assert "301 2024-11" in bar
    assert out.decode().splitlines()[-1] == "complete"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--until", "tomorrow"], "--until"),
        (["--format", "xlsx"], "--format"),
        (["--product", "-1"], "--product"),
        (["--check"], "holds no archive"),
        ([], "VOLTSTORAGE_EMAIL"),
    ],
)
def test_wrong_usage_exits_2(tmp_path, arguments, expected):
    """Wrong options, directory or environment are explained, and nothing is written."""
    done = run("archive", str(tmp_path / "a"), *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert expected in done.stderr
    assert not (tmp_path / "a").exists()


async def test_wrong_credentials_exit_1(home, tmp_path):
    """A failed login is one line without the password."""
    env = home.environment() | {"VOLTSTORAGE_PASSWORD": "wrong-sentinel", "VRM_TOKEN": ""}
    done = await asyncio.to_thread(run, "archive", str(tmp_path / "a"), env=env)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "sentinel" not in done.stderr + done.stdout


async def test_both_accounts_of_the_environment(home, tmp_path):
    """Both accounts are archived; if one fails, the other is saved and the failure is listed."""
    env = home.environment() | {"VOLTSTORAGE_PASSWORD": "wrong-sentinel"}
    selected = ("--site", "151001", "--product", "301")
    arguments = ("archive", str(tmp_path / "a"), "--until", UNTIL, "--code", "bs", *selected)
    done = await asyncio.to_thread(run, *arguments, env=env)
    assert (done.returncode, done.stderr) == (1, "")
    assert "missing: VoltStorage: " in done.stdout
    assert "may still change" in done.stdout
    assert "sentinel" not in done.stdout
    assert (tmp_path / "a/site-151001/codes-hour-2024.parquet").exists()
    done = await asyncio.to_thread(run, *arguments, env=home.environment())
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "complete")
    assert (tmp_path / "a/product-301/history-2024-11.parquet").exists()


@pytest.mark.parametrize("option", [("--site", "1"), ("--code", "bs"), ("--revise", "3")])
def test_options_of_vrm_need_its_account(tmp_path, option):
    """An option for VRM without its token names the variable to set."""
    env = {"VOLTSTORAGE_TOKEN": "a.b.c", "VOLTSTORAGE_BASE_URL": "http://127.0.0.1:9/rest/"}
    done = run("archive", str(tmp_path / "a"), *option, env=env)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{option[0]} needs a VRM access token: set VRM_TOKEN" in done.stderr


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    """A directory that cannot be created is one line and exit code 2."""
    (tmp_path / "file").write_text("x")
    env = {"VOLTSTORAGE_TOKEN": "a.b.c", "VOLTSTORAGE_BASE_URL": "http://127.0.0.1:9/rest/"}
    done = run("archive", str(tmp_path / "file/a"), env=env)
    assert (done.returncode, done.stdout) == (2, "")
    assert "cannot write to" in done.stderr
