"""How VRM spells the panels that have a shape of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from energy_core.codec.coerce import flag, is_nothing, number, text
from energy_core.codec.drift import report
from energy_core.codec.json import JSON
from vrm_async.decoding import series
from vrm_async.decoding.alarms import raised
from vrm_async.decoding.php import by_key
from vrm_async.decoding.sites import geofence
from vrm_async.models.widget import AlarmPanel, HoursOfAc, Position, Summary, SummaryValue, Widget
from vrm_async.responses import part

_LATITUDE: Final = "lt", 4
_LONGITUDE: Final = "lg", 5
"""Code and idDataAttribute, as VRM's document and its answers have them."""
_FENCE: Final = frozenset({"geofence", "geofenceEnabled", "geofenceAlarmActive"})


def widget(name: str, instance: int | None) -> Callable[[JSON], Widget]:
    """Make the reader of any panel."""
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
    """Read the panel GPS: attributes below `data.attributes`, as in a summary, and the fence beside them."""
    found = by_key(part(payload, "records"))
    data = by_key(found.get("data"))
    attributes = {
        key: _named(key, item) for key, item in series.attributes_of(data).items() if key not in _FENCE
    }
    shown = series.summary("GPS", None)({"records": {**found, "data": attributes}})  # type: ignore[dict-item]
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
        time=series.logged_at(attributes.get("secondsAgo")),
        raw=found,
    )


def _named(key: str, item: object) -> object:
    """Give a value that is filed under its code, not under its id, that code."""
    return {"code": key, **item} if isinstance(item, Mapping) and not key.isdigit() else item


def _find(shown: Summary, code: str, attribute_id: int) -> SummaryValue | None:
    """Find a value by its code, or where no code is sent by VRM's id of it."""
    return shown.get(code) or next(
        (value for value in shown if value.code is None and value.attribute_id == attribute_id), None
    )


def _degrees(value: SummaryValue | None) -> float | None:
    return None if value is None else number(value.raw_value)


def hours_of_ac(payload: JSON) -> HoursOfAc:
    """Read the panel HoursOfAc, whose data is null, or text."""
    found = by_key(part(payload, "records"))
    data = found.get("data")
    said = text(data)
    if said is None and not is_nothing(data):
        report("HoursOfAc", "data", f"{type(data).__name__} instead of str")
    return HoursOfAc(hours=number(data), text=said or None, raw=found)


def alarm_panel(payload: JSON) -> AlarmPanel:
    """Read the panel Alarm; no document says where in the answer the alarms are."""
    records = part(payload, "records")
    inner = records
    if isinstance(records, Mapping) and "alarms" not in records:
        inner = records.get("data", records)
    listed = inner.get("alarms", inner) if isinstance(inner, Mapping) else inner
    return AlarmPanel(alarms=raised(listed), raw=by_key(records))
