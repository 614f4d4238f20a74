"""The present values of a site."""

from __future__ import annotations

from attrs import frozen

from energy_core.home.snapshot import Snapshot
from vrm_async.models.site import Site


@frozen(kw_only=True, repr=False)
class SiteSnapshot(Snapshot):
    """The present values of one site, from `VRMClient.now`."""

    site: Site
    """The site of the same answer: time zone, number of active alarms, all attributes."""

    @property
    def id(self) -> int:
        """VRM's idSite."""
        return self.site.id
