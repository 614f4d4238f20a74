"""The pages of docs/how-to run as printed, against the simulator."""

import asyncio
import builtins
import json
import re
import subprocess
import sys
import types
from datetime import UTC, datetime

import aiohttp
import pytest

from energy_live.simulator.faults import answer
from tests.paths.snippets import ROOT, document, run, snippets_of
from tests.servers.archive_run import household as old_household
from tests.servers.archive_run import save_sites
from tests.servers.command_line import DEADLINE_S, environment

LINES = 60
"""A page is one screen."""
TESTED = {
    "archive-an-account",
    "check-types",
    "log-in-with-a-one-time-code",
    "run-a-service",  # test_deploy.py
    "test-your-program",
    "use-home-assistants-session",
}
"""Pages whose snippets have a test here; other pages have it in a file of their own."""


def page(name):
    return document(f"docs/how-to/{name}.md")


@pytest.mark.parametrize("name", sorted(TESTED))
def test_a_page_is_one_screen_and_its_links_exist(name):
    """At most sixty lines; each link leads to a file, and a title says what one will have done."""
    text = page(name)
    assert len(text.splitlines()) <= LINES
    assert text.startswith("# ")
    for link in re.findall(r"\]\(([^)#]+)", text):
        assert (ROOT / "docs/how-to" / link).exists(), link


async def test_archive_an_account(tmp_path, monkeypatch, capsys):
    """The options of the commands exist, and the last snippet reads the archive's hours as days."""
    text = page("archive-an-account")
    used = set(re.findall(r"--[a-z]+", text))
    shown = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "energy_live", "archive", "--help"],
        env=environment(),
        capture_output=True,
        timeout=DEADLINE_S,
        check=True,
    )
    assert used == {"--code", "--revise", "--check"}
    assert all(option in shown.stdout.decode() for option in used)
    monkeypatch.chdir(tmp_path)
    start = datetime(2024, 2, 10, 9, 30, tzinfo=UTC)
    async with old_household(start=start, history_days=8, window=1000) as sim:
        await save_sites(sim, tmp_path / "my-home", format="parquet", until=start)
    await run(snippets_of(text)[0], {"__name__": "page"})
    printed = capsys.readouterr().out
    assert "shape: (9, 4)" in printed
    assert all(name in printed for name in ("Time", "Pc", "Pb", "Pg"))


class Entry:
    """A config entry of Home Assistant, as far as the page uses one."""

    unique_id = "home"

    def __init__(self, token):
        self.data = {"token": token}
        self.unload = []

    def async_on_unload(self, action):
        self.unload.append(action)


@pytest.fixture
async def home_assistant(household, monkeypatch):
    """The page's names, with a stand-in for the package `homeassistant`."""
    exceptions, helpers = types.ModuleType("homeassistant.exceptions"), types.ModuleType("x")
    exceptions.ConfigEntryAuthFailed = type("ConfigEntryAuthFailed", (Exception,), {})
    exceptions.ConfigEntryNotReady = type("ConfigEntryNotReady", (Exception,), {})
    async with aiohttp.ClientSession() as session:
        helpers.async_get_clientsession = lambda _: session
        monkeypatch.setitem(sys.modules, "homeassistant", types.ModuleType("homeassistant"))
        monkeypatch.setitem(sys.modules, "homeassistant.exceptions", exceptions)
        monkeypatch.setitem(sys.modules, "homeassistant.helpers", types.ModuleType("homeassistant.helpers"))
        monkeypatch.setitem(sys.modules, "homeassistant.helpers.aiohttp_client", helpers)
        names = {"__name__": "page"}
        await run(snippets_of(page("use-home-assistants-session"))[0], names)
        yield types.SimpleNamespace(simulator=household, session=session, **names)


class Hass:
    """Home Assistant, as far as the page uses it."""

    async def async_add_executor_job(self, work):
        return await asyncio.to_thread(work)


async def test_home_assistants_session(home_assistant):
    """The entry is set up, gives diagnostics, is unloaded, and leaves the session open."""
    entry = Entry(home_assistant.simulator.vrm_token)
    assert await home_assistant.async_setup_entry(Hass(), entry)
    sites = await entry.runtime_data.now()
    assert [site.id for site in sites] == list(home_assistant.simulator.site_ids)
    found = await home_assistant.async_get_config_entry_diagnostics(Hass(), entry)
    assert json.loads(json.dumps(found))["pool"]["sent"] >= 2
    for action in entry.unload:
        await action()
    assert not home_assistant.session.closed


@pytest.mark.parametrize(("status", "error"), [(401, "ConfigEntryAuthFailed"), (404, "ConfigEntryNotReady")])
async def test_home_assistant_hears_of_failures(home_assistant, status, error):
    """A refused token asks for a new one; any other failure is tried again later."""
    refusal = answer(status, '{"success": false, "errors": "no"}')
    home_assistant.simulator.faults.add(refusal, path="users/me", times=None)
    entry = Entry(home_assistant.simulator.vrm_token)
    with pytest.raises(Exception, match="no") as raised:
        await home_assistant.async_setup_entry(Hass(), entry)
    assert type(raised.value).__name__ == error


async def test_a_one_time_code(household, monkeypatch, capsys):
    """The program asks for the code that VRM has sent, logs in, and makes a token."""
    monkeypatch.setenv("VRM_USERNAME", household.sms_username)
    monkeypatch.setenv("VRM_PASSWORD", household.sms_password)
    asked = []

    def typed(prompt):
        asked.append(prompt)
        return household.sms_token

    monkeypatch.setattr(builtins, "input", typed)
    with pytest.warns(DeprecationWarning, match="access token"):
        await run(snippets_of(page("log-in-with-a-one-time-code"))[0], {"__name__": "page"})
    assert asked == ["The code in the SMS: "]
    assert "Noor Haddad has the new token" in capsys.readouterr().out


def test_your_own_tests(tmp_path):
    """The tests of the page pass in a project of their own."""
    (snippet,) = snippets_of(page("test-your-program"))
    (tmp_path / "test_mine.py").write_text(snippet)
    options = ("-q", "-p", "no:cacheprovider", "-p", "energy_live.testing")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(tmp_path)],
        env=environment(),
        cwd=tmp_path,
        timeout=DEADLINE_S,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout.decode()
    assert b"3 passed" in done.stdout


async def test_checked_types(household, tmp_path, capsys):
    """The program of the page passes `mypy --strict`, and runs."""
    (snippet,) = snippets_of(page("check-types"))
    (tmp_path / "mine.py").write_text(snippet)
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), "mine.py"],
        env=environment({"MYPYPATH": str(ROOT)}),
        cwd=tmp_path,
        timeout=4 * DEADLINE_S,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout.decode()
    names = {"__name__": "page"}
    await run(snippet, names)
    assert await names["low_batteries"](household.vrm_token, 101.0) == ["Elm Street 12", "Dar Atlas"]
    assert await names["low_batteries"](household.vrm_token, -1.0) == []
    printing = asyncio.create_task(names["print_power"](household.vrm_token))
    async with asyncio.timeout(20.0):
        shown = ""
        while " W\n" not in shown:
            await asyncio.sleep(0.02)
            shown += capsys.readouterr().out
    printing.cancel()
    await asyncio.gather(printing, return_exceptions=True)
