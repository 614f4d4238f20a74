"""The outlet of a source that fetches again what one consumer had no room for."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from energy_core.stream.admission import Gate, admit_stretch
from energy_core.stream.detail import Gap, Kind, SourceId, State
from energy_core.stream.event import Reading, Said
from energy_core.stream.line import Line
from energy_core.stream.quantity import Quantity


class RefillOutlet:
    """Takes readings of one source for one line; of any other source it takes nothing."""

    def __init__(self, line: Line, source: SourceId) -> None:
        self._line = line
        self._source = source
        self._admit = Gate().admit

    def reading(
        self,
        source: SourceId,
        *,
        time: datetime,
        id: str,  # noqa: A002  (the event's own word)
        values: Mapping[Quantity, float],
        raw: Mapping[str, object],
        backfilled: bool = True,  # noqa: ARG002  (it is)
        revision: int = 0,
    ) -> None:
        """Take one reading, as backfilled whatever it says, unless the consumer has it."""
        self.readings(source, (Reading(time, id, values, raw, True, revision),))

    def readings(self, source: SourceId, readings: Sequence[Said]) -> None:
        """Take several, likewise."""
        self._admit(source, readings)
        if source == self._source and not self._line.buffer.ended:
            received_at = self._line.clock.utcnow()
            for each in readings:
                reading = Reading(*each)._replace(backfilled=True)
                self._line.refill(source, reading, received_at)

    def status(
        self, state: State, *, reason: str = "", retry_in: float | None = None, about: SourceId | None = None
    ) -> None:
        """Let it be: a refill beside the live link does not change how the source is doing."""

    def gap(
        self,
        source: SourceId,
        *,
        start: datetime,
        end: datetime,
        reason: str,
        quantities: Collection[Quantity] = (),
    ) -> None:
        """Tell the consumer of a stretch that cannot be fetched either."""
        admit_stretch(source, start, end)
        if source == self._source and not self._line.buffer.ended:
            track, now = self._line.tracks[source], self._line.clock.utcnow()
            gap = Gap(start=start, end=end, reason=reason, quantities=tuple(quantities))
            self._line.note(track, source, Kind.GAP, gap, end, now)

    async def room(self) -> None:
        """Wait until the consumer has room."""
        await self._line.buffer.room()
