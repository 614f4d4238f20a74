"""The simulated VoltStorage against its document: login, products, statistics, export, events."""

from __future__ import annotations

import asyncio
import base64
import csv
import io
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest
import websockets

from energy_core.clock import SystemClock
from energy_live.simulator import Simulator

NOON = datetime(2025, 6, 20, 11, 0, 30, tzinfo=UTC)
DAY = 86_400


class Caller:
    """An HTTP client with one token."""

    def __init__(self, sim: Simulator, session: aiohttp.ClientSession, token: str) -> None:
        self.sim = sim
        self.session = session
        self.token = token

    async def ask(self, path: str, **query: str | float) -> tuple[int, object]:
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        params = {name: str(value) for name, value in query.items()}
        async with self.session.get(
            self.sim.voltstorage_url + path, headers=headers, params=params
        ) as response:
            return response.status, await response.json()

    async def get(self, path: str, **query: str | float) -> object:
        status, body = await self.ask(path, **query)
        assert status == 200, body
        return body

    async def text(self, path: str, **query: str | float) -> str:
        headers = {"Authorization": f"Bearer {self.token}"}
        params = {name: str(value) for name, value in query.items()}
        async with self.session.get(
            self.sim.voltstorage_url + path, headers=headers, params=params
        ) as response:
            assert response.status == 200
            return await response.text()

    async def login(self, **more: object) -> tuple[int, dict]:
        body = {"email": self.sim.volt_email, "password": self.sim.volt_password, **more}
        async with self.session.post(self.sim.voltstorage_url + "login/password", json=body) as response:
            return response.status, await response.json()


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    async with Simulator(start=NOON, speed=60.0, frame_s=0.02) as running:
        yield running


@pytest.fixture
async def volt(sim: Simulator) -> AsyncIterator[Caller]:
    async with aiohttp.ClientSession() as session:
        yield Caller(sim, session, sim.volt_token())


def claims(token: str) -> dict:
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


async def test_login_gives_a_json_web_token_of_the_asked_validity(volt):
    """The token is a JWT with `iat` and `exp`, and gives access to the list of products."""
    status, granted = await volt.login(validity=3600)
    assert status == 200
    said = claims(granted["token"])
    assert said["exp"] - said["iat"] == 3600
    volt.token = granted["token"]
    assert len(await volt.get("products")) == len(volt.sim.product_ids)
    assert claims((await volt.login())[1]["token"])["exp"] - said["iat"] in {DAY, DAY + 1}
    assert volt.sim.counters["logins"] == 2


async def test_the_address_is_case_insensitive_and_the_password_is_not(volt):
    """The e-mail address is case-insensitive; a wrong password is answered 400."""
    assert (await volt.login(email=volt.sim.volt_email.upper()))[0] == 200
    status, body = await volt.login(password=volt.sim.volt_password.upper())
    assert (status, list(body)) == (400, ["errors"])
    assert volt.sim.counters["failed_logins"] == 1


@pytest.mark.parametrize(
    "more", [{"validity": -1}, {"validity": 31_622_401}, {"validity": "1"}, {"email": None}]
)
async def test_bad_login_parameters_are_400(volt, more):
    """A validity outside 0..31,622,400 or a missing address is answered 400."""
    assert (await volt.login(**more))[0] == 400


async def test_a_token_ends_with_its_validity(volt):
    """A token expires after its validity."""
    volt.token = (await volt.login(validity=0))[1]["token"]
    assert (await volt.ask("products"))[0] == 401


async def test_a_wrong_clock_shows_in_the_claims_of_tokens():
    """`skew_s` changes `iat` and `exp`; the token is valid."""
    async with Simulator(skew_s=-DAY) as sim, aiohttp.ClientSession() as session:
        volt = Caller(sim, session, "")
        volt.token = (await volt.login(validity=60))[1]["token"]
        assert claims(volt.token)["exp"] < SystemClock().utcnow().timestamp() - DAY / 2
        await volt.get("products")


@pytest.mark.parametrize("token", ["", "nonsense", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI0MSJ9.c2ln"])
async def test_a_missing_or_foreign_token_is_401(volt, token):
    """Every request except the login needs a valid token."""
    volt.token = token
    for path in ("products", "products/301/data/latest", "data/statistics", "data/export.csv"):
        status, body = await volt.ask(path)
        assert (status, list(body)) == (401, ["errors"])


async def test_the_token_may_be_in_the_query(volt):
    """The token may be in the query; the log does not contain it."""
    token, volt.token = volt.token, ""
    assert await volt.get("products", token=token)
    assert token not in repr(list(volt.sim.requests))
    assert volt.sim.requests[-1].scheme == "query"


async def test_all_tokens_can_be_invalidated(volt):
    """After `expire_tokens` every token is answered 401 until the next login."""
    volt.sim.expire_tokens()
    assert (await volt.ask("products"))[0] == 401
    volt.token = (await volt.login())[1]["token"]
    await volt.get("products")


async def test_products_have_the_documents_fields(volt):
    """Products have the documented members; one is offline, one was never installed."""
    products = await volt.get("products")
    working, silent, boxed = products
    assert working["online"] is True
    assert working["errors"] == []
    assert (silent["online"], silent["errors"]) == (False, ["connectionLost"])
    assert boxed["installationDate"] is None
    assert boxed["ownerName"] is None
    assert working["type"]["baseType"] == "storage"
    assert working["group"]["owner"]["demo"] is False
    assert working["createdAt"].endswith("Z")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"installationDate": "true"}, [301, 302]),
        ({"installationDate": "false"}, [303]),
        ({"q": "aa0302"}, [302]),
        ({"q": "SMART"}, [301, 302, 303]),
        ({"ids": "303"}, [303]),
        ({"ids": "301,303"}, [301, 303]),
        ({"groupId": "61"}, [301, 302, 303]),
        ({"groupId": "1"}, []),
        ({"ownerId": "42"}, []),
        ({"sort": "-id"}, [303, 302, 301]),
        ({"sort": "installationDate,-id"}, [301, 302, 303]),
        ({"sort": "-installationDate"}, [302, 301, 303]),
        ({"count": "2"}, [301, 302]),
        ({"count": "2", "page": "2"}, [303]),
        ({"count": "2", "page": "3"}, []),
        ({"sort": "-id", "count": "1", "page": "2", "installationDate": "true"}, [301]),
    ],
)
async def test_products_are_filtered_sorted_and_paged(volt, query, expected):
    """The documented parameters filter, sort and page the list."""
    assert [product["id"] for product in await volt.get("products", **query)] == expected


async def test_several_ids_may_be_repeated(volt):
    """`ids` may be repeated, with and without brackets."""
    for name in ("ids", "ids[]"):
        url = f"{volt.sim.voltstorage_url}products?{name}=301&{name}=302&token={volt.token}"
        async with volt.session.get(url) as response:
            assert [product["id"] for product in await response.json()] == [301, 302]


@pytest.mark.parametrize(
    "query",
    [
        {"count": "0"},
        {"page": "0"},
        {"page": "x"},
        {"groupId": "x"},
        {"installationDate": "maybe"},
        {"ids": "a"},
        {"sort": "nonsense"},
    ],
)
async def test_bad_parameters_are_400_with_a_sentence(volt, query):
    """A malformed parameter is answered 400 with a sentence that names it."""
    status, body = await volt.ask("products", **query)
    assert status == 400
    assert body["errors"][0]


async def test_the_latest_values_come_in_two_shapes(volt):
    """With `includeTime` the values have a time; without it there are only the values."""
    timed = await volt.get("products/301/data/latest", includeTime="true")
    flat = await volt.get("products/301/data/latest")
    assert set(timed) == {"time", "data"}
    assert set(timed["data"]) == set(flat)
    at = volt.sim.household(301).at(timed["time"])
    assert timed["data"]["pvPower"] == at.pv_w
    assert timed["data"]["batteryPower"] == -at.battery_w
    assert timed["data"]["dcCurrent"] == -at.current_a
    assert timed["data"]["soc"] == at.soc
    assert 0.0 < timed["data"]["soc"] <= 1.0


async def test_latest_values_of_offline_and_uninstalled_products(volt):
    """The latest values of an offline product are three days old; an uninstalled one has none."""
    silent = await volt.get("products/302/data/latest", includeTime="true")
    assert silent["time"] == int(NOON.timestamp()) - 3 * DAY
    assert await volt.get("products/303/data/latest") == {}
    assert await volt.get("products/303/data/latest", includeTime="true") == {"time": None, "data": {}}


@pytest.mark.parametrize("path", ["products/900/data/latest", "products/12345/data/latest"])
async def test_an_inaccessible_product_is_403(volt, path):
    """Other users' products and unknown products are answered 403."""
    assert (await volt.ask(path))[0] == 403


async def test_statistics_are_joules_and_ratios(volt):
    """Energies of a day are the household's kWh in joules; ratios are between 0 and 1."""
    home = volt.sim.household(301)
    day = home.day_of(NOON.timestamp()) - timedelta(days=2)
    begin, end = home.midnight(day), home.midnight(day + timedelta(days=1))
    periods = await volt.get(
        "data/statistics", productId=301, timespan="day", tstart=int(begin), tend=int(end)
    )
    assert [period["timespan_start"] for period in periods] == [begin]
    energy, period = home.energy(begin, end), periods[0]
    assert period["pv-total"] == pytest.approx(energy.pv * 3.6e6, abs=1)
    assert period["storage-total-stored"] == pytest.approx(energy.charged * 3.6e6, abs=1)
    assert period["own-consumption"]["nSamples"] == 1440
    assert period["self-sufficiency"]["totalWeight"] == period["consumption-total"]
    assert all(
        0.0 <= period[key]["value"] <= 1.0 for key in ("own-consumption", "self-sufficiency", "dc-efficiency")
    )


@pytest.mark.parametrize(
    ("timespan", "back", "count"),
    [("hour", 86_400, 25), ("day", 7 * DAY, 8), ("month", 60 * DAY, 3), ("year", 400 * DAY, 2)],
)
async def test_statistics_come_by_every_timespan(volt, timespan, back, count):
    """Periods begin at the product's local hours, days, months and years."""
    now = int(NOON.timestamp())
    periods = await volt.get("data/statistics", productId=301, timespan=timespan, tstart=now - back, tend=now)
    assert len(periods) == count
    local = [datetime.fromtimestamp(one["timespan_start"], volt.sim.household(301).zone) for one in periods]
    assert {one.minute for one in local} == {0}
    if timespan != "hour":
        assert {one.hour for one in local} == {0}


async def test_a_lifetime_is_one_period_from_the_installation_on(volt):
    """`lifetime` is one period from the installation on."""
    periods = await volt.get("data/statistics", productId=301, timespan="lifetime")
    assert len(periods) == 1
    assert datetime.fromtimestamp(periods[0]["timespan_start"], UTC).date().isoformat() == "2019-08-01"


async def test_a_period_without_samples_has_no_values(volt):
    """Days on which the product was offline have `nSamples` 0 and the value null."""
    now = int(NOON.timestamp())
    periods = await volt.get("data/statistics", productId=302, timespan="day", tstart=now - 5 * DAY, tend=now)
    assert [period["dc-capacity"]["nSamples"] > 0 for period in periods] == [
        True,
        True,
        True,
        False,
        False,
        False,
    ]
    assert periods[-1]["dc-capacity"] == {"nSamples": 0, "value": None}
    assert await volt.get("data/statistics", productId=303) == []


@pytest.mark.parametrize(
    "query", [{}, {"productId": 301, "timespan": "week"}, {"productId": 301, "tstart": "x"}]
)
async def test_bad_statistics_parameters_are_400(volt, query):
    """A missing product or an unknown timespan is answered 400."""
    assert (await volt.ask("data/statistics", **query))[0] == 400


async def test_csv_has_a_sep_line_a_header_and_sparse_rows(volt):
    """The first row has all values, later rows the changed ones; filled forward they are the household's."""
    start = NOON.timestamp() - 600
    text = await volt.text("data/export.csv", productId=301, **{"from": start, "to": start + 120})
    lines = text.split("\r\n")
    assert lines[0] == "sep=,"
    powers = "Power_Grid,Power_Household,inverterPower,Power_PV,Power_Power Electronics"
    assert lines[1] == f"Time,{powers},SOC_State of Charge,Status"
    assert lines[-1] == ""
    rows = list(csv.DictReader(io.StringIO("\n".join(lines[1:]))))
    assert all(rows[0].values())
    assert any("" in row.values() for row in rows[1:])
    assert 40 < len(rows) <= 120
    full: dict[str, str] = {}
    for row in rows:
        full |= {name: cell for name, cell in row.items() if cell}
    moment = datetime.fromisoformat(full["Time"])
    at = volt.sim.household(301).at(float(int(moment.timestamp())))
    assert (float(full["Power_Grid"]), float(full["Power_PV"])) == (at.grid_w, at.pv_w)
    assert float(full["inverterPower"]) == -at.battery_w
    assert moment.microsecond > 500_000


async def test_rows_do_not_depend_on_where_an_export_begins(volt):
    """Overlapping exports have the same rows, except the first row of the later one."""
    start = NOON.timestamp() - 900
    early = (await volt.text("data/export.csv", productId=301, **{"from": start, "to": start + 60})).split(
        "\r\n"
    )
    late = (
        await volt.text("data/export.csv", productId=301, **{"from": start + 30, "to": start + 60})
    ).split("\r\n")
    assert late[3:] == early[-len(late[3:]) :]


async def test_fields_offset_precision_and_separator(volt):
    """The export has the requested columns, offset, digits and separator."""
    query = {
        "from": NOON.timestamp() - 60,
        "to": NOON.timestamp() - 40,
        "tz": 120,
        "precision": 2,
        "separator": ";",
    }
    text = await volt.text("data/export.csv", productId=301, fields="Power_PV,SOC_State of Charge", **query)
    lines = text.split("\r\n")
    assert lines[:2] == ["sep=;", "Time;Power_PV;SOC_State of Charge"]
    time, power, soc = lines[2].split(";")
    assert time.endswith("+02:00")
    assert datetime.fromisoformat(time).timestamp() == pytest.approx(NOON.timestamp() - 60, abs=2)
    assert float(power) % 100 == 0
    assert len(soc) <= 4


async def test_the_separator_fault_of_2021_can_be_switched_on(volt):
    """The header has the requested separator, rows have commas and times that end in `Z`."""
    volt.sim.faults.separator_fault = True
    query = {"from": NOON.timestamp() - 60, "separator": ";"}
    lines = (await volt.text("data/export.csv", productId=301, **query)).split("\r\n")
    assert lines[0] == "sep=;"
    assert lines[1].startswith("Time;Power_Grid;")
    assert ";" not in lines[2]
    assert lines[2].split(",")[0].endswith("Z")


async def test_exports_from_before_2021_have_no_status_column(volt):
    """An export that starts before 2021 has no column `Status`."""
    start = datetime(2020, 3, 25, 12, tzinfo=UTC).timestamp()
    text = await volt.text("data/export.csv", productId=301, **{"from": start, "to": start + 5})
    assert text.split("\r\n")[1].endswith("SOC_State of Charge")


async def test_tolerance_makes_an_export_shorter(volt):
    """A tolerance omits small changes."""
    query = {"from": NOON.timestamp() - 600, "to": NOON.timestamp() - 300}
    exact = await volt.text("data/export.csv", productId=301, **query)
    rough = await volt.text("data/export.csv", productId=301, tolerance=0.2, **query)
    assert len(rough) < len(exact) / 2


async def test_json_holds_the_same_cells_as_csv(volt):
    """The JSON export has the cells of the CSV export."""
    query = {"from": NOON.timestamp() - 60, "to": NOON.timestamp() - 30}
    rows = json.loads(await volt.text("data/export.json", productId=301, **query))
    lines = (await volt.text("data/export.csv", productId=301, **query)).split("\r\n")[2:-1]
    assert [row["Time"] for row in rows] == [line.split(",")[0] for line in lines]
    assert [len(row) for row in rows] == [len([cell for cell in line.split(",") if cell]) for line in lines]


async def test_a_component_is_exported_like_its_product(volt):
    """`componentId` may replace `productId`."""
    query = {"from": NOON.timestamp() - 60, "to": NOON.timestamp() - 50}
    assert await volt.text("data/export.csv", componentId=3011, **query) == await volt.text(
        "data/export.csv", productId=301, **query
    )


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"productId": 301},
        {"from": 1_700_000_000},
        {"productId": 301, "componentId": 3011, "from": 1_700_000_000},
        {"productId": 301, "from": 4_000_000_000},
        {"productId": 301, "from": "nan"},
        {"productId": 301, "from": 1_700_000_000, "to": 1_600_000_000},
        {"productId": 301, "from": 1_700_000_000, "to": 1_700_000_001, "fields": "nonsense"},
    ],
)
async def test_bad_export_parameters_are_400(volt, query):
    """A missing product or start, a start in the future and unknown fields are answered 400."""
    assert (await volt.ask("data/export.csv", **query))[0] == 400


async def test_events_have_changed_values(volt):
    """The first frame has all values, later frames those that changed; merged, they are the household's."""
    url = f"{volt.sim.events_url}?productId=301&token={volt.token}"
    state: dict[str, float] = {}
    frames = []
    async with websockets.connect(url) as link:
        for _ in range(8):
            frame = json.loads(await link.recv())
            assert (frame["type"], type(frame["time"])) == ("latest-data", int)
            frames.append(frame)
            state |= frame["data"]
            at = volt.sim.household(301).at(frame["time"])
            assert state["gridPower"] + state["pvPower"] + state["batteryPower"] == state["consumption"]
            assert (state["pvPower"], state["dcVoltage"]) == (at.pv_w, at.voltage_v)
    assert len(frames[0]["data"]) == 8
    assert min(len(frame["data"]) for frame in frames) < 8
    times = [frame["time"] for frame in frames]
    assert times == sorted(set(times))
    assert [(sent.time, sent.data) for sent in volt.sim.frames][:8] == [
        (one["time"], one["data"]) for one in frames
    ]


async def test_two_connections_get_the_same_frames(volt):
    """Two connections of one product get the same frames."""
    url = f"{volt.sim.events_url}?productId=301&token={volt.token}"
    async with websockets.connect(url) as one, websockets.connect(url) as two:
        await one.recv()
        second = [json.loads(await two.recv()) for _ in range(4)][1:]
        first: dict[int, dict] = {}
        while second[-1]["time"] not in first:
            frame = json.loads(await one.recv())
            first[frame["time"]] = frame["data"]
    assert [first[frame["time"]] for frame in second] == [frame["data"] for frame in second]


async def test_an_offline_product_sends_no_frames(volt):
    """An offline product sends no frames; pings are answered."""
    url = f"{volt.sim.events_url}?productId=302&token={volt.token}"
    async with websockets.connect(url) as link:
        await (await link.ping())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await link.recv()


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("productId=301", 401),
        ("productId=301&token=nonsense", 401),
        ("token={token}", 400),
        ("productId=x&token={token}", 400),
        ("productId=900&token={token}", 403),
    ],
)
async def test_a_refused_handshake_has_the_documents_status(volt, query, status):
    """A handshake without a valid token is answered 401, without a product 400, with another user's 403."""
    with pytest.raises(websockets.InvalidStatus) as refused:
        async with websockets.connect(f"{volt.sim.events_url}?{query.format(token=volt.token)}"):
            pass
    assert refused.value.response.status_code == status


async def test_the_token_may_be_in_the_header_of_the_handshake(volt):
    """The token may be in the Authorization header of the handshake."""
    headers = {"Authorization": f"Bearer {volt.token}"}
    async with websockets.connect(f"{volt.sim.events_url}?productId=301", additional_headers=headers) as link:
        assert json.loads(await link.recv())["type"] == "latest-data"


async def test_a_stop_closes_open_connections():
    """When the simulator stops, open connections are closed with 1001."""
    async with Simulator(frame_s=0.02) as sim:
        link = await websockets.connect(f"{sim.events_url}?productId=301&token={sim.volt_token()}")
        await link.recv()
    await link.wait_closed()
    assert link.close_code == 1001
