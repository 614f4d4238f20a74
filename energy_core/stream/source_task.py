"""The supervised task of one source: starts it, resumes it, and reports how it ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Final, TypeAlias

from energy_core.errors import AuthError, ClientClosed, EnergyError, InternalError
from energy_core.printable import printable
from energy_core.stream.fanout import Fanout, Lack
from energy_core.stream.outlet import SourceOutlet
from energy_core.stream.source import Outlet, Source, StreamPosition
from energy_core.stream.status import SiteState, SourceStatus
from energy_core.stream.subscriber import Subscriber
from energy_core.stream.vocabulary import Kind, SourceId, State, Status

_log: Final = logging.getLogger("energy_core.stream")

NOT_RESUMABLE: Final = "not_resumable"
"""Reason of a gap: between a checkpoint and the start of a source that cannot fetch the past."""

_CONNECTED: Final = frozenset({State.LIVE, State.BACKFILLING, State.STALE})
"""States of a source in which the states of its single sites are meaningful."""

Join: TypeAlias = Callable[["SourceTask"], Mapping[SourceId, StreamPosition]]
"""Registers a task under the final id of its source; returns where a consumer stopped there."""


class SourceTask(SourceOutlet):
    """Runs one source in a task of its own, and is its outlet.

    Refers to the `Fanout` and never to the merged stream: a stream that was forgotten can be garbage
    collected, and stop its sources, while they still run.

    Args:
        source: The source.
        fanout: The subscribers of the stream.
        restarts: How often the source was restarted before.
    """

    __slots__ = (
        *("__weakref__", "_bug", "_identify", "_join", "_lacks", "_not_resumed"),
        *("_passive", "_refills", "restarts", "task"),
    )

    def __init__(self, source: Source, fanout: Fanout, *, restarts: int = 0) -> None:
        super().__init__(source, fanout)
        self.task: asyncio.Task[None] | None = None
        self.restarts = restarts
        self._identify: Callable[[Outlet], Awaitable[None]] | None = getattr(source, "identify", None)
        self._passive: bool = getattr(source, "passive", False)
        self._join: Join | None = None
        self._lacks: list[Lack] = []
        self._not_resumed: Mapping[SourceId, datetime] = {}
        self._bug: Exception | None = None

    # --- state ---------------------------------------------------------------------------------------------

    def snapshot(self) -> SourceStatus:
        """Return the state of the source as of now."""
        state, now = self.state, self._fanout.clock.utcnow()
        retry_at = state.retry_at
        pending = {span for spans in self.pending_spans.values() for span in spans}
        for subscriber in self._fanout.subscribers:
            for source in self.device_ids & subscriber.refills.keys():
                pending.update(subscriber.refills[source].pending)
        return SourceStatus(
            state=state.state,
            since=state.since,
            age_s=max(0.0, (now - state.since).total_seconds()),
            reason=state.reason,
            retry_in=None if retry_at is None else max(0.0, (retry_at - now).total_seconds()),
            readings=self.readings_count,
            last=self.last,
            quiet_s=_seconds_since(self.received_at, now),
            backfilled=self.backfilled,
            late=self.late,
            dropped=self.dropped,
            gaps=self.gaps,
            refused=self.rejected,
            pending=tuple(sorted(pending)),
            clock_offset_s=None if self.vendor_clock is None else self.vendor_clock.offset_s,
            restarts=self.restarts,
            notes=MappingProxyType(dict(getattr(self.source, "notes", {}))),
            error=self.error,
        )

    def site_snapshots(self) -> Mapping[SourceId, SourceStatus]:
        """Return the state of each single site; that of the source while it is not connected."""
        return {site: self._site_snapshot(own) for site, own in self.sites.items()}

    def _site_snapshot(self, site: SiteState) -> SourceStatus:
        state = site.state if self.state.state in _CONNECTED else self.state
        now = self._fanout.clock.utcnow()
        return SourceStatus(
            state=state.state,
            since=state.since,
            age_s=max(0.0, (now - state.since).total_seconds()),
            reason=state.reason,
            readings=site.readings,
            last=site.last,
            quiet_s=_seconds_since(site.received_at, now),
        )

    # --- start and end -------------------------------------------------------------------------------------

    def start(self, join: Join) -> None:
        """Start the task.

        Args:
            join: Called once the id of the source is final, before any event but that of a failure.
        """
        if self.identified:
            self._resume(join(self))
        else:
            self._join = join
        loop = asyncio.get_running_loop()
        self.task = loop.create_task(self._run(), name=f"energy source {self.id}")
        if not self._passive:
            self._fanout.source_started(self)
        self.task.add_done_callback(self._on_done)

    def stop(self) -> None:
        """Cancel the task."""
        if self.task is not None:
            self.task.cancel()

    def catch_up(self, subscriber: Subscriber) -> None:
        """Fetch for a subscriber that joins now what it lacks since its checkpoint, or report a gap."""
        if self.identified and not self.closed:  # otherwise the source resumes it when it begins
            for _, source, start, end in self._fanout.resume_late(subscriber, self, self.device_ids):
                subscriber.fetch(source, start, end)

    async def _run(self) -> None:
        """Run the source to its end and report how it ended. Raises CancelledError only."""
        try:
            self._finish(*await self._outcome())
        except asyncio.CancelledError:
            task = asyncio.current_task()
            # Otherwise the source raised it by itself, or awaited something that was cancelled.
            if task is not None and task.cancelling():
                self._finish(State.CLOSED, None, "cancelled")
                raise
            self._finish(State.FAILED, self.internal_error(None))

    async def _outcome(self) -> tuple[State, EnergyError | None]:
        """Run the source; return its last state, and its error if it failed."""
        try:
            if not self.identified and self._identify is not None:
                await self._identify(self)
                self._on_identified()
            self._begin()
            await self.source.run(self)
        except AuthError as error:
            return State.AUTH_FAILED, error
        except ClientClosed as error:
            return State.CLOSED, error
        except InternalError as error:
            return State.FAILED, self.internal_error(error)
        except EnergyError as error:
            return State.FAILED, error
        except Exception as error:  # noqa: BLE001  (an error of one source must not stop the others)
            return State.FAILED, self.internal_error(error)
        finally:
            # Before the last status: a refill may still report a gap.
            self.ending = True
            for task in self.refill_tasks:
                task.cancel()
            if self.refill_tasks:
                await asyncio.wait(self.refill_tasks)
        return State.CLOSED, None

    def _on_identified(self) -> None:
        self.identified = True
        if self._join is not None:
            join, self._join = self._join, None
            self._resume(join(self))

    def _begin(self) -> None:
        """Report the start, and gaps where the source cannot resume."""
        if self._fanout.include_status:
            self._fanout.put_control(self, self.id, Kind.STATUS, Status(state=State.CONNECTING))
        now = self._fanout.clock.utcnow()
        for source, since in self._not_resumed.items():
            self.gap(source, start=min(since, now), end=now, reason=NOT_RESUMABLE)
        for subscriber, source, start, end in self._lacks:
            subscriber.fetch(source, start, end)
        if self._bug is not None:
            raise self._bug

    def _resume(self, positions: Mapping[SourceId, StreamPosition]) -> None:
        if not positions:
            return
        self.device_ids.update(positions)
        self._lacks = self._fanout.resume(self, positions)
        self._alarms.resume(positions)
        resume: Callable[[Mapping[SourceId, StreamPosition]], None] | None = getattr(
            self.source, "resume", None
        )
        if resume is not None:
            try:
                resume(positions)
            except Exception as error:  # noqa: BLE001  (raised by `_begin`, inside the source's own task)
                self._bug = error
        else:
            self._not_resumed = {source: position.time for source, position in positions.items()}

    def _finish(self, state: State, error: EnergyError | None = None, reason: str = "") -> None:
        self.error, self.closed = error, True
        for subscriber in self._fanout.subscribers:
            for source in self.device_ids:
                subscriber.on_source_end(source)
        self.change_state(state, reason or (str(error) if error else ""), None)

    def _on_done(self, task: asyncio.Task[None]) -> None:
        """Report the end to the fanout, which ends the stream with the last source."""
        if not self.closed:  # cancelled before its first step, or stopped by the interpreter
            self._finish(State.CLOSED, None, "cancelled")
        if not task.cancelled():
            task.exception()  # otherwise asyncio logs that it was never retrieved
        failed = self.state.state in {State.FAILED, State.AUTH_FAILED}
        if not self._passive:
            self._fanout.source_ended(self, self.error if failed else None)

    @printable
    def __repr__(self) -> str:
        return f"<SourceTask {self.id} {self.state.state}, {self.readings_count} readings>"


def _seconds_since(time: datetime | None, now: datetime) -> float | None:
    return None if time is None else max(0.0, (now - time).total_seconds())
