"""An asyncio client of Victron's VRM."""

from vrm_async.attributes import Attribute, Attributes, Diagnostic, InstanceValue
from vrm_async.client import VRMClient
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
from vrm_async.panels import StateHistory, States, Summary, SummaryValue
from vrm_async.series import Graph, OverallStats, Period, Series, Stats

__all__ = [
    "AccessToken",
    "Attribute",
    "Attributes",
    "Device",
    "Diagnostic",
    "Graph",
    "InstanceValue",
    "LoginResult",
    "NewAccessToken",
    "OverallStats",
    "Period",
    "Series",
    "Site",
    "StateHistory",
    "States",
    "Stats",
    "Summary",
    "SummaryValue",
    "SystemOverview",
    "Tag",
    "User",
    "VRMClient",
]
