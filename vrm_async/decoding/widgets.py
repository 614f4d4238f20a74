"""Decoding of widgets: summaries, changes of state, position, alarms and any other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Final, TypeAlias

from attrs import evolve

from energy_core.codec.coerce import flag, integer, is_nothing, number, seconds, text
from energy_core.codec.drift import report
from energy_core.codec.json import JSON
from energy_core.codec.structure import model
from vrm_async.decoding.alarms import raised
from vrm_async.decoding.php import by_key, by_number, enum_names, items
from vrm_async.decoding.points import time_ms
from vrm_async.decoding.sites import geofence
from vrm_async.models.state import StateSeries, StateSet
from vrm_async.models.widget import AlarmWidget, HoursOfAc, Position, Summary, SummaryValue, Widget
from vrm_async.responses import part


def _age(value: object) -> float | None:
    """Read an age in s: a number, or ``{"value": 12, "valueFormattedWithUnit": "12s"}``."""
    age = number(value.get("value") if isinstance(value, Mapping) else value)
    return None if age is None or age >= _NO_AGE_S else age


def _time_of_age(value: object) -> datetime | None:
    """Read secondsAgo where it is a Unix timestamp, as VRM documents it, and not an age."""
    inner = value.get("value") if isinstance(value, Mapping) else value
    count = number(inner)
    return None if count is None or count < _NO_AGE_S else seconds(inner)


_NO_AGE_S: Final = 10**9
"""Larger numbers are times, not ages: 31 years as an age in s, 2001 as a Unix time."""


_NOT_ATTRIBUTES: Final = frozenset({"hasOldData", "secondsAgo"})
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
    """Return the reader of one summary widget."""
    return partial(_summary, name, instance)


def _summary(name: str, instance: int | None, payload: JSON) -> Summary:
    found = by_key(part(payload, "records"))
    data = _attributes_of(found.get("data"))
    meta = by_key(found.get("meta"))
    order = _order(found.get("attributeOrder"))
    keys = sorted(
        (key for key in data if key not in _NOT_ATTRIBUTES), key=lambda key: order.get(key, len(order))
    )
    return Summary(
        name=name,
        instance=instance,
        values=tuple(_value(key, data[key], by_key(meta.get(key))) for key in keys if _is_value(data[key])),
        has_old_data=flag(data.get("hasOldData")),
        seconds_ago=_age(data.get("secondsAgo")),
        raw=found,
    )


def _attributes_of(data: object) -> dict[str, object]:
    """Return the attributes of a widget: its data, or the member ``attributes`` of its data."""
    found = by_key(data)
    inner = found.get("attributes")
    return by_key(inner) if isinstance(inner, list | Mapping) else found


def _order(order: object) -> dict[str, int]:
    """Read attributeOrder: a list of ids, or positions by id."""
    if isinstance(order, Mapping):
        return {str(key): place for key, value in order.items() if (place := integer(value)) is not None}
    return {str(key): place for place, key in enumerate(order)} if isinstance(order, list) else {}


def _is_value(item: object) -> bool:
    if not isinstance(item, Mapping) and not is_nothing(item):
        report("Summary", "value", "malformed")
    return isinstance(item, Mapping)


def _value(key: str, value: object, meta: Mapping[str, object]) -> SummaryValue:
    value = by_key(value)
    # Members without a field are not passed on, so that they do not count as unknown.
    known = {name: item for name, item in value.items() if name not in _ONLY_IN_RAW}
    from_meta = {
        "idDataAttribute": integer(key),
        "code": meta.get("code"),
        "dataAttributeName": meta.get("description"),
        "formatWithUnit": meta.get("formatWithUnit"),
    }
    return evolve(_summary_value({**from_meta, **known, **_value_and_text(value)}), raw=value)


def _value_and_text(value: Mapping[str, object]) -> dict[str, object]:
    """Return the value and its text, whose keys differ from widget to widget."""
    return {
        key: next((value[name] for name in names if not is_nothing(value.get(name))), None)
        for key, names in _SPELLINGS.items()
    }


_SPELLINGS: Final[Mapping[str, tuple[str, ...]]] = {
    "rawValue": ("rawValue", "value", "valueFloat", "valueEnum", "valueString"),
    "formattedValue": ("formattedValue", "valueFormattedWithUnit"),
}
_ONLY_IN_RAW: Final = frozenset(
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
"""Members that repeat others, or have no field: they stay in `raw`."""


def is_wrong_instance(found: Summary) -> bool:
    """Whether VRM answered as for an instance that the site does not have: an age and no values."""
    data = found.raw.get("data")
    if (
        found.values
        or not found.raw.keys() <= _MEMBERS
        or not (is_nothing(data) or isinstance(data, Mapping))
    ):
        return False
    return _attributes_of(data).keys() <= _NOT_ATTRIBUTES


_MEMBERS: Final = frozenset({"data", "meta", "attributeOrder", "instance"})


def states(name: str, instance: int | None) -> Callable[[JSON], StateSeries]:
    """Return the reader of one widget of states."""
    return partial(_states, name, instance)


def _states(name: str, instance: int | None, payload: JSON) -> StateSeries:
    found = by_key(part(payload, "records"))
    meta, names = by_key(found.get("meta")), by_key(found.get("enums"))
    sets = tuple(
        _state_set(key, _rows(rows), by_key(meta.get(key)), names.get(key))
        for key, rows in by_key(found.get("data")).items()
        if not is_nothing(rows) or isinstance(rows, list | Mapping)
    )
    return StateSeries(name=name, instance=instance, states=sets, raw=found)


def _names(value: object) -> dict[int, str]:
    """Read names by number, or records of number and name as attributes have them."""
    if any(isinstance(item, Mapping) for item in items(value)):
        return enum_names(value)
    return {code: name for code, item in by_number(value).items() if (name := text(item)) is not None}


def _rows(value: object) -> list[object]:
    """Read a list of rows. PHP may send a sparse list as an object, and a list of one row as that row."""
    if not isinstance(value, list | Mapping):
        report("States", "rows", "not a list")
        return []
    rows = list(items(value))
    return rows if any(isinstance(row, list | Mapping) for row in rows) or not rows else [value]


def _state_set(key: str, rows: list[object], meta: Mapping[str, object], names: object) -> StateSet:
    enum = _names(names)
    changes = [change for row in rows if (change := _change(row, enum)) is not None]
    times_ms, ends_ms, numbers, shown = zip(*changes, strict=True) if changes else ((), (), (), ())
    return StateSet(
        code=text(meta.get("code")) or key,
        attribute_id=integer(key),
        times_ms=times_ms,
        ends_ms=ends_ms,
        numbers=numbers,
        names=shown,
        enum=enum,
    )


_Change: TypeAlias = tuple[int, int | None, int | None, str | None]
"""Start, end, number and name of a state."""


def _change(row: object, enum: Mapping[int, str]) -> _Change | None:
    """Read one row: state, start and end. If a row begins with a time, its state comes after the times."""
    cells = _cells(row)
    # A state may be a number as large as a time, so the places of the times decide, not the first number.
    first, second, third = [*map(_moment_ms, cells), None, None, None][:3]
    state: list[object]
    if second is not None and (first is None or third is not None):
        start, end, state = second, third, cells[:1]
    elif first is not None and len(cells) > 1:
        start, end, state = first, second, cells[1:] if second is None else cells[2:]
    else:
        report("States", "change", "malformed")
        return None
    number_, name = _state(state, enum)
    return start, None if end is None or end < start else end, number_, name


def _cells(row: object) -> list[object]:
    if isinstance(row, Mapping) and all(isinstance(key, str) and key.isdecimal() for key in row):
        return [row[key] for key in sorted(row, key=int)]
    return list(row) if isinstance(row, list) else list(by_key(row).values())


def _moment_ms(value: object) -> int | None:
    """Read a time. A small number is a state, or the time of a clock that was not set."""
    moment = time_ms(value)
    return moment if moment is not None and moment >= _FIRST_TIME_MS else None


_FIRST_TIME_MS: Final = 10**11
"""1973: smaller numbers are no times of VRM."""


def _state(cells: list[object], enum: Mapping[int, str]) -> tuple[int | None, str | None]:
    """Return number and name of a state. If they differ, the number decides: the name is translated."""
    code = next((code for cell in cells if (code := integer(cell)) is not None), None)
    name = next((cell for cell in cells if isinstance(cell, str) and cell and integer(cell) is None), None)
    if code is None and name is not None:
        # Two numbers may share a name; then the number is unknown.
        same = [known for known, known_name in enum.items() if known_name == name]
        code = same[0] if len(same) == 1 else None
    return code, name if code is None else enum.get(code, name)


_LATITUDE: Final = "lt", 4
_LONGITUDE: Final = "lg", 5
"""Code and idDataAttribute; VRM's document has the one, its answers the other."""
_FENCE: Final = frozenset({"geofence", "geofenceEnabled", "geofenceAlarmActive"})


def widget(name: str, instance: int | None) -> Callable[[JSON], Widget]:
    """Return the reader of any widget."""
    return partial(_widget, name, instance)


def _widget(name: str, instance: int | None, payload: JSON) -> Widget:
    found = by_key(part(payload, "records"))
    return Widget(
        name=name,
        instance=instance,
        data=by_key(found.get("data")),
        meta=by_key(found.get("meta")),
        raw=found,
    )


def position(payload: JSON) -> Position:
    """Read the widget GPS: a summary in `data.attributes`, and the fence beside it."""
    found = by_key(part(payload, "records"))
    data = by_key(found.get("data"))
    attributes = {key: _named(key, item) for key, item in _attributes_of(data).items() if key not in _FENCE}
    shown = summary("GPS", None)({"records": {**found, "data": attributes}})  # type: ignore[dict-item]
    latitude, longitude = (_find(shown, *place) for place in (_LATITUDE, _LONGITUDE))
    ages = [each.seconds_ago for each in (latitude, longitude) if each and each.seconds_ago is not None]
    return Position(
        latitude_deg=_degrees(latitude),
        longitude_deg=_degrees(longitude),
        geofence=geofence(data.get("geofence")),
        geofence_enabled=flag(data.get("geofenceEnabled")),
        geofence_alarm_active=flag(data.get("geofenceAlarmActive")),
        values=shown.values,
        has_old_data=shown.has_old_data,
        seconds_ago=max(ages, default=None) if shown.seconds_ago is None else shown.seconds_ago,
        time=_time_of_age(attributes.get("secondsAgo")),
        raw=found,
    )


def _named(key: str, item: object) -> object:
    """Add the code to a value whose key is its code, not its id."""
    return {"code": key, **item} if isinstance(item, Mapping) and not key.isdigit() else item


def _find(shown: Summary, code: str, attribute_id: int) -> SummaryValue | None:
    """Return a value by its code, or by its idDataAttribute where VRM sends no code."""
    return shown.get(code) or next(
        (value for value in shown if value.code is None and value.attribute_id == attribute_id), None
    )


def _degrees(value: SummaryValue | None) -> float | None:
    return None if value is None else number(value.raw_value)


def hours_of_ac(payload: JSON) -> HoursOfAc:
    """Read the widget HoursOfAc, whose data is null or text."""
    found = by_key(part(payload, "records"))
    data = found.get("data")
    shown = text(data)
    if shown is None and not is_nothing(data):
        report("HoursOfAc", "data", f"{type(data).__name__} instead of str")
    return HoursOfAc(hours=number(data), text=shown or None, raw=found)


def alarms(payload: JSON) -> AlarmWidget:
    """Read the widget Alarm. Where the alarms are in the answer is not documented."""
    records = part(payload, "records")
    # Accept `records` as a list, `records.alarms`, `records.data` and `records.data.alarms`.
    inner = records
    if isinstance(records, Mapping) and "alarms" not in records:
        inner = records.get("data", records)
    listed = inner.get("alarms", inner) if isinstance(inner, Mapping) else inner
    return AlarmWidget(alarms=raised(listed), raw=by_key(records))
