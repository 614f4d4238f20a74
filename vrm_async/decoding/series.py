"""How VRM spells numbers over time and panels: stats, graphs, summaries and changes of state."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import partial
from typing import Final, TypeAlias

from attrs import evolve

from energy_core.codec.coerce import flag, integer, is_nothing, number, seconds, text
from energy_core.codec.drift import report
from energy_core.codec.json import JSON, TypedDecoder, strict_json
from energy_core.codec.structure import model
from vrm_async import codes as vrm_async_codes
from vrm_async.decoding import fast_answers
from vrm_async.decoding.php import by_key, by_number, enum_names, items, numbers
from vrm_async.decoding.points import Column, Columns, columns, time_ms
from vrm_async.models.series import Graph, OverallStats, Period, Series, Stats
from vrm_async.models.widget import StateSeries, StateSet, Summary, SummaryValue
from vrm_async.responses import part

# --- stats ----------------------------------------------------------------------------------------------


def stats(payload: JSON, *, kind: str | None = None) -> Stats:
    """Read ``installations/{idSite}/stats``, split by instance or not: the shape tells, not the question.

    `kind` is the type that was asked for; it says what the numbers count.
    """
    found = _alone(part(payload, "records"), "stats")
    sums = _alone(by_key(payload).get("totals"), "totals")
    if _is_split(found, "stats") or _is_split(sums, "totals"):
        totals = {instance: numbers(item) for instance, item in _split(sums, "totals")}
        series = tuple(each for owner, item in _split(found, "stats") for each in _series(item, kind, owner))
        return Stats(series=series, totals_by_instance=totals, raw=by_key(payload))
    return Stats(series=tuple(_series(found, kind)), totals=numbers(sums), raw=by_key(payload))


def stats_of(kind: str) -> Callable[[JSON], Stats]:
    """Return the reader of stats of a type."""
    return TypedDecoder(partial(stats, kind=kind), partial(_fast_stats, kind))


def _fast_stats(kind: str, body: bytes) -> Stats | None:
    found = fast_answers.stats(body)
    if found is None:
        return None
    series = tuple(_one(code, columns, kind, None) for code, columns in found.series.items())
    made = Stats(series=series, totals=numbers(found.totals))
    made.make_lazy(lambda _, __: by_key(strict_json(body)), "raw")
    return made


def _alone(value: object, part_name: str) -> object:
    """Put the list back around the only instance's ``{"instance": 0, "stats": {...}}``."""
    return [value] if isinstance(value, Mapping) and {"instance", part_name} <= value.keys() else value


def _is_split(value: object, part_name: str) -> bool:
    """Tell ``[{"instance": 0, "stats": {...}}]`` or ``{"257": {...}}`` from ``{"Pc": [...]}`` and ``[]``."""
    parts = by_key(value).values()
    return any(
        isinstance(item, Mapping) and (part_name in item or isinstance(value, list)) for item in parts
    ) or (bool(parts) and all(isinstance(item, Mapping) for item in parts))


def _split(value: object, part_name: str) -> Iterator[tuple[int, object]]:
    """Find each instance's part, named in the item or by the item's key or position."""
    for position, item in by_number(value).items():
        if isinstance(item, Mapping):
            named = integer(item.get("instance"))
            yield (
                position if named is None else named,
                item.get(part_name, {} if "instance" in item else item),
            )
        elif not is_nothing(item):
            report("Stats", "instance", "malformed")


def _series(value: object, kind: str | None, instance: int | None = None) -> Iterator[Series]:
    for code, points in by_key(value).items():
        yield _one(code, columns(points), kind, instance)


def _one(code: str, found: Columns, kind: str | None, instance: int | None) -> Series:
    unit = vrm_async_codes.of_stats(code, kind)
    return Series(
        code=code,
        times_ms=found.times_ms,
        value=found.mean,
        minimum=found.minimum,
        maximum=found.maximum,
        unit=unit.name,
        unit_source=unit.source,
        instance=instance,
    )


def overall(payload: JSON) -> OverallStats:
    """Read ``installations/{idSite}/overallstats``."""
    found = by_key(part(payload, "records"))
    spans = {span: _period(found.get(span)) for span in ("today", "week", "month", "year")}
    return OverallStats(**spans, raw=found)


def _period(value: object) -> Period:
    found = by_key(value)
    return Period(totals=numbers(found.get("totals")), percentages=numbers(found.get("percentages")))


# --- panels ---------------------------------------------------------------------------------------------


def graph(payload: JSON) -> Graph:
    """Read the widget Graph: its data is keyed by attribute id, its meta says which code that is."""
    found = by_key(part(payload, "records"))
    about = by_key(found.get("meta"))
    return Graph(
        series=tuple(
            _drawn(key, points, by_key(about.get(key))) for key, points in by_key(found.get("data")).items()
        ),
        instance=integer(found.get("instance")),
        raw=found,
    )


def _drawn(key: str, points: object, about: Mapping[str, object]) -> Series:
    code = text(about.get("code")) or key
    sent = vrm_async_codes.unit_of(about.get("formatWithUnit"))
    unit = vrm_async_codes.common(sent, code)
    times_ms, mean, minimum, maximum = _in_unit(columns(points), sent, unit)
    return Series(
        code=code,
        times_ms=times_ms,
        value=mean,
        minimum=minimum,
        maximum=maximum,
        unit=unit,
        unit_source=None if unit is None else "format",
        description=text(about.get("description")),
        attribute_id=integer(key),
    )


def _in_unit(found: Columns, sent: str | None, unit: str | None) -> Columns:
    """Convert the columns of a graph, where its format has another unit than this package's."""
    if unit is None or vrm_async_codes.named(sent) == unit:
        return found

    def each(column: Column) -> Column:
        return [None if value is None else vrm_async_codes.converted(value, sent, unit) for value in column]

    return found._replace(
        mean=each(found.mean),
        minimum=None if found.minimum is None else each(found.minimum),
        maximum=None if found.maximum is None else each(found.maximum),
    )


def _age(value: object) -> float | None:
    """Read an age in s, alone or as ``{"value": 12, "valueFormattedWithUnit": "12s"}``."""
    age = number(value.get("value") if isinstance(value, Mapping) else value)
    return None if age is None or age >= _NO_AGE_S else age


def logged_at(value: object) -> datetime | None:
    """Read the time of secondsAgo, where its value is a Unix timestamp as VRM's document says, and no age."""
    told = value.get("value") if isinstance(value, Mapping) else value
    count = number(told)
    return None if count is None or count < _NO_AGE_S else seconds(told)


_NO_AGE_S: Final = 10**9
"""31 years as an age, 2001 as a time: a larger number is a time."""


_BESIDES: Final = frozenset({"hasOldData", "secondsAgo"})
_summary_value = model(
    SummaryValue,
    wire={
        "attribute_id": "idDataAttribute",
        "description": "dataAttributeName",
        "enum": "dataAttributeEnumValues",
        "raw_value": "rawValue",
        "formatted": "formattedValue",
        "format": "formatWithUnit",
        "enum_name": "nameEnum",
        "seconds_ago": "secondsAgo",
        "has_old_data": "hasOldData",
    },
    read={"seconds_ago": _age, "enum": enum_names},
)


def summary(name: str, instance: int | None) -> Callable[[JSON], Summary]:
    """Make the reader of one summary widget."""
    return partial(_summary, name, instance)


def _summary(name: str, instance: int | None, payload: JSON) -> Summary:
    found = by_key(part(payload, "records"))
    data = attributes_of(found.get("data"))
    about = by_key(found.get("meta"))
    place = _places(found.get("attributeOrder"))
    keys = sorted((key for key in data if key not in _BESIDES), key=lambda key: place.get(key, len(place)))
    return Summary(
        name=name,
        instance=instance,
        values=tuple(_shown(key, data[key], by_key(about.get(key))) for key in keys if _is_value(data[key])),
        has_old_data=flag(data.get("hasOldData")),
        seconds_ago=_age(data.get("secondsAgo")),
        raw=found,
    )


def attributes_of(data: object) -> dict[str, object]:
    """Return the attributes of a panel: its data, or a part of it called so."""
    found = by_key(data)
    inner = found.get("attributes")
    return by_key(inner) if isinstance(inner, list | Mapping) else found


def _places(order: object) -> dict[str, int]:
    """Read the order of display: a list of ids, or positions by id."""
    if isinstance(order, Mapping):
        return {str(key): place for key, value in order.items() if (place := integer(value)) is not None}
    return {str(key): place for place, key in enumerate(order)} if isinstance(order, list) else {}


def _is_value(item: object) -> bool:
    if not isinstance(item, Mapping) and not is_nothing(item):
        report("Summary", "value", "malformed")
    return isinstance(item, Mapping)


def _shown(key: str, value: object, about: Mapping[str, object]) -> SummaryValue:
    value = by_key(value)
    known = {name: item for name, item in value.items() if name not in _ALIKE}
    told = {
        "idDataAttribute": integer(key),
        "code": about.get("code"),
        "dataAttributeName": about.get("description"),
        "formatWithUnit": about.get("formatWithUnit"),
    }
    return evolve(_summary_value({**told, **known, **_said(value)}), raw=value)


def _said(value: Mapping[str, object]) -> dict[str, object]:
    """Find the value and its text, which widgets spell in several ways."""
    return {
        meant: next((value[name] for name in names if not is_nothing(value.get(name))), None)
        for meant, names in _SPELLINGS.items()
    }


_SPELLINGS: Final[Mapping[str, tuple[str, ...]]] = {
    "rawValue": ("rawValue", "value", "valueFloat", "valueEnum", "valueString"),
    "formattedValue": ("formattedValue", "valueFormattedWithUnit"),
}
_ALIKE: Final = frozenset(
    {
        *(name for names in _SPELLINGS.values() for name in names),
        *(
            "id",
            "isValid",
            "isKeyDataAttribute",
            "isKeyIdDataAttribute",
            "secondsToNextLog",
            "valueFormattedValueOnly",
        ),
        *("formatValueOnly", "dataType", "dbusServiceType", "dbusPath", "timestamp"),
    }
)
"""What a summary repeats; it stays in `raw`."""


def is_wrong_instance(found: Summary) -> bool:
    """Whether VRM answered what it answers for an instance the site does not have: an age, and no value."""
    data = found.raw.get("data")
    if found.values or not found.raw.keys() <= _FRAME or not (is_nothing(data) or isinstance(data, Mapping)):
        return False
    return attributes_of(data).keys() <= _BESIDES


_FRAME: Final = frozenset({"data", "meta", "attributeOrder", "instance"})


def state_history(name: str, instance: int | None) -> Callable[[JSON], StateSeries]:
    """Make the reader of one state widget."""
    return partial(_state_history, name, instance)


def _state_history(name: str, instance: int | None, payload: JSON) -> StateSeries:
    found = by_key(part(payload, "records"))
    about, names = by_key(found.get("meta")), by_key(found.get("enums"))
    states = tuple(
        _states(key, _rows(rows), by_key(about.get(key)), names.get(key))
        for key, rows in by_key(found.get("data")).items()
        if not is_nothing(rows) or isinstance(rows, list | Mapping)
    )
    return StateSeries(name=name, instance=instance, states=states, raw=found)


def _names(value: object) -> dict[int, str]:
    """Read names by number, or the records of numbers and names that attributes have."""
    if any(isinstance(item, Mapping) for item in items(value)):
        return enum_names(value)
    return {code: name for code, item in by_number(value).items() if (name := text(item)) is not None}


def _rows(value: object) -> list[object]:
    """Read a list of rows; PHP may write a list with holes as an object, and a list of one as that one."""
    if not isinstance(value, list | Mapping):
        report("States", "rows", "not a list")
        return []
    rows = list(items(value))
    return rows if any(isinstance(row, list | Mapping) for row in rows) or not rows else [value]


def _states(key: str, rows: list[object], about: Mapping[str, object], names: object) -> StateSet:
    enum = _names(names)
    changes = [change for row in rows if (change := _change(row, enum)) is not None]
    times_ms, ends_ms, codes, shown = zip(*changes, strict=True) if changes else ((), (), (), ())
    return StateSet(
        code=text(about.get("code")) or key,
        attribute_id=integer(key),
        times_ms=times_ms,
        ends_ms=ends_ms,
        numbers=codes,
        names=shown,
        enum=enum,
    )


_Change: TypeAlias = tuple[int, int | None, int | None, str | None]
"""Start, end, number and name of a state."""


def _change(row: object, enum: Mapping[int, str]) -> _Change | None:
    """Read one row: state, start, end. A row that begins with its time has the state after it."""
    cells = _cells(row)
    first, second, third = [*map(_moment_ms, cells), None, None, None][:3]
    said: list[object]
    if second is not None and (first is None or third is not None):
        start, end, said = second, third, cells[:1]
    elif first is not None and len(cells) > 1:
        start, end, said = first, second, cells[1:] if second is None else cells[2:]
    else:
        report("States", "change", "malformed")
        return None
    number_, name = _state(said, enum)
    return start, None if end is None or end < start else end, number_, name


def _cells(row: object) -> list[object]:
    if isinstance(row, Mapping) and all(isinstance(key, str) and key.isdecimal() for key in row):
        return [row[key] for key in sorted(row, key=int)]
    return list(row) if isinstance(row, list) else list(by_key(row).values())


def _moment_ms(value: object) -> int | None:
    """Read a time. A smaller number is a state, or the time of a clock that was not set."""
    moment = time_ms(value)
    return moment if moment is not None and moment >= _FIRST_TIME_MS else None


_FIRST_TIME_MS: Final = 10**11
"""1973: no site of VRM is so old."""


def _state(said: list[object], enum: Mapping[int, str]) -> tuple[int | None, str | None]:
    """Find a state's number and name; where they differ the number decides, as the name is translated."""
    code = next((code for cell in said if (code := integer(cell)) is not None), None)
    name = next((cell for cell in said if isinstance(cell, str) and cell and integer(cell) is None), None)
    if code is None and name is not None:
        same = [known for known, known_name in enum.items() if known_name == name]
        code = same[0] if len(same) == 1 else None
    return code, name if code is None else enum.get(code, name)
