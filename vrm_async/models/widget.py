"""Widgets of VRM's dashboard: summaries of the newest values, changes of state, position and others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TypeAlias

from attrs import field, frozen

from energy_core.printable import printable
from vrm_async.codes import WithUnit
from vrm_async.models.alarm import RaisedAlarm
from vrm_async.models.attribute import Raw, RawValue
from vrm_async.models.series import moment

Change: TypeAlias = tuple[datetime, int | None]
"""Aware begin of a state (UTC) and the number of the state."""


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


@frozen(kw_only=True, repr=False)
class StateSet:
    """The changes of one enum attribute, as columns of equal length in order of time.

    Iterating yields ``(aware datetime, number)``; `enum` and `names` have the names of the numbers.
    """

    code: str
    """The attribute's code; its id as text where VRM does not send the code."""
    attribute_id: int | None = None
    """VRM's idDataAttribute."""
    times_ms: Sequence[int] = ()
    """Begin of each state in milliseconds since the epoch, UTC."""
    ends_ms: Sequence[int | None] = ()
    """End of each state in milliseconds since the epoch, UTC; None where VRM does not send it. Between the
    end of a state and the begin of the next one, no state is known."""
    numbers: Sequence[int | None] = ()
    """Number of each state; None where VRM sent only a name that is not in `enum`."""
    names: Sequence[str | None] = ()
    """Name of each state by its number; the text in the account's language where there is no number."""
    enum: Mapping[int, str] = field(factory=dict)
    """VRM's names of the numbers."""

    def __len__(self) -> int:
        return len(self.times_ms)

    def __iter__(self) -> Iterator[Change]:
        return zip(map(moment, self.times_ms), self.numbers, strict=True)

    @printable
    def __repr__(self) -> str:
        return f"<StateSet {self.code}: {len(self)} changes>"


@frozen(kw_only=True, repr=False)
class StateSeries:
    """The changes of state of one device instance; iterating yields `StateSet`, indexing takes a code."""

    name: str
    """The widget's name, such as VeBusState."""
    instance: int | None = None
    """The requested device instance; None if the choice was left to VRM."""
    states: tuple[StateSet, ...] = ()
    """One set for each attribute."""
    raw: Raw = field(factory=dict)
    """The records of the answer as VRM sent them."""

    def __iter__(self) -> Iterator[StateSet]:
        return iter(self.states)

    def __len__(self) -> int:
        return len(self.states)

    def __getitem__(self, code: str | int) -> StateSet:
        for states in self.states:
            if code in (states.code, states.attribute_id):
                return states
        raise KeyError(
            f"no states of {code!r}; there are: {', '.join(s.code for s in self.states) or 'none'}"
        )

    @printable
    def __repr__(self) -> str:
        states = ", ".join(map(repr, self.states)) or "no data"
        return f"<StateSeries {self.name} of instance {self.instance}: {states}>"


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
