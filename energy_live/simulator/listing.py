"""Lists as VRM words them: the installations of a user, the devices of an installation."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Final

from energy_live.simulator.attributes import DEVICES
from energy_live.simulator.records import Json, extended, fence
from energy_live.simulator.sites import LOGGED_EVERY_S, REPLACED_AT, Site

_PERMISSIONS: Final = (
    *("update_settings", "settings", "diagnostics", "share", "rc_classic", "rc_gui_v2"),
    *("rc_gui_v2_extra_arguments", "mqtt_rpc", "vebus", "twoway", "readonly_realtime", "exact_location"),
    *("nodered", "nodered_dash", "nodered_dash_v2", "signalk", "paygo", "dess_config", "dess_view"),
    *("canAlterInstallation", "can_see_group_and_team_members", "support_concurrent_firmware_updates"),
)
_GUI_HASH: Final = "5b1d3f0a7c2e4968b0a1c3d5e7f90213243546576879808192a3b4c5d6e7f801"


def devices(site: Site, now: float) -> Json:
    """Return what the system overview lists: a gateway without instance, devices without class, `false`."""
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
        # The document hides it from the demo account.
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
        case "temperature":  # printed so: without firmware, and of no class
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


def installation(site: Site, now: float, *, full: bool) -> Json:
    """Return one record of the list of installations, with or without `extended=1`."""
    dwelling = site.household.dwelling
    record: Json = {
        "idSite": site.id,
        "accessLevel": site.access_level,
        "owner": True,
        "is_admin": False,
        "name": site.name,
        "identifier": site.identifier,
        "idUser": site.user,
        "pvMax": round(dwelling.pv_peak_w),
        "timezone": dwelling.timezone,
        "phonenumber": None,
        "notes": None,
        "geofence": json.dumps(fence(dwelling)) if site.tracked else None,
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
    return record | (_overview(site, now) if full else {})


def _overview(site: Site, now: float) -> Json:
    local = datetime.fromtimestamp(now, UTC).astimezone(site.household.zone)
    offset = local.utcoffset()
    return {
        "alarm": False,
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
        "current_alarms": [],
        "num_alarms": 0,
        "last_location_timestamp": int(site.logged_at(now)) if site.tracked else False,
        "avatar_url": f"https://uploads.example.com/{site.id}.jpg" if site.tracked else None,
        "nodered_running": False,
        "premium_features": [],
        "guiHash": _GUI_HASH,
        "GUIv": 1,
    }
