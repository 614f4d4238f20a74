"""The loop that fills gaps: asks for what a `GapEngine` misses, and delivers what it releases."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from typing import Final, Generic, NamedTuple, TypeAlias, TypeVar

from energy_core.clock import Clock
from energy_core.errors import AuthError, BadRequest, NoData, NotFound, PermissionDenied, RequestError
from energy_core.stream.gap_engine import Delivery, GapEngine, ReportedRange
from energy_core.stream.source import UnreadableRow

ItemT = TypeVar("ItemT")

ROW_TIMEOUT_S: Final = 60.0
"""Seconds that an answer may take to its first row, or from one row to the next."""

_FINAL: Final = (AuthError, BadRequest, NotFound, PermissionDenied)
"""Refusals that no repeat can change."""


class RecordedRow(NamedTuple, Generic[ItemT]):
    """One record of the past."""

    second: int
    """Unix second."""
    units: int
    """As the engine counts them: quantities, or one bit for an event; 0: it was delivered before."""
    item: ItemT


class RecordedUnits(NamedTuple):
    """The record has no other units than these."""

    units: int


class ProvenRange(NamedTuple):
    """Nothing else of a closed range of seconds will come."""

    start: int
    end: int
    reason: str = ""
    """Why the rest cannot be had; empty: nothing else is missing."""


RecordItem: TypeAlias = RecordedRow[ItemT] | RecordedUnits | ProvenRange | UnreadableRow


class Backfill(ABC, Generic[ItemT]):
    """A `GapEngine`, and the loop that fills its gaps.

    Subclasses know the record of a source and where items go. They call the engine, then `update`, which
    delivers what the engine releases. While the engine is not calm, `run` has to run.

    Args:
        engine: What is missing.
        clock: For waits.
    """

    __slots__ = ("_clock", "_wake", "engine", "error")

    def __init__(self, engine: GapEngine[ItemT], clock: Clock) -> None:
        self.engine = engine
        self.error: str | None = None
        """Why the last request failed; None if it did not."""
        self._clock = clock
        self._wake: asyncio.Event | None = None  # only while the loop waits: there may be many of them

    # --- what a subclass knows -----------------------------------------------------------------------------

    @abstractmethod
    def now(self) -> float:
        """Return the vendor's time as unix seconds, never behind it."""

    @abstractmethod
    def record(self, start: int, end: int) -> AsyncIterator[RecordItem[ItemT]]:
        """Iterate over the record of a closed range of seconds; requested at background priority.

        Raises:
            RequestError: A refusal is final, anything else is tried again.
            Exception: A fault in the code; see `failure`.
        """

    @abstractmethod
    def deliver(self, each: Delivery[ItemT] | ReportedRange) -> None:
        """Deliver an item or report a range."""

    @abstractmethod
    async def room(self) -> None:
        """Wait until there is room for an item. Cancelling is safe."""

    @property
    def has_room(self) -> bool:
        """Whether an item can be delivered now; the engine keeps what has no room."""
        return True

    def failure(self, error: Exception) -> str:
        """Return the reason of a gap after an exception that is no `RequestError`: no repeat changes it."""
        raise error

    # --- the loop ------------------------------------------------------------------------------------------

    def update(self) -> None:
        """Deliver what the engine has released; called after each call of the engine. Never waits."""
        while self.has_room and (each := self.engine.pop()) is not None:
            self.deliver(each)
        if self._wake is not None:
            self._wake.set()

    async def run(self) -> None:
        """Fill gaps until nothing is missing. After it was cancelled the engine has to be ended, too."""
        engine = self.engine
        self.update()
        while not engine.calm:
            due, now = engine.due(), self.now()
            if not self.has_room:
                await self.room()
                self.update()
            elif due is None or due > now:
                await self._wait(None if due is None else due - now)
            else:
                await self.room()
                request = engine.next_request(self.now())
                self.update()
                if request is not None:
                    await self._ask(*request)

    async def _wait(self, seconds: float | None) -> None:
        """Wait until a request may be due, or the engine was called."""
        self._wake = asyncio.Event()
        at = None if seconds is None else self._clock.monotonic() + seconds
        timer = None if at is None else self._clock.call_at(at, self._wake.set)
        try:
            await self._wake.wait()
        finally:
            self._wake = None
            if timer is not None:
                timer.cancel()

    async def _ask(self, start: int, end: int) -> None:
        """Read the answer to one request."""
        rows, final = self.record(start, end), False
        self.error = None
        try:
            while True:
                await self.room()
                async with asyncio.timeout(ROW_TIMEOUT_S):
                    each = await anext(rows, None)
                if each is None:
                    break
                self._take(each)
        except NoData:
            pass
        except TimeoutError:
            self.error = f"no answer for {ROW_TIMEOUT_S:.0f} s"
        except RequestError as error:
            self.error, final = str(error), isinstance(error, _FINAL)
        except Exception as error:  # noqa: BLE001  (the subclass knows whose fault it is)
            self.error, final = self.failure(error), True
        finally:
            close = getattr(rows, "aclose", None)
            if close is not None:
                await close()
        self.engine.answered(self.now(), self.error, final=final)
        self.update()

    def _take(self, each: RecordItem[ItemT]) -> None:
        match each:
            case RecordedRow(second, units, item):
                self.engine.row(second, units, item)
            case RecordedUnits(units):
                self.engine.columns(units)
            case ProvenRange(start, end, reason):
                self.engine.proven(start, end, reason)
            case UnreadableRow():
                self.engine.unreadable()
        self.update()
