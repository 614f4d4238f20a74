"""Series of values over time, kept as columns, and sets of series by attribute code.

All of them are tables (`energy_core.tables.Table`) with one row for each time: a column of times, and the
values of each code in a column with a readable name, such as ``pv_to_home_kwh``. A code without such a name
stays as it is. The name ends in ``_min`` or ``_max`` for the smallest and largest value, and in
``_instance_258`` if the answer is split by device instance.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta, tzinfo
from itertools import chain
from math import inf
from typing import TYPE_CHECKING, TypeAlias

from attrs import evolve, field, frozen

from energy_core.codec.lazy_value import LazyFields
from energy_core.local_days import EPOCH
from energy_core.printable import printable
from energy_core.tables.column import TableColumn, unique_name
from energy_core.tables.table import Table
from vrm_async.codes import BY_CODE, NAMES, adds_up, column_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from energy_core.tables.plot import PlotLine

Point: TypeAlias = tuple[datetime, float | None]
"""Aware start of a bucket (UTC) and its value; None where VRM sent the bucket without a value."""


def moment(milliseconds: int) -> datetime:
    """Return the aware UTC moment of a number of milliseconds since the epoch."""
    return EPOCH + timedelta(milliseconds=milliseconds)


@frozen(kw_only=True, repr=False)
class Series(Table):
    """The values of one attribute over time, as columns of equal length in order of time.

    Iterating, and indexing with an int, yields ``(aware datetime, value)``, made at each access.
    """

    code: str
    """The attribute's code, case-sensitive; its id as text where VRM does not send the code."""
    times_ms: Sequence[int] = ()
    """Start of each bucket in milliseconds since the epoch, UTC, whatever unit VRM sent."""
    value: Sequence[float | None] = ()
    """Mean of each bucket for a measured code, sum for a code that counts energy; in `unit`."""
    minimum: Sequence[float | None] | None = None
    """Smallest value of each bucket in `unit`; None if VRM sent no such column."""
    maximum: Sequence[float | None] | None = None
    """Largest value of each bucket in `unit`; None if VRM sent no such column."""
    unit: str | None = None
    """W, kWh, Wh, %, V, A, degC, s and the like; None if it is not known."""
    unit_source: str | None = None
    """Source of `unit`: ``format`` (VRM's format of the attribute), ``type`` (the type of the stats),
    ``code`` (the documented meaning of the code), or ``derived`` (computed from other series)."""
    description: str | None = None
    """VRM's English name of the attribute, if the answer has it."""
    attribute_id: int | None = None
    """VRM's idDataAttribute, if the answer has it."""
    instance: int | None = None
    """The device instance, if the answer is split by instance."""
    timezone: str | None = None
    """IANA name of the site's time zone, where the client knows it without a request of its own. Tables and
    charts show times in it, otherwise in UTC."""

    def __len__(self) -> int:
        return len(self.times_ms)

    def __iter__(self) -> Iterator[Point]:
        return zip(map(moment, self.times_ms), self.value, strict=True)

    def __getitem__(self, index: int) -> Point:
        return moment(self.times_ms[index]), self.value[index]

    @property
    def start(self) -> datetime | None:
        """Start of the first bucket; None if the series is empty."""
        return moment(self.times_ms[0]) if self.times_ms else None

    @property
    def end(self) -> datetime | None:
        """Start (not end) of the last bucket; None if the series is empty."""
        return moment(self.times_ms[-1]) if self.times_ms else None

    @property
    def name(self) -> str:
        """A readable name of the code, such as ``PV to home``; without one VRM's description, or the code."""
        return NAMES.get(self.code) or self.description or self.code

    def plot(self, *, ax: Axes | None = None, timezone: str | tzinfo | None = None) -> Axes:
        """Draw the values over local time with matplotlib (the extra ``plot``) and return the axes.

        Energies are drawn over the length of their buckets, measurements as a line with the range from
        minimum to maximum. Where a value or a bucket is missing, the line has a gap.

        Args:
            ax: Where to draw; by default a new figure of pyplot.
            timezone: Instead of the time zone of the series.

        Raises:
            ModuleNotFoundError: matplotlib is not installed; the message has the command that installs it.
            ValueError: this machine does not know the time zone.
        """
        return _plot([self], ax, timezone or self.timezone)

    def _plot_line(self) -> PlotLine:
        from energy_core.tables.plot import PlotLine  # noqa: PLC0415  (imported when it is used)

        return PlotLine(
            label=self.name if self.instance is None else f"{self.name}, instance {self.instance}",
            unit=self.unit,
            times_ms=self.times_ms,
            values=self.value,
            minimum=self.minimum,
            maximum=self.maximum,
            summed=adds_up(self.code, self.unit),
        )

    def _table_columns(self) -> Iterator[TableColumn]:
        return _wide([self], (), self.timezone)

    def _table_title(self) -> str:
        return f"{self.name}{'' if self.unit is None else f' in {self.unit}'}"

    @printable
    def __repr__(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        where = "" if self.instance is None else f" @{self.instance}"
        return f"<Series {self.code}{where}{unit}: {len(self)} points>"


@frozen(kw_only=True, repr=False)
class SeriesByCode(LazyFields, Table):
    """Several series; iterating yields each `Series`, indexing with a code returns one.

    Devices of different kinds may have attributes with the same code. Iterating yields all of them; indexing
    returns the one with the lowest attribute id.
    """

    series: tuple[Series, ...] = ()
    """In the order VRM sent them."""
    timezone: str | None = None
    """As `Series.timezone`."""
    missing_codes: tuple[str, ...] = ()
    """Codes of which VRM sent nothing though they were requested, or are usual for the type of an answer
    without any data. A table has an empty column for each."""

    def __iter__(self) -> Iterator[Series]:
        return iter(self.series)

    def __len__(self) -> int:
        return len(self.series)

    def __contains__(self, code: object) -> bool:
        return any(series.code == code for series in self.series)

    def __getitem__(self, code: str) -> Series:
        found = self.get(code)
        if found is None:
            raise self._no_series(code)
        instances = dict.fromkeys(series.instance for series in self.series if series.code == code)
        if len(instances) > 1:
            raise KeyError(f"{code!r} has several instances: {', '.join(map(str, instances))}")
        return found

    def keys(self) -> tuple[str, ...]:
        """Return each code once, in VRM's order, so that `dict(stats)` is a mapping of code to series."""
        return tuple(dict.fromkeys(series.code for series in self.series))

    def get(self, code: str) -> Series | None:
        """Return the series of that code with the lowest instance and attribute id, or None."""
        return min((series for series in self.series if series.code == code), key=_place, default=None)

    def battery_power(self) -> Series | None:
        """Return the battery's power in W, positive while charging; None if VRM sent neither form of it.

        That is the series `bp`, if there is one. Most sites have none; then it is the mean voltage `bv` times
        the mean current `bc` of each bucket with both, and `unit_source` is ``derived``.

        Raises:
            KeyError: there are several instances; select one with `Stats.instance`.
        """
        if "bp" in self:
            return self["bp"]
        if "bv" not in self or "bc" not in self:
            return None
        voltage, current = self["bv"], self["bc"]
        volts = dict(zip(voltage.times_ms, voltage.value, strict=True))
        both = [
            (time, volts[time], amps)
            for time, amps in zip(current.times_ms, current.value, strict=True)
            if time in volts
        ]
        return Series(
            code="bp",
            times_ms=[time for time, _, _ in both],
            value=[None if volt is None or amps is None else volt * amps for _, volt, amps in both],
            unit="W",
            unit_source="derived",
            description="Battery power: voltage times current",
            instance=current.instance,
            timezone=current.timezone,
        )

    def plot(self, *codes: str, ax: Axes | None = None, timezone: str | tzinfo | None = None) -> Axes:
        """Draw the series over local time with matplotlib (the extra ``plot``) and return the axes.

        Energies are drawn over the length of their buckets, measurements as a line with the range from
        minimum to maximum. Where a value or a bucket is missing, the line has a gap. Series of another unit
        than the first one have an axis of their own at the right.

        Args:
            codes: Only the series of these codes.
            ax: Where to draw; by default a new figure of pyplot.
            timezone: Instead of the time zone of the series.

        Raises:
            KeyError: there is no series of a code.
            ModuleNotFoundError: matplotlib is not installed; the message has the command that installs it.
            ValueError: this machine does not know the time zone.
        """
        unknown = [code for code in codes if code not in self and code not in self.missing_codes]
        if unknown:
            raise self._no_series(unknown[0])
        chosen = [series for series in self if not codes or series.code in codes]
        return _plot(chosen, ax, timezone or self.timezone)

    def _no_series(self, code: str) -> KeyError:
        return KeyError(f"no series {code!r}; there are: {', '.join(self.keys()) or 'none'}")

    def _table_columns(self) -> Iterator[TableColumn]:
        return _wide(self.series, self.missing_codes, self.timezone)

    def _table_title(self) -> str:
        return type(self).__name__

    def _contents(self) -> str:
        return ", ".join(map(repr, self.series)) or "no data"

    @printable
    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._contents()}>"


def _place(series: Series) -> tuple[float, float]:
    numbers = (series.instance, series.attribute_id)
    instance, attribute = (inf if number is None else number for number in numbers)
    return instance, attribute


def _plot(series: Iterable[Series], ax: Axes | None, timezone: str | tzinfo | None) -> Axes:
    from energy_core.tables.plot import draw  # noqa: PLC0415  (imported when it is used)

    return draw([each._plot_line() for each in series], timezone=timezone, ax=ax)  # noqa: SLF001  (ours)


def _wide(
    all_series: Sequence[Series], missing_codes: Iterable[str], timezone: str | None
) -> Iterator[TableColumn]:
    """Yield the columns of a table with a row for each time of any of the series."""
    first = all_series[0].times_ms if all_series else ()
    times = sorted(set(chain.from_iterable(series.times_ms for series in all_series)))
    rows = times if list(first) != times else first
    yield TableColumn("time", "time", rows, timezone or "UTC")
    names = _column_names(all_series)
    for series, name in zip(all_series, names, strict=True):
        about = {
            "code": series.code,
            "name": series.name,
            "unit": series.unit,
            "unit_source": series.unit_source,
        }
        columns = (("", series.value), ("_min", series.minimum), ("_max", series.maximum))
        for ending, values in columns:
            if values is not None:
                yield TableColumn(
                    name + ending, "float", _aligned(series.times_ms, values, rows), about=about
                )
    came = {series.code for series in all_series}
    for code in missing_codes:
        if code in came:
            continue
        yield TableColumn(
            unique_name(column_name(code, BY_CODE.get(code)), ["time", *names]),
            "float",
            [None] * len(rows),
            about={"code": code},
        )


def _column_names(all_series: Iterable[Series]) -> list[str]:
    """Return the name of the column of each series, all different."""
    found: list[str] = []
    for series in all_series:
        name = column_name(series.code, series.unit)
        if series.instance is not None:
            name += f"_instance_{series.instance}"
        # Devices of different kinds may have attributes with the same code.
        other = () if series.attribute_id is None else (f"_attribute_{series.attribute_id}",)
        found.append(unique_name(name, ["time", *found], *other))
    return found


def _aligned(
    times_ms: Sequence[int], values: Sequence[float | None], rows: Sequence[int]
) -> Sequence[float | None]:
    """Return the value of each row's time; None where the series has none. Of a duplicate the last counts."""
    if times_ms is rows or list(times_ms) == list(rows):
        return values
    by_time = dict(zip(times_ms, values, strict=True))
    return [by_time.get(time) for time in rows]


@frozen(kw_only=True, repr=False)
class Stats(SeriesByCode):
    """Energy or measurements of one site in buckets of time, from ``installations/{idSite}/stats``."""

    totals: Mapping[str, float | None] = field(factory=dict)
    """VRM's sum of each code over the range, in the unit of the series; None where VRM sends false. The code
    `kwh` is the sum of all codes; ``vrm.codes["total_consumption"].sum_of`` has the parts of the others."""
    totals_by_instance: Mapping[int, Mapping[str, float | None]] = field(factory=dict)
    """The sums by device instance; filled only with ``show_instance=True``."""
    raw: Mapping[str, object] = field(factory=dict)
    """The answer as VRM sent it, parsed at first access."""

    def _html_footer(self) -> Mapping[str, object]:
        names = _column_names(self.series)
        totals = {name: self._total(series) for name, series in zip(names, self.series, strict=True)}
        return {"time": "total", **totals} if any(total is not None for total in totals.values()) else {}

    def _total(self, series: Series) -> float | None:
        mine = (
            self.totals
            if series.instance is None
            else self.totals_by_instance.get(series.instance, self.totals)
        )
        return mine.get(series.code)

    @property
    def instances(self) -> tuple[int, ...]:
        """The device instances of the series, each once; empty without ``show_instance=True``."""
        return tuple(dict.fromkeys(s.instance for s in self.series if s.instance is not None))

    def instance(self, instance: int) -> Stats:
        """Return the series and totals of one device instance.

        Raises:
            KeyError: VRM sent nothing for that instance.
        """
        if instance not in self.instances and instance not in self.totals_by_instance:
            raise KeyError(
                f"no instance {instance}; there are: {', '.join(map(str, self.instances)) or 'none'}"
            )
        mine = tuple(series for series in self.series if series.instance == instance)
        return evolve(self, series=mine, totals=self.totals_by_instance.get(instance, {}))


@frozen(kw_only=True, repr=False)
class Graph(SeriesByCode):
    """Measurements of one device instance, from the widget ``Graph``. VRM chooses the length of buckets."""

    instance: int | None = None
    """The device instance of the values."""
    raw: Mapping[str, object] = field(factory=dict)
    """The answer as VRM sent it; its `data` is keyed by attribute id, not by code."""

    @printable
    def __repr__(self) -> str:
        return f"<Graph of instance {self.instance}: {self._contents()}>"


@frozen(kw_only=True)
class Period:
    """One of the four periods of `OverallStats`."""

    totals: Mapping[str, float | None] = field(factory=dict)
    """Energy by code in kWh; None where VRM sends false."""
    percentages: Mapping[str, float | None] = field(factory=dict)
    """Share by code in %; None where VRM sends false."""


@frozen(kw_only=True)
class OverallStats(Table):
    """Totals of four periods that VRM chooses, from ``overallstats``. None of them is a lifetime.

    As a table it has one row for each period and one column for the total of each code.
    """

    today: Period = field(factory=Period)
    """Since midnight, by VRM's clock."""
    week: Period = field(factory=Period)
    """The current week."""
    month: Period = field(factory=Period)
    """The current month."""
    year: Period = field(factory=Period)
    """The current year."""
    raw: Mapping[str, object] = field(factory=dict, repr=False)
    """The records of the answer as VRM sent them."""

    def _table_columns(self) -> Iterator[TableColumn]:
        names = ("today", "week", "month", "year")
        totals = [self.today.totals, self.week.totals, self.month.totals, self.year.totals]
        yield TableColumn("period", "text", names)
        for code in dict.fromkeys(chain.from_iterable(totals)):
            unit = BY_CODE.get(code)
            cells = [each.get(code) for each in totals]
            yield TableColumn(column_name(code, unit), "float", cells, about={"code": code, "unit": unit})
