"""An async client for VoltStorage's REST API and its event WebSocket."""

import logging
from typing import TYPE_CHECKING

from energy_core._lazy import lazily

if TYPE_CHECKING:
    from voltstorage_async.client import DEFAULT_LIMIT, VoltStorageClient
    from voltstorage_async.endpoints import BASE_URL, Endpoints
    from voltstorage_async.event_types import LatestData, ProductEvent, ProductGap, UnknownProductEvent
    from voltstorage_async.events.recorded import BackfillConfig
    from voltstorage_async.events.state import ProductState
    from voltstorage_async.events.stream import ProductStream
    from voltstorage_async.export.chunks import ExportProgress
    from voltstorage_async.export.rows import ExportRows, FilledRow, ForwardFill
    from voltstorage_async.field_map import FieldMap, SocScale
    from voltstorage_async.field_reader import FieldMeaning
    from voltstorage_async.live import ProductSource
    from voltstorage_async.models import (
        ExportRow,
        Latest,
        Owner,
        Product,
        ProductGroup,
        ProductType,
        Sampled,
        Statistics,
        Weighted,
    )
    from voltstorage_async.products import ProductPages
    from voltstorage_async.statistics import merge_statistics
else:
    __getattr__ = lazily(
        __name__,
        {
            "client": ("DEFAULT_LIMIT VoltStorageClient "),
            "endpoints": ("BASE_URL Endpoints "),
            "event_types": ("LatestData ProductEvent ProductGap UnknownProductEvent "),
            "events.recorded": ("BackfillConfig "),
            "events.state": ("ProductState "),
            "events.stream": ("ProductStream "),
            "export.chunks": ("ExportProgress "),
            "export.rows": ("ExportRows FilledRow ForwardFill "),
            "field_map": ("FieldMap SocScale "),
            "field_reader": ("FieldMeaning "),
            "live": ("ProductSource "),
            "models": (
                "ExportRow Latest Owner Product ProductGroup ProductType Sampled Statistics Weighted "
            ),
            "products": ("ProductPages "),
            "statistics": ("merge_statistics "),
        },
    )

__all__ = [
    "BASE_URL",
    "DEFAULT_LIMIT",
    "BackfillConfig",
    "Endpoints",
    "ExportProgress",
    "ExportRow",
    "ExportRows",
    "FieldMap",
    "FieldMeaning",
    "FilledRow",
    "ForwardFill",
    "Latest",
    "LatestData",
    "Owner",
    "Product",
    "ProductEvent",
    "ProductGap",
    "ProductGroup",
    "ProductPages",
    "ProductSource",
    "ProductState",
    "ProductStream",
    "ProductType",
    "Sampled",
    "SocScale",
    "Statistics",
    "UnknownProductEvent",
    "VoltStorageClient",
    "Weighted",
    "merge_statistics",
]


def __dir__() -> list[str]:
    return __all__


logging.getLogger(__name__).addHandler(logging.NullHandler())
