import asyncio
from datetime import timedelta

import pytest

from energy_core.errors import (
    AuthFailed,
    BadRequest,
    ConnectError,
    DecodeError,
    NoData,
    NotFound,
    PermissionDenied,
    RateLimited,
    ServerFault,
    UnexpectedRedirect,
)
from energy_core.stream.event import Kind, SourceId, State
from energy_core.stream.merge import merge
from energy_core.stream.poll import Observation, Poller
from tests.virtual_time import EPOCH, VirtualClock

pytestmark = pytest.mark.virtual_time

SITE = SourceId("vrm", "home", "151734")


def seen_at(second, *, instance=0):
    return Observation(
        source=SITE._replace(instance=instance),
        time=EPOCH + timedelta(seconds=second),
        id=f"{instance}/{second}",
        values={},
        raw={"at": second},
    )


class Vendor:
    """Answers in turn; an exception is raised, the last answer is repeated."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked_at = []

    async def __call__(self):
        self.asked_at.append(asyncio.get_running_loop().time())
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


async def watch(vendor, *, interval_s=60.0, seconds=600.0, random=lambda: 0.5, **options):
    """Poll for some (virtual) seconds and return all events."""
    clock = VirtualClock()
    poller = Poller(SITE, vendor, interval_s=interval_s, clock=clock, random=random)
    events = []
    async with merge(poller, clock=clock, **options) as stream:
        asyncio.get_running_loop().call_later(
            seconds, lambda: closing.append(asyncio.ensure_future(stream.aclose()))
        )
        closing = []
        events = [event async for event in stream]
        await asyncio.gather(*closing)
    return events


def ids(events):
    return [event.id for event in events if event.kind is Kind.READING]


def details(events):
    return [event.detail for event in events if event.kind is Kind.STATUS]


async def test_it_asks_at_its_interval_from_the_first_moment():
    """The first question comes at once, the next ones a whole interval apart."""
    vendor = Vendor([])
    await watch(vendor, seconds=200)
    assert vendor.asked_at == [0, 60, 120, 180]


async def test_the_time_an_answer_takes_is_part_of_the_interval():
    """A slow answer does not shift the questions; one slower than the interval is followed at once."""
    asked_at = []

    async def ask():
        asked_at.append(asyncio.get_running_loop().time())
        await asyncio.sleep(10 if len(asked_at) < 3 else 90)
        return []

    await watch(ask, seconds=250)
    assert asked_at == [0, 60, 120, 210]


async def test_what_was_emitted_is_not_emitted_again():
    """An id comes once per device, however often the vendor repeats it and in whatever company."""
    vendor = Vendor(
        [seen_at(1)],
        [seen_at(1)],
        [seen_at(1), seen_at(2)],
        [],
        [seen_at(3), seen_at(2), seen_at(1), seen_at(1, instance=9)],
    )
    assert ids(await watch(vendor)) == ["0/1", "0/2", "9/1", "0/3"]


async def test_an_answer_is_emitted_in_the_order_of_its_times():
    """Whatever order the vendor chose, older comes before newer, and nothing is called late for it."""
    events = await watch(Vendor([seen_at(3), seen_at(1), seen_at(2)]))
    assert ids(events) == ["0/1", "0/2", "0/3"]
    assert not any(event.late for event in events)


async def test_what_it_remembers_is_bounded_and_never_less_than_an_answer():
    """A thousand days of answers leave a handful of ids; a long answer repeated emits nothing twice."""
    long = [seen_at(second) for second in range(500)]
    answers = [*([[seen_at(1000 + n)] for n in range(1000)]), long, long, long]
    poller = Poller(SITE, Vendor(*answers), interval_s=1)
    emitted = 0
    async with merge(poller, include_status=False) as events:
        async for _ in events:
            emitted += 1
            if emitted == 1000:
                assert len(poller._looker.devices[SITE].past) <= 32
            if emitted == 1500:
                break
        await asyncio.sleep(10)
        assert len(poller._looker.devices[SITE].past) == 500
        assert poller._asked > 1003
        assert events.status[SITE].readings == 1500


async def test_no_data_is_nothing_new():
    """A vendor with nothing to say is no trouble."""
    events = await watch(Vendor(NoData("nothing")))
    assert [detail.state for detail in details(events)] == [State.CONNECTING, State.LIVE]


@pytest.mark.parametrize(
    "trouble",
    [
        ConnectError("no", kind="refused"),
        ServerFault("no", status=502),
        BadRequest("no", status=400),
        DecodeError("no", kind="html"),
        UnexpectedRedirect("no", status=302),
        RateLimited("no", status=429),
    ],
)
async def test_trouble_is_announced_once_and_waited_out(trouble):
    """Three failures in a row make one status event with reason and wait; then the source is live."""
    vendor = Vendor([seen_at(1)], trouble, trouble, trouble, [seen_at(2)])
    events = await watch(vendor)
    assert [detail.state for detail in details(events)] == [
        State.CONNECTING,
        State.LIVE,
        State.DISCONNECTED,
        State.LIVE,
    ]
    assert details(events)[2].reason == str(trouble)
    assert details(events)[2].retry_in == pytest.approx(1.0)
    assert ids(events) == ["0/1", "0/2"]


async def test_waits_grow_with_full_jitter_and_stay_bounded():
    """The waits double up to twice the interval: on average trouble is asked no more often than health."""
    vendor = Vendor(ServerFault("no", status=503))
    await watch(vendor, seconds=1000, random=lambda: 1.0)
    waits = [b - a for a, b in zip(vendor.asked_at, vendor.asked_at[1:], strict=False)]
    assert waits == [2, 4, 8, 16, 32, 64, 120, 120, 120, 120, 120, 120, 120]


async def test_a_wait_the_vendor_asks_for_is_kept():
    """Retry-After is waited out in full, a little longer, and never more than an hour."""
    vendor = Vendor(
        RateLimited("later", retry_after=100.0), RateLimited("later", retry_after=1e9), [seen_at(1)]
    )
    events = await watch(vendor, seconds=5000)
    assert vendor.asked_at[:3] == [0, pytest.approx(105), pytest.approx(105 + 3600)]
    assert details(events)[1].retry_in == pytest.approx(105)


async def test_the_wait_shown_is_the_one_being_waited():
    """While the trouble lasts the snapshot follows each new wait and reason."""
    clock = VirtualClock()
    vendor = Vendor(ServerFault("first", status=503), ServerFault("second", status=502))
    poller = Poller(SITE, vendor, interval_s=60, clock=clock, random=lambda: 0.5)
    async with merge(poller, clock=clock) as stream:
        await clock.sleep(0.5)
        assert (stream.status[SITE].reason, stream.status[SITE].retry_in) == ("first, status 503", 0.5)
        await clock.sleep(1.0)
        assert (stream.status[SITE].reason, stream.status[SITE].retry_in) == ("second, status 502", 1.5)
        assert repr(poller) == "<Poller vrm/home/151734/0 every 60 s: asked 2 times, failed 2 times in a row>"


@pytest.mark.parametrize(
    ("refusal", "state"),
    [
        (AuthFailed("no"), State.AUTH_FAILED),
        (PermissionDenied("no", status=403), State.FAILED),
        (NotFound("no", status=404), State.FAILED),
        (TypeError("a fault of ours"), State.FAILED),
    ],
)
async def test_what_will_not_pass_ends_the_source(refusal, state):
    """A refusal for good is not asked again."""
    vendor = Vendor([seen_at(1)], refusal)
    events = await watch(vendor)
    assert details(events)[-1].state is state
    assert len(vendor.asked_at) == 2


async def test_cancelling_works_in_every_wait():
    """Asking, waiting for the next question, waiting out trouble: closing the stream ends each at once."""

    async def slow():
        await asyncio.sleep(3600)

    for vendor in (slow, Vendor([]), Vendor(ServerFault("no"))):
        await watch(vendor, seconds=1.5)
        assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize("interval_s", [0, -1, float("nan"), float("inf")])
async def test_an_interval_is_a_positive_number(interval_s):
    """A poller that would never or always ask is refused."""
    with pytest.raises(ValueError, match="interval_s"):
        Poller(SITE, Vendor([]), interval_s=interval_s)


async def test_one_poller_in_trouble_leaves_the_others_on_time():
    """A hundred pollers, half of them failing: the healthy ones are asked exactly at their interval."""
    clock = VirtualClock()
    vendors = [Vendor(ServerFault("no")) if n % 2 else Vendor([]) for n in range(100)]
    pollers = [
        Poller(SITE._replace(site=str(n)), vendor, interval_s=10, clock=clock)
        for n, vendor in enumerate(vendors)
    ]
    async with merge(*pollers, clock=clock):
        await clock.sleep(95)
    assert all(vendor.asked_at == list(range(0, 100, 10)) for vendor in vendors[::2])
