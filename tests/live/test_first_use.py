"""Imports and file reads happen when a pool is entered, never in the running event loop afterwards."""

import json

import pytest

from tests.servers.command_line import run_python, simulated

PROBE = """
import asyncio, json, os, sys, threading

noted, watching, loop_thread = [], False, threading.get_ident()

def hook(event, args):
    if watching and threading.get_ident() == loop_thread and event in {
        "import", "open", "os.listdir", "os.scandir"
    }:
        noted.append([event, str(args[0])])

sys.addaudithook(hook)

from energy_core import SessionPool, merge
from voltstorage_async import VoltStorageClient
from vrm_async import VRMClient

def clients(pool):
    yield VRMClient(pool, token=os.environ["VRM_TOKEN"], base_url=os.environ["VRM_BASE_URL"])
    yield VoltStorageClient(
        pool,
        email=os.environ["VOLTSTORAGE_EMAIL"],
        password=os.environ["VOLTSTORAGE_PASSWORD"],
        base_url=os.environ["VOLTSTORAGE_BASE_URL"],
    )

async def reading(source):
    async with merge(source) as events:
        async for event in events:
            if event.values:
                return

async def rows(export):
    async with export:
        return [row async for row in export]

async def main():
    global watching
    folder = sys.argv[1]
    events = {}
    async with SessionPool() as pool:
        watching = True
        vrm, volt = clients(pool)
        async with vrm, volt:
            site = (await vrm.sites())[0].id
            for use in json.loads(sys.argv[2]):
                await eval(use)
                events[use] = [*noted]
                noted.clear()
        watching = False
    print(json.dumps(events))

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def services():
    """Environment variables of a running simulator."""
    with simulated("--speed", "60") as variables:
        yield variables


USES = [
    "vrm.users.me()",
    "vrm.sites(extended=True)",
    "vrm.stats.get(site, start=MOMENT, end=LATER)",
    "vrm.calendar(site)",
    "anext(vrm.stats.history(site, timezone='Pacific/Apia', start=MOMENT))",
    "asyncio.sleep(0, vrm.catalogue.rows)",
    "vrm.catalogue.refresh()",
    "vrm.widgets.graph(site, attribute_codes=['bs'], start=MOMENT, end=LATER)",
    "anext(vrm.installations.diagnostics(site))",
    "vrm.downloads.gps(site, folder + '/site.kml', start=MOMENT, end=LATER)",
    "vrm.downloads.overview(folder + '/sites.xlsx')",
    "reading(vrm.live(interval_s=0.5))",
    "anext(volt.products.list())",
    "volt.products.latest(301)",
    "reading(volt.live(301))",
    "rows(volt.export.rows(301, MOMENT, LATER))",
]


def probe(services, folder, uses):
    """Return the imports and file accesses in the event loop during each of the uses."""
    moment = "__import__('datetime').datetime(2026, 11, 1, {}, tzinfo=__import__('datetime').UTC)"
    uses = [use.replace("MOMENT", moment.format(1)).replace("LATER", moment.format(2)) for use in uses]
    done = run_python("-c", PROBE, str(folder), json.dumps(uses), env=services)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def test_nothing_is_imported_or_read_in_the_event_loop(services, tmp_path):
    """After a pool is entered, no request, stream or export imports a module or opens a file in the loop.

    One process for all of them: whichever needs a module first would be noted.
    """
    noted = probe(services, tmp_path, USES)
    assert len(noted) == len(USES)
    assert {use: events for use, events in noted.items() if events} == {}


def test_the_probe_notes_imports_and_file_accesses(services, tmp_path):
    """The probe of the test before works."""
    (noted,) = probe(
        services, tmp_path, ["asyncio.sleep(0, [__import__('mailbox'), open(os.devnull).close()])"]
    ).values()
    assert ["import", "mailbox"] in noted
    assert ["open", "/dev/null"] in noted
