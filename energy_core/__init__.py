"""The floor under both vendors: one rate-limited session pool, and event streams in one vocabulary."""

import logging
from typing import TYPE_CHECKING

from energy_core._lazy import lazily

if TYPE_CHECKING:
    from energy_core._lazy import preload
    from energy_core.codec.json import json_backend
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
    from energy_core.home.meter import EnergyMeter, UnmeasuredRange
    from energy_core.home.preference import SourceFilter, SourcePreference
    from energy_core.home.state import HomeState, Present
    from energy_core.home.totals import EnergyTotals, self_consumption, self_sufficiency, weighted_mean
    from energy_core.http.pool import SessionPool
    from energy_core.http.rate_limit import RateLimit
    from energy_core.http.response import Timeouts
    from energy_core.secret import Secret
    from energy_core.service import run_service
    from energy_core.stream.checkpoint import Checkpoint, CheckpointStore, FileCheckpoint
    from energy_core.stream.consumer import Subscription
    from energy_core.stream.event import (
        Backfillable,
        Event,
        Noting,
        Outlet,
        Reading,
        Restartable,
        Resumable,
        Source,
        StreamPosition,
    )
    from energy_core.stream.lookback import LookbackConfig
    from energy_core.stream.lookback_match import Polled, PolledReading, Seen
    from energy_core.stream.merge import MergedStream, merge
    from energy_core.stream.poll import Poller
    from energy_core.stream.status import SourceStatus
    from energy_core.stream.vocabulary import Dropped, Gap, Kind, Quantity, SourceId, State, Status
else:
    __getattr__ = lazily(
        __name__,
        {
            "_lazy": ("preload "),
            "codec.json": ("json_backend "),
            "errors": (
                "AnswerError AuthError AuthFailed BadRequest BodyTooLarge CheckpointError "
                "ClientClosed ConnectError ConnectionLost DeadlineExceeded DecodeError "
                "EnergyError InternalError InvalidCredentials NoData NotFound OutcomeUnknown "
                "PermissionDenied RateLimited RequestError ServerFault SlowConsumer StreamBusy "
                "StreamClosed StreamError TLSVerificationError TransportError TwoFactorRequired "
                "UnexpectedRedirect WrongLoop "
            ),
            "home.meter": ("EnergyMeter UnmeasuredRange "),
            "home.preference": ("SourceFilter SourcePreference "),
            "home.state": ("HomeState Present "),
            "home.totals": ("EnergyTotals self_consumption self_sufficiency weighted_mean "),
            "http.pool": ("SessionPool "),
            "http.rate_limit": ("RateLimit "),
            "http.response": ("Timeouts "),
            "secret": ("Secret "),
            "service": ("run_service "),
            "stream.checkpoint": ("Checkpoint CheckpointStore FileCheckpoint "),
            "stream.consumer": ("Subscription "),
            "stream.event": (
                "Backfillable Event Noting Outlet Reading Restartable Resumable Source StreamPosition "
            ),
            "stream.lookback": ("LookbackConfig "),
            "stream.lookback_match": ("Polled PolledReading Seen "),
            "stream.merge": ("MergedStream merge "),
            "stream.poll": ("Poller "),
            "stream.status": ("SourceStatus "),
            "stream.vocabulary": ("Dropped Gap Kind Quantity SourceId State Status "),
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
