"""A record that is incomplete at first: everything is delivered once, or reported."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress

import pytest
from aiohttp import web

from energy_core import Checkpoint, Gap, Kind, Quantity, merge
from tests.servers.scripted_volt import frame, until
from tests.voltstorage.test_volt_backfill import HEADER, T, cut_after, exports, plays, row, seconds
from voltstorage_async import BackfillConfig

SOON = BackfillConfig(settle_s=0.01, retry_s=(0.05, 0.1, 0.2), page_s=7.0)
MANY = 120


async def gathered(events, enough, within_s=8.0):
    """Return the events until there are enough."""
    seen = []
    with suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            async for event in events:
                seen.append(event)
                if enough(seen):
                    break
    return seen


def of_readings(events):
    return [seconds(event.time) for event in events if event.kind is Kind.READING]


def gaps(events):
    return [event.detail for event in events if isinstance(event.detail, Gap)]


def falling_behind(service, how):
    """Let the record answer this way at first, and completely later."""
    asked = []
    whole = exports(*(row(second, second) for second in range(MANY + 60)))
    part = {
        "empty": exports(),
        "behind": exports(*(row(second, second) for second in range(40))),
        "unreadable": exports(*(row(second, "x", 1, 1, 1, 1, 1, 1) for second in range(MANY))),
        "outside": lambda _: _answer(row(-500, 1) + row(9000, 1)),
        "missing rows": exports(
            *(row(second, second) for second in range(40)),
            *(row(s, "x", 1, 1, 1, 1, 1) for s in range(40, MANY)),
        ),
    }[how]

    async def answer(request):
        asked.append(request)
        first = len(asked) <= (30 if how == "behind" else 1)
        return await (part if first else whole)(request)

    service.export = answer
    return asked


async def _answer(text):
    return web.Response(text=HEADER + text, content_type="text/csv")


@pytest.mark.parametrize("how", ["empty", "behind", "unreadable", "outside", "missing rows"])
async def test_dropped_events_are_delivered_once_however_late_the_record_is(service, served, quick, how):
    """Each second is delivered once; live events go on meanwhile, and the status shows the pending ranges."""
    falling_behind(service, how)
    more = asyncio.Event()

    async def play(socket):
        for second in range(1, MANY):
            await socket.send_str(frame(T + second, gridPower=second))
        await more.wait()
        for second in range(MANY, MANY + 5):
            await socket.send_str(frame(T + second, gridPower=second))
            await asyncio.sleep(0.01)
        await service.quiet.wait()

    service.plays = [play]
    source = served.live(77, socket=quick, backfill=SOON)
    async with merge(source, policy="block", buffer=16, include_status=False) as events:
        await until(lambda: events.status[source.id].dropped > 60)
        seen = await gathered(events, lambda seen: len(of_readings(seen)) >= 16)
        more.set()
        seen += await gathered(
            events, lambda seen_: len({*of_readings(seen), *of_readings(seen_)}) >= MANY + 4
        )
        await until(lambda: not events.status[source.id].pending)
    delivered = Counter(of_readings(seen))
    assert sorted(delivered) == list(range(1, MANY + 5)), (
        how,
        sorted(set(range(1, MANY + 5)) - set(delivered)),
    )
    assert set(delivered.values()) == {1}
    assert not [gap for gap in gaps(seen) if not gap.quantities]


async def test_dropped_events_without_a_record_are_a_gap(service, served, quick):
    """The gap is reported once, after the last retry."""
    service.export = exports()
    last = asyncio.Event()

    async def play(socket):
        for second in range(1, MANY):
            await socket.send_str(frame(T + second, gridPower=second))
        await last.wait()
        await socket.send_str(frame(T + MANY, gridPower=1))
        await service.quiet.wait()

    service.plays = [play]
    source = served.live(77, socket=quick, backfill=SOON)
    async with merge(source, policy="block", buffer=16, include_status=False) as events:
        await until(lambda: events.status[source.id].dropped == MANY - 1 - 16)  # all events have come
        seen = await gathered(events, lambda seen: len(of_readings(seen)) >= 16)
        await until(lambda: events.status[source.id].pending)
        last.set()
        seen += await gathered(events, gaps)
        await until(lambda: not events.status[source.id].pending)
    delivered = of_readings(seen)
    [gap] = gaps(seen)
    assert gap.reason == "not_recorded"
    missing = set(range(1, MANY)) - set(delivered)
    assert missing <= set(range(seconds(gap.start), seconds(gap.end) + 1))


async def test_pages_of_a_refill_repeat_nothing(service, served, quick):
    """A row where two pages meet belongs to both, also if the server rounds times."""
    service.export = exports(
        *(row(second + part, second) for second in range(MANY + 60) for part in (0.0, 0.4))
    )
    service.plays = [plays(service, *(frame(T + second, gridPower=second) for second in range(1, MANY)))]
    source = served.live(77, socket=quick, backfill=SOON)
    async with merge(source, policy="block", buffer=16, include_status=False) as events:
        await until(lambda: events.status[source.id].dropped > 60)
        seen = await gathered(events, lambda seen: len(of_readings(seen)) >= MANY - 1)
    assert of_readings(seen) == list(range(1, MANY))


async def test_pending_ranges_survive_the_end_of_the_program(service, served, quick):
    """The next run requests them again, and delivers them late and once."""
    service.export = exports()
    cut_after(service, 100, frame(T + 104, pvPower=3, gridPower=4), frame(T + 105, pvPower=3, gridPower=4))
    source = served.live(77, socket=quick, backfill=BackfillConfig(settle_s=0.01))
    async with merge(source, checkpoint=Checkpoint(), include_status=False) as events:
        seen = await gathered(events, lambda seen: len(of_readings(seen)) == 3)
        stored = events.commit(seen[-1]).to_json()
    assert of_readings(seen) == [100, 104, 105]
    service.export = exports(*(row(second, second, second) for second in range(90, 120)))
    service.plays = [plays(service, frame(T + 107, pvPower=3, gridPower=4))]
    source = served.live(77, socket=quick, backfill=SOON)
    async with merge(source, checkpoint=Checkpoint.from_json(stored), include_status=False) as events:
        seen = await gathered(events, lambda seen: len(of_readings(seen)) == 5)
    assert Counter(of_readings(seen)) == Counter([101, 102, 103, 106, 107])
    assert {seconds(event.time) for event in seen if event.late} == {101, 102, 103}
    assert not gaps(seen)


async def test_a_resume_reports_no_quantity_that_the_product_never_had(service, served, quick, prompt):
    """Only quantities that the product has sent can be missing: voltages here, and no others."""
    service.export = exports(
        *(row(second, second) for second in range(90, 120)), header="Time,Power_Grid\r\n"
    )
    service.plays = [
        plays(
            service, frame(T + 99, dcVoltage=26.1), frame(T + 100, gridPower=2), frame(T + 101, gridPower=2)
        )
    ]
    source = served.live(77, socket=quick, backfill=prompt)
    async with merge(source, checkpoint=Checkpoint(), include_status=False) as events:
        seen = await gathered(events, lambda seen: len(seen) == 3)
        stored = events.commit(seen[-1])
    service.plays = [plays(service, frame(T + 105, gridPower=2))]
    source = served.live(77, socket=quick, backfill=prompt)
    async with merge(source, checkpoint=stored, include_status=False) as events:
        seen = await gathered(events, lambda seen: 105 in of_readings(seen))
    assert [(gap.reason, gap.quantities) for gap in gaps(seen)] == [
        ("not_exported", (Quantity.BATTERY_VOLTAGE,))
    ]


async def after_a_cut(service, served, quick, answer):
    """Return what is delivered if the export gives this answer to every request."""
    service.export = answer
    cut_after(service, 100, frame(T + 150, pvPower=1, gridPower=2), frame(T + 160, pvPower=1, gridPower=2))
    source = served.live(77, socket=quick, backfill=BackfillConfig(settle_s=0.01, retry_s=(0.05, 0.1, 0.2)))
    async with merge(source, include_status=False) as events:
        seen = await gathered(events, lambda seen: 160 in of_readings(seen))
        await until(lambda: not events.status[source.id].pending)
        seen += await gathered(events, lambda _: False, within_s=0.2)
    return seen


@pytest.mark.parametrize("garbage", ["garbage\r\n", "1970-01-01T00:00:35Z,1,1,1,1\r\n"])
async def test_unreadable_rows_after_the_last_one_make_no_gap_of_delivered_seconds(
    service, served, quick, garbage
):
    """Each second was delivered: nothing is missing."""
    rows = [row(second, second, second) for second in range(90, 151)]
    whole = exports(*rows)

    async def answer(request):
        answer = await whole(request)
        return web.Response(text=answer.text + garbage, content_type="text/csv")

    seen = await after_a_cut(service, served, quick, answer)
    assert set(range(100, 151)) <= set(of_readings(seen))
    assert [gap for gap in gaps(seen) if seconds(gap.start) < 150] == []
