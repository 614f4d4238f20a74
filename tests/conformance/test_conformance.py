"""Every operation of `vrm_async` against a mock of VRM's own OpenAPI document: `nox -s conformance`."""

import json
import os
import warnings
from pathlib import Path

import pytest

from energy_core import RateLimit, SessionPool
from energy_core.errors import EnergyError
from tests.conformance.answers import count_of, filled
from tests.conformance.calls import CALLS, Call, declared
from tests.conformance.document import mend, read
from tests.conformance.exceptions import EXEMPTIONS
from tests.conformance.relay import Exchange, Relay, mocking
from vrm_async import VRMClient
from vrm_async.resources.widgets import STATES, SUMMARIES

LIMIT = RateLimit(10_000, 10_000.0, 6)


def test_every_operation_is_driven():
    """Every declared operation has a call, and every call has a declared operation."""
    assert {call.operation for call in CALLS} == {operation.name for operation in declared()}
    assert {call.variant for call in CALLS if call.operation == "widgets"} >= {*STATES, *SUMMARIES}
    assert len({call.name for call in CALLS}) == len(CALLS)


def test_every_exemption_has_a_reason():
    """Every exception matches a call."""
    for exemption in EXEMPTIONS:
        assert len(exemption.reason) > 10
        assert any(exemption.covers(call.name, exemption.fault) for call in CALLS)


def test_a_schema_that_prism_would_skip_is_mended():
    """The corrected document has valid `required` lists and array types."""
    schema = {
        "type": "object",
        "properties": {
            "tag": {"type": "string", "required": True},
            "values": {"type": "list", "required": False},
            "inner": {
                "type": "object",
                "properties": {"required": {"type": "string"}},
                "required": ["required"],
            },
        },
    }
    mend({"paths": [schema]})
    assert schema == {
        "type": "object",
        "required": ["tag"],
        "properties": {
            "tag": {"type": "string"},
            "values": {"type": "array"},
            "inner": {
                "type": "object",
                "properties": {"required": {"type": "string"}},
                "required": ["required"],
            },
        },
    }


@pytest.mark.parametrize(
    ("status", "violations", "body", "refusals"),
    [
        (200, [], b"{}", []),
        (200, ["response.body: wrong"], b"{}", []),
        (422, ["request.query.type: wrong"], b'{"success":true}', ["request.query.type: wrong"]),
        (
            404,
            [],
            b'{"type":"https://stoplight.io/prism/errors#NO_PATH_MATCHED_ERROR"}',
            ["no path: PUT a/b"],
        ),
        (422, [], b'{"validation":[{"location":["body","x"],"message":"wrong"}]}', ["request.body.x: wrong"]),
        (415, [], b"no", ["status 415: b'no'"]),
    ],
)
def test_what_the_document_refuses(status, violations, body, refusals):
    """Violations are read from a header, from an error answer of Prism, or from the status alone."""
    exchange = Exchange("PUT", "a/b", (), b"", status, tuple(violations), body)
    assert list(exchange.refusals) == refusals


def _client(call: Call, relay: Relay, pool: SessionPool) -> VRMClient:
    means = {"token": "t" * 64}
    if call.login:
        means = {"username": "anna@example.com", "password": "pass"}
    if call.operation == "auth.login_as_demo":
        means = {"demo": True}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return VRMClient(pool, base_url=relay.url, limit=LIMIT, **means)


async def _faults(call: Call, relay: Relay, folder: Path) -> list[str]:
    """Make one call; return the violations of the document, and the records that the client lost."""
    async with SessionPool(attempts=1) as pool:
        vrm = _client(call, relay, pool)
        if not call.login:
            await vrm.users.id()
        relay.seen.clear()
        found = []
        try:
            result = await call.run(vrm, folder)
        except EnergyError as error:
            found.append(f"error: {type(error).__name__}: {error.args[0]}")
        else:
            count = count_of(call.name)
            if count is not None:
                sent, returned = count.sent(relay.seen[-1].answer), count.returned(result)
                if sent != returned or not sent:
                    found.append(f"records: {returned} of {sent}")
        drift = [f"drift: {'.'.join(where)}: {n}" for where, n in vrm.drift.counts.items()]
    return [*(said for exchange in relay.seen for said in exchange.refusals), *found, *drift]


@pytest.fixture
def mock(tmp_path):
    """The paths of Prism and the document."""
    document, prism = Path(os.environ.get("VRM_OPENAPI", "")), os.environ.get("PRISM", "")
    if not (document.is_file() and prism):
        pytest.skip("nox -s conformance runs this, with VRM_OPENAPI naming VRM's OpenAPI document")
    copy = tmp_path / "vrm-openapi.json"
    copy.write_text(json.dumps(read(document)))
    return prism, copy


async def test_requests_are_accepted_and_no_record_is_lost(mock, tmp_path):
    """The document accepts each request, and each answer is returned completely, but for exceptions."""
    prism, document = mock
    wrong, needed = [], set()
    async with mocking(prism, document, filled) as relay:
        for call in CALLS:
            for fault in await _faults(call, relay, tmp_path):
                exempt = [each for each in EXEMPTIONS if each.covers(call.name, fault)]
                needed.update(exempt)
                wrong += [] if exempt else [f"{call.name}: {fault}"]
    unneeded = [f"not needed: {each}" for each in EXEMPTIONS if each not in needed]
    assert [*wrong, *unneeded] == []
