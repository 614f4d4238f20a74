"""The InfluxDB output: addresses, credentials, and what a server may answer. tests/real has the real ones."""

import gzip
from datetime import UTC, datetime

import pytest

from energy_core import Checkpoint, Event, Kind, Quantity, Secret, SessionPool, SourceId
from energy_live.outputs.influx import InfluxConfig, InfluxOutput, LineProtocol
from energy_live.outputs.output import OutputError
from tests.servers.fault_server import FaultServer, answer

NOON = datetime(2026, 6, 1, 12, 0, 0, 5, tzinfo=UTC)
TOKEN = "a-token-that-is-long-and-secret-1234"


def reading(value=1.0, **changes):
    site = SourceId("vrm", "me", "7", 0)
    one = Event(site, Kind.READING, f"{site}/reading", NOON, NOON, 1, "7/0/1", {Quantity.PV_POWER: value})
    return one._replace(**changes)


async def written(server, query="db=home", batch=None, **credential):
    config = InfluxConfig.from_url(f"influx+{server.origin}/?{query}", **credential)
    async with SessionPool(random=lambda: 0.0) as pool:  # its retries do not wait
        output = InfluxOutput(config, pool=pool)
        await output.open()
        return await output.write(batch or [reading()], Checkpoint())


def once(*answers):
    """The given answers to the writes, 204 to the empty write that opens the output and to the rest."""

    def script(_request, number):
        return answers[number - 1] if 1 <= number <= len(answers) else answer(204)

    return script


@pytest.mark.parametrize(
    ("query", "target", "scheme"),
    [
        ("db=home", "/write?db=home&precision=u", "Token"),
        ("db=my home&rp=one", "/write?db=my+home&rp=one&precision=u", "Token"),
        ("org=me&bucket=b", "/api/v2/write?org=me&bucket=b&precision=us", "Token"),
        ("db=home&api=3", "/api/v3/write_lp?db=home&precision=microsecond", "Bearer"),
    ],
)
async def test_the_addresses_of_each_version(query, target, scheme):
    """Path, names, precision and scheme of the credential are those of the version; the body is gzip."""
    async with FaultServer(once()) as server:
        assert await written(server, query.replace(" ", "%20"), token=Secret(TOKEN)) == []
    opened, wrote = server.requests
    assert {(each.method, each.target) for each in server.requests} == {("POST", target)}
    assert wrote.headers["authorization"] == f"{scheme} {TOKEN}"
    assert wrote.headers["content-encoding"] == "gzip"
    line = "energy,vendor=vrm,site=7,instance=0 pv_power=1.0 1780315200000006\n"
    assert gzip.decompress(wrote.body).decode() == line
    assert gzip.decompress(opened.body) == b""


async def test_a_user_and_a_password():
    """They are sent as Basic authorization."""
    async with FaultServer(once()) as server:
        await written(server, user="me", password=Secret("päss"))
    assert server.requests[-1].headers["authorization"] == "Basic bWU6cMOkc3M="


@pytest.mark.parametrize(
    "url",
    [
        "influx+ftp://host/?db=a",
        "influx+http://host/",
        "influx+http://host/?db=",
        "influx+http://host/?db=a&bucket=b",
        "influx+http://host/?db=a&api=4",
        "influx+http://host/?db=a&colour=red",
        "influx+http://me:secret@host/?db=a",
        "influx+http://host/?db",
        "influx+http://host/?secret",
        "influx+http:///?db=a",
    ],
)
def test_an_address_that_is_wrong(url):
    """It is a ValueError that does not repeat the address."""
    with pytest.raises(ValueError, match="InfluxDB") as caught:
        InfluxConfig.from_url(url)
    assert "secret" not in str(caught.value)


async def test_the_credential_is_sent_nowhere_else():
    """A redirect is an error; the credential is in no message and no repr."""
    async with FaultServer(once()) as elsewhere:
        location = f"{elsewhere.origin}/write"
        async with FaultServer(once(answer(307, headers=[("Location", location)]))) as server:
            with pytest.raises(OutputError, match="redirect") as caught:
                await written(server, token=Secret(TOKEN))
    assert elsewhere.connections == 0
    assert TOKEN not in repr(caught.value) + repr(
        InfluxConfig.from_url("influx+http://a/?db=b", token=Secret(TOKEN))
    )


async def test_a_server_that_repeats_the_credential():
    """What it says is quoted without it."""
    body = b'{"error": "%s is not allowed to do that"}' % TOKEN.encode()
    async with FaultServer(once(answer(409, body, headers=[("Content-Type", "application/json")]))) as server:
        with pytest.raises(OutputError, match="is not allowed to do that") as caught:
            await written(server, token=Secret(TOKEN))
    assert TOKEN not in str(caught.value)


async def test_retry_after_is_obeyed():
    """A short one is waited for by the pool, a long one is the output's."""
    busy = [answer(503, headers=[("Retry-After", "0")]), answer(429, headers=[("Retry-After", "0")])]
    async with FaultServer(once(*busy)) as server:
        assert await written(server) == []
    assert len(server.requests) == 4
    async with FaultServer(once(answer(429, headers=[("Retry-After", "3000")]))) as server:
        with pytest.raises(OutputError) as caught:
            await written(server)
    assert not caught.value.permanent
    assert 2990 <= caught.value.retry_after <= 3000


@pytest.mark.parametrize(
    ("status", "permanent"), [(401, True), (403, True), (404, True), (409, True), (500, False), (501, False)]
)
async def test_a_refusal_of_the_whole_batch(status, permanent):
    """It is an error with one line; only the user can help with some of them."""
    async with FaultServer(lambda _request, number: answer(status if number else 204)) as server:
        with pytest.raises(OutputError) as caught:
            await written(server)
    assert caught.value.permanent is permanent
    assert "\n" not in str(caught.value)


async def test_a_batch_that_is_too_large_is_cut():
    """413 is answered with halves; one line that is still too large is set aside."""
    batch = [reading(time=NOON.replace(second=second)) for second in range(8)]

    def script(request, _number):
        return answer(413 if len(gzip.decompress(request.body).splitlines()) > 3 else 204)

    async with FaultServer(script) as server:
        assert await written(server, batch=batch) == []
    sizes = [len(gzip.decompress(each.body).splitlines()) for each in server.requests]
    assert sizes == [0, 8, 4, 2, 2, 4, 2, 2]
    async with FaultServer(lambda _request, number: answer(413 if number else 204)) as server:
        (refused,) = await written(server)
    assert (refused.event, refused.reason) == (reading(), "InfluxDB refused the line")


def test_an_event_without_values_has_no_line():
    """Nothing is written for it."""
    assert LineProtocol().line(reading(values={})) is None
