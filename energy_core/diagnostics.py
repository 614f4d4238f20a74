"""One JSON document about a client for an issue or a support request; it names no account, site or person."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Iterator, Mapping
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Final

from energy_core.codec.json import JSON, json_backend

if TYPE_CHECKING:
    from energy_core.clock import VendorClock
    from energy_core.codec.drift import Drift
    from energy_core.errors import EnergyError
    from energy_core.http.pool import SessionPool
    from energy_core.stream.merge import MergedStream
    from energy_core.stream.status import SourceStatus
    from energy_core.stream.vocabulary import SourceId

_PACKAGES: Final = ("energy-live", "aiohttp", "websockets", "attrs", "cattrs", "msgspec", "orjson", "uvloop")
_MASK: Final = "***"
# A server's text is quoted in messages; portal ids are twelve hex digits, other numbers shorter.
_PRIVATE: Final = re.compile(
    r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|\S+@\S+|\b[0-9a-fA-F]{12,}\b|\b\d{6,}\b"
)


def diagnose(
    vendor: str,
    pool: SessionPool,
    drift: Drift,
    vendor_clock: VendorClock,
    events: MergedStream | None,
) -> dict[str, JSON]:
    """Return the document. Needs a running event loop.

    Account names and the numbers of sites and products are replaced by running numbers. Messages are kept
    without quoted text, e-mail addresses and long numbers.
    """
    return {
        "vendor": vendor,
        "versions": _versions(),
        "clock_offset_s": vendor_clock.offset_s,
        "pool": _pool(pool),
        "drift": [
            {"model": model, "field": _masked(field), "problem": _masked(problem), "count": count}
            for (model, field, problem), count in sorted(drift.counts.items())
        ],
        "sources": [] if events is None else list(_sources(vendor, events.status)),
    }


def _versions() -> dict[str, JSON]:
    found: dict[str, JSON] = {
        "python": platform.python_version(),
        "platform": sys.platform,
        "json": json_backend(),
    }
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def _pool(pool: SessionPool) -> dict[str, JSON]:
    stats = pool.stats()
    accounts: list[JSON] = [
        {
            "account": number,
            "origin": origin,
            "level": round(limiter.level, 3),
            "rate": round(limiter.rate, 3),
            "waiting": {priority.name.lower(): count for priority, count in limiter.waiting.items()},
            "in_flight": limiter.in_flight,
            "hold_s": round(limiter.hold_s, 3),
            "granted": limiter.granted,
            "throttled": limiter.throttled,
        }
        for number, ((origin, _), limiter) in enumerate(stats.limiters.items(), start=1)
    ]
    return {"sent": stats.sent, "in_flight": stats.in_flight, "accounts": accounts}


def _sources(vendor: str, status: Mapping[SourceId, SourceStatus]) -> Iterator[dict[str, JSON]]:
    numbers: dict[str, int] = {}
    for source, one in sorted(status.items()):
        if source.vendor == vendor:
            site = numbers.setdefault(source.site, len(numbers) + 1)
            yield {"site": site, "instance": source.instance} | _state(one)


def _state(one: SourceStatus) -> dict[str, JSON]:
    counters: dict[str, JSON] = {
        name: getattr(one, name)
        for name in ("readings", "backfilled", "late", "dropped", "gaps", "refused", "restarts")
    }
    return {
        "state": one.state.value,
        "since": _time(one.since),
        "age_s": round(one.age_s, 3),
        "reason": _masked(one.reason),
        "retry_in_s": one.retry_in,
        "last": _time(one.last),
        "quiet_s": one.quiet_s,
        "clock_offset_s": one.clock_offset_s,
        "pending": len(one.pending),
        "error": _error(one.error),
        "notes": {name: _masked(note) if isinstance(note, str) else note for name, note in one.notes.items()},
        **counters,
    }


def _error(error: EnergyError | None) -> JSON:
    if error is None:
        return None
    return {
        "type": type(error).__name__,
        "status": getattr(error, "status", None),
        "text": _masked(str(error)),
    }


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _masked(text: str) -> str:
    return _PRIVATE.sub(_MASK, text)
