"""Cutting off what has fallen silent: a pure matter of times, tried on virtual time."""

import asyncio

import pytest

from energy_core.http.response import ReadTimeouts
from tests.servers.virtual_time import VirtualClock

pytestmark = pytest.mark.virtual_time

GAP_S = 30.0


class CountingClock(VirtualClock):
    """Counts the timers that are set."""

    def __init__(self):
        super().__init__()
        self.timers = 0

    def call_at(self, when, callback):
        self.timers += 1
        return super().call_at(when, callback)


@pytest.fixture
def clock():
    return CountingClock()


@pytest.fixture
def cuts():
    return []


@pytest.fixture
def silence(clock, cuts):
    def cut(one):
        cuts.append((one, clock.monotonic()))
        return True

    return ReadTimeouts(GAP_S, clock=clock, cut=cut)


async def test_who_hears_nothing_is_cut_off_once_at_the_end_of_the_gap(silence, cuts, clock):
    """Silence ends after exactly the gap, and whoever waited is told so."""
    silence.start("one")
    await clock.sleep(10 * GAP_S)
    assert cuts == [("one", pytest.approx(GAP_S, abs=0.01))]
    assert silence.stop("one")


async def test_bytes_in_time_move_the_end(silence, cuts, clock):
    """Each arrival begins a new gap; only the last one, which nothing follows, is cut off."""
    for _ in range(5):
        silence.start("drop by drop")
        await clock.sleep(GAP_S - 1)
        assert not silence.stop("drop by drop")
    silence.start("drop by drop")
    await clock.sleep(2 * GAP_S)
    assert [one for one, _ in cuts] == ["drop by drop"]
    assert cuts[0][1] == pytest.approx(5 * (GAP_S - 1) + GAP_S, abs=0.01)


async def test_answers_in_time_share_one_timer(silence, cuts, clock):
    """A thousand answers within a gap set one timer among them."""
    for number in range(1000):
        silence.start(number)
        await clock.sleep(0.001)
        silence.stop(number)
    assert clock.timers == 1
    await clock.sleep(10 * GAP_S)
    assert (clock.timers, cuts) == (1, [])


async def test_each_has_its_own_gap(silence, cuts, clock):
    """Who began later is cut off later, however the timers fall."""
    silence.start("first")
    await clock.sleep(10)
    silence.start("second")
    await clock.sleep(10)
    silence.start("third")
    silence.stop("first")
    await clock.sleep(10 * GAP_S)
    assert [(one, round(at)) for one, at in cuts] == [("second", 40), ("third", 50)]


async def test_bytes_that_are_there_but_not_yet_read_are_no_silence(silence, cuts, clock):
    """When the event loop was too busy to look, whoever reads goes before the cut."""
    loop = asyncio.get_running_loop()
    arrived = loop.create_future()

    async def read():
        silence.start("one")
        await arrived
        return silence.stop("one")

    reading = asyncio.create_task(read())
    await clock.sleep(0)
    clock.call_at(GAP_S, lambda: arrived.set_result(None))  # in the same step as the end of the gap
    assert await reading is False
    assert cuts == []


async def test_what_has_just_ended_is_not_cut(clock):
    """Where nothing is left to cut, the reader is not told of a silence."""
    asked = []
    silence = ReadTimeouts(GAP_S, clock=clock, cut=lambda one: bool(asked.append(one)))
    silence.start("one")
    await clock.sleep(1.5 * GAP_S)
    assert asked == ["one"]
    assert not silence.stop("one")


async def test_closing_leaves_no_timer(silence, cuts, clock):
    """After closing nothing rings and nobody is cut off."""
    silence.start("one")
    silence.close()
    await clock.sleep(10 * GAP_S)
    assert cuts == []
