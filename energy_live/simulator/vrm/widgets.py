"""VRM's widgets: graphs, state changes and summaries."""

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
"""The widgets of state changes, each with the attributes it shows; none where no site has the device."""
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
"""The widgets of newest values, each with the attributes it shows."""
_SAMPLED_EVERY_S: Final = 900.0
"""How finely changes of state are looked for."""
Row = tuple[str, int, int]
"""The text of a state's number, and the unix seconds at which the state began and ended."""
_AXES: Final = {"V": "Battery Voltage", "%%": "Percentage", "A": "Current", "W": "Power"}


def graph(
    site: Site,
    attributes: Iterable[Attribute],
    *,
    instance: int,
    start: float,
    end: float,
    now: float,
    extremes_too: bool,
    most: float,
) -> Json:
    """Return series keyed by the attribute's number as a string, in unix seconds, beginning at `start`.

    A point stands for the step that begins with it: it shows what was logged in there, not at its time.
    There are at most `most` points.
    """
    step = max(LOGGED_EVERY_S, -(-(end - start) / most // LOGGED_EVERY_S) * LOGGED_EVERY_S)
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
                    *_values(site, attribute, (begin, begin + step), at, instance, wide=extremes_too),
                )
                for begin, at in logged
            )
            data[str(attribute.id)] = [point for point in curve if len(point) > 1]
            meta[str(attribute.id)] = _meta(attribute)
    # PHP spells an empty map as a list.
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
    """Return a point's mean, or its mean, least and most."""
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
    """Return the changes of discrete states: rows of state, start and end (unix s) for each attribute.

    A state is the text of its number; `enums` has the names. PHP makes one object of a list of one row.
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
            str(one.id): {str(value): place for place, (value, _) in enumerate(one.enum)}
            for one in attributes
        },
        "buckets": buckets,
    }


def _rows(site: Site, attribute: Attribute, start: float, end: float) -> tuple[int, list[Row]]:
    """Return how many logs there are, and a row for each stretch of one state."""
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
    return {str(place): cell for place, cell in enumerate(row)}


def summary(site: Site, name: str, *, instance: int | None, now: float) -> Json:
    """Return the last values; of an instance that is not there only that there are none."""
    logged = site.logged_at(now)
    at = site.household.at(logged)
    attributes = _present(site, SUMMARIES[name], instance)
    ago = int(now - logged)
    data: Json = {
        "hasOldData": False,
        "secondsAgo": {"value": ago, "valueFormattedWithUnit": f"{ago} secs"},
    }
    for attribute in attributes:
        shown = site.value(attribute, at, instance)
        text, formatted = texts(attribute, shown)
        plain = formatted
        if attribute.type == "float" and shown is not None:
            plain = format_value(attribute.format.partition(" ")[0], float(shown))
        data[str(attribute.id)] = {
            "id": attribute.id,
            "code": attribute.code,
            "idDataAttribute": str(attribute.id),
            "value": None if shown is None else str(shown),
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
    """Return the GPS widget: attributes as text, and a fence whose shape is JSON in a string."""
    logged = site.logged_at(now)
    at = site.household.at(logged)
    places = [site.by_code[code] for code in ("lt", "lg")]
    attributes: Json = {str(one.id): _placed(site, one, at, int(now - logged)) for one in places}
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
            "geofence": json.dumps(fence(site.household.dwelling)),
            "geofenceAlarmActive": None,
            "geofenceEnabled": "0",
        },
        "meta": {str(one.id): _meta(one) for one in places},
    }


def _placed(site: Site, attribute: Attribute, at: MeterValues, ago: int) -> Json:
    shown = site.value(attribute, at)
    _, formatted = texts(attribute, shown)
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
        "rawValue": str(shown),
        "secondsAgo": str(ago),
        "secondsToNextLog": str(int(LOGGED_EVERY_S)),
        "value": str(shown),
        "valueEnum": None,
        "valueFloat": str(shown),
        "valueFormattedValueOnly": formatted.partition(" ")[0],
        "valueFormattedWithUnit": formatted,
        "valueString": None,
    }
