"""Charts: gaps, units, local time."""

from datetime import UTC, datetime, timedelta
from math import isnan

import matplotlib as mpl
import pytest
from matplotlib import dates
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from vrm_async.models import Graph, Series, Stats

DAY = 86_400_000
HOUR = 3_600_000
T0 = 1_774_652_400_000  # 28 March 2026, 00:00 in Amsterdam; clocks change on the 29th
AMSTERDAM = "Europe/Amsterdam"


@pytest.fixture(autouse=True)
def _own_figures():
    mpl.use("Agg")
    yield
    plt.close("all")


def energy(times, values, **more):
    return Series(code="Pc", unit="kWh", times_ms=times, value=values, timezone=AMSTERDAM, **more)


def drawn(line):
    """Return hours since T0 and values of a line; None where it is broken."""
    start = dates.date2num(datetime.fromtimestamp(T0 / 1000, UTC))
    hours = [round((each - start) * 24, 3) for each in dates.date2num(line.get_xdata())]
    return [
        (hour, None if isnan(value) else value) for hour, value in zip(hours, line.get_ydata(), strict=True)
    ]


def test_energy_is_drawn_over_its_bucket():
    """Each value from the start of its bucket to the next; the last one as long as the others."""
    ax = energy([T0, T0 + HOUR], [1.0, 2.0]).plot()
    (line,) = ax.get_lines()
    assert line.get_drawstyle() == "steps-post"
    assert drawn(line) == [(0, 1.0), (1, 2.0), (2, 2.0), (2, None)]


def test_a_missing_value_and_a_missing_bucket_are_gaps():
    """The line is broken; nothing is drawn as 0, and no bucket is stretched over a gap."""
    times = [T0 + hour * HOUR for hour in (0, 1, 2, 5, 6)]
    ax = energy(times, [1.0, None, 3.0, 4.0, 5.0]).plot()
    assert drawn(ax.get_lines()[0]) == [
        *[(0, 1.0), (1, 1.0), (1, None)],
        *[(2, 3.0), (3, 3.0), (3, None)],
        *[(5, 4.0), (6, 5.0), (7, 5.0), (7, None)],
    ]


def test_a_measurement_is_a_line_with_its_range():
    """From minimum to maximum; a value between two gaps is a dot."""
    minutes = [T0 + minute * 60_000 for minute in (0, 1, 2, 30, 60)]
    series = Series(
        code="bs",
        unit="%",
        times_ms=minutes,
        value=[50, 51, 52, 60, 70],
        minimum=[49, None, 51, 59, 69],
        maximum=[51, None, 53, 61, 71],
    )
    ax = series.plot()
    line, dots = ax.get_lines()
    assert line.get_drawstyle() == "default"
    assert list(dots.get_ydata()) == [60, 70]
    assert len(ax.collections) == 1
    low, high = ax.collections[0].get_datalim(ax.transData).intervaly
    assert (low, high) == (49, 71)


def test_days_with_23_hours_are_no_gap():
    """Nor are months of 31 days among shorter ones."""
    days = [T0, T0 + DAY, T0 + 2 * DAY - HOUR, T0 + 3 * DAY - HOUR]
    values = [value for _, value in drawn(energy(days, [1.0] * 4).plot().get_lines()[0])]
    assert values == [1.0] * 5 + [None]
    months = [T0 + sum((31, 28, 31, 30)[:count]) * DAY for count in range(5)]
    values = [value for _, value in drawn(energy(months, [1.0] * 5).plot().get_lines()[0])]
    assert values.count(None) == 1


@pytest.mark.parametrize(
    ("step", "label"),
    [
        (HOUR // 4, "PV to home, kWh per 15 minutes"),
        (HOUR, "PV to home, kWh per hour"),
        (DAY, "PV to home, kWh per day"),
        (7 * DAY, "PV to home, kWh per week"),
        (30 * DAY, "PV to home, kWh per month"),
        (365 * DAY, "PV to home, kWh per year"),
        (5 * HOUR, "PV to home, kWh"),
    ],
)
def test_the_unit_is_on_the_axis(step, label):
    """With the length of a bucket, where it has a name."""
    ax = energy([T0, T0 + step, T0 + 2 * step], [1.0, 2.0, 3.0]).plot()
    assert ax.get_ylabel() == label


def test_times_are_local():
    """Ticks, label and limits are in the site's time zone; without one it says so."""
    ax = energy([T0, T0 + DAY], [1.0, 2.0]).plot()
    assert ax.get_xlabel() == f"local time, {AMSTERDAM}"
    ax.figure.canvas.draw()
    midnight = dates.num2date(ax.get_xticks()[0], tz=ax.xaxis.get_major_locator().tz)
    assert midnight.utcoffset() == timedelta(hours=1)
    assert midnight.hour % 3 == 0
    unknown = Series(code="Pc", unit="kWh", times_ms=[T0], value=[1.0])
    assert unknown.plot().get_xlabel() == "UTC (the site's time zone is not known)"
    assert unknown.plot(timezone="Asia/Tokyo").get_xlabel() == "local time, Asia/Tokyo"
    with pytest.raises(ValueError, match="'Mars/Olympus' is not in this machine's time zone database"):
        unknown.plot(timezone="Mars/Olympus")


def test_each_unit_has_its_axis():
    """The first one is returned; the legend has every series."""
    times = [T0, T0 + HOUR]
    graph = Graph(
        series=(
            Series(code="bs", unit="%", times_ms=times, value=[50, 51]),
            Series(code="bv", unit="V", times_ms=times, value=[52, 53]),
            Series(code="bc", unit="A", times_ms=times, value=[1, 2]),
            Series(code="x", times_ms=times, value=[1, 2], description="Something"),
        )
    )
    ax = graph.plot()
    assert [each.get_ylabel() for each in ax.figure.axes] == [
        "Battery SOC, %",
        "Battery voltage, V",
        "Battery current, A",
        "Something, unit not known",
    ]
    (legend,) = ax.figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert names == ["Battery SOC", "Battery voltage", "Battery current", "Something"]
    assert len({line.get_color() for each in ax.figure.axes for line in each.get_lines()}) == 4
    ax.figure.canvas.draw()


def test_codes_can_be_chosen():
    """An unknown one is an error that names the others."""
    stats = Stats(series=(energy([T0], [1.0]), Series(code="Gc", unit="kWh", times_ms=[T0], value=[2.0])))
    assert len(stats.plot("Gc").get_lines()) == 2
    assert stats.plot("Gc").get_ylabel() == "Grid to home, kWh"
    with pytest.raises(KeyError, match="no series 'gc'; there are: Pc, Gc"):
        stats.plot("gc")


def test_it_draws_where_it_is_asked_to():
    """Without pyplot, for a program that writes files."""
    figure = Figure()
    ax = figure.subplots()
    stats = Stats(series=(energy([T0], [1.0]), Series(code="Gc", unit="kWh", times_ms=[T0], value=[2.0])))
    assert stats.plot(ax=ax) is ax
    assert ax.get_legend() is not None
    assert plt.get_fignums() == []


def test_no_data_is_said():
    """Empty axes with the words; nothing is drawn as 0."""
    for empty in (Stats(missing_codes=("bs",)), Stats(series=(energy([T0], [None]),)), energy([], [])):
        ax = empty.plot()
        assert [text.get_text() for text in ax.texts] == ["no data"]
        ax.figure.canvas.draw()
    assert Stats(missing_codes=("bs",)).plot("bs").get_lines()[:] == []


def test_order_of_points_does_not_matter():
    """They are drawn in order of time."""
    ax = energy([T0 + HOUR, T0], [2.0, 1.0]).plot()
    assert [value for _, value in drawn(ax.get_lines()[0])] == [1.0, 2.0, 2.0, None]
