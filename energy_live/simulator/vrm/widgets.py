"""VRM: widgets with graphs, state changes, summaries and the position.

Graphs follow captured answers, state changes and GPS the OpenAPI document; summaries are guesses.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from energy_live.simulator.household.household import MeterValues
from energy_live.simulator.vrm.attributes import Attribute, format_value
from energy_live.simulator.vrm.serializers import Json, fence, texts
from energy_live.simulator.vrm.sites import LOGGED_EVERY_S, Site
from energy_live.simulator.vrm.stats import extremes

STATES: Final[Mapping[str, tuple[str, ...]]] = {
    "BatteryExternalRelayState": (),
    "BatteryMonitorWarningsAndAlarms": ("Alarm", "ASoc", "AL", "AH", "AHT"),
    "BatteryRelayState": ("Relay",),
    "ChargerRelayState": (),
    "ChargerState": (),
    "EssBatteryLifeState": (),
    "FuelCellState": (),
    "GatewayRelayState": (),
    "GatewayRelayTwoState": (),
    "GeneratorState": (),
    "InputState": (),
    "InverterChargerState": ("S",),
    "InverterChargerWarningsAndAlarms": (),
    "InverterState": (),
    "MPPTState": ("ScMm",),
    "SolarChargerRelayState": (),
    "VeBusState": ("S",),
    "VeBusWarningsAndAlarms": ("eT", "eL", "eO", "eR"),
}
"""Attributes of each widget of state changes; empty if no simulated site has the device."""
SUMMARIES: Final[Mapping[str, tuple[str, ...]]] = {
    "BatterySummary": ("V", "I", "BT", "CE", "SOC", "SOH", "TTG", "Relay"),
    "BMSDiagnostics": (),
    "DCMeter": (),
    "EvChargerSummary": (),
    "GlobalLinkSummary": (),
    "HistoricData": ("H1", "H4", "H7", "H8", "H21", "H22"),
    "IOExtenderInOut": (),
    "LithiumBMS": ("mcV", "McV", "mvc"),
    "MeteorologicalSensorOverview": (),
    "MotorSummary": (),
    "PVInverterStatus": ("pM", "pV1", "pP1", "pE1", "pS"),
    "SolarChargerSummary": ("ScV", "ScI", "ScW", "PVV", "PVP", "ScS", "YT", "YU", "ScERR"),
    "Status": ("IV1", "IP1", "IF1", "OV1", "OP1", "OF", "CV", "CI", "VSOC", "S", "s"),
    "TankSummary": ("tf", "tl", "tr"),
    "TempAirQuality": (),
    "TempSummaryAndGraph": ("tst", "tsT"),
}
"""Attributes of each summary widget; empty if no simulated site has the device."""
_SAMPLED_EVERY_S: Final = 900.0
"""Seconds between two samples of a state."""
Row = tuple[str, int, int]
"""Number of the state as a text, and its start and end in Unix seconds."""
_AXES: Final = {"V": "Battery Voltage", "%%": "Percentage", "A": "Current", "W": "Power"}


def graph(
    site: Site,
    attributes: Iterable[Attribute],
    *,
    instance: int,
    start: float,
    end: float,
    now: float,
    with_extremes: bool,
    max_points: float,
) -> Json:
    """Return the series of each attribute, keyed by its id as a string, with times in Unix seconds.

    A point covers the step that begins at its time. The first step begins at `start`.

    Args:
        site: The site.
        attributes: The attributes.
        instance: Their device.
        start: Unix seconds.
        end: Unix seconds.
        now: Unix seconds; there are no points after it.
        with_extremes: Whether points have minimum and maximum too.
        max_points: Maximum number of points, which determines the length of a step.
    """
    step = max(LOGGED_EVERY_S, -(-(end - start) / max_points // LOGGED_EVERY_S) * LOGGED_EVERY_S)
    logged = [
        (begin, site.household.at(log))
        for begin in _steps(start, min(end, now), step)
        if not site.is_offline(begin, begin + step)
        and (log := site.logged_in(begin, begin + step, now)) is not None
    ]
    data: Json = {}
    meta: Json = {}
    for attribute in attributes:
        if site.has_instance(attribute, instance):
            curve = (
                (
                    int(begin),
                    *_values(site, attribute, (begin, begin + step), at, instance, wide=with_extremes),
                )
                for begin, at in logged
            )
            data[str(attribute.id)] = [point for point in curve if len(point) > 1]
            meta[str(attribute.id)] = _meta(attribute)
    # PHP encodes an empty map as a list.
    return {"data": data or [], "meta": meta or [], "instance": instance}


def _steps(start: float, end: float, step: float) -> Iterator[float]:
    while start < end:
        yield start
        start += step


def _values(
    site: Site,
    attribute: Attribute,
    edges: tuple[float, float],
    at: MeterValues,
    instance: int,
    *,
    wide: bool,
) -> Sequence[float]:
    """Return a point's mean, or its mean, minimum and maximum."""
    if wide:
        return extremes(site, attribute.code, *edges) or ()
    value = site.number(attribute.code, at, instance)
    return () if value is None else (value,)


def _meta(attribute: Attribute) -> Json:
    unit = attribute.format.rpartition(" ")[2]
    return {
        "code": attribute.code,
        "description": attribute.description,
        "formatValueOnly": attribute.format.partition(" ")[0],
        "formatWithUnit": attribute.format,
        "axisGroup": _AXES.get(unit),
    }


def states(site: Site, name: str, *, instance: int | None, start: float, end: float) -> Json:
    """Return state changes: rows of state, start and end (Unix seconds) for each attribute.

    A state is its number as a text; `enums` has the names. A list with one row is encoded as an object, as in
    the OpenAPI document.
    """
    attributes = _present(site, STATES[name], instance)
    data: Json = {}
    buckets: Json = {}
    for attribute in attributes:
        samples, rows = _rows(site, attribute, start, end)
        data[str(attribute.id)] = _as_object(rows[0]) if len(rows) == 1 else rows
        buckets[str(attribute.id)] = {
            "resampled": False,
            "original count": samples,
            "resampled count": len(rows),
            "smallest gap": min((int(row[2]) - int(row[1]) for row in rows), default=0),
        }
    return {
        "data": data,
        "meta": {str(one.id): _meta(one) for one in attributes},
        "enums": {str(one.id): {str(value): label for value, label in one.enum} for one in attributes},
        "sort": {
            str(one.id): {str(value): index for index, (value, _) in enumerate(one.enum)}
            for one in attributes
        },
        "buckets": buckets,
    }


def _rows(site: Site, attribute: Attribute, start: float, end: float) -> tuple[int, list[Row]]:
    """Return the number of samples, and one row for each time that a state lasted."""
    rows: list[Row] = []
    samples = 0
    begin = start
    while begin < end:
        samples += 1
        after = min(begin + _SAMPLED_EVERY_S, end)
        state = str(site.value(attribute, site.household.at(begin)))
        if rows and rows[-1][0] == state:
            state, began, _ = rows.pop()
        else:
            began = int(begin)
        rows.append((state, began, int(after)))
        begin = after
    return samples, rows


def _as_object(row: Row) -> Json:
    return {str(index): cell for index, cell in enumerate(row)}


def summary(site: Site, name: str, *, instance: int | None, now: float) -> Json:
    """Return the last values; without attributes if the instance does not exist."""
    logged = site.logged_at(now)
    at = site.household.at(logged)
    attributes = _present(site, SUMMARIES[name], instance)
    ago = int(now - logged)
    data: Json = {
        "hasOldData": False,
        "secondsAgo": {"value": ago, "valueFormattedWithUnit": f"{ago} secs"},
    }
    for attribute in attributes:
        value = site.value(attribute, at, instance)
        text, formatted = texts(attribute, value)
        plain = formatted
        if attribute.type == "float" and value is not None:
            plain = format_value(attribute.format.partition(" ")[0], float(value))
        data[str(attribute.id)] = {
            "id": attribute.id,
            "code": attribute.code,
            "idDataAttribute": str(attribute.id),
            "value": None if value is None else str(value),
            "valueFormattedValueOnly": plain,
            "valueFormattedWithUnit": formatted,
            "nameEnum": text,
            "instance": str(instance if instance is not None else site.instance_of(attribute)),
            "secondsAgo": {"value": ago, "valueFormattedWithUnit": f"{ago} secs"},
            "hasOldData": False,
            "isValid": 1,
        }
    return {
        "data": data,
        "meta": {str(one.id): _meta(one) | {"dataType": one.type} for one in attributes},
        "instance": instance or 0,
        "attributeOrder": [one.id for one in attributes],
    }


def _present(site: Site, codes: Sequence[str], instance: int | None) -> list[Attribute]:
    found = [site.by_code[code] for code in codes if code in site.by_code]
    return [one for one in found if site.has_instance(one, instance)]


def position(site: Site, now: float) -> Json:
    """Return the GPS widget: attributes as text, and the geofence as JSON in a string."""
    logged = site.logged_at(now)
    at = site.household.at(logged)
    position_attributes = [site.by_code[code] for code in ("lt", "lg")]
    attributes: Json = {
        str(one.id): _position_attribute(site, one, at, int(now - logged)) for one in position_attributes
    }
    when = datetime.fromtimestamp(logged, UTC)
    return {
        "data": {
            "attributes": {
                **attributes,
                "secondsAgo": {
                    "value": str(int(logged)),
                    "valueFormattedWithUnit": f"{when:%Y-%m-%d %H:%M:%S}",
                },
                "hasOldData": False,
            },
            "geofence": json.dumps(fence(site.household.config)),
            "geofenceAlarmActive": None,
            "geofenceEnabled": "0",
        },
        "meta": {str(one.id): _meta(one) for one in position_attributes},
    }


def _position_attribute(site: Site, attribute: Attribute, at: MeterValues, ago: int) -> Json:
    value = site.value(attribute, at)
    _, formatted = texts(attribute, value)
    plain = attribute.format.partition(" ")[0]
    return {
        "code": attribute.code,
        "dataAttributeName": attribute.description,
        "dataType": attribute.type,
        "dbusPath": attribute.path,
        "dbusServiceType": attribute.service,
        "formatValueOnly": plain,
        "formatWithUnit": attribute.format,
        "formattedValue": formatted,
        "hasOldData": False,
        "idDataAttribute": str(attribute.id),
        "instance": site.instance_of(attribute),
        "isKeyDataAttribute": str(int(attribute.code == "lt")),
        "isValid": "1",
        "nameEnum": None,
        "rawValue": str(value),
        "secondsAgo": str(ago),
        "secondsToNextLog": str(int(LOGGED_EVERY_S)),
        "value": str(value),
        "valueEnum": None,
        "valueFloat": str(value),
        "valueFormattedValueOnly": formatted.partition(" ")[0],
        "valueFormattedWithUnit": formatted,
        "valueString": None,
    }
