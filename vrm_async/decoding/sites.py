"""Decoding of users, sites and devices."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from threading import RLock
from typing import Final

from energy_core.codec.coerce import flag, is_nothing, seconds_or_never
from energy_core.codec.drift import Drift, collect_drift, current_drift, report
from energy_core.codec.json import JSON, TypedDecoder, strict_json
from energy_core.codec.lazy_value import make_lazy
from energy_core.codec.structure import model, records
from energy_core.errors import DecodeError
from vrm_async.decoding import attributes, fast_answers
from vrm_async.decoding.php import items
from vrm_async.models.account import User
from vrm_async.models.attribute import Attributes
from vrm_async.models.site import Device, Site, SystemOverview, Tag
from vrm_async.responses import part


def geofence(value: object) -> Mapping[str, object] | None:
    """Read a fence, which is JSON inside a text."""
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
        "extended": attributes.unless_lazy,
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


def user(payload: JSON) -> User:
    """Read ``users/me``."""
    return _user(part(payload, "user"))


def _read_sites(payload: JSON) -> tuple[Site, ...]:
    return _with_lazy_attributes(_sites(part(payload, "records")))


def _fast_sites(body: bytes) -> tuple[Site, ...] | None:
    found = fast_answers.sites(body)
    return None if found is None else _with_lazy_attributes(_sites(found))


sites: Final[Callable[[JSON], tuple[Site, ...]]] = TypedDecoder(_read_sites, _fast_sites)
"""Read ``users/{idUser}/installations``. Attributes are decoded at first access, unless drift is strict."""


def _with_lazy_attributes(found: tuple[Site, ...]) -> tuple[Site, ...]:
    drift = current_drift()
    if drift is not None and drift.strict:
        return found
    for site in found:
        value = site.raw.get("extended")
        if isinstance(value, bytes):  # the record has no parsed attributes, so its `raw` is lazy too
            make_lazy(site, _read_lazy, _LazySite(site.raw, drift), "extended", "raw")
        elif value and isinstance(value, list | Mapping):
            make_lazy(site, _read_lazy, _LazySite(site.raw, drift), "extended")
    return found


class _LazySite:
    """Decodes the attributes and the record of one site; deviations count in the drift of its answer."""

    __slots__ = ("_attributes", "_drift", "_record")

    def __init__(self, record: Mapping[str, object], drift: Drift | None) -> None:
        self._record = record
        self._drift = drift
        self._attributes: Attributes | None = None

    def read(self, name: str) -> object:
        value = self._record["extended"]
        if name == "raw":
            return {**self._record, "extended": strict_json(value) if isinstance(value, bytes) else value}
        with _one_at_a_time:  # each thread that reads the field would count the deviations again
            if self._attributes is None:
                with collect_drift(self._drift) if self._drift is not None else nullcontext():
                    self._attributes = attributes.of_site(value)
            return self._attributes


_one_at_a_time: Final = RLock()


def _read_lazy(_: object, name: str, source: _LazySite) -> object:
    return source.read(name)


def system_overview(payload: JSON) -> SystemOverview:
    """Read ``installations/{idSite}/system-overview``."""
    found = part(payload, "records")
    if is_nothing(found):
        return SystemOverview()
    # A bare list of devices is accepted too.
    if isinstance(found, Mapping) and "devices" not in found:
        report("SystemOverview", "devices", "missing")
    return _overview({"devices": found} if isinstance(found, list) else found)
