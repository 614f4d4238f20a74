"""The first use of anything inside a running event loop: no import and no file is waited for there."""

import json
import sys

import pytest

from tests.servers.command_line import run, simulated

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
    async with SessionPool() as pool:
        watching = True
        vrm, volt = clients(pool)
        async with vrm, volt:
            site = (await vrm.users.installations())[0].id
            await USE
        watching = False
    print(json.dumps(noted))

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def services():
    """The environment that points at a simulated pair of services."""
    with simulated("--speed", "60") as variables:
        yield variables


@pytest.mark.parametrize(
    "use",
    [
        "vrm.users.me()",
        "vrm.users.installations(extended=True)",
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
    ],
)
def test_nothing_is_imported_or_read_in_the_loop(services, tmp_path, use):
    """After a pool was entered, whatever is used first finds everything there."""
    moment = "__import__('datetime').datetime(2026, 11, 1, {}, tzinfo=__import__('datetime').UTC)"
    code = PROBE.replace("USE", use)
    code = code.replace("MOMENT", moment.format(1)).replace("LATER", moment.format(2))
    done = run("-c", code, str(tmp_path), env=services, command=(sys.executable, "-W", "error"))
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == []


def test_what_is_not_preloaded_is_noticed(services, tmp_path):
    """The hook sees what it is for."""
    code = PROBE.replace("USE", "asyncio.sleep(0, [__import__('mailbox'), open(os.devnull).close()])")
    done = run("-c", code, str(tmp_path), env=services, command=(sys.executable, "-W", "error"))
    noted = json.loads(done.stdout)
    assert ["import", "mailbox"] in noted
    assert ["open", "/dev/null"] in noted
