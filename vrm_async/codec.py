"""How VRM spells the models: every wire name that differs, and every shape that needs a hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from functools import partial
from threading import RLock
from typing import Final

from attrs import frozen

from energy_core.errors import DecodeError
from energy_core.http import bounded
from energy_core.http.bounded import REFUSALS, Documented
from energy_core.http.decode import strict_json
from energy_core.http.drift import Drift, collecting, collector, note
from energy_core.http.lenient import model, records
from energy_core.http.readers import flag, integer, is_nothing, seconds
from energy_core.http.request import JSON
from energy_core.http.slots import slot, stored_fields
from vrm_async import straight, straight_attributes
from vrm_async.attributes import Attribute, Attributes, Diagnostic, InstanceValue, Listed, listed
from vrm_async.envelope import part
from vrm_async.folding import by_key, by_number, enum_names
from vrm_async.late import LateRaw, put_load
from vrm_async.models import (
    Device,
    Site,
    SystemOverview,
    Tag,
    User,
)

# --- attributes -----------------------------------------------------------------------------------------


def _instances(value: object) -> dict[int, InstanceValue]:
    return {key: _instance_value(item) for key, item in by_number(value).items() if isinstance(item, Mapping)}


_VALUE: Final = {"raw_value": "rawValue", "formatted": "formattedValue"}
_WHERE: Final = {"dbus_path": "dbusPath", "format": "formatWithUnit", "enum": "dataAttributeEnumValues"}

_instance_value = model(
    InstanceValue, wire={**_VALUE, "text": "textValue", "time": "timestamp"}, read={"time": seconds}
)
_attribute = model(
    Attribute,
    wire={
        **_VALUE,
        **_WHERE,
        "id": "idDataAttribute",
        "text": "textValue",
        "time": "timestamp",
        "data_type": "dataType",
        "consists_of": "consistsOfAttributeCodes",
        "parts": "dataAttributes",
        "device_type_id": "idDeviceType",
        "dbus_service": "dbusServiceType",
    },
    read={"time": seconds, "instances": _instances, "enum": enum_names},
)
_attributes = records(_attribute, "Attribute")


@frozen
class _Unread:
    """The text of what is `extended`, and what reads it when somebody looks."""

    text: bytes
    read: Callable[[bytes], Listed]


class _Look:
    """Looks at what is `extended`: reads it straight where that can be done, or else decodes it once."""

    __slots__ = ("_decoded", "_drift", "_value")

    def __init__(self, value: object, drift: Drift | None) -> None:
        self._value = value
        self._drift = drift
        self._decoded: Listed | None = None

    def __call__(self) -> Listed:
        if self._decoded is not None:
            return self._decoded
        value = self._value
        if isinstance(value, _Unread) and bounded.bounded_parser is not None:
            with suppress(*REFUSALS):
                return value.read(value.text)
        with _one_at_a_time:  # or a deviation would be counted by each thread that looks
            if self._decoded is None:
                self._decoded = self._decode()
            return self._decoded

    def _decode(self) -> Listed:
        with collecting(self._drift) if self._drift is not None else nullcontext():
            return listed(_attributes(_parsed(self._value)))


_one_at_a_time: Final = RLock()


def _extended(value: object) -> Attributes:
    """Put decoding off until somebody looks, unless strictness wants to complain now."""
    if isinstance(value, _Unread) and not value.text.startswith((b"[", b"{")):
        value = strict_json(value.text)
    if not isinstance(value, _Unread | list | Mapping):
        if not is_nothing(value):
            note("Site", "extended", "not a list")
        return Attributes()
    drift = collector()
    if drift is not None and drift.strict:
        return Attributes.of(_attributes(_parsed(value)))
    return Attributes(_Look(value, drift))


def _parsed(value: object) -> object:
    return strict_json(value.text) if isinstance(value, _Unread) else value


diagnostic = model(
    Diagnostic,
    wire={
        **_VALUE,
        **_WHERE,
        "attribute_id": "idDataAttribute",
        "site_id": "idSite",
        "time": "timestamp",
        "device": "Device",
        "dbus_service": "dbusServiceType",
    },
    read={"time": seconds, "enum": enum_names},
)
_diagnostics = records(diagnostic, "Diagnostic")


@frozen(kw_only=True)
class Page(LateRaw):
    """One page of diagnostics."""

    records: tuple[Diagnostic, ...]
    size: int
    """How many records came, malformed ones included: the page's true length."""
    raw: list[object]
    """What came, malformed records included."""
    total: int | None
    """num_records: of this page or of all, VRM does not say which."""

    def is_again(self, other: Page) -> bool:
        """Whether it holds what another page held; pages that differ do so in their first records."""
        alike = self.size == other.size and self.records[:1] == other.records[:1]
        return alike and self.raw == other.raw


def _read_page(payload: JSON) -> Page:
    found = part(payload, "records")
    raw = list(_listed(found))
    total = integer(payload.get("num_records")) if isinstance(payload, dict) else None
    return Page(records=_diagnostics(found), size=len(raw), raw=raw, total=total)


def _straight_page(body: bytes) -> Page | None:
    found = straight_attributes.diagnostics(body, diagnostic.read)
    if found is None:
        return None
    made = tuple(found.records)
    page = Page(records=made, size=len(made), raw=[], total=found.total)
    page.put_off_raw(lambda: [record.raw for record in made])
    return page


diagnostics_page: Final[Callable[[JSON], Page]] = Documented(_read_page, _straight_page)
"""Read one page of ``installations/{idSite}/diagnostics``."""


# --- users and sites ------------------------------------------------------------------------------------


def geofence(value: object) -> Mapping[str, object] | None:
    """Read the fence, which is JSON inside a text."""
    if isinstance(value, str) and value:
        try:
            value = strict_json(value.encode("utf-8", "replace"))
        except DecodeError:
            value = None
        if not isinstance(value, dict):
            note("Site", "geofence", "not JSON")
    return value if isinstance(value, Mapping) and value else None


def _listed(value: object) -> tuple[object, ...]:
    return tuple(value if isinstance(value, list) else by_key(value).values())


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
        "created": seconds,
        "last_seen": seconds,
        "last_location": seconds,
        "geofence": geofence,
        "tags": _tags,
        "images": _listed,
        "current_alarms": _listed,
        "premium_features": _listed,
        "extended": _extended,
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
    },
    read={"last_connection": seconds, "last_power_up": seconds},
)
_devices = records(_device, "Device")
_overview = model(SystemOverview, read={"devices": _devices, "unconfigured_devices": flag})


def _read_user(payload: JSON) -> User:
    return _user(part(payload, "user"))


def _straight_user(body: bytes) -> User | None:
    values = straight.user(body)
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
_put_user: Final = tuple(slot(User, name) for name in stored_fields(User) if name != "raw")
user: Final[Callable[[JSON], User]] = Documented(_read_user, _straight_user, silent=True)
"""Read ``users/me``."""


def _read_sites(payload: JSON) -> tuple[Site, ...]:
    return _sites(part(payload, "records"))


def _straight_sites(body: bytes) -> tuple[Site, ...] | None:
    found = straight.sites(body, partial(_Unread, read=straight_attributes.AtHand(_attribute.read)))
    if found is None:
        return None
    made = _sites(found)
    for site in made:
        site.put_off_raw(partial(_raw_site, site.raw))
    return made


def _raw_site(record: Mapping[str, object]) -> dict[str, object]:
    return {key: _parsed(value) for key, value in record.items()}


sites: Final[Callable[[JSON], tuple[Site, ...]]] = Documented(_read_sites, _straight_sites)
"""Read ``users/{idUser}/installations``."""


def system_overview(payload: JSON) -> SystemOverview:
    """Read ``installations/{idSite}/system-overview``."""
    found = part(payload, "records")
    return SystemOverview() if is_nothing(found) else _overview(found)
