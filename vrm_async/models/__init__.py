"""Frozen values that VRM's answers are read into."""

from typing import TYPE_CHECKING

from energy_core._lazy import lazily

if TYPE_CHECKING:
    from vrm_async.models.access import Group, Invite, SiteUser, SiteUsers
    from vrm_async.models.account import (
        AccessToken,
        Invites,
        LoginResult,
        NewAccessToken,
        SearchHit,
        SearchResult,
        User,
    )
    from vrm_async.models.alarm import Alarm, AlarmAttribute, AlarmDevice, Alarms, AlarmUser, RaisedAlarm
    from vrm_async.models.attribute import Attribute, Attributes, Diagnostic, InstanceValue
    from vrm_async.models.dynamic_ess import DynamicEssPlan, DynamicEssSettings, PriceSchedule, PriceSpan
    from vrm_async.models.fleet import AttributeDefinition, FleetAnswer, FleetOverview, FleetSite
    from vrm_async.models.series import Graph, OverallStats, Period, Series, Stats
    from vrm_async.models.site import Device, Site, SiteTags, SystemOverview, Tag
    from vrm_async.models.widget import (
        AlarmPanel,
        CustomWidget,
        HoursOfAc,
        Position,
        StateSeries,
        StateSet,
        Summary,
        SummaryValue,
        Widget,
    )
else:
    __getattr__ = lazily(
        __name__,
        {
            "access": "Group Invite SiteUser SiteUsers",
            "account": "AccessToken Invites LoginResult NewAccessToken SearchHit SearchResult User",
            "alarm": "Alarm AlarmAttribute AlarmDevice AlarmUser Alarms RaisedAlarm",
            "attribute": "Attribute Attributes Diagnostic InstanceValue",
            "dynamic_ess": "DynamicEssPlan DynamicEssSettings PriceSchedule PriceSpan",
            "fleet": "AttributeDefinition FleetAnswer FleetOverview FleetSite",
            "series": "Graph OverallStats Period Series Stats",
            "site": "Device Site SiteTags SystemOverview Tag",
            "widget": (
                "AlarmPanel CustomWidget HoursOfAc Position StateSeries StateSet Summary SummaryValue Widget"
            ),
        },
    )

__all__ = [
    "AccessToken",
    "Alarm",
    "AlarmAttribute",
    "AlarmDevice",
    "AlarmPanel",
    "AlarmUser",
    "Alarms",
    "Attribute",
    "AttributeDefinition",
    "Attributes",
    "CustomWidget",
    "Device",
    "Diagnostic",
    "DynamicEssPlan",
    "DynamicEssSettings",
    "FleetAnswer",
    "FleetOverview",
    "FleetSite",
    "Graph",
    "Group",
    "HoursOfAc",
    "InstanceValue",
    "Invite",
    "Invites",
    "LoginResult",
    "NewAccessToken",
    "OverallStats",
    "Period",
    "Position",
    "PriceSchedule",
    "PriceSpan",
    "RaisedAlarm",
    "SearchHit",
    "SearchResult",
    "Series",
    "Site",
    "SiteTags",
    "SiteUser",
    "SiteUsers",
    "StateSeries",
    "StateSet",
    "Stats",
    "Summary",
    "SummaryValue",
    "SystemOverview",
    "Tag",
    "User",
    "Widget",
]


def __dir__() -> list[str]:
    return __all__
