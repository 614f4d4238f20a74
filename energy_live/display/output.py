"""How a stream is shown: as lines of JSON or as a live table, and for how long."""

from __future__ import annotations

import asyncio
import os
import select
import sys
from contextlib import suppress
from datetime import UTC, tzinfo
from types import TracebackType
from typing import Final, Protocol, Self

from attrs import frozen

from energy_core import Event
from energy_core.stream.merge import MergedStream
from energy_core.stream.vocabulary import Kind


@frozen(kw_only=True)
class Wish:
    """What the person at the keyboard asked for."""

    readings: int | None = None
    """Stop after so many; None: never."""
    seconds: float | None = None
    """Stop after so long; None: never."""
    format: str | None = None
    """`table` or `jsonl`; None: whichever suits where stdout leads."""
    checkpoint: str | None = None
    """The file that keeps how far it came; None: none."""
    from_now: bool = False
    """Begin with what is new, whatever the file says."""

    @property
    def table(self) -> bool:
        """Whether to show a table."""
        if self.format is None:
            return sys.stdout is not None and sys.stdout.isatty()
        return self.format == "table"


@frozen
class Place:
    """A site or a product, as its owner knows it."""

    name: str
    zone: tzinfo = UTC


class View(Protocol):
    """Something that shows events while it is entered."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def show(self, event: Event) -> None:
        """Show one event. May wait for whoever looks at it."""


async def show(events: MergedStream, view: View, wish: Wish) -> None:
    """Show what comes until there was enough of it, or every source has ended.

    Raises:
        EnergyError: every source has ended, and this is why the first of them did.
    """
    left = wish.readings
    patience = asyncio.timeout(wish.seconds)
    try:
        async with patience:
            async for event in events:
                await view.show(event)
                if left is not None and event.kind is Kind.READING:
                    left -= 1
                    if not left:
                        if wish.checkpoint is not None:
                            events.commit(event)
                        return
    except TimeoutError:
        if patience.expired():
            return
        raise
    for status in events.status.values():
        if status.error is not None:
            raise status.error


_ATOMIC: Final = select.PIPE_BUF if hasattr(select, "PIPE_BUF") else 512
"""So many bytes can be written without blocking once a pipe says that it is writable."""

_GRACE_S: Final = 1.0

_ESCAPED: Final = {code: f"\\u{code:04x}" for code in (*range(0x7F, 0xA0), 0x2028, 0x2029)}
"""JSON allows them in a text; a terminal would obey them, and some programs split lines at them."""


def line(event: Event) -> bytes:
    """Return an event as one line of JSON, whatever its raw mapping holds."""
    return event.to_json().translate(_ESCAPED).encode("utf-8", errors="backslashreplace") + b"\n"


class JsonLines:
    """Writes each event as a line of JSON the moment it comes.

    A reader that does not read must not stop the event loop: sockets that are not read die. So this waits for
    the reader without blocking, and what arrives meanwhile is the merged stream's to keep or to drop.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._unwritten = memoryview(b"")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish a line that the end of the time has cut, if its reader takes it soon."""
        if kind is None:
            with suppress(TimeoutError):
                async with asyncio.timeout(_GRACE_S):
                    await self._write()

    async def show(self, event: Event) -> None:
        """Write one line. Cancelling it leaves the line unfinished if its reader is slow.

        Raises:
            BrokenPipeError: nobody will read any more.
        """
        self._unwritten = memoryview(line(event))
        await self._write()

    async def _write(self) -> None:
        while self._unwritten:
            await self._writable()
            with suppress(BlockingIOError):
                written = os.write(self._descriptor, self._unwritten[:_ATOMIC])
                self._unwritten = self._unwritten[written:]

    async def _writable(self) -> None:
        try:
            if select.select((), (self._descriptor,), (), 0)[1]:
                return
            loop = asyncio.get_running_loop()
            writable = loop.create_future()
            loop.add_writer(self._descriptor, _complete, writable)
        except (OSError, NotImplementedError):
            return  # this system cannot tell: writing may block
        try:
            await writable
        finally:
            loop.remove_writer(self._descriptor)


def _complete(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
