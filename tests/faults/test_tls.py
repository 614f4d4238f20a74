from __future__ import annotations

import socket
import ssl
from datetime import UTC, datetime

import pytest
import trustme

from energy_core.errors import ConnectError, TLSVerificationError
from energy_core.http.pool import SessionPool
from energy_core.http.response import Timeouts
from tests.faults.conftest import Connect, Serve
from tests.servers.fault_server import always, answer
from tests.servers.invented_vendor import READ, REVOKE, as_it_is

LONG_AGO = datetime(2001, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trusting(authority: trustme.CA) -> ssl.SSLContext:
    """A client context that trusts the test authority and is otherwise the default."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def served_by(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


async def test_trusted_certificate(
    serve: Serve, connect: Connect, authority: trustme.CA, trusting: ssl.SSLContext
) -> None:
    """A server with a certificate of a trusted authority for its name is accepted, with TLS 1.2 or later."""
    server = await serve(always(answer()), tls=served_by(authority.issue_cert("127.0.0.1")))
    assert await connect(server, ssl_context=trusting).call(READ, as_it_is, id=7) == {"success": True}
    assert ssl.create_default_context().minimum_version >= ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize("fault", ["untrusted authority", "wrong host", "expired", "self-signed"])
async def test_bad_certificate_is_never_tried_again(
    serve: Serve, connect: Connect, authority: trustme.CA, trusting: ssl.SSLContext, fault: str
) -> None:
    """A certificate that cannot be trusted ends the call at its first connection; no request is sent."""
    certificates = {
        "untrusted authority": lambda: trustme.CA().issue_cert("127.0.0.1"),
        "wrong host": lambda: authority.issue_cert("somebody-else.example"),
        "expired": lambda: authority.issue_cert("127.0.0.1", not_before=LONG_AGO, not_after=LONG_AGO),
        "self-signed": lambda: trustme.CA(organization_name="itself").issue_cert("127.0.0.1"),
    }
    context = served_by(certificates[fault]())
    handshakes: list[object] = []
    context.sni_callback = lambda _socket, name, _context: handshakes.append(name)
    server = await serve(always(answer()), tls=context)
    with pytest.raises(TLSVerificationError) as caught:
        await connect(server, ssl_context=trusting).call(READ, as_it_is, id=7)
    assert caught.value.kind == "tls"
    assert caught.value.attempts == 1
    assert "cannot be trusted" in str(caught.value)
    assert len(handshakes) == 1
    assert server.requests == []


async def test_default_context_verifies(serve: Serve, connect: Connect, authority: trustme.CA) -> None:
    """Without an own context the system's authorities count, and the test authority is none of them."""
    server = await serve(always(answer()), tls=served_by(authority.issue_cert("127.0.0.1")))
    with pytest.raises(TLSVerificationError):
        await connect(server).call(READ, as_it_is, id=7)
    assert server.requests == []


async def test_plain_http_on_the_port(serve: Serve, connect: Connect) -> None:
    """A server without TLS is a ConnectError, and the request with its token is never sent."""
    server = await serve(always(answer()))
    with pytest.raises(ConnectError) as caught:
        await connect(server, url=f"https://127.0.0.1:{server.port}/v2/").call(READ, as_it_is, id=7)
    assert caught.value.kind in {"tls", "unreachable"}
    assert server.requests == []


async def test_old_tls_is_refused(
    serve: Serve, connect: Connect, authority: trustme.CA, trusting: ssl.SSLContext
) -> None:
    """A server that offers TLS 1.1 at most is a ConnectError."""
    context = served_by(authority.issue_cert("127.0.0.1"))
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    server = await serve(always(answer()), tls=context)
    with pytest.raises(ConnectError):
        await connect(server, ssl_context=trusting).call(READ, as_it_is, id=7)
    assert server.requests == []


@pytest.mark.parametrize("off", [False, True, 0])
def test_verification_has_no_switch(off: object) -> None:
    """Verification cannot be turned off by a flag, only replaced by a context of the caller's."""
    with pytest.raises(TypeError, match="ssl_context"):
        SessionPool(ssl_context=off)  # type: ignore[arg-type]


async def test_handshake_without_answer_is_a_timeout(serve: Serve, connect: Connect) -> None:
    """A server that never answers the TLS hello is a ConnectError after the connect timeout."""
    server = await serve(always(answer()))
    with socket.create_server(("127.0.0.1", 0)) as unanswered:
        url = f"https://127.0.0.1:{unanswered.getsockname()[1]}/"
        client = connect(server, url=url, timeouts=Timeouts(connect_s=0.1), attempts=2)
        with pytest.raises(ConnectError) as caught:
            await client.call(REVOKE, as_it_is, id=7)
        assert (caught.value.kind, caught.value.attempts) == ("timeout", 1)
        with pytest.raises(ConnectError) as caught:
            await client.call(READ, as_it_is, id=7)
        assert (caught.value.kind, caught.value.attempts) == ("timeout", 2)
