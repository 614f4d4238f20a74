"""An asyncio client of VoltStorage's REST API and event WebSocket.

The values it returns are in `voltstorage_async.models`.
"""

import logging
from typing import TYPE_CHECKING

from energy_core._lazy import lazy_exports

if TYPE_CHECKING:
    from voltstorage_async.client import DEFAULT_LIMIT as DEFAULT_LIMIT
    from voltstorage_async.client import VoltStorageClient as VoltStorageClient
    from voltstorage_async.endpoints import BASE_URL as BASE_URL
    from voltstorage_async.endpoints import Endpoints as Endpoints
    from voltstorage_async.event_types import LatestData as LatestData
    from voltstorage_async.event_types import ProductEvent as ProductEvent
    from voltstorage_async.event_types import ProductGap as ProductGap
    from voltstorage_async.event_types import UnknownProductEvent as UnknownProductEvent
    from voltstorage_async.events.recorded import BackfillConfig as BackfillConfig
    from voltstorage_async.events.state import ProductState as ProductState
    from voltstorage_async.events.stream import ProductStream as ProductStream
    from voltstorage_async.export.rows import ExportRows as ExportRows
    from voltstorage_async.export.rows import ForwardFill as ForwardFill
    from voltstorage_async.field_map import FieldMap as FieldMap
    from voltstorage_async.field_map import SocScale as SocScale
    from voltstorage_async.field_reader import FieldMeaning as FieldMeaning
    from voltstorage_async.live import ProductSource as ProductSource
    from voltstorage_async.statistics import merge_statistics as merge_statistics
else:
    __getattr__, __dir__, __all__ = lazy_exports(
        __name__,
        {
            ".client": "DEFAULT_LIMIT VoltStorageClient",
            ".endpoints": "BASE_URL Endpoints",
            ".event_types": "LatestData ProductEvent ProductGap UnknownProductEvent",
            ".events.recorded": "BackfillConfig",
            ".events.state": "ProductState",
            ".events.stream": "ProductStream",
            ".export.rows": "ExportRows ForwardFill",
            ".field_map": "FieldMap SocScale",
            ".field_reader": "FieldMeaning",
            ".live": "ProductSource",
            ".statistics": "merge_statistics",
        },
    )

logging.getLogger(__name__).addHandler(logging.NullHandler())
