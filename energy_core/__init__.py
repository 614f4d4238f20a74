"""One rate-limited session pool, and event streams in one vocabulary, for all vendors.

More public names are in `energy_core.errors`, `energy_core.home` (state and energy of a home),
`energy_core.sources` (for authors of a source) and `energy_core.http` (for authors of a client).
"""

import logging
from typing import TYPE_CHECKING

from energy_core._lazy import lazy_exports

if TYPE_CHECKING:
    from energy_core._lazy import preload as preload
    from energy_core.clock import Clock as Clock
    from energy_core.clock import SystemClock as SystemClock
    from energy_core.clock import Timer as Timer
    from energy_core.codec.drift import Drift as Drift
    from energy_core.codec.json import json_backend as json_backend
    from energy_core.errors import EnergyError as EnergyError
    from energy_core.errors import RequestError as RequestError
    from energy_core.errors import StreamError as StreamError
    from energy_core.http.pages import Pages as Pages
    from energy_core.http.pool import PoolStats as PoolStats
    from energy_core.http.pool import SessionPool as SessionPool
    from energy_core.http.response import Timeouts as Timeouts
    from energy_core.http.token_bucket import RateLimit as RateLimit
    from energy_core.secret import Secret as Secret
    from energy_core.service import run_service as run_service
    from energy_core.stream.checkpoint import Checkpoint as Checkpoint
    from energy_core.stream.checkpoint import CheckpointStore as CheckpointStore
    from energy_core.stream.checkpoint import FileCheckpoint as FileCheckpoint
    from energy_core.stream.consumer import Batches as Batches
    from energy_core.stream.consumer import Subscription as Subscription
    from energy_core.stream.consumer import TimeOrdered as TimeOrdered
    from energy_core.stream.event import Event as Event
    from energy_core.stream.merge import MergedStream as MergedStream
    from energy_core.stream.merge import merge as merge
    from energy_core.stream.reconnect import SocketConfig as SocketConfig
    from energy_core.stream.status import SourceStatus as SourceStatus
    from energy_core.stream.vocabulary import AlarmChange as AlarmChange
    from energy_core.stream.vocabulary import Dropped as Dropped
    from energy_core.stream.vocabulary import Gap as Gap
    from energy_core.stream.vocabulary import Kind as Kind
    from energy_core.stream.vocabulary import Quantity as Quantity
    from energy_core.stream.vocabulary import SourceId as SourceId
    from energy_core.stream.vocabulary import State as State
    from energy_core.stream.vocabulary import Status as Status
else:
    __getattr__, __dir__, __all__ = lazy_exports(
        __name__,
        {
            "._lazy": "preload",
            ".clock": "Clock SystemClock Timer",
            ".codec.drift": "Drift",
            ".codec.json": "json_backend",
            ".errors": "EnergyError RequestError StreamError",
            ".http.pages": "Pages",
            ".http.pool": "PoolStats SessionPool",
            ".http.token_bucket": "RateLimit",
            ".http.response": "Timeouts",
            ".secret": "Secret",
            ".service": "run_service",
            ".stream.checkpoint": "Checkpoint CheckpointStore FileCheckpoint",
            ".stream.consumer": "Batches Subscription TimeOrdered",
            ".stream.event": "Event",
            ".stream.merge": "MergedStream merge",
            ".stream.reconnect": "SocketConfig",
            ".stream.status": "SourceStatus",
            ".stream.vocabulary": "AlarmChange Dropped Gap Kind Quantity SourceId State Status",
        },
    )

logging.getLogger(__name__).addHandler(logging.NullHandler())
