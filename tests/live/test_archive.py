"""`archive()` and `check()`: completeness, repeatability, missing data, verification."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from energy_live.archive.check import check
from energy_live.archive.directory import ArchiveDirectory
from energy_live.archive.manifest import FileEntry, Manifest
from energy_live.runner import UsageError
from energy_live.simulator.faults import answer, truncated
from tests.servers.archive_run import NOW, exports, files, household, save, table, times

MONTHS = ("2024-10", "2024-11")
TIMESPANS = ("lifetime", "year", "month", "day", "hour-2024")


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch):
    """Skip fsync: no test here loses power."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture
async def home():
    async with household() as sim:
        yield sim


@pytest.fixture(scope="module")
def whole_archive(tmp_path_factory):
    root = tmp_path_factory.mktemp("whole") / "archive"

    async def make():
        async with household() as sim:
            assert (await save(sim, root)).missing == []

    asyncio.run(make())
    return root


@pytest.fixture
def saved(whole_archive, tmp_path):
    """A complete archive that the test may change."""
    return Path(shutil.copytree(whole_archive, tmp_path / "archive"))


async def test_an_archive_has_all_data_of_the_account(home, saved):
    """It has products, statistics of every timespan, and history by month if the product has rows."""
    assert list(files(saved)) == sorted(
        [
            "manifest.json",
            "products.json",
            *(f"product-{n}/history-{month}.csv" for n in (301, 302) for month in MONTHS),
            *(f"product-{n}/statistics-{timespan}.csv" for n in (301, 302) for timespan in TIMESPANS),
        ]
    )
    assert [one["id"] for one in json.loads((saved / "products.json").read_text())] == [301, 302, 303]
    assert len(table(saved / "product-301/statistics-day.csv")) == 9
    assert (
        len(table(saved / "product-301/statistics-hour-2024.csv")) == 8 * 24 + 11 + 1
    )  # one more: the clocks changed


async def test_the_history_is_that_of_the_simulator(home, saved):
    """Every row is saved once and in order; filled forward, its values are the simulator's."""
    rows = [row for month in MONTHS for row in table(saved / f"product-301/history-{month}.csv")]
    moments = [datetime.fromisoformat(row["Time"]) for row in rows]
    assert moments == sorted(set(moments))
    begin = datetime(2024, 10, 26, 22, tzinfo=UTC)  # local midnight
    assert len(rows) == (NOW - begin) // timedelta(minutes=30)
    known: dict[str, str] = {}
    for row, moment in zip(rows, moments, strict=True):
        known |= {name: cell for name, cell in row.items() if cell}
        at = home.household(301).at(float(int(moment.timestamp())))
        assert float(known["Power_Grid"]) == at.grid_w
        assert float(known["SOC_State of Charge"]) == at.soc
    assert any("" in row.values() for row in rows)


async def test_the_manifest_describes_the_files(saved):
    """The manifest has the files' checksums, sizes and rows, and their owner alone can read it."""
    manifest = Manifest.load(saved)
    contents = {name: content for name, content in files(saved).items() if name != "manifest.json"}
    assert {name: entry.sha256 for name, entry in manifest.files.items()} == {
        name: hashlib.sha256(content).hexdigest() for name, content in contents.items()
    }
    history = table(saved / "product-302/history-2024-11.csv")
    entry = manifest.files["product-302/history-2024-11.csv"]
    assert (entry.rows, entry.first, entry.last) == (len(history), history[0]["Time"], history[-1]["Time"])
    assert manifest.parameters["export.tolerance"] == 0
    assert (saved / "manifest.json").stat().st_mode & 0o077 == 0


async def test_a_second_run_changes_nothing(home, saved):
    """A second run reads the last day and the statistics again and changes no file."""
    before, mtimes, requests = files(saved), times(saved), len(home.requests)
    outcome = await save(home, saved)
    assert (outcome.changed, outcome.missing) == (0, [])
    assert (files(saved), times(saved)) == (before, mtimes)
    begins = [dict(one.query)["from"] for one in exports(home, requests)]
    assert set(begins) == {str(int(datetime(2024, 11, 4, tzinfo=UTC).timestamp()))}


async def test_two_archives_are_the_same_to_the_byte(home, saved, tmp_path):
    """The same data gives the same files, manifest included."""
    await save(home, tmp_path / "other")
    assert files(tmp_path / "other") == files(saved)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
async def test_several_runs_give_the_same_files_as_one(home, tmp_path, kind):
    """An archive that grew in several runs equals one that was made in a single run."""
    grown, whole = tmp_path / "grown", tmp_path / "whole"
    for until in (NOW - timedelta(days=5), NOW - timedelta(days=3, hours=9, minutes=30), NOW):
        assert (await save(home, grown, until=until, format=kind)).missing == []
    await save(home, whole, format=kind)
    assert files(grown) == files(whole)
    assert not list((grown / "product-301/.stage").glob("2024-10-*"))


async def test_parquet_holds_what_csv_holds(home, saved, tmp_path):
    """Parquet has the values of CSV: numbers as doubles, times in UTC, empty cells as null."""
    root = tmp_path / "parquet"
    await save(home, root, format="parquet")
    for name in ("history-2024-10", "statistics-day"):
        expected = table(saved / f"product-301/{name}.csv")
        read = pq.read_table(root / f"product-301/{name}.parquet")
        assert str(read.schema.field("Time").type) == "timestamp[us, tz=UTC]"
        assert {str(kind) for kind in read.schema.types[1:]} == {"double"}
        got = read.to_pylist()
        assert [row["Time"] for row in got] == [datetime.fromisoformat(row["Time"]) for row in expected]
        assert [[value for key, value in row.items() if key != "Time"] for row in got] == [
            [float(cell) if cell else None for key, cell in row.items() if key != "Time"] for row in expected
        ]


async def test_months_without_rows_cost_one_request_each(tmp_path):
    """While a product has no rows, one request a month asks for the next row."""
    async with household(history_days=None, export_step_s=6 * 3600) as sim:
        await save(sim, tmp_path / "a", products=(303,))
        assert [one["id"] for one in json.loads((tmp_path / "a/products.json").read_text())] == [
            301,
            302,
            303,
        ]
        months = 25  # since 4 November 2022
        assert len(exports(sim)) <= months + 2


# --- missing data ---------------------------------------------------------------------------------------


async def test_failed_days_are_reported_and_fetched_by_the_next_run(home, saved, tmp_path):
    """Failed days are listed with their reason; all other data is saved, and the next run completes it."""
    root = tmp_path / "holed"
    # The first request, for the first row, succeeds; then three days in a row fail.
    home.faults.add(answer(400, '{"errors":["no"]}'), path="data/export.csv", times=3, after=1)
    outcome = await save(home, root)
    assert outcome.missing == ["product 301: history of 2024-10-26 to 2024-10-31: no (status 400)"]
    whole, holed = files(saved), files(root)
    assert whole.keys() - holed.keys() == {"product-301/history-2024-10.csv"}
    assert [name for name in holed if holed[name] != whole[name]] == ["manifest.json"]
    assert check(root).missing == outcome.missing
    assert (await save(home, root)).missing == []
    assert files(root) == whole


async def test_a_failed_day_does_not_affect_others(home, saved, tmp_path):
    """The file of the month lacks only the failed day; the next run requests only that day."""
    root = tmp_path / "holed"
    home.faults.add(answer(400), path="data/export.csv", times=1, after=3)
    outcome = await save(home, root)
    assert outcome.missing == ["product 301: history of 2024-10-28: the server refused (status 400)"]
    days = {row["Time"][:10] for row in table(root / "product-301/history-2024-10.csv")}
    assert days == {"2024-10-26", "2024-10-27", "2024-10-29", "2024-10-30", "2024-10-31"}
    asked = len(home.requests)
    assert (await save(home, root)).missing == []
    assert files(root) == files(saved)
    assert len(exports(home, asked)) == 1 + 3  # the day, and the last day of each product


async def test_a_refused_product_does_not_affect_others(home, saved, tmp_path):
    """403 ends the history of one product; the others are complete."""
    home.faults.add(answer(403, '{"errors":["not yours"]}'), path="data/export.csv", times=1)
    outcome = await save(home, tmp_path / "a")
    assert outcome.missing == ["product 301: history from 2024-10 on: not yours (status 403)"]
    got = files(tmp_path / "a")
    assert all(got[name] == content for name, content in files(saved).items() if "product-302/" in name)
    assert "product-301/statistics-day.csv" in got


async def test_an_unknown_product_is_reported(home, tmp_path):
    """Only the wanted products are archived; one that is not in the list is reported."""
    outcome = await save(home, tmp_path / "a", products=(302, 900))
    assert outcome.missing == ["product 900: not in the account's list"]
    assert {name.partition("/")[0] for name in files(tmp_path / "a")} == {
        "manifest.json",
        "products.json",
        "product-302",
    }


async def test_failed_statistics_are_reported(home, tmp_path):
    """A table that cannot be read is reported, and the others are saved."""
    home.faults.add(answer(400), path="data/statistics", times=1)
    outcome = await save(home, tmp_path / "a", products=(301,))
    assert outcome.missing == ["product 301: statistics-lifetime: the server refused (status 400)"]
    assert "product-301/statistics-year.csv" in files(tmp_path / "a")


async def test_an_offline_product_is_complete_with_a_note(home, tmp_path):
    """An offline product is complete; a note has the time of its last row."""
    outcome = await save(home, tmp_path / "a", products=(302, 303))
    assert outcome.missing == []
    silent, never = outcome.notes
    assert silent.startswith("product 302: is offline, its last row is of 2024-11-01T09:00:00.5")
    assert never == "product 303: the service has no history of it"


async def test_an_unreachable_service_ends_the_run(home, saved):
    """If the account is refused, the run stops, reports it, and leaves the archive as it was."""
    before = files(saved)
    home.faults.add(answer(401), path="data/*", times=None)
    outcome = await save(home, saved)
    assert len(outcome.missing) == 1
    assert outcome.missing[0].startswith("the run stopped: ")
    assert files(saved) == before


async def test_an_answer_cut_inside_a_line_is_requested_again(home, saved, tmp_path):
    """A cut answer leaves no trace in the archive."""
    home.faults.add(truncated(0.51), path="data/export.csv", times=1, after=2)
    outcome = await save(home, tmp_path / "a")
    assert outcome.missing == []
    assert files(tmp_path / "a") == files(saved)


async def test_fewer_rows_replace_nothing(home, saved):
    """If the service has fewer rows than before, the archive keeps its days, tables and products."""
    before = files(saved)
    empty = "sep=,\r\nTime,Power_Grid\r\n"
    home.faults.add(answer(200, "[]"), path="products", times=None)
    assert (await save(home, saved)).missing == []
    home.faults.clear()
    home.faults.add(answer(200, empty, content_type="text/csv"), path="data/export.csv", times=None)
    home.faults.add(answer(200, "[]"), path="data/statistics", times=None)
    outcome = await save(home, saved)
    assert (outcome.changed, outcome.missing) == (0, [])
    assert any("were kept" in note for note in outcome.notes)
    assert files(saved) == before


async def test_fewer_rows_of_a_month_replace_nothing(home, saved):
    """The file of a month is kept also if its staged days are gone."""
    before = files(saved)
    for path in (saved / "product-301/.stage").iterdir():
        path.unlink()
    home.faults.add(answer(200, "Time,a\r\n", content_type="text/csv"), path="data/export.csv", times=None)
    outcome = await save(home, saved, products=(301,))
    assert any("the file was kept" in note for note in outcome.notes)
    assert files(saved) == before


async def test_a_lost_file_is_fetched_again(home, saved):
    """A file that was deleted or truncated is restored by the next run."""
    before = files(saved)
    for month, damage_file in zip(
        MONTHS, (lambda path: path.unlink(), lambda path: os.truncate(path, 99)), strict=True
    ):
        damage_file(saved / f"product-301/history-{month}.csv")
    assert (await save(home, saved)).changed == 2
    assert files(saved) == before


# --- check() ----------------------------------------------------------------------------------------------


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage_file", "expected"),
    [
        (flip, "was changed or damaged"),
        (lambda path: path.unlink(), "is missing"),
        (lambda path: os.truncate(path, 99), "has 99 bytes instead of"),
        (lambda path: path.write_bytes(path.read_bytes() + b"\n"), "bytes instead of"),
    ],
)
async def test_check_finds_damaged_files(saved, damage_file, expected):
    """A changed byte and a missing, truncated or longer file are reported with the file's name."""
    assert (check(saved).damage, check(saved).missing) == ([], [])
    damage_file(saved / "product-302/history-2024-10.csv")
    (damage,) = check(saved).damage
    assert damage.startswith("product-302/history-2024-10.csv: ")
    assert expected in damage


@pytest.mark.parametrize(
    "damage_file", [flip, lambda path: os.truncate(path, 99), lambda path: path.write_text("[]")]
)
async def test_check_finds_a_damaged_manifest(home, saved, damage_file):
    """A damaged manifest is reported, and no run uses it."""
    damage_file(saved / "manifest.json")
    (damage,) = check(saved).damage
    assert damage.startswith("manifest.json")
    with pytest.raises(UsageError, match=r"manifest\.json"):
        await save(home, saved)


def test_a_manifest_names_no_file_outside(tmp_path):
    """A file name that leads out of the directory is damage."""
    (tmp_path / "x").write_bytes(b"x")
    root = tmp_path / "a"
    root.mkdir()
    manifest = Manifest(format="csv")
    manifest.files["../x"] = FileEntry(sha256=hashlib.sha256(b"x").hexdigest(), bytes=1, rows=0)
    (root / "manifest.json").write_bytes(manifest.to_bytes())
    assert check(root).damage == ["../x: lies outside of the archive"]


# --- the folder --------------------------------------------------------------------------------------------


async def test_one_run_at_a_time(home, saved):
    """A second run in the same folder is refused while the first lasts."""
    with ArchiveDirectory(saved).lock(), pytest.raises(UsageError, match="another run"):
        await save(home, saved)


async def test_a_folder_of_something_else_is_refused(home, tmp_path):
    """An archive needs a folder of its own."""
    (tmp_path / "letters.txt").write_text("dear")
    with pytest.raises(UsageError, match="not empty"):
        await save(home, tmp_path)
    assert not (tmp_path / "manifest.json").exists()


async def test_an_archive_keeps_its_format(home, saved):
    """Without --format an archive keeps its format; another format is an error."""
    assert (await save(home, saved, format=None)).changed == 0
    with pytest.raises(UsageError, match="archive in csv"):
        await save(home, saved, format="parquet")


async def test_without_pyarrow_it_is_csv(home, tmp_path, monkeypatch):
    """The default needs no extra, and Parquet says which it needs."""
    monkeypatch.setattr("energy_live.archive.store.has_parquet", lambda: False)
    with pytest.raises(UsageError, match=r"energy-live\[arrow\]"):
        await save(home, tmp_path / "a", format="parquet")
    assert (await save(home, tmp_path / "b", format=None, products=(303,))).manifest.format == "csv"


async def test_the_last_day_is_the_one_that_goes_on(saved):
    """The manifest remembers which day is to be read again."""
    assert {one.last_day for one in Manifest.load(saved).products.values()} == {date(2024, 11, 4)}
