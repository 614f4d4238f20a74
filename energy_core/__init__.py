"""The floor under both vendors: one rate-limited session pool, and event streams in one vocabulary."""

import logging
from typing import TYPE_CHECKING

from energy_core.lazy import lazily

if TYPE_CHECKING:
    from energy_core.choice import SourceFilter, SourcePreference
    from energy_core.errors import (
        AnswerError,
        AuthError,
        AuthFailed,
        BadRequest,
        BodyTooLarge,
        CheckpointError,
        ClientClosed,
        ConnectError,
        ConnectionLost,
        DeadlineExceeded,
        DecodeError,
        EnergyError,
        InternalError,
        InvalidCredentials,
        NoData,
        NotFound,
        OutcomeUnknown,
        PermissionDenied,
        RateLimited,
        RequestError,
        ServerFault,
        SlowConsumer,
        StreamBusy,
        StreamClosed,
        StreamError,
        TLSVerificationError,
        TransportError,
        TwoFactorRequired,
        UnexpectedRedirect,
        WrongLoop,
    )
    from energy_core.home import HomeState, Present
    from energy_core.http.decode import json_backend
    from energy_core.http.lane import RateLimit
    from energy_core.http.pool import SessionPool
    from energy_core.http.transport import Timeouts
    from energy_core.lazy import preload
    from energy_core.meter import EnergyMeter, UnmeasuredRange
    from energy_core.secret import Secret
    from energy_core.service import run_service
    from energy_core.shares import self_consumption, self_sufficiency, weighted_mean
    from energy_core.stream.checkpoint import Checkpoint, CheckpointStore, FileCheckpoint
    from energy_core.stream.event import (
        Backfillable,
        Dropped,
        Event,
        Gap,
        Kind,
        Noting,
        Outlet,
        Quantity,
        Reading,
        Restartable,
        Resumable,
        Source,
        SourceId,
        State,
        Status,
        StreamPosition,
    )
    from energy_core.stream.merge import MergedStream, merge
    from energy_core.stream.poll import LookbackConfig, Polled, PolledReading, Poller, Seen
    from energy_core.stream.state import SourceStatus
    from energy_core.stream.subscription import Subscription
    from energy_core.totals import EnergyTotals
else:
    __getattr__ = lazily(
        __name__,
        {
            "choice": "From Preference",
            "errors": (
                "AnswerError AuthError AuthFailed BadRequest BodyTooLarge CheckpointError "
                "ClientClosed ConnectError ConnectionLost DeadlineExceeded DecodeError EnergyError "
                "InternalError InvalidCredentials NoData NotFound OutcomeUnknown PermissionDenied "
                "RateLimited RequestError ServerFault SlowConsumer StreamBusy StreamClosed "
                "StreamError TLSVerificationError TransportError TwoFactorRequired "
                "UnexpectedRedirect WrongLoop"
            ),
            "home": "HomeState Present",
            "http.decode": "decoding",
            "http.lane": "Limit",
            "http.pool": "SessionPool",
            "http.transport": "Timeouts",
            "lazy": "preload",
            "meter": "EnergyMeter Hole",
            "secret": "Secret",
            "service": "run_service",
            "shares": "self_consumption self_sufficiency weighted_mean",
            "stream.checkpoint": "Checkpoint CheckpointStore FileCheckpoint",
            "stream.event": (
                "Dropped Event Gap Kind Noting Outlet Position Quantity Reading Refillable "
                "Repeatable Resumable Source SourceId State Status"
            ),
            "stream.merge": "MergedStream merge",
            "stream.poll": "Looking Observation Polled Poller Seen",
            "stream.state": "SourceStatus",
            "stream.subscription": "Subscription",
            "totals": "EnergyTotals",
        },
    )

__all__ = [
    "AnswerError",
    "AuthError",
    "AuthFailed",
    "Backfillable",
    "BadRequest",
    "BodyTooLarge",
    "Checkpoint",
    "CheckpointError",
    "CheckpointStore",
    "ClientClosed",
    "ConnectError",
    "ConnectionLost",
    "DeadlineExceeded",
    "DecodeError",
    "Dropped",
    "EnergyError",
    "EnergyMeter",
    "EnergyTotals",
    "Event",
    "FileCheckpoint",
    "Gap",
    "HomeState",
    "InternalError",
    "InvalidCredentials",
    "Kind",
    "LookbackConfig",
    "MergedStream",
    "NoData",
    "NotFound",
    "Noting",
    "OutcomeUnknown",
    "Outlet",
    "PermissionDenied",
    "Polled",
    "PolledReading",
    "Poller",
    "Present",
    "Quantity",
    "RateLimit",
    "RateLimited",
    "Reading",
    "RequestError",
    "Restartable",
    "Resumable",
    "Secret",
    "Seen",
    "ServerFault",
    "SessionPool",
    "SlowConsumer",
    "Source",
    "SourceFilter",
    "SourceId",
    "SourcePreference",
    "SourceStatus",
    "State",
    "Status",
    "StreamBusy",
    "StreamClosed",
    "StreamError",
    "StreamPosition",
    "Subscription",
    "TLSVerificationError",
    "Timeouts",
    "TransportError",
    "TwoFactorRequired",
    "UnexpectedRedirect",
    "UnmeasuredRange",
    "WrongLoop",
    "json_backend",
    "merge",
    "preload",
    "run_service",
    "self_consumption",
    "self_sufficiency",
    "weighted_mean",
]


def __dir__() -> list[str]:
    return __all__


logging.getLogger(__name__).addHandler(logging.NullHandler())
