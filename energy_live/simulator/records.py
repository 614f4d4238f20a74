"""Values as VRM words them: the extended attributes of an installation, and its diagnostics."""

from __future__ import annotations

from typing import Final

from energy_live.simulator.attributes import DEVICES, PSEUDO, Attribute, Raw, spelt
from energy_live.simulator.day import Dwelling
from energy_live.simulator.plant import Moment
from energy_live.simulator.sites import REPLACED_AT, Site

Json = dict[str, object]

EXTENDED: Final = (
    *("v", "lt", "lg", "S", "s", "bv", "bs", "bc", "bst", "si1", "si2", "tf", "tl", "tr", "rtt", "ASoc"),
    *("tst", "tsT", "tscn", "ss", "st", "Agl", "GUIv"),
)
"""The attributes that the list of installations carries with `extended=1`.

No captured site has the battery's power (`bp`) or the power of single phases there.
"""

_DUTCH: Final = {
    "Idle": "Rust",
    "Charging": "Opladen",
    "Discharging": "Ontladen",
    "Inverting": "Omvormen",
    "No alarm": "Geen alarm",
}
"""`formattedValue` follows the account's language, `textValue` and the enum's names do not."""


def texts(attribute: Attribute, raw: Raw) -> tuple[str | None, str]:
    """Return a value's `textValue` and `formattedValue`."""
    if raw is None:
        return None, ""
    if attribute.type == "enum":
        name = dict(attribute.enum).get(int(raw), str(raw))
        # The text of the battery's state alone is in small letters.
        return name.lower() if attribute.code == "bst" else name, _DUTCH.get(name, name)
    if attribute.type == "string":
        return None, str(raw)
    return None, spelt(attribute.format, float(raw))


def enum_values(attribute: Attribute) -> list[Json]:
    """Return an enum's members; a name that is a number is a number."""
    return [
        {"nameEnum": int(name) if name.isdigit() else name, "valueEnum": value}
        for value, name in attribute.enum
    ]


def fence(dwelling: Dwelling) -> Json:
    """Return the fence around a site, which the answers carry as JSON in a string."""
    corners = [
        {"lng": dwelling.longitude - 0.01 * side, "lat": dwelling.latitude + 0.01 * side} for side in (1, -1)
    ]
    return {"id": "geofence", "type": "rectangle", "coords": corners}


def extended(site: Site, now: float) -> list[Json]:
    """Return what `extended=1` adds, as of the last log."""
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


def _attribute(site: Site, attribute: Attribute, at: Moment) -> Json:
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
    if attribute.code != "tl":  # the tank's level is only there by instance
        record |= _shown(site, attribute, at, None) | {"instance": instance}
        del record["timestamp"]
        record["timestamp"] = stamp
    if attribute.device not in {"gateway", "system"}:
        record["instances"] = _instances(site, attribute, at)
    if attribute.enum:
        record["dataAttributeEnumValues"] = enum_values(attribute)
    return record


def _shown(site: Site, attribute: Attribute, at: Moment, instance: int | None) -> Json:
    raw = site.show(attribute, at, instance)
    text, formatted = texts(attribute, raw)
    return {"rawValue": raw, "formattedValue": formatted, "textValue": text}


def _instances(site: Site, attribute: Attribute, at: Moment) -> Json | list[Json]:
    """PHP makes a list of a map whose only key is 0."""
    instances = site.instances[attribute.device]
    by_number: dict[str, object] = {}
    if attribute.device == "vebus" and attribute.code == "S":
        old: Json = {"rawValue": 0, "formattedValue": "Off", "textValue": "Off", "timestamp": REPLACED_AT}
        by_number["261"] = old
    for number in instances:
        by_number[str(number)] = _shown(site, attribute, at, number) | {"timestamp": int(at.time)}
    if set(by_number) == {"0"}:
        return [_shown(site, attribute, at, 0) | {"timestamp": int(at.time)}]
    return by_number


def _computed(site: Site, code: str, at: Moment) -> Json:
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
        "formattedValue": "" if value is None else spelt("%.0F W", value),
    }


def diagnostics(site: Site, now: float) -> list[Json]:
    """Return the last logged value of everything, one record an attribute and instance, stale ones too."""
    at = site.household.at(site.logged_at(now))
    records = [
        _diagnosis(site, attribute, at, instance)
        for attribute in site.attributes
        for instance in site.instances[attribute.device]
    ]
    if site.dc_coupled and "solar" in site.instances:
        frozen = {"instance": 261, "timestamp": REPLACED_AT, "rawValue": 0, "formattedValue": "0 W"}
        records.append(_diagnosis(site, site.by_code["PVP"], at, site.instances["solar"][0]) | frozen)
    return [record | {"id": number} for number, record in enumerate(records, 1)]


def _diagnosis(site: Site, attribute: Attribute, at: Moment, instance: int) -> Json:
    shown = _shown(site, attribute, at, instance)
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
        "rawValue": shown["rawValue"],
        "formattedValue": shown["formattedValue"],
    }
    if attribute.enum:
        record["dataAttributeEnumValues"] = enum_values(attribute)
    return record
