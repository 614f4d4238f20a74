"""Lists as VRM words them: the installations of a user, the devices of an installation."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from energy_live.simulator.attributes import DEVICES
from energy_live.simulator.records import Json, extended
from energy_live.simulator.sites import LOGGED_EVERY_S, REPLACED_AT, Site

_PERMISSIONS: Final = (
    *("update_settings", "settings", "diagnostics", "share", "rc_classic", "rc_gui_v2", "mqtt_rpc", "vebus"),
    *("twoway", "exact_location", "nodered", "nodered_dash", "signalk", "paygo", "dess_config", "dess_view"),
    "canAlterInstallation",
)


def devices(site: Site, now: float) -> Json:
    """Return what the system overview lists: a gateway without instance, devices without class, `false`."""
    seen = int(site.logged_at(now))
    listed: list[Json] = [
        {
            "name": "Gateway",
            "productCode": "",
            "productName": "Cerbo GX",
            "firmwareVersion": "v3.55",
            "lastConnection": seen,
            "class": "device-gateway device-icon-venus",
            "loggingInterval": int(LOGGED_EVERY_S),
            "lastPowerUpOrRestart": int(site.created + 86_400),
            "machineSerialNumber": f"HQ{site.id}",
            "identifier": None,
        }
    ]
    for kind, instances in site.instances.items():
        if kind in {"gateway", "system"}:
            continue
        for instance in instances:
            device: Json = {
                "name": DEVICES[kind][1],
                "productCode": "A042",
                "productName": DEVICES[kind][1],
                "customName": "",
                "lastConnection": seen,
                "class": None if kind == "temperature" else f"device-{kind}",
                "instance": instance,
                "idDeviceType": DEVICES[kind][0],
            }
            if kind != "temperature":
                device["firmwareVersion"] = "v1.70"
            listed.append(device)
    listed.append(
        {
            "name": "Solar Charger",
            "productCode": "A056",
            "productName": "BlueSolar MPPT 150/70",
            "firmwareVersion": "v1.46",
            "lastConnection": REPLACED_AT if site.dc_coupled else False,
            "class": "device-solar-charger",
            "instance": 261,
            "idDeviceType": 4,
        }
    )
    return {"devices": listed, "unconfigured_devices": False}


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
        "geofence": None,
        "geofenceEnabled": False,
        "realtimeUpdates": True,
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
        "favorite": 0,
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
        "last_location_timestamp": False,
        "avatar_url": None,
        "nodered_running": False,
        "premium_features": [],
        "GUIv": 1,
    }
