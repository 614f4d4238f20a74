from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta

import pytest
from attrs import Factory, field, frozen
from cattrs import Converter
from hypothesis import given
from hypothesis import strategies as st

from energy_core.codec.coerce import day, flag, integer, iso, millis, moment, number, seconds, text
from energy_core.codec.drift import UNKNOWN, Drift, collect_drift
from energy_core.codec.field_types import MalformedRecord
from energy_core.codec.structure import model, records
from energy_core.errors import DecodeError, EnergyError


@frozen(kw_only=True)
class Tag:
    name: str
    automatic: bool | None = None


@frozen(kw_only=True)
class Plant:
    """One field of every supported type."""

    id: int
    peak_w: float | None = None
    name: str | None = None
    owner: bool | None = None
    seen: datetime | None = None
    built: date | None = None
    reading: float | str | None = None
    settings: Mapping[str, object] = field(factory=dict)
    limits: Mapping[str, float] = field(factory=dict)
    tags: tuple[Tag, ...] = ()
    levels: tuple[float | None, ...] = ()
    first_tag: Tag | None = None
    anything: object = None
    unit: str = "W"
    documented: float | None
    raw: Mapping[str, object] = field(factory=dict, repr=False)


WIRE = {"id": "idSite", "peak_w": "pvMax", "first_tag": "firstTag"}
ATTRIBUTES = {key: name for name, key in WIRE.items()}
plant = model(Plant, wire=WIRE)
plants = records(plant, "Plant")


@pytest.fixture
def drift():
    with collect_drift(Drift()) as drift:
        yield drift


def read(**wire: object) -> Plant:
    return plant({"idSite": 1, "documented": None, **wire})


# --- readers --------------------------------------------------------------------------------------

WHEN = datetime(2015, 9, 1, 0, 10, 16, tzinfo=UTC)


@pytest.mark.parametrize(
    ("reader", "value", "wanted"),
    [
        (number, 50, 50.0),
        (number, -49.8754, -49.8754),
        (number, "52.7", 52.7),
        (number, " -1.5E-3 ", -0.0015),
        (number, 0, 0.0),
        (number, "0", 0.0),
        *[(number, value, None) for value in (None, False, True, "", " ", "n/a", [], {}, [1], {"a": 1})],
        *[
            (number, value, None)
            for value in ("nan", "inf", "-Infinity", "1e999", "1_000", "\u0661", "52,7", "0x1")
        ],
        *[(number, value, None) for value in (10**400, float("nan"), float("inf"), "9" * 5000)],
        (integer, 50, 50),
        (integer, 50.0, 50),
        (integer, "50", 50),
        (integer, "-7", -7),
        (integer, "50.0", 50),
        (integer, "9007199254740993", 2**53 + 1),
        (integer, 2**63 - 1, 2**63 - 1),
        (integer, str(-(2**63)), -(2**63)),
        *[
            (integer, value, None)
            for value in (2**63, "9223372036854775808", "9" * 5000, -(2**63) - 1, 1e300)
        ],
        *[
            (integer, value, None)
            for value in (True, False, None, "", "-", "--1", "1.5", 1.5, "\u00b2", [], {})
        ],
        (text, "Home", "Home"),
        (text, "", ""),
        (text, 49151234567, "49151234567"),
        (text, 1.5, "1.5"),
        *[(text, value, None) for value in (None, False, True, [], {}, ["x"])],
        *[(flag, value, True) for value in (True, 1, 1.0, "1", "true", "TRUE")],
        *[(flag, value, False) for value in (False, 0, 0.0, "0", "false")],
        *[(flag, value, None) for value in (None, 2, -1, "yes", "", [], {}, 0.5)],
        (seconds, 1441066216, WHEN),
        (seconds, 1441066216.0, WHEN),
        (seconds, "1441066216", WHEN),
        (seconds, 1441066216.5, WHEN + timedelta(seconds=0.5)),
        (seconds, -1, datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)),
        *[
            (seconds, value, None)
            for value in (None, False, True, "", "soon", 1e300, -1e300, 10**400, 1441066216000)
        ],
        (millis, 1441066216000, WHEN),
        (millis, "1441066216000", WHEN),
        (millis, 1441066216123, WHEN + timedelta(milliseconds=123)),
        *[(millis, value, None) for value in (None, False, [], 1e300, "x")],
        (iso, "2015-09-01T00:10:16Z", WHEN),
        (iso, "2015-09-01T02:10:16.000+02:00", WHEN),
        (iso, "2015-09-01T00:10:16", WHEN),
        *[
            (iso, value, None)
            for value in (None, 5, "", "yesterday", "2015-13-01", "0001-01-01T00:00:00+23:00")
        ],
        (moment, 1441066216, WHEN),
        (moment, "1441066216", WHEN),
        (moment, "2015-09-01T00:10:16Z", WHEN),
        (moment, {}, None),
        (day, "2019-05-21", date(2019, 5, 21)),
        (day, "2019-05-21T23:30:00-05:00", date(2019, 5, 21)),
        *[(day, value, None) for value in (None, 20190521, "", "2019-02-30")],
    ],
)
def test_readers(reader, value, wanted):
    """A reader returns its type or None; a boolean is no number, a number finite, a datetime aware."""
    result = reader(value)
    assert (result, type(result)) == (wanted, type(wanted))


# --- fields ---------------------------------------------------------------------------------------


def test_a_documented_record_has_no_drift(drift):
    """All fields are decoded, and `raw` is the record itself."""
    record = {
        "idSite": 7,
        "pvMax": 4200.5,
        "name": "Home",
        "owner": True,
        "seen": 1441066216,
        "built": "2019-05-21",
        "reading": "13.4",
        "settings": {"a": 1},
        "limits": {"low": 1.5},
        "tags": [{"name": "demo", "automatic": False}],
        "levels": [1.5, None],
        "firstTag": {"name": "demo"},
        "anything": [{"deep": [None]}],
        "unit": "kW",
        "documented": 1.0,
    }
    site = plant(record)
    assert site == Plant(
        id=7,
        peak_w=4200.5,
        name="Home",
        owner=True,
        seen=WHEN,
        built=date(2019, 5, 21),
        reading="13.4",
        settings={"a": 1},
        limits={"low": 1.5},
        tags=(Tag(name="demo", automatic=False),),
        levels=(1.5, None),
        first_tag=Tag(name="demo"),
        anything=[{"deep": [None]}],
        unit="kW",
        documented=1.0,
        raw=record,
    )
    assert site.raw is record
    assert drift.total == 0


def test_a_decoded_object_is_like_a_constructed_one():
    """Equal, hashable, frozen, and can be copied and pickled."""
    tag = model(Tag)({"name": "demo"})
    assert tag == Tag(name="demo")
    assert hash(tag) == hash(Tag(name="demo"))
    assert pickle.loads(pickle.dumps(tag)) == copy.deepcopy(tag) == tag
    with pytest.raises(AttributeError):
        tag.name = "other"


def test_missing_fields_take_their_default_or_none(drift):
    """Only a missing field without a default is drift; a factory makes a new value for each object."""
    one, two = plant({"idSite": 1}), plant({"idSite": 2})
    assert (one.peak_w, one.unit, one.tags, one.settings, one.documented) == (None, "W", (), {}, None)
    assert one.settings is not two.settings
    assert drift.counts == {("Plant", "documented", "missing"): 2}


@pytest.mark.parametrize("nothing", [None, False, "", [], {}])
def test_phps_encodings_of_null_are_no_drift(drift, nothing):
    """Null, false, and empty text, list or object mean no data for every field that is not required."""
    site = read(pvMax=nothing, seen=nothing, tags=nothing, levels=nothing, firstTag=nothing, settings=nothing)
    assert (site.peak_w, site.seen, site.tags, site.levels, site.first_tag) == (None, None, (), (), None)
    assert site.settings == {}
    assert drift.total == 0


def test_false_and_empty_text_are_values_of_their_types(drift):
    """A flag may be false and a name may be empty."""
    site = read(owner=False, name="")
    assert (site.owner, site.name) == (False, "")


@pytest.mark.parametrize(
    ("key", "value", "attribute", "wanted"),
    [
        ("idSite", "151734", "id", 151734),
        ("pvMax", "52.70", "peak_w", 52.7),
        ("pvMax", 50, "peak_w", 50.0),
        ("name", 35, "name", "35"),
        ("owner", 1, "owner", True),
        ("owner", "0", "owner", False),
        ("seen", "1441066216", "seen", WHEN),
        ("seen", "2015-09-01T00:10:16Z", "seen", WHEN),
        ("reading", 5, "reading", 5.0),
        ("settings", ["a", "b"], "settings", {"0": "a", "1": "b"}),
        ("limits", {"low": "1.5", "high": 2}, "limits", {"low": 1.5, "high": 2.0}),
        ("tags", {"0": {"name": "a"}, "3": {"name": "b"}}, "tags", (Tag(name="a"), Tag(name="b"))),
        ("levels", ["1", 2, None], "levels", (1.0, 2.0, None)),
        ("firstTag", {"name": "a", "automatic": 1}, "first_tag", Tag(name="a", automatic=True)),
    ],
)
def test_another_spelling_of_the_same_value_is_read(drift, key, value, attribute, wanted):
    """Numbers in text, flags as 0 and 1, lists as objects and objects as lists are decoded without drift."""
    result = getattr(read(**{key: value}), attribute)
    assert (result, type(result)) == (wanted, type(wanted))
    assert drift.total == 0


@pytest.mark.parametrize(
    ("key", "value", "fallback", "problem"),
    [
        ("pvMax", True, None, "bool instead of float"),
        ("pvMax", "n/a", None, "str instead of float"),
        ("pvMax", [1], None, "list instead of float"),
        ("name", ["x"], None, "list instead of str"),
        ("owner", "maybe", None, "str instead of bool"),
        ("seen", 10**18, None, "int instead of datetime"),
        ("built", 5, None, "int instead of date"),
        ("reading", True, None, "bool instead of float | str"),
        ("settings", 5, {}, "int instead of Mapping[str, object]"),
        ("tags", "x", (), "str instead of tuple[Tag, ...]"),
        ("firstTag", "x", None, "malformed"),
        ("firstTag", {"automatic": True}, None, "malformed"),
        ("unit", True, "W", "bool instead of str"),
    ],
)
def test_an_unreadable_field_is_drift_and_changes_no_other(drift, key, value, fallback, problem):
    """The field becomes None or its default."""
    attribute = ATTRIBUTES.get(key, key)
    broken = read(**{key: value})
    assert getattr(broken, attribute) == fallback
    assert drift.counts == {("Plant", attribute, problem): 1}
    assert broken.raw[key] == value


def test_unreadable_elements_are_left_out_and_counted(drift):
    """In tuples and in mappings; an element that may be None becomes None."""
    site = read(
        tags=[{"name": "a"}, {"nme": "b"}, 5, {"name": "c"}], levels=[1, "x", 3], limits={"a": 1, "b": []}
    )
    assert [tag.name for tag in site.tags] == ["a", "c"]
    assert site.levels == (1.0, None, 3.0)
    assert site.limits == {"a": 1.0}
    assert drift.counts == {("Tag", "[]", "malformed"): 2, ("float", "[]", "str instead of float"): 1}


def test_unknown_keys_are_counted_once_each(drift):
    """In however many records they are; their values stay in `raw`."""
    sites = [read(guiHash="x", nodered=1) for _ in range(3)]
    assert drift.counts == {("Plant", "guiHash", UNKNOWN): 1, ("Plant", "nodered", UNKNOWN): 1}
    assert sites[2].raw["guiHash"] == "x"


def test_decoding_works_without_collect_drift():
    """The result is the same."""
    assert read(pvMax=True, guiHash=1).peak_w is None


# --- records --------------------------------------------------------------------------------------


@pytest.mark.parametrize("identity", [None, False, True, "", "x", [], {}, 1.5, str(2**70)])
def test_a_record_without_a_readable_id_is_malformed(identity):
    """The error has the key and no value of the record."""
    with pytest.raises(MalformedRecord) as caught:
        plant({"idSite": identity, "name": "hunter2"})
    assert caught.value.kind == "shape"
    assert "idSite" in str(caught.value)
    assert "hunter2" not in repr(vars(caught.value))


@pytest.mark.parametrize("top", [None, False, True, 0, 1.5, "", "text", [], [1], [{"idSite": 1}]])
def test_a_record_that_is_not_an_object_is_an_error(top):
    """Of kind "shape"."""
    with pytest.raises(DecodeError) as caught:
        plant(top)
    assert caught.value.kind == "shape"


def test_a_malformed_record_is_left_out_of_a_list(drift):
    """And counted as drift; the others are decoded."""
    sites = plants(
        [
            {"idSite": 1, "documented": 1.0},
            None,
            5,
            [],
            {"documented": 1.0},
            {"idSite": "2", "documented": 2.0},
        ]
    )
    assert [site.id for site in sites] == [1, 2]
    assert drift.counts[("Plant", "record", "malformed")] == 4


@pytest.mark.parametrize("nothing", [None, False, "", [], {}])
def test_any_encoding_of_null_is_an_empty_list(drift, nothing):
    """Without drift."""
    assert plants(nothing) == ()
    assert drift.total == 0


def test_records_may_come_as_an_object():
    """PHP encodes a list whose indices have gaps as an object."""
    assert [site.id for site in plants({"4": {"idSite": 4}, "9": {"idSite": 9}})] == [4, 9]


@pytest.mark.parametrize("top", [True, 5, 1.5, "text"])
def test_a_scalar_instead_of_a_list_is_an_error(top):
    """Of kind "shape"."""
    with pytest.raises(DecodeError) as caught:
        plants(top)
    assert caught.value.kind == "shape"


def test_a_malformed_record_pickles():
    """Like every other error."""
    with pytest.raises(MalformedRecord) as caught:
        plant(5)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (type(again), again.kind, str(again)) == (MalformedRecord, "shape", str(caught.value))


@pytest.mark.parametrize(
    "record",
    [
        {"idSite": 1, "documented": 1.0, "guiHash": 1},
        {"idSite": 1, "documented": 1.0, "pvMax": "n/a"},
        {"idSite": 1, "documented": 1.0, "tags": [{"nme": 1}]},
        {"idSite": 1, "documented": 1.0, "firstTag": {"name": "x", "automatic": "maybe"}},
        {"idSite": 1},
        {"idSite": "x"},
    ],
)
def test_strict_drift_raises(record):
    """The first problem, at any depth, is an error that contains names and no values."""
    with collect_drift(Drift(strict=True)), pytest.raises(DecodeError) as caught:
        plants([record])
    assert caught.value.kind == "drift"
    assert caught.value.__context__ is None


# --- custom readers --------------------------------------------------------------------------------


@frozen(kw_only=True)
class Odd:
    a: object = None
    b: int
    c: tuple[int, ...]


def odd(read_a: Callable[[object], object]) -> Callable[[object], Odd]:
    return model(Odd, read={"a": read_a})


def test_a_custom_reader_gets_every_value(drift):
    """Of any type, null included; it is not called for a missing key."""
    seen: list[object] = []
    hook = odd(seen.append)
    seen.clear()
    hook({"a": None, "b": 1, "c": []})
    hook({"a": {"x": 1}, "b": 1, "c": []})
    hook({"b": 1, "c": []})
    assert seen == [None, {"x": 1}]


@pytest.mark.parametrize("error", [ValueError, KeyError, TypeError, RecursionError, ZeroDivisionError])
def test_a_custom_reader_may_raise_anything(drift, error):
    """Its exception is drift, and the field None."""

    def fail(value: object) -> object:
        raise error(value)

    assert odd(fail)({"a": 5, "b": 1, "c": []}).a is None
    assert drift.counts == {("Odd", "a", "unreadable int"): 1}
    with collect_drift(Drift(strict=True)), pytest.raises(DecodeError) as caught:
        odd(fail)({"a": "hunter2", "b": 1, "c": []})
    assert caught.value.__context__ is None


def test_a_container_is_never_required(drift):
    """If its key is missing it is empty, and the missing key is drift."""
    assert model(Odd)({"b": 1}) == Odd(b=1, c=())
    assert drift.counts == {("Odd", "c", "missing"): 1}


@frozen(kw_only=True)
class Inner:
    x: int


@frozen(kw_only=True)
class Outer:
    inner: Inner | None = None


def test_a_nested_class_without_a_model_call_is_decoded_by_its_field_names():
    """A `model` call is needed only for other keys."""
    assert model(Outer)({"inner": {"x": "5"}}) == Outer(inner=Inner(x=5))


# --- declarations -----------------------------------------------------------------------------------


class Plain:
    pass


@frozen(kw_only=True)
class Converted:
    x: int = field(converter=int)


@frozen(kw_only=True)
class Validated:
    x: int = field(validator=lambda *_: None)


@frozen(kw_only=True)
class Finished:
    x: int

    def __attrs_post_init__(self) -> None:
        """Prevent objects without __init__."""


@frozen(kw_only=True)
class SelfMade:
    x: int = 1
    y: int = Factory(lambda self: self.x, takes_self=True)


@frozen(kw_only=True, slots=False)
class Unslotted:
    x: int


@frozen(kw_only=True)
class Pair:
    x: tuple[int, int]


@frozen(kw_only=True)
class Keyed:
    x: Mapping[int, int]


@frozen(kw_only=True)
class Choice:
    x: Tag | Odd


@frozen(kw_only=True)
class Foreign:
    x: timedelta


@pytest.mark.parametrize(
    "cls", [Plain, Converted, Validated, Finished, SelfMade, Unslotted, Pair, Keyed, Choice, Foreign]
)
def test_an_unsupported_class_is_refused_by_model(cls):
    """With a TypeError, when the module of the codec is imported."""
    with pytest.raises(TypeError):
        model(cls)


@pytest.mark.parametrize(
    "tables", [{"wire": {"idd": "x"}}, {"read": {"idd": number}}, {"wire": {"raw": "x"}}]
)
def test_a_name_that_is_not_a_field_is_refused_by_model(tables):
    """In `wire` and in `read`."""
    with pytest.raises(TypeError, match=r"idd|raw"):
        model(Plant, **tables)


def test_a_custom_reader_may_return_any_type():
    """Also one without a tolerant reader."""
    hook = model(Foreign, read={"x": lambda value: timedelta(seconds=value)})
    assert hook({"x": 5}) == Foreign(x=timedelta(seconds=5))


# --- properties -----------------------------------------------------------------------------------

words = st.text(max_size=6) | st.sampled_from(
    ["nan", "1e999", "-1", "52.7", "2020-01-01T00:00:00Z", "0001-01-01T00:00+23:00"]
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | words,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(words | st.sampled_from(["name", "idSite", "0"]), inner, max_size=4)
    ),
    max_leaves=12,
)
keys = st.sampled_from([WIRE.get(name, name) for name in Plant.__annotations__])


@given(record=st.dictionaries(keys | words, anything), strict=st.booleans())
def test_any_record_gives_a_model_or_an_error_of_the_distribution(record, strict):
    """Nothing but an EnergyError is raised; every field has its type or its default."""
    with collect_drift(Drift(strict=strict)) as drift:
        try:
            site = plant(record)
        except EnergyError as error:
            refused = error
        else:
            refused = None
    if refused:
        assert refused.kind == ("drift" if drift.strict and drift.total else "shape")
        return
    assert type(site.id) is int
    assert site.peak_w is None or type(site.peak_w) is float
    assert site.name is None or type(site.name) is str
    assert site.owner is None or type(site.owner) is bool
    assert site.seen is None or site.seen.tzinfo is UTC
    assert site.reading is None or type(site.reading) in (float, str)
    assert type(site.unit) is str
    assert all(type(tag) is Tag and type(tag.name) is str for tag in site.tags)
    assert all(level is None or type(level) is float for level in site.levels)
    assert all(type(limit) is float for limit in site.limits.values())
    assert site.raw is record


@given(value=anything)
def test_any_value_gives_records_or_an_error_of_the_distribution(value):
    """Nothing but a DecodeError is raised."""
    with collect_drift(Drift()), suppress(DecodeError):
        assert isinstance(plants(value), tuple)


@frozen(kw_only=True)
class Flat:
    a: int
    b: float | None
    c: str | None
    d: bool | None


@given(
    record=st.fixed_dictionaries(
        {
            "a": st.integers(-(2**63), 2**63 - 1),
            "b": st.none() | st.floats(allow_nan=False, allow_infinity=False),
            "c": st.none() | st.text(),
            "d": st.none() | st.booleans(),
        }
    )
)
def test_documented_records_are_decoded_as_by_plain_cattrs(record):
    """Tolerance changes nothing for documented data."""
    assert model(Flat)(record) == Converter().structure(record, Flat)
