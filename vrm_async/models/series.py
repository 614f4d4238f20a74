"""Series of values over time, kept as columns, and sets of series by attribute code."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice, repeat
from math import inf
from typing import TypeAlias

from attrs import evolve, field, frozen

from energy_core.codec.lazy_value import LazyFields
from energy_core.local_days import EPOCH
from energy_core.printable import printable
from vrm_async.arrow import ArrowColumn, Stream, stream

Point: TypeAlias = tuple[datetime, float | None]
"""Aware start of a bucket (UTC) and its value; None where VRM sent the bucket without a value."""


def moment(milliseconds: int) -> datetime:
    """Return the aware UTC moment of a number of milliseconds since the epoch."""
    return EPOCH + timedelta(milliseconds=milliseconds)


@frozen(kw_only=True, repr=False)
class Series:
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

    def __arrow_c_stream__(self, requested_schema: object = None) -> Stream:
        """Export the columns to Arrow: `polars.DataFrame(series)` and the like. Needs the extra ``arrow``.

        Columns: time (aware, UTC), value, and minimum and maximum if VRM sent them. The unit is in the
        metadata of the fields, which not every library shows.

        Raises:
            ModuleNotFoundError: pyarrow is not installed.
        """
        return stream(self._columns(), requested_schema)

    def _columns(self) -> Iterator[ArrowColumn]:
        about = {"unit": self.unit, "unit_source": self.unit_source, "code": self.code}
        yield ArrowColumn("time", "time", self.times_ms)
        for name in ("value", "minimum", "maximum"):
            values = getattr(self, name)
            if values is not None:
                yield ArrowColumn(name, "float", values, about)

    @printable
    def __repr__(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        where = "" if self.instance is None else f" @{self.instance}"
        return f"<Series {self.code}{where}{unit}: {len(self)} points>"


@frozen(kw_only=True, repr=False)
class SeriesByCode(LazyFields):
    """Several series; iterating yields each `Series`, indexing with a code returns one.

    Devices of different kinds may have attributes with the same code. Iterating yields all of them; indexing
    returns the one with the lowest attribute id.
    """

    series: tuple[Series, ...] = ()
    """In the order VRM sent them."""

    def __iter__(self) -> Iterator[Series]:
        return iter(self.series)

    def __len__(self) -> int:
        return len(self.series)

    def __contains__(self, code: object) -> bool:
        return any(series.code == code for series in self.series)

    def __getitem__(self, code: str) -> Series:
        found = self.get(code)
        if found is None:
            raise KeyError(f"no series {code!r}; there are: {', '.join(self.keys()) or 'none'}")
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
        )

    def __arrow_c_stream__(self, requested_schema: object = None) -> Stream:
        """Export all series to Arrow as one long table with a row for each bucket. Needs the extra ``arrow``.

        Columns: code, instance, time (aware, UTC), value, minimum, maximum, unit.

        Raises:
            ModuleNotFoundError: pyarrow is not installed.
        """
        return stream(self._columns(), requested_schema)

    def _columns(self) -> Iterator[ArrowColumn]:
        yield ArrowColumn("code", "text", _long(self.series, lambda series: repeat(series.code)))
        yield ArrowColumn("instance", "int", _long(self.series, lambda series: repeat(self._owner(series))))
        yield ArrowColumn("time", "time", _long(self.series, lambda series: series.times_ms))
        yield ArrowColumn("value", "float", _long(self.series, lambda series: series.value))
        yield ArrowColumn(
            "minimum", "float", _long(self.series, lambda series: series.minimum or repeat(None))
        )
        yield ArrowColumn(
            "maximum", "float", _long(self.series, lambda series: series.maximum or repeat(None))
        )
        yield ArrowColumn("unit", "text", _long(self.series, lambda series: repeat(series.unit)))

    def _owner(self, series: Series) -> int | None:
        return series.instance

    def _contents(self) -> str:
        return ", ".join(map(repr, self.series)) or "no data"

    @printable
    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._contents()}>"


def _place(series: Series) -> tuple[float, float]:
    numbers = (series.instance, series.attribute_id)
    instance, attribute = (inf if number is None else number for number in numbers)
    return instance, attribute


def _long(series: Iterable[Series], cells: Callable[[Series], Iterable[object]]) -> list[object]:
    """Return one column of the long table: the cells of all series, one series after the other."""
    return [cell for each in series for cell in islice(cells(each), len(each))]


@frozen(kw_only=True, repr=False)
class Stats(SeriesByCode):
    """Energy or measurements of one site in buckets of time, from ``installations/{idSite}/stats``."""

    totals: Mapping[str, float | None] = field(factory=dict)
    """VRM's sum of each code over the range, in the unit of the series; None where VRM sends false. The code
    `kwh` is the sum of all codes."""
    totals_by_instance: Mapping[int, Mapping[str, float | None]] = field(factory=dict)
    """The sums by device instance; filled only with ``show_instance=True``."""
    raw: Mapping[str, object] = field(factory=dict)
    """The answer as VRM sent it, parsed at first access."""

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

    def _owner(self, series: Series) -> int | None:
        return self.instance if series.instance is None else series.instance

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
class OverallStats:
    """Totals of four periods that VRM chooses, from ``overallstats``. None of them is a lifetime."""

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
