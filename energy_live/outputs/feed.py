"""`OutputFeed`: feeds one output from a subscription of its own, and tries again while it is down."""

from __future__ import annotations

import asyncio
import logging
import random as _random
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TypeVar

from energy_core.clock import Clock, SystemClock
from energy_core.errors import CheckpointError, EnergyError
from energy_core.printable import printable
from energy_core.retry_after import full_jitter
from energy_core.stream.checkpoint import Checkpoint, CheckpointStore
from energy_core.stream.consumer import Subscription
from energy_core.stream.event import Event
from energy_core.stream.merge import MergedStream
from energy_core.stream.vocabulary import Kind
from energy_live.outputs.choice import ChoiceFilter, OutputChoice
from energy_live.outputs.feed_status import FeedConfig, OutputState, OutputStatus
from energy_live.outputs.output import Output, OutputError, RefusedEvent
from energy_live.outputs.set_aside import set_aside

_log: Final = logging.getLogger("energy_live.outputs")

T = TypeVar("T")

_PERMANENT_S: Final = 300.0
"""Seconds between two attempts while only the user can help."""


class OutputFeed:
    """Feeds one output from a subscription of its own.

    `open` it before the stream is opened, so that it misses nothing; then `start`. `aclose` writes what is
    pending and closes the output. A failure of one output never affects the stream or another output.

    Args:
        name: Names it in the log and in `status`; unique within a program.
        output: The store or broker; owned by the feed from now on.
        choice: Which events it gets.
        config: Sizes and times.
        positions: Where the position is kept; needed unless the output keeps it, and used while that is
            down at the start. None: a program without a memory.
        since: Where an output that is empty begins, aware; None: at the present.
        refused: File to which events are appended that the store refused; None: they are counted only.
        clock: Source of time, for tests.
        random: Returns numbers in [0, 1), for tests.
    """

    def __init__(
        self,
        name: str,
        output: Output,
        *,
        choice: OutputChoice | None = None,
        config: FeedConfig | None = None,
        positions: CheckpointStore | None = None,
        since: datetime | None = None,
        refused: Path | None = None,
        clock: Clock | None = None,
        random: Callable[[], float] = _random.random,
    ) -> None:
        self.name = name
        self.on_written: Callable[[Sequence[Event]], None] | None = None
        """Called with all events of a batch, chosen or not, once the chosen ones are written."""
        self._output = output
        self._filter = ChoiceFilter(choice or OutputChoice())
        self._config = config or FeedConfig()
        self._positions = positions
        self._since_time = since
        self._refused_file = refused
        self._clock = clock or SystemClock()
        self._random = random
        self._stream: MergedStream | None = None
        self._subscription: Subscription | None = None
        self._task: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()
        self._left: int | None = None  # events to be written before it closes
        self._is_open = False
        self._resumed = False  # whether the subscription began at a known position
        self._batch: Sequence[Event] = ()  # taken from the subscription and not written yet
        self._unsaved: Checkpoint | None = None
        self._saved_at = 0.0
        self._state, self._since = OutputState.CONNECTING, self._clock.utcnow()
        self._reason, self._retry_at = "", 0.0
        self._attempt = 0  # since the last success
        self._written = self._gaps = self._refused = self._failures = 0
        self._written_at: datetime | None = None
        self._newest: datetime | None = None

    # --- start and end -------------------------------------------------------------------------------------

    async def open(self, stream: MergedStream) -> None:
        """Open the output, and subscribe to the stream from the position where the output stopped.

        If the output is down it subscribes from the saved position; it is tried again once started.

        Args:
            stream: The stream, best before it is opened itself.

        Raises:
            CheckpointError: The saved position cannot be used.
            StreamClosed: The stream is closed.
        """
        self._stream = stream
        position: Checkpoint | None = None
        try:
            position = await self._open_output(self._config.start_s)
        except OutputError as error:
            self._fail(error)
            await self._close_output()
        if position is None and self._positions is not None:
            position = await self._saved_position(self._positions)
        self._resumed = position is not None or self._is_open
        self._subscribe(position or Checkpoint())

    def start(self) -> None:
        """Start the task that feeds the output, or start it again after the stream had ended for a while."""
        if self._task is not None and not self._task.done():
            return
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"energy output {self.name}")

    async def replace(self, output: Output, choice: OutputChoice) -> None:
        """Feed another output of the same store from now on, such as one with a new password.

        The subscription goes on, so that no event is lost. What was being written is written again.

        Args:
            output: The new output; the old one is closed.
            choice: Which events it gets.
        """
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        await self._close_output()
        self._output, self._filter = output, ChoiceFilter(choice)
        self._attempt, self._retry_at = 0, 0.0
        self.start()

    async def aclose(self, grace_s: float = 5.0) -> None:
        """Write what is pending now, save the position, and close the output.

        What cannot be written within the grace time is not lost: the position says where to continue.

        Args:
            grace_s: Seconds it may take.
        """
        task, subscription = self._task, self._subscription
        deadline = self._clock.monotonic() + grace_s
        try:
            if task is not None and subscription is not None:
                self._left = subscription.pending
                self._closing.set()
                if not self._left and not self._batch:
                    task.cancel()  # it waits for an event
                await asyncio.wait({task}, timeout=grace_s)
                task.cancel()
                await asyncio.wait({task})
        finally:
            if subscription is not None:
                await subscription.aclose()
            await self._save_position(self._clock.monotonic())
            await self._close_output(max(0.5, deadline - self._clock.monotonic()))
            self._set_state(OutputState.CLOSED)

    # --- state ---------------------------------------------------------------------------------------------

    @property
    def status(self) -> OutputStatus:
        """A snapshot of the state and the counters."""
        now, subscription = self._clock.utcnow(), self._subscription
        oldest = self._batch[0].received_at if self._batch else now
        retries = self._state in {OutputState.WAITING, OutputState.FAILED}
        return OutputStatus(
            state=self._state,
            since=self._since,
            reason=self._reason,
            retry_in=max(0.0, self._retry_at - self._clock.monotonic()) if retries else None,
            written=self._written,
            written_at=self._written_at,
            newest=self._newest,
            pending=len(self._batch) + (0 if subscription is None else subscription.pending),
            waiting_s=max(0.0, (now - oldest).total_seconds()),
            lost=0 if subscription is None else subscription.lost,
            gaps=self._gaps,
            refused=self._refused,
            failures=self._failures,
        )

    def _set_state(self, state: OutputState, reason: str = "") -> None:
        if state is not self._state:
            if state is OutputState.LIVE and self._reason:
                _log.warning("output %s is back", self.name)
            self._state, self._since = state, self._clock.utcnow()
        self._reason = reason

    def _fail(self, error: OutputError) -> None:
        """Note a failure, and when to try again."""
        self._failures += 1
        if error.retry_after is not None:
            wait_s = error.retry_after
        elif error.permanent:
            wait_s = _PERMANENT_S
        else:
            config = self._config
            wait_s = full_jitter(
                self._attempt, base=config.first_retry_s, cap=config.longest_retry_s, random=self._random
            )
        self._attempt += 1
        if str(error) != self._reason:
            _log.warning("output %s: %s", self.name, error)
        self._set_state(OutputState.FAILED if error.permanent else OutputState.WAITING, str(error))
        self._retry_at = self._clock.monotonic() + wait_s

    # --- writing -------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        """Write batches until the stream ends or `aclose` is called."""
        try:
            await self._feed()
        except Exception:  # noqa: BLE001  (of the stream, or a fault of ours; those of the output are retried)
            _log.exception("output %s is not fed any more", self.name)
            self._set_state(OutputState.FAILED, "it is not fed any more; the log has the reason")

    async def _feed(self) -> None:
        if not await self._reopen():
            return
        while self._left is None or self._left > 0:
            subscription = self._subscription
            if subscription is None:
                return
            if not self._batch:  # otherwise it was not written when the output was replaced
                self._batch = await self._next_batch(subscription)
            if not self._batch:
                return
            if self._left is not None:
                self._left -= len(self._batch)
            position = subscription.commit(self._batch[-1])
            if not await self._write(self._filter.kept(self._batch), position):
                return
            if self.on_written is not None:
                self.on_written(self._batch)
            self._batch = ()

    async def _next_batch(self, subscription: Subscription) -> Sequence[Event]:
        """Return the next events, none at the end of the stream; saves the position when that is due."""
        batches = subscription.batches(self._config.batch, self._config.delay_s)
        while True:
            due = None if self._unsaved is None else self._saved_at + self._config.position_s
            try:
                async with asyncio.timeout_at(due):
                    return await anext(batches)
            except StopAsyncIteration:  # a default of `anext` raises SystemError at times, in CPython 3.11
                return ()
            except TimeoutError:
                await self._save_position(self._clock.monotonic())

    async def _write(self, events: Sequence[Event], position: Checkpoint) -> bool:
        """Write events, however often it takes; return False if the feed is closed before that works."""
        due = self._clock.monotonic() >= self._saved_at + self._config.position_s
        while events or due:
            try:
                refused = await self._limited(self._output.write(events, position), self._config.write_s)
                break
            except OutputError as error:
                self._fail(error)
                await self._close_output()
                if not await self._reopen():
                    return False
        else:
            self._unsaved = position  # nothing was chosen; the position is kept with the next one that is due
            return True
        await self._note_written(events, refused or ())
        self._unsaved = position
        if due:
            await self._save_position(self._clock.monotonic())
        return True

    async def _note_written(self, events: Sequence[Event], refused: Sequence[RefusedEvent]) -> None:
        self._attempt = 0
        self._set_state(OutputState.LIVE)
        self._written_at = self._clock.utcnow()
        for event in events:
            if event.kind is Kind.READING:
                self._written += 1
                if self._newest is None or event.time > self._newest:
                    self._newest = event.time
            elif event.kind is Kind.GAP:
                self._gaps += 1
        if refused:
            self._written -= sum(each.event.kind is Kind.READING for each in refused)
            self._refused += len(refused)
            _log.error("output %s refused %d events: %s", self.name, len(refused), refused[0].reason)
            if self._refused_file is not None:
                await asyncio.to_thread(set_aside, self._refused_file, refused)

    # --- the output itself ---------------------------------------------------------------------------------

    async def _reopen(self) -> bool:
        """Wait and open the output again, until it works; return False if the feed is closed before."""
        while not self._is_open:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(self._retry_at):
                    await self._closing.wait()
            if self._closing.is_set():
                return False
            self._set_state(OutputState.CONNECTING, self._reason)
            try:
                position = await self._open_output()
            except OutputError as error:
                self._fail(error)
                await self._close_output()
                continue
            if position is not None and position.positions and not self._resumed:
                # It was down when the stream began, and is the only one that knows where it stopped.
                await self._resubscribe(position)
            self._resumed = True
        return True

    async def _open_output(self, limit_s: float | None = None) -> Checkpoint | None:
        position = await self._limited(self._output.open(), limit_s or self._config.open_s)
        self._is_open = True
        if not self._batch:  # otherwise it is live once it has written what failed before
            self._set_state(OutputState.LIVE)
        return position

    async def _close_output(self, grace_s: float = 5.0) -> None:
        self._is_open = False
        try:
            await self._limited(self._output.close(), grace_s)
        except OutputError as error:
            _log.warning("output %s could not be closed: %s", self.name, error)

    async def _limited(self, work: Coroutine[Any, Any, T], seconds: float) -> T:
        """Await a call of the output.

        Raises:
            OutputError: It failed, took too long, or raised what no output may, which is logged.
        """
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                return await work
        except OutputError:
            raise
        except TimeoutError as error:
            if limit.expired():
                raise OutputError(f"no answer within {seconds:g} s") from None
            raise OutputError("a timeout of its own") from error
        except EnergyError as error:
            raise OutputError(str(error)) from error
        except Exception as error:
            if self._attempt == 0:
                _log.exception("output %s raised an unexpected error", self.name)
            raise OutputError(f"raised {type(error).__name__}, which is a fault in its own code") from error

    # --- positions -----------------------------------------------------------------------------------------

    def _subscribe(self, position: Checkpoint) -> None:
        if self._stream is not None:
            self._subscription = self._stream.subscribe(
                buffer=self._config.buffer, checkpoint=position, since=self._since_time
            )

    async def _resubscribe(self, position: Checkpoint) -> None:
        if self._subscription is not None:
            await self._subscription.aclose()
        self._batch = ()
        self._subscribe(position)

    async def _saved_position(self, store: CheckpointStore) -> Checkpoint | None:
        try:
            text = await store.load()
            return None if text is None else Checkpoint.from_json(text)
        except CheckpointError as error:
            error.path = error.path or getattr(store, "path", None)
            raise

    async def _save_position(self, now: float) -> None:
        """Save the position of what was written; where that fails, it is tried again with the next one."""
        position, self._saved_at = self._unsaved, now
        if position is None or self._positions is None:
            self._unsaved = None
            return
        try:
            await self._positions.save(position.to_json())
        except CheckpointError as error:
            _log.error("output %s: %s", self.name, error)
        else:
            if self._unsaved is position:
                self._unsaved = None

    @printable
    def __repr__(self) -> str:
        return f"<OutputFeed {self.name}: {self._state}, {self._written} readings written>"
