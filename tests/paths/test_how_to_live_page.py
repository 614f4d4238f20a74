"""The pages about the live page and the relay: options, links, and the snippet that reads a relay."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from energy_core import SourceId
from energy_core.secret import Secret
from energy_live.cli import commands
from energy_live.web.access import ListenOptions
from energy_live.web.homes import Homes
from energy_live.web.server import WebServer
from tests.paths.snippets import ROOT, Enough, document, run, snippets_of
from tests.servers.page_world import Numbered

PAGES = ("live-page", "live-page-for-others", "read-a-relay")
TOKEN = "a-long-random-token-0123456789"
SITE = SourceId("vrm", "home", "151734")


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_one_screen_and_its_links_exist(name):
    """At most sixty lines; links lead to files; options are those of the commands."""
    text = document(f"docs/how-to/{name}.md")
    assert len(text.splitlines()) <= 60
    for link in re.findall(r"\]\(([^)#]+)", text):
        assert (ROOT / "docs/how-to" / link).exists(), link
    known = {
        option for name in ("serve", "run") for each in commands.commands[name].params for option in each.opts
    }
    assert set(re.findall(r"(?<![-\w])--[a-z-]+", text)) <= known


async def test_the_snippet_reads_a_relay(tmp_path, monkeypatch, capsys):
    """As printed, with the address of a relay on this machine; it saves its position."""
    (snippet,) = snippets_of(document("docs/how-to/read-a-relay.md"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ENERGY_LIVE_TOKEN", TOKEN)
    now, make = datetime.now(UTC), Numbered()
    async with WebServer(ListenOptions(port=0, token=Secret(TOKEN)), Homes()) as server:
        server.publish([make.reading(SITE, now - timedelta(seconds=5), pv_power=1)])
        printed = []

        def show(*values):
            printed.append(values)
            if server.clients and server.log.head == 1:
                server.publish([make.reading(SITE, now, pv_power=321.0)])
            if values[2] == "reading":
                raise Enough

        code = snippet.replace("https://energy.example.org", server.url.rstrip("/"))
        code = code.replace("asyncio.run(main())", "await main()")
        with pytest.raises(Enough):
            await run(code, {"__name__": "page", "print": show})
    assert [values[3] for values in printed if values[2] == "reading"] == [{"pv_power": 321.0}]
    assert (tmp_path / "attic.json").exists()
