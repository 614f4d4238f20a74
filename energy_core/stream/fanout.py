"""What the feeds of one stream share: the clock, the consumers' lines, and who speaks for which source."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Protocol

from energy_core.clock import Clock
from energy_core.errors import EnergyError
from energy_core.stream.buffer import first_relief
from energy_core.stream.event import StreamPosition
from energy_core.stream.subscriber import Subscriber, SubscriberOwner
from energy_core.stream.vocabulary import Detail, Kind, SourceId


class RunningSource(Protocol):
    """A feed, as far as the others care."""

    def stop(self) -> None:
        """Cancel it."""


class Fanout:
    """Hands what a feed says to every consumer's line."""

    def __init__(self, clock: Clock, *, include_status: bool = True, fail_fast: bool = False) -> None:
        self.clock = clock
        self.include_status = include_status
        self.lines: tuple[Subscriber, ...] = ()
        self.ended = False
        self.running: set[RunningSource] = set()
        self._fail_fast = fail_fast
        self._keys: dict[SourceId, str] = {}

    def note(
        self,
        owner: SubscriberOwner,
        source: SourceId,
        kind: Kind,
        detail: Detail,
        *,
        time: datetime | None = None,
    ) -> None:
        """Put an event that is not a reading into every line."""
        now = self.clock.utcnow()
        for line in self.lines:
            if not line.buffer.ended:
                track = line.track(source, owner, self.key(source))
                line.put_control(track, source, kind, detail, time or now, now)

    async def room(self) -> None:
        """Wait until any consumer has room: the slowest does not hold up the others."""
        while True:
            buffers = [line.buffer for line in self.lines if not line.buffer.ended]
            if self.ended or not buffers or any(buffer.roomy for buffer in buffers):
                return
            await first_relief(buffers)

    def key(self, source: SourceId) -> str:
        """Return the key of a source's readings, made once."""
        key = self._keys.get(source)
        if key is None:
            key = self._keys[source] = f"{source}/{Kind.READING}"
        return key

    def forget(self, source: SourceId) -> None:
        """Keep little of a source that was removed."""
        self._keys.pop(source, None)
        for line in self.lines:
            line.forget(source)

    def resume(self, owner: SubscriberOwner, positions: Mapping[SourceId, StreamPosition]) -> None:
        """Let every line go on where a consumer stopped."""
        for source, position in positions.items():
            for line in self.lines:
                line.resume(line.track(source, owner, self.key(source)), position)

    def deliver(
        self, sources: Iterable[SourceId], owner: SubscriberOwner
    ) -> Mapping[SourceId, StreamPosition]:
        """Let a restarted feed speak for the sources of the one before, and return where that stopped."""
        sources = tuple(sources)
        for line in self.lines:
            for source in sources:
                track = line.tracks.get(source)
                if track is not None:
                    track.owner = owner
                    track.doubt = track.newest
        return self.delivered(sources)

    def delivered(self, sources: Iterable[SourceId]) -> dict[SourceId, StreamPosition]:
        """Return how far these have been put in line, consumed or not.

        Of a line that is behind the others, what it lacks was reported to it as a gap when the source ended.
        """
        found: dict[SourceId, StreamPosition] = {}
        for source in sources:
            tracks = [track for line in self.lines if (track := line.tracks.get(source)) is not None]
            reached = [position for track in tracks if (position := track.position()) is not None]
            if reached:
                found[source] = max(reached, key=_time)
        return found

    def transfer_devices(self, owner: SubscriberOwner) -> None:
        """Let a feed speak for what an earlier one of its name has spoken for."""
        for line in self.lines:
            for track in line.tracks.values():
                if track.owner.id == owner.id:
                    track.owner = owner

    def began(self, member: RunningSource) -> None:
        """Note that a source runs; where all had ended, the stream goes on."""
        self.running.add(member)
        if self.ended:
            self.ended = False
            for line in self.lines:
                line.buffer.reopen()

    def over(self, member: RunningSource, error: EnergyError | None) -> None:
        """Note that a source has ended: with the last of them the stream has, or at once if it fails fast."""
        self.running.discard(member)
        if self._fail_fast and error is not None and not self.ended:
            self.end(error)
            for other in tuple(self.running):
                other.stop()
        elif not self.running:
            self.end()

    def end(self, error: EnergyError | None = None) -> None:
        """Take nothing more; what is in the lines is still handed out."""
        if not self.ended:
            self.ended = True
            for line in self.lines:
                line.buffer.end(error)

    def close(self) -> None:
        """Take and hand out nothing more."""
        self.ended = True
        for line in self.lines:
            line.buffer.close()


def _time(position: StreamPosition) -> datetime:
    return position.time
