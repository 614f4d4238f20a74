"""Frozen values that VRM's answers are read into."""

from typing import TYPE_CHECKING

from energy_core._lazy import lazy_exports

if TYPE_CHECKING:
    from vrm_async.models.access import Group as Group
    from vrm_async.models.access import Invite as Invite
    from vrm_async.models.access import SiteUser as SiteUser
    from vrm_async.models.access import SiteUsers as SiteUsers
    from vrm_async.models.account import AccessToken as AccessToken
    from vrm_async.models.account import Invites as Invites
    from vrm_async.models.account import LoginResult as LoginResult
    from vrm_async.models.account import NewAccessToken as NewAccessToken
    from vrm_async.models.account import SearchHit as SearchHit
    from vrm_async.models.account import SearchResult as SearchResult
    from vrm_async.models.account import User as User
    from vrm_async.models.alarm import Alarm as Alarm
    from vrm_async.models.alarm import AlarmAttribute as AlarmAttribute
    from vrm_async.models.alarm import AlarmDevice as AlarmDevice
    from vrm_async.models.alarm import Alarms as Alarms
    from vrm_async.models.alarm import AlarmUser as AlarmUser
    from vrm_async.models.alarm import RaisedAlarm as RaisedAlarm
    from vrm_async.models.attribute import Attribute as Attribute
    from vrm_async.models.attribute import Attributes as Attributes
    from vrm_async.models.attribute import Diagnostic as Diagnostic
    from vrm_async.models.attribute import InstanceValue as InstanceValue
    from vrm_async.models.dynamic_ess import DynamicEssPlan as DynamicEssPlan
    from vrm_async.models.dynamic_ess import DynamicEssSettings as DynamicEssSettings
    from vrm_async.models.dynamic_ess import PriceSchedule as PriceSchedule
    from vrm_async.models.dynamic_ess import PriceSpan as PriceSpan
    from vrm_async.models.fleet import DataAttribute as DataAttribute
    from vrm_async.models.fleet import FleetOverview as FleetOverview
    from vrm_async.models.fleet import FleetSite as FleetSite
    from vrm_async.models.series import Graph as Graph
    from vrm_async.models.series import OverallStats as OverallStats
    from vrm_async.models.series import Period as Period
    from vrm_async.models.series import Series as Series
    from vrm_async.models.series import Stats as Stats
    from vrm_async.models.site import Device as Device
    from vrm_async.models.site import Site as Site
    from vrm_async.models.site import SiteTags as SiteTags
    from vrm_async.models.site import SystemOverview as SystemOverview
    from vrm_async.models.site import Tag as Tag
    from vrm_async.models.snapshot import SiteSnapshot as SiteSnapshot
    from vrm_async.models.state import StateSeries as StateSeries
    from vrm_async.models.state import StateSet as StateSet
    from vrm_async.models.widget import AlarmWidget as AlarmWidget
    from vrm_async.models.widget import CustomWidget as CustomWidget
    from vrm_async.models.widget import HoursOfAc as HoursOfAc
    from vrm_async.models.widget import Position as Position
    from vrm_async.models.widget import Summary as Summary
    from vrm_async.models.widget import SummaryValue as SummaryValue
    from vrm_async.models.widget import Widget as Widget
else:
    __getattr__, __dir__, __all__ = lazy_exports(
        __name__,
        {
            ".access": "Group Invite SiteUser SiteUsers",
            ".account": "AccessToken Invites LoginResult NewAccessToken SearchHit SearchResult User",
            ".alarm": "Alarm AlarmAttribute AlarmDevice AlarmUser Alarms RaisedAlarm",
            ".attribute": "Attribute Attributes Diagnostic InstanceValue",
            ".dynamic_ess": "DynamicEssPlan DynamicEssSettings PriceSchedule PriceSpan",
            ".fleet": "DataAttribute FleetOverview FleetSite",
            ".series": "Graph OverallStats Period Series Stats",
            ".site": "Device Site SiteTags SystemOverview Tag",
            ".snapshot": "SiteSnapshot",
            ".state": "StateSeries StateSet",
            ".widget": "AlarmWidget CustomWidget HoursOfAc Position Summary SummaryValue Widget",
        },
    )
