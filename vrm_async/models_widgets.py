"""Panels with a shape of their own: position, hours of AC, alarms, and the ones nobody documented."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from attrs import field, frozen

from vrm_async.attributes import Raw
from vrm_async.models_alarms import RaisedAlarm
from vrm_async.panels import SummaryValue


@frozen(kw_only=True)
class Widget:
    """Any panel, as VRM sends it."""

    name: str
    """The widget's name, such as TankSummary."""
    instance: int | None = None
    """The device instance that was asked for; None leaves the choice to VRM."""
    data: Mapping[str, object] = field(factory=dict)
    """The panel's data, from records.data; a list has become a mapping of its positions."""
    meta: Mapping[str, object] = field(factory=dict)
    """What VRM says about them, from records.meta."""
    raw: Raw = field(factory=dict, repr=False)
    """The answer's records as they came."""


@frozen(kw_only=True)
class Position:
    """Where a site is, from the panel GPS."""

    latitude_deg: float | None = None
    """Degrees north, from lt."""
    longitude_deg: float | None = None
    """Degrees east, from lg."""
    geofence: Mapping[str, object] | None = None
    """The fence's shape; VRM sends it as JSON inside a text."""
    geofence_enabled: bool | None = None
    """Whether leaving the fence raises an alarm."""
    geofence_alarm_active: bool | None = None
    """Whether the site is outside its fence."""
    values: tuple[SummaryValue, ...] = field(default=(), repr=False)
    """Everything the receiver measures, speed and course among it."""
    has_old_data: bool | None = None
    """Whether VRM calls the position outdated."""
    seconds_ago: float | None = None
    """Age of the position in s when VRM answered."""
    time: datetime | None = None
    """When it was logged, where VRM says that instead of the age."""
    raw: Raw = field(factory=dict, repr=False)
    """The answer's records as they came."""


@frozen(kw_only=True)
class HoursOfAc:
    """How long the site had AC power, from the panel HoursOfAc."""

    hours: float | None = None
    """Hours, where VRM's text is a number; None where there is no data."""
    text: str | None = None
    """VRM's own text."""
    raw: Raw = field(factory=dict, repr=False)
    """The answer's records as they came."""


@frozen(kw_only=True)
class AlarmPanel:
    """The alarms of a site, from the panel Alarm."""

    alarms: tuple[RaisedAlarm, ...] = ()
    """The alarms it shows."""
    raw: Raw = field(factory=dict, repr=False)
    """The answer's records as they came."""
