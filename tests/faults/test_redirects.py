from __future__ import annotations

import pytest

from energy_core.errors import UnexpectedRedirect
from tests.faults.conftest import Connect, Serve
from tests.servers.fault_server import always, answer
from tests.servers.invented_vendor import CREATE, READ, SENTINEL, as_it_is

TARGETS = {
    "same origin": "{origin}/v2/over-there",
    "relative": "/v2/over-there",
    "http to https": "https://127.0.0.1:{port}/v2/over-there",
    "other host": "http://localhost:{port}/v2/over-there",
    "other port": "http://127.0.0.1:{other_port}/v2/over-there",
    "user info": "http://someone:word@127.0.0.1:{other_port}/v2/over-there",
    "scheme-relative": "//127.0.0.1:{other_port}/v2/over-there",
    "websocket": "ws://127.0.0.1:{other_port}/v2/over-there",
    "nonsense": "http://[::1/",
    "secret in it": "{origin}/v2/over-there?token=" + SENTINEL,
}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirect_is_not_followed(serve: Serve, connect: Connect, status: int, target: str) -> None:
    """Any redirect is one typed error that does not repeat its target, and nothing else is sent."""
    elsewhere = await serve(always(answer()))

    def script(_request: object, _number: int):
        location = TARGETS[target].format(origin=server.origin, port=server.port, other_port=elsewhere.port)
        return answer(status, headers=[("Location", location)])

    server = await serve(script)
    client = connect(server)
    with pytest.raises(UnexpectedRedirect) as caught:
        await client.call(READ, as_it_is, id=7)
    with pytest.raises(UnexpectedRedirect):
        await client.call(CREATE, as_it_is, json={"name": "x"})
    assert caught.value.status == status
    assert "over-there" not in str(caught.value)
    assert SENTINEL not in repr(vars(caught.value))
    assert len(server.requests) == 2
    assert elsewhere.requests == []
    assert elsewhere.connections == 0
