"""An object that is never closed causes a ResourceWarning with its name, and a clean exit."""

import pytest

from tests.servers.command_line import run_code, simulated

PROGRAM = """
import asyncio, gc, os, warnings
from datetime import UTC, datetime
from energy_core import FileCheckpoint, SessionPool, merge
from voltstorage_async import VoltStorageClient
from vrm_async import VRMClient

kept = []

def keep(thing):
    kept.append(thing)
    return thing

def vrm(pool=None):
    return VRMClient(pool, token=os.environ["VRM_TOKEN"], base_url=os.environ["VRM_BASE_URL"])

def volt(pool=None):
    return VoltStorageClient(
        pool,
        email=os.environ["VOLTSTORAGE_EMAIL"],
        password=os.environ["VOLTSTORAGE_PASSWORD"],
        base_url=os.environ["VOLTSTORAGE_BASE_URL"],
    )

async def work(pool):
    BODY

async def main():
    if POOL:
        async with SessionPool() as pool:
            await work(pool)
    else:
        await work(SessionPool())

asyncio.run(main())
"""

OPEN = "events = await merge(volt(pool).live(301)).__aenter__()"
FORGET = "gc.collect(); await asyncio.sleep(0.2)"
ROWS = "rows = volt(pool).export.rows(301, datetime(2026, 11, 1, tzinfo=UTC)); await anext(rows)"
STREAM = "stream = await volt(pool).events(301).__aenter__()"


@pytest.fixture(scope="module")
def services():
    """Environment variables of a running simulator."""
    with simulated("--speed", "60") as variables:
        yield variables


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (f"{OPEN}; await anext(events)", "MergedStream"),
        (f"{OPEN}; keep(events); await anext(events)", "MergedStream"),
        (f"{OPEN}; await anext(aiter(events.batches()))", "MergedStream"),
        (f"{OPEN}; sub = keep(events.subscribe()); await anext(sub)", "MergedStream"),
        (f"{OPEN}; await anext(events); del events; {FORGET}", "MergedStream"),
        ("events = await merge(vrm(pool).live()).__aenter__(); await anext(events)", "MergedStream"),
        (f"{STREAM}; await anext(stream)", "ProductStream"),
        (f"{STREAM}; keep(stream); await anext(stream)", "ProductStream"),
        (
            f"{STREAM}; await anext(stream); del stream; gc.collect(); await asyncio.sleep(0.2)",
            "ProductStream",
        ),
        (
            "rows = volt(pool).export.rows(301, datetime(2026, 11, 1, tzinfo=UTC)); await anext(rows)",
            "ExportRows",
        ),
        ("client = vrm(); await client.users.me()", "SessionPool"),
        ("client = keep(vrm()); await client.users.me()", "SessionPool"),
        ("client = volt(); await anext(client.products.list())", "SessionPool"),
    ],
)
@pytest.mark.parametrize("pool", [True, False], ids=["pool closed", "pool left open"])
def test_an_unclosed_object_is_named(services, body, named, pool):
    """The warning names the class of the object; the program exits normally."""
    code = PROGRAM.replace("BODY", body).replace("POOL", str(pool))
    done = run_code(code, options=("-W", "default::ResourceWarning"), env=services)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert any(f"ResourceWarning: <{named} " in line for line in done.stderr.splitlines())


@pytest.mark.parametrize(
    "body",
    [
        "merge(volt(pool).live(301)); volt(pool).events(301); vrm(pool).live()",
        "async with merge(vrm(pool).live()) as events: await anext(events)",
        "async with volt(pool).events(301) as stream: await anext(stream)",
        "await vrm(pool).users.me(); await anext(volt(pool).products.list())",
        "async with vrm() as client: await client.users.me()",
    ],
)
def test_a_closed_or_unopened_object_causes_no_warning(services, body):
    """Objects that were never opened, or were closed, cause no warning."""
    code = PROGRAM.replace("BODY", body).replace("POOL", "True")
    done = run_code(code, env=services)
    assert (done.returncode, done.stderr) == (0, "")
