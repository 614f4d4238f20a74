"""`vrm.alarms.active()`, and the default range of the log."""

from datetime import UTC, datetime, timedelta

import pytest

from energy_core.clock import SystemClock
from energy_core.errors import NotFound, PermissionDenied
from energy_live.simulator import Simulator
from tests.servers.vrm_cases import OK
from vrm_async import VRMClient
from vrm_async.decoding.alarms import ListedAlarms, active_alarms
from vrm_async.models import RaisedAlarm

SITES, LOG = "users/22/installations", "installations/5/alarm-log"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def logged(number, description="Low battery", *, started=NOON, cleared=None, **more):
    stamps = {name: None if at is None else at.timestamp() for name, at in [("started", started)]}
    end = None if cleared is None else cleared.timestamp()
    return {"idAlarm": number, "description": description, **stamps, "cleared": end, **more}


def listed(**members):
    return {**OK, "records": [{"idSite": 4}, {"idSite": 5, **members}]}


@pytest.mark.parametrize(
    ("record", "count"),
    [
        ({"alarm": False, "num_alarms": 0, "current_alarms": []}, 0),
        ({"alarm": True, "num_alarms": 1, "current_alarms": ["Low battery"]}, 1),
        ({"alarm": False}, 0),
        ({"alarm": True}, 1),
        ({"alarm": False, "num_alarms": "2"}, 2),
        ({"current_alarms": ["a", {"description": "b"}, 5, "", None]}, 2),
        ({"num_alarms": None, "alarm": None}, None),
        ({}, None),
    ],
)
def test_the_list_of_sites_counts_alarms(record, count):
    """The largest of the three members counts: an alarm must not be hidden by another member."""
    assert ListedAlarms.of(record).number == count


def test_details_come_from_the_log_and_the_number_from_the_list():
    """An alarm without a log is described; one without a description is there all the same."""
    low, lost = RaisedAlarm(id=1, description="Low battery"), RaisedAlarm(description="Grid lost")
    two = ListedAlarms(2, (RaisedAlarm(description="Low battery"), lost))
    assert active_alarms(two, [low]) == (low, lost)
    assert active_alarms(two, []) == two.described
    assert active_alarms(two._replace(number=3), [low]) == (low, lost, RaisedAlarm())
    assert active_alarms(ListedAlarms(None, ()), [low]) == (low,)


def test_no_more_alarms_than_the_list_counts():
    """The log's shape is not documented: if its records seem open for ever, the newest are used."""
    old, new = (
        RaisedAlarm(id=number, started=NOON + timedelta(days=number), description="x") for number in (1, 2)
    )
    assert active_alarms(ListedAlarms(1, ()), [new, old]) == (new,)
    assert active_alarms(ListedAlarms(0, ()), [new, old]) == ()


async def test_a_site_without_alarms_needs_one_request(client, fake):
    """The log is not requested."""
    fake.answers("GET", SITES, listed(alarm=False, num_alarms=0, current_alarms=[]))
    assert await client.alarms.active(5) == ()
    assert dict(fake.asked_for(SITES)[0].query) == {"extended": "1", "idSite": "5"}
    assert not fake.asked_for(LOG)


async def test_an_active_alarm_has_the_details_of_the_log(client, fake):
    """Device, start and id; cleared ones are left out."""
    fake.answers("GET", SITES, listed(alarm=True, num_alarms=1, current_alarms=["Low battery"]))
    records = [logged(1, cleared=NOON), logged(2, device="Battery Monitor", instance=288)]
    fake.answers("GET", LOG, {**OK, "records": records})
    (found,) = await client.alarms.active(5)
    assert (found.id, found.device, found.instance, found.started) == (2, "Battery Monitor", 288, NOON)


async def test_an_account_without_access_to_the_log_gets_the_descriptions(client, fake):
    """Monitoring access is enough to know that there is an alarm."""
    fake.answers("GET", SITES, listed(alarm=True, num_alarms=1, current_alarms=["Low battery"]))
    fake.answers("GET", LOG, {"success": False, "errors": "no"}, status=403)
    assert [each.description for each in await client.alarms.active(5)] == ["Low battery"]
    fake.answers("GET", SITES, listed())
    with pytest.raises(PermissionDenied):  # neither says whether there is one
        await client.alarms.active(5)


async def test_a_site_of_another_account_is_an_error(client, fake):
    """Not an empty list."""
    fake.answers("GET", SITES, {**OK, "records": [{"idSite": 4}]})
    with pytest.raises(NotFound, match="does not have 5"):
        await client.alarms.active(5)


class Noon(SystemClock):
    def utcnow(self):
        return NOON


async def test_the_log_reaches_back_a_year_by_default(fake):
    """From `end`, if that alone is given; no other request is sent for that."""
    fake.answers("GET", LOG, {**OK, "records": []})
    async with VRMClient(token="0" * 64, base_url=fake.url, clock=Noon()) as client:
        await client.alarms.log(5)
        await client.alarms.log(5, end=NOON - timedelta(days=100))
    first, second = (dict(asked.query) for asked in fake.asked)
    assert first == {"start": str(int((NOON - timedelta(days=365)).timestamp()))}
    assert int(second["end"]) - int(second["start"]) == 365 * 86_400


async def test_the_simulators_list_log_and_widget_agree():
    """A cleared alarm leaves all three."""
    start = datetime(2026, 6, 1, 12, tzinfo=UTC)
    async with Simulator(start=start) as simulator:
        site = simulator.site_ids[0]
        async with VRMClient(token=simulator.vrm_token, base_url=simulator.vrm_url) as vrm:
            (alarm,) = await vrm.alarms.active(site)
            assert alarm.description == "Low battery"
            assert (await vrm.widgets.alarm(site)).alarms == (alarm,)
            await vrm.alarms.clear(site, alarm.id)
            assert await vrm.alarms.active(site) == ()
            assert (await vrm.widgets.alarm(site)).alarms == ()
            log = await vrm.alarms.log(site, start - timedelta(days=7), start + timedelta(hours=1))
            assert [each.id for each in log if not each.active][-1] == alarm.id
            assert await vrm.alarms.active(simulator.site_ids[1])
