"""Alarms: the rules of a site, and the alarms that were raised.

VRM spells the members of a rule on a number in PascalCase and those of a rule on states in camelCase.
Both are read into one `Alarm`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from attrs import field, frozen

from vrm_async.models.attribute import Raw


@frozen(kw_only=True)
class Alarm:
    """A rule: thresholds of a number, or states of an enum.

    VRM sends it, and `alarms.add` and `alarms.update` take it. A rule with `enum_values` is on states and has
    no thresholds. Attribute and instance identify a rule; it has no id.
    """

    attribute_id: int
    """VRM's idDataAttribute of the attribute that the rule watches."""
    instance: int = 0
    """The device instance that the rule watches."""
    enabled: bool | None = None
    """Whether the rule is on, from AlarmEnabled or alarmEnabled; None is written as true."""
    notify_after_s: int | None = None
    """How long the condition must last, in s; from NotifyAfterSeconds or notifyAfterSeconds. None is written
    as 0."""
    high: float | None = None
    """Alarm above this value, in the attribute's own unit, from highAlarm."""
    high_hysteresis: float | None = None
    """How far below `high` the alarm ends, in the attribute's own unit; None is written as 0."""
    low: float | None = None
    """Alarm below this value, in the attribute's own unit, from lowAlarm."""
    low_hysteresis: float | None = None
    """How far above `low` the alarm ends, in the attribute's own unit; None is written as 0."""
    enum_values: tuple[int, ...] = ()
    """The numbers of the states that raise the alarm, from enumValues."""
    limit_id: int | None = None
    """VRM's idDataAttributeLimit, where it sends one; never written."""
    raw: Raw = field(factory=dict, repr=False, eq=False)
    """The record as VRM sent it."""

    @property
    def on_states(self) -> bool:
        """Whether the rule watches the states of an enum."""
        return bool(self.enum_values)


@frozen(kw_only=True)
class AlarmDevice:
    """A device that a rule can watch."""

    name: str | None = None
    """VRM's name of its kind, from deviceName."""
    product_name: str | None = None
    """Victron's product name."""
    custom_name: str | None = None
    """The owner's name for it."""
    instance: int | None = None
    """The device instance; 0 is a valid one."""
    device_type_id: int | None = None
    """VRM's idDeviceType."""
    last_connection: datetime | None = None
    """Time of the last connection, aware, UTC; None for never."""
    seconds_ago: float | None = None
    """Age of the last connection in s, at the time of the answer."""
    is_valid: bool | None = None
    """Whether VRM marks its data as valid."""
    site_id: int | None = None
    """VRM's idSite."""
    identifier: str | None = None
    """The identifier of the site's gateway."""
    product_id: int | None = None
    """Victron's product number, from productIdAsReceived."""
    custom_product_name: str | None = None
    """The product name as the site shows it."""
    firmware_version: str | None = None
    """Version of the firmware, such as v3.00."""
    connection: str | None = None
    """How the device is connected."""
    raw: Raw = field(factory=dict, repr=False)
    """The record as VRM sent it."""


@frozen(kw_only=True)
class AlarmUser:
    """An account that may get notifications about alarms."""

    id: int
    """VRM's idUser."""
    name: str | None = None
    """The account's name."""
    email: str | None = field(default=None, repr=False)
    """The account's e-mail address."""
    access_level: int | None = None
    """0 monitoring, 1 full control, 2 technician."""
    notified: bool | None = None
    """Whether VRM mails alarms, from receivesAlarmNotifications."""
    muted: bool | None = None
    """Whether the account muted this site."""
    site_id: int | None = None
    """VRM's idSite."""
    gets_reports: bool | None = None
    """Whether VRM mails reports, from receivesReports."""
    avatar_url: str | None = None
    """URL of the account's picture."""
    raw: Raw = field(factory=dict, repr=False)
    """The record as VRM sent it."""


@frozen(kw_only=True)
class AlarmAttribute:
    """An attribute that a rule can watch."""

    id: int
    """VRM's idDataAttribute, for `Alarm.attribute_id`."""
    code: str | None = None
    """The attribute's code, case-sensitive."""
    description: str | None = None
    """VRM's name of the attribute."""
    format: str | None = None
    """VRM's sprintf pattern with the unit."""
    data_type: str | None = None
    """float, enum or string."""
    device_type_id: int | None = None
    """VRM's idDeviceType of the devices that have it."""
    enum: Mapping[int, str] = field(factory=dict)
    """VRM's names of an enum's numbers, for `Alarm.enum_values`."""
    target_table: str | None = None
    """VRM's targetTable."""
    raw: Raw = field(factory=dict, repr=False)
    """The record as VRM sent it."""


@frozen(kw_only=True)
class Alarms:
    """The rules of a site, with the devices, users and attributes for new rules; from `alarms.rules`."""

    alarms: tuple[Alarm, ...] = ()
    """The rules."""
    devices: tuple[AlarmDevice, ...] = ()
    """Devices that a rule can watch."""
    users: tuple[AlarmUser, ...] = ()
    """Accounts that may get notifications."""
    attributes: tuple[AlarmAttribute, ...] = ()
    """Attributes that a rule can watch."""
    rate_limited: bool | None = None
    """Whether VRM limits the notifications of this site, from rateLimited."""
    raw: Raw = field(factory=dict, repr=False)
    """The answer as VRM sent it."""

    def find(self, attribute_id: int, instance: int = 0) -> Alarm | None:
        """Return the rule on that attribute of that device instance, or None."""
        return next(
            (rule for rule in self.alarms if (rule.attribute_id, rule.instance) == (attribute_id, instance)),
            None,
        )


@frozen(kw_only=True)
class RaisedAlarm:
    """An alarm that was raised, from the log or the widget of alarms.

    Experimental: VRM does not document its shape.
    """

    id: int | None = None
    """VRM's idAlarm, for `alarms.clear`."""
    attribute_id: int | None = None
    """VRM's idDataAttribute."""
    description: str | None = None
    """Description of the attribute, in the account's language."""
    device: str | None = None
    """VRM's name of the device's kind."""
    instance: int | None = None
    """The device instance."""
    name_enum: str | None = None
    """VRM's name of the state that raised the alarm, from nameEnum."""
    started: datetime | None = None
    """When the alarm began, aware, UTC."""
    cleared: datetime | None = None
    """When the alarm ended or was cleared, aware, UTC; None while it is active."""
    raw: Raw = field(factory=dict, repr=False)
    """The record as VRM sent it."""

    @property
    def active(self) -> bool:
        """Whether the alarm has not ended."""
        return self.cleared is None
