"""Alarms: the rules VRM watches a site by, and what they have raised.

VRM spells a rule on a number in PascalCase and one on states in camelCase; here both are one `Alarm`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from attrs import field, frozen

from vrm_async.models.attribute import Raw


@frozen(kw_only=True)
class Alarm:
    """A rule: on the thresholds of a number, or on some states of an enum.

    It is what VRM sends and what `alarms.add` and `alarms.update` take. A rule that has `enum_values` is one
    on states, and has no thresholds. A rule is known by its attribute and instance; it has no id of its own.
    """

    attribute_id: int
    """VRM's idDataAttribute: what is watched."""
    instance: int = 0
    """The device instance that is watched."""
    enabled: bool | None = None
    """Whether the rule is on, from AlarmEnabled or alarmEnabled; None is written as on."""
    notify_after_s: int | None = None
    """Seconds the condition must last, from NotifyAfterSeconds (or in camelCase); None is written as 0."""
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
    """VRM's idDataAttributeLimit, where it tells one; never written."""
    raw: Raw = field(factory=dict, repr=False, eq=False)
    """The record as it came."""

    @property
    def on_states(self) -> bool:
        """Whether the rule watches the states of an enum."""
        return bool(self.enum_values)


@frozen(kw_only=True)
class AlarmDevice:
    """A device that rules can watch."""

    name: str | None = None
    """VRM's name of its kind, from deviceName."""
    product_name: str | None = None
    """Victron's product name."""
    custom_name: str | None = None
    """The owner's name for it."""
    instance: int | None = None
    """The device instance: 0 is an instance."""
    device_type_id: int | None = None
    """VRM's idDeviceType."""
    last_connection: datetime | None = None
    """When VRM last heard of it; None for never."""
    seconds_ago: float | None = None
    """Age of the last connection in s when VRM answered."""
    is_valid: bool | None = None
    """Whether VRM calls its data valid."""
    site_id: int | None = None
    """VRM's idSite."""
    identifier: str | None = None
    """The identifier of the site's gateway."""
    product_id: int | None = None
    """Victron's product number, from productIdAsReceived."""
    custom_product_name: str | None = None
    """The product name as the site shows it."""
    firmware_version: str | None = None
    """Such as v3.00."""
    connection: str | None = None
    """How it is connected."""
    raw: Raw = field(factory=dict, repr=False)
    """The record as it came."""


@frozen(kw_only=True)
class AlarmUser:
    """Somebody who may be told about an alarm."""

    id: int
    """VRM's idUser."""
    name: str | None = None
    """The account's name."""
    email: str | None = field(default=None, repr=False)
    """The account's e-mail address."""
    access_level: int | None = None
    """0 monitoring, 1 full control, 2 technician."""
    notified: bool | None = None
    """Whether alarms are mailed, from receivesAlarmNotifications."""
    muted: bool | None = None
    """Whether the account silenced this site."""
    site_id: int | None = None
    """VRM's idSite."""
    gets_reports: bool | None = None
    """Whether reports are mailed, from receivesReports."""
    avatar_url: str | None = None
    """The account's picture."""
    raw: Raw = field(factory=dict, repr=False)
    """The record as it came."""


@frozen(kw_only=True)
class AlarmAttribute:
    """An attribute that a rule can be made on."""

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
    """The record as it came."""


@frozen(kw_only=True)
class Alarms:
    """The rules of a site, and all that is needed to make new ones."""

    alarms: tuple[Alarm, ...] = ()
    """The rules."""
    devices: tuple[AlarmDevice, ...] = ()
    """What may be watched."""
    users: tuple[AlarmUser, ...] = ()
    """Who may be told."""
    attributes: tuple[AlarmAttribute, ...] = ()
    """What rules can be made on."""
    rate_limited: bool | None = None
    """Whether VRM holds back notifications of this site, from rateLimited."""
    raw: Raw = field(factory=dict, repr=False)
    """The answer as it came."""

    def find(self, attribute_id: int, instance: int = 0) -> Alarm | None:
        """Return the rule on that attribute of that device instance, or None."""
        return next(
            (rule for rule in self.alarms if (rule.attribute_id, rule.instance) == (attribute_id, instance)),
            None,
        )


@frozen(kw_only=True)
class RaisedAlarm:
    """An alarm that was raised, from the log or the widget of alarms. Experimental: no document names it."""

    id: int | None = None
    """VRM's idAlarm, for `alarms.clear`."""
    attribute_id: int | None = None
    """VRM's idDataAttribute."""
    description: str | None = None
    """What it is about; translated."""
    device: str | None = None
    """VRM's name of the device's kind."""
    instance: int | None = None
    """The device instance."""
    name_enum: str | None = None
    """VRM's name of the state that raised it."""
    started: datetime | None = None
    """When it began."""
    cleared: datetime | None = None
    """When it ended or was cleared; None while it lasts."""
    raw: Raw = field(factory=dict, repr=False)
    """The record as it came."""

    @property
    def active(self) -> bool:
        """Whether it lasts."""
        return self.cleared is None
