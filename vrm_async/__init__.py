"""An asyncio client of Victron's VRM."""

import logging

from vrm_async.arguments import Verbatim
from vrm_async.attributes import Attribute, Attributes, Diagnostic, InstanceValue
from vrm_async.catalogue import Catalogue, DataAttribute
from vrm_async.client import VRMClient
from vrm_async.history import Checkpoint, Part
from vrm_async.models import (
    AccessToken,
    Device,
    LoginResult,
    NewAccessToken,
    Site,
    SystemOverview,
    Tag,
    User,
)
from vrm_async.models_access import Group, Invite, Invites, SearchHit, SearchResult, SiteUser, SiteUsers
from vrm_async.models_alarms import Alarm, AlarmAttribute, AlarmDevice, Alarms, AlarmUser, RaisedAlarm
from vrm_async.models_ess import DynamicEssPlan, DynamicEssSettings, PriceSchedule, PriceSpan
from vrm_async.models_sites import (
    AttributeDefinition,
    CustomWidget,
    FleetAnswer,
    FleetOverview,
    FleetSite,
    SiteTags,
)
from vrm_async.models_widgets import AlarmPanel, HoursOfAc, Position, Widget
from vrm_async.panels import StateHistory, States, Summary, SummaryValue
from vrm_async.periods import Calendar, Span
from vrm_async.pouring import Progress, Saved
from vrm_async.series import Graph, OverallStats, Period, Series, Stats
from vrm_async.stats_history import StatsHistory
from vrm_async.widget_history import GraphHistory, StatesHistory

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
    "Calendar",
    "Catalogue",
    "Checkpoint",
    "CustomWidget",
    "DataAttribute",
    "Device",
    "Diagnostic",
    "DynamicEssPlan",
    "DynamicEssSettings",
    "FleetAnswer",
    "FleetOverview",
    "FleetSite",
    "Graph",
    "GraphHistory",
    "Group",
    "HoursOfAc",
    "InstanceValue",
    "Invite",
    "Invites",
    "LoginResult",
    "NewAccessToken",
    "OverallStats",
    "Part",
    "Period",
    "Position",
    "PriceSchedule",
    "PriceSpan",
    "Progress",
    "RaisedAlarm",
    "Saved",
    "SearchHit",
    "SearchResult",
    "Series",
    "Site",
    "SiteTags",
    "SiteUser",
    "SiteUsers",
    "Span",
    "StateHistory",
    "States",
    "StatesHistory",
    "Stats",
    "StatsHistory",
    "Summary",
    "SummaryValue",
    "SystemOverview",
    "Tag",
    "User",
    "VRMClient",
    "Verbatim",
    "Widget",
]

logging.getLogger(__name__).addHandler(logging.NullHandler())
