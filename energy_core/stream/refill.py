"""The outlet of a source that fetches again what one consumer had no room for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple, TypeAlias

from energy_core.clock import Clock
from energy_core.printable import printable
from energy_core.stream.dedupe import NOT_RECORDED, TOO_MANY_GAPS
from energy_core.stream.event import Reading
from energy_core.stream.subscriber import Stretch, Subscriber
from energy_core.stream.validation import ReadingValidator, admit_stretch
from energy_core.stream.vocabulary import Gap, Kind, Quantity, SourceId, State

RETRY_S: Final = (60.0, 300.0, 900.0)
"""What a refill did not bring is asked for again so long after it."""

_MOST: Final = 8

Fetched: TypeAlias = tuple[str | None, Sequence[Stretch]]
"""Why a refill failed, None if it did not; and the stretches that it could not prove to be whole."""


class RefillOutlet:
    """Takes readings of one source for one line; of any other source it takes nothing.

    Args:
        line: Whose.
        source: Of what.
        late: Live readings did not wait for these.
    """

    def __init__(self, line: Subscriber, source: SourceId, *, late: bool = False) -> None:
        self._put = line.late if late else line.refill
        self._line = line
        self._source = source
        self._admit = ReadingValidator().admit

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

    def readings(self, source: SourceId, readings: Sequence[Reading]) -> None:
        """Take several, likewise."""
        self._admit(source, readings)
        if source == self._source and not self._line.buffer.ended:
            received_at = self._line.clock.utcnow()
            for each in readings:
                reading = each._replace(backfilled=True)
                self._put(source, reading, received_at)

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
            self._line.put_control(track, source, Kind.GAP, gap, end, now)

    def pending(self, source: SourceId, stretches: Sequence[Stretch]) -> None:
        """Let it be: what a refill returns is asked for again."""

    async def room(self) -> None:
        """Wait until the consumer has room."""
        await self._line.buffer.room()


class _Later(NamedTuple):
    line: Subscriber
    source: SourceId
    stretch: Stretch


class LaterRefills:
    """Asks again for what refills did not bring, while live readings go on.

    Args:
        clock: Where time comes from.
        ask: Asks once.
        lack: Reports to a consumer that a stretch is missing, and why.
        retry_s: When, in seconds since the refill.
    """

    __slots__ = ("_ask", "_clock", "_lack", "_retry_s", "tasks")

    def __init__(
        self,
        clock: Clock,
        ask: Callable[[Subscriber, SourceId, Stretch], Awaitable[Fetched]],
        lack: Callable[[Subscriber, SourceId, Stretch, str], None],
        *,
        retry_s: Sequence[float],
    ) -> None:
        self.tasks: dict[asyncio.Task[None], _Later] = {}
        self._clock = clock
        self._ask = ask
        self._lack = lack
        self._retry_s = retry_s

    @property
    def stretches(self) -> list[Stretch]:
        """What is still to be asked for."""
        return [each.stretch for each in self.tasks.values()]

    def add(self, line: Subscriber, source: SourceId, stretch: Stretch) -> None:
        """Ask later for a stretch that a line lacks."""
        if len(self.tasks) >= _MOST:
            self._lack(line, source, stretch, TOO_MANY_GAPS)
            return
        work = self._run(_Later(line, source, stretch))
        task = asyncio.get_running_loop().create_task(work, name=f"energy later refill of {source}")
        self.tasks[task] = _Later(line, source, stretch)
        line.menders.add(task)
        self._show(line, source)
        task.add_done_callback(self._ended)

    async def _run(self, later: _Later) -> None:
        line, source, stretch = later
        since, trouble = self._clock.monotonic(), None
        missing: list[Stretch] = [stretch]
        for wait in self._retry_s:
            await self._clock.sleep(max(0.0, since + wait - self._clock.monotonic()))
            asked, missing = missing, []
            for each in asked:
                trouble, again = await self._ask(line, source, each)
                missing += [each] if trouble else again
            if not missing:
                return
        for each in missing:
            self._lack(line, source, each, trouble or NOT_RECORDED)

    def _ended(self, task: asyncio.Task[None]) -> None:
        later = self.tasks.pop(task)
        later.line.menders.discard(task)
        if task.cancelled():
            self._lack(*later, NOT_RECORDED)
        self._show(later.line, later.source)

    def _show(self, line: Subscriber, source: SourceId) -> None:
        """Say what the line still waits for; once it has ended, that stays as it was."""
        if not line.buffer.ended:
            mine = [each.stretch for each in self.tasks.values() if each[:2] == (line, source)]
            line.tracks[source].wait_for(mine, by_refill=True)

    @printable
    def __repr__(self) -> str:
        return f"<LaterRefills, {len(self.tasks)} under way>"
