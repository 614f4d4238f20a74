"""Dynamic ESS."""

from __future__ import annotations

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from energy_core.errors import AnswerError, NoData, PermissionDenied
from tests.servers.vrm_cases import (
    OK,
    check_any_value,
    check_clean,
    check_drift,
    check_missing_part,
    check_no_object,
    check_request,
    check_wrong,
    read_answer,
)
from vrm_async.models import DynamicEssSettings, PriceSchedule, PriceSpan
from vrm_async.resources import dynamic_ess

SWITCHED_ON = DynamicEssSettings(is_on=True)

SITE = "installations/5"

PRICES = DynamicEssSettings(
    is_on=False,
    battery_capacity_kwh=9.6,
    grid_sell=True,
    buy_price_type=0,
    buy_price_schedule=(
        PriceSchedule(days=(0, 6), spans=(PriceSpan(start="00:00", end="06:30", price=0.2),)),
    ),
    sell_price_formula="p",
    site_id=5,
    mode=4,
    operating_mode=1,
    updated_on="2026-03-01 12:00:00",
)

PRICES_SENT = {
    "isOn": False,
    "batteryCapacity": 9.6,
    "gridSell": 1,
    "buyPriceType": 0,
    "buyPriceSchedule": [{"days": [0, 6], "schedule": [{"from": "00:00", "to": "06:30", "price": 0.2}]}],
    "sellPriceFormula": "p",
}

NO_SETTINGS = {"success": False, "errors": ["No settings found for this site"]}

SEEN = 1772366400

REQUESTS = {
    "dynamic_ess.save": (
        lambda v: v.dynamic_ess.save(5, PRICES),
        "POST",
        f"{SITE}/dynamic-ess-settings",
        [],
        PRICES_SENT,
    ),
    "dynamic_ess.change": (
        lambda v: v.dynamic_ess.change(5, DynamicEssSettings(mode=4), raw={"operatingMode": 7}),
        "PATCH",
        f"{SITE}/dynamic-ess-settings",
        [],
        {"mode": 4, "operatingMode": 7},
    ),
    "dynamic_ess.plan": (
        lambda v: v.dynamic_ess.plan(5),
        "GET",
        f"{SITE}/schedule-dynamic-ess",
        [("async", "0")],
        None,
    ),
}

WRONG = {
    "nothing to save": (lambda v: v.dynamic_ess.save(1, DynamicEssSettings()), ValueError, "not be empty"),
    "nothing to change": (
        lambda v: v.dynamic_ess.change(1, DynamicEssSettings()),
        ValueError,
        "must not be empty",
    ),
    "a price in a list": (
        lambda v: v.dynamic_ess.save(1, DynamicEssSettings(battery_price=[1])),
        TypeError,
        "battery_price",
    ),
    "no settings of Dynamic ESS": (
        lambda v: v.dynamic_ess.save(1, DynamicEssSettings(mode=1)),
        ValueError,
        "settings",
    ),
    "a mapping for Dynamic ESS": (lambda v: v.dynamic_ess.save(1, {"isOn": True}), TypeError, "settings"),
    "an unknown restriction": (
        lambda v: v.dynamic_ess.save(1, evolve(SWITCHED_ON, battery_flow_restriction="none")),
        ValueError,
        "unrestricted, noExport, noImport",
    ),
    "an unknown price type": (
        lambda v: v.dynamic_ess.save(1, evolve(SWITCHED_ON, buy_price_type=2)),
        ValueError,
        "buy_price_type",
    ),
    "a power without end": (
        lambda v: v.dynamic_ess.save(1, evolve(SWITCHED_ON, charge_power_kw=float("inf"))),
        ValueError,
        "charge_power_kw",
    ),
    "a schedule that is none": (
        lambda v: v.dynamic_ess.save(1, evolve(SWITCHED_ON, sell_price_schedule=({"days": [0]},))),
        TypeError,
        "sell_price_schedule",
    ),
}

ANSWERS = {
    "settings": (
        dynamic_ess.read_settings,
        {
            "data": {
                "isOn": True,
                "batteryCapacity": 9.6,
                "gridSell": 1,
                "buyPriceSchedule": [
                    {"days": [0, 6], "schedule": [{"from": "00:00", "to": "06:00", "price": 0.2}]}
                ],
                "idBiddingZone": "26",
                "mode": 1,
            }
        },
    ),
    "saved": (dynamic_ess.read_saved, {"success": True, "data": {"isOn": True}}),
    "plan": (dynamic_ess.read_plan, {"schedule": [{"start": SEEN, "soc": 40}]}),
}


def read(name, payload=None):
    """Read a clean answer of `ANSWERS`, or another one."""
    return read_answer(ANSWERS[name], payload)


async def test_a_site_without_dynamic_ess(client, fake):
    """The refusal becomes `NoData` by its shape (status 200, no error_code), never by its text."""
    for errors in (["No settings found for this site"], ["Keine Einstellungen"], "?"):
        fake.answers("GET", f"{SITE}/dynamic-ess-settings", {"success": False, "errors": errors})
        with pytest.raises(NoData) as caught:
            await client.dynamic_ess.get(5)
        assert (caught.value.operation, caught.value.status) == ("dynamic_ess.get", 200)


async def test_another_refusal_of_dynamic_ess(client, fake):
    """A refusal with an error_code or another status keeps its type."""
    fake.answers("GET", f"{SITE}/dynamic-ess-settings", {**NO_SETTINGS, "error_code": "internal"})
    with pytest.raises(AnswerError) as caught:
        await client.dynamic_ess.get(5)
    assert type(caught.value) is AnswerError
    fake.answers("GET", f"{SITE}/dynamic-ess-settings", NO_SETTINGS, status=403)
    with pytest.raises(PermissionDenied):
        await client.dynamic_ess.get(5)


async def test_settings_come_back(client, fake):
    """`save` returns the settings of the answer; `get` returns the settings that were written."""
    answer = {**OK, "data": {**PRICES_SENT, "mode": 4, "idSite": "5", "newMember": [1]}}
    fake.answers("POST", f"{SITE}/dynamic-ess-settings", answer)
    fake.answers("GET", f"{SITE}/dynamic-ess-settings", answer)
    saved = await client.dynamic_ess.save(5, PRICES)
    assert saved == await client.dynamic_ess.get(5)
    assert saved == evolve(PRICES, operating_mode=None, updated_on=None)
    assert saved.raw["newMember"] == [1]
    assert ("DynamicEssSettings", "newMember", "unknown") in client.drift.counts


def test_settings_of_dynamic_ess():
    """KWh and kW are kept, numbers for switches become bools, schedules become models."""
    ess = read("settings")
    assert (ess.is_on, ess.grid_sell, ess.battery_capacity_kwh, ess.bidding_zone_id) == (True, True, 9.6, 26)
    assert ess.buy_price_schedule == (
        PriceSchedule(days=(0, 6), spans=(PriceSpan(start="00:00", end="06:00", price=0.2),)),
    )
    assert ess.sell_price_formula is None
    assert dynamic_ess.read_saved({"success": True}) is None


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


@pytest.mark.parametrize("name", ["settings"])
def test_an_answer_without_its_part(name):
    """A missing member is not taken for an empty one."""
    check_missing_part(ANSWERS[name])


@pytest.mark.parametrize(
    ("name", "payload", "noted"),
    [
        ("settings", {"data": {"isOn": "perhaps"}}, ("DynamicEssSettings", "is_on", "str instead of bool")),
    ],
)
def test_drift_is_counted(name, payload, noted):
    """One bad record or field is counted and the rest is read; a strict client raises."""
    check_drift(ANSWERS[name], payload, noted)
