"""`client.diagnostics()`: one JSON document that helps and reveals nothing; clients with a given session."""

from __future__ import annotations

import json

import aiohttp
import pytest

from energy_core import Kind, Quantity, SessionPool, State, merge
from energy_live.simulator.faults import answer
from tests.servers.archive_run import household
from voltstorage_async import VoltStorageClient
from vrm_async import VRMClient


@pytest.fixture
async def sim():
    async with household(speed=60.0) as running:
        yield running


def failed(event):
    return event.kind is Kind.STATUS and bool(event.detail.reason)


async def first(events, quantity):
    return await anext(event async for event in events if quantity in event.values)


async def test_one_document_for_each_client(sim):
    """Pool, sources, drift and versions of a client that is in use; it is JSON."""
    async with SessionPool() as pool:
        vrm = VRMClient(pool, token=sim.vrm_token, base_url=sim.vrm_url)
        volt = VoltStorageClient(
            pool, email=sim.volt_email, password=sim.volt_password, base_url=sim.voltstorage_url
        )
        async with merge(vrm.live(*sim.site_ids, interval_s=0.2), volt.live(sim.product_ids[0])) as events:
            await first(events, Quantity.BATTERY_SOC)
            vrm.drift.note("Site", "newMember", "unknown")
            documents = [json.loads(json.dumps(client.diagnostics(events))) for client in (vrm, volt)]
        await volt.aclose()
    for document, vendor in zip(documents, ("vrm", "voltstorage"), strict=True):
        assert document["vendor"] == vendor
        assert {"python", "aiohttp", "json", "energy-live"} <= document["versions"].keys()
        assert [account["account"] for account in document["pool"]["accounts"]] == [1, 2]
        assert document["pool"]["sent"] >= 2
        assert document["sources"]
        assert {one["state"] for one in document["sources"]} <= {state.value for state in State}
    assert documents[0]["drift"] == [
        {"model": "Site", "field": "newMember", "problem": "unknown", "count": 1}
    ]
    assert sum(one["readings"] for document in documents for one in document["sources"]) >= 1


async def test_nothing_private_is_in_it(sim):
    """No secret, e-mail address, account name, site, product, or text of a server."""
    said = 'Alex\'s "home" is c0619ab10001, alex@example.com'
    refusal = answer(401, json.dumps({"success": False, "errors": said}))
    sim.faults.add(refusal, path="*", times=None)
    async with (
        VRMClient(token=sim.vrm_token, account="holiday-home", base_url=sim.vrm_url) as vrm,
        merge(vrm.live(*sim.site_ids, interval_s=0.1)) as events,
    ):
        await anext(event async for event in events if failed(event))
        vrm.drift.note("Site", "alex@example.com", "151001 instead of 'Alex Meijer'")
        text = json.dumps(vrm.diagnostics(events))
    private = [sim.vrm_token, "Alex", "alex", "Meijer", "holiday-home", "c0619ab10001", "@"]
    private += map(str, (*sim.site_ids, sim.vrm_user_id))
    assert [one for one in private if one in text] == []
    assert '"state": "disconnected"' in text


async def test_without_a_stream_there_are_no_sources(sim):
    """The document of a client that has sent nothing."""
    async with VoltStorageClient(token="a.b.c", base_url=sim.voltstorage_url) as volt:
        found = volt.diagnostics()
    assert (found["sources"], found["pool"]["sent"], found["clock_offset_s"]) == ([], 0, None)


async def test_a_given_session_is_used_and_never_closed(sim):
    """Both clients send through the session that they were given, and closing them leaves it open."""
    async with aiohttp.ClientSession(headers={"User-Agent": "home-assistant"}) as session:
        async with (
            VRMClient(session=session, token=sim.vrm_token, base_url=sim.vrm_url) as vrm,
            VoltStorageClient(
                session=session,
                email=sim.volt_email,
                password=sim.volt_password,
                base_url=sim.voltstorage_url,
            ) as volt,
        ):
            assert (await vrm.users.me()).id == sim.vrm_user_id
            assert [product.id async for product in volt.products.list()] == list(sim.product_ids)
        assert not session.closed
        async with session.get(f"{sim.vrm_url}auth/loginAsDemo") as response:
            assert response.status == 200
        assert session.connector is not None
        assert not session.connector.closed


@pytest.mark.parametrize("client", [VRMClient, VoltStorageClient])
async def test_a_pool_has_its_own_session(client):
    """A pool and a session exclude each other."""
    async with aiohttp.ClientSession() as session, SessionPool() as pool:
        with pytest.raises(ValueError, match=r"SessionPool\(session\)"):
            client(pool, session=session, token="a.b.c")
