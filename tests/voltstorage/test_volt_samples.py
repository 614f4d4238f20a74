"""Every sample printed in the vendor's reference, value by value."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta

import pytest
from aioresponses import CallbackResult

from energy_core.stream.vocabulary import Quantity
from tests.servers.scripted_volt import BASE, TOKEN
from voltstorage_async import FieldMap, LatestData
from voltstorage_async.codec import product_event
from voltstorage_async.models import ExportRow, Sampled, Weighted

PRODUCTS = """[{"id": 77, "ownerName": null, "serialNumber": "AA0024", "hardwareVersion": "5.4",
"manufacturingDate": "2019-05-21", "installationDate": null, "timezone": "Europe/Berlin",
"createdAt": "2019-05-21T08:24:43.357Z", "updatedAt": "2020-03-23T10:18:37.065Z", "typeId": 6, "groupId": 64,
"type": {"id": 6, "name": "VoltStorage SMART", "startOfProduction": "2018-08-20", "baseType": "storage"},
"group": {"id": 64, "ownerId": 1, "name": "Clustering Test", "latitude": null, "longitude": null,
"owner": {"id": 1, "name": "David Bauske", "email": "david.bauske@voltstorage.com", "demo": false}},
"errors": ["nonDefaultStrategy"], "online": true}]"""

EVENT = '{"type": "latest-data", "time": 1575154800, "data": {"pvPower": 421, "dcVoltage": 26.3}}'

LATEST = '{"time": 1575154800, "data": {"pvPower": 421, "dcVoltage": 26.3}}'

STATISTICS = """[{"timespan_start": 1584835200, "pv-total": 0, "pv-activity": 0, "consumption-total": 1538060,
"storage-total-released": 22079844, "storage-total-stored": 21982919, "max-temperature": 35.9471,
"own-consumption": {"nSamples": 1438, "value": 0},
"electrolyte-temp": {"nSamples": 1438, "value": 34.1388342837275},
"pump-temp": {"nSamples": 1438, "value": 38.67160097357442},
"dc-capacity": {"nSamples": 1438, "value": 18154876.06536853},
"ac-capacity": {"nSamples": 1438, "value": 15697997.574408904},
"dc-efficiency": {"nSamples": 1438, "value": 0.9184715034770791},
"ac-efficiency": {"nSamples": 1438, "value": 0.7138800556328048},
"self-sufficiency": {"totalWeight": 1538060, "value": 0.455623577171242}}]"""

EXPORT = """sep=,
Time,Power_Grid,Power_Household,inverterPower,Power_PV,Power_Power Electronics,SOC_State of Charge
2020-03-25T12:20:41.562+00:00,-49.8754,815.662,433.105,432.432,433.105,0.611868
2020-03-25T12:20:42.556+00:00,-71.7332,,,,,
2020-03-25T12:20:43.568+00:00,-55.5049,,395.02,,395.02,
2020-03-25T12:20:44.556+00:00,-115.449,,433.105,,433.105,
2020-03-25T12:20:45.556+00:00,-59.1815,,354.98,,354.98,
2020-03-25T12:20:46.556+00:00,-159.164,,433.105,,433.105,
2020-03-25T12:20:47.556+00:00,-63.8346,,315.918,,315.918,
2020-03-25T12:20:48.558+00:00,-43.7003,,273.926,,273.926,0.611709
2020-03-25T12:20:49.556+00:00,-107.55,,315.918,,315.918,0.611693
2020-03-25T12:20:50.556+00:00,-50.5506,,237.061,,237.061,
2020-03-25T12:20:51.556+00:00,-149.313,,313.965,,313.965,
2020-03-25T12:20:52.556+00:00,-53.2505,,196.045,,196.045,
2020-03-25T12:20:53.556+00:00,-152.989,,273.926,,273.926,
2020-03-25T12:20:54.556+00:00,99.0787,,0,,0,
2020-03-25T12:20:55.556+00:00,77.2209,,,,,0.611629
2020-03-25T12:20:56.558+00:00,,,,,,0.611628
2020-03-25T12:21:00.556+00:00,-32.068,404.35,,,,
2020-03-25T12:21:01.556+00:00,-32.3131,404.315,,,,
2020-03-25T12:21:17.556+00:00,-36.2353,,0,,0,
2020-03-25T12:21:18.558+00:00,-14.4772,,,,,
2020-03-25T12:21:19.556+00:00,9.2645,,-45.99,,-45.99,
2020-03-25T12:21:20.556+00:00,-36.9706,,0,,0,
2020-03-25T12:21:27.556+00:00,-38.6866,403.396,,,,
2020-03-25T12:21:28.556+00:00,-78.9317,363.361,,,,
2020-03-25T12:21:29.556+00:00,-79.1768,363.325,,,,
2020-03-25T12:25:06.564+00:00,-139.382,351.129,,490.511,,0.611472
"""

G, H, V, P, E, S = (
    "Power_Grid",
    "Power_Household",
    "inverterPower",
    "Power_PV",
    "Power_Power Electronics",
    "SOC_State of Charge",
)

EXPORTED = [
    ("12:20:41.562", {G: -49.8754, H: 815.662, V: 433.105, P: 432.432, E: 433.105, S: 0.611868}),
    ("12:20:42.556", {G: -71.7332}),
    ("12:20:43.568", {G: -55.5049, V: 395.02, E: 395.02}),
    ("12:20:44.556", {G: -115.449, V: 433.105, E: 433.105}),
    ("12:20:45.556", {G: -59.1815, V: 354.98, E: 354.98}),
    ("12:20:46.556", {G: -159.164, V: 433.105, E: 433.105}),
    ("12:20:47.556", {G: -63.8346, V: 315.918, E: 315.918}),
    ("12:20:48.558", {G: -43.7003, V: 273.926, E: 273.926, S: 0.611709}),
    ("12:20:49.556", {G: -107.55, V: 315.918, E: 315.918, S: 0.611693}),
    ("12:20:50.556", {G: -50.5506, V: 237.061, E: 237.061}),
    ("12:20:51.556", {G: -149.313, V: 313.965, E: 313.965}),
    ("12:20:52.556", {G: -53.2505, V: 196.045, E: 196.045}),
    ("12:20:53.556", {G: -152.989, V: 273.926, E: 273.926}),
    ("12:20:54.556", {G: 99.0787, V: 0.0, E: 0.0}),
    ("12:20:55.556", {G: 77.2209, S: 0.611629}),
    ("12:20:56.558", {S: 0.611628}),
    ("12:21:00.556", {G: -32.068, H: 404.35}),
    ("12:21:01.556", {G: -32.3131, H: 404.315}),
    ("12:21:17.556", {G: -36.2353, V: 0.0, E: 0.0}),
    ("12:21:18.558", {G: -14.4772}),
    ("12:21:19.556", {G: 9.2645, V: -45.99, E: -45.99}),
    ("12:21:20.556", {G: -36.9706, V: 0.0, E: 0.0}),
    ("12:21:27.556", {G: -38.6866, H: 403.396}),
    ("12:21:28.556", {G: -78.9317, H: 363.361}),
    ("12:21:29.556", {G: -79.1768, H: 363.325}),
    ("12:25:06.564", {G: -139.382, H: 351.129, P: 490.511, S: 0.611472}),
]


async def test_login_sample(mocked, volt_login):
    """The printed login is sent as printed, and its token signs the next request."""
    asked = []

    def answer(url, **kwargs):
        asked.append(kwargs)
        return CallbackResult(payload=[])

    mocked.post(f"{BASE}login/password", payload={"token": TOKEN})
    mocked.get(re.compile(rf"{BASE}products"), callback=answer)
    assert [product async for product in volt_login.products.list()] == []
    ((_, calls),) = [item for item in mocked.requests.items() if item[0][0] == "POST"]
    assert calls[0].kwargs["json"] == {
        "email": "anybody@example.com",
        "password": "Password123!",
        "validity": 86400,
    }
    assert asked[0]["headers"]["Authorization"] == f"Bearer {TOKEN}"


async def test_product_list_sample(mocked, volt):
    """Every field of the printed product arrives typed."""
    mocked.get(re.compile(rf"{BASE}products"), body=PRODUCTS)
    mocked.get(re.compile(rf"{BASE}products"), body="[]")
    (product,) = [product async for product in volt.products.list()]
    assert product.id == 77
    assert product.owner_name is None
    assert product.serial_number == "AA0024"
    assert product.hardware_version == "5.4"
    assert product.manufacturing_date == date(2019, 5, 21)
    assert product.installation_date is None
    assert product.timezone == "Europe/Berlin"
    assert product.created_at == datetime(2019, 5, 21, 8, 24, 43, 357000, UTC)
    assert product.updated_at == datetime(2020, 3, 23, 10, 18, 37, 65000, UTC)
    assert product.type_id == 6
    assert product.group_id == 64
    assert product.type.id == 6
    assert product.type.name == "VoltStorage SMART"
    assert product.type.start_of_production == date(2018, 8, 20)
    assert product.type.base_type == "storage"
    assert product.group.id == 64
    assert product.group.owner_id == 1
    assert product.group.name == "Clustering Test"
    assert product.group.latitude is None
    assert product.group.longitude is None
    assert product.group.owner.id == 1
    assert product.group.owner.name == "David Bauske"
    assert product.group.owner.email == "david.bauske@voltstorage.com"
    assert product.group.owner.demo is False
    assert product.errors == ("nonDefaultStrategy",)
    assert product.online is True
    assert product.raw["serialNumber"] == "AA0024"
    assert volt.drift.total == 0


def test_event_sample():
    """The printed WebSocket message becomes a LatestData."""
    event = product_event(77, EVENT.encode())
    assert isinstance(event, LatestData)
    assert event.product_id == 77
    assert event.time == datetime(2019, 11, 30, 23, 0, tzinfo=UTC)
    assert event.data == {"pvPower": 421, "dcVoltage": 26.3}
    assert event.raw["type"] == "latest-data"
    values, unusable = FieldMap().read_event(event.data)
    assert values == {Quantity.PV_POWER: 421.0, Quantity.BATTERY_VOLTAGE: 26.3}
    assert unusable == 0


@pytest.mark.parametrize("shape", [LATEST, '{"pvPower": 421, "dcVoltage": 26.3}'])
async def test_latest_sample_in_both_shapes(mocked, volt, shape):
    """With or without its time, the latest data is one typed result."""
    mocked.get(re.compile(rf"{BASE}products/77/data/latest"), body=shape)
    latest = await volt.products.latest(77, include_time=shape is LATEST)
    assert latest.product_id == 77
    assert latest.time == (datetime(2019, 11, 30, 23, 0, tzinfo=UTC) if shape is LATEST else None)
    assert latest.data == {"pvPower": 421, "dcVoltage": 26.3}
    assert volt.drift.total == 0


async def test_statistics_sample(mocked, volt):
    """Every printed statistic arrives as it came, and energies in kWh as well."""
    mocked.get(re.compile(rf"{BASE}data/statistics"), body=STATISTICS)
    (day,) = await volt.products.statistics(77)
    assert day.start == datetime(2020, 3, 22, tzinfo=UTC)
    assert day.pv_total_j == 0
    assert day.pv_total_kwh == 0
    assert day.pv_activity == 0
    assert day.consumption_total_j == 1538060
    assert day.consumption_total_kwh == pytest.approx(0.427238889)
    assert day.storage_total_released_j == 22079844
    assert day.storage_total_released_kwh == pytest.approx(6.13329)
    assert day.storage_total_stored_j == 21982919
    assert day.storage_total_stored_kwh == pytest.approx(6.106366389)
    assert day.max_temperature == 35.9471
    assert day.own_consumption == Sampled(value=0, n_samples=1438)
    assert day.electrolyte_temp == Sampled(value=34.1388342837275, n_samples=1438)
    assert day.pump_temp == Sampled(value=38.67160097357442, n_samples=1438)
    assert day.dc_capacity_j == Sampled(value=18154876.06536853, n_samples=1438)
    assert day.dc_capacity_kwh == pytest.approx(5.043021129)
    assert day.ac_capacity_j == Sampled(value=15697997.574408904, n_samples=1438)
    assert day.ac_capacity_kwh == pytest.approx(4.360554882)
    assert day.dc_efficiency == Sampled(value=0.9184715034770791, n_samples=1438)
    assert day.ac_efficiency == Sampled(value=0.7138800556328048, n_samples=1438)
    assert day.self_sufficiency == Weighted(value=0.455623577171242, total_weight=1538060)
    assert day.raw["pv-total"] == 0
    assert volt.drift.total == 0


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
async def test_export_sample(mocked, volt, line_end):
    """Every cell of the printed export arrives, and no empty one is invented."""
    mocked.get(re.compile(rf"{BASE}data/export.csv"), body=EXPORT.replace("\n", line_end))
    start = datetime(2020, 3, 25, tzinfo=UTC)
    async with volt.export.rows(77, start, start + timedelta(days=1)) as export:
        rows = [row async for row in export]
        assert export.columns == (G, H, V, P, E, S)
        assert (export.received, export.malformed, export.repaired) == (26, 0, False)
    assert [(row.time, row.values) for row in rows] == [
        (datetime.fromisoformat(f"2020-03-25T{clock}+00:00"), values) for clock, values in EXPORTED
    ]
    assert all(isinstance(row, ExportRow) and row.text == {} for row in rows)


async def test_export_sample_in_unified_quantities(mocked, volt):
    """The columns translate into fixed units and signs: the battery discharges, the grid takes."""
    mocked.get(re.compile(rf"{BASE}data/export.csv"), body=EXPORT)
    start = datetime(2020, 3, 25, tzinfo=UTC)
    async with volt.export.rows(77, start, start + timedelta(days=1)) as export:
        first = await anext(export)
    values, unusable = FieldMap().read_row(first.values)
    assert values == {
        Quantity.GRID_POWER: -49.8754,
        Quantity.CONSUMPTION_POWER: 815.662,
        Quantity.PV_POWER: 432.432,
        Quantity.BATTERY_POWER: -433.105,
        Quantity.BATTERY_SOC: pytest.approx(61.1868),
    }
    assert unusable == 0
    balance = values[Quantity.PV_POWER] + values[Quantity.GRID_POWER] - values[Quantity.BATTERY_POWER]
    assert balance == pytest.approx(values[Quantity.CONSUMPTION_POWER], abs=1)
