import math
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from attrs import fields
from hypothesis import given
from hypothesis import strategies as st

from energy_core import Quantity, SourceId, State
from energy_core.home import EnergyMeter, EnergyTotals, SourceFilter, SourcePreference, UnmeasuredRange
from tests.servers.home_events import HOME, START, Teller, at

GRID, PV, BATTERY = Quantity.GRID_POWER, Quantity.PV_POWER, Quantity.BATTERY_POWER
CONSUMPTION, GENERATOR = Quantity.CONSUMPTION_POWER, Quantity.GENERATOR_POWER
BERLIN = ZoneInfo("Europe/Berlin")
TODAY = START.date()
ZONES = ["UTC", "Europe/Berlin", "America/Havana", "Asia/Beirut", "Australia/Lord_Howe", "America/St_Johns"]
ENERGIES = [field.name for field in fields(EnergyTotals) if field.name.endswith("_kwh")]
KWH = 3_600_000  # joules


def metered(events, zone=UTC, prefer=None, **options):
    meter = EnergyMeter(zone, prefer, **options)
    for event in events:
        meter.take(event)
    return meter


def readings(*points, quantity=GRID, teller=None):
    teller = teller or Teller()
    return [teller.reading(seconds, {quantity: watts}) for seconds, watts in points]


def joules(kwh):
    return None if kwh is None else pytest.approx(kwh * KWH, rel=1e-9, abs=1e-4)


# --- what is joined ----------------------------------------------------------------------------------------


def test_between_two_readings_power_moves_in_a_straight_line():
    """1,000 W falling to 500 W over an hour are 0.75 kWh."""
    total = metered(readings((0, 1000.0), (3600, 500.0)), max_gap_s=3600).total()
    assert total.grid_import_kwh == pytest.approx(0.75, rel=1e-12)
    assert total.grid_export_kwh == 0.0
    assert total.measured_s == {GRID: 3600.0}


def test_import_and_export_are_split_where_the_line_crosses_zero():
    """From +1,000 W to -3,000 W the quarter above zero is import and the rest is export."""
    total = metered(readings((0, 1000.0), (400, -3000.0))).total()
    assert total.grid_import_kwh * KWH == pytest.approx(500 * 100)
    assert total.grid_export_kwh * KWH == pytest.approx(1500 * 300)
    battery = metered(readings((0, 1000.0), (400, -3000.0), quantity=BATTERY)).total()
    assert battery.battery_charge_kwh == total.grid_import_kwh
    assert battery.battery_discharge_kwh == total.grid_export_kwh


def test_pv_is_one_figure_from_which_the_night_is_taken():
    """A small negative measured power of the plant is neither clamped nor put elsewhere."""
    total = metered(readings((0, 100.0), (100, 100.0), (101, -10.0), (201, -10.0), quantity=PV)).total()
    assert total.pv_kwh * KWH == pytest.approx(10_000 + 45 - 1_000)


def test_one_reading_is_no_energy():
    """Before there are two readings to join, the energy is missing and not zero."""
    assert metered(readings((0, 1000.0))).total().grid_import_kwh is None
    assert metered(readings((0, 1000.0))).days() == ()
    assert metered(readings((0, 0.0), (10, 0.0))).total().grid_import_kwh == 0.0


def test_a_hole_longer_than_max_gap_is_left_out_and_told():
    """The longest stretch that is joined is max_gap itself; what is beyond is a hole, with its ends."""
    meter = metered(readings((0, 360.0), (300, 360.0), (601, 360.0), (700, 360.0)), max_gap_s=300)
    assert meter.total().measured_s == {GRID: 399.0}
    assert meter.total().grid_import_kwh * KWH == pytest.approx(360 * 399)
    assert meter.holes(GRID, HOME) == (UnmeasuredRange(at(300), at(601)),)
    assert meter.holes(PV, HOME) == meter.holes(GRID, HOME._replace(site="other")) == ()


def interruptions():
    lost, cut, closed, failed = Teller(), Teller(), Teller(), Teller()
    yield "gap", [*readings((0, 100.0), teller=cut), cut.gap(0, 10), *readings((10, 100.0), teller=cut)]
    yield "gap told afterwards", [*readings((0, 100.0), (10, 100.0), teller=failed), failed.gap(2, 9)]
    start = readings((0, 100.0), teller=lost)
    lost.lose()
    yield "dropped", [*start, *readings((10, 100.0), teller=lost)]
    for state in (State.DISCONNECTED, State.CLOSED, State.FAILED, State.AUTH_FAILED):
        teller = Teller()
        start = readings((0, 100.0), teller=teller)
        yield state, [*start, teller.status(state), *readings((10, 100.0), teller=teller)]
    poller = Teller(HOME._replace(site="*"))
    start = readings((0, 100.0), teller=closed)
    yield "poller", [*start, poller.status(State.DISCONNECTED), *readings((10, 100.0), teller=closed)]


@pytest.mark.parametrize(("name", "events"), list(interruptions()))
def test_nothing_is_joined_across_an_interruption(name, events):
    """However close the readings around it are, and the next ones are joined again."""
    teller = Teller()
    teller.seq = max(event.seq for event in events if event.source == HOME)
    meter = metered([*events, *readings((15, 100.0), teller=teller)])
    assert meter.holes(GRID, HOME) == (UnmeasuredRange(at(0), at(10)),)
    assert meter.total().measured_s == {GRID: 5.0}


@pytest.mark.parametrize("state", [State.CONNECTING, State.LIVE, State.BACKFILLING, State.STALE])
def test_other_states_interrupt_nothing(state):
    """A source that is connected or fell silent has lost nothing by that."""
    teller = Teller()
    events = [*readings((0, 100.0), teller=teller), teller.status(state), *readings((10, 1.0), teller=teller)]
    assert metered(events).holes(GRID, HOME) == ()


def test_the_trouble_of_one_source_interrupts_no_other():
    """Products of one account are interrupted each for itself."""
    first, second = (Teller(SourceId("voltstorage", "me", site)) for site in ("301", "302"))
    events = [*readings((0, 100.0), teller=first), *readings((0, 100.0), teller=second)]
    events += [first.status(State.DISCONNECTED), first.gap(0, 10)]
    events += [*readings((10, 100.0), teller=first), *readings((10, 100.0), teller=second)]
    meter = metered(events)
    assert (len(meter.holes(GRID, first.source)), len(meter.holes(GRID, second.source))) == (1, 0)


# --- what comes later --------------------------------------------------------------------------------------


def test_what_a_backfill_brings_fills_the_hole():
    """After a disconnection, backfilled readings are joined to those before them and to the live ones."""
    teller = Teller()
    events = [*readings((0, 100.0), teller=teller), teller.status(State.DISCONNECTED)]
    events += [teller.reading(seconds, {GRID: 100.0}, backfilled=True) for seconds in range(1, 30)]
    meter = metered([*events, *readings((30, 100.0), teller=teller)])
    assert meter.holes(GRID, HOME) == ()
    assert meter.total().grid_import_kwh * KWH == pytest.approx(3000)


def test_what_a_backfill_does_not_bring_stays_out():
    """The gap that it announces is not joined across, though readings around it were backfilled."""
    teller = Teller()
    events = [*readings((0, 100.0), teller=teller), teller.status(State.DISCONNECTED)]
    events += [teller.reading(seconds, {GRID: 100.0}, backfilled=True) for seconds in (5, 10.6)]
    events += [teller.gap(10, 20), *readings((20, 100.0), (25, 100.0), teller=teller)]
    assert metered(events).holes(GRID, HOME) == (UnmeasuredRange(at(10.6), at(20)),)


def test_a_gap_says_nothing_about_what_was_filled_in_within_it():
    """A gap told for the sake of other quantities leaves a backfilled one whole, before and after the gap."""
    for late in (False, True):
        teller = Teller()
        start = readings((0, 100.0), teller=teller)
        gap = [teller.gap(0, 40)]
        rows = [teller.reading(seconds, {GRID: 100.0}, backfilled=True) for seconds in range(5, 40, 5)]
        middle = [*gap, *rows] if late else [*rows, *gap]
        events = [*start, *middle, *readings((40, 100.0), teller=teller)]
        events = [event._replace(seq=seq) for seq, event in enumerate(events, 1)]
        assert metered(events).holes(GRID, HOME) == ()


def test_a_gap_of_some_quantities_leaves_the_others_joined():
    """Where a gap names quantities, it is a hole in those alone."""
    teller = Teller()
    powers = {GRID: 100.0, PV: 100.0}
    events = [teller.reading(0, powers), teller.gap(0, 10, PV, GENERATOR), teller.reading(10, powers)]
    assert metered(events).total().measured_s == {GRID: 10.0}


def test_a_late_reading_takes_its_place():
    """The line that was drawn across its moment is replaced: nothing counts twice."""
    straight = metered(readings((0, 0.0), (100, 0.0)))
    assert straight.total().grid_import_kwh == 0.0
    bent = metered(readings((0, 0.0), (100, 0.0), (50, 1000.0)))
    assert bent.total() == metered(readings((0, 0.0), (50, 1000.0), (100, 0.0))).total()
    assert bent.total().grid_import_kwh * KWH == pytest.approx(50_000)


def test_a_late_reading_in_a_hole_closes_what_it_reaches():
    """Readings that were too far apart are joined through it."""
    meter = metered(readings((0, 1.0), (90, 1.0)), max_gap_s=60)
    assert meter.total().measured_s == {}
    meter.take(readings((45, 1.0))[0]._replace(seq=3, late=True))
    assert meter.total().measured_s == {GRID: 90.0}


def test_a_revision_replaces_the_value_of_its_moment():
    """The highest revision counts, whenever it came; a live value stands against a backfilled one."""
    teller = Teller()
    events = readings((0, 100.0), (100, 100.0), teller=teller)
    revised = teller.reading(100, {GRID: 300.0}, revision=2, backfilled=True)
    older = teller.reading(100, {GRID: 999.0}, revision=1, backfilled=True)
    rounded = teller.reading(0, {GRID: 101.0}, backfilled=True)
    total = metered([*events, revised, older, rounded]).total()
    assert total.grid_import_kwh * KWH == pytest.approx(200 * 100)


def test_what_is_older_than_everything_kept_is_refused_and_counted():
    """It changes no total, since what is around it is settled."""
    meter = metered(readings(*[(10.0 * n, 100.0) for n in range(20)]), keep=8)
    before = meter.total()
    teller = Teller()
    teller.seq = 20
    meter.take(teller.reading(35, {GRID: 9e9}))
    assert (meter.too_late, meter.total()) == (1, before)
    meter.take(teller.reading(185, {GRID: 100.0}))
    assert (meter.too_late, meter.total()) == (1, before)
    assert before.measured_s == {GRID: 190.0}


# --- sources that tell only changes ------------------------------------------------------------------------


def held(*events, **options):
    return metered(events, changes_only=[SourceFilter("test")], **options)


def test_a_source_that_tells_only_changes_is_read_in_steps():
    """A value stands until the next one, and readings that do not mention it confirm it."""
    teller = Teller()
    events = [teller.reading(0, {GRID: 100.0, PV: 50.0})]
    events += [teller.reading(seconds, {PV: 50.0}) for seconds in range(10, 100, 10)]
    meter = held(*events, teller.reading(100, {GRID: 900.0}), max_gap_s=15)
    assert meter.total().grid_import_kwh * KWH == pytest.approx(10_000)
    assert meter.total().measured_s == {GRID: 100.0, PV: 100.0}
    unheld = metered([*events, teller.reading(100, {GRID: 900.0})], max_gap_s=15)
    assert GRID not in unheld.total().measured_s


def test_a_value_is_not_confirmed_across_a_hole():
    """After an interruption a value is unknown until it is told again."""
    teller = Teller()
    events = [teller.reading(0, {GRID: 100.0}), teller.reading(10, {}), teller.gap(10, 12)]
    events += [teller.reading(12, {}), teller.reading(20, {}), teller.reading(30, {GRID: 7.0})]
    meter = held(*events, teller.reading(40, {}))
    assert meter.total().measured_s == {GRID: 20.0}
    assert meter.total().grid_import_kwh * KWH == pytest.approx(1000 + 70)
    assert meter.holes(GRID, HOME) == (UnmeasuredRange(at(10), at(30)),)


def test_a_late_change_reaches_up_to_the_next_one():
    """What had been confirmed with the old value is counted with the new one."""
    teller = Teller()
    events = [teller.reading(0, {GRID: 100.0})]
    events += [teller.reading(seconds, {}) for seconds in range(10, 100, 10)]
    events += [teller.reading(100, {GRID: 0.0}), teller.reading(35, {GRID: 300.0})]
    assert held(*events).total().grid_import_kwh * KWH == pytest.approx(35 * 100 + 65 * 300)


def test_a_value_that_is_no_number_confirms_nothing():
    """A source that says nonsense about a power has not said that it is unchanged."""
    teller = Teller()
    events = [teller.reading(0, {GRID: 100.0}), teller.reading(10, {GRID: math.nan})]
    meter = held(*events, teller.reading(20, {}), max_gap_s=15)
    assert (meter.unusable, meter.total().measured_s) == (1, {})


# --- days --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Berlin", date(2026, 3, 29), 23),
        ("Europe/Berlin", date(2026, 10, 25), 25),
        ("Europe/Berlin", date(2026, 6, 1), 24),
        ("America/Havana", date(2026, 3, 8), 23),  # begins at one o'clock
        ("America/Havana", date(2026, 11, 1), 25),
        ("Australia/Lord_Howe", date(2026, 4, 5), 24.5),
    ],
)
def test_a_day_lasts_from_local_midnight_to_local_midnight(zone, day, hours):
    """At a constant kilowatt a day has as many kWh as it has hours, and so have the days around it."""
    first = datetime(day.year, day.month, day.day, tzinfo=UTC) - timedelta(days=2)
    offset = (first - START).total_seconds()
    meter = metered(readings(*[(offset + 977.0 * n, 1000.0) for n in range(450)]), ZoneInfo(zone))
    assert meter.day(day).grid_import_kwh == pytest.approx(hours, rel=1e-12)
    assert meter.day(day).length_s == meter.day(day).measured_s[GRID] == hours * 3600
    assert meter.day(day + timedelta(days=1)).grid_import_kwh == pytest.approx(24)
    assert meter.total().measured_s[GRID] == 977.0 * 449


def test_a_line_across_midnight_is_split_there():
    """Power that falls to zero across midnight leaves three quarters of its energy to the old day."""
    midnight = (datetime(2026, 6, 1, 22, tzinfo=UTC) - START).total_seconds()
    meter = metered(readings((midnight - 300, 1200.0), (midnight + 300, 0.0)), BERLIN)
    old, new = meter.day(date(2026, 6, 1)), meter.day(date(2026, 6, 2))
    assert old.grid_import_kwh * KWH == pytest.approx(900 * 300)
    assert new.grid_import_kwh * KWH == pytest.approx(300 * 300)
    assert meter.days() == (date(2026, 6, 1), date(2026, 6, 2))


def test_days_that_are_forgotten_do_not_come_back():
    """Not even when late readings belong to them; the others stay."""
    meter = metered(readings(*[(1000.0 * n, 500.0) for n in range(200)]))
    kept = {day: meter.day(day) for day in meter.days()[1:]}
    meter.forget(meter.days()[1])
    teller = Teller()
    teller.seq = 200
    for seconds in (500, -500):
        meter.take(teller.reading(seconds, {GRID: 800.0})._replace(late=True))
    assert {day: meter.day(day) for day in meter.days()} == kept
    assert meter.day(TODAY).grid_import_kwh is None


# --- who is asked, and the shares --------------------------------------------------------------------------


def test_each_day_is_told_by_the_first_choice_that_measured_it():
    """Sources are never added up, nor mixed within a day."""
    main, other = Teller(SourceId("vrm", "me", "1")), Teller(SourceId("vrm", "me", "1", 512))
    tomorrow = 86_400
    events = [*readings((0, 100.0), (10, 100.0), teller=other), *readings((0, 1.0), (5, 1.0), teller=main)]
    events += readings((tomorrow, 100.0), (tomorrow + 10, 100.0), teller=other)
    meter = metered(events)
    assert meter.day(TODAY).grid_import_kwh * KWH == pytest.approx(5)
    assert meter.day(TODAY).sources == {GRID: (main.source,)}
    assert meter.day(TODAY + timedelta(days=1)).sources == {GRID: (other.source,)}
    assert meter.total().grid_import_kwh * KWH == pytest.approx(1005)
    assert meter.total().sources == {GRID: (main.source, other.source)}
    named = metered(events, prefer=SourcePreference(SourceFilter(instance=512)))
    assert named.total().grid_import_kwh * KWH == pytest.approx(2000)


def test_the_shares_are_those_of_what_was_measured_together():
    """A day in which the grid was measured and the sun was not counts for neither share."""
    teller = Teller()
    powers = {PV: 3000.0, GRID: -1000.0, CONSUMPTION: 2000.0}
    night = {PV: 0.0, GRID: 2000.0, CONSUMPTION: 2000.0}
    events = [teller.reading(seconds, powers) for seconds in (0, 1000)]
    events += [teller.reading(seconds, night) for seconds in (1001, 2000)]
    later = 86_400
    events += [teller.reading(later + seconds, {GRID: -1000.0}) for seconds in (0, 1000)]
    meter = metered(events)
    today, tomorrow, total = meter.day(TODAY), meter.day(TODAY + timedelta(days=1)), meter.total()
    assert today.self_consumption == pytest.approx(2 / 3, rel=1e-2)
    assert today.self_sufficiency == pytest.approx(1 / 2, rel=1e-2)
    assert (tomorrow.self_consumption, tomorrow.self_sufficiency) == (None, None)
    assert (total.self_consumption, total.self_sufficiency) == (
        today.self_consumption,
        today.self_sufficiency,
    )
    assert total.grid_export_kwh > today.grid_export_kwh


def test_figures_of_different_times_make_no_share():
    """The sun of the morning and the grid of the evening have nothing to do with each other."""
    teller = Teller()
    events = [teller.reading(seconds, {PV: 1000.0}) for seconds in (0, 1000)]
    events += [teller.reading(seconds, {GRID: -500.0}) for seconds in (2000, 3000)]
    total = metered(events).total()
    assert (total.measured_s, total.self_consumption) == ({PV: 1000.0, GRID: 1000.0}, None)


def test_only_powers_are_integrated():
    """Charge, volts and the vendor's own energies are no powers."""
    teller = Teller()
    rest = {quantity: 5.0 for quantity in Quantity if quantity.unit != "W"}
    total = metered([teller.reading(0, rest), teller.reading(10, rest)]).total()
    assert [getattr(total, name) for name in ENERGIES] == [None] * 7
    watts = {quantity: 5.0 for quantity in Quantity if quantity.unit == "W"}
    total = metered([teller.reading(0, watts), teller.reading(10, watts)]).total()
    assert [getattr(total, name) * KWH for name in ENERGIES] == pytest.approx([50, 0, 50, 0, 50, 50, 50])


@pytest.mark.parametrize(
    "options", [{"max_gap_s": 0}, {"max_gap_s": math.inf}, {"max_gap_s": math.nan}, {"keep": 1}]
)
def test_options_that_mean_nothing_are_refused(options):
    """A gap has a length, and a line has two ends."""
    with pytest.raises(ValueError, match="must"):
        EnergyMeter(UTC, **options)


# --- against the truth -------------------------------------------------------------------------------------

watts = st.integers(-5000, 5000).map(float)
knots = st.dictionaries(st.integers(0, 3 * 86_400), watts, min_size=2, max_size=12).map(
    lambda each: sorted(each.items())
)


def line(first, second, seconds):
    share = Fraction(seconds - first[0], second[0] - first[0])
    return Fraction(first[1]) + share * (Fraction(second[1]) - Fraction(first[1]))


def area(first, second):
    """Return the joules above and below zero under one straight line, exactly."""
    (start, left), (end, right) = first, second
    left, right = Fraction(left), Fraction(right)
    if left * right < 0:
        zero = start + (end - start) * left / (left - right)
        parts = [(zero - start) * left / 2, (end - zero) * right / 2]
    else:
        parts = [(end - start) * (left + right) / 2]
    return sum(part for part in parts if part > 0), -sum(part for part in parts if part < 0)


@given(knots, st.data())
def test_a_piecewise_linear_truth_is_integrated_exactly(truth, data):
    """Sampled anywhere besides its corners, and told in any order, it gives its own energy."""
    samples = dict(truth)
    for seconds in data.draw(st.lists(st.integers(truth[0][0], truth[-1][0]), max_size=20)):
        first, second = next(pair for pair in pairwise(truth) if pair[0][0] <= seconds <= pair[1][0])
        samples[seconds] = float(line(first, second, seconds))
    order = data.draw(st.permutations(sorted(samples.items())))
    zone = ZoneInfo(data.draw(st.sampled_from(ZONES)))
    meter = metered(readings(*order), zone, max_gap_s=3 * 86_400)
    total = meter.total()
    areas = [area(first, second) for first, second in pairwise(truth)]
    assert joules(total.grid_import_kwh) == float(sum(above for above, _ in areas))
    assert joules(total.grid_export_kwh) == float(sum(below for _, below in areas))
    assert total.measured_s == {GRID: truth[-1][0] - truth[0][0]}
    days = [meter.day(day) for day in meter.days()]
    assert joules(total.grid_import_kwh) == sum(day.grid_import_kwh for day in days) * KWH
    assert sum(day.measured_s[GRID] for day in days) == total.measured_s[GRID]
    assert all(day.measured_s[GRID] <= day.length_s for day in days)


steps = st.one_of(
    st.tuples(st.just("read"), st.integers(0, 300), st.one_of(st.none(), watts)),
    st.tuples(st.just("fill"), st.integers(0, 300), st.one_of(st.none(), watts)),
    st.tuples(st.just("gap"), st.integers(0, 300), st.integers(0, 60)),
    st.tuples(st.just("lose")),
    st.tuples(st.just("leave")),
)


class Reference:
    """The meter's rules, applied from the beginning to everything that was told."""

    def __init__(self, *, hold):
        self.hold, self.samples, self.filled, self.cuts = hold, {}, {}, []
        self.newest, self.broken = None, False

    def read(self, event, seconds, value, *, fill):
        if self.newest is None or seconds > self.newest:
            if self.broken and self.newest is not None and not fill:
                self.cuts.append((self.newest, seconds))
            self.broken, self.newest = False, seconds
        if value is None and not self.hold:
            return
        known = self.samples.get(seconds)
        if known is None or (value is not None and not fill):
            self.samples[seconds] = known if value is None else value
        self.filled.setdefault(seconds, fill or event.late)

    def joined(self, start, end, max_gap):
        cuts = []
        for first, last in sorted(self.cuts):  # overlapping ones are one
            if cuts and first < cuts[-1][1]:
                cuts[-1] = (cuts[-1][0], max(last, cuts[-1][1]))
            else:
                cuts.append((first, last))
        for first, last in cuts:
            margin = min(1, (last - first) / 4)
            inside = (self.filled[start] and start > first + margin) or (
                self.filled[end] and end < last - margin
            )
            if first < end and start < last and not inside:
                return False
        return end - start <= max_gap

    def energy(self, max_gap):
        above = below = measured = 0
        value = None
        for (start, left), (end, right) in pairwise(sorted(self.samples.items())):
            value = left if left is not None or not self.hold else value
            if not self.joined(start, end, max_gap):
                value = None
            elif value is not None:
                plus, minus = area((start, value), (end, value if self.hold else right))
                above, below, measured = above + plus, below + minus, measured + end - start
        return above, below, measured


@pytest.mark.parametrize("hold", [False, True])
def test_any_course_of_events_gives_what_the_rules_say(hold):
    """Corrections one by one lead to the same sums as counting everything at the end."""

    @given(st.lists(steps, min_size=4, max_size=40), st.integers(10, 200))
    def check(course, max_gap):
        teller, reference = Teller(), Reference(hold=hold)
        meter = EnergyMeter(UTC, changes_only=[SourceFilter("test")] if hold else [], max_gap_s=max_gap)
        for step in course:
            match step:
                case ("read" | "fill" as how, seconds, value):
                    values = {} if value is None else {GRID: value}
                    event = teller.reading(seconds, values, backfilled=how == "fill")
                    reference.read(event, seconds, value, fill=how == "fill")
                    meter.take(event)
                case ("gap", start, length):
                    if length:
                        reference.cuts.append((start, start + length))
                    meter.take(teller.gap(start, start + length))
                case ("lose",):
                    teller.lose()
                    reference.broken = True
                case ("leave",):
                    meter.take(teller.status(State.DISCONNECTED))
                    reference.broken = True
        above, below, measured = reference.energy(max_gap)
        total = meter.total()
        assert total.measured_s.get(GRID, 0) == measured
        if not measured:
            assert total.grid_import_kwh is None
        else:
            assert joules(total.grid_import_kwh) == float(above)
            assert joules(total.grid_export_kwh) == float(below)

    check()


@given(
    st.lists(
        st.dictionaries(st.sampled_from([GRID, PV, CONSUMPTION]), st.floats(width=64), max_size=3),
        max_size=15,
    ),
    st.booleans(),
)
def test_no_total_is_ever_without_a_number_or_made_up(told, hold):
    """Whatever a source sends, every figure is finite, and what was not told twice is None."""
    teller = Teller()
    meter = EnergyMeter(UTC, changes_only=[SourceFilter("test")] if hold else [])
    for second, values in enumerate(told):
        meter.take(teller.reading(second, values))
    total = meter.total()
    figures = [getattr(total, name) for name in (*ENERGIES, "self_consumption", "self_sufficiency")]
    assert all(figure is None or math.isfinite(figure) for figure in figures)
    assert total.battery_charge_kwh is total.battery_discharge_kwh is total.generator_kwh is None
    for quantity, name in ((GRID, "grid_import_kwh"), (PV, "pv_kwh"), (CONSUMPTION, "consumption_kwh")):
        if not any(quantity in values for values in told):
            assert getattr(total, name) is None


@given(st.lists(st.tuples(st.integers(0, 2000), watts), min_size=2, max_size=30))
def test_a_repeat_counts_once(points):
    """Everything told a second time, as after a restart, changes nothing."""
    events = readings(*points)
    assert metered([*events, *events]).total() == metered(events).total()


def test_times_that_cannot_be_are_counted_and_left_out():
    """A device whose clock says the year 1 or 9999 does not disturb the others."""
    meter = EnergyMeter(BERLIN)
    for year in (1, 9999):
        for event in readings((0, 1.0), (10, 1.0)):
            meter.take(event._replace(time=event.time.replace(year=year)))
    assert (meter.unusable, meter.days()) == (4, ())
