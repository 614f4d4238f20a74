"""Saves checkpoints beside a stream, and never in its way."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, TypeAlias

from energy_core.clock import Clock
from energy_core.errors import CheckpointError
from energy_core.stream.checkpoint import Checkpoint, CheckpointStore, from_credential
from energy_core.stream.detail import SourceId
from energy_core.stream.progress import CommitTracker

OnCorrupt: TypeAlias = Literal["raise", "latest"]
"""What a checkpoint that cannot be used leads to: an error, or a start from now."""

_AHEAD: Final = timedelta(days=1)
"""No reading is delivered that is further in the future."""

_SET: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""A clock before this program's own time has not been set yet and is ignored."""

INTERVAL_S: Final = 5.0
"""So often a checkpoint is saved while anything is consumed."""

_log: Final = logging.getLogger("energy_core.stream")


async def load(
    store: CheckpointStore | Checkpoint, sources: set[SourceId], on_corrupt: OnCorrupt, now: datetime
) -> Checkpoint:
    """Return where to begin.

    Raises:
        CheckpointError: what is stored cannot be used, and `on_corrupt` is "raise".
    """
    try:
        if isinstance(store, Checkpoint):
            return _fitting(store, sources, now)
        text = await store.load()
        return Checkpoint() if text is None else _fitting(Checkpoint.from_json(text), sources, now)
    except CheckpointError as trouble:
        trouble.path = trouble.path or getattr(store, "path", None)
        if on_corrupt == "raise":
            raise
        _log.warning("starting from now: %s", trouble.fault)
        return Checkpoint()


def _fitting(checkpoint: Checkpoint, sources: set[SourceId], now: datetime) -> Checkpoint:
    known = set(checkpoint.positions)
    if (
        known
        and not known & sources
        and not any(_may_mean(owner, each) for owner in known for each in sources)
    ):
        names = ", ".join(map(str, sorted(known)[:3]))
        raise CheckpointError(f"the checkpoint is of other sources, {names}", kind="sources")
    newest = max((at.time for each in checkpoint.positions.values() for at in each.values()), default=now)
    if newest > now + _AHEAD and now > _SET:
        raise CheckpointError(
            f"the checkpoint is from the future, {newest.isoformat()}, or the clock of this machine is wrong"
        )
    return checkpoint


def _may_mean(stored: SourceId, source: SourceId) -> bool:
    """Whether a stored id may be a source's: its label is not known yet, or an older version made another."""
    return stored.is_like(source) and (not source.identified or from_credential(stored))


class CheckpointSaver:
    """Saves every few seconds, where anything has changed, and once more at the end."""

    def __init__(self, store: CheckpointStore, progress: CommitTracker, clock: Clock) -> None:
        self._store = store
        self._progress = progress
        self._clock = clock
        self._troubled = False
        self._hurry = asyncio.Event()
        progress.on_news = self._hurry.set
        self._task = asyncio.get_running_loop().create_task(self._run(), name="energy checkpoints")

    async def close(self, grace_s: float) -> None:
        """Save what is not saved yet and stop; after the grace, stop anyway."""
        self._task.cancel()
        await asyncio.wait({self._task})
        last = asyncio.get_running_loop().create_task(self._save(), name="energy last checkpoint")
        try:
            _, stuck = await asyncio.wait({last}, timeout=grace_s)
        except asyncio.CancelledError:
            last.cancel()
            raise
        if stuck:
            last.cancel()
            _log.error("the last checkpoint could not be saved within %g s", grace_s)

    def abandon(self) -> None:
        """Stop, because the stream was forgotten."""
        self._task.cancel()

    async def _run(self) -> None:
        """Save at once when a source begins or brings its first event, then every few seconds."""
        while True:
            self._hurry.clear()
            await self._save()
            timer = self._clock.call_at(self._clock.monotonic() + INTERVAL_S, self._hurry.set)
            try:
                await self._hurry.wait()
            finally:
                timer.cancel()

    async def _save(self) -> None:
        if not self._progress.changed:
            return
        try:
            await self._store.save(self._progress.checkpoint().to_json())
        except asyncio.CancelledError:
            self._progress.changed = True
            raise
        except Exception as trouble:  # noqa: BLE001  (a store may raise anything, and the stream goes on)
            self._progress.changed = True
            if not self._troubled:
                _log.error("the checkpoint could not be saved, trying again: %s", trouble)
            self._troubled = True
        else:
            self._troubled = False
