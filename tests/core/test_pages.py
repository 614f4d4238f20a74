"""`Pages`: a list read page by page, or awaited as a whole."""

from __future__ import annotations

import asyncio

import pytest

from energy_core.codec.drift import Drift
from energy_core.http.pages import Page, Pages


class Server:
    """Serves lists of numbers page by page; the last list is followed by empty pages."""

    def __init__(self, *pages, announced=None, size=None):
        self.pages = pages
        self.announced = announced
        self.asked = []
        self.gate = None

    async def read(self, number):
        self.asked.append(number)
        if self.gate is not None:
            await self.gate.wait()
        found = self.pages[number - 1] if number <= len(self.pages) else ()
        if isinstance(found, Exception):
            raise found
        if isinstance(found, Page):
            return found
        return Page(found, len(found), self.announced)

    def list(self, **kwargs):
        return Pages(self.read, key=lambda number: number, **kwargs)


async def test_iterating_asks_for_a_page_when_it_is_reached():
    """Nothing is sent before the first record, and no page ahead of need."""
    server = Server([1, 2], [3])
    pages = server.list()
    assert server.asked == []
    assert await anext(pages) == 1
    assert await anext(pages) == 2
    assert server.asked == [1]
    assert [number async for number in pages] == [3]
    assert server.asked == [1, 2, 3]


async def test_awaiting_returns_a_tuple_of_all():
    """Of every page; what was iterated over before is not in it."""
    assert await Server([1, 2], [3]).list() == (1, 2, 3)
    assert await Server().list() == ()
    pages = Server([1, 2], [3]).list()
    assert await anext(pages) == 1
    assert await pages == (2, 3)


async def test_a_list_is_read_once():
    """A second await is an error instead of an empty tuple; iterating over it again gives nothing."""
    pages = Server([1]).list()
    assert await pages == (1,)
    with pytest.raises(RuntimeError, match="read already"):
        await pages
    assert [number async for number in pages] == []


@pytest.mark.parametrize(
    ("server", "records", "asked"),
    [
        (Server([1, 2], [2, 3]), (1, 2, 3), 3),
        (Server([1, 2], [1, 2], [9]), (1, 2), 2),
        (Server([1], [2, 3], announced=3), (1, 2, 3), 2),
        (Server([1, 2], [3, 4], announced=2), (1, 2, 3, 4), 3),
        (Server([1, 1], [2]), (1, 1, 2), 3),
    ],
    ids=[
        "duplicates-dropped",
        "no-paging-server",
        "announced",
        "announced-is-page-length",
        "same-page-twins",
    ],
)
async def test_where_a_list_ends(server, records, asked):
    """With an empty page, a page without anything new, or the announced number of records."""
    assert await server.list() == records
    assert len(server.asked) == asked


async def test_an_unreadable_page_ends_the_list_only_when_it_repeats():
    """Malformed records are not the end: readable ones may follow."""
    bad = Page((), 2, None, ["bad", "worse"])
    assert await Server([1], bad, [2]).list() == (1, 2)
    server = Server([1], bad, bad, [2])
    assert await server.list() == (1,)
    assert server.asked == [1, 2, 3]


async def test_fewer_records_than_announced_are_counted_as_drift():
    """The list itself is returned."""
    drift = Drift()
    assert await Server([1, 2], announced=5).list(name="Things", drift=drift) == (1, 2)
    assert dict(drift.counts) == {("Things", "records", "fewer came than were announced"): 1}


async def test_a_single_page_may_be_asked_for():
    """By its number."""
    server = Server([1], [2], [3])
    assert await server.list(first=2, only_first=True) == (2,)
    assert server.asked == [2]


async def test_a_list_of_one_answer_keeps_every_record():
    """Also equal ones; it is asked for once."""
    asked = []

    async def read():
        asked.append(1)
        return [1, 1, 2]

    assert await Pages.of_one_answer(read) == (1, 1, 2)
    assert [number async for number in Pages.of_one_answer(read)] == [1, 1, 2]
    assert len(asked) == 2


async def test_cancelling_loses_nothing():
    """Neither of an iteration nor of an await: the page is asked for again."""
    server = Server([1], [2])
    pages = server.list()
    assert await anext(pages) == 1
    server.gate = asyncio.Event()
    for step in (anext(pages), pages):
        task = asyncio.ensure_future(step)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    server.gate.set()
    assert await pages == (2,)


async def test_a_failed_page_is_asked_for_again():
    """The error is raised; records that had arrived stay."""
    server = Server([1], ValueError("refused"))
    pages = server.list()
    with pytest.raises(ValueError, match="refused"):
        await pages
    server.pages = ([1], [2])
    assert await pages == (1, 2)
    assert server.asked == [1, 2, 2, 3]


async def test_two_tasks_share_the_records_of_one_list():
    """Each record goes to one of them."""
    pages = Server([1, 2], [3, 4]).list()

    async def rest():
        return [number async for number in pages]

    found = await asyncio.gather(rest(), rest())
    assert sorted(found[0] + found[1]) == [1, 2, 3, 4]


def test_its_repr_is_one_line():
    """Without requests or records."""
    assert repr(Server([1]).list(name="Things")) == "<Pages Things at page 1>"
