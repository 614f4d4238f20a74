"""The queue of a rate limiter: first in, first out within three classes. It does not wait."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Final, Generic, Protocol, TypeVar

from energy_core.http.operation import Priority

BACKGROUND_SHARE: Final = 8
"""Every eighth slot goes to a background request if one waits."""


class Waiting(Protocol):
    """What the queue needs to know of a waiter."""

    @property
    def priority(self) -> Priority:
        """Its class."""

    def __hash__(self) -> int: ...


W = TypeVar("W", bound=Waiting)


class PriorityQueue(Generic[W]):
    """Logins before interactive before background, which still gets its share. Every step is O(1)."""

    __slots__ = ("_auth", "_background", "_interactive", "_passed_over", "_queues", "size")

    def __init__(self) -> None:
        # An OrderedDict removes any member in O(1), and keeps its first cheap to find.
        self._queues: dict[Priority, OrderedDict[W, None]] = {each: OrderedDict() for each in Priority}
        self._auth, self._interactive, self._background = self._queues.values()
        self._passed_over = 0  # slots granted to others while a background request waited
        self.size = 0
        """The number of waiters of all classes."""

    def add(self, waiter: W) -> bool:
        """Append the waiter to its class; return whether it is the first there."""
        queue = self._queues[waiter.priority]
        queue[waiter] = None
        self.size += 1
        return len(queue) == 1

    def discard(self, waiter: W) -> None:
        """Remove the waiter if it is in the queue."""
        queue = self._queues[waiter.priority]
        if waiter in queue:
            del queue[waiter]
            self.size -= 1

    def next(self, *, place: bool) -> W | None:
        """Return the waiter to serve next, or None.

        Args:
            place: Whether there is a place in flight; logins need none.
        """
        if self._auth:
            return next(iter(self._auth))
        if not place:
            return None
        if self._background and (not self._interactive or self._passed_over >= BACKGROUND_SHARE - 1):
            return next(iter(self._background))
        return next(iter(self._interactive), None)

    def pop(self, waiter: W) -> None:
        """Remove the waiter because it is served."""
        self.discard(waiter)
        if waiter.priority is Priority.BACKGROUND:
            self._passed_over = 0
        elif self._background:
            self._passed_over += 1

    def put_back(self, waiter: W) -> None:
        """Undo `pop`: put the waiter back at the head of its class and restore the background counter."""
        self.add(waiter)
        self._queues[waiter.priority].move_to_end(waiter, last=False)
        if waiter.priority is Priority.BACKGROUND:
            self._passed_over = BACKGROUND_SHARE - 1

    def heads(self) -> list[W]:
        """Return the first waiter of each class, which has waited longest in it."""
        return [next(iter(queue)) for queue in self._queues.values() if queue]

    def sizes(self) -> Mapping[Priority, int]:
        """Return the number of waiters of each class."""
        return {priority: len(queue) for priority, queue in self._queues.items()}

    def __iter__(self) -> Iterator[W]:
        return (waiter for queue in self._queues.values() for waiter in queue)
