"""Readings become events: numbered, and frozen from then on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from energy_core.stream.detail import Kind, SourceId
from energy_core.stream.event import Draft, Event, Said, put_raw

_READING: Final = Kind.READING


def shared_events(like: Sequence[Event | None], first: int, last: int) -> list[Event] | None:
    """Return the events of another line if all are there, in time, and have these numbers."""
    events = [event for event in like if event is not None and not event.late]
    if len(events) < len(like) or (events[0].seq, events[-1].seq) != (first, last):
        return None
    return events


def to_events(  # noqa: PLR0917  (called for every reading: keywords cost time)
    key: str, source: SourceId, readings: Sequence[Said], seq: int, received_at: datetime, late: bool
) -> list[Event]:
    """Number readings, from `seq` on."""
    events: list[Event] = []
    new, put = Draft.__new__, put_raw
    for reading in readings:
        draft = new(Draft)  # its own __init__ would take three times as long
        draft.source = source
        draft.kind = _READING
        draft.key = key
        draft.time, draft.id, draft.values, raw, draft.backfilled, draft.revision = reading
        put(draft, raw)
        draft.received_at = received_at
        draft.seq = seq
        draft.detail = None
        draft.late = late
        draft.__class__ = Event
        events.append(draft)  # type: ignore[arg-type]  # it is one now
        seq += 1
    return events
