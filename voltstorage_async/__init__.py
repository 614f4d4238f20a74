"""An async client for VoltStorage's REST API and its event WebSocket."""

import logging
from typing import TYPE_CHECKING

from energy_core.lazy import lazily

if TYPE_CHECKING:
    from voltstorage_async.backfill import BackfillConfig
    from voltstorage_async.client import DEFAULT_LIMIT, VoltStorageClient
    from voltstorage_async.endpoints import BASE_URL, Endpoints
    from voltstorage_async.events import LatestData, ProductEvent, ProductGap, UnknownProductEvent
    from voltstorage_async.fields import FieldMap, FieldMeaning, SocScale
    from voltstorage_async.fill import FilledRow, ForwardFill
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
    from voltstorage_async.pages import ExportProgress
    from voltstorage_async.products import ProductPages
    from voltstorage_async.rows import ExportRows
    from voltstorage_async.source import ProductSource
    from voltstorage_async.state import ProductState
    from voltstorage_async.statistics import merge_statistics
    from voltstorage_async.stream import ProductStream
else:
    __getattr__ = lazily(
        __name__,
        {
            "backfill": "Healing",
            "client": "DEFAULT_LIMIT VoltStorageClient",
            "endpoints": "BASE_URL Endpoints",
            "events": "LatestData ProductEvent ProductGap UnknownProductEvent",
            "fields": "FieldMap Meaning SocScale",
            "fill": "FilledRow ForwardFill",
            "models": "ExportRow Latest Owner Product ProductGroup ProductType Sampled Statistics Weighted",
            "pages": "ExportProgress",
            "products": "ProductPages",
            "rows": "ExportRows",
            "source": "ProductSource",
            "state": "ProductState",
            "statistics": "merge_statistics",
            "stream": "ProductStream",
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
