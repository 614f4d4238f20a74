import pytest

from benchmarks import guard, results, worker
from benchmarks import targets as judging
from benchmarks.rounds import Refused, Row, Side, Table, compare
from benchmarks.targets import Target

SIDES = "tests.paths.bench_sides"


def compared(*sides, **more):
    return compare(
        "table", "A table", SIDES, sides, base="honest", unit="event", rounds=3, options={"count": 5}, **more
    )


def test_alike_sides_are_measured():
    """Sides with equal values get a row each, with the ratio of their costs."""
    table = compared(Side("honest", "honest"), Side("half", "honest", options={"cost_s": 0.5}))
    assert [row.side for row in table.rows] == ["honest", "half"]
    assert table.row("half").ratio == table.against("half", "honest") == 2.0
    assert table.row("half").facts == {"rss_kb": 7.0}


@pytest.mark.parametrize(
    ("make", "said"),
    [
        ("loses_one", "other delivered 4, honest 5"),
        ("rounds_a_value", "other decoded other values than honest"),
        ("delivers_nothing", "a side delivered nothing"),
        ("breaks", "other failed at check"),
    ],
)
def test_other_results_are_refused(make, said, capfd):
    """A side with another number of events, other values or none is never timed."""
    with pytest.raises(Refused, match=said):
        compared(Side("honest", "honest"), Side("other", make))
    capfd.readouterr()


def test_what_grows_may_differ():
    """Sides of different sizes need not have equal values, but each has some."""
    sides = Side("honest", "honest"), Side("other", "delivers_nothing")
    assert compared(sides[0], Side("more", "honest", options={"count": 9}), alike=False).rows
    with pytest.raises(Refused, match="nothing"):
        compared(*sides, alike=False)


def test_without_speed_there_is_no_accelerator():
    """A side without `[speed]` cannot import orjson, msgspec and uvloop."""
    free = Side("honest", "is_blocked", options={"expected": False})
    assert compared(free, Side("without", "is_blocked", speed=False, options={"expected": True})).rows


def test_a_ratio_that_holds_passes_the_guard(capsys):
    """The guard accepts at most a quarter less than the committed ratio."""
    committed = {"burst": 0.8, "acquiring": 2.0}
    assert guard.verdict(committed, {"burst": 0.61, "acquiring": 1.51}) == 0
    assert guard.fallen(committed, {"burst": 0.59, "acquiring": 1.51}) == ["burst"]
    assert guard.verdict(committed, {"burst": 0.59, "acquiring": 1.51}) == 1


def test_what_is_not_measured_fails_the_guard(capsys):
    """A ratio that is only committed or only measured fails the guard."""
    assert guard.verdict({"burst": 0.8}, {}) == 1
    assert guard.verdict({}, {"burst": 0.8}) == 1
    assert "burst" in capsys.readouterr().out


def test_one_slow_moment_does_not_fail_the_guard(capsys):
    """A ratio that seems to have fallen is measured again, and the better one counts."""
    measured = iter([0.1, 0.8])
    assert guard.weighed({"burst": 0.8}, [("burst", lambda: next(measured))]) == {"burst": 0.8}
    assert guard.weighed({"burst": 0.8}, [("burst", lambda: 0.1)]) == {"burst": 0.1}
    assert "FALLEN burst" in capsys.readouterr().out


def test_targets_are_judged_both_ways():
    """Smaller is better for costs, larger for ratios; an exactly reached limit passes."""
    ratio = Target("receiving-burst", 1, "burst", "x", 0.9, 0.9, at_most=False)
    memory = Target("receiving-paced-5000", 2, "memory", "kB", 16.1, 16, at_most=True)
    assert ratio.met
    assert not ratio._replace(measured=0.89).met
    assert not memory.met
    assert "pass" in str(ratio)
    assert "MISS" in str(memory)


def test_growth_is_judged_by_the_worst_step():
    """A unit may cost a tenth more at ten times the size, at every step."""
    rows = [Row(str(size), cost, cost, cost, 1, 1, 1, {}) for size, cost in ((1, 1.0), (10, 0.9), (100, 1.2))]
    table = Table("growth-sites", "Growth: sites", "unit", "1", tuple(rows))
    (found,) = judging._growth([table])
    assert found.measured == pytest.approx(1.2 / 0.9)
    assert (found.number, found.met) == (7, False)


def test_caches_may_be_swept_before_each_repetition(monkeypatch):
    """With cold caches the work and its values are the same, and emptying the caches costs nothing."""
    monkeypatch.setattr(worker, "COLD_LEAST_S", 1e-9)
    done = []
    work = worker.Work(lambda: done.append(1), lambda _: [len(done)], units=2)
    work.sweep_first()
    assert work.check() == [2]
    assert work.round().cost_s < 0.001
    assert len(done) == 3


def test_a_crowd_that_waits_may_cost_what_a_heap_does():
    """With ten times as many waiters each may cost a third more, as O(log n) allows."""
    rows = [Row(str(size), cost, cost, cost, 1, 1, 1, {}) for size, cost in ((1, 1.0), (10, 1.1), (100, 1.3))]
    (found,) = judging._growth([Table("growth-waiters", "Growth: waiters", "unit", "1", tuple(rows))])
    assert (found.number, found.met) == (5, True)


def test_the_committed_results_can_be_judged():
    """`results.json` has every table that the targets need, and the guard's ratios."""
    kept = results.read()
    stores = {8 for table in kept.tables if table.id.startswith("storing-")}  # measured where the servers are
    assert {each.number for each in judging.targets(kept.tables, kept.restarts)} == {*range(1, 8), *stores}
    assert kept.guarded
