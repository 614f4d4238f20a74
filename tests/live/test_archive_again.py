"""`archive()` run again: more data, cut answers, later products, and kills."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta

import pytest

from energy_core.clock import SystemClock
from energy_live.archive.archiver import ArchiveOptions, archive
from energy_live.archive.check import check
from energy_live.archive.directory import ArchiveDirectory
from energy_live.archive.manifest import Manifest
from energy_live.archive.progress_bar import NoProgress
from energy_live.archive.store import ArchiveStore
from energy_live.simulator.faults import answer, chunked
from tests.servers.archive_run import NOW, account, exports, files, household, save, table


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch):
    """Skip fsync: no test here loses power."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture
async def home():
    async with household() as sim:
        yield sim


@pytest.fixture
async def saved(home, tmp_path):
    """A complete archive."""
    assert (await save(home, tmp_path / "whole")).missing == []
    return tmp_path / "whole"


def listed(saved, number, **changes):
    """Return the list of products with a changed record."""
    products = json.loads((saved / "products.json").read_text())
    return answer(200, json.dumps([one | (changes if one["id"] == number else {}) for one in products]))


async def exported(home, number, day):
    """Return columns and rows of the service's export of a day."""
    async with account(home) as client, client.export.rows(number, day, day + timedelta(days=1)) as rows:
        lines = [row.record async for row in rows]
        return ["Time", *rows.columns], lines


def cut_in_its_last_cell(columns, lines, *, to):
    """Return the export as CSV, cut in its last cell."""
    lines = [*lines[:-1], [*lines[-1][:-1], "1193.25"[:to]]]
    return "\r\n".join(",".join(line) for line in [columns, *lines])


async def test_an_earlier_end_keeps_later_missing_days(home, tmp_path):
    """Days that a run could not read stay missing after a run with an earlier end."""
    rule = home.faults.add(answer(400, "no"), path="data/export*", times=None, after=9)
    first = await save(home, tmp_path)
    assert first.missing
    home.faults.rules.remove(rule)
    again = await save(home, tmp_path, until=NOW - timedelta(days=6))
    assert [each for each in first.missing if each not in again.missing] == []
    assert (await save(home, tmp_path)).missing == []


async def test_a_product_that_begins_later_has_nothing_to_save(home, saved, tmp_path):
    """A product that begins after `until` has a note, no requests and no missing data."""
    asked = len(home.requests)
    future = {"installationDate": "2024-12-24", "manufacturingDate": None}
    home.faults.add(listed(saved, 301, **future), path="products", times=None)
    outcome = await save(home, tmp_path / "a")
    assert outcome.missing == []
    assert outcome.notes[0] == "product 301: begins after 2024-11-04, there is nothing to save"
    got = files(tmp_path / "a")
    assert not [name for name in got if "product-301/" in name]
    assert all(got[name] == content for name, content in files(saved).items() if "product-302/" in name)
    assert {dict(one.query).get("productId") for one in list(home.requests)[asked:]} == {None, "302", "303"}


@pytest.mark.parametrize("until", [datetime(2015, 1, 1, tzinfo=UTC), datetime(1, 1, 1, tzinfo=UTC)])
async def test_an_end_before_all_data_changes_nothing(home, saved, tmp_path, until):
    """A run that ends before all products begin is complete and leaves an archive as it is."""
    outcome = await save(home, tmp_path / "a", until=until)
    assert (outcome.missing, len(outcome.notes)) == ([], 3)
    assert list(files(tmp_path / "a")) == ["manifest.json", "products.json"]
    assert check(tmp_path / "a").missing == []
    home.faults.add(answer(400), path="data/export.csv", times=1, after=3)
    (missing,) = (await save(home, tmp_path / "b")).missing
    before = files(tmp_path / "b")
    assert (await save(home, tmp_path / "b", until=until)).missing == [missing]
    assert files(tmp_path / "b") == before


async def test_the_last_day_is_read_again(home, saved, tmp_path):
    """Rows that the service adds or changes on the last read day are in the archive after the next run."""
    midnight = datetime(2024, 11, 3, tzinfo=UTC)
    columns, lines = await exported(home, 301, midnight - timedelta(days=1))
    lines = [line for line in lines if datetime.fromisoformat(line[0]) < midnight]
    late = [*lines[:-1], [lines[-1][0], *["7.5" for _ in columns[1:]]]]
    few = "".join(",".join(line) + "\r\n" for line in [columns, *lines[:-1]])
    much = "".join(",".join(line) + "\r\n" for line in [columns, *late])
    changed = much.replace("7.5", "8.5")
    root, name = tmp_path / "a", "product-301/history-2024-11.csv"
    await save(home, root, products=(301,), until=midnight - timedelta(days=1))
    for body, end in ((few, None), (much, "7.5"), (changed, "8.5")):
        before = 1 if end is None else 0  # the first run reads the day before again
        home.faults.add(
            answer(200, body, content_type="text/csv"), path="data/export.csv", times=1, after=before
        )
        outcome = await save(home, root, products=(301,), until=midnight)
        assert outcome.missing == []
        rows = table(root / name)
        there = [row for row in rows if row["Time"].startswith("2024-11-02")]
        assert len(there) == len(lines) - (end is None)
        assert end is None or set(list(there[-1].values())[1:]) == {end}
    asked = len(home.requests)
    await save(home, root, products=(301,), until=midnight)
    assert [dict(one.query)["from"] for one in exports(home, asked)] == [
        str(int((midnight - timedelta(days=1)).timestamp()))
    ]


async def test_a_day_cut_in_its_last_cell_is_reported_and_read_again(home, saved, tmp_path):
    """The cut cell is left out and the day is reported; the next run completes it."""
    root, whole = tmp_path / "a", files(saved)
    columns, lines = await exported(home, 301, datetime(2024, 10, 28, tzinfo=UTC))
    body = cut_in_its_last_cell(columns, lines[:-1], to=2)
    cut = chunked(answer(200, body, content_type="text/csv"))
    home.faults.add(cut, path="data/export.csv", times=1, after=3)
    outcome = await save(home, root)
    assert outcome.missing == ["product 301: history of 2024-10-28: not all of its rows could be read"]
    assert "product 301: 1 malformed rows at the source" in outcome.notes
    rows = table(root / "product-301/history-2024-10.csv")
    (cut,) = (row for row in rows if row["Time"] == lines[-2][0])
    assert cut[columns[-1]] == ""
    assert check(root).missing == outcome.missing
    outcome = await save(home, root)
    assert outcome.missing == []
    assert not any("malformed" in note for note in outcome.notes)
    assert files(root) == whole


async def test_rows_that_are_malformed_twice_are_accepted(home, tmp_path):
    """A row that is malformed in two reads is noted and not missing; its day is not requested again."""
    columns, lines = await exported(home, 301, datetime(2024, 10, 28, tzinfo=UTC))
    broken = "\r\n".join(",".join(line) for line in [columns, *lines[:-1], ["not a row"], []])
    for after in (3, 0):
        home.faults.add(
            answer(200, broken, content_type="text/csv"), path="data/export.csv", times=1, after=after
        )
        first = await save(home, tmp_path, products=(301,))
        assert len(first.missing) == (after == 3)
        assert any("1 malformed rows" in note for note in first.notes)
    asked = len(home.requests)
    assert (await save(home, tmp_path, products=(301,))).changed == 0
    assert len(exports(home, asked)) == 1


async def test_a_cut_day_does_not_replace_a_complete_one(home, saved):
    """If the last day is cut when it is read again, it is reported and the old rows are kept."""
    columns, lines = await exported(home, 301, datetime(2024, 11, 4, tzinfo=UTC))
    lines = [line for line in lines if datetime.fromisoformat(line[0]) < NOW]
    cut = cut_in_its_last_cell(columns, lines, to=2)
    name = "product-301/history-2024-11.csv"
    for body, missing in ((cut.removesuffix("11") + "1193.25\r\n", []), (cut, ["2024-11-04"])):
        fault = chunked(answer(200, body, content_type="text/csv"))
        home.faults.add(fault, path="data/export.csv", times=1)
        outcome = await save(home, saved, products=(301,))
        assert outcome.missing == [
            f"product 301: history of {day}: not all of its rows could be read" for day in missing
        ]
        assert table(saved / name)[-1][columns[-1]] == "1193.25"
    assert (await save(home, saved)).missing == []


async def test_records_without_a_time_are_counted(home, tmp_path):
    """Records without a time are left out, and a note of every run counts them."""
    records = [{"pv-total": 1.0}, {"timespan_start": 1730000000, "pv-total": 2.0}, {"timespan_start": None}]
    home.faults.add(answer(200, json.dumps(records)), path="data/statistics", times=1)
    said = "product 301: statistics-lifetime: 2 records have no time and were left out"
    outcome = await save(home, tmp_path / "a", products=(301,))
    assert said in outcome.notes
    assert [row["pv-total"] for row in table(tmp_path / "a/product-301/statistics-lifetime.csv")] == ["2.0"]
    home.faults.add(answer(200, json.dumps(records[:1])), path="data/statistics", times=1)
    outcome = await save(home, tmp_path / "a", products=(301,))
    assert said.replace("2 records have", "1 records have") in outcome.notes
    assert not any("no time" in note for note in (await save(home, tmp_path / "a", products=(301,))).notes)


class Killed(BaseException):
    """Stands for SIGKILL: no code handles it."""


@pytest.mark.parametrize("dies_at", ["manifest.json", "product-1/x.csv"])
def test_the_manifest_is_written_before_the_rename(tmp_path, monkeypatch, dies_at):
    """Killed before the manifest is written, an archive is as it was; afterwards `recover` finishes."""
    name = "product-1/x.csv"
    store = ArchiveStore(ArchiveDirectory(tmp_path), Manifest(format="csv"))
    store.write(name, 1, (None, None), lambda file: file.write(b"old"))

    def commit(self, renamed, *, durable=True):
        if renamed == dies_at:
            raise Killed
        original(self, renamed, durable=durable)

    original = ArchiveDirectory.commit
    with monkeypatch.context() as patch:
        patch.setattr(ArchiveDirectory, "commit", commit)
        with pytest.raises(Killed):
            store.write(name, 1, (None, None), lambda file: file.write(b"new"))
    assert (tmp_path / name).read_bytes() == b"old"
    in_manifest = dies_at == name
    assert [f"{name}: a run was stopped" in damage for damage in check(tmp_path).damage] == [
        True
    ] * in_manifest
    ArchiveStore(ArchiveDirectory(tmp_path), Manifest.load(tmp_path)).recover()
    assert (tmp_path / name).read_bytes() == (b"new" if in_manifest else b"old")
    assert check(tmp_path).damage == []
    assert not list(tmp_path.rglob("*.part"))


def damage(path):
    """Change one digit of a value in a file."""
    content = bytearray(path.read_bytes())
    at = content.index(b"\n") + 40
    while not chr(content[at]).isdigit():
        at += 1
    content[at] ^= 1
    path.write_bytes(content)


async def test_a_damaged_staged_day_is_read_again(home, saved):
    """The checksum of a staged day detects a changed byte; the day is requested again."""
    before = files(saved)
    day = saved / "product-301/.stage/2024-11-02.csv"
    whole = day.read_bytes()
    damage(day)
    asked = len(home.requests)
    outcome = await save(home, saved)
    assert (outcome.missing, files(saved), day.read_bytes()) == ([], before, whole)
    assert len(exports(home, asked)) == 1 + 3  # the day, and the last day of each product


async def test_a_staged_day_damaged_during_the_run_is_read_again(home, tmp_path, saved):
    """The checksum is verified again when the file of the month is written."""
    before, root = files(saved), tmp_path / "late"
    disk = DamagedDisk(root / "product-301/.stage/2024-11-02.csv")
    async with account(home) as client:
        outcome = await archive(
            root,
            client,
            ArchiveOptions(until=NOW, format="csv"),
            service="https://volt.example/rest/",
            clock=SystemClock(),
            progress=disk,
        )
    assert disk.damaged
    assert outcome.missing == []
    assert any("2024-11-02.csv was changed or damaged, and was read again" in each for each in outcome.notes)
    assert files(root) == before


class DamagedDisk(NoProgress):
    """Damages a file when the next day has been read."""

    def __init__(self, path):
        self.path, self.damaged = path, False

    def step(self, steps=1):
        if not self.damaged and self.path.exists() and self.path.with_name("2024-11-03.csv").exists():
            self.damaged = True
            damage(self.path)


class LimitedRows:
    """An export that returns at most this many rows."""

    def __init__(self, rows, most):
        self._rows, self._most = rows, most
        self.malformed = 0

    async def __aenter__(self):
        return self

    async def __aexit__(self, *error):
        await self._rows.aclose()

    def __aiter__(self):
        return self._each()

    def __anext__(self):
        return anext(self._rows)

    async def _each(self):
        async for row in self._rows:
            yield row

    async def blocks(self):
        left = self._most
        async for row in self._rows:
            left -= 1
            yield [row]
            if not left:
                return


@pytest.mark.parametrize("most", [2, 10, 37])
async def test_a_row_limit_of_the_service_loses_nothing(home, saved, tmp_path, most):
    """If an answer has a limited number of rows, the rest of the day is requested."""
    root = tmp_path / "capped"
    async with account(home) as client:
        whole = client.export.rows
        client.export.rows = lambda *args, **more: LimitedRows(whole(*args, **more), most)
        outcome = await archive(
            root,
            client,
            ArchiveOptions(until=NOW, format="csv"),
            service="https://volt.example/rest/",
            clock=SystemClock(),
        )
    assert outcome.missing == []
    assert files(root) == files(saved)


async def test_unreadable_products_are_reported(home, saved, tmp_path):
    """Unreadable records in the list of products are reported; the other products are saved."""
    products = [*json.loads((saved / "products.json").read_text()), {"id": None}, {"serialNumber": "X"}]
    home.faults.add(answer(200, json.dumps(products)), path="products", times=None)
    outcome = await save(home, tmp_path / "a")
    assert outcome.missing[0] == "products: some of the account's list could not be read"
    assert (tmp_path / "a/product-301").is_dir()
