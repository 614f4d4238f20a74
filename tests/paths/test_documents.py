"""The code in docs/*.md runs as printed against the simulator."""

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta

import pytest

import energy_core
import voltstorage_async
import vrm_async
import vrm_async.models
from energy_core import Checkpoint, Kind, State
from tests.docs.public import all_public
from tests.paths.snippets import ROOT, Enough, document, run, snippets_of
from tests.servers.archive_run import household as old_household
from tests.servers.archive_run import save

ELSEWHERE = {
    *("docs/home.md", "docs/sources.md", "docs/testing.md", "docs/vrm-history.md"),
    *("docs/getting-started.md", "docs/errors.md"),
}
HERE = {"docs/archive.md": 1, "docs/events.md": 3, "docs/voltstorage.md": 4, "docs/vrm.md": 2}

ARCHIVE, EVENTS, VOLTSTORAGE, VRM = (snippets_of(document(name)) for name in HERE)


def test_every_snippet_has_its_test():
    """A new snippet, or a new document with one, needs a test of its own."""
    found = {f"docs/{path.name}": len(snippets_of(path.read_text())) for path in (ROOT / "docs").glob("*.md")}
    assert {name: n for name, n in found.items() if n and name not in ELSEWHERE} == HERE


def names(**more):
    """Return the imports that the document assumes."""
    return all_public() | {"__name__": "document"} | more


@pytest.fixture
async def volt(household):
    """A client of the simulator's VoltStorage account."""
    async with voltstorage_async.VoltStorageClient(
        email=household.volt_email, password=household.volt_password
    ) as client:
        yield client


@pytest.fixture
async def vrm(household):
    """A client of the simulator's VRM account."""
    async with vrm_async.VRMClient(token=household.vrm_token) as client:
        yield client


async def until(there, deadline_s=20.0):
    async with asyncio.timeout(deadline_s):
        while not there():  # noqa: ASYNC110  (what is waited for cannot tell)
            await asyncio.sleep(0.02)


async def until_told(task, there):
    """Run an endless snippet until it has printed enough."""
    running = asyncio.ensure_future(task)
    await until(lambda: there() or running.done())
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError, Enough):
        await running


def with_account(snippet, household):
    email, password = household.volt_email, household.volt_password
    return snippet.replace('email="..."', f"{email=}").replace('password="..."', f"{password=}")


# --- voltstorage.md ---------------------------------------------------------------------------------------


async def test_voltstorage_lists_products_with_their_latest_data(household):
    """The first example prints the number and the latest data of each product that is installed."""
    seen = []
    snippet = with_account(VOLTSTORAGE[0], household)
    await run(snippet, names(print=lambda *shown: seen.append(shown)))
    assert len(seen) >= 2
    assert {product for product, *_ in seen} <= set(household.product_ids)
    assert all(data for *_, data in seen)


async def test_voltstorage_paths_can_be_changed(household):
    """A client is made with other addresses, all of them fields that exist."""
    known = names()
    await run(with_account(VOLTSTORAGE[1], household), known)
    async with known["volt"] as client:
        assert repr(client).startswith("<VoltStorageClient")


async def test_voltstorage_events_fold_into_a_state(household, volt):
    """The loop over a product's events knows the present state after each."""
    product = household.product_ids[0]
    known = names(volt=volt)
    await until_told(
        run(VOLTSTORAGE[2].replace("77", str(product)), known),
        lambda: "state" in known and len(known["state"].data) >= 3,
    )
    assert known["state"].product_id == product


async def test_voltstorage_healing_can_be_tuned(volt):
    """The arguments of a tuned stream exist."""
    known = names(volt=volt, an_hour_ago=datetime.now(UTC) - timedelta(hours=1))
    await run(VOLTSTORAGE[3], known)
    assert known["stream"].status.state is State.CONNECTING


# --- events.md ---------------------------------------------------------------------------------------------


async def test_events_are_merged_with_a_checkpoint(household, vrm, volt, tmp_path, monkeypatch):
    """The loop over both vendors keeps its position in a file."""
    monkeypatch.chdir(tmp_path)
    known = names(vrm=vrm, volt=volt)
    running = run(EVENTS[0].replace("301", str(household.product_ids[0])), known)
    await until_told(running, lambda: "event" in known and known["event"].kind is Kind.READING)
    assert Checkpoint.from_json((tmp_path / "position.json").read_text()).positions


async def test_subscriptions_are_opened_with_their_stream(household, volt):
    """A stream and two consumers of their own open and close together."""
    known = names(sources=[volt.live(household.product_ids[0])])
    await run(EVENTS[1], known)
    assert "SlowConsumer" not in repr(known["archive"])


class Database:
    """A store of batches and positions."""

    def __init__(self):
        self.batches, self.stored = [], None

    @contextlib.asynccontextmanager
    async def transaction(self):
        yield

    async def write(self, batch):
        self.batches.append(batch)

    async def store(self, text):
        self.stored = text


async def test_a_consumer_commits_in_its_own_transaction(household, volt):
    """Each batch is stored with the position after it."""
    database = Database()
    sources = [volt.live(household.product_ids[0])]
    known = names(sources=sources, database=database, stored=Checkpoint().to_json())
    await until_told(run(EVENTS[2], known), lambda: database.stored and "301" in database.stored)
    assert sum(map(len, database.batches)) >= 1


# --- archive.md and vrm.md ---------------------------------------------------------------------------------


async def test_an_archive_is_read_as_shown(tmp_path, monkeypatch):
    """The example reads a month of the archive, with every cell but the leading ones filled."""
    monkeypatch.chdir(tmp_path)
    async with old_household() as sim:
        await save(sim, tmp_path / "my-battery", format="parquet")
    known = names()
    await run(ARCHIVE[0], known)
    day = known["day"]
    assert len(day) > 100
    assert day["Power_Grid"].null_count() == 0


async def test_vrm_lists_sites_with_their_tags(household):
    """The first example prints the name and the tags of each site."""
    seen = []
    snippet = VRM[0].replace('token="..."', f"token={household.vrm_token!r}")
    await run(snippet, names(print=lambda *shown: seen.append(shown)))
    assert len(seen) == len(household.site_ids)


async def test_vrm_reaches_what_has_no_method(vrm):
    """An operation without a method is requested by its path."""
    asked = []

    class Watched:
        async def request(self, *args, **kwargs):
            asked.append((args, kwargs))
            return await vrm.request(*args, **kwargs)

    with contextlib.suppress(energy_core.errors.NotFound):
        await run(VRM[1], names(vrm=Watched()))
    assert asked[0][0] == ("GET", "firmwares")
