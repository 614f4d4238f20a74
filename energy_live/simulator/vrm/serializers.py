"""JSON of sites, devices, attributes and diagnostics.

The list of sites follows captured answers. The system overview and diagnostics follow the OpenAPI document
and VRM's older text.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from energy_live.simulator.household.day_curves import HouseholdConfig
from energy_live.simulator.household.household import MeterValues
from energy_live.simulator.vrm.attributes import DEVICES, PSEUDO, Attribute, RawValue, format_value
from energy_live.simulator.vrm.sites import LOGGED_EVERY_S, REPLACED_AT, Site

_PERMISSIONS: Final = (
    *("update_settings", "settings", "diagnostics", "share", "rc_classic", "rc_gui_v2"),
    *("rc_gui_v2_extra_arguments", "mqtt_rpc", "vebus", "twoway", "readonly_realtime", "exact_location"),
    *("nodered", "nodered_dash", "nodered_dash_v2", "signalk", "paygo", "dess_config", "dess_view"),
    *("canAlterInstallation", "can_see_group_and_team_members", "support_concurrent_firmware_updates"),
)
_GUI_HASH: Final = "5b1d3f0a7c2e4968b0a1c3d5e7f90213243546576879808192a3b4c5d6e7f801"


def devices(site: Site, now: float) -> Json:
    """Return the records of the system overview: the gateway, the devices, and one replaced device."""
    seen = int(site.logged_at(now))
    listed = [_gateway(site, seen)]
    for kind, instances in site.instances.items():
        if kind not in {"gateway", "system"}:
            listed += [_device(site, kind, instance, seen) for instance in instances]
    replaced: Json = {
        "name": "Solar Charger",
        "customName": None,
        "productCode": "A056",
        "productName": "BlueSolar MPPT 150/70",
        "idSite": site.id,
        "firmwareVersion": "v1.46",
        "lastConnection": REPLACED_AT if site.dc_coupled else False,
        "class": "device-solar-charger",
        "connection": "VE.Direct 2",
        "instance": 261,
        "idDeviceType": 4,
        "settings": [],
    }
    return {"devices": [*listed, replaced], "unconfigured_devices": False}


def _gateway(site: Site, seen: int) -> Json:
    interval: Json = {
        "description": "VRM Log interval",
        "enumData": [{"nameEnum": "1 min", "valueEnum": 60}, {"nameEnum": "15 min", "valueEnum": 900}],
        "idDataAttribute": "15",
        "idDeviceType": "0",
        "idSite": str(site.id),
        "idUser": None,
        "loggedTimestamp": str(seen),
        "loggedValue": int(LOGGED_EVERY_S),
        "timestamp": None,
        "user_name": None,
        "value": None,
    }
    return {
        "name": "Gateway",
        "customName": None,
        "productCode": "",
        "productName": "Cerbo GX",
        "idSite": site.id,
        "firmwareVersion": "v3.55",
        "lastConnection": seen,
        "class": "device-gateway device-icon-venus",
        "settings": [interval],
        "loggingInterval": int(LOGGED_EVERY_S),
        # Null for the demo account, as in the OpenAPI document.
        "identifier": None if site.demo else site.identifier,
        "lastPowerUpOrRestart": int(site.created + 86_400),
        "machineSerialNumber": f"HQ{site.id}",
        "autoUpdate": "Check",
        "updateTo": "Official release",
        "vncSshAuth": True,
        "vncStatus": "Disabled",
        "twoWayCommunication": True,
        "remoteSupportEnabled": False,
        "remoteSupportPort": False,
        "remoteSupport": "disabled",
    }


def _device(site: Site, kind: str, instance: int, seen: int) -> Json:
    device: Json = {
        "name": DEVICES[kind][1],
        "customName": "Utility room" if kind == "temperature" else None,
        "productCode": "A042",
        "productName": DEVICES[kind][1],
        "idSite": site.id,
        "firmwareVersion": "v1.70",
        "lastConnection": seen,
        "class": f"device-{kind}",
        "connection": "VE.Direct 1",
        "instance": instance,
        "idDeviceType": DEVICES[kind][0],
        "settings": [],
    }
    match kind:
        case "temperature":  # no firmware and no class in the document's example
            del device["firmwareVersion"]
            device["class"] = None
        case "vebus":
            units: Json = {f"L{phase}": int(phase <= site.phases) for phase in (1, 2, 3)}
            arrangement = "Single unit" if site.phases == 1 else "three phase system, one unit per phase"
            vid: Json = {"enumValue": arrangement, "devicesPerPhase": units}
            device |= {"productId": "2623", "vmc": "VE.Bus", "vid": vid}
        case "pvinverter":
            device |= {"froniusDeviceType": "Symo", "pL": "AC output", "pdV": "3.18.7-1"}
    return device


def installation(site: Site, now: float, *, full: bool, alarms: Sequence[Json] = ()) -> Json:
    """Return one record of the list of installations, with or without `extended=1` and active alarms."""
    config = site.household.config
    record: Json = {
        "idSite": site.id,
        "accessLevel": site.access_level,
        "owner": True,
        "is_admin": False,
        "name": site.name,
        "identifier": site.identifier,
        "idUser": site.user,
        "pvMax": round(config.pv_peak_w),
        "timezone": config.timezone,
        "phonenumber": None,
        "notes": None,
        "geofence": json.dumps(fence(config)) if site.tracked else None,
        "geofenceEnabled": False,
        "realtimeUpdates": True,
        "restrictNodeRed": False,
        "hasMains": 1,
        "hasGenerator": 0,
        "noDataAlarmTimeout": None,
        "alarmMonitoring": 1,
        "invalidVRMAuthTokenUsedInLogRequest": 0,
        "syscreated": site.created,
        "isPaygo": 0,
        "paygoCurrency": None,
        "paygoTotalAmount": None,
        "inverterChargerControl": 0,
        "remoteConsoleChoice": "rc_gui_v2" if site.tracked else None,
        "favorite": 0,
        "isSystem": 0,
        "shared": False,
        "device_icon": "solar",
    }
    return record | (_overview(site, now, alarms) if full else {})


def _overview(site: Site, now: float, alarms: Sequence[Json]) -> Json:
    local = datetime.fromtimestamp(now, UTC).astimezone(site.household.zone)
    offset = local.utcoffset()
    return {
        "alarm": bool(alarms),
        "last_timestamp": int(site.logged_at(now)),
        "tags": [
            {"idTag": 41, "name": "No alarm", "automatic": True, "source": "predefined"},
            {"idTag": 5021, "name": "home", "automatic": False, "source": "user"},
        ],
        "new_tags": False,
        "current_time": local.strftime("%H:%M"),
        "timezone_offset": 0 if offset is None else round(offset.total_seconds()),
        "images": False,
        "view_permissions": {name: name not in {"paygo", "signalk", "nodered"} for name in _PERMISSIONS},
        "extended": extended(site, now),
        "demo_mode": site.demo,
        "mqtt_webhost": "webmqtt19.example.com",
        "mqtt_host": "mqtt19.example.com",
        "high_workload": False,
        "prices_unavailable": False,
        "currency": {"idCurrency": 1, "code": "EUR", "name": "Euro", "sign": "€"},
        "current_alarms": [each["description"] for each in alarms],
        "num_alarms": len(alarms),
        "last_location_timestamp": int(site.logged_at(now)) if site.tracked else False,
        "avatar_url": f"https://uploads.example.com/{site.id}.jpg" if site.tracked else None,
        "nodered_running": False,
        "premium_features": [],
        "guiHash": _GUI_HASH,
        "GUIv": 1,
    }


Json = dict[str, object]

EXTENDED: Final = (
    *("v", "lt", "lg", "S", "s", "bv", "bs", "bc", "bst", "si1", "si2", "tf", "tl", "tr", "rtt", "ASoc"),
    *("tst", "tsT", "tscn", "ss", "st", "Agl", "GUIv"),
)
"""Attributes in the list of sites with `extended=1`.

No captured site has the battery power (`bp`) or the power of single phases there.
"""

_DUTCH: Final = {
    "Idle": "Rust",
    "Charging": "Opladen",
    "Discharging": "Ontladen",
    "Inverting": "Omvormen",
    "No alarm": "Geen alarm",
}
"""`formattedValue` is in the account's language; `textValue` and enum names are in English."""


def texts(attribute: Attribute, raw: RawValue) -> tuple[str | None, str]:
    """Return `textValue` and `formattedValue` of a value."""
    if raw is None:
        return None, ""
    if attribute.type == "enum":
        name = dict(attribute.enum).get(int(raw), str(raw))
        # Only the text of the battery's state is in lower case.
        return name.lower() if attribute.code == "bst" else name, _DUTCH.get(name, name)
    if attribute.type == "string":
        return None, str(raw)
    return None, format_value(attribute.format, float(raw))


def enum_values(attribute: Attribute) -> list[Json]:
    """Return the members of an enum; names that are numbers are sent as numbers."""
    return [
        {"nameEnum": int(name) if name.isdigit() else name, "valueEnum": value}
        for value, name in attribute.enum
    ]


def fence(config: HouseholdConfig) -> Json:
    """Return a site's geofence, which answers contain as JSON in a string."""
    corners = [
        {"lng": config.longitude - 0.01 * side, "lat": config.latitude + 0.01 * side} for side in (1, -1)
    ]
    return {"id": "geofence", "type": "rectangle", "coords": corners}


def extended(site: Site, now: float) -> list[Json]:
    """Return the attributes of `extended=1` with the values of the last log."""
    at = site.household.at(site.logged_at(now))
    records = [_attribute(site, site.by_code[code], at) for code in EXTENDED if code in site.by_code]
    records += [_computed(site, code, at) for code in PSEUDO]
    status = "Opladen" if at.battery_w > 0.0 else "Ontladen" if at.battery_w < 0.0 else "Rust"
    whole = round(at.soc * 100.0)
    records.append(
        {
            "code": "soc_status",
            "description": "SOC Status",
            "rawValue": whole,
            "formattedValue": status,
            "textValue": status,
            "idDataAttribute": None,
        }
    )
    return records


def _attribute(site: Site, attribute: Attribute, at: MeterValues) -> Json:
    instance = site.instance_of(attribute)
    stamp = None if attribute.code in {"lt", "lg"} else int(at.time)
    record: Json = {
        "idDataAttribute": attribute.id,
        "code": attribute.code,
        "description": attribute.description,
        "formatWithUnit": attribute.format,
        "dataType": attribute.type,
        "idDeviceType": DEVICES[attribute.device][0],
        "timestamp": stamp,
        "dbusServiceType": attribute.service,
        "dbusPath": attribute.path,
    }
    if attribute.code != "tl":  # the tank level has values by instance only
        record |= _values(site, attribute, at, None) | {"instance": instance}
        del record["timestamp"]
        record["timestamp"] = stamp
    if attribute.device not in {"gateway", "system"}:
        record["instances"] = _instances(site, attribute, at)
    if attribute.enum:
        record["dataAttributeEnumValues"] = enum_values(attribute)
    return record


def _values(site: Site, attribute: Attribute, at: MeterValues, instance: int | None) -> Json:
    raw = site.value(attribute, at, instance)
    text, formatted = texts(attribute, raw)
    return {"rawValue": raw, "formattedValue": formatted, "textValue": text}


def _instances(site: Site, attribute: Attribute, at: MeterValues) -> Json | list[Json]:
    """Return values by instance; PHP encodes a map with the only key 0 as a list."""
    instances = site.instances[attribute.device]
    by_number: dict[str, object] = {}
    if attribute.device == "vebus" and attribute.code == "S":
        old: Json = {"rawValue": 0, "formattedValue": "Off", "textValue": "Off", "timestamp": REPLACED_AT}
        by_number["261"] = old
    for number in instances:
        by_number[str(number)] = _values(site, attribute, at, number) | {"timestamp": int(at.time)}
    if set(by_number) == {"0"}:
        return [_values(site, attribute, at, 0) | {"timestamp": int(at.time)}]
    return by_number


def _computed(site: Site, code: str, at: MeterValues) -> Json:
    value = site.computed(code, at)
    parts = [
        {
            "instance": site.instance_of(part),
            "idDataAttribute": part.id,
            "code": part.code,
            "dbusServiceType": part.service,
            "dbusPath": part.path,
            "idDeviceType": DEVICES[part.device][0],
        }
        for part in site.parts(code)
    ]
    return {
        "rawValue": value,
        "formatWithUnit": "" if value is None else "%.0F W",
        "consistsOfAttributeCodes": list(PSEUDO[code][0]),
        "dataAttributes": parts,
        "timestamp": None if value is None else int(at.time),
        "idDataAttribute": None,
        "code": code,
        "description": code.capitalize(),
        "textValue": None,
        "formattedValue": "" if value is None else format_value("%.0F W", value),
    }


def diagnostics(site: Site, now: float) -> list[Json]:
    """Return the last logged value of each attribute and instance, also of replaced devices."""
    at = site.household.at(site.logged_at(now))
    records = [
        _diagnosis(site, attribute, at, instance)
        for attribute in site.attributes
        for instance in site.instances[attribute.device]
    ]
    if site.dc_coupled and "solar" in site.instances:
        replaced = {"instance": 261, "timestamp": REPLACED_AT, "rawValue": 0, "formattedValue": "0 W"}
        records.append(_diagnosis(site, site.by_code["PVP"], at, site.instances["solar"][0]) | replaced)
    return [record | {"id": number} for number, record in enumerate(records, 1)]


def _diagnosis(site: Site, attribute: Attribute, at: MeterValues, instance: int) -> Json:
    values = _values(site, attribute, at, instance)
    record: Json = {
        "idSite": site.id,
        "timestamp": int(at.time),
        "Device": DEVICES[attribute.device][1],
        "instance": instance,
        "idDataAttribute": attribute.id,
        "code": attribute.code,
        "bitmask": 0,
        "description": attribute.description,
        "formatWithUnit": attribute.format,
        "dbusServiceType": attribute.service,
        "dbusPath": attribute.path,
        "rawValue": values["rawValue"],
        "formattedValue": values["formattedValue"],
    }
    if attribute.enum:
        record["dataAttributeEnumValues"] = enum_values(attribute)
    return record
