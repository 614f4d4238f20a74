"""How much code a newcomer has to read to follow one message of a product from the socket to the consumer."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from types import FrameType
from typing import Self

import energy_core
import voltstorage_async
from energy_core import Kind, merge
from tests.servers.scripted_volt import frame

START = 1_575_154_800
CORE = str(Path(energy_core.__file__).parent)
VENDOR = str(Path(voltstorage_async.__file__).parent)


class Trace:
    """Collects the files and classes that function calls enter while it is active."""

    def __init__(self) -> None:
        self.core_files: set[str] = set()
        self.classes: set[type] = set()

    def __enter__(self) -> Self:
        sys.setprofile(self._profile)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _profile(self, entered: FrameType, event: str, _: object) -> None:
        file = entered.f_code.co_filename
        if event != "call" or not file.startswith((CORE, VENDOR)):
            return
        if file.startswith(CORE):
            self.core_files.add(file.removeprefix(CORE))
        for value in entered.f_locals.values():
            self.classes.update(each for each in type(value).__mro__ if _is_ours(each))


def _is_ours(cls: type) -> bool:
    return cls.__module__.partition(".")[0] in {"energy_core", "voltstorage_async"}


async def test_a_message_enters_ten_core_files(service, served):
    """A warm message enters at most 10 files of energy_core, and meets at most 26 classes of ours."""
    times: asyncio.Queue[int | None] = asyncio.Queue()

    async def play(socket):
        while (time := await times.get()) is not None:
            await socket.send_str(frame(time, pvPower=421, dcVoltage=26.3))

    service.plays = [play]
    async with merge(served.live(77), include_status=False) as events:
        for second in range(3):
            times.put_nowait(START + second)
            assert (await anext(events)).kind is Kind.READING
        waiting = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0)
        with Trace() as trace:
            times.put_nowait(START + 3)
            event = await waiting
        times.put_nowait(None)
    assert event.time.timestamp() == START + 3
    assert len(trace.core_files) <= 10, sorted(trace.core_files)
    assert len(trace.classes) <= 26, sorted(each.__name__ for each in trace.classes)
