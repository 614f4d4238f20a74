"""Sites, their devices and their tags.

Any field may be None: VRM leaves members out, sends false for "none", and sends more members than its
documents name. `raw` has all of them as they came. Text in the account's language is for display, not for
comparison.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import ClassVar

from attrs import field, frozen

from energy_core.codec.lazy_value import LazyFields
from energy_core.printable import printable
from vrm_async.models.attribute import Attributes, Raw


@frozen(kw_only=True)
class Tag:
    """A label of a site."""

    name: str
    """Text of the tag."""
    id: int | None = None
    """VRM's idTag."""
    automatic: bool | None = None
    """Whether VRM set the tag itself."""
    source: str | None = None
    """user, team, group or predefined."""
    raw: Raw = field(factory=dict, repr=False)
    """The record as VRM sent it."""


@frozen(kw_only=True)
class SiteTags:
    """The tags of a site; iterating yields every `Tag`, `in` finds one by its name."""

    groups: Mapping[str, tuple[Tag, ...]] = field(factory=dict)
    """The tags by source: user, team, group, predefined, and others that VRM may add."""
    raw: Raw = field(factory=dict, repr=False)
    """The answer as VRM sent it."""

    def __iter__(self) -> Iterator[Tag]:
        return (tag for tags in self.groups.values() for tag in tags)

    def __getitem__(self, source: str) -> tuple[Tag, ...]:
        return self.groups.get(source, ())

    def __contains__(self, name: object) -> bool:
        return any(tag.name == name for tag in self)


@frozen(kw_only=True, repr=False)
class Site(LazyFields):
    """One installation, from ``users/{idUser}/installations``.

    The fields from `alarm` on are filled only if the list was requested with ``extended=True``.
    """

    lazy_fields: ClassVar = frozenset({"raw", "extended"})
    shown_fields: ClassVar = (
        *("id", "name", "timezone", "last_seen", "alarm", "num_alarms", "created", "owner"),
        *("access_level", "has_mains", "has_generator", "pv_max_w"),
    )
    """What notebooks display of a site and of a list of sites."""

    id: int
    """VRM's idSite. It is stable, unlike `identifier`."""
    name: str | None = None
    """The owner's name for it."""
    identifier: str | None = None
    """The gateway's serial number; it changes when the gateway is replaced."""
    user_id: int | None = None
    """VRM's idUser of the owner."""
    access_level: int | None = None
    """0 monitoring, 1 full control, 2 technician."""
    owner: bool | None = None
    """Whether the account owns the site."""
    is_admin: bool | None = None
    """Whether the account administers the site."""
    timezone: str | None = None
    """IANA name, such as Europe/Amsterdam."""
    pv_max_w: float | None = None
    """The largest PV power so far in W, from pvMax."""
    reports_enabled: bool | None = None
    """Whether VRM mails reports."""
    geofence: Mapping[str, object] | None = None
    """The shape of the fence; VRM sends it as JSON inside a text."""
    geofence_enabled: bool | None = None
    """Whether leaving the fence raises an alarm."""
    device_icon: str | None = None
    """solar, battery, grid and the like."""
    phone_number: str | None = None
    """Phone number of a contact; VRM sends text or a number."""
    notes: str | None = None
    """The owner's notes."""
    realtime_updates: bool | None = None
    """Whether the device publishes over MQTT."""
    has_mains: bool | None = None
    """Whether there is a grid connection."""
    has_generator: bool | None = None
    """Whether there is a generator."""
    no_data_alarm_timeout_s: float | None = None
    """Seconds without data until VRM raises an alarm, from noDataAlarmTimeout."""
    alarm_monitoring: int | None = None
    """VRM's level of alarm monitoring."""
    created: datetime | None = None
    """When VRM created the site, aware, UTC; from syscreated."""
    inverter_charger_control: bool | None = None
    """Whether the inverter may be controlled remotely."""
    favorite: bool | None = None
    """Whether the account marked the site as a favorite."""
    shared: bool | None = None
    """Whether the site is shared publicly."""
    alarm: bool | None = None
    """Whether an alarm is active."""
    last_seen: datetime | None = None
    """Time of the site's newest log, aware, UTC; from last_timestamp."""
    tags: tuple[Tag, ...] = ()
    """Tags of all sources."""
    timezone_offset_s: int | None = None
    """Offset from UTC in s at the time of the answer, positive east."""
    current_time: str | None = None
    """Local time of the site as HH:MM at the time of the answer."""
    images: tuple[object, ...] = ()
    """Pictures, as VRM sent them; VRM sends false for none."""
    view_permissions: Mapping[str, object] = field(factory=dict)
    """Rights of the account at this site, as VRM sent them."""
    demo_mode: bool | None = None
    """Whether the gateway runs in demo mode."""
    mqtt_host: str | None = None
    """Host of the real-time service."""
    mqtt_webhost: str | None = None
    """Host of the real-time service over WebSocket."""
    high_workload: bool | None = None
    """Whether VRM marks the site as busy."""
    current_alarms: tuple[object, ...] = ()
    """Active alarms as VRM sent them: texts or records."""
    num_alarms: int | None = None
    """Number of active alarms."""
    last_location: datetime | None = None
    """Time of the last known position, aware, UTC; None for never, which VRM sends as false."""
    avatar_url: str | None = None
    """URL of the site's picture."""
    currency: Mapping[str, object] = field(factory=dict)
    """The site's currency: idCurrency, code, name and sign."""
    restrict_node_red: bool | None = None
    """Whether Node-RED on the gateway is closed to the outside."""
    node_red_running: bool | None = None
    """Whether Node-RED runs on the gateway."""
    remote_console: str | None = None
    """The owner's choice of remote console, from remoteConsoleChoice."""
    gui_hash: str | None = None
    """Build of the console on the gateway, from guiHash."""
    gui_version: int | None = None
    """Generation of the console on the gateway, from GUIv."""
    is_system: bool | None = None
    """From isSystem, which VRM does not document."""
    is_paygo: bool | None = None
    """Whether the site uses pay-as-you-go."""
    paygo_currency: str | None = None
    """Currency of pay-as-you-go."""
    paygo_total_amount: float | None = None
    """Amount paid so far, in `paygo_currency`."""
    prices_unavailable: bool | None = None
    """Whether VRM lacks energy prices for the site."""
    premium_features: tuple[object, ...] = ()
    """Paid features, as VRM sent them."""
    new_tags: bool | None = None
    """Whether tags are new to the account."""
    invalid_token_used: datetime | None = None
    """When the gateway last logged with an invalid token, aware, UTC; None for never, which VRM sends as 0.
    From invalidVRMAuthTokenUsedInLogRequest."""
    extended: Attributes = field(factory=Attributes)
    """The site's attributes with their newest values, decoded at first access."""
    raw: Raw = field(factory=dict)
    """The record as VRM sent it."""

    @printable
    def __repr__(self) -> str:
        return f"<Site {self.id} {self.name!r}>"

    def _repr_html_(self) -> str:
        """Return a small table, which notebooks display."""
        from energy_core.tables.html import record_html  # noqa: PLC0415  (imported when it is used)

        shown = ((name, getattr(self, name)) for name in self.shown_fields)
        return record_html("Site", [(name, value) for name, value in shown if value is not None])


@frozen(kw_only=True, repr=False)
class Device:
    """One device of a site, from ``installations/{idSite}/system-overview``.

    Most fields exist only for some kinds of devices. VRM sends false where a device does not have a value.
    """

    name: str | None = None
    """VRM's name of the kind of device, such as Gateway."""
    custom_name: str | None = None
    """The owner's name for it."""
    product_code: str | None = None
    """Victron's product code; often empty."""
    product_name: str | None = None
    """Victron's product name, such as Venus GX."""
    firmware_version: str | None = None
    """Version of the firmware, as the device spells it."""
    device_class: str | None = None
    """VRM's class, such as device-gateway."""
    identifier: str | None = None
    """The device's serial number."""
    instance: int | None = None
    """The instance by which widgets and attributes address it. 0 is valid; a gateway has None."""
    last_connection: datetime | None = None
    """Time of the last connection, aware, UTC; None for never."""
    logging_interval_s: float | None = None
    """Seconds between two logs of a gateway, from loggingInterval."""
    device_type_id: int | None = None
    """VRM's idDeviceType."""
    machine_serial: str | None = None
    """The serial number printed on the gateway, from machineSerialNumber."""
    last_power_up: datetime | None = None
    """When a gateway last started, aware, UTC; from lastPowerUpOrRestart."""
    site_id: int | None = None
    """VRM's idSite."""
    connection: str | None = None
    """How the device is connected, such as VE.Direct port 1."""
    settings: tuple[Raw, ...] = ()
    """The settings with names, numbers and values, as VRM sent them."""
    signal_rssi: str | None = None
    """Signal strength with its unit, from signalRSSI."""
    signal_snr: str | None = None
    """Signal to noise ratio with its unit, from signalSNR."""
    signal_frequency: str | None = None
    """Signal frequency with its unit."""
    antenna_type: str | None = None
    """Internal or External, of a GlobalLink."""
    network_name: str | None = None
    """Name of the device's network."""
    remote_on_lan: str | None = None
    """Address of the console in the local network."""
    auto_update: str | None = None
    """On, Off or Check."""
    update_to: str | None = None
    """The releases that a gateway updates to, such as Official release."""
    vnc_ssh_auth: bool | None = None
    """Whether the gateway's remote console logs in over SSH."""
    vnc_status: str | None = None
    """Whether the remote console over the internet is Enabled or Disabled."""
    vnc_port: int | None = None
    """Port of the remote console."""
    two_way_communication: bool | None = None
    """Whether VRM can send data to the gateway."""
    remote_support_enabled: bool | None = None
    """Whether remote support is allowed."""
    remote_support_port: int | None = None
    """Port of remote support."""
    remote_support_ip: str | None = None
    """Address of remote support."""
    remote_support: str | None = None
    """enabled_online, enabled_offline or disabled."""
    product_id: str | None = None
    """Product id of a VE.Bus device."""
    vebus_connection: str | None = None
    """VE.Bus or VE.Can, from vmc."""
    vebus_configuration: Mapping[str, object] = field(factory=dict)
    """Units of a VE.Bus system and their phases, from vid; as VRM sent it."""
    temperature_sensor_connected: bool | None = None
    """Whether an IO Extender has a temperature sensor, from tempSensorConnected."""
    fronius_device_type: str | None = None
    """Fronius' name of the type of PV inverter."""
    position: str | None = None
    """Position of a PV inverter in the system, from pL."""
    data_manager_version: str | None = None
    """Version of a PV inverter's data manager, from pdV."""
    input_type: str | None = None
    """Purpose of a digital input."""
    input_state: str | None = None
    """State of a digital input."""
    raw: Raw = field(factory=dict)
    """The record as VRM sent it."""

    @printable
    def __repr__(self) -> str:
        instance = "" if self.instance is None else f" @{self.instance}"
        return f"<Device {self.custom_name or self.product_name or self.name}{instance}>"


@frozen(kw_only=True)
class SystemOverview:
    """The devices of a site, from `installations.system_overview`."""

    devices: tuple[Device, ...] = ()
    """The devices in VRM's order, including the gateway."""
    unconfigured_devices: bool | None = None
    """Whether there are devices that are not configured yet."""
    raw: Raw = field(factory=dict, repr=False)
    """The records of the answer as VRM sent them."""
