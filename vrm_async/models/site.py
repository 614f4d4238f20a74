"""What VRM knows about users, sites and devices, as frozen values.

Every field may be None: VRM leaves fields out, sends false for "none", and sends more than its documents
name. `raw` always holds the record as it came. Text in the account's language is marked "translated": show
it, never compare it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import ClassVar

from attrs import field, frozen

from energy_core.codec.lazy_value import LazyFields
from vrm_async.models.attribute import Attributes, Raw


@frozen(kw_only=True)
class Tag:
    """A label of a site."""

    name: str
    """The tag's text."""
    id: int | None = None
    """VRM's idTag."""
    automatic: bool | None = None
    """Whether VRM set it."""
    source: str | None = None
    """user, team, group or predefined."""
    raw: Raw = field(factory=dict, repr=False)
    """The record as it came."""


@frozen(kw_only=True)
class SiteTags:
    """The tags of a site; iterating yields every `Tag`."""

    groups: Mapping[str, tuple[Tag, ...]] = field(factory=dict)
    """By where they come from: user, team, group, predefined, and what else VRM may send."""
    raw: Raw = field(factory=dict, repr=False)
    """The answer as it came."""

    def __iter__(self) -> Iterator[Tag]:
        return (tag for tags in self.groups.values() for tag in tags)

    def __getitem__(self, source: str) -> tuple[Tag, ...]:
        return self.groups.get(source, ())

    def __contains__(self, name: object) -> bool:
        return any(tag.name == name for tag in self)


@frozen(kw_only=True)
class Site(LazyFields):
    """One installation. The lower half is filled when asked with ``extended=True``."""

    lazy_fields: ClassVar = frozenset({"raw", "extended"})

    id: int
    """VRM's idSite: stable, unlike `identifier`."""
    name: str | None = None
    """The owner's name for it."""
    identifier: str | None = None
    """The gateway's serial; changes when the gateway is replaced."""
    user_id: int | None = None
    """VRM's idUser of the owner."""
    access_level: int | None = None
    """0 monitoring, 1 full control, 2 technician."""
    owner: bool | None = None
    """Whether the asking account owns it."""
    is_admin: bool | None = None
    """Whether the asking account administers it."""
    timezone: str | None = None
    """IANA name, such as Europe/Amsterdam."""
    pv_max_w: float | None = None
    """The largest PV power seen, in W, from pvMax."""
    reports_enabled: bool | None = None
    """Whether VRM mails reports."""
    geofence: Mapping[str, object] | None = field(default=None, repr=False)
    """The fence's shape; VRM sends it as JSON inside a text."""
    geofence_enabled: bool | None = None
    """Whether leaving the fence raises an alarm."""
    device_icon: str | None = None
    """solar, battery, grid and the like."""
    phone_number: str | None = field(default=None, repr=False)
    """A contact's number; VRM sends text or a number."""
    notes: str | None = field(default=None, repr=False)
    """The owner's notes."""
    realtime_updates: bool | None = None
    """Whether the device publishes over MQTT."""
    has_mains: bool | None = None
    """Whether there is a grid connection."""
    has_generator: bool | None = None
    """Whether there is a generator."""
    no_data_alarm_timeout_s: float | None = None
    """Seconds of silence until VRM alarms."""
    alarm_monitoring: int | None = None
    """VRM's level of alarm monitoring."""
    created: datetime | None = None
    """When the site was made, from syscreated."""
    inverter_charger_control: bool | None = None
    """Whether the inverter may be controlled remotely."""
    favorite: bool | None = None
    """Whether the account marked it."""
    shared: bool | None = None
    """Whether the site is shared publicly."""
    alarm: bool | None = None
    """Whether an alarm is active."""
    last_seen: datetime | None = None
    """The newest log of the site, from last_timestamp."""
    tags: tuple[Tag, ...] = ()
    """Labels of every source."""
    timezone_offset_s: int | None = None
    """Seconds east of UTC at the moment of the answer."""
    current_time: str | None = None
    """The site's wall clock as HH:MM."""
    images: tuple[object, ...] = ()
    """Pictures; VRM sends false for none."""
    view_permissions: Mapping[str, object] = field(factory=dict, repr=False)
    """What the asking account may see and do."""
    demo_mode: bool | None = None
    """Whether the device shows invented data."""
    mqtt_host: str | None = None
    """Host of the real-time service."""
    mqtt_webhost: str | None = None
    """The same over WebSocket."""
    high_workload: bool | None = None
    """Whether VRM calls the site busy."""
    current_alarms: tuple[object, ...] = ()
    """Active alarms as they came: texts or records."""
    num_alarms: int | None = None
    """How many alarms are active."""
    last_location: datetime | None = None
    """When the position was last known; VRM sends false for never."""
    avatar_url: str | None = None
    """The site's picture."""
    currency: Mapping[str, object] = field(factory=dict, repr=False)
    """The site's currency: idCurrency, code, name, sign."""
    restrict_node_red: bool | None = None
    """Whether the gateway's Node-RED may not be reached from outside."""
    node_red_running: bool | None = None
    """Whether Node-RED runs on the gateway."""
    remote_console: str | None = None
    """Which remote console the owner chose, from remoteConsoleChoice."""
    gui_hash: str | None = None
    """Which build of the console the gateway serves."""
    gui_version: int | None = None
    """Which generation of the console the gateway serves, from GUIv."""
    is_system: bool | None = None
    """VRM's own mark; its documents do not say of what."""
    is_paygo: bool | None = None
    """Whether the site is paid for by use."""
    paygo_currency: str | None = None
    """The currency of pay by use."""
    paygo_total_amount: float | None = None
    """What was paid by use, in that currency."""
    prices_unavailable: bool | None = None
    """Whether VRM lacks energy prices for the site."""
    premium_features: tuple[object, ...] = ()
    """Paid features, as they came."""
    new_tags: bool | None = None
    """Whether tags are new to the account."""
    invalid_token_used: datetime | None = None
    """When the device last logged with an invalid token, from invalidVRMAuthTokenUsedInLogRequest; None for
    never, which VRM sends as 0."""
    extended: Attributes = field(factory=Attributes, repr=False)
    """The site's attributes with their newest values, decoded at first access."""
    raw: Raw = field(factory=dict, repr=False)
    """The record as it came."""


@frozen(kw_only=True)
class Device:
    """One device of a site, from ``installations/{idSite}/system-overview``."""

    name: str | None = None
    """VRM's name of its kind, such as Gateway."""
    custom_name: str | None = None
    """The owner's name for it."""
    product_code: str | None = None
    """Victron's product code; often empty."""
    product_name: str | None = None
    """Victron's product name, such as Venus GX."""
    firmware_version: str | None = None
    """As the device writes it."""
    device_class: str | None = None
    """VRM's class, such as device-gateway."""
    identifier: str | None = None
    """The device's serial."""
    instance: int | None = None
    """What widgets and attributes call it: 0 is an instance, a gateway has none."""
    last_connection: datetime | None = None
    """When VRM last heard of it; None for never."""
    logging_interval_s: float | None = None
    """Seconds between two logs of a gateway."""
    device_type_id: int | None = None
    """VRM's idDeviceType."""
    machine_serial: str | None = None
    """The gateway's serial as printed on it, from machineSerialNumber."""
    last_power_up: datetime | None = None
    """When a gateway last started."""
    site_id: int | None = None
    """VRM's idSite."""
    connection: str | None = None
    """How it is connected, such as VE.Direct port 1."""
    settings: tuple[Raw, ...] = field(default=(), repr=False)
    """Its settings with their names, numbers and values, as they came."""
    signal_rssi: str | None = None
    """Signal strength with its unit, from signalRSSI."""
    signal_snr: str | None = None
    """Signal to noise ratio with its unit, from signalSNR."""
    signal_frequency: str | None = None
    """Signal frequency with its unit."""
    antenna_type: str | None = None
    """Internal or External, of a GlobalLink."""
    network_name: str | None = None
    """The network it is in."""
    remote_on_lan: str | None = None
    """Address of the console in the local network."""
    auto_update: str | None = None
    """On, Off or Check."""
    update_to: str | None = None
    """Which releases a gateway updates to, such as Official release."""
    vnc_ssh_auth: bool | None = None
    """Whether the gateway's remote console logs in over SSH."""
    vnc_status: str | None = None
    """Whether the remote console over the internet is Enabled or Disabled."""
    vnc_port: int | None = None
    """Port of the remote console."""
    two_way_communication: bool | None = None
    """Whether VRM may send to the gateway."""
    remote_support_enabled: bool | None = None
    """Whether remote support is allowed."""
    remote_support_port: int | None = None
    """Port of remote support; VRM sends false for none."""
    remote_support_ip: str | None = field(default=None, repr=False)
    """Address of remote support."""
    remote_support: str | None = None
    """enabled_online, enabled_offline or disabled."""
    product_id: str | None = None
    """Product id of a VE.Bus device; VRM sends false for none."""
    vebus_connection: str | None = None
    """VE.Bus or VE.Can, from vmc."""
    vebus_configuration: Mapping[str, object] = field(factory=dict)
    """Units of a VE.Bus system and how they share the phases, from vid; as it came."""
    temperature_sensor_connected: bool | None = None
    """Whether an IO Extender has a temperature sensor, from tempSensorConnected."""
    fronius_device_type: str | None = None
    """Fronius' name of a PV inverter's kind."""
    position: str | None = None
    """Where a PV inverter is connected, from pL; VRM sends false for nowhere."""
    data_manager_version: str | None = None
    """Version of a PV inverter's data manager, from pdV."""
    input_type: str | None = None
    """What a digital input is for; VRM sends false for nothing."""
    input_state: str | None = None
    """The state of a digital input; VRM sends false for none."""
    raw: Raw = field(factory=dict, repr=False)
    """The record as it came."""


@frozen(kw_only=True)
class SystemOverview:
    """The devices of a site."""

    devices: tuple[Device, ...] = ()
    """In VRM's order, the gateway among them."""
    unconfigured_devices: bool | None = None
    """Whether devices wait to be set up."""
    raw: Raw = field(factory=dict, repr=False)
    """The answer's records as they came."""
