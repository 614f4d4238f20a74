"""The code of the documentation's first pages runs as printed, against the simulator."""

import asyncio
import contextlib

import pytest

from energy_core.errors import AuthFailed, RateLimited, ServerFault
from tests.paths.snippets import Enough, document, run, snippets_of

START = snippets_of(document("docs/getting-started.md"))
ERRORS = snippets_of(document("docs/errors.md"))


async def test_getting_started(household, tmp_path, monkeypatch):
    """One page from top to bottom: the first call, a chart, and the stream of both vendors."""
    monkeypatch.chdir(tmp_path)
    printed, vendors = [], set()

    def show(*words):
        printed.append(words)
        if len(words) == 5:
            vendors.add(words[1].vendor)
            if vendors == {"vrm", "voltstorage"}:
                raise Enough

    names = {"print": show, "__name__": "page"}
    async with asyncio.timeout(60):
        first, chart, stream = START
        await run(first, names)
        assert {"battery_soc", "grid_power"} <= printed[0][1].keys()
        await run(chart, names)
        assert (tmp_path / "energy.png").stat().st_size > 5_000
        with contextlib.suppress(Enough):
            await run(stream, names)
    assert vendors == {"vrm", "voltstorage"}


class Failing:
    """A client whose `sites` fails."""

    def __init__(self, error):
        self.error = error

    async def sites(self):
        raise self.error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (AuthFailed("expired"), "create a new access token:"),
        (RateLimited("too many", retry_after=7.0), "again in"),
        (ServerFault("down"), "failed:"),
    ],
)
async def test_errors(error, words):
    """Each of the three handlers of the page catches its own error."""
    printed = []
    (snippet,) = ERRORS
    await run(snippet, {"print": lambda *said: printed.append(said), "vrm": Failing(error)})
    assert printed[0][0] == words
