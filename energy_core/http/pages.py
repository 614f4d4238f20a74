"""Lists that a service sends in pages: `Pages`, an async iterator that can also be awaited."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Generator, Hashable, Iterable, Sequence
from typing import Generic, NamedTuple, Self, TypeVar

from energy_core.codec.drift import Drift
from energy_core.printable import printable
from energy_core.tables.records import Records

T = TypeVar("T")


class Page(NamedTuple, Generic[T]):
    """One page of a list."""

    records: Sequence[T]
    """The records that could be read."""
    size: int
    """How many records the page has, malformed ones included."""
    announced: int | None = None
    """The number of records of the whole list; None if the server does not send it."""
    unread: Sequence[object] = ()
    """The page as it came, where some of its records could not be read."""


class Pages(Generic[T]):
    """A list read page by page.

    ``async for site in vrm.sites(): ...`` requests the next page when it is reached;
    ``sites = await vrm.sites()`` reads all pages and returns `Records`, a tuple that is also a table. A list
    is read once: call the method again to read it again. Nothing is sent before the first step.

    Cancelling is safe: records that had arrived stay in the list, and the page that was being read is
    requested again. Several tasks may read one list; each record goes to one of them.

    A server may send fewer records a page than requested, so a short page does not end the list. It
    ends with an empty page, with a page without any new record (the server does not know pages), or when as
    many records came as were announced. An announced number that equals the length of its page may count only
    that page, and does not end the list.

    Args:
        read: Reads one page by its number.
        key: Returns the identity of a record, to drop duplicates: the list may shift while it is read. None
            drops no record.
        first: The number of the first page.
        only_first: Whether the list ends with its first page.
        name: The list's name, for drift.
        drift: Counts a list that ends before its announced number.
        of: The class of the records, so that an empty list has the columns of a table too.
    """

    def __init__(
        self,
        read: Callable[[int], Awaitable[Page[T]]],
        *,
        key: Callable[[T], Hashable] | None,
        first: int = 1,
        only_first: bool = False,
        name: str = "",
        drift: Drift | None = None,
        of: type[T] | None = None,
    ) -> None:
        self._read = read
        self._of = of
        self._key = key
        self._number = first
        self._only_first = only_first
        self._name = name
        self._drift = drift
        self._ready: deque[T] = deque()
        self._seen: set[Hashable] = set()
        self._last_unread: Sequence[object] = ()
        self._came = 0
        self._announced = 0
        self._ended = False
        self._awaited = False
        self._reading = asyncio.Lock()  # several tasks may read one list: one of them requests the page

    @classmethod
    def of_one_answer(cls, read: Callable[[], Awaitable[Iterable[T]]], *, of: type[T] | None = None) -> Self:
        """Make the list of a service that sends all records in one answer; none of them is dropped."""

        async def page(_: int) -> Page[T]:
            records = tuple(await read())
            return Page(records, len(records))

        return cls(page, key=None, only_first=True, of=of)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        async with self._reading:
            while not self._ready:
                if self._ended:
                    raise StopAsyncIteration
                await self._next_page()
            return self._ready.popleft()

    def __await__(self) -> Generator[object, None, Records[T]]:
        return self._rest().__await__()

    async def _rest(self) -> Records[T]:
        async with self._reading:
            if self._awaited:
                raise RuntimeError("this list was read already: call the method again to read it again")
            # Records stay in `_ready` until the end, so that cancelling loses none.
            while not self._ended:
                await self._next_page()
            self._awaited = True
            records = Records(self._ready, self._of)
            self._ready.clear()
            return records

    async def _next_page(self) -> None:
        page = await self._read(self._number)
        self._ready.extend(self._new_records(page))
        self._number += 1
        if self._ended and self._came < self._announced and self._drift is not None:
            self._drift.note(self._name, "records", "fewer came than were announced")

    def _new_records(self, page: Page[T]) -> Sequence[T]:
        """Return the records that no earlier page had, and note whether the list has ended."""
        fresh = page.records
        if self._key is not None:
            # Only earlier pages count: equal records of one page are different devices.
            fresh = [record for record in page.records if self._key(record) not in self._seen]
            self._seen.update(map(self._key, fresh))
        # A page of which nothing could be read does not end the list, unless it comes twice.
        new = bool(fresh) or (bool(page.unread) and page.unread != self._last_unread)
        self._last_unread = page.unread
        self._came += page.size if new else 0
        self._announced = max(self._announced, page.announced or 0)
        complete = page.announced not in {None, page.size} and self._came >= self._announced
        self._ended = self._only_first or not new or complete
        return fresh

    @printable
    def __repr__(self) -> str:
        state = "read to its end" if self._ended else f"at page {self._number}"
        return f"<{type(self).__name__} {self._name + ' ' if self._name else ''}{state}>"
