"""An asyncio client of Victron's VRM. The values it returns are in `vrm_async.models`."""

import logging
from typing import TYPE_CHECKING

from energy_core._lazy import lazy_exports

if TYPE_CHECKING:
    from vrm_async.calendar import Calendar as Calendar
    from vrm_async.calendar import Span as Span
    from vrm_async.client import VRMClient as VRMClient
    from vrm_async.codes import Code as Code
    from vrm_async.download_file import DownloadProgress as DownloadProgress
    from vrm_async.download_file import SavedFile as SavedFile
    from vrm_async.history.base import Chunk as Chunk
    from vrm_async.history.base import HistoryCursor as HistoryCursor
    from vrm_async.history.stats import Rows as Rows
    from vrm_async.history.stats import StatsHistory as StatsHistory
    from vrm_async.history.widgets import GraphHistory as GraphHistory
    from vrm_async.history.widgets import StatePages as StatePages
    from vrm_async.realtime_site import RealtimeConfig as RealtimeConfig
    from vrm_async.realtime_source import RealtimeSource as RealtimeSource
    from vrm_async.resources.catalogue import Catalogue as Catalogue
    from vrm_async.resources.catalogue import Codes as Codes
    from vrm_async.resources.fleet import FleetSites as FleetSites
    from vrm_async.validation import Unlisted as Unlisted
else:
    __getattr__, __dir__, __all__ = lazy_exports(
        __name__,
        {
            ".calendar": "Calendar Span",
            ".client": "VRMClient",
            ".codes": "Code",
            ".download_file": "DownloadProgress SavedFile",
            ".history.base": "Chunk HistoryCursor",
            ".history.stats": "Rows StatsHistory",
            ".history.widgets": "GraphHistory StatePages",
            ".realtime_site": "RealtimeConfig",
            ".realtime_source": "RealtimeSource",
            ".resources.catalogue": "Catalogue Codes",
            ".resources.fleet": "FleetSites",
            ".validation": "Unlisted",
        },
        reads=".resources.catalogue.shipped_by_code",
    )

logging.getLogger(__name__).addHandler(logging.NullHandler())
