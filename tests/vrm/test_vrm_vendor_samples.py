"""Decoding of the examples in VRM's documents."""

import json
from datetime import UTC, datetime

import pytest

from energy_core.codec.drift import Drift, collect_drift
from energy_core.codec.json import strict_json
from energy_core.errors import NoData
from energy_core.http.operation import Response
from tests.servers import vrm_samples as printed
from vrm_async.codes import unit_of
from vrm_async.decoding import attributes, sites
from vrm_async.decoding import series as decoding_series
from vrm_async.models.attribute import Attribute
from vrm_async.resources import tokens
from vrm_async.resources.stats import STATS
from vrm_async.responses import check


def utc(seconds):
    return datetime.fromtimestamp(seconds, UTC)


@pytest.fixture(autouse=True)
def no_drift():
    """A strict drift: an example of VRM's documents must have no deviation."""
    with collect_drift(Drift(strict=True)):
        yield


def test_the_printed_installation_decodes():
    """Every field of the plain list of installations is decoded."""
    (site,) = sites.sites(strict_json(printed.INSTALLATIONS))
    assert site.id == 100
    assert site.name == "Test installation"
    assert site.user_id == 1001
    assert site.pv_max_w == 12258
    assert site.reports_enabled is False
    assert site.access_level == 1
    assert site.timezone == "UTC"
    assert site.owner is True
    assert site.geofence is None
    assert site.geofence_enabled is False
    assert site.device_icon == "solar"
    assert len(site.extended) == 0
    assert site.raw["geofence"] is False


@pytest.mark.parametrize(
    "body", [printed.INSTALLATIONS_EXTENDED, printed.INSTALLATIONS_EXTENDED_OF_THE_NEWEST_DOCUMENT]
)
def test_the_printed_extended_installation_decodes(body):
    """Every field of the extended list is decoded, in both printed forms."""
    (site,) = sites.sites(strict_json(body))
    assert (site.id, site.name, site.user_id, site.pv_max_w) == (100, "Test installation", 1001, 12258)
    assert (site.access_level, site.timezone, site.owner) == (1, "UTC", True)
    assert (site.geofence, site.geofence_enabled, site.device_icon) == (None, False, "solar")
    assert site.alarm is False
    assert site.last_seen == utc(1472217903)
    (tag,) = site.tags
    assert (tag.id, tag.name, tag.automatic, tag.source) == (41, "ok", None, None)
    assert site.timezone_offset_s == 7200
    assert site.current_time == "11:25"
    assert len(site.extended) == 14


EXTENDED = [
    ("lt", 4, "Latitude", "%.5F LAT", "52.7237", 52.7237, None, "52.72370 LAT"),
    ("lg", 5, "Longitude", "%.5F LNG", "7.0896", 7.0896, None, "7.08960 LNG"),
    ("g2", 135, "Grid L2", "%.0F W", "0", 0.0, None, "0 W"),
    ("g3", 136, "Grid L3", "%.0F W", "0", 0.0, None, "0 W"),
    ("bv", 143, "Battery Voltage (System)", "%.2F V", "54.12", 54.12, None, "54.12 V"),
    ("bs", 144, "Battery State of Charge (System)", "%.1F %%", "76", 76.0, None, "76.0 %"),
    ("bc", 147, "Battery Current (System)", "%.2F A", "17.9", 17.9, None, "17.90 A"),
    ("bst", 215, "Battery state", "%s", None, None, "charging", "charging"),
    ("consumption", None, "Consumption", "%.0F W", 8, 8.0, None, "8 W"),
    ("solar_yield", None, "Solar_yield", "%.0F W", 0, 0.0, None, "0 W"),
    ("from_to_grid", None, "From_to_grid", "%.0F W", 49.0818, 49.0818, None, "49 W"),
    ("generator", None, "Generator", None, 0, 0.0, None, None),
    ("ac_in", None, "Ac_in", None, 0, 0.0, None, None),
    ("ac_out", None, "Ac_out", None, 0, 0.0, None, None),
]


@pytest.mark.parametrize(("position", "row"), list(enumerate(EXTENDED)), ids=[row[0] for row in EXTENDED])
def test_a_printed_attribute_decodes(position, row):
    """Each of the fourteen attributes has its number, printed as text or as a number."""
    code, number_id, description, pattern, raw_value, number, text, formatted = row
    (site,) = sites.sites(strict_json(printed.INSTALLATIONS_EXTENDED))
    attribute = site.extended[position]
    assert isinstance(attribute, Attribute)
    assert (attribute.code, attribute.id, attribute.description) == (code, number_id, description)
    assert (attribute.raw_value, attribute.number) == (raw_value, number)
    assert attribute.text == text
    assert (attribute.format or None) == pattern
    assert (attribute.formatted or None) == formatted
    assert (attribute.time, attribute.instance) == (None, None)
    assert site.extended.get(code) == attribute


def test_a_percent_sign_that_is_not_doubled_is_still_a_unit():
    """The pattern `%.1F %` of the newest document has the unit %, as `%.1F %%`."""
    (site,) = sites.sites(strict_json(printed.INSTALLATIONS_EXTENDED_OF_THE_NEWEST_DOCUMENT))
    soc = site.extended.get("bs")
    assert soc is not None
    assert soc.format == "%.1F %"
    assert unit_of(soc.format) == unit_of("%.1F %%") == "%"


def test_the_printed_system_overview_decodes():
    """A gateway has no instance and a sensor no class; both are decoded."""
    overview = sites.system_overview(strict_json(printed.SYSTEM_OVERVIEW))
    gateway, sensor = overview.devices
    assert (gateway.name, gateway.product_name) == ("Gateway", "Venus GX")
    assert not gateway.product_code
    assert gateway.firmware_version == "v2.09"
    assert gateway.last_connection == utc(1505459195)
    assert gateway.device_class == "device-gateway"
    assert gateway.logging_interval_s == 60
    assert gateway.last_power_up == utc(1504551552)
    assert gateway.instance is None
    assert (sensor.name, sensor.product_name) == ("Temperature sensor", "a162")
    assert not sensor.product_code
    assert sensor.firmware_version is None
    assert sensor.last_connection == utc(1505459195)
    assert sensor.device_class is None
    assert sensor.instance == 23
    assert (sensor.logging_interval_s, sensor.last_power_up) == (None, None)
    assert overview.unconfigured_devices is False


def test_the_printed_diagnostics_decode():
    """A diagnostic has an enum in which two numbers share a name."""
    page = attributes.diagnostics_page(strict_json(printed.DIAGNOSTICS))
    (record,) = page.records
    assert record.site_id == 1495
    assert record.time == utc(1497056046)
    assert record.device == "Gateway"
    assert record.instance == 0
    assert record.attribute_id == 1
    assert record.description == "gatewayID"
    assert record.format == "%s"
    assert (record.dbus_service, record.dbus_path) == (None, None)
    assert record.formatted == "Venus"
    assert record.enum == {0: "VGR, VGR2 or VER", 1: "Venus", 2: "Venus"}
    assert record.id == 1
    assert (record.code, record.raw_value) == (None, None)
    assert page.total == 1


STATS_POINTS = [
    (1441066216, 12.927161),
    (1441152616, 28.52883),
    (1441239016, 17.722068),
    (1441325416, 9.1537885),
    (1441411816, 4.453626),
    (1441498216, 4.5079915),
    (1441584616, 16.8285763),
    (1441671016, 12.1123506),
    (1441757416, 29.2207336),
    (1441843816, 29.7107766),
    (1441930216, 13.5401983),
    (1442016616, 5.872294),
]


def test_the_printed_stats_decode():
    """Every point and total is decoded, and the points add up to their total."""
    stats = decoding_series.stats(strict_json(printed.STATS), kind="kwh")
    (series,) = stats
    assert series.code == "Pc"
    assert list(series) == [(utc(seconds), value) for seconds, value in STATS_POINTS]
    assert series.unit == "kWh"
    assert stats.totals["Pb"] == 2.5122129
    assert stats.totals["Pc"] == 184.5783944
    assert stats.totals["Gb"] == 9.3752899
    assert stats.totals["Gc"] == 252.0008088
    assert stats.totals["Pg"] == 64.7871119
    assert stats.totals["Bc"] == 0.0182044
    assert stats.totals["kwh"] == 513.2720223
    assert sum(value for _, value in series if value is not None) == pytest.approx(stats.totals["Pc"])
    assert sum(value or 0 for code, value in stats.totals.items() if code != "kwh") == pytest.approx(
        stats.totals["kwh"]
    )


def test_the_printed_refusal_of_stats_is_no_data():
    """It is `NoData`, by its error_code."""
    with pytest.raises(NoData) as refused:
        check(Response(status=200, headers={}, body=b""), strict_json(printed.STATS_REFUSED), STATS)
    assert refused.value.error_code == "no_data"
    assert "Site has no stats for this period." in str(refused.value)


OVERALL = {
    "year": ((2890.3096331091, 444.43205584318, 285.16498499073, None), (80, 12, 8, 0)),
    "month": ((181.18626743555, 109.40366000833, 46.909044223721, None), (54, 32, 14, 0)),
    "week": ((52.626889668405, 20.215319919633, 7.2363689020276, None), (66, 25, 9, 0)),
    "today": ((5.9271823316813, 2.7864799629897, 2.0481022689492, None), (55, 26, 19, 0)),
}


@pytest.mark.parametrize("span", OVERALL)
def test_the_printed_overall_stats_decode(span):
    """Each period has its totals and shares; a total of false is None, a share of 0 is 0."""
    period = getattr(decoding_series.overall(strict_json(printed.OVERALL_STATS)), span)
    totals, shares = OVERALL[span]
    assert period.totals == dict(zip(("Gc", "Pc", "Bc", "gc"), totals, strict=True))
    assert period.percentages == dict(zip(("Gc", "Pc", "Bc", "gc"), shares, strict=True))


def test_the_printed_new_token_decodes_and_hides():
    """`reveal()` returns the value of a new token; nothing else shows it."""
    created = tokens.read_new_token(strict_json(printed.TOKEN_CREATED))
    assert created.id == 123
    assert created.token.reveal() == "abcd1234efab1234"
    assert "abcd1234" not in repr(created)


def test_the_printed_token_list_decodes():
    """Ids and times printed as text are numbers and datetimes."""
    found = tokens.read_tokens(strict_json(printed.TOKEN_LIST))
    assert [token.id for token in found] == [50, 51, 52]
    assert [token.name for token in found] == ["Token #1", "Token #2", "Token #3"]
    assert [token.created for token in found] == [utc(1508415114), utc(1508415116), utc(1508415119)]
    assert {token.scope for token in found} == {"FULL_ACCESS"}
    assert {token.expires for token in found} == {None}


def test_the_printed_revocation_decodes():
    """The count of removed tokens is decoded."""
    assert tokens.read_removed(strict_json(printed.TOKEN_REVOKED)) == 3


def test_every_sample_is_json():
    """The repaired examples are valid JSON."""
    for name, body in vars(printed).items():
        if isinstance(body, bytes):
            assert json.loads(body), name
