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
from tests.servers.home_events import HOME, START, EventMaker, at

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


def readings(*points, quantity=GRID, maker=None):
    maker = maker or EventMaker()
    return [maker.reading(seconds, {quantity: watts}) for seconds, watts in points]


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


def test_pv_energy_is_a_net_sum():
    """A small negative PV power is subtracted; it is not clamped."""
    total = metered(readings((0, 100.0), (100, 100.0), (101, -10.0), (201, -10.0), quantity=PV)).total()
    assert total.pv_kwh * KWH == pytest.approx(10_000 + 45 - 1_000)


def test_one_reading_is_no_energy():
    """Before there are two readings to join, the energy is missing and not zero."""
    assert metered(readings((0, 1000.0))).total().grid_import_kwh is None
    assert metered(readings((0, 1000.0))).days() == ()
    assert metered(readings((0, 0.0), (10, 0.0))).total().grid_import_kwh == 0.0


def test_a_range_longer_than_max_gap_is_unmeasured():
    """Readings are joined over `max_gap_s` and not over more; `unmeasured` has the ends of the range."""
    meter = metered(readings((0, 360.0), (300, 360.0), (601, 360.0), (700, 360.0)), max_gap_s=300)
    assert meter.total().measured_s == {GRID: 399.0}
    assert meter.total().grid_import_kwh * KWH == pytest.approx(360 * 399)
    assert meter.unmeasured(GRID, HOME) == (UnmeasuredRange(at(300), at(601)),)
    assert meter.unmeasured(PV, HOME) == meter.unmeasured(GRID, HOME._replace(site="other")) == ()


def interruptions():
    lost, cut, closed, failed = EventMaker(), EventMaker(), EventMaker(), EventMaker()
    yield "gap", [*readings((0, 100.0), maker=cut), cut.gap(0, 10), *readings((10, 100.0), maker=cut)]
    yield "gap reported afterwards", [*readings((0, 100.0), (10, 100.0), maker=failed), failed.gap(2, 9)]
    start = readings((0, 100.0), maker=lost)
    lost.lose()
    yield "dropped", [*start, *readings((10, 100.0), maker=lost)]
    for state in (State.DISCONNECTED, State.CLOSED, State.FAILED, State.AUTH_FAILED):
        maker = EventMaker()
        start = readings((0, 100.0), maker=maker)
        yield state, [*start, maker.status(state), *readings((10, 100.0), maker=maker)]
    poller = EventMaker(HOME._replace(site="*"))
    start = readings((0, 100.0), maker=closed)
    yield "poller", [*start, poller.status(State.DISCONNECTED), *readings((10, 100.0), maker=closed)]


@pytest.mark.parametrize(("name", "events"), list(interruptions()))
def test_nothing_is_joined_across_an_interruption(name, events):
    """However close the readings around it are; the next ones are joined again."""
    maker = EventMaker()
    maker.seq = max(event.seq for event in events if event.source == HOME)
    meter = metered([*events, *readings((15, 100.0), maker=maker)])
    assert meter.unmeasured(GRID, HOME) == (UnmeasuredRange(at(0), at(10)),)
    assert meter.total().measured_s == {GRID: 5.0}


@pytest.mark.parametrize("state", [State.CONNECTING, State.LIVE, State.BACKFILLING, State.STALE])
def test_other_states_interrupt_nothing(state):
    """A source that is connected, or stale, has lost no readings."""
    maker = EventMaker()
    events = [*readings((0, 100.0), maker=maker), maker.status(state), *readings((10, 1.0), maker=maker)]
    assert metered(events).unmeasured(GRID, HOME) == ()


def test_an_interruption_of_one_source_affects_no_other():
    """Two products of one account are interrupted independently."""
    first, second = (EventMaker(SourceId("voltstorage", "me", site)) for site in ("301", "302"))
    events = [*readings((0, 100.0), maker=first), *readings((0, 100.0), maker=second)]
    events += [first.status(State.DISCONNECTED), first.gap(0, 10)]
    events += [*readings((10, 100.0), maker=first), *readings((10, 100.0), maker=second)]
    meter = metered(events)
    assert (len(meter.unmeasured(GRID, first.source)), len(meter.unmeasured(GRID, second.source))) == (1, 0)


# --- what comes later --------------------------------------------------------------------------------------


def test_backfilled_readings_fill_a_disconnection():
    """After a disconnection, backfilled readings are joined to those before them and to the live ones."""
    maker = EventMaker()
    events = [*readings((0, 100.0), maker=maker), maker.status(State.DISCONNECTED)]
    events += [maker.reading(seconds, {GRID: 100.0}, backfilled=True) for seconds in range(1, 30)]
    meter = metered([*events, *readings((30, 100.0), maker=maker)])
    assert meter.unmeasured(GRID, HOME) == ()
    assert meter.total().grid_import_kwh * KWH == pytest.approx(3000)


def test_a_gap_that_the_backfill_reports_stays_unmeasured():
    """Readings are not joined across it, although those around it were backfilled."""
    maker = EventMaker()
    events = [*readings((0, 100.0), maker=maker), maker.status(State.DISCONNECTED)]
    events += [maker.reading(seconds, {GRID: 100.0}, backfilled=True) for seconds in (5, 10.6)]
    events += [maker.gap(10, 20), *readings((20, 100.0), (25, 100.0), maker=maker)]
    assert metered(events).unmeasured(GRID, HOME) == (UnmeasuredRange(at(10.6), at(20)),)


def test_readings_that_were_backfilled_inside_a_gap_are_joined():
    """Whether they arrive before or after the gap event."""
    for late in (False, True):
        maker = EventMaker()
        start = readings((0, 100.0), maker=maker)
        gap = [maker.gap(0, 40)]
        rows = [maker.reading(seconds, {GRID: 100.0}, backfilled=True) for seconds in range(5, 40, 5)]
        middle = [*gap, *rows] if late else [*rows, *gap]
        events = [*start, *middle, *readings((40, 100.0), maker=maker)]
        events = [event._replace(seq=seq) for seq, event in enumerate(events, 1)]
        assert metered(events).unmeasured(GRID, HOME) == ()


def test_a_gap_of_some_quantities_leaves_the_others_joined():
    """A gap that names quantities interrupts only these."""
    maker = EventMaker()
    powers = {GRID: 100.0, PV: 100.0}
    events = [maker.reading(0, powers), maker.gap(0, 10, PV, GENERATOR), maker.reading(10, powers)]
    assert metered(events).total().measured_s == {GRID: 10.0}


def test_a_late_reading_replaces_the_line_across_its_time():
    """No energy counts twice."""
    straight = metered(readings((0, 0.0), (100, 0.0)))
    assert straight.total().grid_import_kwh == 0.0
    bent = metered(readings((0, 0.0), (100, 0.0), (50, 1000.0)))
    assert bent.total() == metered(readings((0, 0.0), (50, 1000.0), (100, 0.0))).total()
    assert bent.total().grid_import_kwh * KWH == pytest.approx(50_000)


def test_a_late_reading_joins_readings_that_were_too_far_apart():
    """If it is near enough to both."""
    meter = metered(readings((0, 1.0), (90, 1.0)), max_gap_s=60)
    assert meter.total().measured_s == {}
    meter.take(readings((45, 1.0))[0]._replace(seq=3, late=True))
    assert meter.total().measured_s == {GRID: 90.0}


def test_a_revision_replaces_the_value_of_its_moment():
    """The highest revision counts in any order; a backfilled value does not replace a live one."""
    maker = EventMaker()
    events = readings((0, 100.0), (100, 100.0), maker=maker)
    revised = maker.reading(100, {GRID: 300.0}, revision=2, backfilled=True)
    older = maker.reading(100, {GRID: 999.0}, revision=1, backfilled=True)
    rounded = maker.reading(0, {GRID: 101.0}, backfilled=True)
    total = metered([*events, revised, older, rounded]).total()
    assert total.grid_import_kwh * KWH == pytest.approx(200 * 100)


def test_a_reading_older_than_all_kept_ones_is_counted_as_too_late():
    """It changes no total."""
    meter = metered(readings(*[(10.0 * n, 100.0) for n in range(20)]), keep=8)
    before = meter.total()
    maker = EventMaker()
    maker.seq = 20
    meter.take(maker.reading(35, {GRID: 9e9}))
    assert (meter.too_late, meter.total()) == (1, before)
    meter.take(maker.reading(185, {GRID: 100.0}))
    assert (meter.too_late, meter.total()) == (1, before)
    assert before.measured_s == {GRID: 190.0}


# --- sources that report only changes -----------------------------------------------------------------------


def held(*events, **options):
    return metered(events, changes_only=[SourceFilter("test")], **options)


def test_values_of_a_source_that_reports_only_changes_stay_constant():
    """A value holds until the next one, and readings without it confirm it."""
    maker = EventMaker()
    events = [maker.reading(0, {GRID: 100.0, PV: 50.0})]
    events += [maker.reading(seconds, {PV: 50.0}) for seconds in range(10, 100, 10)]
    meter = held(*events, maker.reading(100, {GRID: 900.0}), max_gap_s=15)
    assert meter.total().grid_import_kwh * KWH == pytest.approx(10_000)
    assert meter.total().measured_s == {GRID: 100.0, PV: 100.0}
    unheld = metered([*events, maker.reading(100, {GRID: 900.0})], max_gap_s=15)
    assert GRID not in unheld.total().measured_s


def test_a_value_is_not_confirmed_across_an_interruption():
    """Afterwards it is unknown until it is delivered again."""
    maker = EventMaker()
    events = [maker.reading(0, {GRID: 100.0}), maker.reading(10, {}), maker.gap(10, 12)]
    events += [maker.reading(12, {}), maker.reading(20, {}), maker.reading(30, {GRID: 7.0})]
    meter = held(*events, maker.reading(40, {}))
    assert meter.total().measured_s == {GRID: 20.0}
    assert meter.total().grid_import_kwh * KWH == pytest.approx(1000 + 70)
    assert meter.unmeasured(GRID, HOME) == (UnmeasuredRange(at(10), at(30)),)


def test_a_late_change_reaches_up_to_the_next_one():
    """Readings that confirmed the old value confirm the new one."""
    maker = EventMaker()
    events = [maker.reading(0, {GRID: 100.0})]
    events += [maker.reading(seconds, {}) for seconds in range(10, 100, 10)]
    events += [maker.reading(100, {GRID: 0.0}), maker.reading(35, {GRID: 300.0})]
    assert held(*events).total().grid_import_kwh * KWH == pytest.approx(35 * 100 + 65 * 300)


def test_a_value_that_is_not_finite_confirms_nothing():
    """The power is unknown then, not unchanged."""
    maker = EventMaker()
    events = [maker.reading(0, {GRID: 100.0}), maker.reading(10, {GRID: math.nan})]
    meter = held(*events, maker.reading(20, {}), max_gap_s=15)
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
    """Of a power that falls to zero across midnight, three quarters of the energy belong to the old day."""
    midnight = (datetime(2026, 6, 1, 22, tzinfo=UTC) - START).total_seconds()
    meter = metered(readings((midnight - 300, 1200.0), (midnight + 300, 0.0)), BERLIN)
    old, new = meter.day(date(2026, 6, 1)), meter.day(date(2026, 6, 2))
    assert old.grid_import_kwh * KWH == pytest.approx(900 * 300)
    assert new.grid_import_kwh * KWH == pytest.approx(300 * 300)
    assert meter.days() == (date(2026, 6, 1), date(2026, 6, 2))


def test_forgotten_days_stay_deleted():
    """Also when late readings belong to them; the other days are unchanged."""
    meter = metered(readings(*[(1000.0 * n, 500.0) for n in range(200)]))
    kept = {day: meter.day(day) for day in meter.days()[1:]}
    meter.forget(meter.days()[1])
    maker = EventMaker()
    maker.seq = 200
    for seconds in (500, -500):
        meter.take(maker.reading(seconds, {GRID: 800.0})._replace(late=True))
    assert {day: meter.day(day) for day in meter.days()} == kept
    assert meter.day(TODAY).grid_import_kwh is None


# --- preference and ratios ---------------------------------------------------------------------------------


def test_each_day_uses_the_first_choice_that_measured_it():
    """Sources are neither added nor mixed within a day."""
    main, other = EventMaker(SourceId("vrm", "me", "1")), EventMaker(SourceId("vrm", "me", "1", 512))
    tomorrow = 86_400
    events = [*readings((0, 100.0), (10, 100.0), maker=other), *readings((0, 1.0), (5, 1.0), maker=main)]
    events += readings((tomorrow, 100.0), (tomorrow + 10, 100.0), maker=other)
    meter = metered(events)
    assert meter.day(TODAY).grid_import_kwh * KWH == pytest.approx(5)
    assert meter.day(TODAY).sources == {GRID: (main.source,)}
    assert meter.day(TODAY + timedelta(days=1)).sources == {GRID: (other.source,)}
    assert meter.total().grid_import_kwh * KWH == pytest.approx(1005)
    assert meter.total().sources == {GRID: (main.source, other.source)}
    named = metered(events, prefer=SourcePreference(SourceFilter(instance=512)))
    assert named.total().grid_import_kwh * KWH == pytest.approx(2000)


def test_ratios_are_of_days_on_which_both_powers_were_measured():
    """A day with grid power and without PV power counts for neither ratio."""
    maker = EventMaker()
    powers = {PV: 3000.0, GRID: -1000.0, CONSUMPTION: 2000.0}
    night = {PV: 0.0, GRID: 2000.0, CONSUMPTION: 2000.0}
    events = [maker.reading(seconds, powers) for seconds in (0, 1000)]
    events += [maker.reading(seconds, night) for seconds in (1001, 2000)]
    later = 86_400
    events += [maker.reading(later + seconds, {GRID: -1000.0}) for seconds in (0, 1000)]
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


def test_powers_of_different_times_make_no_ratio():
    """PV of the morning and grid of the evening of one day."""
    maker = EventMaker()
    events = [maker.reading(seconds, {PV: 1000.0}) for seconds in (0, 1000)]
    events += [maker.reading(seconds, {GRID: -500.0}) for seconds in (2000, 3000)]
    total = metered(events).total()
    assert (total.measured_s, total.self_consumption) == ({PV: 1000.0, GRID: 1000.0}, None)


def test_only_powers_are_integrated():
    """State of charge, voltage and the vendor's own energies are ignored."""
    maker = EventMaker()
    rest = {quantity: 5.0 for quantity in Quantity if quantity.unit != "W"}
    total = metered([maker.reading(0, rest), maker.reading(10, rest)]).total()
    assert [getattr(total, name) for name in ENERGIES] == [None] * 7
    watts = {quantity: 5.0 for quantity in Quantity if quantity.unit == "W"}
    total = metered([maker.reading(0, watts), maker.reading(10, watts)]).total()
    assert [getattr(total, name) * KWH for name in ENERGIES] == pytest.approx([50, 0, 50, 0, 50, 50, 50])


@pytest.mark.parametrize(
    "options", [{"max_gap_s": 0}, {"max_gap_s": math.inf}, {"max_gap_s": math.nan}, {"keep": 1}]
)
def test_invalid_options_are_refused(options):
    """`max_gap_s` is positive and finite; at least two readings are kept."""
    with pytest.raises(ValueError, match="must"):
        EnergyMeter(UTC, **options)


# --- against a reference ------------------------------------------------------------------------------------

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
    """Sampled at its corners and anywhere else, in any order, it gives its exact energy."""
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
    """The meter's rules, applied to all readings at the end."""

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
def test_any_course_of_events_gives_the_sums_of_the_reference(hold):
    """Corrections one by one lead to the same sums as counting everything at the end."""

    @given(st.lists(steps, min_size=4, max_size=40), st.integers(10, 200))
    def check(course, max_gap):
        maker, reference = EventMaker(), Reference(hold=hold)
        meter = EnergyMeter(UTC, changes_only=[SourceFilter("test")] if hold else [], max_gap_s=max_gap)
        for step in course:
            match step:
                case ("read" | "fill" as how, seconds, value):
                    values = {} if value is None else {GRID: value}
                    event = maker.reading(seconds, values, backfilled=how == "fill")
                    reference.read(event, seconds, value, fill=how == "fill")
                    meter.take(event)
                case ("gap", start, length):
                    if length:
                        reference.cuts.append((start, start + length))
                    meter.take(maker.gap(start, start + length))
                case ("lose",):
                    maker.lose()
                    reference.broken = True
                case ("leave",):
                    meter.take(maker.status(State.DISCONNECTED))
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
def test_every_total_is_finite_or_none(delivered, hold):
    """Whatever a source sends; the total of a power that was never delivered is None."""
    maker = EventMaker()
    meter = EnergyMeter(UTC, changes_only=[SourceFilter("test")] if hold else [])
    for second, values in enumerate(delivered):
        meter.take(maker.reading(second, values))
    total = meter.total()
    figures = [getattr(total, name) for name in (*ENERGIES, "self_consumption", "self_sufficiency")]
    assert all(figure is None or math.isfinite(figure) for figure in figures)
    assert total.battery_charge_kwh is total.battery_discharge_kwh is total.generator_kwh is None
    for quantity, name in ((GRID, "grid_import_kwh"), (PV, "pv_kwh"), (CONSUMPTION, "consumption_kwh")):
        if not any(quantity in values for values in delivered):
            assert getattr(total, name) is None


@given(st.lists(st.tuples(st.integers(0, 2000), watts), min_size=2, max_size=30))
def test_a_repeat_counts_once(points):
    """Events delivered a second time, as after a restart, change nothing."""
    events = readings(*points)
    assert metered([*events, *events]).total() == metered(events).total()


def test_times_at_the_ends_of_the_calendar_are_counted_and_ignored():
    """Readings of the year 1 or 9999 are unusable."""
    meter = EnergyMeter(BERLIN)
    for year in (1, 9999):
        for event in readings((0, 1.0), (10, 1.0)):
            meter.take(event._replace(time=event.time.replace(year=year)))
    assert (meter.unusable, meter.days()) == (4, ())
