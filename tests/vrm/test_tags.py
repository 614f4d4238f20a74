"""Tags of a site."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.servers.vrm_cases import (
    check_any_value,
    check_clean,
    check_drift,
    check_missing_part,
    check_no_object,
    check_request,
    check_wrong,
    read_answer,
)
from vrm_async import Unlisted
from vrm_async.models import Tag
from vrm_async.resources import tags

SITE = "installations/5"

REQUESTS = {
    "tags.get": (lambda v: v.tags.get(5), "GET", f"{SITE}/tags", [], None),
    "tags.get, one group": (
        lambda v: v.tags.get(5, "team"),
        "GET",
        f"{SITE}/tags",
        [("filter", "team")],
        None,
    ),
    "tags.get, verbatim": (
        lambda v: v.tags.get(5, Unlisted("new")),
        "GET",
        f"{SITE}/tags",
        [("filter", "new")],
        None,
    ),
    "tags.add": (
        lambda v: v.tags.add(5, "a b"),
        "PUT",
        f"{SITE}/tags",
        [],
        {"tag": "a b", "source": "user"},
    ),
    "tags.remove": (
        lambda v: v.tags.remove(5, "x", source="team"),
        "DELETE",
        f"{SITE}/tags",
        [],
        {"tag": "x", "source": "team"},
    ),
}

WRONG = {
    "an empty tag": (lambda v: v.tags.add(1, ""), ValueError, "tag"),
    "a tag of two lines": (lambda v: v.tags.remove(1, "a\nb"), ValueError, "tag"),
    "a tag that is none": (lambda v: v.tags.add(1, None), TypeError, "tag"),
    "an unknown source": (
        lambda v: v.tags.get(1, "all"),
        ValueError,
        "user, team, group, predefined",
    ),
}

ANSWERS = {
    "tags": (
        tags.read_tags,
        {"tags": {"user": ["home", "plain"], "team": [], "predefined": False}},
    ),
}


def read(name, payload=None):
    """Read a clean answer of `ANSWERS`, or another one."""
    return read_answer(ANSWERS[name], payload)


def test_tags_in_groups():
    """Each tag has its group; a plain text is a tag; an empty group is kept."""
    tags = read("tags")
    assert [tag.name for tag in tags] == ["home", "plain"]
    assert tags["user"][0] == Tag(name="home", source="user", raw=tags["user"][0].raw)
    (numbered,) = read("tags", {"tags": {"team": [{"idTag": 1, "name": "x"}]}})["team"]
    assert (numbered.id, numbered.name, numbered.source) == (1, "x", "team")
    assert (tags["team"], tags["predefined"], tags["no such"]) == ((), (), ())
    assert "plain" in tags
    assert "team" in tags.groups


def test_tags_in_a_list():
    """The older document's list is grouped by the tags' own source."""
    tags = read("tags", {"tags": [{"name": "a", "source": "team"}, {"name": "b"}, "c"]})
    assert {source: [tag.name for tag in group] for source, group in tags.groups.items()} == {
        "team": ["a"],
        "user": ["b", "c"],
    }
    assert list(read("tags", {"tags": []})) == []


@pytest.mark.parametrize("name", REQUESTS)
async def test_requests(client, fake, name):
    """One request, with the documented members and no other."""
    await check_request(client, fake, REQUESTS[name])


@pytest.mark.usefixtures("nothing_is_sent")
@pytest.mark.parametrize("name", WRONG)
async def test_a_wrong_value_is_named(vrm, name):
    """The message has the argument, and the allowed values where there is a list."""
    await check_wrong(vrm, WRONG[name])


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


@pytest.mark.parametrize("name", ["tags"])
def test_an_answer_without_its_part(name):
    """A missing member is not taken for an empty one."""
    check_missing_part(ANSWERS[name])


@pytest.mark.parametrize(
    ("name", "payload", "noted"),
    [
        ("tags", {"tags": {"user": [5]}}, ("Tag", "record", "malformed")),
    ],
)
def test_drift_is_counted(name, payload, noted):
    """One bad record or field is counted and the rest is read; a strict client raises."""
    check_drift(ANSWERS[name], payload, noted)
