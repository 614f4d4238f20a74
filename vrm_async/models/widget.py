"""What VRM's dashboard panels ("widgets") show: summaries of the last values, and changes of state."""

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
"""An aware moment (UTC) and the number of the state that began then."""


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
    """The value in the unit of `format`; for an enum its number. VRM sends text and numbers."""
    formatted: str | None = None
    """Translated text of the value with its unit."""
    format: str | None = None
    """VRM's sprintf pattern with the unit."""
    enum_name: str | None = None
    """VRM's name of an enum's value, from nameEnum."""
    enum: Mapping[int, str] = field(factory=dict)
    """VRM's names of an enum's numbers, where the answer carries them."""
    instance: int | None = None
    """The device instance."""
    seconds_ago: float | None = None
    """Age of the value in s when VRM answered."""
    has_old_data: bool | None = None
    """Whether VRM calls the value outdated."""
    raw: Raw = field(factory=dict, repr=False)
    """The record as it came."""


@frozen(kw_only=True, repr=False)
class Summary:
    """The newest values of one device instance; iterating yields each `SummaryValue`, a code finds one."""

    name: str
    """The widget's name, such as BatterySummary."""
    instance: int | None = None
    """The device instance that was asked for; None leaves the choice to VRM."""
    values: tuple[SummaryValue, ...] = ()
    """In the order VRM displays them."""
    has_old_data: bool | None = None
    """Whether VRM calls the whole summary outdated."""
    seconds_ago: float | None = None
    """Age of the newest value in s when VRM answered."""
    raw: Raw = field(factory=dict)
    """The answer's records as they came."""

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
        """Return every code once, in VRM's order."""
        return tuple(dict.fromkeys(value.code for value in self.values if value.code))

    def get(self, code: str) -> SummaryValue | None:
        """Return the value of that code, case-sensitive, or None."""
        return next((value for value in self.values if value.code == code), None)

    @printable
    def __repr__(self) -> str:
        shown = ", ".join(f"{value.code}={value.raw_value!r}" for value in self.values)
        return f"<{self.name} of instance {self.instance}: {shown or 'no data'}>"


@frozen(kw_only=True, repr=False)
class StateSet:
    """The changes of one enum attribute over time, kept as columns.

    Iterating yields ``(aware datetime, number)``; `enum` and `names` say what a number means.
    """

    code: str
    """The attribute's code; its id as text where VRM does not name the code."""
    attribute_id: int | None = None
    """VRM's idDataAttribute."""
    times_ms: Sequence[int] = ()
    """When each state began, in milliseconds since the epoch, UTC."""
    ends_ms: Sequence[int | None] = ()
    """When each state ended, in the same; None where VRM does not say. No state is known from one's end to
    the next one's start."""
    numbers: Sequence[int | None] = ()
    """The number of each state; None where VRM sent only a name it does not list."""
    names: Sequence[str | None] = ()
    """The name of each state, found by its number; the translated text only where there is no number."""
    enum: Mapping[int, str] = field(factory=dict)
    """VRM's names of the numbers."""

    def __len__(self) -> int:
        return len(self.times_ms)

    def __iter__(self) -> Iterator[Change]:
        return zip(map(moment, self.times_ms), self.numbers, strict=True)

    @printable
    def __repr__(self) -> str:
        return f"<States {self.code}: {len(self)} changes>"


@frozen(kw_only=True, repr=False)
class StateSeries:
    """The state changes of one device instance; iterating yields `StateSet`, a code or an id finds one."""

    name: str
    """The widget's name, such as VeBusState."""
    instance: int | None = None
    """The device instance that was asked for; None leaves the choice to VRM."""
    states: tuple[StateSet, ...] = ()
    """One for each attribute."""
    raw: Raw = field(factory=dict)
    """The answer's records as they came."""

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
        return f"<{self.name} of instance {self.instance}: {', '.join(map(repr, self.states)) or 'no data'}>"


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


@frozen(kw_only=True)
class CustomWidget:
    """A panel that somebody put together in VRM's dashboard."""

    id: int | None = None
    """VRM's idCustomWidget."""
    name: str | None = None
    """Its title."""
    only_admins: bool | None = None
    """Whether only administrators of the site see it."""
    y_axis_scaling: object = None
    """How its axis is scaled, as it came."""
    parameters: Mapping[str, object] = field(factory=dict)
    """What it shows, as it came."""
    raw: Raw = field(factory=dict, repr=False)
    """The record as it came."""
