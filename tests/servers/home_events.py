"""Builds events with sequence numbers and `late` flags as a stream does."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from energy_core.stream.event import Event
from energy_core.stream.vocabulary import Gap, Kind, Quantity, SourceId, State, Status

START = datetime(2026, 6, 1, 10, 0, tzinfo=UTC)
HOME = SourceId("test", "me", "home")


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


class EventMaker:
    """Builds the events of one source in the order of the calls."""

    def __init__(self, source: SourceId = HOME) -> None:
        self.source = source
        self.seq = 0
        self.newest: datetime | None = None

    def reading(
        self,
        seconds: float,
        values: Mapping[Quantity, float],
        *,
        backfilled: bool = False,
        revision: int = 0,
        received_s: float | None = None,
    ) -> Event:
        time = at(seconds)
        late = self.newest is not None and time < self.newest
        self.newest = self.newest if late else time
        return self._event(Kind.READING, time)._replace(
            received_at=time if received_s is None else at(received_s),
            id=f"{seconds}",
            values=values,
            backfilled=backfilled,
            late=late,
            revision=revision,
        )

    def status(self, state: State) -> Event:
        return self._event(Kind.STATUS, START, Status(state=state))

    def gap(self, start: float, end: float, *only: Quantity) -> Event:
        detail = Gap(start=at(start), end=at(end), reason="failed", quantities=only)
        return self._event(Kind.GAP, at(end), detail)

    def lose(self, count: int = 1) -> None:
        """Skip sequence numbers, as for dropped events."""
        self.seq += count

    def _event(self, kind: Kind, time: datetime, detail: Status | Gap | None = None) -> Event:
        self.seq += 1
        return Event(
            source=self.source,
            kind=kind,
            key=f"{self.source}/{kind}",
            time=time,
            received_at=time,
            seq=self.seq,
            id=f"{kind}:{self.seq}",
            detail=detail,
        )
