"""GapFiller against a log of the truth: everything is delivered once or reported, in time order."""

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
LIVE_QUANTITIES = frozenset({"a", "b", "x"})


class World:
    """A server that sends changes, a connection that fails, a record of the past, and a consumer."""

    def __init__(self, *, hold: int, runs: bool) -> None:
        self.gap_filler: GapFiller[str] = GapFiller(max_held=hold)
        self.runs = runs
        self.second = 100
        self.truth: dict[int, frozenset[str]] = {}
        self.sent: list[tuple[int, frozenset[str]]] = []
        self.up = self.stale = self.slow = False
        self.delivered: list[Emit[str] | Missing] = []
        self.rows: list[tuple[int, frozenset[str], bool]] | None = None
        self.again: PendingRange | None = None
        self.now = 0.0
        self.behind = 0
        self.damage = ""
        self.most_held = 0
        self.asked: tuple[int, int] | None = None

    def connect(self) -> None:
        if not self.up:
            self.up, self.stale = True, False
            self.gap_filler.open_gap()
            self.receive(LIVE_QUANTITIES)

    def cut(self) -> None:
        self.up = False

    def go_stale(self) -> None:
        self.stale = self.up

    def recover(self) -> None:
        if self.stale:
            self.stale = False
            self.gap_filler.open_gap()

    def toggle_slow(self) -> None:
        self.slow = not self.slow

    def tick(self, keys: frozenset[str]) -> None:
        self.second += 1
        self.truth[self.second] = keys
        if self.up and not self.stale and keys:
            self.receive(keys)

    def receive(self, keys: frozenset[str]) -> None:
        self.sent.append((self.second, keys))
        if self.runs and not self.slow and self.gap_filler.try_pass_through((self.second,), keys):
            self.delivered.append(Emit("live", self.second, 0, keys))
            return
        emit = self.gap_filler.on_live(self.second, keys, "live", room=not self.slow)
        if emit is not None:
            self.delivered.append(emit)
        self.most_held = max(self.most_held, self.gap_filler.held)

    def deliver(self, most: int = 1000) -> None:
        while most and (each := self.gap_filler.pop()) is not None:
            self.delivered.append(each)
            most -= 1

    def outage(self, seconds: int) -> None:
        """Lose the connection for some seconds and start a fill right after the reconnect: a common pair."""
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

    def damage_next(self, how: str) -> None:
        self.damage = how

    def record(self, start: float, end: int) -> list[tuple[int, frozenset[str], bool]]:
        """Return what the record answers now; each row with whether its neighbours are unreliable."""
        known = range(int(start), min(end, self.second - self.behind + 1))
        rows = [(second, self.truth.get(second, frozenset()) & EXPORTED, False) for second in known]
        rows = [each for each in rows if each[1]]
        how, self.damage = self.damage, ""
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
        """Read `most` rows of a retry; the answer ends when there are no more."""
        if self.rows is not None:
            return
        self.again = self.gap_filler.begin_retry(self.now)
        if self.again is None:
            return
        rows = self.record(self.again.start - 2, self.second + 1)
        for second, keys, doubt in rows[:most]:
            if not self.gap_filler.on_retry_row(self.again, second, keys, "late", unreliable=doubt):
                break
        failure = "broke off" if len(rows) > most else ""
        self.gap_filler.end_retry(self.again, EXPORTED, error=failure)

    def begin(self, *, with_latest: bool) -> None:
        if not self.gap_filler.has_gap or self.gap_filler.ready:
            return
        if self.asked is None:
            self.ask()
        second, gaps = self.asked
        self.asked = None
        if second == self.second:
            self.tick(frozenset("a"))  # measurements are recorded a little later
        self.start = self.gap_filler.begin(gaps, self.second if with_latest else None)
        if with_latest:
            self.gap_filler.on_latest(self.second, LIVE_QUANTITIES, "latest")
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
        """End well: the connection comes back, and open gaps are filled."""
        self.slow, self.behind, self.damage = False, 0, ""
        self.connect()
        self.recover()
        self.tick(frozenset("ab"))
        for _ in range(1000):
            self.read(10_000)
            self.deliver()
            if not self.gap_filler.has_gap:
                break
            self.begin(with_latest=True)
        self.tick(frozenset("ab"))  # ends the gap that is open up to the next live event
        self.tick(frozenset("ab"))  # and is recorded
        self.deliver()
        for seconds in (61, 301, 901):
            self.wait(seconds)
            for _ in range(10):
                self.begin_retry(10_000)
            self.deliver()
        assert not self.gap_filler.pending
        assert not self.gap_filler.has_gap
        assert not self.gap_filler.ready

    def accounted(self, second: int, key: str) -> bool:
        return any(
            each.start <= second <= each.end and (not each.keys or key in each.keys)
            for each in self.delivered
            if isinstance(each, Missing)
        )


OPS = st.one_of(
    st.tuples(st.just("tick"), st.frozensets(st.sampled_from("abx"), max_size=3)),
    st.tuples(st.just("tick"), st.frozensets(st.sampled_from("abx"), min_size=1, max_size=3)),
    st.tuples(
        st.sampled_from(["connect", "cut", "cut", "go_stale", "recover", "toggle_slow", "deliver", "ask"]),
        st.none(),
    ),
    st.tuples(st.sampled_from(["fail", "refuse"]), st.none()),
    st.tuples(st.just("lag"), st.integers(0, 27)),
    st.tuples(st.just("damage_next"), st.sampled_from(["empty", "cut", "unreadable"])),
    st.tuples(st.just("wait"), st.sampled_from([5, 61, 301, 901])),
    st.tuples(st.just("begin_retry"), st.integers(0, 30)),
    st.tuples(st.just("outage"), st.integers(1, 9)),
    st.tuples(st.just("outage"), st.integers(1, 9)),
    st.tuples(st.just("begin"), st.booleans()),
    st.tuples(st.just("read"), st.integers(1, 30)),
)


@given(st.lists(OPS, max_size=120), st.sampled_from([1, 3, 1000]), st.booleans())
def test_everything_is_delivered_once_or_reported(script, hold, runs):
    """Under disconnects, stale connections, a slow consumer and failing fills, nothing is lost or repeated.

    This holds whether or not runs of events pass through.
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
            case "lag" | "damage_next" | "wait" | "begin_retry" | "outage":
                getattr(world, op)(argument)
            case _:
                getattr(world, op)()
    world.settle()

    takes = [each for each in world.delivered if isinstance(each, Emit)]
    delivered = {(emit.second, key) for emit in takes for key in emit.keys}
    begun = takes[0].second
    for second, keys in world.truth.items():
        for key in keys:
            assert second < begun or (second, key) in delivered or world.accounted(second, key), (second, key)
    in_order = [emit for emit in takes if emit.item != "late"]
    newest = accumulate((emit.second for emit in in_order), max)
    overlap = 2  # rows that a fill finds in an earlier gap are late
    assert all(
        emit.second >= most - overlap * emit.backfilled for emit, most in zip(in_order, newest, strict=True)
    )
    assert len({(emit.second, emit.ordinal) for emit in takes}) == len(takes)
    later = [(emit.second, key) for emit in takes if emit.backfilled for key in emit.keys]
    live = {(emit.second, key) for emit in takes if not emit.backfilled for key in emit.keys}
    assert len(later) == len(set(later))
    assert not live & set(later)
    for at, gap in enumerate(world.delivered):
        if isinstance(gap, Missing) and not gap.keys:
            after = {
                emit.second for emit in world.delivered[at:] if isinstance(emit, Emit) and emit.backfilled
            }
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


def disconnected(**options: object) -> GapFiller[str]:
    """Return a gap filler that delivered second 100 and then lost its connection."""
    gap_filler: GapFiller[str] = GapFiller(**options)
    assert gap_filler.on_live(100, "ab", "live") == Emit("live", 100, 0, "ab")
    gap_filler.open_gap()
    return gap_filler


def test_a_stream_starts_without_a_gap():
    """The first connection has no gap: there is no position to continue from."""
    gap_filler: GapFiller[str] = GapFiller()
    gap_filler.open_gap()
    assert not gap_filler.has_gap
    assert gap_filler.on_live(100, "a", "first") is not None


def test_a_stream_with_since_starts_with_a_gap():
    """With `since`, the first connection requests data from there on and delivers it first."""
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


def test_live_events_are_held_while_a_gap_is_filled():
    """Live events that arrive during a fill are delivered after it; duplicates of one second are dropped."""
    gap_filler = disconnected()
    assert [gap_filler.on_live(second, "ab", "live") for second in (105, 106)] == [None, None]
    assert gap_filler.begin(gap_filler.gap_count) == 98
    out = filled(gap_filler, (98, "a"), (100, "ab"), (103, "a"), (104, "b"), (105, "a"), (106, "b"))
    # 98 is the overlap: nothing of that second was delivered, so its row is delivered late.
    assert out == [
        ("row", 98, True),
        ("row", 103, True),
        ("row", 104, True),
        ("live", 105, False),
        ("live", 106, False),
    ]
    assert gap_filler.on_live(107, "a", "live") is not None


def test_the_first_row_repeats_what_has_not_changed():
    """The first row of an answer is full: before the last event it is no news, at that second it may be."""
    gap_filler = disconnected()
    gap_filler.begin(gap_filler.gap_count)
    assert gap_filler.on_history(98, "abc", "row", full_row=True)
    assert filled(gap_filler, (100, "abc"), exported="abc") == [("row", 100, True)]


def test_values_are_not_compared():
    """Duplicates are recognised by second and quantity, whatever the values are."""
    gap_filler = disconnected()
    gap_filler.on_live(103, "a", "12.0001")
    gap_filler.begin(gap_filler.gap_count)
    assert gap_filler.on_history(103, "ab", "12")
    gap_filler.done("ab")
    assert gap_filler.pop() == Emit("12.0001", 103, 0, "a")
    assert gap_filler.pop() == Emit("12", 103, 1, frozenset("b"), backfilled=True)


def test_more_than_can_be_held_opens_another_gap():
    """A live event that cannot be held is discarded, and a second fill delivers it."""
    gap_filler = disconnected(max_held=2)
    for second in (101, 102, 103, 104):
        gap_filler.on_live(second, "a", "live")
    assert gap_filler.discarded == 2
    gap_filler.begin(gap_filler.gap_count)
    assert gap_filler.needed_until is None
    out = filled(gap_filler, (101, "a"), (102, "a"), (103, "a"), (104, "a"))
    assert [second for _, second, _ in out] == [101, 102, 103, 104]
    assert not gap_filler.has_gap


def test_events_discarded_after_a_request_need_another_fill():
    """A fill closes only the gaps that existed when its request was sent."""
    gap_filler = disconnected(max_held=1)
    gap_filler.on_live(101, "a", "live")
    gap_filler.begin(gap_filler.gap_count)
    assert gap_filler.needed_until == 101
    gap_filler.on_live(102, "a", "live")
    assert filled(gap_filler) == [("live", 101, False)]
    assert gap_filler.has_gap
    assert gap_filler.begin(gap_filler.gap_count) == 99
    assert filled(gap_filler, (102, "a")) == [("row", 102, True)]


def test_a_second_gap_needs_its_own_fill():
    """Live events after a later disconnect stay held when the first gap is closed."""
    gap_filler = disconnected()
    gap_filler.on_live(110, "ab", "live")
    gap_filler.begin(gap_filler.gap_count)
    gap_filler.open_gap()
    gap_filler.on_live(120, "ab", "live")
    assert filled(gap_filler, (105, "a")) == [("row", 105, True), ("live", 110, False)]
    assert gap_filler.has_gap
    assert gap_filler.begin(gap_filler.gap_count) == 108
    assert filled(gap_filler, (115, "a")) == [("row", 115, True), ("live", 120, False)]


def test_the_latest_data_is_not_delivered_early():
    """If live events follow, or another gap precedes it, the latest data is left to them."""
    gap_filler = disconnected()
    gap_filler.on_live(110, "a", "live")
    gap_filler.begin(gap_filler.gap_count)
    gap_filler.on_latest(112, "ab", "latest")
    assert filled(gap_filler) == [("live", 110, False)]

    gap_filler = disconnected()
    gap_filler.begin(gap_filler.gap_count)
    gap_filler.on_latest(112, "ab", "latest")
    gap_filler.open_gap()
    assert filled(gap_filler) == []
    assert gap_filler.has_gap
    assert gap_filler.begin(gap_filler.gap_count) == 98


def test_the_latest_data_is_delivered_in_time_order():
    """What it adds to the live event of its second is delivered with it, before anything newer."""
    gap_filler = disconnected()
    gap_filler.on_live(110, "a", "live")
    gap_filler.on_live(113, "a", "live")
    gap_filler.begin(gap_filler.gap_count)
    gap_filler.on_latest(110, "ab", "latest")
    assert filled(gap_filler) == [("live", 110, False), ("latest", 110, True), ("live", 113, False)]


def test_a_reported_gap_is_not_requested_again():
    """The next fill begins where the gap ended."""
    gap_filler = disconnected()
    gap_filler.begin(gap_filler.gap_count)
    gap_filler.skip(5000, BEYOND_CAP)
    gap_filler.fail("down")
    assert popped(gap_filler) == [Missing(100, 5000, BEYOND_CAP)]
    gap_filler.open_gap()
    assert gap_filler.begin(gap_filler.gap_count) == 5000


def test_a_failed_fill_is_a_gap_up_to_the_next_live_event():
    """The filled part is delivered, then the gap, then the live events."""
    gap_filler = disconnected()
    gap_filler.on_live(110, "ab", "live")
    gap_filler.begin(gap_filler.gap_count)
    gap_filler.on_history(103, "a", "row")
    gap_filler.fail("broke off")
    assert popped(gap_filler) == [("row", 103, True), Missing(103, 110, "broke off"), ("live", 110, False)]
    assert not gap_filler.has_gap


def test_without_a_live_event_the_latest_data_ends_the_gap():
    """The gap ends at the latest known time."""
    gap_filler = disconnected()
    gap_filler.begin(gap_filler.gap_count)
    gap_filler.on_latest(120, "ab", "latest")
    gap_filler.fail("403")
    assert popped(gap_filler) == [Missing(100, 120, "403"), ("latest", 120, True)]


def test_with_neither_the_gap_ends_at_the_next_live_event():
    """A gap without a known end is reported when the next live event arrives."""
    gap_filler = disconnected()
    gap_filler.begin(gap_filler.gap_count)
    gap_filler.fail("down")
    assert popped(gap_filler) == []
    assert not gap_filler.has_gap
    gap_filler.on_live(130, "ab", "live")
    assert popped(gap_filler) == [Missing(100, 130, "down"), ("live", 130, False)]


def test_a_failed_range_is_requested_again_at_the_next_gap():
    """As long as nothing newer was delivered, the next fill requests all of it."""
    gap_filler = disconnected()
    gap_filler.begin(gap_filler.gap_count)
    gap_filler.fail("down")
    gap_filler.open_gap()
    gap_filler.on_live(130, "ab", "live")
    assert gap_filler.begin(gap_filler.gap_count) == 98
    assert filled(gap_filler, (120, "a")) == [("row", 120, True), ("live", 130, False)]


def test_quantities_without_a_record_are_reported():
    """A filled gap names the quantities that the export has no column for."""
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


def test_quantities_without_a_record_are_reported_beyond_the_latest_data():
    """If the connection is stale again at once, rows newer than the latest data lack these quantities too."""
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


def test_an_incomplete_record_is_requested_again_and_then_reported():
    """After 1, 5 and 15 minutes. Live events go on meanwhile, and late rows fill what they can."""
    gap_filler = disconnected()
    gap_filler.on_live(110, "ab", "live")
    gap_filler.begin(gap_filler.gap_count)
    gap_filler.on_history(103, "a", "row")
    gap_filler.done("ab", 1000.0)
    assert popped(gap_filler) == [("row", 103, True), ("live", 110, False)]
    assert gap_filler.try_pass_through((111,), "ab")
    for due, rows in ((1060.0, []), (1300.0, [105]), (1900.0, [])):
        [pending] = gap_filler.pending
        assert gap_filler.next_retry_at == due
        assert gap_filler.begin_retry(due - 0.1) is None
        assert gap_filler.begin_retry(due) is pending
        for second in (100, *rows):
            assert gap_filler.on_retry_row(pending, second, "ab", "late")
        gap_filler.end_retry(pending, "ab")
        if rows:
            assert popped(gap_filler) == [("late", 105, True)]
    assert gap_filler.next_retry_at is None
    assert popped(gap_filler) == [Missing(105, 110, NOT_RECORDED)]


def test_a_later_row_proves_that_nothing_is_missing():
    """A product that sent nothing during an outage has no rows of it; the rows after it prove that."""
    gap_filler = disconnected()
    gap_filler.on_live(110, "ab", "live")
    gap_filler.begin(gap_filler.gap_count)
    gap_filler.done("ab")
    [pending] = gap_filler.pending
    assert (pending.start, pending.end) == (101, 109)
    gap_filler.begin_retry(60)
    assert not gap_filler.on_retry_row(pending, 112, "ab", "late")
    gap_filler.end_retry(pending, "ab")
    assert not gap_filler.pending
    assert popped(gap_filler) == [("live", 110, False)]


def test_a_partly_delivered_second_is_pending_too():
    """The first and last second of a gap may be incomplete."""
    gap_filler: GapFiller[str] = GapFiller()
    gap_filler.on_live(99, "ab", "live")
    gap_filler.on_live(100, "a", "live")
    gap_filler.open_gap()
    gap_filler.on_live(104, "b", "live")
    gap_filler.begin(gap_filler.gap_count)
    gap_filler.done("ab")
    [pending] = gap_filler.pending
    assert (pending.start, pending.end) == (100, 104)
    gap_filler.begin_retry(60)
    for second in (100, 101, 104, 105):
        gap_filler.on_retry_row(pending, second, "ab", "late")
    gap_filler.end_retry(pending, "ab")
    delivered = [(emit.second, set(emit.keys)) for emit in iter(gap_filler.pop, None)]
    assert delivered == [(104, {"b"}), (100, {"b"}), (101, {"a", "b"}), (104, {"a"})]


def test_an_open_end_becomes_pending_at_the_next_live_event():
    """An answer that ends before any live event leaves a range whose end is unknown."""
    gap_filler = disconnected()
    gap_filler.begin(gap_filler.gap_count)
    gap_filler.on_history(103, "ab", "row")
    gap_filler.done("ab", 5.0)
    assert popped(gap_filler) == [("row", 103, True)]
    assert not gap_filler.try_pass_through((109,), "ab")
    assert gap_filler.on_live(109, "ab", "live") is not None
    [pending] = gap_filler.pending
    assert (pending.start, pending.end, pending.retry_at) == (104, 108, 65.0)


def test_held_events_never_evict_deliveries_of_pending_ranges():
    """However many are released at the end of a fill, nothing is delivered twice or reported in a gap."""
    gap_filler = disconnected(max_held=10_000)
    gap_filler.on_live(110, "ab", "live")
    gap_filler.begin(gap_filler.gap_count)
    gap_filler.on_history(103, "a", "row")
    for second in range(111, 1500):
        gap_filler.on_live(second, "ab", "live")
    gap_filler.fail("no", "ab", final=False)
    assert [second for _, second, _ in popped(gap_filler)] == [103, *range(110, 1500)]
    pending = gap_filler.begin_retry(60)
    assert pending.parts == [(103, 109)]
    gap_filler.on_retry_row(pending, 103, "a", "late")
    gap_filler.on_retry_row(pending, 104, "a", "late")
    gap_filler.end_retry(pending, None, error="403", final=True)
    assert popped(gap_filler) == [("late", 104, True), Missing(104, 110, "403")]


def test_rows_never_evict_deliveries_of_pending_ranges():
    """However long an answer with unreadable rows is, no row is delivered twice."""
    gap_filler = disconnected()
    gap_filler.on_live(3000, "ab", "live")
    gap_filler.begin(gap_filler.gap_count)
    for second in (101, 102, 104, *range(105, 3000)):
        gap_filler.on_history(second, "ab", "row", unreliable=second == 104)
    gap_filler.done("ab")
    popped(gap_filler)
    pending = gap_filler.begin_retry(60)
    for second in range(101, 106):
        gap_filler.on_retry_row(pending, second, "ab", "late")
    gap_filler.end_retry(pending, "ab")
    assert popped(gap_filler) == [("late", 103, True)]
    assert not gap_filler.pending


def test_an_answer_that_breaks_off_is_pending_up_to_the_next_live_event():
    """The gap after the part that was filled ends at the next live event, also after another disconnect."""
    gap_filler = disconnected()
    gap_filler.on_live(110, "ab", "live")
    gap_filler.begin(gap_filler.gap_count)
    gap_filler.on_history(111, "ab", "row")
    gap_filler.open_gap()
    gap_filler.fail("no", "ab", final=False)
    popped(gap_filler)
    gap_filler.on_live(150, "ab", "live")
    assert [each.parts for each in gap_filler.pending] == [[(111, 149)]]


def test_discarded_events_are_pending_if_the_answer_ends_before_them():
    """Whether or not events are held after the gap."""
    gap_filler = disconnected(max_held=1)
    gap_filler.on_live(110, "ab", "live")
    gap_filler.on_live(111, "ab", "discarded")
    gap_filler.begin(gap_filler.gap_count)
    gap_filler.on_history(112, "ab", "row")
    gap_filler.done("ab")
    popped(gap_filler)
    gap_filler.on_live(150, "ab", "live")
    assert [each.parts for each in gap_filler.pending] == [[(113, 149)]]


def test_an_open_end_survives_another_disconnect():
    """The next fill requests nothing before the newest event."""
    gap_filler = disconnected(max_held=2)
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


def test_live_events_between_two_gaps_are_in_neither():
    """One answer closes both gaps and verifies neither: only the range before each is pending."""
    gap_filler = disconnected()
    for second in range(110, 400, 3):
        gap_filler.on_live(second, "ab", "live")
    gap_filler.open_gap()
    gap_filler.on_live(450, "ab", "live")
    gap_filler.begin(gap_filler.gap_count)
    gap_filler.on_history(104, "ab", "row")
    gap_filler.done("ab")
    popped(gap_filler)
    pending = gap_filler.begin_retry(60)
    assert pending.parts == [(105, 109), (399, 449)]
    gap_filler.end_retry(pending, "ab", error="403", final=True)
    assert popped(gap_filler) == [Missing(104, 110, "403"), Missing(398, 450, "403")]


def test_unfilled_gaps_are_pending_as_a_few_parts():
    """However many there are, none is lost, and nothing delivered is reported as missing."""
    gap_filler = disconnected()
    for second in range(110, 310, 10):
        gap_filler.on_live(second, "ab", "live")
        gap_filler.open_gap()
    gap_filler.on_live(310, "ab", "live")
    gap_filler.begin(gap_filler.gap_count)
    gap_filler.done("ab")
    popped(gap_filler)
    pending = gap_filler.begin_retry(60)
    assert len(pending.parts) == 8
    gap_filler.end_retry(pending, None, error="403", final=True)
    assert popped(gap_filler) == [Missing(second, second + 10, "403") for second in range(100, 310, 10)]


def test_an_event_dated_ahead_hides_no_gap():
    """A gap begins at the newest event before its end, not at the newest of all."""
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
def test_an_older_event_ends_no_gap(second, before):
    """An event from long ago, or a repeated one, does not show what was missed up to now."""
    gap_filler: GapFiller[str] = GapFiller()
    for known in before:
        gap_filler.on_live(known, "a", "live")
    gap_filler.open_gap()
    emit = gap_filler.on_live(second, "a", "odd")
    assert emit is None or emit.second == second
    assert gap_filler.has_gap
    gap_filler.on_live(111, "a", "live")
    assert gap_filler.begin(gap_filler.gap_count) == 99
    out = filled(gap_filler, *((each, "a") for each in range(99, 112)))
    assert [delivered for _, delivered, _ in out] == [100, *range(102, 112)]


def test_too_many_pending_ranges_are_joined():
    """Many outages within a quarter of an hour become a few ranges, and nothing is delivered twice."""
    gap_filler = disconnected()
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
    while (pending := gap_filler.begin_retry(60)) is not None:
        for second in range(pending.start, 202):
            gap_filler.on_retry_row(pending, second, "ab", "late")
        gap_filler.end_retry(pending, "ab")
    late = [second for _, second, _ in popped(gap_filler)]
    assert late == [second for second in range(101, 200) if second % 10]


def test_data_beyond_the_age_limit_is_a_gap():
    """Skipping is a gap, and the fill continues after it."""
    gap_filler = disconnected()
    gap_filler.begin(gap_filler.gap_count)
    gap_filler.skip(5000, BEYOND_CAP)
    assert filled(gap_filler, (5001, "a")) == [Missing(100, 5000, BEYOND_CAP), ("row", 5001, True)]


def test_unreadable_rows_are_requested_again():
    """The range between readable rows is pending; if it stays unreadable, it is a gap between them."""
    gap_filler = disconnected()
    gap_filler.on_live(141, "ab", "live")
    gap_filler.begin(gap_filler.gap_count)
    for second in (101, 102, 104):
        gap_filler.on_history(second, "ab", "row", unreliable=second == 104)
    for second in range(105, 142):
        gap_filler.on_history(second, "ab", "row")
    gap_filler.done("ab", reason="malformed")
    assert [second for _, second, _ in popped(gap_filler)] == [101, 102, *range(104, 142)]
    for _ in range(3):
        pending = gap_filler.begin_retry(900)
        for second in (101, 102, 104):
            gap_filler.on_retry_row(pending, second, "ab", "late", unreliable=second == 104)
        gap_filler.on_retry_row(pending, 105, "ab", "late")
        gap_filler.end_retry(pending, "ab")
    assert popped(gap_filler) == [Missing(102, 104, "malformed")]


def test_a_live_event_after_its_record_is_not_delivered_twice():
    """Backfilled quantities are left out of the live event; if none is left, so is the event."""
    gap_filler = disconnected()
    gap_filler.begin(gap_filler.gap_count)
    assert filled(gap_filler, (105, "a"), (106, "ab")) == [("row", 105, True), ("row", 106, True)]
    assert gap_filler.on_live(105, "ab", "live") == Emit("live", 105, 1, frozenset("b"))
    assert gap_filler.on_live(106, "ab", "live") is None
    assert gap_filler.duplicates == 1


def test_live_events_are_never_compared_with_each_other():
    """Two messages of one second are two events."""
    gap_filler: GapFiller[str] = GapFiller()
    first, second = gap_filler.on_live(100, "a", "one"), gap_filler.on_live(100, "a", "two")
    assert first == Emit("one", 100, 0, "a")
    assert second == Emit("two", 100, 1, "a")


def test_without_room_there_is_a_gap():
    """An event without room at the consumer is backfilled later."""
    gap_filler: GapFiller[str] = GapFiller()
    gap_filler.on_live(100, "a", "live")
    assert gap_filler.on_live(101, "a", "live", room=False) is None
    assert gap_filler.has_gap
    gap_filler.begin(gap_filler.gap_count)
    assert filled(gap_filler, (101, "a"), exported="a") == [("row", 101, True)]


def test_events_that_pass_through_count_as_delivered():
    """Runs of events are remembered as delivered, with their quantities."""
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


def test_nothing_passes_through_while_something_is_held():
    """While a gap is open, filled or reported, every live event is decided about separately."""
    gap_filler: GapFiller[str] = GapFiller()
    assert not gap_filler.try_pass_through((100,), "a"), "the first event of all"
    gap_filler.on_live(100, "a", "live")
    assert not gap_filler.try_pass_through((100, 101), "a"), "the same second"
    gap_filler.open_gap()
    assert not gap_filler.try_pass_through((110,), "a"), "an open gap"
    gap_filler.on_live(110, "a", "live")
    assert not gap_filler.try_pass_through((111,), "a"), "an event held behind a gap"
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
    assert not gap_filler.try_pass_through((113,), "a"), "what was fetched and is not delivered yet"
    popped(gap_filler)
    gap_filler.open_gap()
    gap_filler.begin(gap_filler.gap_count)
    gap_filler.fail("down")
    assert not gap_filler.try_pass_through((120,), "a"), "a gap that ends with this event"


def test_no_quantity_is_taken_for_another():
    """A live value of the last quantity does not count as a backfilled value of the first."""
    window, keys = DeliveredIndex(window_s=600, most=1000), QuantityBits(Quantity)
    first, *_, last = (keys.bits([each]) for each in Quantity)
    window.add_run((100,), last)
    assert window.add_live(100, first) == (first, 1)


def test_the_window_is_bounded():
    """Ten minutes and a thousand events are remembered, and always the newest second."""
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
def test_an_old_delivery_does_not_evict_itself(late):
    """Whatever the order of times, the last delivery is remembered."""
    window = DeliveredIndex(window_s=600, most=1000)
    window.add_live(1_000_000, 1)
    for second in range(late, late + 3000):
        window.add_backfilled(second, 1)
        assert window.undelivered(second, 1) == 0


@pytest.mark.parametrize(("now", "expected"), [(1000, 900), (899, 699), (500, 500)])
def test_a_start_by_a_clock_that_is_ahead_is_corrected(now: int, expected: int) -> None:
    """A start after the vendor's present time came from another clock; any other start stays as it is."""
    gap_filler: GapFiller[str] = GapFiller(since=900)
    gap_filler.correct_start(now, -201.0)
    gap_filler.open_gap()
    assert gap_filler.begin(gap_filler.gap_count) == expected


def test_a_start_in_the_future_is_ignored():
    """An earlier run noted it by a wrong clock: nothing in the future is requested."""
    gap_filler: GapFiller[str] = GapFiller(since=10_000)
    gap_filler.open_gap()
    gap_filler.on_live(110, "ab", "live")
    assert gap_filler.begin(gap_filler.gap_count) == 110
    assert filled(gap_filler, (110, "ab"), (111, "ab")) == [("live", 110, False)]
    gap_filler.open_gap()
    gap_filler.on_live(120, "ab", "live")
    assert gap_filler.begin(gap_filler.gap_count) == 110


@pytest.mark.parametrize("ahead", [100, 3600, 86_000])
def test_a_gap_ends_although_the_newest_event_was_dated_far_ahead(ahead: int) -> None:
    """The event after it shows the time; one from long ago does not."""
    gap_filler: GapFiller[str] = GapFiller()
    for second in (100, 101, 101 + ahead, 103, 5):
        gap_filler.on_live(second, "a", "live")
    gap_filler.open_gap()
    gap_filler.on_live(115, "a", "live")
    assert gap_filler.begin(gap_filler.gap_count) == 101
    delivered = [
        second for _, second, _ in filled(gap_filler, *((second, "a") for second in range(101, 117)))
    ]
    assert {102, *range(104, 116)} <= set(delivered) <= set(range(101, 116))
