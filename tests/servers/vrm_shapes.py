"""The shapes of VRM's answers, written by hand from its documents and captured answers.

A shape is a type, a tuple of types, a list with the shape of its items, or a mapping of member to shape.
`...` as a key stands for any key. A member whose name ends with `?` may be absent. Any other member must be
there, and a member that is not named is an error. `Either` fits where one of its shapes fits.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

START = datetime(2026, 6, 1, 10, tzinfo=UTC)
NOW = int(START.timestamp())
NONE = type(None)


class Either:
    """One of several shapes."""

    def __init__(self, *shapes: object) -> None:
        self.shapes = shapes


NUMBER = (int, float)
TEXT = (str, NONE)

ENUM_VALUES = [{"nameEnum": (str, int), "valueEnum": int}]
META = {
    ...: {"code": str, "description": str, "formatValueOnly": str, "formatWithUnit": str, "axisGroup?": TEXT}
}
PLACE = {
    **dict.fromkeys(("code", "dataAttributeName", "dataType", "dbusPath", "dbusServiceType"), str),
    **dict.fromkeys(("formatValueOnly", "formatWithUnit", "formattedValue", "idDataAttribute"), str),
    **dict.fromkeys(("isKeyDataAttribute", "isValid", "rawValue", "secondsAgo", "secondsToNextLog"), str),
    **dict.fromkeys(("value", "valueFormattedValueOnly", "valueFormattedWithUnit"), str),
    **dict.fromkeys(("nameEnum", "valueEnum", "valueFloat", "valueString"), TEXT),
    "hasOldData": bool,
    "instance": int,
}
GPS = {
    "data": {
        "attributes": {
            "4": PLACE,
            "5": PLACE,
            "secondsAgo": {"value": str, "valueFormattedWithUnit": str},
            "hasOldData": bool,
        },
        "geofence": TEXT,
        "geofenceAlarmActive": TEXT,
        "geofenceEnabled": str,
    },
    "meta": META,
}
STATES = {
    "data": {...: Either({"0": str, "1": int, "2": int}, [[(str, int)]])},
    "meta": META,
    "enums": {...: {...: str}},
    "sort": {...: {...: int}},
    "buckets": {
        ...: {
            "resampled": bool,
            **dict.fromkeys(("original count", "resampled count", "smallest gap"), int),
        }
    },
}
DEVICE = {
    "name": str,
    "customName": TEXT,
    "productCode": str,
    "productName?": str,
    "idSite": int,
    "firmwareVersion?": str,
    "lastConnection": (int, bool),
    "class": TEXT,
    "connection?": str,
    "instance?": int,
    "idDeviceType?": int,
    "settings": [
        {
            "description": str,
            "enumData": ENUM_VALUES,
            **dict.fromkeys(("idDataAttribute", "idDeviceType", "idSite", "loggedTimestamp"), str),
            **dict.fromkeys(("idUser", "timestamp", "user_name"), TEXT),
            "loggedValue": int,
            "value": (int, NONE),
        }
    ],
    "loggingInterval?": (int, bool),
    "identifier?": TEXT,
    "lastPowerUpOrRestart?": (int, bool),
    "machineSerialNumber?": TEXT,
    **dict.fromkeys(("autoUpdate?", "updateTo?", "vncStatus?", "remoteSupport?", "froniusDeviceType?"), str),
    **dict.fromkeys(("vncSshAuth?", "twoWayCommunication?", "remoteSupportEnabled?"), bool),
    "remoteSupportPort?": (int, bool),
    **dict.fromkeys(("productId?", "vmc?", "pL?"), (str, bool)),
    "pdV?": str,
    "vid?": {"enumValue": str, "devicesPerPhase": {"L1": int, "L2": int, "L3": int}},
}
RULE = {
    "AlarmEnabled": int,
    "NotifyAfterSeconds": int,
    **dict.fromkeys(("highAlarm?", "highAlarmHysteresis?", "lowAlarm?", "lowAlarmHysteresis?"), NUMBER),
    "idDataAttribute": int,
    "instance": int,
    "idDataAttributeLimit": int,
}
ALARMS = {
    "rateLimited": bool,
    "alarms": [RULE],
    "devices": [
        {
            **dict.fromkeys(("idSite", "instance", "lastConnection", "secondsAgo", "isValid"), int),
            **dict.fromkeys(("idDeviceType", "productIdAsReceived"), int),
            **dict.fromkeys(("deviceName", "productName", "customProductName", "firmwareVersion"), str),
            "connection": TEXT,
            "customName": TEXT,
            "identifier": str,
        }
    ],
    "users": [
        {
            **dict.fromkeys(("idUser", "idSite", "accessLevel"), int),
            **dict.fromkeys(("receivesAlarmNotifications", "receivesReports"), int),
            **dict.fromkeys(("email", "name", "avatar_url"), str),
            "muted": bool,
        }
    ],
    "attributes": [
        {
            "idDataAttribute": int,
            "code": str,
            "description": str,
            "targetTable": str,
            "idDeviceType": int,
            "formatWithUnit": str,
            "dataType": str,
            "enumValues": ENUM_VALUES,
        }
    ],
}
DIAGNOSTIC = {
    **dict.fromkeys(("idSite", "timestamp", "instance", "idDataAttribute", "bitmask", "id"), int),
    **dict.fromkeys(("Device", "description", "formatWithUnit", "code", "formattedValue"), str),
    "dbusServiceType": TEXT,
    "dbusPath": TEXT,
    "rawValue": (str, int, float, NONE),
    "dataAttributeEnumValues?": ENUM_VALUES,
}
ESS = {
    **dict.fromkeys(
        ("batteryCapacity", "batteryCosts", "buyPriceType", "chargePower", "dischargePower"), NUMBER
    ),
    **dict.fromkeys(("gridSell", "maxPowerFromGrid", "maxPowerToGrid", "sellPriceType"), NUMBER),
    "batteryFlowRestriction": str,
    "isOn": bool,
    "periodicFullChargeDuration": (int, float, NONE),
    **dict.fromkeys(("mode", "operatingMode", "idSite"), int),
    **dict.fromkeys(("createdOn", "updatedOn"), str),
}
ESS_SENT = {
    **dict.fromkeys(("batteryCapacity", "batteryCosts", "chargePower", "dischargePower"), 10),
    **dict.fromkeys(("maxPowerFromGrid", "maxPowerToGrid", "gridSell", "buyPriceType", "sellPriceType"), 1),
    "batteryFlowRestriction": "unrestricted",
    "isOn": True,
    "periodicFullChargeDuration": None,
}
PERIOD = {"totals": {...: (int, float, bool)}, "percentages": {...: int}}
INVITED = {
    **dict.fromkeys(("personalMessage", "inviteKey", "inviterName"), str),
    "inviteTimestamp": int,
}
ASKED = {"inviteeName": str, "idUser": int, "inviteTimestamp": int}
ATTRIBUTE = {
    "idDataAttribute": int,
    **dict.fromkeys(("code", "description", "formatWithUnit", "dataType"), str),
    "idDeviceType": int,
    "textValue?": TEXT,
    "instance?": int,
    "timestamp": (int, NONE),
    "dbusServiceType": TEXT,
    "dbusPath": TEXT,
    "rawValue?": (str, int, float, NONE),
    "formattedValue?": str,
    "instances?": (dict, list),
    "dataAttributeEnumValues?": ENUM_VALUES,
}
COMPUTED = {
    "rawValue": (int, float, NONE),
    "formatWithUnit": str,
    "consistsOfAttributeCodes": [str],
    "dataAttributes": [
        {
            **dict.fromkeys(("instance", "idDataAttribute", "idDeviceType"), int),
            **dict.fromkeys(("code", "dbusServiceType", "dbusPath"), str),
        }
    ],
    "timestamp": (int, NONE),
    "idDataAttribute": NONE,
    "code": str,
    "description": str,
    "textValue": NONE,
    "formattedValue": str,
}
CHARGE_STATUS = {
    **dict.fromkeys(("code", "description", "formattedValue", "textValue"), str),
    "rawValue": int,
    "idDataAttribute": NONE,
}
SITE = {
    **dict.fromkeys(("idSite", "accessLevel", "idUser", "pvMax", "hasMains", "hasGenerator"), int),
    **dict.fromkeys(("alarmMonitoring", "invalidVRMAuthTokenUsedInLogRequest", "syscreated", "isPaygo"), int),
    **dict.fromkeys(("inverterChargerControl", "favorite", "isSystem"), int),
    **dict.fromkeys(("owner", "is_admin", "geofenceEnabled", "realtimeUpdates", "restrictNodeRed"), bool),
    "shared": bool,
    **dict.fromkeys(("name", "identifier", "timezone", "device_icon"), str),
    **dict.fromkeys(("phonenumber", "notes", "geofence", "paygoCurrency", "paygoTotalAmount"), TEXT),
    "noDataAlarmTimeout": (int, NONE),
    "remoteConsoleChoice": TEXT,
}
EXTENDED_SITE = {
    **SITE,
    **dict.fromkeys(("alarm", "new_tags", "images", "demo_mode", "high_workload"), bool),
    **dict.fromkeys(("prices_unavailable", "nodered_running"), bool),
    **dict.fromkeys(("last_timestamp", "timezone_offset", "num_alarms", "GUIv"), int),
    **dict.fromkeys(("current_time", "mqtt_webhost", "mqtt_host", "guiHash"), str),
    "tags": [{"idTag": int, "name": str, "automatic": bool, "source": str}],
    "view_permissions": {...: bool},
    "extended": [dict],
    "currency": {"idCurrency": int, "code": str, "name": str, "sign": str},
    "current_alarms": [str],
    "last_location_timestamp": (int, bool),
    "avatar_url": TEXT,
    "premium_features": [str],
}
ROW = {
    **dict.fromkeys(("Installation name", "Battery Voltage", "Battery %", "Battery Mode", "Load"), str),
    **dict.fromkeys(("Solar Yield", "Grid", "Generator", "Tanks", "Temperature", "Last Update"), str),
}
WIDGET = {
    "idCustomWidget": int,
    "name": str,
    "onlyAdmins": int,
    "yAxisScaling": int,
    "parameters": dict,
}
DEFINITION = dict.fromkeys(("code", "dataType", "description", "formatWithUnit"), str)
OVERVIEW_SENT = {"columns": {}, "siteIds": [], "onlyVisible": True, "jsonResponse": True}
TAG_CHANGED = {"idSite": int, "data": [{"tag": str, "source": str}]}
ALARM_SENT = {
    "idDataAttribute": 143,
    "instance": 0,
    "AlarmEnabled": 1,
    "NotifyAfterSeconds": 60,
    "lowAlarm": 46.0,
}
IDENTIFIER = {"installation_identifier": "c0619ab10001"}
RANGE = f"start={NOW - 86_400}&end={NOW}"


def misfits(shape: object, value: object, path: str = "") -> Iterator[str]:
    """Yield the differences between a value and its shape."""
    if isinstance(shape, Either):
        if all(list(misfits(one, value)) for one in shape.shapes):
            yield f"{path}: no shape fits {value!r:.80}"
    elif isinstance(shape, list) and isinstance(value, list):
        for number, item in enumerate(value):
            yield from misfits(shape[0], item, f"{path}[{number}]")
    elif isinstance(shape, dict) and isinstance(value, dict):
        yield from _members(shape, value, path)
    elif isinstance(shape, list | dict):
        yield f"{path}: {type(value).__name__} instead of {type(shape).__name__}"
    elif type(value) not in (shape if isinstance(shape, tuple) else (shape,)):
        yield f"{path}: {type(value).__name__}"


def _members(shape: dict, value: dict, path: str) -> Iterator[str]:
    known = {key if key is ... else key.removesuffix("?"): one for key, one in shape.items()}
    needed = {key for key in shape if key is not ... and not key.endswith("?")}
    yield from (f"{path}.{key}: missing" for key in needed - value.keys())
    for key, item in value.items():
        if key in known or ... in known:
            yield from misfits(known.get(key, known.get(...)), item, f"{path}.{key}")
        else:
            yield f"{path}.{key}: not documented"
