"""The live source: from a list of sites to readings, and its behaviour when VRM deviates."""

import asyncio
import json
import re
import warnings
from datetime import UTC, datetime

import pytest
from aioresponses import CallbackResult

from energy_core import FileCheckpoint, Quantity, SessionPool, merge
from energy_core.codec.drift import Drift, collect_drift
from energy_core.errors import NotFound
from energy_core.stream.vocabulary import Kind, SourceId, State
from tests.servers import vrm_samples as printed
from tests.servers.virtual_time import EPOCH, VirtualClock
from vrm_async import VRMClient
from vrm_async.live import FRESH_S, read_sites

NOW = 1776515873
TOKEN = "0123456789abcdef" * 4
ANYTHING = re.compile(r"^https://vrmapi\.victronenergy\.com/v2/.*$")


def item(code, raw_value, *, time=NOW, instance=0, **more):
    return {"code": code, "rawValue": raw_value, "timestamp": time, "instance": instance, **more}


def total(code, raw_value, *, time=NOW, **more):
    return {"code": code, "rawValue": raw_value, "timestamp": time, "idDataAttribute": None, **more}


def site(*items, site_id=7, last=NOW):
    return {"idSite": site_id, "last_timestamp": last, "extended": list(items)}


def read(*sites, wanted=()):
    payload = {"success": True, "records": list(sites)}
    return [each.reading for each in read_sites(payload, set(wanted), "token-1").readings]


def values(*items):
    """Return the values of the one reading of these items, or {} if there is no reading."""
    found = read(site(*items))
    assert len(found) <= 1
    return dict(found[0].values) if found else {}


@pytest.mark.parametrize(
    ("items", "quantity", "value"),
    [
        ([item("bs", 99.7)], Quantity.BATTERY_SOC, 99.7),
        ([item("bv", "54.12")], Quantity.BATTERY_VOLTAGE, 54.12),
        ([item("bc", 17.9)], Quantity.BATTERY_CURRENT, 17.9),
        ([item("bc", -1.8)], Quantity.BATTERY_CURRENT, -1.8),
        ([item("bp", 960)], Quantity.BATTERY_POWER, 960.0),
        ([item("bp", -540.5)], Quantity.BATTERY_POWER, -540.5),
        ([item("BT", 21.5, instance=288)], Quantity.BATTERY_TEMPERATURE, 21.5),
        ([item("CT", 22, instance=257)], Quantity.BATTERY_TEMPERATURE, 22.0),
        ([item("ScT", -3.5, instance=258)], Quantity.BATTERY_TEMPERATURE, -3.5),
        ([item("tsT", 18.1, instance=20), item("tst", 0, instance=20)], Quantity.BATTERY_TEMPERATURE, 18.1),
        ([total("from_to_grid", 49.0818)], Quantity.GRID_POWER, 49.0818),
        ([total("from_to_grid", -248.6)], Quantity.GRID_POWER, -248.6),
        ([item("g1", 100), item("g2", "-20"), item("g3", 5)], Quantity.GRID_POWER, 85.0),
        ([item("g1", -7)], Quantity.GRID_POWER, -7.0),
        ([total("consumption", 118)], Quantity.CONSUMPTION_POWER, 118.0),
        ([item("a1", 100), item("a2", 20), item("dc", 8)], Quantity.CONSUMPTION_POWER, 128.0),
        ([total("solar_yield", 5347.110000000001)], Quantity.PV_POWER, 5347.110000000001),
        ([total("solar_yield", -0.4)], Quantity.PV_POWER, -0.4),
        ([item("Pdc", 800), item("Pi2", 150.5)], Quantity.PV_POWER, 950.5),
        ([total("generator", 0)], Quantity.GENERATOR_POWER, 0.0),
        ([item("gs1", 1500)], Quantity.GENERATOR_POWER, 1500.0),
    ],
)
def test_a_code_is_one_quantity_in_its_unit_and_sign(items, quantity, value):
    """Units are W, %, V, A and degC; import and charging are positive; values are not clamped."""
    assert values(*items) == {quantity: pytest.approx(value)}


@pytest.mark.parametrize(
    "items",
    [
        [item("bs", None)],
        [item("bs", False)],
        [item("bs", "")],
        [item("bs", "nan")],
        [item("bs", True)],
        [item("BS", 50)],
        [item("SOC", 50)],
        [item("Gc", 5), item("gc", 5)],
        [item("tsT", 4.0, instance=20), item("tst", 1, instance=20)],
        [item("tsT", 4.0, instance=20), item("tst", 0, instance=21)],
        [item("tsT", 4.0, instance=20)],
        [item("g2", 5), item("g3", 5)],
        [item("a2", 5), item("dc", 5)],
        [total("from_to_grid", None)],
        [{"rawValue": 5}, "damaged", None],
        [item("bs", 50, time=None)],
        [item("bs", 50, time=False)],
    ],
)
def test_a_missing_value_is_not_invented(items):
    """There is no quantity without a value, of a fridge, of a phase, or of a code in another case."""
    assert values(*items) == {}


def test_battery_power_is_voltage_times_current_where_vrm_has_no_power():
    """Without `bp` it is the product of one device and second, positive while charging."""
    assert values(item("bv", 52.5), item("bc", -10.0))[Quantity.BATTERY_POWER] == -525.0
    assert values(item("bv", "48.2"), item("bc", "10"))[Quantity.BATTERY_POWER] == pytest.approx(482.0)
    in_mv = item("bv", 52500, formatWithUnit="%.0F mV"), item("bc", 10, formatWithUnit="%.1F A")
    assert values(*in_mv)[Quantity.BATTERY_POWER] == pytest.approx(525.0)


def test_a_measured_battery_power_is_not_replaced():
    """`bp` is preferred to the product of voltage and current."""
    measured = values(item("bp", 512), item("bv", 52.5), item("bc", 10.0))
    assert measured[Quantity.BATTERY_POWER] == 512.0


@pytest.mark.parametrize(
    "items",
    [
        [item("bv", 52.5)],
        [item("bc", 10.0)],
        [item("bv", 52.5), item("bc", None)],
        [item("bv", "--"), item("bc", 10.0)],
        [item("bv", 52.5), item("bc", 10.0, time=NOW - 1)],
        [item("bv", 52.5, instance=1), item("bc", 10.0, instance=2)],
        [item("bv", 52.5, idDeviceType=6), item("bc", 10.0, idDeviceType=2)],
        [item("bv", 1e200), item("bc", 1e200)],
        [item("bv", 52.5), item("bv", 24.1), item("bc", 10.0)],
    ],
)
def test_battery_power_is_not_derived_of_two_moments_or_devices(items):
    """Voltage and current of different seconds or devices make no power."""
    assert all(Quantity.BATTERY_POWER not in each.values for each in read(site(*items)))


def test_vrms_own_sum_comes_before_ours():
    """VRM's sum is preferred to the sum of its parts."""
    assert values(total("from_to_grid", 49), item("g1", 10), item("g2", 10)) == {Quantity.GRID_POWER: 49.0}
    assert values(total("from_to_grid", None, time=None), item("g1", 10)) == {Quantity.GRID_POWER: 10.0}


def test_the_answer_names_the_parts_of_a_sum():
    """The parts that the answer names replace the usual ones."""
    parts = total("consumption", None, time=None, consistsOfAttributeCodes=["a1", "dc"])
    assert values(parts, item("a1", 100), item("a2", 50), item("dc", 8)) == {
        Quantity.CONSUMPTION_POWER: 108.0
    }


GRID = total("from_to_grid", None, consistsOfAttributeCodes=["g1", "g2", "g3"])


def named(code, raw_value, *parts, **more):
    return total(code, raw_value, dataAttributes=[{"code": part, "instance": 0} for part in parts], **more)


@pytest.mark.parametrize("value", [None, "--", "", False, [], "nan"])
@pytest.mark.parametrize("missing", ["g1", "g2", "g3"])
@pytest.mark.parametrize("sum_of_vrm", [GRID, total("from_to_grid", -700)])
def test_a_sum_without_one_of_its_phases_is_missing(sum_of_vrm, missing, value):
    """Phases 1 and 3 make no grid power, neither as VRM's sum nor as the sum of parts."""
    phases = {"g1": 500, "g2": 900, "g3": -1200} | {missing: value}
    assert values(sum_of_vrm, *(item(code, each) for code, each in phases.items())) == {}


def test_a_phase_of_another_moment_makes_no_sum():
    """Two readings that each lack a phase have no sum; other values are delivered."""
    old = NOW - 300
    assert read(site(item("g1", 100), item("g2", 50, time=old))) == []
    assert read(site(GRID, item("g1", 500), item("g2", 900, time=old), item("g3", -1200))) == []
    assert read(site(named("from_to_grid", -700, "g1", "g2"), item("g1", 500), item("g2", 1, time=old))) == []
    (found,) = read(site(GRID, item("g1", 500), item("g2", 900, time=old), item("bs", 50)))
    assert found.values == {Quantity.BATTERY_SOC: 50.0}


def test_all_phases_below_the_highest_are_needed():
    """Phase 3 without phase 2 makes no sum."""
    assert values(item("g1", 500), item("g3", -1200)) == {}
    assert values(item("a1", 500), item("dc", 8)) == {Quantity.CONSUMPTION_POWER: 508.0}


def test_the_parts_of_a_site_are_those_in_data_attributes():
    """Of the parts that a sum may have, the site has those in dataAttributes; all of them are needed."""
    all_parts = ["g1", "g2", "g3"]
    sum_of_two = named("from_to_grid", None, "g1", "g2", consistsOfAttributeCodes=all_parts)
    assert values(sum_of_two, item("g1", 5), item("g2", 6)) == {Quantity.GRID_POWER: 11.0}
    assert values(sum_of_two, item("g1", 5), item("g2", 6), item("g3", None)) == {Quantity.GRID_POWER: 11.0}
    assert values(sum_of_two, item("g1", 5)) == {}
    assert values(named("solar_yield", None, "P", "P"), item("P", 40)) == {}  # of two devices
    away = named("solar_yield", None, "P")
    away["dataAttributes"][0]["instance"] = 279
    assert values(away, item("P", 40)) == {}


def test_a_sum_as_captured_needs_no_list_of_its_parts():
    """Captured sites send sums without parts: VRM's value is used, and null is not 0."""
    sums = named("solar_yield", 5347.11, "P", "Pi", "Pdc"), named("generator", None, time=None)
    assert values(*sums) == {Quantity.PV_POWER: 5347.11}


def test_a_charge_outside_0_to_100_is_left_out_and_counted():
    """It is counted as drift."""
    drift = Drift()
    with collect_drift(drift):
        assert values(item("bs", 100.5)) == values(item("bs", -1)) == {}
        assert values(item("bs", 100)) == {Quantity.BATTERY_SOC: 100.0}
    assert drift.counts == {("Attribute", "bs", "outside 0..100 %"): 2}


def test_a_value_in_another_unit_is_converted():
    """The unit is in the format of the attribute, also of sums and their parts."""
    assert values(total("from_to_grid", 1.5, formatWithUnit="%.1F kW")) == {Quantity.GRID_POWER: 1500.0}
    in_kw = item("g1", 1.5, formatWithUnit="%.1F kW"), item("g2", 20, formatWithUnit="%.0F W")
    assert values(*in_kw) == {Quantity.GRID_POWER: 1520.0}
    assert values(item("BT", 77, formatWithUnit="%.0F °F")) == {Quantity.BATTERY_TEMPERATURE: 25.0}
    assert values(item("bs", 5, formatWithUnit="%.0F Ah")) == {}


def either_way(*items):
    """Return the values of the items, after checking that their order does not matter."""
    first, second = (read(site(*order)) for order in (items, items[::-1]))
    assert sorted(map(repr, first)) == sorted(map(repr, second))
    return {each.id: dict(each.values) for each in first}


def test_of_two_kinds_of_devices_with_one_instance_the_system_is_used():
    """Then the device type with the lowest number; entries with a fresh value are preferred."""
    system, monitor, other = ({"idDeviceType": number} for number in (6, 2, 9))
    both = item("bs", 80, **system), item("bs", 20, **monitor)
    assert either_way(*both) == {f"7/0/{NOW}": {Quantity.BATTERY_SOC: 80.0}}
    assert either_way(item("bs", 20, **monitor), item("bs", 30, **other)) == {
        f"7/0/{NOW}": {Quantity.BATTERY_SOC: 20.0}
    }
    later = item("bs", 80, time=NOW - 40, **system), item("bs", 20, **monitor)
    assert either_way(*later) == {f"7/0/{NOW - 40}": {Quantity.BATTERY_SOC: 80.0}}
    empty = item("bs", None, **system), item("bs", 20, **monitor)
    assert either_way(*empty) == {f"7/0/{NOW}": {Quantity.BATTERY_SOC: 20.0}}
    leftover = item("bs", 80, time=NOW - FRESH_S - 1, **system), item("bs", 20, **monitor)
    assert either_way(*leftover) == {f"7/0/{NOW}": {Quantity.BATTERY_SOC: 20.0}}


def test_of_two_devices_of_one_kind_and_instance_one_is_chosen_and_counted():
    """The later value is used, of the same second the lower one."""
    drift = Drift()
    with collect_drift(drift):
        same = item("bs", 80), item("bs", 20)
        assert either_way(*same) == {f"7/0/{NOW}": {Quantity.BATTERY_SOC: 20.0}}
    assert drift.counts == {("Attribute", "bs", "several devices of one instance"): 2}
    assert either_way(item("bs", 20, time=NOW - 30), item("bs", 80)) == {
        f"7/0/{NOW}": {Quantity.BATTERY_SOC: 80.0}
    }


def test_a_battery_has_one_temperature():
    """The order is battery monitor, sensor, VE.Bus system, solar charger."""
    sensor = item("tsT", 18, instance=1), item("tst", 0, instance=1)
    vebus, charger = item("CT", 25, instance=1), item("ScT", 31, instance=1, time=NOW - 20)
    monitor = item("BT", 21, instance=1, time=NOW - 10)
    assert either_way(charger, vebus, *sensor, monitor) == {
        f"7/1/{NOW - 10}": {Quantity.BATTERY_TEMPERATURE: 21.0}
    }
    assert either_way(charger, vebus, *sensor) == {f"7/1/{NOW}": {Quantity.BATTERY_TEMPERATURE: 18.0}}
    assert either_way(charger, vebus) == {f"7/1/{NOW}": {Quantity.BATTERY_TEMPERATURE: 25.0}}
    empty = item("BT", None, instance=1)
    assert either_way(charger, empty) == {f"7/1/{NOW - 20}": {Quantity.BATTERY_TEMPERATURE: 31.0}}


def test_a_site_that_is_listed_twice_is_one_site():
    """The values of both records are read together, in either order."""
    first, second = site(item("bs", 80, idDeviceType=6)), site(item("bs", 20), item("bv", 52))
    assert read(first, second) == read(second, first)
    (found,) = read(first, second)
    assert found.values == {Quantity.BATTERY_SOC: 80.0, Quantity.BATTERY_VOLTAGE: 52.0}


ODD = [[], {}, ["bs"], {"code": "bs"}, None, 7, True, 1.5, "", "x" * 500, -1, 2**70, "1e999", "\x00", [[]]]


@pytest.mark.parametrize("odd", ODD, ids=repr)
@pytest.mark.parametrize(
    "where",
    [
        *("code", "rawValue", "instance", "timestamp", "formatWithUnit", "idDeviceType", "idDataAttribute"),
        *("instances", "dataAttributes", "consistsOfAttributeCodes"),
    ],
)
def test_an_odd_attribute_affects_no_other(where, odd):
    """Any JSON value in place of another leaves the other attributes and sites readable."""
    items = item("bs", 50) | {where: odd}, item("bv", 48), named("from_to_grid", 5, "g1") | {where: odd}
    found = read(site(*items), site(item("bs", 51), site_id=8))
    assert found[-1].id == f"8/0/{NOW}"
    assert [each.values.get(Quantity.BATTERY_VOLTAGE) for each in found].count(48.0) == 1


@pytest.mark.parametrize("odd", ODD, ids=repr)
@pytest.mark.parametrize("where", ["idSite", "last_timestamp", "extended"])
def test_an_odd_site_affects_no_other(where, odd):
    """A site that cannot be read is left out."""
    found = read(site(item("bs", 50)) | {where: odd}, site(item("bs", 51), site_id=8))
    assert dict(found[-1].values) == {Quantity.BATTERY_SOC: 51.0}


def test_a_reading_is_one_second_of_one_instance():
    """Each (site, instance, timestamp) is a reading, with VRM's items as `raw`."""
    switch = item("S", 9)
    found = read(site(item("bs", 50), switch, item("bv", 48, time=NOW - 60), item("BT", 20, instance=288)))
    assert [each.id for each in found] == [f"7/0/{NOW}", f"7/0/{NOW - 60}", f"7/288/{NOW}"]
    assert [each.source for each in found] == [
        SourceId("vrm", "token-1", "7", 0),
        SourceId("vrm", "token-1", "7", 0),
        SourceId("vrm", "token-1", "7", 288),
    ]
    assert found[0].time == datetime.fromtimestamp(NOW, UTC)
    assert found[0].raw == {"bs": item("bs", 50), "S": switch}


def test_instances_of_one_attribute_are_kept_apart():
    """An attribute of several devices is several readings; its instances come as an object or a list."""
    both = {"20": {"rawValue": 20.5, "timestamp": NOW}, "0": {"rawValue": 19, "timestamp": NOW}}
    found = read(site({"code": "BT", "timestamp": NOW, "instances": both}))
    assert {each.source.instance: each.values[Quantity.BATTERY_TEMPERATURE] for each in found} == {
        20: 20.5,
        0: 19.0,
    }
    found = read(site({"code": "BT", "timestamp": NOW, "instances": [{"rawValue": 19, "timestamp": NOW}]}))
    assert [each.source.instance for each in found] == [0]


def test_old_values_of_replaced_hardware_are_ignored():
    """A value that is more than 15 minutes older than the site's newest log makes no reading."""
    frozen = {"code": "BT", "instances": {"261": {"rawValue": 12, "timestamp": NOW - 150_000_000}}}
    assert read(site(frozen, item("bs", 1, time=NOW - FRESH_S - 1))) == []
    assert [each.id for each in read(site(item("bs", 1, time=NOW - FRESH_S)))] == [f"7/0/{NOW - FRESH_S}"]


def test_the_newest_log_is_found_without_last_timestamp():
    """Without last_timestamp it is the newest time of the items."""
    found = read(site(item("bs", 1), item("bv", 1, time=NOW - 10_000), last=None))
    assert [each.id for each in found] == [f"7/0/{NOW}"]


def test_an_item_without_a_time_is_as_old_as_the_site():
    """An item without a time was logged at last_timestamp; a time of null is unknown."""
    assert [each.id for each in read(site({"code": "bs", "rawValue": "76"}))] == [f"7/0/{NOW}"]


def test_the_printed_answer_is_a_reading():
    """The answer in VRM's documents has SOC, voltage, current and the four sums."""
    ((reading, _, _),) = read_sites(json.loads(printed.INSTALLATIONS_EXTENDED), set(), "token-1").readings
    assert reading.id == "100/0/1472217903"
    assert reading.values == {
        Quantity.BATTERY_SOC: 76.0,
        Quantity.BATTERY_VOLTAGE: 54.12,
        Quantity.BATTERY_CURRENT: 17.9,
        Quantity.BATTERY_POWER: pytest.approx(968.748),
        Quantity.CONSUMPTION_POWER: 8.0,
        Quantity.PV_POWER: 0.0,
        Quantity.GRID_POWER: 49.0818,
        Quantity.GENERATOR_POWER: 0.0,
    }


def test_only_wanted_sites_are_read():
    """Other sites of the account are left out; without wanted sites all are read."""
    sites = [site(item("bs", 1), site_id=number) for number in (7, 8, 9)]
    assert [each.source.site for each in read(*sites, wanted=[8])] == ["8"]
    assert [each.source.site for each in read(*sites, wanted=[9, 7])] == ["7", "9"]
    assert [each.source.site for each in read(*sites)] == ["7", "8", "9"]


def test_a_site_the_account_does_not_have():
    """It is reported with a hint; the others are read."""
    found = read_sites({"success": True, "records": [site(item("bs", 1))]}, {7, 5}, "token-1")
    assert len(found.readings) == found.count == 1
    seen = {source.site: (each.newest is None, each.problem) for source, each in found.sites.items()}
    trouble = (
        "the account's list of sites does not have 5; "
        "check the number, and that the account may still see the site"
    )
    assert seen == {"7": (False, ""), "5": (True, trouble)}


def test_a_malformed_site_affects_no_other():
    """It is counted and left out."""
    drift = Drift()
    with collect_drift(drift):
        found = read("damaged", {"extended": []}, site(item("bs", 1)), {"idSite": 8, "extended": False})
    assert [each.source.site for each in found] == ["7"]
    assert drift.counts["Site", "record", "malformed"] == 2


def test_a_list_of_one_site_attribute_or_part_may_be_that_one():
    """PHP sends a list of one item as that item."""
    sum_of_one = item("from_to_grid", None, dataAttributes={"code": "g1", "instance": 0})
    one = {"idSite": 7, "last_timestamp": NOW, "extended": item("bs", 80)}
    payload = {"success": True, "records": one}
    found = read_sites(payload, set(), "token-1").readings
    assert [(each.reading.id, dict(each.reading.values)) for each in found] == [
        (f"7/0/{NOW}", {Quantity.BATTERY_SOC: 80.0})
    ]
    assert values(sum_of_one, item("g1", 100), item("g2", 20)) == {Quantity.GRID_POWER: 100.0}
    by_code = item("from_to_grid", None, consistsOfAttributeCodes={"0": "g1"})
    assert values(by_code, item("g1", 100), item("g2", 20)) == {Quantity.GRID_POWER: 100.0}


@pytest.mark.parametrize("never", [0, "0", 0.0, None, -5, 35, 946684799, 946684799000])
def test_a_time_of_zero_is_never(never):
    """A value without a time, or with one before 2000, makes no reading."""
    payload = {"success": True, "records": [site(item("bs", 80, time=never), last=never)]}
    found = read_sites(payload, set(), "token-1")
    assert found.readings == []
    assert [seen.newest for seen in found.sites.values()] == [None]


def test_a_malformed_attribute_is_counted():
    """It affects no other attribute."""
    drift = Drift()
    with collect_drift(drift):
        assert values(None, "bs", 5, ["bs", 80], item("bs", 80)) == {Quantity.BATTERY_SOC: 80.0}
    assert drift.counts["Attribute", "record", "malformed"] == 4


# --- as a source ----------------------------------------------------------------------------------------


async def readings(source, count):
    found, states = [], []
    async with asyncio.timeout(5), merge(source) as events:
        async for event in events:
            (found if event.kind is Kind.READING else states).append(event)
            if len(found) == count:
                break
    return found, states


def answer(*sites):
    return {"success": True, "records": list(sites)}


async def test_one_request_serves_many_sites(vrm, mocked):
    """Each interval sends one request; a reading is delivered once."""
    mocked.get(ANYTHING, payload={"success": True, "user": {"id": 22}})
    first = site(item("bs", 50)), site(item("bs", 60), site_id=8)
    mocked.get(ANYTHING, payload=answer(*first))
    mocked.get(ANYTHING, payload=answer(*first))
    later = site(item("bs", 51, time=NOW + 60), last=NOW + 60)
    mocked.get(ANYTHING, payload=answer(later, first[1]), repeat=True)
    found, states = await readings(vrm.live(7, 8, interval_s=0.01), 3)
    assert [event.id for event in found] == [f"7/0/{NOW}", f"8/0/{NOW}", f"7/0/{NOW + 60}"]
    of_site = [event.seq for event in (*found, *states) if event.source.site == "7"]
    assert sorted(of_site) == [1, 2, 3, 4]  # stale, as of months ago, and live again
    assert State.LIVE in [event.detail.state for event in states]
    (me, _), (installations, calls) = mocked.requests.items()
    assert me[1].path == "/v2/users/me"
    assert (installations[1].path, dict(installations[1].query)) == (
        "/v2/users/22/installations",
        {"extended": "1"},
    )
    assert len(calls) >= 3


async def test_a_single_site_is_filtered_by_the_server(vrm, mocked):
    """A source of one site requests only that site and is named after it."""
    mocked.get(ANYTHING, payload={"success": True, "user": {"id": 22}})
    mocked.get(ANYTHING, payload=answer(site(item("bs", 50))), repeat=True)
    source = vrm.live(7)
    assert source.id.site == "7"
    (found,), _ = await readings(source, 1)
    assert found.source == source.id
    assert found.values == {Quantity.BATTERY_SOC: 50.0}
    assert found.raw["bs"]["rawValue"] == 50
    asked = [dict(url.query) for _, url in mocked.requests if url.path.endswith("installations")]
    assert asked == [{"extended": "1", "idSite": "7"}]
    assert '"battery_soc":50.0' in found.to_json()


@pytest.mark.virtual_time
async def test_a_refused_source_ends(mocked):
    """A token that is refused three times, a minute apart, ends the source with auth_failed."""
    mocked.get(ANYTHING, payload={"success": False, "error_code": "invalid_token"}, status=401, repeat=True)
    async with VRMClient(token=TOKEN) as vrm, asyncio.timeout(500), merge(vrm.live(7)) as events:
        states = [event.detail.state async for event in events]
    assert State.AUTH_FAILED in states


async def test_an_exchanged_token_is_the_same_account(fake, tmp_path):
    """Sources, ids, numbers and the saved position do not depend on the credential."""
    nothing = {"success": True, "records": {"data": {}, "meta": {}}}
    fake.answers("GET", "installations/7/widgets/Graph", nothing)
    file, seen = FileCheckpoint(tmp_path / "position"), []
    for now, token in ((NOW, "a" * 64), (NOW + 60, "b" * 64)):
        fake.answers("GET", "users/22/installations", answer(site(item("bs", 50, time=now), last=now)))
        async with (
            VRMClient(token=token, base_url=fake.url) as vrm,
            asyncio.timeout(5),
            merge(vrm.live(interval_s=0.05), checkpoint=file) as events,
        ):
            async for event in events:
                if event.source.site == "7":
                    seen.append(event)
                if event.kind is Kind.READING:
                    events.commit(event)
                    break
    assert {event.source for event in seen} == {SourceId("vrm", "22", "7")}
    delivered = [event for event in seen if event.kind is Kind.READING]
    assert [event.id for event in delivered] == [f"7/0/{NOW}", f"7/0/{NOW + 60}"]
    assert [event.seq for event in seen] == list(range(seen[0].seq, seen[0].seq + len(seen)))


async def test_a_user_may_name_the_account(fake):
    """A label chosen by the caller sends no request, and is the same for every credential."""
    ids = set()
    for facts in ({"token": "a" * 64}, {"token": "b" * 64}, {"demo": True}):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            client = VRMClient(account="home", base_url=fake.url, **facts)
        assert "home" in repr(client)
        ids.add(client.live(3, 1, 2, 1).id)
        await client.aclose()
    assert ids == {SourceId("vrm", "home", "1,2,3")}
    assert fake.asked == []


async def test_the_label_of_an_account_is_its_user_id(fake):
    """The user id is requested once and is the label afterwards; it contains no credential."""
    async with VRMClient(token=TOKEN, base_url=fake.url) as vrm:
        before = vrm.live()
        assert not before.id.identified
        assert str(before.id).endswith("/*/0")
        assert TOKEN[:8] not in f"{before.id} {vrm!r}"
        await vrm.users.me()
        assert vrm.live(7).id == SourceId("vrm", "22", "7")
        await before.identify(None)
        assert before.id == before.again().id == SourceId("vrm", "22", "*")
    assert len(fake.asked) == 1


async def test_a_pool_has_one_limiter_for_an_account_and_refuses_a_second(fake):
    """The limiter belongs to the label, or without one to the token."""
    async with SessionPool() as pool:
        first = VRMClient(pool, token="a" * 64, account="home", base_url=fake.url)
        with pytest.raises(ValueError, match="'home'"):
            VRMClient(pool, token="b" * 64, account="home", base_url=fake.url)
        await first.aclose()
        second = VRMClient(pool, token="b" * 64, account="home", base_url=fake.url)
        await second.users.me()
        assert fake.asked[-1].authorization == f"Token {'b' * 64}"
        assert len(pool.stats().limiters) == 1
        for token in ("c" * 64, "d" * 64, "c" * 64):
            VRMClient(pool, token=token, base_url=fake.url)
        assert len(pool.stats().limiters) == 3
        assert "cccc" not in repr(pool.stats())


async def test_a_source_is_used_once(fake):
    """A source that a stream has used cannot be used again."""
    async with VRMClient(token=TOKEN, account="home", base_url=fake.url) as vrm:
        source = vrm.live(7)
        async with merge(source):
            pass
        with pytest.raises(ValueError, match="used already"):
            merge(source)
        merge(vrm.live(7))


# --- deviations do not end the source ----------------------------------------------------------------------

START = int(EPOCH.timestamp())
GRAPH = {"success": True, "records": {"data": {}, "meta": {}}}
PAGE = "<html><body>nginx</body></html>"


class Script:
    """A VRM in virtual time with a list of sites and graphs."""

    def __init__(self, mocked, sites, graph=lambda _: (200, GRAPH)):
        self.sites, self.graph = sites, graph
        self.users = []  # ids to answer before the right one
        self.asked = []
        mocked.get(ANYTHING, callback=self._answer, repeat=True)

    def _answer(self, url, **_):
        self.asked.append(url)
        if url.path.endswith("/users/me"):
            status, answer = 200, {"success": True, "user": {"id": self.users.pop() if self.users else 22}}
        elif url.path.endswith("/installations"):
            status, answer = self.sites(len(self.lists))
        else:
            status, answer = self.graph(url)
        if isinstance(answer, str):
            return CallbackResult(status=status, body=answer, content_type="text/html")
        return CallbackResult(status=status, payload=answer)

    @property
    def lists(self):
        return [dict(url.query) for url in self.asked if url.path.endswith("/installations")]


def second():
    return START + int(asyncio.get_running_loop().time())


async def watched(*wanted, seconds, interval_s=60.0):
    """Run a source for some virtual time; return its status at the end, and the events."""
    clock = VirtualClock()
    async with SessionPool() as pool, VRMClient(pool, token=TOKEN, account="me", clock=clock) as vrm:
        source = vrm.live(*wanted, interval_s=interval_s)
        async with merge(source, clock=clock, buffer=100_000) as events:
            await asyncio.sleep(seconds)
            status = events.status[source.id]
            await events.drain()
            return status, [event async for event in events]


def minutely(instance=0, *, site_id=7, at=None):
    """Return a site that logs each minute, by its own clock if one is given."""
    stamp = second() // 60 * 60 if at is None else at
    return site(item("bs", 50, time=stamp, instance=instance), site_id=site_id, last=stamp)


@pytest.mark.virtual_time
@pytest.mark.parametrize("wanted", [(), (7,), (7, 8)], ids=str)
@pytest.mark.parametrize(
    "odd",
    [
        (200, {"success": True, "records": []}),
        (200, {"success": True, "records": False}),
        (200, {"success": True, "records": None}),
        (200, {"success": True, "records": ["damaged"]}),
        (200, {"success": True}),
        (200, []),
        (401, PAGE),
        (403, PAGE),
        (404, PAGE),
        (401, {"success": False, "error_code": "invalid_token"}),
        (403, {"success": False}),
        (404, {"success": False}),
        (500, {"success": False}),
    ],
    ids=str,
)
async def test_one_bad_poll_ends_nothing(mocked, odd, wanted):
    """The source continues with the next good list."""

    def sites(count):
        return odd if count == 3 else (200, answer(minutely()))

    Script(mocked, sites)
    status, events = await watched(*wanted, seconds=870)
    assert status.state is State.LIVE
    assert status.notes == ({} if odd[0] == 500 else {"failed polls": 1})  # a 500 is retried at once
    seconds = [int(event.time.timestamp()) - START for event in events if event.kind is Kind.READING]
    assert seconds[-1] == 840
    assert len(seconds) >= 13


@pytest.mark.virtual_time
@pytest.mark.parametrize("odd", [{"records": []}, {"records": False}], ids=str)
@pytest.mark.parametrize("wanted", [(), (7,), (7, 8)], ids=str)
async def test_an_empty_list_never_ends_a_source(mocked, odd, wanted):
    """However often it comes, the status reports it and polling continues."""
    script = Script(mocked, lambda _: (200, {"success": True} | odd))
    status, _ = await watched(*wanted, seconds=3600)
    assert status.state is State.DISCONNECTED
    assert status.reason == "the account's list of sites is empty"
    assert status.notes["failed polls"] == len(script.lists) > 20


@pytest.mark.virtual_time
@pytest.mark.parametrize("wanted", [(9,), (8, 9)], ids=str)
async def test_sites_that_are_all_gone_end_a_source(mocked, wanted):
    """Three lists in a row with other sites end it; an empty filtered list does not count."""

    def sites(count):
        filtered = "idSite" in script.lists[-1]
        return 200, answer() if filtered else answer(minutely())

    script = Script(mocked, sites)
    status, _ = await watched(*wanted, seconds=3600)
    assert status.state is State.FAILED
    assert isinstance(status.error, NotFound)
    named = ", ".join(map(str, wanted))
    assert str(status.error).startswith(
        f"the account's list of sites does not have {named}; check the number"
    )
    assert [("idSite" in query) for query in script.lists] == [len(wanted) == 1, False, False, False][
        -len(script.lists) :
    ]


@pytest.mark.virtual_time
@pytest.mark.parametrize(
    "odd",
    [
        {"instance": -1},
        {"instance": 2**40},
        {"at": 600},
        {"at": 0},
        {"at": 2**31 - 1},
        {"at": 2**32 + 5},
        {"at": 253_402_300_799},
        {"at": 253_402_300_799_999},
    ],
    ids=str,
)
async def test_an_odd_device_ends_nothing(mocked, odd):
    """Negative instances and clocks in 1970, 2038 or 9999 affect no other device."""
    script = Script(mocked, lambda _: (200, answer(minutely(site_id=8), minutely(**odd))))
    status, events = await watched(seconds=4 * 3600 - 30)
    assert status.state in {State.LIVE, State.BACKFILLING}
    assert status.error is None
    of_8 = [event for event in events if event.source.site == "8" and event.kind is Kind.READING]
    assert len(of_8) == 240
    assert any("/8/widgets/Graph" in url.path for url in script.asked)


@pytest.mark.virtual_time
@pytest.mark.parametrize(
    "odd",
    [
        (401, {"success": False, "error_code": "invalid_token"}),
        (403, {"success": False}),
        (404, {"success": False}),
        (401, PAGE),
        (200, []),
        (
            200,
            {
                "success": True,
                "records": {"data": {"1": [[10**18, 5], [None], "x"]}, "meta": {"1": {"code": "bs"}}},
            },
        ),
        (200, {"success": True, "records": {"data": {"1": [[-5, 5], [START, 1e308]]}, "meta": []}}),
        (200, {"success": True, "records": {"data": 5, "meta": False, "instance": "x"}}),
    ],
    ids=str,
)
async def test_a_graph_that_is_refused_or_odd_ends_nothing(mocked, odd):
    """The refusal of one graph is a gap of its device if something was missing, and nothing else."""

    def sites(_):
        if 1200 <= second() - START < 1500:  # a gap of five minutes, which is looked back at
            return 200, answer(minutely(at=START + 1140), minutely(site_id=8))
        return 200, answer(minutely(), minutely(site_id=8))

    Script(mocked, sites, lambda url: odd if "/7/" in url.path else (200, GRAPH))
    status, events = await watched(seconds=4 * 3600 - 30)
    assert status.state is State.LIVE
    of_8 = [event for event in events if event.source.site == "8" and event.kind is Kind.READING]
    assert len(of_8) == 240
    of_7 = [
        int(event.time.timestamp()) - START for event in events if event.source.site == "7" and event.values
    ]
    assert of_7[-1] == 4 * 3600 - 60
    assert len(of_7) == 235


@pytest.mark.virtual_time
async def test_codes_named_by_the_server_raise_no_argument_error(mocked):
    """Parts of a sum with invalid codes are not requested; the others are."""
    odd_parts = named("solar_yield", 5, "P \\x00", "Pdc") | {"timestamp": START}
    script = Script(mocked, lambda _: (200, answer(site(odd_parts, item("bs", 1, time=START), last=START))))
    status, _ = await watched(seconds=2 * 3600)
    assert status.error is None
    [graph] = {str(url.query.getall("attributeCodes[]")) for url in script.asked if "Graph" in url.path}
    assert graph == "['bs']"


@pytest.mark.virtual_time
async def test_deviations_are_counted_in_the_status(mocked):
    """An attribute without a code, an unreadable site and a charge of 200 % are each counted once a poll."""
    odd = site({"code": []}, {"code": []}, item("bs", 200, time=START), last=START)
    Script(mocked, lambda _: (200, answer(odd, "damaged", minutely(site_id=8))))
    status, _ = await watched(seconds=290)
    assert status.notes == {
        "Site record: malformed": 5,
        "Attribute record: malformed": 10,
        "Attribute bs: outside 0..100 %": 5,
    }


@pytest.mark.virtual_time
async def test_an_invalid_user_id_is_requested_again(mocked):
    """An invalid id is not cached: the next answer has the account's."""
    script = Script(mocked, lambda _: (200, answer(minutely())))
    script.users = [None, -1, 0, "x", 2**70, []]
    status, _ = await watched(seconds=900)
    assert status.state is State.LIVE
    assert {url.path for url in script.asked if "installations" in url.path} >= {"/v2/users/22/installations"}
    assert not any("users/0/" in url.path or "users/-1/" in url.path for url in script.asked)
