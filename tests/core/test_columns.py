from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from types import SimpleNamespace

import attrs
import pytest
from attrs import field, frozen
from hypothesis import example, given
from hypothesis import strategies as st

from energy_core.codec import columns
from energy_core.codec.coerce import seconds, text
from energy_core.codec.columns import copier
from energy_core.codec.drift import Drift, collect_drift
from energy_core.codec.field_types import MalformedRecord
from energy_core.codec.structure import model, records
from energy_core.errors import DecodeError


@frozen(kw_only=True)
class Thing:
    id: int
    name: str | None = None
    on: bool | None = None
    level: float | None = None
    born: datetime | None = None
    seen: datetime | None = None
    size: float = 7.0
    tags: tuple[str, ...] = ()
    more: Mapping[str, object] = field(factory=dict)
    any: object = None
    owner: str | None
    raw: Mapping[str, object] = field(factory=dict)


hook = model(Thing, wire={"name": "theName"}, read={"seen": seconds, "owner": text})
things = records(hook, "Thing")

KEYS = ["id", "theName", "on", "level", "born", "seen", "size", "tags", "more", "any", "owner", "stranger"]
odd = st.sampled_from(
    [
        *(
            None,
            False,
            True,
            0,
            1,
            2,
            -1,
            0.0,
            1.5,
            "",
            "1",
            "x",
            "true",
            [],
            {},
            ["a"],
            [1, None],
            {"0": "a"},
        ),
        *(10**11, 10**12, 2**63 - 1, 10**400, -(2**63), float("inf"), float("nan"), "2026-01-01T00:00:00"),
    ]
)
usual = st.fixed_dictionaries(
    {"id": st.integers(0, 9), "owner": st.just("me")},
    optional={
        "theName": st.text(max_size=2) | st.none(),
        "on": st.sampled_from([0, 1, True, None]),
        "level": st.floats(allow_nan=False) | st.integers(-9, 9) | st.none(),
        "born": st.integers(-(2**33), 2**33) | st.none(),
        "seen": st.integers(0, 2**33),
        "size": st.integers(0, 9),
    },
)
strange = st.dictionaries(st.sampled_from(KEYS), odd)
lists = st.lists(usual, min_size=columns.MIN_RECORDS) | st.lists(
    usual | st.builds(lambda one, other: {**one, **other}, usual, strange) | strange | odd,
    min_size=columns.MIN_RECORDS,
)


def outcome(items, *, strict):
    drift = Drift(strict=strict)
    try:
        with collect_drift(drift):
            made = things(items)
    except DecodeError as error:
        return str(error), sorted(drift.counts.items())
    assert all(isinstance(thing, Thing) for thing in made)
    return [repr(thing) for thing in made], [thing.raw for thing in made], sorted(drift.counts.items())


@given(items=lists, strict=st.sampled_from([False, False, False, True]))
@example(items=[{"id": True, "owner": "me"}] * 9, strict=False)
@example(items=[{"id": 1, "owner": "me", "on": 2}] * 9, strict=False)
@example(items=[{"id": 1, "owner": "me", "level": 10**400}] * 9, strict=False)
def test_columns_give_what_records_give(items, strict):
    """Decoding column by column gives the objects and the drift of decoding record by record."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("energy_core.codec.structure.MIN_RECORDS", len(items) + 1)
        slow = outcome(items, strict=strict)
    assert repr(outcome(items, strict=strict)) == repr(slow)


def test_documented_records_are_decoded_by_columns():
    """Also with numbers for times and flags, a missing and an unknown key."""
    items = [{"id": at, "owner": None, "on": at % 2, "seen": at, "new": 1} for at in range(20)]
    drift = Drift()
    with collect_drift(drift):
        made = hook.all(items)
    assert made is not None
    assert made[3] == hook(items[3])
    assert made[3].seen == datetime(1970, 1, 1, 0, 0, 3, tzinfo=UTC)
    assert drift.counts == {("Thing", "new", "unknown"): 1}


@pytest.mark.parametrize("broken", [None, [], {"owner": "me"}, {"id": None, "owner": "me"}])
def test_a_malformed_record_is_found_before_drift_is_counted(broken):
    """The records are then decoded one by one, and drift is counted once."""
    drift = Drift()
    with collect_drift(drift):
        assert hook.all([{"id": 1, "owner": [], "size": "x"}] * 9 + [broken]) is None
    assert drift.total == 0


class Referable:
    __slots__ = ("__weakref__",)


@frozen
class Pair(Referable):
    left: int
    right: int | None = None


def test_a_copy_is_like_a_constructed_object():
    """Of its class, frozen, and equal; a field that is not named stays unassigned."""
    make = copier(Pair, ["left", "right"], {"right": lambda value: value + 1})
    made = make(SimpleNamespace(left=1, right=2))
    assert made == Pair(1, 3)
    assert type(made) is Pair
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        made.left = 5
    half = copier(Pair, ["left"], {})(made)
    assert half.left == 1
    assert not hasattr(half, "right")


def test_a_copier_refuses_names_that_are_not_slots():
    """When it is made, not when it is called."""
    with pytest.raises(TypeError, match="middle is not a slot"):
        copier(Pair, ["middle"], {})


@given(record=usual | strange)
def test_a_field_decoded_alone_is_as_in_the_whole_record(record):
    """For any record that is not malformed."""
    try:
        made = hook(record)
    except MalformedRecord:
        return
    for name in attrs.fields_dict(Thing).keys() - {"raw"}:
        assert repr(hook.read(name, record)) == repr(getattr(made, name))
