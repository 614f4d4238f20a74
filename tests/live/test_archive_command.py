"""`energy-live archive` as its users run it: options, environment, exit codes, output."""

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


def everything(terminal):
    """What is shown on a terminal until the last program has left it."""
    shown = b""
    with suppress(OSError):
        while piece := os.read(terminal, 4096):
            shown += piece
    os.close(terminal)
    return shown.decode()


async def test_an_archive_from_the_command_line(home, tmp_path):
    """It is the archive the program's own function makes; the summary is on stdout, exit code 0."""
    done = await command(home, tmp_path / "a", "--format", "csv", "--product", 301, "--until", UNTIL)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0].endswith("7 written now")
    assert done.stdout.splitlines()[-1] == "complete"
    await save(home, tmp_path / "b", products=(301,))
    ours, theirs = files(tmp_path / "b"), files(tmp_path / "a")
    assert {name for name in ours if ours[name] != theirs[name]} == {"manifest.json"}  # it names the service
    assert ours.keys() == theirs.keys()
    checked = await asyncio.to_thread(run, "archive", str(tmp_path / "a"), "--check")
    assert (checked.returncode, checked.stderr) == (0, "")
    assert checked.stdout.endswith("every file is intact\n")


async def test_what_is_missing_is_told_and_exits_1(home, tmp_path):
    """The summary names what is missing and why; checking says it again, offline."""
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


async def test_damage_is_told_and_exits_1(home, tmp_path):
    """A changed file is named by --check, which needs no credentials and no network."""
    await save(home, tmp_path, products=(301,))
    with (tmp_path / "product-301/statistics-day.csv").open("ab") as file:
        file.write(b"0")
    checked = await asyncio.to_thread(run, "archive", str(tmp_path), "--check")
    assert checked.returncode == 1
    assert "damaged: product-301/statistics-day.csv: has" in checked.stdout


async def test_a_terminal_shows_a_bar(home, tmp_path):
    """With a terminal on standard error there is progress with rows and time; stdout stays a summary."""
    outer, inner = pty.openpty()
    shown = asyncio.get_running_loop().run_in_executor(None, everything, outer)
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
    ("arguments", "said"),
    [
        (["--until", "tomorrow"], "--until"),
        (["--format", "xlsx"], "--format"),
        (["--product", "-1"], "--product"),
        (["--check"], "holds no archive"),
        ([], "VOLTSTORAGE_EMAIL"),
    ],
)
def test_what_cannot_be_meant_exits_2(tmp_path, arguments, said):
    """Options, folder and environment are explained, and nothing is written."""
    done = run("archive", str(tmp_path / "a"), *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert not (tmp_path / "a").exists()


async def test_wrong_credentials_exit_1(home, tmp_path):
    """A refused login is one line, without the password."""
    env = home.environment() | {"VOLTSTORAGE_PASSWORD": "wrong-sentinel"}
    done = await asyncio.to_thread(run, "archive", str(tmp_path / "a"), env=env)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "sentinel" not in done.stderr + done.stdout


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    """A file where the folder should be is explained."""
    (tmp_path / "file").write_text("x")
    env = {"VOLTSTORAGE_TOKEN": "a.b.c", "VOLTSTORAGE_BASE_URL": "http://127.0.0.1:9/rest/"}
    done = run("archive", str(tmp_path / "file/a"), env=env)
    assert (done.returncode, done.stdout) == (2, "")
    assert "cannot write to" in done.stderr
