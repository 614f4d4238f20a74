"""Alarms of VRM's sites as events: from the polled list and, when it changes, from the log."""

import asyncio
import time

import pytest

from energy_core import FileCheckpoint, Kind, merge
from energy_core.errors import ConnectError
from energy_core.stream.vocabulary import SourceId
from tests.servers.vrm_cases import OK
from vrm_async import VRMClient
from vrm_async.alarm_reports import MAX_LOGS, AlarmReports
from vrm_async.decoding.alarms import ListedAlarms
from vrm_async.models import RaisedAlarm

SITES, LOG = "users/22/installations", "installations/7/alarm-log"
NOW = int(time.time())
RECORD = {"idAlarm": 4, "description": "Low battery", "device": "Battery Monitor", "instance": 288}


def listed(*texts, site_id=7):
    counted = {"alarm": bool(texts), "num_alarms": len(texts), "current_alarms": list(texts)}
    value = {"code": "bs", "rawValue": 50, "timestamp": NOW, "instance": 0}
    return {**OK, "records": [{"idSite": site_id, "last_timestamp": NOW, "extended": [value], **counted}]}


def log(*records):
    return {**OK, "records": list(records)}


def raised(**more):
    return {**RECORD, "started": NOW - 600, "cleared": None, **more}


@pytest.fixture
def graph(fake):
    """Look-backs find nothing."""
    fake.answers("GET", "installations/7/widgets/Graph", {**OK, "records": {"data": {}, "meta": {}}})


async def alarms_of(client, count, *, checkpoint=None, then=None):
    """Return the first alarm events; `then` is called after the first of them."""
    found = []
    async with asyncio.timeout(20), merge(client.live(7, interval_s=0.02), checkpoint=checkpoint) as events:
        async for event in events:
            if event.kind is Kind.ALARM:
                found.append(event)
                if len(found) == 1 and then is not None:
                    then()
                if len(found) == count:
                    if checkpoint is not None:
                        events.commit(event)
                    return found
    raise AssertionError("the stream ended")


async def test_an_alarm_is_raised_and_cleared(client, fake, graph):
    """With device and times of the log, which is requested when the list changes, and not by every poll."""
    fake.answers("GET", SITES, listed("Low battery"))
    fake.answers("GET", LOG, log(raised()))

    def clear():
        fake.answers("GET", LOG, log(raised(cleared=NOW - 60)))
        fake.answers("GET", SITES, listed())

    first, second = await alarms_of(client, 2, then=clear)
    assert first.source == SourceId("vrm", "22", "7")
    assert (first.id, first.time.timestamp()) == ("7/alarm/4/raised", NOW - 600)
    assert (second.id, second.time.timestamp()) == ("7/alarm/4/cleared", NOW - 60)
    assert (first.detail.text, first.detail.device, first.detail.instance) == tuple(
        RECORD[name] for name in ("description", "device", "instance")
    )
    assert len(fake.asked_for(LOG)) == 2


async def test_an_account_without_access_to_the_log_gets_the_text(client, fake, graph):
    """The list of sites describes alarms to every account."""
    fake.answers("GET", SITES, listed("Low battery"))
    fake.answers("GET", LOG, {"success": False, "errors": "no"}, status=403)
    first, second = await alarms_of(client, 2, then=lambda: fake.answers("GET", SITES, listed()))
    assert (first.detail.text, first.detail.device, first.detail.active) == ("Low battery", "", True)
    assert (second.detail.alarm, second.detail.active) == (first.detail.alarm, False)


async def test_an_alarm_is_delivered_once_over_a_restart(fake, graph, tmp_path):
    """What was raised and cleared while the program was stopped is delivered from the log."""
    file = FileCheckpoint(tmp_path / "position")
    fake.answers("GET", SITES, listed("Low battery"))
    fake.answers("GET", LOG, log(raised()))
    async with VRMClient(token="a" * 64, base_url=fake.url) as client:
        await alarms_of(client, 1, checkpoint=file)
    missed = {**RECORD, "idAlarm": 5, "started": NOW + 1, "cleared": NOW + 2}
    fake.answers("GET", SITES, listed("Low battery", "Grid lost"))
    grid = {**RECORD, "idAlarm": 6, "description": "Grid lost", "started": NOW - 5}
    fake.answers("GET", LOG, log(raised(), missed, grid))

    async with VRMClient(token="a" * 64, base_url=fake.url) as client:
        found = await alarms_of(client, 3, checkpoint=file)
    assert sorted(event.id for event in found) == [
        "7/alarm/5/cleared",
        "7/alarm/5/raised",
        "7/alarm/6/raised",
    ]


class Api:
    """Counts the logs that are requested; site 3 gets no answer at first."""

    def __init__(self, fails=()):
        self.asked, self.fails = [], set(fails)
        self.account = self.vendor_clock = self

    def now(self):
        return None

    async def call(self, operation, into, *, query, idSite, priority):  # noqa: N803
        self.asked.append(idSite)
        if idSite in self.fails:
            self.fails.discard(idSite)
            raise ConnectError("no route")
        return ()


def sites(count, number=1):
    texts = tuple(RaisedAlarm(description="Low battery") for _ in range(number))
    return {SourceId("vrm", "22", str(n)): ListedAlarms(number, texts) for n in range(1, count + 1)}


async def test_a_storm_of_alarms_does_not_hold_up_readings():
    """Thirty logs a poll; the others follow with the next polls, each once."""
    api = Api()
    reports = AlarmReports(api)
    counts = [len(await reports.changed(sites(70))) for _ in range(4)]
    assert counts == [MAX_LOGS, MAX_LOGS, 10, 0]
    assert sorted(api.asked) == list(range(1, 71))


async def test_a_log_without_an_answer_is_requested_again():
    """By the next poll; the other sites do not wait for it."""
    api = Api(fails=[3])
    reports = AlarmReports(api)
    assert len(await reports.changed(sites(4))) == 3
    assert [each.site for each in await reports.changed(sites(4))] == ["3"]


async def test_sites_without_alarms_need_no_log():
    """Nor does a list that does not count alarms change anything."""
    api = Api()
    reports = AlarmReports(api)
    assert list((await reports.changed(sites(2, 0))).values()) == [[], []]
    unknown = {SourceId("vrm", "22", "1"): ListedAlarms(None, ())}
    assert await reports.changed(unknown) == {}
    assert api.asked == []
