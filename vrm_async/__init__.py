"""An asyncio client of Victron's VRM. The values it returns are in `vrm_async.models`."""

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
    from vrm_async.resources.catalogue import Catalogue, DataAttribute
    from vrm_async.validation import Unlisted
else:
    __getattr__ = lazily(
        __name__,
        {
            "calendar": "Calendar Span",
            "client": "VRMClient",
            "download_file": "DownloadProgress SavedFile",
            "history.base": "Chunk HistoryCursor",
            "history.stats": "StatsHistory",
            "history.widgets": "GraphHistory StatePages",
            "resources.catalogue": "Catalogue DataAttribute",
            "validation": "Unlisted",
        },
        reads="resources.catalogue.shipped_by_code",
    )

__all__ = [
    "Calendar",
    "Catalogue",
    "Chunk",
    "DataAttribute",
    "DownloadProgress",
    "GraphHistory",
    "HistoryCursor",
    "SavedFile",
    "Span",
    "StatePages",
    "StatsHistory",
    "Unlisted",
    "VRMClient",
]


def __dir__() -> list[str]:
    return __all__


logging.getLogger(__name__).addHandler(logging.NullHandler())
