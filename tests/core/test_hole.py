"""Holes: nothing lost in silence, nothing told twice, old before new; against a log of the truth."""

from __future__ import annotations

from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy_core.stream.dedupe import (
    BEYOND_CAP,
    NOT_EXPORTED,
    NOT_RECORDED,
    DeliveredIndex,
    Emit,
    Missing,
    QuantityBits,
)
from energy_core.stream.gap_filler import GapFiller, PendingRange
from energy_core.stream.vocabulary import Quantity

EXPORTED = frozenset({"a", "b"})
SPOKEN = frozenset({"a", "b", "x"})


class World:
    """A service that tells changes, a link that fails, a record of the past, and a consumer."""

    def __init__(self, *, hold: int, runs: bool) -> None:
        self.gap_filler: GapFiller[str] = GapFiller(max_held=hold)
        self.runs = runs
        self.second = 100
        self.truth: dict[int, frozenset[str]] = {}
        self.sent: list[tuple[int, frozenset[str]]] = []
        self.up = self.deaf = self.slow = False
        self.told: list[Emit[str] | Missing] = []
        self.rows: list[tuple[int, frozenset[str], bool]] | None = None
        self.again: PendingRange | None = None
        self.now = 0.0
        self.behind = 0
        self.spoilt = ""
        self.most_held = 0
        self.asked: tuple[int, int] | None = None

    def connect(self) -> None:
        if not self.up:
            self.up, self.deaf = True, False
            self.gap_filler.open_gap()
            self.tell(SPOKEN)

    def cut(self) -> None:
        self.up = False

    def mute(self) -> None:
        self.deaf = self.up

    def unmute(self) -> None:
        if self.deaf:
            self.deaf = False
            self.gap_filler.open_gap()

    def crowd(self) -> None:
        self.slow = not self.slow

    def tick(self, keys: frozenset[str]) -> None:
        self.second += 1
        self.truth[self.second] = keys
        if self.up and not self.deaf and keys:
            self.tell(keys)

    def tell(self, keys: frozenset[str]) -> None:
        self.sent.append((self.second, keys))
        if self.runs and not self.slow and self.gap_filler.try_pass_through((self.second,), keys):
            self.told.append(Emit("live", self.second, 0, keys))
            return
        take = self.gap_filler.on_live(self.second, keys, "live", room=not self.slow)
        if take is not None:
            self.told.append(take)
        self.most_held = max(self.most_held, len(self.gap_filler._held))

    def hand_over(self, most: int = 1000) -> None:
        while most and (each := self.gap_filler.pop()) is not None:
            self.told.append(each)
            most -= 1

    def outage(self, seconds: int) -> None:
        """Lose the link for so long, and ask for it as soon as it is back: a common pair."""
        self.cut()
        for _ in range(seconds):
            self.tick(frozenset("ab"))
        self.connect()
        self.begin(with_latest=False)

    def ask(self) -> None:
        self.asked = (self.second, self.gap_filler.gap_count)

    def wait(self, seconds: int) -> None:
        self.now += seconds

    def lag(self, seconds: int) -> None:
        self.behind = seconds

    def spoil(self, how: str) -> None:
        self.spoilt = how

    def record(self, start: float, end: int) -> list[tuple[int, frozenset[str], bool]]:
        """Return what the record answers now; each row with the doubt whether others near it are there."""
        known = range(int(start), min(end, self.second - self.behind + 1))
        rows = [(second, self.truth.get(second, frozenset()) & EXPORTED, False) for second in known]
        rows = [each for each in rows if each[1]]
        how, self.spoilt = self.spoilt, ""
        if how == "empty":
            rows.clear()
        elif how == "cut":
            del rows[len(rows) // 2 :]
        elif how == "unreadable" and len(rows) > 2:
            middle = len(rows) // 2
            del rows[middle]
            rows[middle] = (*rows[middle][:2], True)
        return rows

    def begin_retry(self, most: int) -> None:
        """Read `most` rows of what is asked for again; the answer ends when there are no more."""
        if self.rows is not None:
            return
        self.again = self.gap_filler.begin_retry(self.now)
        if self.again is None:
            return
        rows = self.record(self.again.start - 2, self.second + 1)
        for second, keys, doubt in rows[:most]:
            if not self.gap_filler.on_retry_row(self.again, second, keys, "late", unreliable=doubt):
                break
        broken = "broke off" if len(rows) > most else ""
        self.gap_filler.end_retry(self.again, EXPORTED, error=broken)

    def begin(self, *, with_latest: bool) -> None:
        if not self.gap_filler.has_gap or self.gap_filler.ready:
            return
        if self.asked is None:
            self.ask()
        second, holes = self.asked
        self.asked = None
        if second == self.second:
            self.tick(frozenset("a"))  # what is measured is recorded a moment later
        self.start = self.gap_filler.begin(holes, self.second if with_latest else None)
        if with_latest:
            self.gap_filler.on_latest(self.second, SPOKEN, "latest")
        end = self.gap_filler.needed_until
        rows = self.record(self.start, self.second if end is None else min(self.second, end + 1))
        if rows:
            rows[0] = (rows[0][0], EXPORTED, rows[0][2])
        self.rows, self.whole = rows, True

    def read(self, most: int) -> None:
        while self.rows and most:
            second, keys, doubt = self.rows.pop(0)
            most -= 1
            if not self.gap_filler.on_history(second, keys, "row", full_row=self.whole, unreliable=doubt):
                self.rows.clear()
            self.whole = False
        if self.rows is not None and not self.rows and most:
            self.rows = None
            self.gap_filler.done(EXPORTED, self.now)

    def fail(self, *, final: bool = False) -> None:
        if self.rows is not None:
            self.rows = None
            self.gap_filler.fail("no", EXPORTED, self.now, final=final)

    def refuse(self) -> None:
        self.fail(final=True)

    def settle(self) -> None:
        """Let all end well: the link comes back, and what is open is filled."""
        self.slow, self.behind, self.spoilt = False, 0, ""
        self.connect()
        self.unmute()
        self.tick(frozenset("ab"))
        for _ in range(1000):
            self.read(10_000)
            self.hand_over()
            if not self.gap_filler.has_gap:
                break
            self.begin(with_latest=True)
        self.tick(frozenset("ab"))  # ends what is missing up to the next live event
        self.tick(frozenset("ab"))  # and is recorded
        self.hand_over()
        for seconds in (61, 301, 901):
            self.wait(seconds)
            for _ in range(10):
                self.begin_retry(10_000)
            self.hand_over()
        assert not self.gap_filler.pending
        assert not self.gap_filler.has_gap
        assert not self.gap_filler.ready

    def accounted(self, second: int, key: str) -> bool:
        return any(
            each.start <= second <= each.end and (not each.keys or key in each.keys)
            for each in self.told
            if isinstance(each, Missing)
        )


OPS = st.one_of(
    st.tuples(st.just("tick"), st.frozensets(st.sampled_from("abx"), max_size=3)),
    st.tuples(st.just("tick"), st.frozensets(st.sampled_from("abx"), min_size=1, max_size=3)),
    st.tuples(
        st.sampled_from(["connect", "cut", "cut", "mute", "unmute", "crowd", "hand_over", "ask"]),
        st.none(),
    ),
    st.tuples(st.sampled_from(["fail", "refuse"]), st.none()),
    st.tuples(st.just("lag"), st.integers(0, 27)),
    st.tuples(st.just("spoil"), st.sampled_from(["empty", "cut", "unreadable"])),
    st.tuples(st.just("wait"), st.sampled_from([5, 61, 301, 901])),
    st.tuples(st.just("begin_retry"), st.integers(0, 30)),
    st.tuples(st.just("outage"), st.integers(1, 9)),
    st.tuples(st.just("outage"), st.integers(1, 9)),
    st.tuples(st.just("begin"), st.booleans()),
    st.tuples(st.just("read"), st.integers(1, 30)),
)


@given(st.lists(OPS, max_size=120), st.sampled_from([1, 3, 1000]), st.booleans())
def test_what_is_told_and_what_is_missing_is_the_truth(script, hold, runs):
    """Under cuts, silence, a slow consumer and failing fills, all is told once or reported, in order.

    Whether events about which there is nothing to decide pass as runs or not.
    """
    world = World(hold=hold, runs=runs)
    world.connect()
    for op, argument in script:
        match op:
            case "tick":
                world.tick(argument)
            case "read":
                world.read(argument)
            case "begin":
                world.begin(with_latest=argument)
            case "lag" | "spoil" | "wait" | "begin_retry" | "outage":
                getattr(world, op)(argument)
            case _:
                getattr(world, op)()
    world.settle()

    takes = [each for each in world.told if isinstance(each, Emit)]
    told = {(take.second, key) for take in takes for key in take.keys}
    begun = takes[0].second
    for second, keys in world.truth.items():
        for key in keys:
            assert second < begun or (second, key) in told or world.accounted(second, key), (second, key)
    in_order = [take for take in takes if take.item != "late"]
    newest = accumulate((take.second for take in in_order), max)
    overlap = 2  # what a fill finds there of an earlier one comes late
    assert all(
        take.second >= most - overlap * take.backfilled for take, most in zip(in_order, newest, strict=True)
    )
    assert len({(take.second, take.ordinal) for take in takes}) == len(takes)
    later = [(take.second, key) for take in takes if take.backfilled for key in take.keys]
    live = {(take.second, key) for take in takes if not take.backfilled for key in take.keys}
    assert len(later) == len(set(later))
    assert not live & set(later)
    for at, gap in enumerate(world.told):
        if isinstance(gap, Missing) and not gap.keys:
            after = {take.second for take in world.told[at:] if isinstance(take, Emit) and take.backfilled}
            assert not [second for second in after if gap.start < second < gap.end], gap
    assert world.most_held <= hold


def filled(gap_filler: GapFiller[str], *rows: tuple[int, str], exported: str = "ab") -> list[object]:
    for second, keys in rows:
        if not gap_filler.on_history(second, keys, "row"):
            break
    gap_filler.done(exported)
    return popped(gap_filler)


def popped(gap_filler: GapFiller[str]) -> list[object]:
    out: list[object] = []
    while (each := gap_filler.pop()) is not None:
        out.append((*each[:2], each.backfilled) if isinstance(each, Emit) else each)
    return out


def broken(**options: object) -> GapFiller[str]:
    """Delivered second 100, then lost its link."""
    gap_filler: GapFiller[str] = GapFiller(**options)
    assert gap_filler.on_live(100, "ab", "live") == Emit("live", 100, 0, "ab")
    gap_filler.open_gap()
    return gap_filler


def test_a_run_begins_without_a_hole():
    """The first connection of a run presumes nothing: there is no position to go back to."""
    gap_filler: GapFiller[str] = GapFiller()
    gap_filler.open_gap()
    assert not gap_filler.has_gap
    assert gap_filler.on_live(100, "a", "first") is not None


def test_a_run_that_goes_on_begins_with_a_hole():
    """With `since`, the first connection asks for what came from that moment on, and tells it first."""
    gap_filler: GapFiller[str] = GapFiller(since=50)
    gap_filler.open_gap()
    assert gap_filler.on_live(100, "ab", "live") is None
    assert gap_filler.begin(gap_filler.gap_count) == 50
    assert gap_filler.needed_until == 100
    assert filled(gap_filler, (50, "ab"), (51, "a")) == [
        ("row", 50, True),
        ("row", 51, True),
        ("live", 100, False),
    ]


def test_live_events_wait_for_the_past():
    """What came live while the hole was filled is told after it; equal moments are not told twice."""
    gap_filler = broken()
    assert [gap_filler.on_live(second, "ab", "live") for second in (105, 106)] == [None, None]
    assert gap_filler.begin(gap_filler.gap_count) == 98
    out = filled(gap_filler, (98, "a"), (100, "ab"), (103, "a"), (104, "b"), (105, "a"), (106, "b"))
    # 98 is the overlap: nothing was told of that second, so its moment is told, late.
    assert out == [
        ("row", 98, True),
        ("row", 103, True),
        ("row", 104, True),
        ("live", 105, False),
        ("live", 106, False),
    ]
    assert gap_filler.on_live(107, "a", "live") is not None


def test_the_first_row_repeats_what_has_not_changed():
    """A first row is whole: before the last event it is no news, at that second it may be."""
    gap_filler = broken()
    gap_filler.begin(gap_filler.gap_count)
    assert gap_filler.on_history(98, "abc", "row", full_row=True)
    assert filled(gap_filler, (100, "abc"), exported="abc") == [("row", 100, True)]


def test_values_are_not_compared():
    """What is told twice is known by second and quantity, whatever the numbers are."""
    gap_filler = broken()
    gap_filler.on_live(103, "a", "12.0001")
    gap_filler.begin(gap_filler.gap_count)
    assert gap_filler.on_history(103, "ab", "12")
    gap_filler.done("ab")
    assert gap_filler.pop() == Emit("12.0001", 103, 0, "a")
    assert gap_filler.pop() == Emit("12", 103, 1, frozenset("b"), backfilled=True)


def test_past_its_bound_the_hole_is_open_again():
    """A live event that cannot be held is discarded, and a second fill brings it."""
    gap_filler = broken(max_held=2)
    for second in (101, 102, 103, 104):
        gap_filler.on_live(second, "a", "live")
    assert gap_filler.discarded == 2
    gap_filler.begin(gap_filler.gap_count)
    assert gap_filler.needed_until is None
    out = filled(gap_filler, (101, "a"), (102, "a"), (103, "a"), (104, "a"))
    assert [second for _, second, _ in out] == [101, 102, 103, 104]
    assert not gap_filler.has_gap


def test_what_is_discarded_after_the_question_needs_another():
    """A fill closes only the holes that were there when it asked."""
    gap_filler = broken(max_held=1)
    gap_filler.on_live(101, "a", "live")
    gap_filler.begin(gap_filler.gap_count)
    assert gap_filler.needed_until == 101
    gap_filler.on_live(102, "a", "live")
    assert filled(gap_filler) == [("live", 101, False)]
    assert gap_filler.has_gap
    assert gap_filler.begin(gap_filler.gap_count) == 99
    assert filled(gap_filler, (102, "a")) == [("row", 102, True)]


def test_a_second_hole_behind_the_first_waits_for_its_own_fill():
    """What came live after a later loss of the link stays held when the first hole is closed."""
    gap_filler = broken()
    gap_filler.on_live(110, "ab", "live")
    gap_filler.begin(gap_filler.gap_count)
    gap_filler.open_gap()
    gap_filler.on_live(120, "ab", "live")
    assert filled(gap_filler, (105, "a")) == [("row", 105, True), ("live", 110, False)]
    assert gap_filler.has_gap
    assert gap_filler.begin(gap_filler.gap_count) == 108
    assert filled(gap_filler, (115, "a")) == [("row", 115, True), ("live", 120, False)]


def test_the_present_state_is_not_told_ahead_of_anything():
    """Where live events come, or another hole lies before it, the present state is left to them."""
    gap_filler = broken()
    gap_filler.on_live(110, "a", "live")
    gap_filler.begin(gap_filler.gap_count)
    gap_filler.on_latest(112, "ab", "latest")
    assert filled(gap_filler) == [("live", 110, False)]

    gap_filler = broken()
    gap_filler.begin(gap_filler.gap_count)
    gap_filler.on_latest(112, "ab", "latest")
    gap_filler.open_gap()
    assert filled(gap_filler) == []
    assert gap_filler.has_gap
    assert gap_filler.begin(gap_filler.gap_count) == 98


def test_the_present_state_is_told_in_its_place():
    """What it adds to the live event of its second is told with it, before anything newer."""
    gap_filler = broken()
    gap_filler.on_live(110, "a", "live")
    gap_filler.on_live(113, "a", "live")
    gap_filler.begin(gap_filler.gap_count)
    gap_filler.on_latest(110, "ab", "latest")
    assert filled(gap_filler) == [("live", 110, False), ("latest", 110, True), ("live", 113, False)]


def test_what_was_given_up_is_not_asked_for_again():
    """The next fill begins where the gap ended."""
    gap_filler = broken()
    gap_filler.begin(gap_filler.gap_count)
    gap_filler.skip(5000, BEYOND_CAP)
    gap_filler.fail("down")
    assert popped(gap_filler) == [Missing(100, 5000, BEYOND_CAP)]
    gap_filler.open_gap()
    assert gap_filler.begin(gap_filler.gap_count) == 5000


def test_a_hole_that_cannot_be_filled_is_reported_up_to_the_next_live_event():
    """The filled part is told, then the gap, then what came live."""
    gap_filler = broken()
    gap_filler.on_live(110, "ab", "live")
    gap_filler.begin(gap_filler.gap_count)
    gap_filler.on_history(103, "a", "row")
    gap_filler.fail("broke off")
    assert popped(gap_filler) == [("row", 103, True), Missing(103, 110, "broke off"), ("live", 110, False)]
    assert not gap_filler.has_gap


def test_without_a_live_event_the_present_state_ends_the_gap():
    """What is known to be the latest moment is where the missing stretch ends."""
    gap_filler = broken()
    gap_filler.begin(gap_filler.gap_count)
    gap_filler.on_latest(120, "ab", "latest")
    gap_filler.fail("403")
    assert popped(gap_filler) == [Missing(100, 120, "403"), ("latest", 120, True)]


def test_with_neither_the_gap_ends_at_the_next_live_event():
    """A stretch whose end nobody knows is reported when the next live event comes."""
    gap_filler = broken()
    gap_filler.begin(gap_filler.gap_count)
    gap_filler.fail("down")
    assert popped(gap_filler) == []
    assert not gap_filler.has_gap
    gap_filler.on_live(130, "ab", "live")
    assert popped(gap_filler) == [Missing(100, 130, "down"), ("live", 130, False)]


def test_what_failed_is_tried_again_at_the_next_hole():
    """As long as nothing newer was told, the next fill asks for all of it."""
    gap_filler = broken()
    gap_filler.begin(gap_filler.gap_count)
    gap_filler.fail("down")
    gap_filler.open_gap()
    gap_filler.on_live(130, "ab", "live")
    assert gap_filler.begin(gap_filler.gap_count) == 98
    assert filled(gap_filler, (120, "a")) == [("row", 120, True), ("live", 130, False)]


def test_quantities_without_a_record_are_reported():
    """A filled hole still lacks what the export has no column for, and says which."""
    gap_filler: GapFiller[str] = GapFiller()
    gap_filler.on_live(100, "abx", "live")
    gap_filler.open_gap()
    gap_filler.on_live(110, "abx", "live")
    gap_filler.begin(gap_filler.gap_count)
    out = filled(gap_filler, (105, "a"))
    assert out == [
        ("row", 105, True),
        Missing(100, 110, NOT_EXPORTED, frozenset("x")),
        ("live", 110, False),
    ]


def test_quantities_without_a_record_are_reported_as_far_as_the_record_was_told():
    """A link may fall silent at once: rows behind the present state are told, and lack these too."""
    gap_filler: GapFiller[str] = GapFiller()
    gap_filler.on_live(100, "abx", "live")
    gap_filler.open_gap()
    gap_filler.begin(gap_filler.gap_count)
    gap_filler.on_latest(110, "abx", "latest")
    assert filled(gap_filler, (105, "a"), (115, "a")) == [
        ("row", 105, True),
        ("latest", 110, True),
        ("row", 115, True),
        Missing(100, 110, NOT_EXPORTED, frozenset("x")),
        Missing(110, 115, NOT_EXPORTED, frozenset("x")),
    ]


def test_a_record_that_is_behind_is_asked_again_and_then_reported():
    """After 1, 5 and 15 minutes; live events go on meanwhile, and what comes later fills what it can."""
    gap_filler = broken()
    gap_filler.on_live(110, "ab", "live")
    gap_filler.begin(gap_filler.gap_count)
    gap_filler.on_history(103, "a", "row")
    gap_filler.done("ab", 1000.0)
    assert popped(gap_filler) == [("row", 103, True), ("live", 110, False)]
    assert gap_filler.try_pass_through((111,), "ab")
    for due, rows in ((1060.0, []), (1300.0, [105]), (1900.0, [])):
        [waiting] = gap_filler.pending
        assert gap_filler.next_retry_at == due
        assert gap_filler.begin_retry(due - 0.1) is None
        assert gap_filler.begin_retry(due) is waiting
        for second in (100, *rows):
            assert gap_filler.on_retry_row(waiting, second, "ab", "late")
        gap_filler.end_retry(waiting, "ab")
        if rows:
            assert popped(gap_filler) == [("late", 105, True)]
    assert gap_filler.next_retry_at is None
    assert popped(gap_filler) == [Missing(105, 110, NOT_RECORDED)]


def test_a_later_row_proves_that_nothing_is_missing():
    """A product that said nothing in an outage has no rows of it; the rows behind it tell."""
    gap_filler = broken()
    gap_filler.on_live(110, "ab", "live")
    gap_filler.begin(gap_filler.gap_count)
    gap_filler.done("ab")
    [waiting] = gap_filler.pending
    assert (waiting.start, waiting.end) == (101, 109)
    gap_filler.begin_retry(60)
    assert not gap_filler.on_retry_row(waiting, 112, "ab", "late")
    gap_filler.end_retry(waiting, "ab")
    assert not gap_filler.pending
    assert popped(gap_filler) == [("live", 110, False)]


def test_a_second_that_is_told_in_part_waits_too():
    """Of the seconds at both ends a part may have been missed."""
    gap_filler: GapFiller[str] = GapFiller()
    gap_filler.on_live(99, "ab", "live")
    gap_filler.on_live(100, "a", "live")
    gap_filler.open_gap()
    gap_filler.on_live(104, "b", "live")
    gap_filler.begin(gap_filler.gap_count)
    gap_filler.done("ab")
    [waiting] = gap_filler.pending
    assert (waiting.start, waiting.end) == (100, 104)
    gap_filler.begin_retry(60)
    for second in (100, 101, 104, 105):
        gap_filler.on_retry_row(waiting, second, "ab", "late")
    gap_filler.end_retry(waiting, "ab")
    told = [(take.second, set(take.keys)) for take in iter(gap_filler.pop, None)]
    assert told == [(104, {"b"}), (100, {"b"}), (101, {"a", "b"}), (104, {"a"})]


def test_what_ends_with_the_next_live_event_waits_from_then_on():
    """An answer that ends before anything came live leaves an end that nobody knows."""
    gap_filler = broken()
    gap_filler.begin(gap_filler.gap_count)
    gap_filler.on_history(103, "ab", "row")
    gap_filler.done("ab", 5.0)
    assert popped(gap_filler) == [("row", 103, True)]
    assert not gap_filler.try_pass_through((109,), "ab")
    assert gap_filler.on_live(109, "ab", "live") is not None
    [waiting] = gap_filler.pending
    assert (waiting.start, waiting.end, waiting.retry_at) == (104, 108, 65.0)


def test_held_events_push_nothing_out_of_memory_that_is_asked_for_again():
    """However much is let go of at the end of a fill: what was told is not told again, nor in a gap."""
    gap_filler = broken(max_held=10_000)
    gap_filler.on_live(110, "ab", "live")
    gap_filler.begin(gap_filler.gap_count)
    gap_filler.on_history(103, "a", "row")
    for second in range(111, 1500):
        gap_filler.on_live(second, "ab", "live")
    gap_filler.fail("no", "ab", final=False)
    assert [second for _, second, _ in popped(gap_filler)] == [103, *range(110, 1500)]
    waiting = gap_filler.begin_retry(60)
    assert waiting.parts == [(103, 109)]
    gap_filler.on_retry_row(waiting, 103, "a", "late")
    gap_filler.on_retry_row(waiting, 104, "a", "late")
    gap_filler.end_retry(waiting, None, error="403", final=True)
    assert popped(gap_filler) == [("late", 104, True), Missing(104, 110, "403")]


def test_rows_push_nothing_out_of_memory_that_is_asked_for_again():
    """However long the answer is in which some could not be read, none is told again."""
    gap_filler = broken()
    gap_filler.on_live(3000, "ab", "live")
    gap_filler.begin(gap_filler.gap_count)
    for second in (101, 102, 104, *range(105, 3000)):
        gap_filler.on_history(second, "ab", "row", unreliable=second == 104)
    gap_filler.done("ab")
    popped(gap_filler)
    waiting = gap_filler.begin_retry(60)
    for second in range(101, 106):
        gap_filler.on_retry_row(waiting, second, "ab", "late")
    gap_filler.end_retry(waiting, "ab")
    assert popped(gap_filler) == [("late", 103, True)]
    assert not gap_filler.pending


def test_what_breaks_off_though_the_link_was_lost_again_waits():
    """The hole behind the one that was filled so far ends with the next live event too."""
    gap_filler = broken()
    gap_filler.on_live(110, "ab", "live")
    gap_filler.begin(gap_filler.gap_count)
    gap_filler.on_history(111, "ab", "row")
    gap_filler.open_gap()
    gap_filler.fail("no", "ab", final=False)
    popped(gap_filler)
    gap_filler.on_live(150, "ab", "live")
    assert [each.parts for each in gap_filler.pending] == [[(111, 149)]]


def test_what_was_discarded_waits_where_the_answer_ends_before_the_next_live_event():
    """Whether something was held behind the hole or not."""
    gap_filler = broken(max_held=1)
    gap_filler.on_live(110, "ab", "live")
    gap_filler.on_live(111, "ab", "discarded")
    gap_filler.begin(gap_filler.gap_count)
    gap_filler.on_history(112, "ab", "row")
    gap_filler.done("ab")
    popped(gap_filler)
    gap_filler.on_live(150, "ab", "live")
    assert [each.parts for each in gap_filler.pending] == [[(113, 149)]]


def test_what_waits_for_the_next_live_event_is_kept_when_the_link_is_lost_before():
    """Of what lies before the newest event nothing is asked by the next fill."""
    gap_filler = broken(max_held=2)
    for second in (105, 106, 107):
        gap_filler.on_live(second, "ab", "live")
    gap_filler.begin(gap_filler.gap_count)
    gap_filler.on_history(101, "ab", "row")
    gap_filler.done("ab")
    assert [second for _, second, _ in popped(gap_filler)] == [101, 105, 106]
    gap_filler.open_gap()
    gap_filler.on_live(150, "ab", "live")
    assert gap_filler.begin(gap_filler.gap_count) == 104
    assert [each.parts for each in gap_filler.pending] == [[(102, 104)]]
    assert filled(gap_filler, (149, "ab")) == [("row", 149, True), ("live", 150, False)]


def test_what_came_live_between_two_holes_is_in_no_gap():
    """One answer closes both, and proves neither: only what lies before each waits."""
    gap_filler = broken()
    for second in range(110, 400, 3):
        gap_filler.on_live(second, "ab", "live")
    gap_filler.open_gap()
    gap_filler.on_live(450, "ab", "live")
    gap_filler.begin(gap_filler.gap_count)
    gap_filler.on_history(104, "ab", "row")
    gap_filler.done("ab")
    popped(gap_filler)
    waiting = gap_filler.begin_retry(60)
    assert waiting.parts == [(105, 109), (399, 449)]
    gap_filler.end_retry(waiting, "ab", error="403", final=True)
    assert popped(gap_filler) == [Missing(104, 110, "403"), Missing(398, 450, "403")]


def test_holes_that_one_answer_does_not_fill_wait_as_a_few_parts():
    """However many they are, nothing of them is lost, and nothing that was told is in a gap."""
    gap_filler = broken()
    for second in range(110, 310, 10):
        gap_filler.on_live(second, "ab", "live")
        gap_filler.open_gap()
    gap_filler.on_live(310, "ab", "live")
    gap_filler.begin(gap_filler.gap_count)
    gap_filler.done("ab")
    popped(gap_filler)
    waiting = gap_filler.begin_retry(60)
    assert len(waiting.parts) == 8
    gap_filler.end_retry(waiting, None, error="403", final=True)
    assert popped(gap_filler) == [Missing(second, second + 10, "403") for second in range(100, 310, 10)]


def test_an_event_that_is_dated_ahead_hides_no_hole():
    """A hole begins with the newest event before its end, not with the newest of all."""
    gap_filler: GapFiller[str] = GapFiller()
    for second in (100, 400, 101):
        gap_filler.on_live(second, "a", "live")
    gap_filler.open_gap()
    gap_filler.on_live(111, "a", "live")
    assert gap_filler.begin(gap_filler.gap_count) == 99
    out = filled(gap_filler, *((second, "a") for second in range(99, 112)))
    assert [second for _, second, _ in out] == [99, *range(102, 112)]


@pytest.mark.parametrize("second", [1, 99, 101])
@pytest.mark.parametrize("before", [(99, 101), (99, 101, -9000)])
def test_an_event_that_is_no_newer_ends_no_hole(second, before):
    """One from long ago, or the last one again, says nothing of what was missed up to now."""
    gap_filler: GapFiller[str] = GapFiller()
    for known in before:
        gap_filler.on_live(known, "a", "live")
    gap_filler.open_gap()
    take = gap_filler.on_live(second, "a", "odd")
    assert take is None or take.second == second
    assert gap_filler.has_gap
    gap_filler.on_live(111, "a", "live")
    assert gap_filler.begin(gap_filler.gap_count) == 99
    out = filled(gap_filler, *((each, "a") for each in range(99, 112)))
    assert [told for _, told, _ in out] == [100, *range(102, 112)]


def test_more_than_can_be_kept_apart_is_joined():
    """Many outages within a quarter of an hour wait as a few stretches, and nothing is told twice."""
    gap_filler = broken()
    for start in range(110, 200, 10):
        gap_filler.on_live(start, "ab", "live")
        gap_filler.begin(gap_filler.gap_count)
        gap_filler.done("ab")
        gap_filler.open_gap()
    gap_filler.on_live(200, "ab", "live")
    gap_filler.begin(gap_filler.gap_count)
    gap_filler.done("ab")
    popped(gap_filler)
    assert len(gap_filler.pending) == 4
    while (waiting := gap_filler.begin_retry(60)) is not None:
        for second in range(waiting.start, 202):
            gap_filler.on_retry_row(waiting, second, "ab", "late")
        gap_filler.end_retry(waiting, "ab")
    late = [second for _, second, _ in popped(gap_filler)]
    assert late == [second for second in range(101, 200) if second % 10]


def test_what_lies_too_far_back_is_given_up():
    """Skipping is a gap, and the fill goes on behind it."""
    gap_filler = broken()
    gap_filler.begin(gap_filler.gap_count)
    gap_filler.skip(5000, BEYOND_CAP)
    assert filled(gap_filler, (5001, "a")) == [Missing(100, 5000, BEYOND_CAP), ("row", 5001, True)]


def test_rows_that_could_not_be_read_are_asked_for_again():
    """What lies between readable ones waits; if it stays so, it is a gap between its neighbours."""
    gap_filler = broken()
    gap_filler.on_live(141, "ab", "live")
    gap_filler.begin(gap_filler.gap_count)
    for second in (101, 102, 104):
        gap_filler.on_history(second, "ab", "row", unreliable=second == 104)
    for second in range(105, 142):
        gap_filler.on_history(second, "ab", "row")
    gap_filler.done("ab", reason="malformed")
    assert [second for _, second, _ in popped(gap_filler)] == [101, 102, *range(104, 142)]
    for _ in range(3):
        waiting = gap_filler.begin_retry(900)
        for second in (101, 102, 104):
            gap_filler.on_retry_row(waiting, second, "ab", "late", unreliable=second == 104)
        gap_filler.on_retry_row(waiting, 105, "ab", "late")
        gap_filler.end_retry(waiting, "ab")
    assert popped(gap_filler) == [Missing(102, 104, "malformed")]


def test_a_live_event_that_comes_behind_its_record_is_not_told_again():
    """What a fill has told is left out of the live event; all told, the event is."""
    gap_filler = broken()
    gap_filler.begin(gap_filler.gap_count)
    assert filled(gap_filler, (105, "a"), (106, "ab")) == [("row", 105, True), ("row", 106, True)]
    assert gap_filler.on_live(105, "ab", "live") == Emit("live", 105, 1, frozenset("b"))
    assert gap_filler.on_live(106, "ab", "live") is None
    assert gap_filler.duplicates == 1


def test_live_events_are_never_compared_with_each_other():
    """Two frames of one second are two events."""
    gap_filler: GapFiller[str] = GapFiller()
    first, second = gap_filler.on_live(100, "a", "one"), gap_filler.on_live(100, "a", "two")
    assert first == Emit("one", 100, 0, "a")
    assert second == Emit("two", 100, 1, "a")


def test_without_room_there_is_a_hole():
    """An event nobody has room for is fetched again later."""
    gap_filler: GapFiller[str] = GapFiller()
    gap_filler.on_live(100, "a", "live")
    assert gap_filler.on_live(101, "a", "live", room=False) is None
    assert gap_filler.has_gap
    gap_filler.begin(gap_filler.gap_count)
    assert filled(gap_filler, (101, "a"), exported="a") == [("row", 101, True)]


def test_what_passes_counts_as_delivered():
    """Events that pass together are known as told, and so is what they told of."""
    gap_filler: GapFiller[str] = GapFiller()
    gap_filler.on_live(100, "a", "live")
    assert gap_filler.try_pass_through((101, 102), "abx")
    gap_filler.open_gap()
    gap_filler.on_live(110, "a", "live")
    gap_filler.begin(gap_filler.gap_count)
    assert filled(gap_filler, (101, "ab"), (102, "ab"), (105, "b")) == [
        ("row", 105, True),
        Missing(102, 110, NOT_EXPORTED, frozenset("x")),
        ("live", 110, False),
    ]


def test_nothing_passes_what_has_to_come_first():
    """While a hole is open, filled, or told of, live events are decided about one by one."""
    gap_filler: GapFiller[str] = GapFiller()
    assert not gap_filler.try_pass_through((100,), "a"), "the first event of all"
    gap_filler.on_live(100, "a", "live")
    assert not gap_filler.try_pass_through((100, 101), "a"), "the same second"
    gap_filler.open_gap()
    assert not gap_filler.try_pass_through((110,), "a"), "an open hole"
    gap_filler.on_live(110, "a", "live")
    assert not gap_filler.try_pass_through((111,), "a"), "an event held behind a hole"
    gap_filler.begin(gap_filler.gap_count)
    gap_filler.on_history(110, "a", "row")
    popped(gap_filler)
    assert not gap_filler.try_pass_through((111,), "a"), "a fill under way"
    gap_filler.done("a")
    assert gap_filler.try_pass_through((111,), "a")
    gap_filler.open_gap()
    gap_filler.begin(gap_filler.gap_count)
    gap_filler.on_history(112, "a", "row")
    gap_filler.done("a")
    assert not gap_filler.try_pass_through((113,), "a"), "what was fetched and is not told yet"
    popped(gap_filler)
    gap_filler.open_gap()
    gap_filler.begin(gap_filler.gap_count)
    gap_filler.fail("down")
    assert not gap_filler.try_pass_through((120,), "a"), "a gap that ends with this event"


def test_no_quantity_is_taken_for_another():
    """What came live of the last of all quantities does not count as the first of them, come later."""
    window, keys = DeliveredIndex(window_s=600, most=1000), QuantityBits(Quantity)
    first, *_, last = (keys.bits([each]) for each in Quantity)
    window.add_run((100,), last)
    assert window.add_live(100, first) == (first, 1)


def test_the_window_is_bounded():
    """Ten minutes and a thousand events are remembered, and the present second always."""
    window = DeliveredIndex(window_s=600, most=1000)
    for second in range(5000):
        window.add_backfilled(second, 1)
    assert len(window) == 601
    assert window.undelivered(4999, 3) == 2
    assert window.undelivered(4399, 1) == 0
    assert window.undelivered(4398, 1) == 1
    for _ in range(1500):
        window.add_live(5000, 1)
    assert len(window) == 1500
    window.add_live(5001, 1)
    assert len(window) == 1


@pytest.mark.parametrize("late", [0, 10_000])
def test_the_far_past_does_not_push_out_itself(late):
    """Whatever the order of times, the last thing told is known."""
    window = DeliveredIndex(window_s=600, most=1000)
    window.add_live(1_000_000, 1)
    for second in range(late, late + 3000):
        window.add_backfilled(second, 1)
        assert window.undelivered(second, 1) == 0


@pytest.mark.parametrize(("now", "expected"), [(1000, 900), (899, 699), (500, 500)])
def test_a_start_by_a_clock_that_is_ahead_is_moved(now: int, expected: int) -> None:
    """A start after the vendor's present was dated by another clock; any other stays as it is."""
    gap_filler: GapFiller[str] = GapFiller(since=900)
    gap_filler.correct_start(now, -201.0)
    gap_filler.open_gap()
    assert gap_filler.begin(now + 10.0) is not None
    assert gap_filler._output.accounted_to == expected


def test_a_beginning_that_lies_ahead_is_none():
    """An earlier run noted it by a clock that was wrong: nothing is asked of the future, and all goes on."""
    gap_filler: GapFiller[str] = GapFiller(since=10_000)
    gap_filler.open_gap()
    gap_filler.on_live(110, "ab", "live")
    assert gap_filler.begin(gap_filler.gap_count) == 110
    assert filled(gap_filler, (110, "ab"), (111, "ab")) == [("live", 110, False)]
    gap_filler.open_gap()
    gap_filler.on_live(120, "ab", "live")
    assert gap_filler.begin(gap_filler.gap_count) == 110


@pytest.mark.parametrize("ahead", [100, 3600, 86_000])
def test_a_hole_ends_though_the_newest_event_was_dated_far_ahead(ahead: int) -> None:
    """The event behind it shows what time it is; one of long ago does not."""
    gap_filler: GapFiller[str] = GapFiller()
    for second in (100, 101, 101 + ahead, 103, 5):
        gap_filler.on_live(second, "a", "live")
    gap_filler.open_gap()
    gap_filler.on_live(115, "a", "live")
    assert gap_filler.begin(gap_filler.gap_count) == 101
    told = [second for _, second, _ in filled(gap_filler, *((second, "a") for second in range(101, 117)))]
    assert {102, *range(104, 116)} <= set(told) <= set(range(101, 116))
