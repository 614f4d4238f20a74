"""The loop that fills gaps: when it asks, how long it waits, and what it makes of failures."""

import asyncio

import pytest

from energy_core.errors import NoData, PermissionDenied, ServerFault
from energy_core.stream.backfill import Backfill, ProvenRange, RecordedRow, RecordedUnits
from energy_core.stream.gap_engine import GapConfig, GapEngine, ReportedRange
from energy_core.stream.source import UnreadableRow
from tests.servers.virtual_time import VirtualClock

pytestmark = pytest.mark.virtual_time


class Log(Backfill):
    """A record with a row a second, and what was delivered: live "5", backfilled "+5", reported "1-4 why"."""

    def __init__(self, **config):
        super().__init__(GapEngine(GapConfig(**config)), VirtualClock())
        self.asked, self.seen = [], []
        self.trouble = None
        self.missing = self.marks = {}
        self.units, self.slow_s = 1, 0.0
        self.free = asyncio.Event()
        self.free.set()

    def now(self):
        return asyncio.get_running_loop().time()

    async def record(self, start, end):
        self.asked.append((self.now(), start, end))
        if self.trouble is not None:
            raise self.trouble
        for second in range(start, end + 1):
            await asyncio.sleep(self.slow_s)
            if second in self.marks:
                yield self.marks[second]
            if second not in self.missing:
                yield RecordedRow(second, 1, second)

    def deliver(self, each):
        if isinstance(each, ReportedRange):
            self.seen.append(f"{each.start}-{each.end} {each.reason}")
        else:
            self.seen.append(f"{'~' * each.late}{'+' * each.backfilled}{each.item}")

    @property
    def has_room(self):
        return self.free.is_set()

    async def room(self):
        await self.free.wait()

    def live(self, second):
        self.engine.live(second, self.units, second, self.now())
        self.update()

    async def outage(self, end):
        """Lose the link at second 0 until `end`, and start the loop."""
        self.live(0)
        self.engine.lost(self.now())
        await asyncio.sleep(end)
        self.live(end)
        return asyncio.create_task(self.run())


async def test_a_gap_is_filled_and_the_loop_ends():
    """It asks once the last second has settled, and ends when nothing is missing."""
    log = Log()
    await (await log.outage(4))
    assert log.seen == ["0", "+1", "+2", "+3", "4"]
    assert log.asked == [(5, 0, 4)]
    assert log.engine.calm


async def test_a_long_gap_is_asked_for_in_chunks():
    """Each request is one chunk, and goes on behind the last row."""
    log = Log(chunk_s=5)
    await (await log.outage(9))
    assert [each[1:] for each in log.asked] == [(0, 4), (5, 9)]
    assert log.seen == ["0", *(f"+{second}" for second in range(1, 9)), "9"]


@pytest.mark.parametrize("trouble", [None, ServerFault("down"), NoData("nothing")])
async def test_retries_come_after_1_5_and_15_minutes(trouble):
    """Then the gap is reported, with the error if there is one; live events go on meanwhile."""
    log = Log()
    log.trouble, log.missing = trouble, range(1000)
    await (await log.outage(4))
    assert [at for at, _, _ in log.asked] == [5, 65, 305, 905]
    assert log.seen == ["0", "4", f"0-4 {trouble if isinstance(trouble, ServerFault) else 'not_recorded'}"]


async def test_a_refusal_is_reported_at_once():
    """A repeat cannot change it."""
    log = Log()
    log.trouble = PermissionDenied("not yours")
    await (await log.outage(4))
    assert log.seen == ["0", "0-4 not yours", "4"]
    assert len(log.asked) == 1


async def test_an_answer_may_take_a_minute_to_its_next_row():
    """The deadline counts from row to row; an answer without a row for a minute is asked again."""
    log = Log()
    log.slow_s = 59.0
    await (await log.outage(4))
    assert log.seen == ["0", "+1", "+2", "+3", "4"]
    silent = Log()
    silent.slow_s = 61.0
    task = await silent.outage(4)
    await asyncio.sleep(70)
    assert silent.error == "no answer for 60 s"
    assert silent.seen == ["0", "4"]
    silent.slow_s = 0.0
    await task
    assert silent.seen == ["0", "4", "~+1", "~+2", "~+3"]


async def test_nothing_is_asked_for_or_delivered_without_room():
    """A row is taken from the answer when there is room for it."""
    log = Log()
    task = await log.outage(4)
    log.free.clear()
    await asyncio.sleep(100)
    assert log.asked == []
    log.free.set()
    await task
    assert log.seen == ["0", "+1", "+2", "+3", "4"]


async def test_marks_of_a_record():
    """Unreadable rows break the proof, columns are reported, and a range may be proven or refused."""
    log = Log(ordered=False)
    log.missing = {2, 3}
    log.marks = {1: ProvenRange(0, 0), 2: ProvenRange(2, 3, "coarse")}
    await (await log.outage(4))
    assert log.seen == ["0", "+1", "2-3 coarse", "4"]
    ordered = Log()
    ordered.missing = {2}
    ordered.marks = {2: UnreadableRow()}
    task = await ordered.outage(4)
    await asyncio.sleep(5)
    assert [(gap.start, gap.end) for gap in ordered.engine.gaps] == [(1, 3)]
    ordered.missing, ordered.marks = set(), {}
    await task
    assert ordered.seen == ["0", "+1", "+3", "4", "~+2"]
    narrow = Log()
    narrow.units, narrow.marks = 3, {0: RecordedUnits(1)}
    await (await narrow.outage(2))
    assert narrow.seen[:4] == ["0", "+1", "2", "0-2 not_exported"]


async def test_a_fault_in_the_code_is_raised():
    """The loop hides no bug."""
    log = Log()
    log.trouble = ZeroDivisionError("oops")
    task = await log.outage(4)
    with pytest.raises(ZeroDivisionError):
        await task


async def test_a_cancelled_loop_closes_the_answer():
    """Nothing is left running, and what was not fetched is still missing."""
    log = Log()
    log.slow_s = 30.0
    task = await log.outage(4)
    await asyncio.sleep(40)
    task.cancel()
    await asyncio.wait([task])
    log.engine.end("closed")
    log.update()
    assert log.seen == ["0", "0-4 closed", "4"]
    assert asyncio.all_tasks() == {asyncio.current_task()}
