"""An asyncio client of Victron's VRM."""

import logging
from typing import TYPE_CHECKING

from energy_core.lazy import lazily

if TYPE_CHECKING:
    from vrm_async.arguments import Unlisted
    from vrm_async.attributes import Attribute, Attributes, Diagnostic, InstanceValue
    from vrm_async.catalogue import Catalogue, DataAttribute
    from vrm_async.client import VRMClient
    from vrm_async.history import Chunk, HistoryCursor
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
    from vrm_async.panels import StateSeries, StateSet, Summary, SummaryValue
    from vrm_async.periods import Calendar, Span
    from vrm_async.pouring import DownloadProgress, SavedFile
    from vrm_async.series import Graph, OverallStats, Period, Series, Stats
    from vrm_async.stats_history import StatsHistory
    from vrm_async.widget_history import GraphHistory, StatePages
else:
    __getattr__ = lazily(
        __name__,
        {
            "arguments": "Verbatim",
            "attributes": "Attribute Attributes Diagnostic InstanceValue",
            "catalogue": "Catalogue DataAttribute",
            "client": "VRMClient",
            "history": "Checkpoint Part",
            "models": "AccessToken Device LoginResult NewAccessToken Site SystemOverview Tag User",
            "models_access": "Group Invite Invites SearchHit SearchResult SiteUser SiteUsers",
            "models_alarms": "Alarm AlarmAttribute AlarmDevice Alarms AlarmUser RaisedAlarm",
            "models_ess": "DynamicEssPlan DynamicEssSettings PriceSchedule PriceSpan",
            "models_sites": "AttributeDefinition CustomWidget FleetAnswer FleetOverview FleetSite SiteTags",
            "models_widgets": "AlarmPanel HoursOfAc Position Widget",
            "panels": "StateHistory States Summary SummaryValue",
            "periods": "Calendar Span",
            "pouring": "Progress Saved",
            "series": "Graph OverallStats Period Series Stats",
            "stats_history": "StatsHistory",
            "widget_history": "GraphHistory StatesHistory",
        },
        reads="catalogue.shipped_by_code",
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
    "Calendar",
    "Catalogue",
    "Chunk",
    "CustomWidget",
    "DataAttribute",
    "Device",
    "Diagnostic",
    "DownloadProgress",
    "DynamicEssPlan",
    "DynamicEssSettings",
    "FleetAnswer",
    "FleetOverview",
    "FleetSite",
    "Graph",
    "GraphHistory",
    "Group",
    "HistoryCursor",
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
    "SavedFile",
    "SearchHit",
    "SearchResult",
    "Series",
    "Site",
    "SiteTags",
    "SiteUser",
    "SiteUsers",
    "Span",
    "StatePages",
    "StateSeries",
    "StateSet",
    "Stats",
    "StatsHistory",
    "Summary",
    "SummaryValue",
    "SystemOverview",
    "Tag",
    "Unlisted",
    "User",
    "VRMClient",
    "Widget",
]


def __dir__() -> list[str]:
    return __all__


logging.getLogger(__name__).addHandler(logging.NullHandler())
