"""Look-back of the live source: from graphs to past readings."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from attrs import evolve

from energy_core.codec.drift import Drift, collect_drift
from energy_core.http.operation import Priority
from energy_core.stream.vocabulary import Quantity, SourceId
from vrm_async.client import BASE_URL
from vrm_async.decoding import series
from vrm_async.live import read_sites
from vrm_async.lookback import DeviceCodes, GraphLookback, buckets

NOW = 1_776_516_000
START = datetime(2026, 4, 18, 12, tzinfo=UTC)
AT = int(START.timestamp())
SITE = SourceId("vrm", "token-1", "7", 0)


def item(code, raw_value, *, instance=0, **more):
    return {"code": code, "rawValue": raw_value, "timestamp": NOW, "instance": instance, **more}


def total(code, raw_value, *parts, consists=()):
    named = [{"code": part, "instance": 0} for part in parts]
    return {
        "code": code,
        "rawValue": raw_value,
        "timestamp": NOW,
        "idDataAttribute": None,
        "consistsOfAttributeCodes": list(consists or parts),
        "dataAttributes": named,
    }


def live(*items):
    payload = {"success": True, "records": [{"idSite": 7, "last_timestamp": NOW, "extended": list(items)}]}
    return read_sites(payload, set(), "token-1").readings


def device_codes(*items, instance=0):
    codes = DeviceCodes()
    for each in live(*items):
        if each.reading.source.instance == instance:
            codes.learn(*each)
    return codes


def graph(**points):
    """Return a graph of points at minutes after the start, or of (attribute id, code, unit, points)."""
    data = {str(n): [[AT + 60 * at, value] for at, value in found] for n, found in enumerate(points.values())}
    meta = {str(n): {"code": code} for n, code in enumerate(points)}
    return series.graph({"success": True, "records": {"data": data, "meta": meta, "instance": 0}})


def looked_back(codes, **points):
    return {
        round((each.time - START).total_seconds() / 60): dict(each.values)
        for each in buckets(graph(**points), codes, SITE, START, START + timedelta(hours=1))
    }


def test_the_codes_of_the_live_readings_are_requested():
    """These are single codes and the parts that VRM has added up, not all parts that a sum may have."""
    codes = device_codes(
        item("bs", 50),
        item("bv", 48),
        item("S", 3),
        total("solar_yield", 800, "P", "Pdc", consists=["P", "P2", "Pi", "Pdc", "Pj"]),
        total("consumption", 300, "a1", "dc"),
        total("from_to_grid", None, consists=["g1", "g2", "g3"]),
    )
    assert codes.codes == ["P", "Pdc", "a1", "bs", "bv", "dc"]


def test_a_sum_in_a_graph_is_that_of_the_live_reading():
    """The parts of one bucket are added, in the unit and sign of the live reading."""
    codes = device_codes(item("bs", 50), total("from_to_grid", -30, "g1", "g2", "g3"))
    assert looked_back(codes, bs=[(0, 51.0)], g1=[(0, 100.0)], g2=[(0, -120.0)], g3=[(0, 5.0)]) == {
        0: {Quantity.BATTERY_SOC: 51.0, Quantity.GRID_POWER: -15.0}
    }


def test_a_bucket_with_a_part_missing_has_no_sum():
    """Without one part the sum is missing; other quantities are there."""
    codes = device_codes(item("bs", 50), total("solar_yield", 800, "P", "Pdc"))
    assert looked_back(codes, bs=[(0, 50.0), (1, 49.0)], P=[(0, 1.0), (1, 2.0)], Pdc=[(1, 3.0)]) == {
        0: {Quantity.BATTERY_SOC: 50.0},
        1: {Quantity.BATTERY_SOC: 49.0, Quantity.PV_POWER: 5.0},
    }


def test_a_part_that_the_graph_does_not_have_leaves_no_sum():
    """VRM names the parts that a site has; without one of them there is no sum, as in live readings."""
    codes = device_codes(total("consumption", 300, "a1", "dc"), total("from_to_grid", 5, "g1", "g2"))
    assert looked_back(codes, a1=[(0, 300.0)], g1=[(0, 5.0)], g2=[(0, 6.0)]) == {
        0: {Quantity.GRID_POWER: 11.0}
    }


def test_battery_power_is_derived_in_a_graph_too():
    """It is voltage times current of one bucket; a bucket without one of them has none."""
    codes = device_codes(item("bv", 52), item("bc", -10))
    found = looked_back(codes, bv=[(0, 52.0), (1, 53.0), (2, 1e200)], bc=[(0, -10.0), (2, 1e200)])
    assert found[0][Quantity.BATTERY_POWER] == -520.0
    assert found[1] == {Quantity.BATTERY_VOLTAGE: 53.0}
    assert Quantity.BATTERY_POWER not in found[2]
    assert device_codes(item("bp", 500), item("bv", 52), item("bc", 10)).codes == ["bc", "bp", "bv"]


def test_of_two_attributes_with_one_code_the_live_one_is_used():
    """A graph is keyed by attribute: that of the live reading is used, else the lowest id, in any order."""
    data = {"143": [[AT, 52.0]], "900": [[AT, 24.0]], "901": [[AT, 12.0]]}
    for live_one, expected in ((900, 24.0), (None, 52.0), (77, 52.0)):
        codes = device_codes(item("bv", 24, idDataAttribute=live_one))
        for keys in (list(data), list(data)[::-1]):
            records = {
                "data": {key: data[key] for key in keys},
                "meta": {key: {"code": "bv"} for key in keys},
                "instance": 0,
            }
            drawn = series.graph({"success": True, "records": records})
            [bucket] = buckets(drawn, codes, SITE, START, START + timedelta(hours=1))
            assert bucket.values == {Quantity.BATTERY_VOLTAGE: expected}


def test_points_outside_the_range_are_left_out():
    """A graph of another range, or of the year 9999, makes no readings."""
    codes = device_codes(item("bs", 50))
    points = [(-1, 50.0), (0, 51.0), (1, 52.0), (61, 53.0), (4_000_000_000, 54.0)]
    assert looked_back(codes, bs=points) == {0: {Quantity.BATTERY_SOC: 51.0}, 1: {Quantity.BATTERY_SOC: 52.0}}


def test_a_state_of_charge_outside_0_to_100_is_left_out():
    """It is left out of a graph too, and counted."""
    codes, drift = device_codes(item("bs", 50), item("bv", 48)), Drift()
    with collect_drift(drift):
        found = looked_back(codes, bs=[(0, -1.0), (1, 100.0), (2, 5700.0)], bv=[(0, 48.0), (1, 49.0)])
    assert found == {
        0: {Quantity.BATTERY_VOLTAGE: 48.0},
        1: {Quantity.BATTERY_SOC: 100.0, Quantity.BATTERY_VOLTAGE: 49.0},
    }
    assert drift.counts == {("Attribute", "bs", "outside 0..100 %"): 2}


def test_parts_of_another_instance_make_no_sum():
    """A graph is of one instance, so such a sum is missing."""
    away = total("solar_yield", 800, "Pdc")
    away["dataAttributes"] = [{"code": "Pdc", "instance": 279}]
    assert device_codes(item("bs", 1), away).codes == ["bs"]


def test_a_battery_sensor_is_known_from_the_live_reading():
    """A sensor at a battery is used, one in a fridge is not."""
    battery = [item("tsT", 20, instance=4), item("tst", 0, instance=4)]
    assert looked_back(device_codes(*battery, instance=4), tsT=[(0, 21.0)]) == {
        0: {Quantity.BATTERY_TEMPERATURE: 21.0}
    }
    fridge = [item("tsT", 4, instance=4), item("tst", 1, instance=4)]
    assert device_codes(*fridge, instance=4).codes == []


def test_a_code_that_the_graph_does_not_have_is_left_out():
    """A bucket without any value is left out too."""
    codes = device_codes(item("bs", 50), item("bv", 48))
    assert looked_back(codes, bs=[(0, 50.0), (2, None)]) == {0: {Quantity.BATTERY_SOC: 50.0}}


@pytest.mark.parametrize(
    ("minutes", "step_s"), [([0, 1, 2], 60), ([3, 4, 9], 60), ([5], 60), ([0, 5, 10, 25], 300), ([7, 22], 60)]
)
def test_buckets_are_as_long_as_the_step(minutes, step_s):
    """The step is the greatest common divisor of all times, counted from the requested start."""
    drawn, end = graph(bs=[(at, 1.0) for at in minutes]), START + timedelta(hours=1)
    found = list(buckets(drawn, device_codes(item("bs", 1)), SITE, START, end))
    assert {each.bucket_s for each in found} == {step_s}
    assert [each.id for each in found] == [f"7/0/{AT + 60 * at}" for at in minutes]
    raw = {"rawValue": 1.0, "timestamp": AT + 60 * minutes[0], "resolution": step_s}
    assert found[0].raw == {"bs": raw}


def test_one_odd_point_moves_no_other_bucket():
    """A point that is not on the grid is left out; the others keep their step and their ids."""
    codes = DeviceCodes()
    for each in live(item("bs", 50) | {"timestamp": NOW + 13}):
        codes.learn(*each)
    even = [(at, 50.0) for at in range(10)]
    end = START + timedelta(hours=1)
    expected = list(buckets(graph(bs=even), codes, SITE, START, end))
    assert [each.id for each in expected] == [f"7/0/{AT + 60 * at + 13}" for at in range(10)]
    for odd in (7 / 60, 3.5, 9 + 1 / 60):
        assert list(buckets(graph(bs=[*even, (odd, 1.0)]), codes, SITE, START, end)) == expected
    shifted = [(at + 5 / 60, value) for at, value in even]  # a range that began in the middle of a minute
    assert [each.bucket_s for each in buckets(graph(bs=shifted), codes, SITE, START, end)] == [60.0] * 10


def test_a_bucket_has_the_time_at_which_the_device_usually_logs():
    """Graph buckets carry no device timestamp; the offset of the last logs is used."""
    codes = DeviceCodes()
    for each in live(item("bs", 50) | {"timestamp": NOW + 13}):
        codes.learn(*each)
    drawn, end = graph(bs=[(0, 1.0), (1, 2.0)]), START + timedelta(hours=1)
    found = list(buckets(drawn, codes, SITE, START, end))
    assert [each.id for each in found] == [f"7/0/{AT + 13}", f"7/0/{AT + 73}"]
    assert [each.time for each in found] == [START + timedelta(seconds=13), START + timedelta(seconds=73)]
    assert {(each.bucket_s, each.bucket_at_s) for each in found} == {(60, 13)}


def test_one_unusual_time_does_not_change_the_offset():
    """The offset is that of most of the last readings; a lasting change is adopted."""
    codes = DeviceCodes()

    def logged(second):
        for observation, made_of, attributes in live(item("bs", 50)):
            moved = evolve(observation, time=START + timedelta(seconds=second))
            codes.learn(moved, made_of, attributes)
        return [each.id for each in buckets(drawn, codes, SITE, START, START + timedelta(hours=1))]

    drawn = graph(bs=[(0, 50), (1, 51)])
    usual, odd = [f"7/0/{AT + 20}", f"7/0/{AT + 80}"], [f"7/0/{AT + 33}", f"7/0/{AT + 93}"]
    assert logged(20) == logged(80) == usual
    assert logged(93) == usual
    assert logged(140) == usual
    assert [logged(153), logged(213), logged(273), logged(333)][-1] == odd


async def test_a_range_is_one_request_in_the_background(vrm, mocked, monkeypatch):
    """One request fetches all codes of a device instance; an unknown device sends none."""
    priorities = []
    send = vrm._pool.send

    async def spied(request, *args):
        priorities.append(request.priority)
        return await send(request, *args)

    monkeypatch.setattr(vrm._pool, "send", spied)
    answer = {"success": True, "records": {"data": {"1": [[AT, 50.5]]}, "meta": {"1": {"code": "bs"}}}}
    query = f"attributeCodes[]=bs&attributeCodes[]=bv&instance=0&start={AT}&end={AT + 3600}"
    mocked.get(f"{BASE_URL}installations/7/widgets/Graph?{query}", body=json.dumps(answer))
    lookback = GraphLookback(vrm._api)
    for each in live(item("bs", 50), item("bv", 48)):
        lookback.learn(*each)
    [bucket] = await lookback(SITE, START, START + timedelta(hours=1))
    assert bucket.values == {Quantity.BATTERY_SOC: 50.5}
    assert await lookback(SITE._replace(instance=9), START, START + timedelta(hours=1)) == []
    assert priorities == [Priority.BACKGROUND]
