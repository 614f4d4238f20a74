"""Decoding of series: stats, overall stats and graphs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Final, NamedTuple

from energy_core.codec.coerce import integer, is_nothing, text
from energy_core.codec.drift import report
from energy_core.codec.json import JSON, TypedDecoder, strict_json
from energy_core.codec.lazy_value import make_lazy
from vrm_async import codes
from vrm_async.decoding import fast_answers
from vrm_async.decoding.php import by_key, by_number, numbers
from vrm_async.decoding.points import Column, Columns, columns
from vrm_async.models.series import Graph, OverallStats, Period, Series, Stats
from vrm_async.responses import part


class Asked(NamedTuple):
    """What was requested, which the answer does not repeat."""

    kind: str | None = None
    """The type of stats, which decides the unit."""
    codes: tuple[str, ...] = ()
    """The codes that the caller named."""
    timezone: str | None = None
    """IANA name of the site's time zone, if it is known."""

    def no_stats(self) -> Stats:
        """Return the stats of a range without data."""
        return Stats(timezone=self.timezone, missing_codes=_missing(self, ()))

    def no_graph(self, instance: int | None) -> Graph:
        """Return a graph of a range without data."""
        return Graph(instance=instance, timezone=self.timezone, missing_codes=_missing(self, ()))


_NOTHING_ASKED: Final = Asked()


def _missing(asked: Asked, found: Iterable[Series]) -> tuple[str, ...]:
    """Return the codes that the answer lacks: of those named, or of a type without any data."""
    came = {series.code for series in found}
    if asked.codes:
        return tuple(code for code in asked.codes if code not in came)
    return () if came else codes.USUAL.get(asked.kind or "", ())


def stats(payload: JSON, *, kind: str | None = None, asked: Asked = _NOTHING_ASKED) -> Stats:
    """Read ``installations/{idSite}/stats``. The shape of the answer decides whether it is split by instance.

    Args:
        payload: The answer.
        kind: The requested type, which decides the unit; that of `asked` by default.
        asked: What was requested.
    """
    asked = asked if kind is None else asked._replace(kind=kind)
    found = _as_list(part(payload, "records"), "stats")
    sums = _as_list(by_key(payload).get("totals"), "totals")
    # One of the two may be empty, and then has no shape to decide by.
    if _is_split(found, "stats") or _is_split(sums, "totals"):
        totals = {instance: numbers(item) for instance, item in _split(sums, "totals")}
        series = tuple(each for owner, item in _split(found, "stats") for each in _series(item, asked, owner))
        return _stats(series, asked, totals_by_instance=totals, raw=by_key(payload))
    return _stats(tuple(_series(found, asked)), asked, totals=numbers(sums), raw=by_key(payload))


def stats_of(asked: Asked) -> Callable[[JSON], Stats]:
    """Return the reader of the stats that were requested."""
    return TypedDecoder(partial(stats, asked=asked), partial(_fast_stats, asked))


def _stats(
    series: tuple[Series, ...],
    asked: Asked,
    *,
    totals: Mapping[str, float | None] | None = None,
    totals_by_instance: Mapping[int, Mapping[str, float | None]] | None = None,
    raw: Mapping[str, object] | None = None,
) -> Stats:
    return Stats(
        series=series,
        timezone=asked.timezone,
        missing_codes=_missing(asked, series),
        totals=totals or {},
        totals_by_instance=totals_by_instance or {},
        raw=raw or {},
    )


def _fast_stats(asked: Asked, body: bytes) -> Stats | None:
    found = fast_answers.stats(body)
    if found is None:
        return None
    series = tuple(_one(code, columns, asked, None) for code, columns in found.series.items())
    made = _stats(series, asked, totals=numbers(found.totals))
    # Few programs read `raw`: keep the body and parse it at first access.
    make_lazy(made, _raw, body, "raw")
    return made


def _raw(_: object, __: str, body: bytes) -> Mapping[str, object]:
    return by_key(strict_json(body))


def _as_list(value: object, part_name: str) -> object:
    """Return a list; VRM sends a list of one instance as its item ``{"instance": 0, "stats": {...}}``."""
    return [value] if isinstance(value, Mapping) and {"instance", part_name} <= value.keys() else value


def _is_split(value: object, part_name: str) -> bool:
    """Whether an answer is split by instance.

    It is then ``[{"instance": 0, "stats": {...}}]`` or ``{"257": {...}}``, else ``{"Pc": [...]}`` or ``[]``.
    """
    parts = by_key(value).values()
    return any(
        isinstance(item, Mapping) and (part_name in item or isinstance(value, list)) for item in parts
    ) or (bool(parts) and all(isinstance(item, Mapping) for item in parts))


def _split(value: object, part_name: str) -> Iterator[tuple[int, object]]:
    """Yield each instance and its part; an item without `instance` has it as its key or position."""
    for position, item in by_number(value).items():
        if isinstance(item, Mapping):
            # PHP sends keys 0, 1, 2 as a list, so a position can be an instance.
            named = integer(item.get("instance"))
            yield (
                position if named is None else named,
                item.get(part_name, {} if "instance" in item else item),
            )
        elif not is_nothing(item):
            report("Stats", "instance", "malformed")


def _series(value: object, asked: Asked, instance: int | None = None) -> Iterator[Series]:
    for code, points in by_key(value).items():
        yield _one(code, columns(points), asked, instance)


def _one(code: str, found: Columns, asked: Asked, instance: int | None) -> Series:
    unit = codes.of_stats(code, asked.kind)
    return Series(
        code=code,
        times_ms=found.times_ms,
        value=found.value,
        minimum=found.minimum,
        maximum=found.maximum,
        unit=unit.name,
        unit_source=unit.source,
        instance=instance,
        timezone=asked.timezone,
    )


def overall(payload: JSON) -> OverallStats:
    """Read ``installations/{idSite}/overallstats``."""
    found = by_key(part(payload, "records"))
    spans = {span: _period(found.get(span)) for span in ("today", "week", "month", "year")}
    return OverallStats(**spans, raw=found)


def _period(value: object) -> Period:
    found = by_key(value)
    return Period(totals=numbers(found.get("totals")), percentages=numbers(found.get("percentages")))


def graph(payload: JSON, *, asked: Asked = _NOTHING_ASKED) -> Graph:
    """Read the widget Graph. Its data is keyed by attribute id; its meta has the code of each id."""
    found = by_key(part(payload, "records"))
    meta = by_key(found.get("meta"))
    series = tuple(
        _graph_series(key, points, by_key(meta.get(key)), asked.timezone)
        for key, points in by_key(found.get("data")).items()
    )
    return Graph(
        series=series,
        timezone=asked.timezone,
        missing_codes=_missing(asked, series),
        instance=integer(found.get("instance")),
        raw=found,
    )


def _graph_series(key: str, points: object, about: Mapping[str, object], timezone: str | None) -> Series:
    code = text(about.get("code")) or key
    sent = codes.unit_of(about.get("formatWithUnit"))
    unit = codes.common(sent, code)
    times_ms, value, minimum, maximum = _in_unit(columns(points), sent, unit)
    return Series(
        code=code,
        times_ms=times_ms,
        value=value,
        minimum=minimum,
        maximum=maximum,
        unit=unit,
        unit_source=None if unit is None else "format",
        description=text(about.get("description")),
        attribute_id=integer(key),
        timezone=timezone,
    )


def _in_unit(found: Columns, sent: str | None, unit: str | None) -> Columns:
    """Convert the columns of a graph whose format has another unit than `unit`."""
    if unit is None or codes.named(sent) == unit:
        return found

    def each(column: Column) -> Column:
        return [None if value is None else codes.converted(value, sent, unit) for value in column]

    return found._replace(
        value=each(found.value),
        minimum=None if found.minimum is None else each(found.minimum),
        maximum=None if found.maximum is None else each(found.maximum),
    )
