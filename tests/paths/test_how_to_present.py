"""The pages about present values, alarms, live power and databases run as printed, against the simulator."""

import asyncio
import contextlib
import sqlite3

import pytest

from tests.paths.snippets import Enough, document, run, snippets_of

PAGES = (
    "state-of-charge",
    "active-alarms",
    "live-battery-power",
    "alarms-as-they-happen",
    "write-to-a-database",
)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_one_screen(name):
    """A title, one snippet, and few words."""
    text = document(f"docs/how-to/{name}.md")
    assert text.startswith("# ")
    assert len(text.splitlines()) <= 60
    assert len(snippets_of(text)) == 1


@pytest.fixture
def printed(household, monkeypatch, tmp_path):
    """The token of the simulator in the environment, an empty folder, and the lines of a page."""
    monkeypatch.setenv("VRM_TOKEN", household.vrm_token)
    monkeypatch.chdir(tmp_path)
    return []


async def run_page(name, printed, *, lines=None, until=None):
    """Run a page; one that does not end is stopped after some lines, or once `until` is true."""

    def show(*words):
        printed.append(words)
        if lines is not None and len(printed) >= lines:
            raise Enough

    (snippet,) = snippets_of(document(f"docs/how-to/{name}.md"))
    running = asyncio.ensure_future(run(snippet, {"__name__": "page", "print": show}))
    with contextlib.suppress(Enough):
        async with asyncio.timeout(30):
            while until is not None and not running.done() and not until():  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            if until is not None:
                running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running


async def test_state_of_charge(household, printed):
    """One line for each site, with a number."""
    await run_page("state-of-charge", printed)
    assert len(printed) == len(household.site_ids)
    assert all(isinstance(charge, float) for _, charge, *_ in printed)


async def test_active_alarms(household, printed):
    """The simulator has one for each site."""
    await run_page("active-alarms", printed)
    assert [words[1:3] for words in printed] == [("Low battery", "System overview")] * len(household.site_ids)


async def test_live_battery_power(printed):
    """Lines with sign and unit."""
    await run_page("live-battery-power", printed, lines=2)
    assert all(words[2][0] in "+-" and words[2].endswith(" W") for words in printed)


async def test_alarms_as_they_happen(printed, household):
    """Those that are active at the start are raised."""
    await run_page("alarms-as-they-happen", printed, lines=len(household.site_ids))
    assert {words[2:4] for words in printed} == {("raised", "Low battery")}


async def test_write_to_a_database(printed, tmp_path):
    """Rows arrive in the file."""

    def count():
        with (
            contextlib.closing(sqlite3.connect(tmp_path / "readings.sqlite")) as database,
            contextlib.suppress(sqlite3.OperationalError),
        ):
            return database.execute("SELECT count(*) FROM readings").fetchone()[0]
        return 0

    await run_page("write-to-a-database", printed, until=lambda: count() > 3)
    assert count() > 3
