"""An asyncio client of Victron's VRM."""

import logging
from typing import TYPE_CHECKING

from energy_core._lazy import lazily

if TYPE_CHECKING:
    from vrm_async.calendar import Calendar, Span
    from vrm_async.client import VRMClient
    from vrm_async.download_file import DownloadProgress, SavedFile
    from vrm_async.history.base import Chunk, HistoryCursor
    from vrm_async.history.stats import StatsHistory
    from vrm_async.history.widgets import GraphHistory, StatePages
    from vrm_async.models.account import Group, Invite, Invites, SearchHit, SearchResult, SiteUser, SiteUsers
    from vrm_async.models.alarm import Alarm, AlarmAttribute, AlarmDevice, Alarms, AlarmUser, RaisedAlarm
    from vrm_async.models.attribute import Attribute, Attributes, Diagnostic, InstanceValue
    from vrm_async.models.dynamic_ess import DynamicEssPlan, DynamicEssSettings, PriceSchedule, PriceSpan
    from vrm_async.models.series import Graph, OverallStats, Period, Series, Stats
    from vrm_async.models.site import (
        AccessToken,
        AttributeDefinition,
        CustomWidget,
        Device,
        FleetAnswer,
        FleetOverview,
        FleetSite,
        LoginResult,
        NewAccessToken,
        Site,
        SiteTags,
        SystemOverview,
        Tag,
        User,
    )
    from vrm_async.models.widget import (
        AlarmPanel,
        HoursOfAc,
        Position,
        StateSeries,
        StateSet,
        Summary,
        SummaryValue,
        Widget,
    )
    from vrm_async.resources.catalogue import Catalogue, DataAttribute
    from vrm_async.validation import Unlisted
else:
    __getattr__ = lazily(
        __name__,
        {
            "calendar": ("Calendar Span "),
            "client": ("VRMClient "),
            "download_file": ("DownloadProgress SavedFile "),
            "history.base": ("Chunk HistoryCursor "),
            "history.stats": ("StatsHistory "),
            "history.widgets": ("GraphHistory StatePages "),
            "models.account": ("Group Invite Invites SearchHit SearchResult SiteUser SiteUsers "),
            "models.alarm": ("Alarm AlarmAttribute AlarmDevice AlarmUser Alarms RaisedAlarm "),
            "models.attribute": ("Attribute Attributes Diagnostic InstanceValue "),
            "models.dynamic_ess": ("DynamicEssPlan DynamicEssSettings PriceSchedule PriceSpan "),
            "models.series": ("Graph OverallStats Period Series Stats "),
            "models.site": (
                "AccessToken AttributeDefinition CustomWidget Device FleetAnswer FleetOverview "
                "FleetSite LoginResult NewAccessToken Site SiteTags SystemOverview Tag User "
            ),
            "models.widget": (
                "AlarmPanel HoursOfAc Position StateSeries StateSet Summary SummaryValue Widget "
            ),
            "resources.catalogue": ("Catalogue DataAttribute "),
            "validation": ("Unlisted "),
        },
        reads="resources.catalogue.shipped_by_code",
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
