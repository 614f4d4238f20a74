"""The groups of endpoints that a client offers.

Each is made, and its models and codecs imported, when it is first used: a program that asks for one panel
does not load what it takes to read all of VRM.
"""

# ruff: noqa: PLC0415  (see above)

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from energy_core.http.api import ApiClient
    from vrm_async.access import Access
    from vrm_async.alarms import AlarmsResource
    from vrm_async.catalogue import CatalogueResource
    from vrm_async.custom_widgets import CustomWidgets
    from vrm_async.downloads import Downloads
    from vrm_async.dynamic_ess import DynamicEss
    from vrm_async.fleet import Fleet
    from vrm_async.forecasts import Forecasts
    from vrm_async.installations import Installations
    from vrm_async.places import SiteLookup
    from vrm_async.stats import StatsResource
    from vrm_async.tags import Tags
    from vrm_async.tokens import Tokens
    from vrm_async.users import Users
    from vrm_async.widgets import Widgets


class Resources:
    """Everything under one `ApiClient`, by subject."""

    def __init__(self, api: ApiClient) -> None:
        self._api = api

    @cached_property
    def users(self) -> Users:
        """The account and its sites."""
        from vrm_async.users import Users

        return Users(self._api)

    @cached_property
    def tokens(self) -> Tokens:
        """Personal access tokens."""
        from vrm_async.tokens import Tokens

        return Tokens(self._api, self.users)

    @cached_property
    def installations(self) -> Installations:
        """One site: its devices and the newest log of everything they measure."""
        from vrm_async.installations import Installations

        return Installations(self._api)

    @cached_property
    def catalogue(self) -> CatalogueResource:
        """The data attributes: what a code means."""
        from vrm_async.catalogue import CatalogueResource

        return CatalogueResource(self._api)

    @cached_property
    def downloads(self) -> Downloads:
        """Files of a site."""
        from vrm_async.downloads import Downloads

        return Downloads(self._api, self._site_ids)

    @cached_property
    def stats(self) -> StatsResource:
        """Energy and measurements of a site in buckets of time."""
        from vrm_async.stats import StatsResource

        return StatsResource(self._api, self._places.facts)

    @cached_property
    def widgets(self) -> Widgets:
        """The panels of VRM's dashboard."""
        from vrm_async.widgets import Widgets

        return Widgets(self._api)

    @cached_property
    def alarms(self) -> AlarmsResource:
        """Alarms of a site: the rules, and what they raised."""
        from vrm_async.alarms import AlarmsResource

        return AlarmsResource(self._api)

    @cached_property
    def tags(self) -> Tags:
        """Labels of a site."""
        from vrm_async.tags import Tags

        return Tags(self._api)

    @cached_property
    def access(self) -> Access:
        """Who may see and control a site."""
        from vrm_async.access import Access

        return Access(self._api)

    @cached_property
    def dynamic_ess(self) -> DynamicEss:
        """Planning the battery by energy prices."""
        from vrm_async.dynamic_ess import DynamicEss

        return DynamicEss(self._api)

    @cached_property
    def forecasts(self) -> Forecasts:
        """Forecasts of sun and consumption."""
        from vrm_async.forecasts import Forecasts

        return Forecasts(self._api)

    @cached_property
    def custom_widgets(self) -> CustomWidgets:
        """Panels that the users of a site put together themselves."""
        from vrm_async.custom_widgets import CustomWidgets

        return CustomWidgets(self._api)

    @cached_property
    def fleet(self) -> Fleet:
        """Questions about many sites at once."""
        from vrm_async.fleet import Fleet

        return Fleet(self._api, self._site_ids)

    async def _site_ids(self) -> list[int]:
        return [site.id for site in await self.users.installations()]

    @cached_property
    def _places(self) -> SiteLookup:
        from vrm_async.places import SiteLookup

        return SiteLookup(self.users)
