"""`vrm.now()`: the present values of every site."""

import json
import re
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from energy_core import Quantity
from energy_core.clock import SystemClock
from energy_core.errors import DecodeError, NotFound
from energy_core.stream.vocabulary import SourceId
from tests.servers import vrm_samples as printed
from vrm_async import VRMClient
from vrm_async.present import read_snapshots

TOKEN = "0123456789abcdef" * 4
SITES = re.compile(r"^https://vrmapi\.victronenergy\.com/v2/users/22/installations.*$")
NOW = datetime(2026, 4, 18, 12, 38, tzinfo=UTC)
LOGGED = int(NOW.timestamp()) - 60


def item(code, value, *, time=LOGGED, instance=0, **more):
    return {"code": code, "rawValue": value, "timestamp": time, "instance": instance, **more}


def site(site_id, *items, last=LOGGED, **more):
    record = {"idSite": site_id, "name": f"Site {site_id}", "last_timestamp": last, "extended": list(items)}
    return {**record, **more}


def snapshots(*sites, max_age_s=900.0):
    payload = {"success": True, "records": list(sites)}
    return read_snapshots(payload, account="home", at=NOW, max_age_s=max_age_s)


def test_values_are_those_of_the_live_source():
    """By quantity, in its unit and sign; the source names the device, the age counts from the log."""
    (found,) = snapshots(site(7, item("bs", 71.5), item("bv", 52), item("bc", -10)))
    assert found.values == {
        Quantity.BATTERY_SOC: 71.5,
        Quantity.BATTERY_VOLTAGE: 52.0,
        Quantity.BATTERY_CURRENT: -10.0,
        Quantity.BATTERY_POWER: -520.0,
    }
    charge = found.present[Quantity.BATTERY_SOC]
    assert (charge.source, charge.age_s, charge.stale) == (SourceId("vrm", "home", "7", 0), 60.0, False)
    assert (found.id, found.name, found.age_s, found.stale, found.problem) == (7, "Site 7", 60.0, False, "")


def test_a_device_without_the_systems_values_counts_too():
    """A temperature that only a sensor has is among the values; the system's own come first."""
    (found,) = snapshots(site(7, item("bs", 40), item("bs", 41, instance=288), item("BT", 19, instance=288)))
    assert found.values == {Quantity.BATTERY_SOC: 40.0, Quantity.BATTERY_TEMPERATURE: 19.0}
    charge = found.present[Quantity.BATTERY_SOC]
    assert [each.instance for each in (charge.source, *charge.others)] == [0, 288]


def test_an_old_site_is_stale_and_keeps_its_values():
    """A site without network for a day has the values of a day ago, marked as such."""
    (found,) = snapshots(site(7, item("bs", 40, time=LOGGED - 86_400), last=LOGGED - 86_400))
    assert (found.stale, found.age_s) == (True, 86_460.0)
    assert found.present[Quantity.BATTERY_SOC].stale
    (found,) = snapshots(site(7, item("bs", 40)), max_age_s=59)
    assert found.stale


def test_a_site_without_data_has_no_values():
    """Nothing is zero because it is missing."""
    (found,) = snapshots(site(7, last=None))
    assert (found.values, found.time, found.age_s, found.stale) == ({}, None, None, True)
    assert "not logged" in found.problem


def test_values_dated_in_the_future_are_left_out():
    """As in the live source: such a device's clock is wrong, so the age of its values is unknown."""
    (found,) = snapshots(site(7, item("bs", 40, time=LOGGED + 86_400), item("bp", 5)))
    assert found.values == {Quantity.BATTERY_POWER: 5.0}


def test_a_malformed_record_does_not_hide_the_other_sites():
    """It is left out; a site that is listed twice is one site."""
    found = snapshots("damaged", {"idSite": "x"}, site(7, item("bs", 40)), site(7), site(8))
    assert [(each.id, each.values) for each in found] == [(7, {Quantity.BATTERY_SOC: 40.0}), (8, {})]


async def test_one_request_returns_every_site(mocked, vrm, me):
    """After the user's id, which is requested once."""
    for _ in range(2):
        mocked.get(SITES, body=printed.INSTALLATIONS_EXTENDED)
    (found,) = await vrm.now()
    assert found.values[Quantity.BATTERY_SOC] == 76.0
    assert found.source == SourceId("vrm", "22", "100")
    assert [each.name async for each in vrm.now()] == ["Test installation"]
    sent = [(url.path, dict(url.query)) for (_, url), calls in mocked.requests.items() for _ in calls]
    assert sent == [
        ("/v2/users/me", {}),
        ("/v2/users/22/installations", {"extended": "1"}),
        ("/v2/users/22/installations", {"extended": "1"}),
    ]


async def test_sites_are_returned_in_the_order_of_the_caller(mocked, vrm, me):
    """One site is requested by its id; several are picked from the list; a missing one is named."""
    body = {"success": True, "records": [site(7, item("bs", 1)), site(8, item("bs", 2)), site(9)]}
    for _ in range(3):
        mocked.get(SITES, body=json.dumps(body))
    assert [each.id for each in await vrm.now(9, 7, 9)] == [9, 7]
    (only,) = await vrm.now(8)
    assert (only.id, only.site.id) == (8, 8)
    with pytest.raises(NotFound, match="does not have 6"):
        await vrm.now(7, 6)
    queries = [dict(url.query) for (_, url), calls in mocked.requests.items() for _ in calls]
    assert {"extended": "1", "idSite": "8"} in queries


@pytest.mark.parametrize("max_age_s", [0, -1.0, float("nan")])
def test_an_age_is_positive(vrm, max_age_s):
    """Nothing is sent."""
    with pytest.raises(ValueError, match="max_age_s"):
        vrm.now(max_age_s=max_age_s)


class Behind(SystemClock):
    """A clock that is an hour behind."""

    def utcnow(self):
        return NOW - timedelta(hours=1)


async def test_ages_follow_vrms_clock(mocked, me):
    """A machine whose clock is an hour behind still knows how old the data is."""
    body = {"success": True, "records": [site(7, item("bs", 1))]}
    mocked.get(SITES, body=json.dumps(body), headers={"Date": format_datetime(NOW, usegmt=True)})
    async with VRMClient(token=TOKEN, clock=Behind()) as vrm:
        (found,) = await vrm.now()
    assert found.age_s == pytest.approx(60, abs=2)


async def test_an_unreadable_list_is_an_error(mocked, vrm, me):
    """Not an account without sites."""
    mocked.get(SITES, payload={"success": True, "rows": []}, repeat=True)
    with pytest.raises(DecodeError):
        await vrm.now()
