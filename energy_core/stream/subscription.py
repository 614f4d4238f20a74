"""One of several independent consumers of a merged stream."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self

from energy_core.printable import printable
from energy_core.stream.ledger import Fanout
from energy_core.stream.line import Subscriber
from energy_core.stream.reader import Consumer


class Subscription(Consumer):
    """What `subscribe` returns: an iterator with its own buffer, policy, numbers and pace.

    Ends with its stream, or with `aclose`, after which it costs nothing; `async with` does that.
    """

    def __init__(self, line: Subscriber, ledger: Fanout, check_open: Callable[[], None]) -> None:
        super().__init__(line, ledger.clock)
        self._ledger = ledger
        self._of_stream = check_open

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    @property
    def pending(self) -> int:
        """Events that wait for this consumer."""
        return len(self._line.buffer)

    @property
    def lost(self) -> int:
        """Readings this consumer was too slow for; under `block` they were fetched again where possible."""
        return self._line.lost

    async def aclose(self) -> None:
        """End it: a waiting `anext` gets StopAsyncIteration. May be called from any task, more than once."""
        self._ledger.lines = tuple(line for line in self._ledger.lines if line is not self._line)
        self._line.close()

    def _check_open(self) -> None:
        if not self._line.buffer.closed:
            self._of_stream()

    @printable
    def __repr__(self) -> str:
        return f"<Subscription {self._line.policy}: {self._line.buffer!r}>"
