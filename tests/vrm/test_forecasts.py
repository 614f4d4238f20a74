"""Settings of the forecasts."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy_core.errors import BadRequest
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
from vrm_async.resources import forecasts

HOUR = datetime(2026, 3, 1, 12, tzinfo=UTC)

HOUR_S = 1772366400

SITE = "installations/5"

SEEN = 1772366400

REQUESTS = {
    "forecasts.reset": (
        lambda v: v.forecasts.reset(5, 1),
        "POST",
        f"{SITE}/reset-forecasts",
        [],
        {"resetType": 1},
    ),
    "forecasts.adjust_consumption": (
        lambda v: v.forecasts.adjust_consumption(5, household={HOUR: None}, heat_pumps={HOUR: 900}),
        "POST",
        f"{SITE}/adjust-consumption",
        [],
        {
            "vrm_consumption_fc_adj": [{"timestamp": HOUR_S, "value": -1}],
            "vrm_consum_hp_fc_adj": [{"timestamp": HOUR_S, "value": 900}],
        },
    ),
}

RETURNS = {
    "forecasts.last_reset": (
        lambda v: v.forecasts.last_reset(5),
        ("GET", f"{SITE}/reset-forecasts", [], None),
        {"last_reset": HOUR_S},
        HOUR,
    ),
    "forecasts.last_reset, of one type": (
        lambda v: v.forecasts.last_reset(5, reset_type=0),
        ("GET", f"{SITE}/reset-forecasts", [("resetType", "0")], None),
        {"last_reset": 0},
        None,
    ),
}

WRONG = {
    "adjustments in a list": (
        lambda v: v.forecasts.adjust_consumption(1, household=[(HOUR, 1.0)]),
        TypeError,
        "mapping of hour to Wh",
    ),
    "nothing to adjust": (lambda v: v.forecasts.adjust_consumption(1), ValueError, "nothing to adjust"),
    "a naive hour": (
        lambda v: v.forecasts.adjust_consumption(1, household={HOUR.replace(tzinfo=None): 1.0}),
        ValueError,
        "aware",
    ),
    "no full hour": (
        lambda v: v.forecasts.adjust_consumption(1, household={HOUR.replace(minute=5): 1.0}),
        ValueError,
        "full hour",
    ),
    "less than nothing": (
        lambda v: v.forecasts.adjust_consumption(1, household={HOUR: -1.0}),
        ValueError,
        "energy_wh",
    ),
}

NUMBERS = {
    "reset_type": lambda v, i: v.forecasts.reset(1, i),
}

ANSWERS = {
    "last_reset": (forecasts.read_last_reset, {"last_reset": SEEN}),
}


async def test_a_last_reset_that_wants_a_type(client, fake):
    """A parameter that only the service requires, and no document, raises `BadRequest`."""
    refusal = {"success": False, "errors": "ResetType em falta", "error_code": "missing_parameters"}
    fake.answers("GET", f"{SITE}/reset-forecasts", refusal)
    with pytest.raises(BadRequest) as caught:
        await client.forecasts.last_reset(5)
    assert caught.value.error_code == "missing_parameters"


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
        ("last_reset", {"last_reset": "x"}, ("Forecasts", "last_reset", "not a time")),
    ],
)
def test_drift_is_counted(name, payload, noted):
    """One bad record or field is counted and the rest is read; a strict client raises."""
    check_drift(ANSWERS[name], payload, noted)
