"""The catalogue of data attributes."""

from collections import Counter
from importlib.resources import files
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy_core.codec.drift import Drift, collect_drift
from energy_core.errors import DecodeError
from tests.servers.vrm_cases import (
    check_any_value,
    check_clean,
    check_missing_part,
    check_no_object,
    read_answer,
)
from vrm_async import Catalogue, VRMClient
from vrm_async.resources.catalogue import read_catalogue, shipped

TOKEN = "0123456789abcdef" * 4


@pytest.fixture
def catalogue():
    return Catalogue()


@pytest.fixture(scope="module")
def table():
    """The package's file: where each row is from, and why to doubt its code."""
    lines = (files("vrm_async") / "data" / "attributes.tsv").read_text(encoding="utf-8").splitlines()
    names = lines[0].split("\t")
    return [SimpleNamespace(**dict(zip(names, line.split("\t"), strict=True))) for line in lines[1:]]


def test_every_row_of_both_tables_is_there(catalogue, table):
    """628 rows of the newer text, 564 of the older, 539 of them in both; 25 are energy readings."""
    assert Counter(row.text for row in table) == {"both": 539, "newer": 628 - 539, "older": 564 - 539}
    assert [(row.device_type, row.code) for row in table] == [row.key for row in catalogue]
    assert sum(row.energy for row in catalogue) == 25
    assert len(catalogue) == 653
    newer = [row for row in table if row.text != "older"]
    assert Counter(row.data_type for row in newer) == {"float": 302, "enum": 204, "string": 122}
    assert len({row.device_type for row in newer}) == 24
    assert len(catalogue.device_types) == 24


def test_rows_are_whole(catalogue):
    """No cell is empty or padded with spaces, and no code contains one."""
    for row in catalogue:
        for cell in (row.code, row.description, row.device_type):
            assert cell
            assert cell == cell.strip()
        assert " " not in row.code


def test_codes_are_case_sensitive(catalogue, table):
    """Grid to consumers and genset to consumers differ in one letter's case, as 40 other codes do."""
    assert [row.description for row in catalogue.by_code("Gc")] == ["Grid to consumers"]
    assert [row.description for row in catalogue.by_code("gc")] == ["Genset to consumers"]
    assert catalogue.by_code("GC") == ()
    codes = {row.code for row in table if row.text != "older"}
    assert len(codes) - len({code.casefold() for code in codes}) >= 30


def test_a_code_may_mean_several_things(catalogue, table):
    """Device and code name one row, but for the fuel cell's fcP, which is an id and a power."""
    assert {row.data_type for row in catalogue.find("Fuel cell", "fcP")} == {"enum", "float"}
    for other in ("older", "newer"):
        keys = Counter((row.device_type, row.code) for row in table if row.text != other)
        assert [key for key, times in keys.items() if times > 1] in ([], [("Fuel cell", "fcP")])
    assert len(catalogue.by_code("SceA-unused")) == 1


def test_rows_the_two_texts_disagree_on_are_marked(table):
    """Both spellings are in the file, each with the other; letters that look alike are marked too.

    The file alone says so: alike, the two letters look the same in both texts; service, the service was seen
    to spell the code in another way.
    """
    disagree = {row.code: row.reading for row in table if row.mark == "disagree"}
    assert disagree == {
        "rsIpPort": "rslpPort",
        "rslpPort": "rsIpPort",
        "vvt": "vt",
        "vt": "vvt",
        "vvv": "vw",
        "vw": "vvv",
        "AIS": "AlS",
        "AlS": "AIS",
        "iIVA": "iVA",
        "iVA": "iIVA",
    }
    assert {row.code for row in table if row.mark == "alike"} == {"cl", "cll", "fcl", "i0V"}
    assert {row.code for row in table if row.mark == "service"} == {"AgI"}
    assert {row.mark for row in table} == {"", "disagree", "alike", "service"}


def test_searching(catalogue):
    """All words must match, in any case; an exact code comes first."""
    found = catalogue.search("battery TEMPERATURE")
    assert {"BT", "CT"} <= {row.code for row in found}
    assert all("temperature" in row.description.casefold() for row in found)
    assert catalogue.search("gc")[0].code == "gc"
    assert catalogue.search("Gc")[0].code == "Gc"
    assert {row.device_type for row in catalogue.search("voltage", device_type="Charger")} == {"Charger"}
    assert catalogue.search("unheard of") == ()
    with pytest.raises(ValueError, match="empty"):
        catalogue.search(" ")


def test_the_tables_are_read_when_first_needed():
    """Creating a client or a catalogue reads no file."""
    shipped.cache_clear()
    fresh = Catalogue()
    assert repr(fresh) == "<Catalogue: not read yet>"
    assert shipped.cache_info().currsize == 0
    assert len(fresh) == 653
    assert repr(fresh) == "<Catalogue: 653 rows>"


ROWS = {
    "143": {"code": "bv", "dataType": "float", "description": "Voltage", "formatWithUnit": "%.2F V"},
    "81": {
        "code": "BT",
        "dataType": "float",
        "description": "Battery temperature",
        "formatWithUnit": "%.1F °C",
    },
    "9001": {"code": "new", "dataType": "enum", "description": "New", "formatWithUnit": "%s", "extra": 1},
    "bad": {"code": "x"},
    "7": None,
}


def test_the_services_rows_have_ids_units_and_known_devices():
    """A mapping of id to row, without an envelope; malformed rows are counted and left out."""
    drift = Drift()
    with collect_drift(drift):
        rows = {row.code: row for row in read_catalogue(ROWS)}
    assert rows.keys() == {"bv", "BT", "new"}
    assert (rows["bv"].id, rows["bv"].unit) == (143, "V")
    assert (rows["BT"].device_type, rows["BT"].unit) == ("Battery Monitor", "degC")
    assert rows["new"].device_type is None
    assert drift.counts["DataAttribute", "record", "malformed"] == 2


@pytest.mark.parametrize("wrapped", [{"success": True, "records": ROWS}, {"data": ROWS}])
def test_rows_inside_an_envelope(wrapped):
    """The rows are also found in a member named records or data."""
    assert len(read_catalogue(wrapped)) == 3


@pytest.mark.parametrize("nothing", [{}, [], None, "x", {"success": True}, [[]]])
def test_an_answer_without_rows_is_an_error(nothing):
    """It raises, so that the catalogue keeps its rows."""
    with collect_drift(Drift()), pytest.raises(DecodeError):
        read_catalogue(nothing)


async def test_refresh_replaces_the_rows(fake):
    """After it the service's list is searched, with ids; after an error the catalogue is unchanged."""
    fake.answers("GET", "data-attributes", ROWS)
    async with VRMClient(token=TOKEN, base_url=fake.url) as vrm:
        assert len(vrm.catalogue) == 653
        assert vrm.catalogue.by_id(143) is None
        loaded = await vrm.catalogue.refresh()
        assert len(loaded) == len(vrm.catalogue) == 3
        assert vrm.catalogue.by_id(143).code == "bv"
        assert vrm.catalogue.by_code("new")[0].id == 9001
        fake.answers("GET", "data-attributes", {})
        with pytest.raises(DecodeError):
            await vrm.catalogue.refresh()
        assert len(vrm.catalogue) == 3


ANSWERS = {
    "definitions": (
        read_catalogue,
        {"144": {"code": "bs", "dataType": "float", "description": "SOC", "formatWithUnit": "%.1F %%"}},
    ),
}


def read(name, payload=None):
    """Read a clean answer of `ANSWERS`, or another one."""
    return read_answer(ANSWERS[name], payload)


def test_definitions_by_id():
    """The id is the key, or in the record."""
    assert [(row.id, row.code) for row in read("definitions")] == [(144, "bs")]
    listed = {"records": [{"idDataAttribute": 5, "code": "x"}]}
    assert [row.id for row in read_catalogue(listed)] == [5]


@pytest.mark.parametrize("name", ANSWERS)
def test_a_clean_answer_has_no_drift(name):
    """Also for a strict client, but for keys that the documents do not have."""
    check_clean(ANSWERS[name])


@pytest.mark.parametrize("name", ANSWERS)
@given(data=st.data())
def test_any_value_at_any_place(name, data):
    """The answer is read, or an `EnergyError` is raised; in strict mode too."""
    check_any_value(ANSWERS[name], data)


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_that_is_not_an_object(name):
    """It raises `DecodeError`."""
    check_no_object(ANSWERS[name])


@pytest.mark.parametrize("name", ["definitions"])
def test_an_answer_without_its_part(name):
    """A missing member is not taken for an empty one."""
    check_missing_part(ANSWERS[name])
