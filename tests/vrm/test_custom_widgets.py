"""Custom widgets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy_core.errors import DecodeError
from tests.servers.vrm_cases import (
    check_any_value,
    check_clean,
    check_drift,
    check_hostile_id,
    check_no_object,
    check_request,
    check_returned,
    check_wrong,
)
from vrm_async.resources import custom_widgets

SITE = "installations/5"

REQUESTS = {
    "custom_widgets.create": (
        lambda v: v.custom_widgets.create(5, "W", {"a": 1}, only_admins=True, y_axis_scaling=2),
        "POST",
        f"{SITE}/custom-widget",
        [],
        {"name": "W", "parameters": {"a": 1}, "onlyAdmins": 1, "yAxisScaling": 2},
    ),
    "custom_widgets.update": (
        lambda v: v.custom_widgets.update(5, 9, parameters={}),
        "PATCH",
        f"{SITE}/custom-widget",
        [],
        {"idCustomWidget": 9, "parameters": {}},
    ),
    "custom_widgets.delete": (
        lambda v: v.custom_widgets.delete(5, 9),
        "DELETE",
        f"{SITE}/custom-widget",
        [],
        {"idCustomWidget": 9},
    ),
}

RETURNS = {
    "custom_widgets.create": (
        lambda v: v.custom_widgets.create(5, "W", {}),
        ("POST", f"{SITE}/custom-widget", [], {"name": "W", "parameters": {}, "yAxisScaling": 0}),
        {"idCustomWidget": 12},
        12,
    ),
}

WRONG = {
    "parameters that are not JSON": (
        lambda v: v.custom_widgets.create(1, "x", {"a": float("nan")}),
        ValueError,
        "parameters must hold only JSON values",
    ),
    "a bytes parameter": (
        lambda v: v.custom_widgets.create(1, "x", {"a": b"b"}),
        TypeError,
        "parameters must hold only JSON values",
    ),
    "nothing to change": (lambda v: v.custom_widgets.update(1, 1), ValueError, "nothing to change"),
    "a widget without a name": (lambda v: v.custom_widgets.create(1, "", {}), ValueError, "name"),
    "parameters in a list": (lambda v: v.custom_widgets.create(1, "x", []), TypeError, "parameters"),
}

NUMBERS = {
    "widget_id": lambda v, i: v.custom_widgets.get(1, i),
    "widget_id ": lambda v, i: v.custom_widgets.delete(1, i),
}

ANSWERS = {
    "custom_widget": (
        custom_widgets.read_widget,
        {"widget": {"idCustomWidget": 9, "name": "W", "onlyAdmins": 0, "parameters": {"a": 1}}},
    ),
    "custom_widget_id": (custom_widgets.read_widget_id, {"success": True, "idCustomWidget": 9}),
}


def test_custom_widgets_in_every_place():
    """VRM does not document the member: data, records and the top level are read."""
    for payload in (
        {"data": {"idCustomWidget": 9}},
        {"records": [{"idCustomWidget": "9"}]},
        {"idCustomWidget": 9, "name": "W"},
        {"widget": {"idCustomWidget": 9}},
    ):
        assert custom_widgets.read_widget({"success": True, **payload}).id == 9
    assert custom_widgets.read_widget_id({"success": True}) is None
    with pytest.raises(DecodeError, match="custom widget"):
        custom_widgets.read_widget({"success": True, "data": []})


@pytest.mark.parametrize("name", REQUESTS)
async def test_requests(client, fake, name):
    """One request, with the documented members and no other."""
    await check_request(client, fake, REQUESTS[name])


@pytest.mark.parametrize("name", RETURNS)
async def test_returned_values(client, fake, name):
    """A plain value of the answer."""
    await check_returned(client, fake, RETURNS[name])


@pytest.mark.usefixtures("nothing_is_sent")
@pytest.mark.parametrize("name", WRONG)
async def test_a_wrong_value_is_named(vrm, name):
    """The message has the argument, and the allowed values where there is a list."""
    await check_wrong(vrm, WRONG[name])


@pytest.mark.usefixtures("nothing_is_sent")
@pytest.mark.parametrize("name", NUMBERS)
async def test_a_wrong_number_is_named(vrm, name):
    """An id is a non-negative int; the message has the argument."""
    await check_hostile_id(vrm, name, NUMBERS[name])


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


@pytest.mark.parametrize(
    ("name", "payload", "noted"),
    [
        ("custom_widget_id", {"success": True}, ("CustomWidget", "id", "missing")),
    ],
)
def test_drift_is_counted(name, payload, noted):
    """One bad record or field is counted and the rest is read; a strict client raises."""
    check_drift(ANSWERS[name], payload, noted)
