"""How VRM spells the panels that have a shape of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from energy_core.http.drift import note
from energy_core.http.readers import is_nothing, number, text
from energy_core.http.request import JSON
from vrm_async import tables
from vrm_async.codec import geofence
from vrm_async.codec_alarms import raised
from vrm_async.envelope import part
from vrm_async.folding import by_key
from vrm_async.models_widgets import AlarmPanel, HoursOfAc, Position, Widget
from vrm_async.panels import Summary

_LATITUDE: Final = "lt"
_LONGITUDE: Final = "lg"


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
    """Read the panel GPS: attributes as in a summary, and the fence beside them."""
    found = by_key(part(payload, "records"))
    data = by_key(found.get("data"))
    fence = data.pop("geofence", None)
    named = {key: _named(key, item) for key, item in data.items()}
    shown = tables.summary("GPS", None)({"records": {**found, "data": named}})  # type: ignore[dict-item]
    return Position(
        latitude_deg=_degrees(shown, _LATITUDE),
        longitude_deg=_degrees(shown, _LONGITUDE),
        geofence=geofence(fence),
        values=shown.values,
        has_old_data=shown.has_old_data,
        seconds_ago=shown.seconds_ago,
        raw=found,
    )


def _named(key: str, item: object) -> object:
    """Give a value that is filed under its code, not under its id, that code."""
    return {"code": key, **item} if isinstance(item, Mapping) and not key.isdigit() else item


def _degrees(shown: Summary, code: str) -> float | None:
    value = shown.get(code)
    return None if value is None else number(value.raw_value)


def hours_of_ac(payload: JSON) -> HoursOfAc:
    """Read the panel HoursOfAc, whose data is null, or text."""
    found = by_key(part(payload, "records"))
    data = found.get("data")
    said = text(data)
    if said is None and not is_nothing(data):
        note("HoursOfAc", "data", f"{type(data).__name__} instead of str")
    return HoursOfAc(hours=number(data), text=said or None, raw=found)


def alarm_panel(payload: JSON) -> AlarmPanel:
    """Read the panel Alarm."""
    found = by_key(part(payload, "records"))
    data = found.get("data")
    listed = data.get("alarms", data) if isinstance(data, Mapping) else data
    return AlarmPanel(alarms=raised(listed), raw=found)
