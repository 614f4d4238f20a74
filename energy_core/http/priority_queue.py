"""Whose turn it is: first come, first served within three classes. Pure order, no waiting."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Final, Generic, Protocol, TypeVar

from energy_core.http.operation import Priority

BACKGROUND_SHARE: Final = 8
"""One turn in so many is background's while any of it waits."""


class Waiting(Protocol):
    """What the queue needs to know of whoever waits."""

    @property
    def priority(self) -> Priority:
        """The class to wait in."""

    def __hash__(self) -> int: ...


W = TypeVar("W", bound=Waiting)


class PriorityQueue(Generic[W]):
    """Auth before interactive before background, which yet gets its share. Every step is O(1)."""

    __slots__ = ("_auth", "_background", "_interactive", "_passed_over", "_queues", "size")

    def __init__(self) -> None:
        # An OrderedDict forgets a member anywhere in O(1), and its first stays cheap to find.
        self._queues: dict[Priority, OrderedDict[W, None]] = {each: OrderedDict() for each in Priority}
        self._auth, self._interactive, self._background = self._queues.values()
        self._passed_over = 0  # turns given to others while background waited
        self.size = 0
        """How many wait in all."""

    def add(self, waiter: W) -> bool:
        """Let the waiter stand last in its class; tell whether it is the first there too."""
        line = self._queues[waiter.priority]
        line[waiter] = None
        self.size += 1
        return len(line) == 1

    def discard(self, waiter: W) -> None:
        """Let the waiter go, wherever it stands; nothing happens when it does not wait."""
        line = self._queues[waiter.priority]
        if waiter in line:
            del line[waiter]
            self.size -= 1

    def next(self, *, place: bool) -> W | None:
        """Whose turn it is, given whether there is a place in flight; auth needs none."""
        if self._auth:
            return next(iter(self._auth))
        if not place:
            return None
        if self._background and (not self._interactive or self._passed_over >= BACKGROUND_SHARE - 1):
            return next(iter(self._background))
        return next(iter(self._interactive), None)

    def pop(self, waiter: W) -> None:
        """Take the waiter out because its turn has come."""
        self.discard(waiter)
        if waiter.priority is Priority.BACKGROUND:
            self._passed_over = 0
        elif self._background:
            self._passed_over += 1

    def put_back(self, waiter: W) -> None:
        """Undo `pop`: the waiter is first of its class again, and no less overdue than it was."""
        self.add(waiter)
        self._queues[waiter.priority].move_to_end(waiter, last=False)
        if waiter.priority is Priority.BACKGROUND:
            self._passed_over = BACKGROUND_SHARE - 1

    def heads(self) -> list[W]:
        """Return the first of each class, who has also waited longest in it."""
        return [next(iter(line)) for line in self._queues.values() if line]

    def sizes(self) -> Mapping[Priority, int]:
        """Return how many wait in each class."""
        return {priority: len(line) for priority, line in self._queues.items()}

    def __iter__(self) -> Iterator[W]:
        return (waiter for line in self._queues.values() for waiter in line)
