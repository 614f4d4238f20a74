"""The fast readers of VRM's largest answers give the same values, counts and errors as the tolerant ones."""

from __future__ import annotations

import copy
import json
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from time import sleep

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import samples
from energy_core.codec import json as codec_json
from energy_core.codec.drift import Drift, collect_drift
from energy_core.codec.json import decode_typed
from energy_core.errors import DecodeError
from tests.servers.both_decoders import both, described
from tests.servers.json_backends import standard_library_only
from vrm_async.decoding import attributes, fast_attributes, series
from vrm_async.decoding import sites as decoding_sites
from vrm_async.models.attribute import Attribute, Diagnostic

STATS = series.stats_of(series.Asked("kwh"))
READERS = {
    "stats": (STATS, samples.stats(30)),
    "sites": (decoding_sites.sites, samples.installations(9)),
    "diagnostics": (attributes.diagnostics_page, samples.diagnostics(40)),
}
SHORT = {"sites": samples.installations(2), "diagnostics": samples.diagnostics(3)}
TIME = 1_780_000_000_000
accelerated = pytest.mark.skipif(codec_json.msgspec_loads is None, reason="msgspec is not installed")

oddities = st.sampled_from(
    [
        *(None, False, True, 0, 1, -1, 1.5, "", "12", "12.5", "x", [], {}, [1], {"0": 1}, [[]], [None]),
        *(2**53 + 1, 2**63 - 1, -(2**63), 1e300, "\ud83d\ude39", "é", [[TIME, 1]], [{"nameEnum": "a"}]),
    ]
).map(copy.deepcopy)
shards = st.sampled_from(
    [b"1e999", b"9" * 19, b"-" + b"9" * 25, b'"\\ud800"', b'"\xff"', b"NaN", b"", b"]", b"[" * 70 + b"]" * 70]
)
cells = st.integers(-5, 5) | st.floats(-1e6, 1e6) | st.none() | oddities
times = st.integers(TIME, TIME + 10) | st.integers(TIME // 1000, TIME // 1000 + 10) | oddities
regular = st.integers(2, 4).flatmap(
    lambda width: st.lists(
        st.tuples(
            st.integers(TIME, TIME + 10**9), *[st.floats(-1e6, 1e6) | st.integers() | st.none()] * (width - 1)
        )
    )
)
ragged = st.lists(
    st.lists(cells, max_size=3).flatmap(lambda row: times.map(lambda time: [time, *row])), max_size=4
)
codes = st.sampled_from(["Pc", "bs", "total_solar_yield", "kwh", "é"])
stats_answers = st.fixed_dictionaries(
    {
        "success": st.sampled_from([True, True, True, False, 1, None]),
        "records": st.dictionaries(codes, regular | ragged | oddities),
    },
    optional={"totals": st.dictionaries(codes, cells), "more": oddities},
)


def damaged(draw, answer):
    """Return the answer after changes of some values, keys and bytes."""
    for _ in range(draw(st.integers(0, 3))):
        place = answer
        while draw(st.booleans()) or place is answer:
            inner = [
                item
                for item in (place.values() if isinstance(place, dict) else place)
                if isinstance(item, dict | list) and item
            ]
            if not inner:
                break
            place = draw(st.sampled_from(inner))
        if isinstance(place, dict):
            keys = st.sampled_from([*place, "neverHeardOf"])
            place[draw(keys)] = draw(oddities)
            if place and draw(st.booleans()):
                del place[draw(st.sampled_from(list(place)))]
        else:
            place[draw(st.integers(0, len(place) - 1))] = draw(oddities)
    body = json.dumps(answer, ensure_ascii=draw(st.booleans()), indent=draw(st.none() | st.just(1))).encode(
        "utf-8", "surrogatepass"
    )
    if draw(st.integers(0, 3)) == 0:
        at = draw(st.integers(0, len(body)))
        body = body[:at] + draw(shards) + body[at + draw(st.integers(0, 3)) :]
    return body


@pytest.mark.parametrize("name", READERS)
def test_a_documented_answer_is_the_same_on_both_paths(name):
    """Every class, value, type and raw record, and nothing is counted on one path only."""
    fast, slow = both(*READERS[name])
    assert fast == slow
    assert fast[0][0] in {"Stats", "tuple", "DiagnosticsPage"}


@accelerated
@pytest.mark.parametrize("name", READERS)
def test_a_documented_answer_is_read_by_the_fast_reader(name):
    """The tolerant reader is not used for the documented answers of the simulator."""
    into, body = READERS[name]
    assert decode_typed(into, body) is not None


@given(answer=stats_answers)
def test_stats_of_any_shape_are_the_same_on_both_paths(answer):
    """Values, counts and errors agree for any points and totals."""
    fast, slow = both(STATS, json.dumps(answer).encode("utf-8", "surrogatepass"))
    assert fast == slow


@pytest.mark.parametrize("name", READERS)
@given(data=st.data(), strict=st.booleans())
def test_a_damaged_answer_is_the_same_on_both_paths(name, data, strict):
    """Odd values, unknown and missing keys, broken bytes: values, counts and errors agree."""
    into, body = READERS[name]
    fast, slow = both(into, damaged(data.draw, json.loads(body)), strict=strict)
    assert fast == slow


@accelerated
@pytest.mark.parametrize("part", [b"1e999", b"9" * 25, b'"\xff"', b"[" * 62 + b"]" * 62])
def test_lazy_parts_are_refused_at_once(part):
    """Unsound JSON among lazy attributes is an error while the answer is read."""
    body = json.dumps({"success": True, "records": [{"idSite": 1, "extended": [{"code": "x", "y": 0}]}]})
    body = body.encode().replace(b'"y": 0', b'"y": ' + part)
    fast, slow = both(decoding_sites.sites, body)
    assert fast == slow
    assert fast[0][0] == "DecodeError"


LAZY = {
    "stats": (lambda made: made, lambda answer: answer),
    "sites": (lambda made: made[0], lambda answer: answer["records"][0]),
    "extended": (lambda made: made[0].extended[3], lambda answer: answer["records"][0]["extended"][3]),
    "diagnostics": (lambda made: made.records[0], lambda answer: answer["records"][0]),
}


@accelerated
@pytest.mark.parametrize("name", LAZY)
def test_a_lazy_raw_is_like_any_other(name):
    """It is a dict that compares, copies and pickles; a second access returns the same object."""
    find, find_raw = LAZY[name]
    into, body = READERS["sites" if name == "extended" else name]
    one = find(decode_typed(into, body))
    wanted = find_raw(json.loads(body))
    twin = pickle.loads(pickle.dumps(one))
    assert type(one.raw) is dict
    assert one.raw == wanted
    assert list(one.raw) == list(wanted)
    assert one.raw is one.raw
    assert twin == one
    assert copy.copy(one) == one
    with pytest.raises(AttributeError, match="no attribute 'rwa'"):
        one.rwa  # noqa: B018


ATTRIBUTES = '[{"code":"a","rawValue":1}]'
NESTED = f'"view":{{"extended":{ATTRIBUTES}}}'


@accelerated
@pytest.mark.parametrize(
    ("site", "goes"),
    [
        (f'"idSite":1,"extended":{ATTRIBUTES}', True),
        (f'"idSite":1,"extended" :\n {ATTRIBUTES} ', True),
        ('"idSite":1', True),
        ('"idSite":1,"extended":null', True),
        ('"idSite":1,"extended":[]', True),
        ('"idSite":1,"extended":12', True),
        (f'"extended":{ATTRIBUTES},{NESTED},"idSite":1', True),
        (f'{NESTED},"idSite":1,"extended":{ATTRIBUTES}', False),
        (f'{NESTED},"idSite":1', True),
        (f'"view\\"extended":{ATTRIBUTES},"idSite":1,"extended":{ATTRIBUTES}', False),
        (f'"name":"\\"extended","idSite":1,"extended":{ATTRIBUTES}', True),
        (f'"idSite":1,"extended":1,"extended":{ATTRIBUTES}', False),
        (f'"idSite":1,"extended":{ATTRIBUTES},"extended":{ATTRIBUTES}', False),
        (f'"idSite":1,"\\u0065xtended":{ATTRIBUTES}', False),
        ('"view":{"extended":12},"idSite":1,"extended":1', False),
        ('"view":{"extended":true},"idSite":1,"extended":null', False),
        (f'"idSite":1,"extended":{ATTRIBUTES},"more":{"[" * 9}1{"]" * 9}', False),
    ],
)
def test_only_the_lazy_member_of_a_site_is_cut_out(site, goes):
    """The name or the text of the lazy member elsewhere in the record changes no other value."""
    for more in ("", f',{{"idSite":2,"extended":{ATTRIBUTES}}}', f",{{{site.replace('1', '3', 1)}}}"):
        body = f'{{"success":true,"records":[{{{site}}}{more}]}}'.encode()
        fast, slow = both(decoding_sites.sites, body)
        assert fast == slow
        assert fast[0][0] == "tuple"
        if not more:
            assert (decode_typed(decoding_sites.sites, body) is not None) is goes


@accelerated
@pytest.mark.parametrize(
    "answer",
    [
        *({"success": False, "records": []}, {"success": 1, "records": []}, {"records": []}),
        *({"success": True}, {"success": True, "records": {}}, {"success": True, "records": [1]}),
        {"success": True, "records": [], "more": 1},
    ],
)
@pytest.mark.parametrize("into", [decoding_sites.sites, attributes.diagnostics_page])
def test_another_envelope_is_left_to_the_tolerant_reader(into, answer):
    """The fast readers take successful answers only; refusals go the tolerant way."""
    body = json.dumps(answer).encode()
    assert decode_typed(into, body) is None
    fast, slow = both(into, body)
    assert fast == slow


@accelerated
@pytest.mark.parametrize(
    "changed",
    [
        *(
            {"timestamp": None},
            {"timestamp": -1},
            {"timestamp": 10**12},
            {"timestamp": 1.5},
            {"timestamp": "1"},
        ),
        *({"bitmask": True}, {"bitmask": 2}, {"bitmask": None}, {"bitmask": 1.0}, {"rawValue": True}),
        *({"instance": 1.0}, {"instance": "1"}, {"num": 1}, {"idDataAttribute": None}, {"code": 5}),
        {"dataAttributeEnumValues": [{"nameEnum": "a", "valueEnum": 1}, {"nameEnum": "b", "valueEnum": 1}]},
        {"dataAttributeEnumValues": [{"nameEnum": "a", "valueEnum": "1"}]},
        {"dataAttributeEnumValues": {"0": {"nameEnum": "a", "valueEnum": 1}}},
        {"dataAttributeEnumValues": None},
    ],
)
def test_a_diagnostic_spelled_otherwise_is_the_same_on_both_paths(changed):
    """Values, counts and the page's true length agree."""
    answer = json.loads(READERS["diagnostics"][1])
    answer["records"][1].update(changed)
    fast, slow = both(attributes.diagnostics_page, json.dumps(answer).encode())
    assert fast == slow
    del answer["records"][1]["timestamp"]
    fast, slow = both(attributes.diagnostics_page, json.dumps(answer).encode())
    assert fast == slow


NAMED = {"nameEnum": "a", "valueEnum": 1}
VALUE = {"rawValue": 1, "formattedValue": "1 W", "textValue": None, "timestamp": TIME // 1000}
AS_DOCUMENTED = [
    *({"dataAttributeEnumValues": value} for value in (None, [], [NAMED, {**NAMED, "nameEnum": "b"}])),
    *({"dataAttributeEnumValues": [{**NAMED, "nameEnum": 12}]}, {"dataAttributes": [{"a": [{"b": 1}]}, {}]}),
    *({"instances": value} for value in (None, [], {}, [VALUE], {"0": VALUE, "257": {}, "-1": VALUE})),
    *({"consistsOfAttributeCodes": value} for value in (None, [], ["Pc", "é"])),
]
OTHERWISE = [
    *({"dataAttributeEnumValues": value} for value in ({}, {"0": NAMED}, [None], [{**NAMED, "more": 1}])),
    *({"dataAttributeEnumValues": [{**NAMED, **odd}]} for odd in ({"nameEnum": None}, {"valueEnum": "1"})),
    *({"dataAttributeEnumValues": [{"nameEnum": name, "valueEnum": 1}]} for name in (True, 1.5, [], "")),
    *({"instances": value} for value in (1, "x", {"a": VALUE}, {"1.5": VALUE}, {" 7": VALUE}, {"07": VALUE})),
    *({"instances": {"1": value}} for value in (None, 5, [], {**VALUE, "more": 1}, {"timestamp": "1"})),
    *({"instances": [value]} for value in (None, 5, [], {**VALUE, "more": 1}, {"rawValue": False})),
    *({"instances": {"9" * 19: VALUE}}, {"instances": {"1e2": VALUE}}, {"instances": {"-0": VALUE}}),
    *({"consistsOfAttributeCodes": value} for value in ("Pc", {"0": "Pc"}, [1], [None], [["Pc"]])),
    *({"dataAttributes": value} for value in (1, {"0": {}}, [None], [1, {}], [[]])),
    *({"rawValue": True}, {"timestamp": 1.5}, {"instance": "1"}, {"code": None}, {"code": 5}, {"num": 1}),
    *({"timestamp": 10**12}, {"timestamp": -1}, {"timestamp": 253402300800}, {"idDataAttribute": 2.0}),
]


@pytest.mark.parametrize("changed", [*AS_DOCUMENTED, *OTHERWISE], ids=repr)
@pytest.mark.parametrize("name", ["sites", "diagnostics"])
def test_lazy_fields_are_the_same_on_both_paths(name, changed):
    """Values and counted deviations agree, although one path computes them at first access."""
    into, answer = READERS[name][0], json.loads(SHORT[name])
    record = answer["records"][1]
    (record["extended"][3] if name == "sites" else record).update(changed)
    fast, slow = both(into, json.dumps(answer).encode())
    assert fast == slow


@accelerated
@pytest.mark.parametrize("changed", AS_DOCUMENTED, ids=repr)
def test_documented_attributes_are_made_by_the_fast_reader(changed):
    """This includes enum names that are numbers and instances as a list; an attribute keeps only its text."""
    attribute = {"code": "a", "idDataAttribute": 1, **VALUE, **changed}
    text = json.dumps([attribute, attribute]).encode()
    references = sys.getrefcount(text)
    made = fast_attributes.attributes(text, attributes.attribute.read)
    assert sys.getrefcount(text) == references
    assert [described(one) for one in made] == [described(attributes.attribute(attribute))] * 2


@accelerated
@pytest.mark.parametrize(
    ("shape", "hook"),
    [("_Attribute", attributes.attribute), ("_Diagnostic", attributes.diagnostic)],
)
def test_shapes_have_the_fields_and_keys_of_their_models(shape, hook):
    """A field added to a model is also in the shape of the fast reader."""
    made = getattr(fast_attributes, shape)
    fields = zip(made.__struct_fields__, made.__struct_encode_fields__, strict=True)
    assert dict(fields) == {name: column.key for name, column in hook.columns.items()}


def attributes_of(answer):
    return [one for site in answer for one in site.extended]


@accelerated
@pytest.mark.parametrize(
    ("name", "records_of", "field"),
    [
        *(("sites", attributes_of, field) for field in sorted(Attribute.lazy_fields)),
        *(("diagnostics", lambda page: page.records, field) for field in sorted(Diagnostic.lazy_fields)),
    ],
)
def test_a_lazy_field_can_be_read_first(name, records_of, field):
    """Each lazy field has the record's value, whichever is read first, and stays the same object."""
    into, body = READERS[name]
    fast, slow = records_of(decode_typed(into, body)), records_of(into(json.loads(body)))
    for one, other in zip(fast, slow, strict=True):
        assert getattr(one, field) == getattr(other, field)
        assert getattr(one, field) is getattr(one, field)


@accelerated
def test_a_diagnostic_keeps_only_its_own_text():
    """Keeping one record does not keep the page it came with."""
    body = READERS["diagnostics"][1]
    references = sys.getrefcount(body)
    records = decode_typed(attributes.diagnostics_page, body).records
    assert sys.getrefcount(body) == references
    assert [one.raw for one in records] == json.loads(body)["records"]


@accelerated
def test_attributes_are_decoded_once():
    """Each access returns the same tuple of the same objects."""
    site = decode_typed(*READERS["sites"])[0]
    assert site.extended is site.extended
    assert isinstance(site.extended, tuple)


DEVIATING = json.loads(READERS["sites"][1])
DEVIATING["records"][0]["extended"][-1]["instance"] = "x"


@pytest.mark.parametrize("body", [READERS["sites"][1], json.dumps(DEVIATING).encode()], ids=["fast", "odd"])
def test_attributes_are_a_tuple_on_both_paths(body):
    """They index, slice, compare and pickle as a tuple, and find an attribute by its code."""
    slow = decoding_sites.sites(json.loads(body))[0]
    fast, other, *_ = decode_typed(decoding_sites.sites, body) or decoding_sites.sites(json.loads(body))
    one, plain = fast.extended, list(slow.extended)
    codes = [each.code for each in plain]
    assert list(one) == plain
    assert repr(one) == f"<Attributes {', '.join(codes)}>"
    assert len(one) == len(plain)
    assert list(reversed(one)) == plain[::-1]
    assert one[::3] == tuple(plain[::3])
    assert one[-1] == plain[-1]
    assert one.index(plain[-1]) == plain.index(plain[-1])
    assert plain[3] in one
    assert one.get(codes[3]) == plain[codes.index(codes[3])]
    assert one.get("?") is None
    assert one == slow.extended
    assert one != other.extended
    assert one == tuple(plain)
    for beyond in (len(plain), -len(plain) - 1):
        with pytest.raises(IndexError):
            one[beyond]
    twin = pickle.loads(pickle.dumps(one))
    assert twin == one
    assert repr(twin) == repr(one)


def test_attributes_with_one_code_differ_by_their_values():
    """A code alone does not make two of them equal."""
    body = '{{"success":true,"records":[{{"idSite":1,"extended":[{{"code":"a","rawValue":{}}}]}}]}}'
    one, other = (decoding_sites.sites(json.loads(body.format(value)))[0] for value in (1, 2))
    assert one.extended != other.extended


@accelerated
def test_a_deviation_among_attributes_is_counted_once(monkeypatch):
    """Attributes that several threads read at the same time are decoded once."""
    body = b'{"success":true,"records":[{"idSite":1,"extended":[{"code":"a","instance":"x"}]}]}'
    drift = Drift()
    with collect_drift(drift):
        (site,) = decode_typed(decoding_sites.sites, body)
    together, decode = Barrier(4), attributes.of_site

    def read(_):
        together.wait()
        return site.extended[0]

    def slowly(value):
        for _ in range(100):
            sleep(0)  # let the other threads run
        return decode(value)

    monkeypatch.setattr(attributes, "of_site", slowly)

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(read, range(4)))
    assert all(one is site.extended[0] for one in found)
    assert drift.counts == {("Attribute", "instance", "str instead of int"): 1}


@accelerated
def test_fast_readers_are_not_used_while_acceleration_is_off(monkeypatch):
    """This holds at the first access too, if acceleration was on when the answer was read."""
    sites = decode_typed(*READERS["sites"])
    monkeypatch.setattr(fast_attributes, "attributes", None)
    with standard_library_only():
        assert sites[0].extended[3].code == "S"


@accelerated
def test_a_strict_drift_decodes_attributes_at_once():
    """A deviation among attributes is an error while the answer is read."""
    body = b'{"success":true,"records":[{"idSite":1,"extended":[{"code":"a","instance":"x"}]}]}'
    with collect_drift(Drift(strict=True)), pytest.raises(DecodeError, match=r"Attribute\.instance"):
        decoding_sites.sites(json.loads(body))
