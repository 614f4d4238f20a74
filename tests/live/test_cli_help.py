import importlib.util
import json
from importlib.metadata import entry_points

import pytest

from energy_live.__main__ import main
from tests.servers.command_line import run, run_python

HEAVY = (
    "aiohttp",
    "asyncio",
    "attr",
    "backoff",
    "cattrs",
    "energy_core",
    "rich",
    "voltstorage_async",
    "vrm_async",
    "websockets",
)
AFTER = """
import json, sys
from energy_live.__main__ import main
code = main(sys.argv[1:])
print(json.dumps([code, sorted({name.partition(".")[0] for name in sys.modules})]), file=sys.stderr)
"""


@pytest.mark.parametrize(
    "arguments",
    [
        *(["--help"], ["demo", "--help"], ["watch", "-h"], ["simulate", "--help"], ["--version"]),
        *(
            ["sites", "--help"],
            ["now", "--help"],
            ["alarms", "history", "--help"],
            ["doctor", "--help"],
            ["history", "--help"],
        ),
        ["serve", "--help"],
        ["completion", "zsh"],
    ],
)
def test_help_loads_no_client_and_no_event_loop(arguments):
    """`--help` and `--version` import neither a client nor asyncio; so they take less than 150 ms."""
    done = run_python("-c", AFTER, *arguments)
    code, modules = json.loads(done.stderr)
    assert code == 0
    assert not {*HEAVY} & {*modules}


def test_help_names_every_command():
    """`--help` lists the commands."""
    done = run("--help")
    assert done.stderr == ""
    for command in (
        "demo",
        "watch",
        "sites",
        "now",
        "alarms",
        "history",
        "doctor",
        "simulate",
        "archive",
        "completion",
    ):
        assert f"\n  {command} " in done.stdout


def test_watch_help_names_the_environment():
    """`watch --help` lists the environment variables with credentials."""
    shown = run("watch", "--help").stdout
    for name in (
        "VRM_TOKEN",
        "VRM_ACCOUNT",
        "VRM_BASE_URL",
        "VOLTSTORAGE_EMAIL",
        "VOLTSTORAGE_PASSWORD",
        "VOLTSTORAGE_TOKEN",
        "VOLTSTORAGE_ACCOUNT",
    ):
        assert name in shown


@pytest.mark.parametrize(
    ("missing", "arguments"),
    [("click", ["--help"]), ("click", ["demo"]), ("rich", ["demo", "--events", "1", "--format", "table"])],
)
def test_a_missing_extra_is_one_line(missing, arguments):
    """If a package of the extra `cli` is missing, one line names the extra; the exit code is 1."""
    without = f"import sys; sys.modules[{missing!r}] = None"
    code = f"{without}; from energy_live.__main__ import main; sys.exit(main(sys.argv[1:]))"
    done = run_python("-c", code, *arguments)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == "energy-live: the command line needs an extra: pip install 'energy-live[cli]'\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["demo", "--events", "0"],
        ["demo", "--events", "many"],
        ["demo", "--seconds", "-1"],
        ["demo", "--seconds", "nan"],
        ["demo", "--seconds", "inf"],
        ["demo", "--speed", "0"],
        ["demo", "--speed", "nan"],
        ["demo", "--format", "xml"],
        ["sites", "--format", "xml"],
        ["alarms", "history", "--last", "0d"],
        ["alarms", "history", "--last", "3 weeks"],
        ["completion", "tcsh"],
        ["watch", "--site", "-4"],
        ["watch", "--token", "abc"],
        ["simulate", "--vrm-port", "65536"],
        ["dance"],
    ],
)
def test_an_unusable_option_is_explained(arguments):
    """A wrong option exits 2 and is named in one line on stderr, with the help to read."""
    done = run(*arguments)
    assert len(done.stderr.splitlines()) == 1
    assert "--help)" in done.stderr
    assert done.returncode == 2
    assert done.stdout == ""
    assert arguments[-2 if len(arguments) > 1 else 0] in done.stderr
    assert "Traceback" not in done.stderr


def test_the_module_is_the_command():
    """The console script is the function that `python -m energy_live` runs."""
    (script,) = entry_points(group="console_scripts", name="energy-live") or (None,)
    assert script is None or script.load() is main
    assert run("--version").returncode == 0


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        ((), "faster with "),
        (("msgspec", "orjson", "uvloop"), "without accelerators"),
    ],
)
def test_version_lists_the_installed_accelerators(missing, expected):
    """`--version` prints one line with the installed packages of the extra `speed`."""
    if not missing and not any(importlib.util.find_spec(name) for name in ("msgspec", "orjson", "uvloop")):
        pytest.skip("no accelerator is installed")
    without = f"import sys; sys.modules.update(dict.fromkeys({missing!r}))"
    code = f"{without}; from energy_live.__main__ import main; sys.exit(main(['--version']))"
    done = run_python("-c", code)
    assert done.returncode == 0
    assert done.stdout.startswith("energy-live")
    assert expected in done.stdout
    assert done.stdout.count("\n") == 1
