"""`Output`: what a store or broker implements to be fed from a merged stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from energy_core.errors import EnergyError
from energy_core.stream.checkpoint import Checkpoint
from energy_core.stream.event import Event


class RefusedEvent(NamedTuple):
    """One event that a store refused; the others of its batch are written."""

    event: Event
    reason: str
    """Why, in one line and without a credential."""


class OutputError(EnergyError):
    """An output cannot be opened or written.

    Args:
        message: What failed; if `permanent`, also what to do. One line, without a credential.
        permanent: Whether only the user can help, such as with a wrong password. It is tried again all the
            same, every five minutes.
        retry_after: Seconds until the next attempt; None: a growing delay of at most a minute.
    """

    def __init__(self, message: str, *, permanent: bool = False, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.permanent = permanent
        self.retry_after = retry_after

    def __reduce__(self) -> tuple[object, ...]:
        """Keep the attributes in copies."""
        return (type(self), self.args, {"permanent": self.permanent, "retry_after": self.retry_after})


class Output(Protocol):
    """One store or broker. All methods are called by one task, one at a time.

    After an error, or a `write` that took too long and was cancelled, `close` is called and then `open`
    again; the batch that failed is written again.
    """

    idempotent: bool
    """Whether writing the same batch again changes nothing. Otherwise a crash may double a few seconds."""

    async def open(self) -> Checkpoint | None:
        """Connect, and create what is missing in the store.

        Returns:
            The position stored by the last `write`, `Checkpoint()` if there is none yet. None: the output
            keeps no position; then it is kept in a file beside, saved after each successful write.

        Raises:
            OutputError: It cannot be used now (`permanent`: before the user has done something).
        """

    async def write(self, batch: Sequence[Event], position: Checkpoint) -> Sequence[RefusedEvent] | None:
        """Store a batch. Returns once it is durable, or as safe as the store can make it.

        Args:
            batch: Events in their order, of every kind; may be empty: then only the position is new.
            position: The position behind the batch. An output with transactions stores `to_json()` of it in
                the transaction that stores the batch, which makes readings exactly-once.

        Returns:
            The events that the store refused one by one; None or empty if there are none.

        Raises:
            OutputError: Nothing, or an unknown part, was stored; the same batch is written again.
        """

    async def close(self) -> None:
        """Release everything. Called also after a failed `open`, and more than once."""
