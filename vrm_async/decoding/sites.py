"""How VRM spells users, sites and devices: wire names that differ, and shapes that need a hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from energy_core.codec.coerce import flag, is_nothing, seconds_or_never
from energy_core.codec.columns import slot_writer, stored_fields
from energy_core.codec.drift import report
from energy_core.codec.json import JSON, TypedDecoder, strict_json
from energy_core.codec.structure import model, records
from energy_core.errors import DecodeError
from vrm_async.decoding import fast_answers
from vrm_async.decoding.attributes import extended, parsed, unread_of_one_answer
from vrm_async.decoding.php import items
from vrm_async.models.account import User
from vrm_async.models.lazy_fields import put_load
from vrm_async.models.site import Device, Site, SystemOverview, Tag
from vrm_async.responses import part


def geofence(value: object) -> Mapping[str, object] | None:
    """Read the fence, which is JSON inside a text."""
    if isinstance(value, str) and value:
        try:
            value = strict_json(value.encode("utf-8", "replace"))
        except DecodeError:
            value = None
        if not isinstance(value, dict):
            report("Site", "geofence", "not JSON")
    return value if isinstance(value, Mapping) and value else None


_user = model(User, wire={"access_level": "accessLevel", "access_token_id": "idAccessToken"})
_tag = model(Tag, wire={"id": "idTag"})
_tags = records(_tag, "Tag")
_site = model(
    Site,
    wire={
        "id": "idSite",
        "user_id": "idUser",
        "access_level": "accessLevel",
        "pv_max_w": "pvMax",
        "geofence_enabled": "geofenceEnabled",
        "phone_number": "phonenumber",
        "realtime_updates": "realtimeUpdates",
        "has_mains": "hasMains",
        "has_generator": "hasGenerator",
        "no_data_alarm_timeout_s": "noDataAlarmTimeout",
        "alarm_monitoring": "alarmMonitoring",
        "created": "syscreated",
        "inverter_charger_control": "inverterChargerControl",
        "last_seen": "last_timestamp",
        "timezone_offset_s": "timezone_offset",
        "last_location": "last_location_timestamp",
        "restrict_node_red": "restrictNodeRed",
        "node_red_running": "nodered_running",
        "remote_console": "remoteConsoleChoice",
        "gui_hash": "guiHash",
        "gui_version": "GUIv",
        "is_system": "isSystem",
        "is_paygo": "isPaygo",
        "paygo_currency": "paygoCurrency",
        "paygo_total_amount": "paygoTotalAmount",
        "invalid_token_used": "invalidVRMAuthTokenUsedInLogRequest",
    },
    read={
        "created": seconds_or_never,
        "last_seen": seconds_or_never,
        "last_location": seconds_or_never,
        "invalid_token_used": seconds_or_never,
        "geofence": geofence,
        "tags": _tags,
        "images": items,
        "current_alarms": items,
        "premium_features": items,
        "extended": extended,
    },
)
_sites = records(_site, "Site")
_device = model(
    Device,
    wire={
        "custom_name": "customName",
        "product_code": "productCode",
        "product_name": "productName",
        "firmware_version": "firmwareVersion",
        "device_class": "class",
        "last_connection": "lastConnection",
        "logging_interval_s": "loggingInterval",
        "last_power_up": "lastPowerUpOrRestart",
        "device_type_id": "idDeviceType",
        "machine_serial": "machineSerialNumber",
        "site_id": "idSite",
        "signal_rssi": "signalRSSI",
        "signal_snr": "signalSNR",
        "signal_frequency": "signalFrequency",
        "antenna_type": "antennaType",
        "network_name": "networkName",
        "remote_on_lan": "remoteOnLan",
        "auto_update": "autoUpdate",
        "update_to": "updateTo",
        "vnc_ssh_auth": "vncSshAuth",
        "vnc_status": "vncStatus",
        "vnc_port": "vncPort",
        "two_way_communication": "twoWayCommunication",
        "remote_support_enabled": "remoteSupportEnabled",
        "remote_support_port": "remoteSupportPort",
        "remote_support_ip": "remoteSupportIp",
        "remote_support": "remoteSupport",
        "product_id": "productId",
        "vebus_connection": "vmc",
        "vebus_configuration": "vid",
        "temperature_sensor_connected": "tempSensorConnected",
        "fronius_device_type": "froniusDeviceType",
        "position": "pL",
        "data_manager_version": "pdV",
        "input_type": "inputType",
        "input_state": "inputState",
    },
    read={"last_connection": seconds_or_never, "last_power_up": seconds_or_never},
)
_devices = records(_device, "Device")
_overview = model(SystemOverview, read={"devices": _devices, "unconfigured_devices": flag})


def _read_user(payload: JSON) -> User:
    return _user(part(payload, "user"))


def _straight_user(body: bytes) -> User | None:
    values = fast_answers.user(body)
    if values is None:
        return None
    made: User = _create(User)
    for put, value in zip(_put_user, values, strict=True):
        put(made, value)
    put_load(made, partial(_raw_user, body))
    return made


def _raw_user(body: bytes) -> object:
    return part(strict_json(body), "user")


_create: Final[Callable[[type[User]], User]] = object.__new__
_put_user: Final = tuple(slot_writer(User, name) for name in stored_fields(User) if name != "raw")
user: Final[Callable[[JSON], User]] = TypedDecoder(_read_user, _straight_user, silent=True)
"""Read ``users/me``."""


def _read_sites(payload: JSON) -> tuple[Site, ...]:
    return _sites(part(payload, "records"))


def _straight_sites(body: bytes) -> tuple[Site, ...] | None:
    found = fast_answers.sites(body, unread_of_one_answer())
    if found is None:
        return None
    made = _sites(found)
    for site in made:
        site.put_off_raw(partial(_raw_site, site.raw))
    return made


def _raw_site(record: Mapping[str, object]) -> dict[str, object]:
    return {key: parsed(value) for key, value in record.items()}


sites: Final[Callable[[JSON], tuple[Site, ...]]] = TypedDecoder(_read_sites, _straight_sites)
"""Read ``users/{idUser}/installations``."""


def system_overview(payload: JSON) -> SystemOverview:
    """Read ``installations/{idSite}/system-overview``."""
    found = part(payload, "records")
    if is_nothing(found):
        return SystemOverview()
    if isinstance(found, Mapping) and "devices" not in found:
        report("SystemOverview", "devices", "missing")
    return _overview({"devices": found} if isinstance(found, list) else found)
