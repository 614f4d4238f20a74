"""The code in the README runs as printed."""

import asyncio
import contextlib
import re
import shlex

from energy_core import Kind
from tests.paths.snippets import Enough, document, run, snippets_of

README = document("README.md")
SNIPPETS = snippets_of(README)


async def test_the_first_example_merges_both_vendors(household):
    """The example at the top prints readings of both vendors."""
    vendors = set()

    def show(_time, vendor, kind, values):
        if kind is Kind.READING and values:
            vendors.add(vendor)
        if len(vendors) == 2:
            raise Enough

    with contextlib.suppress(Enough):
        async with asyncio.timeout(20):
            await run(SNIPPETS[0], {"print": show, "__name__": "readme"})
    assert vendors == {"vrm", "voltstorage"}


async def test_a_client_alone_opens_its_own_pool(household):
    """The second example lists the sites of the account."""
    seen = []
    snippet = SNIPPETS[1].replace('"..."', repr(household.vrm_token))
    async with asyncio.timeout(20):
        await run(snippet, {"print": lambda *site: seen.append(site), "__name__": "readme"})
    assert {site[0] for site in seen} == set(household.site_ids)


def test_every_snippet_has_its_test():
    """A new snippet needs a test of its own."""
    assert len(SNIPPETS) == 2


def test_the_two_commands_start_from_nothing():
    """Each printed command creates its environment first."""
    commands = "".join(re.findall(r"```sh\n(.*?)```", README, re.DOTALL)).splitlines()
    assert len(commands) == 2
    for command in commands:
        steps = [shlex.split(step) for step in command.split("&&")]
        assert steps[0] == ["python3", "-m", "venv", ".venv"]
        assert all(step[0].startswith(".venv/bin/") for step in steps[1:])
