"""Widgets of VRM's dashboard: summaries of the newest values, changes of state, position and others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

from attrs import field, frozen

from energy_core.printable import printable
from vrm_async.codes import WithUnit
from vrm_async.models.alarm import RaisedAlarm
from vrm_async.models.attribute import Raw, RawValue


@frozen(kw_only=True)
class SummaryValue(WithUnit):
    """The newest value of one attribute in a summary."""

    code: str | None = None
    """The attribute's code, case-sensitive."""
    attribute_id: int | None = None
    """VRM's idDataAttribute."""
    description: str | None = None
    """VRM's name of the attribute, from dataAttributeName."""
    raw_value: RawValue | None = None
    """The value in the unit of `format`; for an enum its number. VRM sends text or a number."""
    formatted: str | None = None
    """The value with its unit as text in the account's language."""
    format: str | None = None
    """VRM's sprintf pattern with the unit, from formatWithUnit."""
    enum_name: str | None = None
    """VRM's name of an enum's value, from nameEnum."""
    enum: Mapping[int, str] = field(factory=dict)
    """VRM's names of an enum's numbers, if the answer has them."""
    instance: int | None = None
    """The device instance."""
    seconds_ago: float | None = None
    """Age of the value in s, at the time of the answer."""
    has_old_data: bool | None = None
    """Whether VRM marks the value as outdated."""
    raw: Raw = field(factory=dict, repr=False)
    """The record as VRM sent it."""


@frozen(kw_only=True, repr=False)
class Summary:
    """The newest values of one device instance; iterating yields `SummaryValue`, indexing takes a code."""

    name: str
    """The widget's name, such as BatterySummary."""
    instance: int | None = None
    """The requested device instance; None if the choice was left to VRM."""
    values: tuple[SummaryValue, ...] = ()
    """The values in the order in which VRM displays them."""
    has_old_data: bool | None = None
    """Whether VRM marks the whole summary as outdated."""
    seconds_ago: float | None = None
    """Age of the newest value in s, at the time of the answer."""
    raw: Raw = field(factory=dict)
    """The records of the answer as VRM sent them."""

    def __iter__(self) -> Iterator[SummaryValue]:
        return iter(self.values)

    def __len__(self) -> int:
        return len(self.values)

    def __contains__(self, code: object) -> bool:
        return any(value.code == code for value in self.values)

    def __getitem__(self, code: str) -> SummaryValue:
        found = self.get(code)
        if found is None:
            raise KeyError(f"no value {code!r}; there are: {', '.join(self.keys())}")
        return found

    def keys(self) -> tuple[str, ...]:
        """Return each code once, in VRM's order."""
        return tuple(dict.fromkeys(value.code for value in self.values if value.code))

    def get(self, code: str) -> SummaryValue | None:
        """Return the value of that code, case-sensitive, or None."""
        return next((value for value in self.values if value.code == code), None)

    @printable
    def __repr__(self) -> str:
        shown = ", ".join(f"{value.code}={value.raw_value!r}" for value in self.values)
        return f"<Summary {self.name} of instance {self.instance}: {shown or 'no data'}>"


@frozen(kw_only=True)
class Widget:
    """Any widget, as VRM sends it."""

    name: str
    """The widget's name, such as TankSummary."""
    instance: int | None = None
    """The requested device instance; None if the choice was left to VRM."""
    data: Mapping[str, object] = field(factory=dict)
    """The data, from records.data; a list becomes a mapping of position to item."""
    meta: Mapping[str, object] = field(factory=dict)
    """Description of the data, from records.meta."""
    raw: Raw = field(factory=dict, repr=False)
    """The records of the answer as VRM sent them."""


@frozen(kw_only=True)
class Position:
    """The position of a site, from the widget GPS."""

    latitude_deg: float | None = None
    """Degrees, positive north; from the code lt."""
    longitude_deg: float | None = None
    """Degrees, positive east; from the code lg."""
    geofence: Mapping[str, object] | None = None
    """The shape of the fence; VRM sends it as JSON inside a text."""
    geofence_enabled: bool | None = None
    """Whether leaving the fence raises an alarm."""
    geofence_alarm_active: bool | None = None
    """Whether the site is outside its fence."""
    values: tuple[SummaryValue, ...] = field(default=(), repr=False)
    """All values of the receiver, including speed and course."""
    has_old_data: bool | None = None
    """Whether VRM marks the position as outdated."""
    seconds_ago: float | None = None
    """Age of the position in s, at the time of the answer."""
    time: datetime | None = None
    """When it was logged, aware, UTC; filled where VRM sends the time instead of the age."""
    raw: Raw = field(factory=dict, repr=False)
    """The records of the answer as VRM sent them."""


@frozen(kw_only=True)
class HoursOfAc:
    """How long the site had AC power, from the widget HoursOfAc."""

    hours: float | None = None
    """Hours; None if there is no data, or VRM's text is not a number."""
    text: str | None = None
    """VRM's text."""
    raw: Raw = field(factory=dict, repr=False)
    """The records of the answer as VRM sent them."""


@frozen(kw_only=True)
class AlarmWidget:
    """The alarms of a site, from the widget Alarm."""

    alarms: tuple[RaisedAlarm, ...] = ()
    """The alarms that the widget shows."""
    raw: Raw = field(factory=dict, repr=False)
    """The records of the answer as VRM sent them."""


@frozen(kw_only=True)
class CustomWidget:
    """A widget that a user composed in VRM's dashboard."""

    id: int | None = None
    """VRM's idCustomWidget."""
    name: str | None = None
    """Title of the widget."""
    only_admins: bool | None = None
    """Whether only administrators of the site see the widget."""
    y_axis_scaling: object = None
    """Scaling of the y axis, as VRM sent it."""
    parameters: Mapping[str, object] = field(factory=dict)
    """Content of the widget, as VRM sent it."""
    raw: Raw = field(factory=dict, repr=False)
    """The record as VRM sent it."""
