"""An async client for VoltStorage's REST API and its event WebSocket."""

import logging

from voltstorage_async.client import DEFAULT_LIMIT, VoltStorageClient
from voltstorage_async.endpoints import BASE_URL, Endpoints
from voltstorage_async.events import LatestData, ProductEvent, UnknownProductEvent
from voltstorage_async.fields import FieldMap, Meaning
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
from voltstorage_async.rows import ExportRows
from voltstorage_async.source import ProductSource
from voltstorage_async.stream import ProductStream

__all__ = [
    "BASE_URL",
    "DEFAULT_LIMIT",
    "Endpoints",
    "ExportRow",
    "ExportRows",
    "FieldMap",
    "Latest",
    "LatestData",
    "Meaning",
    "Owner",
    "Product",
    "ProductEvent",
    "ProductGroup",
    "ProductPages",
    "ProductSource",
    "ProductStream",
    "ProductType",
    "Sampled",
    "Statistics",
    "UnknownProductEvent",
    "VoltStorageClient",
    "Weighted",
]

logging.getLogger(__name__).addHandler(logging.NullHandler())
