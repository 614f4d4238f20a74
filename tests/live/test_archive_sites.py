"""`archive_sites()`: every site of a VRM account, its hours from the first day on."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from datetime import UTC, datetime, timedelta

import pyarrow.parquet as pq
import pytest

from energy_live.archive.check import check
from energy_live.runner import UsageError
from energy_live.simulator.faults import answer, outage
from energy_live.simulator.vrm import stats
from tests.servers import archive_run
from tests.servers.archive_run import files, household, site_account, table, times

NOW = datetime(2024, 2, 10, 9, 30, tzinfo=UTC)
UNTIL = datetime(2024, 2, 10, 9, tzinfo=UTC)
FIRST = UNTIL - timedelta(days=80)
"""The simulator's sites are 80 days old: two years, two requests each."""
NO_DATA = '{"success": false, "errors": ["Site has no stats for this period."], "error_code": "no_data"}'


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch):
    """Skip fsync: no test here loses power."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


def home():
    return household(start=NOW, history_days=80, window=100_000)


async def save_sites(sim, root, **wish):
    return await archive_run.save_sites(sim, root, **{"until": NOW} | wish)


@pytest.fixture(scope="module")
def whole_archive(tmp_path_factory):
    """A complete archive, made once."""
    root = tmp_path_factory.mktemp("archive") / "whole"

    async def make():
        async with home() as running:
            assert (await save_sites(running, root)).missing == []
            assert len(asked(running)) == len(running.site_ids) * 4

    asyncio.run(make())
    return root


@pytest.fixture
async def sim():
    async with home() as running:
        yield running


@pytest.fixture
def saved(whole_archive, tmp_path):
    """A copy of the complete archive."""
    return shutil.copytree(whole_archive, tmp_path / "whole")


def asked(sim, since=0):
    return [one for one in list(sim.requests)[since:] if one.path.endswith("/stats")]


def expected(sim, site_id, year, codes=stats.KWH, *, total=True):
    """Return the simulator's own hours of a site: value by code, by hour."""
    site = next(one for one in sim.world.sites if one.id == site_id)
    start, end = (
        max(FIRST, datetime(year, 1, 1, tzinfo=UTC)),
        min(UNTIL, datetime(year + 1, 1, 1, tzinfo=UTC)),
    )
    query = stats.StatsQuery(
        codes=codes, start=start.timestamp(), end=end.timestamp(), interval="hours", total=total
    )
    records, _ = stats.collect(site, query, sim.now())
    found = {}
    for code, points in records.items():
        for ms, *values in points or ():
            names = (code,) if len(values) == 1 else (code, f"{code}.minimum", f"{code}.maximum")
            found.setdefault(ms, {}).update(zip(names, values, strict=True))
    return found


def values(rows):
    return {
        round(datetime.fromisoformat(row["Time"]).timestamp() * 1000): {
            name: float(cell) for name, cell in row.items() if name != "Time" and cell
        }
        for row in rows
    }


async def test_every_hour_of_every_site_is_there(sim, saved):
    """The files hold the values of every hour from each site's first day on, and no other."""
    assert sorted(files(saved)) == [
        "manifest.json",
        *(f"site-{site}/statistics-hour-{year}.csv" for site in sim.site_ids for year in (2023, 2024)),
        "sites.json",
    ]
    for site in sim.site_ids:
        for year in (2023, 2024):
            rows = table(saved / f"site-{site}/statistics-hour-{year}.csv")
            assert values(rows) == expected(sim, site, year)
    assert [one["idSite"] for one in json.loads((saved / "sites.json").read_text())] == list(sim.site_ids)
    assert check(saved).damage == check(saved).missing == []


async def test_as_few_requests_as_the_limits_allow(sim, tmp_path):
    """A first run sends one request for each 31 days of a site's year."""
    await save_sites(sim, tmp_path, sites=(151002,))
    assert len(asked(sim)) == 4


async def test_a_second_run_changes_no_file(sim, saved):
    """Over the same range, a second run requests only the list of sites and writes nothing."""
    before, since = times(saved), len(sim.requests)
    outcome = await save_sites(sim, saved)
    assert (outcome.changed, outcome.missing, times(saved)) == (0, [], before)
    assert asked(sim, since) == []


@pytest.mark.parametrize("kind", ["csv", "parquet"])
async def test_runs_in_steps_give_the_same_files(sim, tmp_path, kind):
    """Archives that grew in several runs are equal, byte for byte, to one that was made in a single run."""
    await save_sites(sim, tmp_path / "once", format=kind)
    for days in (70, 50, 20, 1, 0):
        since = len(sim.requests)
        outcome = await save_sites(sim, tmp_path / "steps", format=kind, until=NOW - timedelta(days=days))
        assert outcome.missing == []
    assert len(asked(sim, since)) == len(sim.site_ids)  # the last run read three days
    assert files(tmp_path / "steps") == files(tmp_path / "once")


async def test_late_data_is_found_by_revise(sim, saved, tmp_path):
    """Hours that VRM did not have at first are added by a run with `revise`, and only by such a run."""
    late = tmp_path / "late"
    sim.faults.add(answer(200, NO_DATA), path="installations/151001/stats", after=3)  # the newest chunk
    assert (await save_sites(sim, late)).missing == []
    whole, name = (
        table(saved / "site-151001/statistics-hour-2024.csv"),
        "site-151001/statistics-hour-2024.csv",
    )
    assert len(table(late / name)) < len(whole) - 24 * 4
    assert (await save_sites(sim, late)).changed == 0
    outcome = await save_sites(sim, late, revise=timedelta(days=31))
    assert (outcome.changed, outcome.missing) == (1, [])
    assert files(late) == files(saved)


async def test_changed_and_withdrawn_values_are_reported(sim, saved):
    """A changed value replaces the old one; a value that VRM no longer sends is kept. Both are noted."""
    name = "site-151001/statistics-hour-2024.csv"
    before = table(saved / name)
    async with site_account(sim) as client:
        start = (UNTIL - timedelta(days=3)).timestamp()
        query = {"type": "kwh", "interval": "hours", "start": int(start), "end": int(UNTIL.timestamp())}
        sent = await client.request("GET", "installations/151001/stats", query=query)
    first, second = sent["records"]["Bc"][0], sent["records"]["Bc"].pop(1)
    first[1] = 77.5
    sim.faults.add(answer(200, json.dumps(sent)), path="installations/151001/stats")
    outcome = await save_sites(sim, saved, sites=(151001,), revise=timedelta(days=3))
    assert outcome.notes[:2] == [
        "site 151001: statistics-hour-2024: 1 values were changed by late data",
        "site 151001: statistics-hour-2024: VRM no longer sends 1 values, they were kept",
    ]
    after = values(table(saved / name))
    assert after.pop(first[0]) == values(before)[first[0]] | {"Bc": 77.5}
    assert after[second[0]]["Bc"] == second[1]
    assert after == {time: cells for time, cells in values(before).items() if time != first[0]}


async def test_the_summary_warns_of_late_data(sim, saved):
    """Each run notes from where on hours may still change."""
    outcome = await save_sites(sim, saved)
    assert "hours from 2024-02-08 09:00 UTC on may still change" in outcome.notes[-1]


async def test_a_refused_site_does_not_stop_the_others(sim, saved, tmp_path):
    """A site that the account may not read is missing with the reason; the next run completes it."""
    fault = sim.faults.add(
        answer(403, '{"success": false, "errors": "no access"}'), path="installations/151001/*", times=None
    )
    root = tmp_path / "a"
    outcome = await save_sites(sim, root)
    assert outcome.missing == ["site 151001: statistics: VRM refused: 'no access' (status 403)"]
    assert check(root).missing == outcome.missing
    assert (root / "site-151002/statistics-hour-2024.csv").exists()
    sim.faults.remove(fault)
    assert (await save_sites(sim, root)).missing == []
    assert files(root) == files(saved)


async def test_an_outage_leaves_the_rest_of_a_site_to_the_next_run(sim, saved, tmp_path):
    """After a failed request the site's later years are missing; what was read before is kept."""
    fault = sim.faults.add(outage(500), path="installations/151001/stats", times=None, after=2)
    root = tmp_path / "a"
    outcome = await save_sites(sim, root)
    assert len(outcome.missing) == 1
    assert outcome.missing[0].startswith("site 151001: statistics-hour-2024 and what follows: ")
    assert (root / "site-151001/statistics-hour-2023.csv").exists()
    sim.faults.remove(fault)
    assert (await save_sites(sim, root)).missing == []
    assert files(root) == files(saved)


async def test_a_refused_token_stops_the_run(sim, tmp_path):
    """If the account is refused, the run ends, keeps what it has, and says so."""
    sim.faults.add(answer(401, '{"success": false, "errors": "token revoked"}'), path="*/stats", times=None)
    outcome = await save_sites(sim, tmp_path)
    assert outcome.missing[0].startswith("the run stopped: ")
    assert len(asked(sim)) <= 2 * len(sim.site_ids)
    assert check(tmp_path).damage == []


async def test_damaged_and_lost_files_are_read_again(sim, saved, tmp_path):
    """A run that has to add to a damaged file, or misses one, reads the whole year again."""
    whole = files(saved)
    damaged, lost = (saved / f"site-151001/statistics-hour-{year}.csv" for year in (2024, 2023))
    damaged.write_bytes(damaged.read_bytes().replace(b"2024-01-20", b"2024-01-02", 1))
    lost.unlink()
    assert (await save_sites(sim, saved, revise=timedelta(days=1))).missing == []
    assert files(saved) == whole


async def test_codes_are_saved_with_mean_minimum_and_maximum(sim, tmp_path):
    """The codes that one names are in files of their own, with what VRM sends of each."""
    outcome = await save_sites(sim, tmp_path, codes=("bs", "nothing"))
    assert outcome.missing == []
    assert "VRM sent no value of the code nothing in what was read now" in outcome.notes
    rows = table(tmp_path / "site-151002/codes-hour-2024.csv")
    assert list(rows[0]) == ["Time", "bs", "bs.maximum", "bs.minimum"]
    assert values(rows) == expected(sim, 151002, 2024, ("bs",), total=False)


async def test_the_archive_keeps_its_codes(sim, tmp_path):
    """A code that is named later is read from the first day on; a run that names none reads them all."""
    await save_sites(sim, tmp_path / "both", codes=("bs", "bv"))
    await save_sites(sim, tmp_path / "steps", codes=("bs",), until=NOW - timedelta(days=9))
    await save_sites(sim, tmp_path / "steps", codes=("bv",), until=NOW - timedelta(days=11))
    assert (await save_sites(sim, tmp_path / "steps")).missing == []
    assert files(tmp_path / "steps") == files(tmp_path / "both")


async def test_parquet_has_the_same_values(sim, saved, tmp_path):
    """Both formats hold the same rows."""
    await save_sites(sim, tmp_path / "p", format="parquet")
    found = pq.read_table(tmp_path / "p/site-151001/statistics-hour-2024.parquet").to_pylist()
    rows = table(saved / "site-151001/statistics-hour-2024.csv")
    assert [row.pop("Time") for row in found] == [datetime.fromisoformat(row.pop("Time")) for row in rows]
    assert found == [{name: float(cell) if cell else None for name, cell in row.items()} for row in rows]


async def test_selected_sites_only(sim, tmp_path):
    """`sites` selects; a number that the account does not have is missing."""
    outcome = await save_sites(sim, tmp_path, sites=(151002, 99))
    assert outcome.missing == ["site 99: not in the account's list"]
    assert not (tmp_path / "site-151001").exists()
    assert {row["Time"][:4] for row in table(tmp_path / "site-151002/statistics-hour-2023.csv")} == {"2023"}


async def test_a_site_without_a_first_day_is_missing(sim, tmp_path):
    """Without the time of its creation a site's first day is unknown; that is said, and others are saved."""
    async with site_account(sim) as client:
        listed = await client.request("GET", f"users/{sim.vrm_user_id}/installations")
    del listed["records"][0]["syscreated"]
    sim.faults.add(answer(200, json.dumps(listed)), path=f"users/{sim.vrm_user_id}/installations")
    outcome = await save_sites(sim, tmp_path)
    assert outcome.missing == [
        "site 151001: VRM sent no usable time of its creation, so its first day is not known"
    ]
    assert (tmp_path / "site-151002").exists()


async def test_empty_hours_stay_empty(sim, tmp_path):
    """An hour without data has no row, and a code without data no column: nothing is filled in."""
    sim.faults.add(answer(200, NO_DATA), path="installations/151002/stats")  # the oldest 31 days
    await save_sites(sim, tmp_path, sites=(151002,))
    rows = table(tmp_path / "site-151002/statistics-hour-2023.csv")
    assert "gc" not in rows[0]  # VRM sends false: the site has no generator
    whole = sorted(expected(sim, 151002, 2023))
    empty_until = round(datetime(2023, 12, 23, tzinfo=UTC).timestamp() * 1000)
    assert sorted(values(rows)) == [ms for ms in whole if ms >= empty_until] != whole


async def test_both_vendors_share_an_archive(tmp_path):
    """VRM's sites and VoltStorage's products are in one directory with one manifest."""
    async with home() as sim:
        wish = {"until": FIRST + timedelta(days=2)}
        await archive_run.save(sim, tmp_path, **wish)
        alone = files(tmp_path)
        assert (await save_sites(sim, tmp_path, **wish)).missing == []
        both = files(tmp_path)
        assert (await archive_run.save(sim, tmp_path, **wish)).changed == 0
        assert files(tmp_path) == both
    assert {name for name in alone if both[name] != alone[name]} == {"manifest.json"}
    assert check(tmp_path).damage == check(tmp_path).missing == []


async def test_two_runs_at_once_are_refused(sim, saved):
    """A second run in the same directory is refused while the first lasts."""
    first = asyncio.create_task(save_sites(sim, saved, revise=timedelta(days=31)))
    while not (saved / ".lock").exists():  # noqa: ASYNC110  (a file)
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    with pytest.raises(UsageError, match="another run"):
        await save_sites(sim, saved)
    await first
