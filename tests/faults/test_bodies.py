from __future__ import annotations

import gzip
import tracemalloc
import zlib
from collections.abc import Iterable

import pytest
from attrs import evolve

from energy_core.errors import (
    BodyTooLarge,
    ConnectionLost,
    DeadlineExceeded,
    DecodeError,
    NotFound,
    OutcomeUnknown,
    RequestError,
)
from energy_core.http.body import Body
from energy_core.http.operation import MIB
from energy_core.http.response import Timeouts
from tests.faults.conftest import Connect, Serve, promptly
from tests.servers.fault_server import CLOCK, Act, always, answer, drip, head, in_turn, raw, reset
from tests.servers.invented_vendor import FAST, READ, REVOKE, as_it_is

JSON_TYPE = ("Content-Type", "application/json")
SMALL_LIMIT = evolve(READ, body_limit=1000)

WRONG = {
    "truncated": (b'{"a": [1, 2', "application/json", "json"),
    "html": (b"<!DOCTYPE html><html><body>Sorry</body></html>", "text/html", "html"),
    "html that says it is JSON": (b"<html></html>", "application/json", "html"),
    "empty": (b"", "application/json", "empty"),
    "byte order mark": (b"\xef\xbb\xbf{}", "application/json", None),
    "not UTF-8": (b'{"a": "\xff\xfe"}', "application/json", "encoding"),
    "NaN": (b'{"a": NaN}', "application/json", "number"),
    "infinite": (b'{"a": 1e999}', "application/json", "number"),
    "long integer": (b'{"a": 18446744073709551616}', "application/json", "number"),
    "too deep": (b"[" * 1000 + b"]" * 1000, "application/json", "depth"),
    "lone surrogate": (b'{"a": "\\ud800"}', "application/json", None),
    "plain text": (b"OK", "text/plain", "json"),
}


@pytest.mark.parametrize("fault", WRONG)
async def test_wrong_body(serve: Serve, connect: Connect, fault: str) -> None:
    """A body that cannot be read is one DecodeError with kind, status, size and type; never half a result."""
    body, content_type, kind = WRONG[fault]
    server = await serve(always(answer(200, body, content_type=content_type)))
    with pytest.raises(DecodeError) as caught:
        await connect(server).call(READ, as_it_is, id=7)
    error = caught.value
    assert kind is None or error.kind == kind
    assert (error.vendor, error.operation, error.status) == ("acme", "things.get", 200)
    assert (error.content_type, error.size) == (content_type, len(body))
    assert len(server.requests) == (2 if error.kind == "html" else 1)


async def test_html_page_with_200_is_requested_once_more(serve: Serve, connect: Connect) -> None:
    """An idempotent operation is repeated once if a proxy's page came instead of an answer."""
    page = answer(200, "<html>be right back</html>", content_type="text/html")
    server = await serve(in_turn(page, answer(json_body=[1])))
    assert await connect(server).call(READ, as_it_is, id=7) == [1]
    server = await serve(in_turn(page, answer(json_body=[1])))
    with pytest.raises(DecodeError):
        await connect(server).call(REVOKE, as_it_is, id=7)
    assert len(server.requests) == 1


@pytest.mark.parametrize(("after", "attempts"), [(answer(404), 2), (answer(503), 4), (reset(), 4)])
async def test_attempts_after_an_html_page_count_it_too(
    serve: Serve, connect: Connect, after: Act, attempts: int
) -> None:
    """Whatever the outcome of the second request, the error counts all requests of the call."""
    server = await serve(in_turn(answer(200, "<html>", content_type="text/html"), after, after, after))
    with pytest.raises(RequestError) as caught:
        await connect(server).call(READ, as_it_is, id=7)
    assert caught.value.attempts == len(server.requests) == attempts


@pytest.mark.parametrize("status", [404, 502])
async def test_error_page_does_not_hide_the_status(serve: Serve, connect: Connect, status: int) -> None:
    """An error status counts whatever its body is: HTML, truncated, too large or badly compressed."""
    bodies = [
        raw(head(status, [("Content-Type", "text/html")], length=6) + b"<html>"),
        raw(head(status, length=100) + b"short"),
        raw(head(status, [("Content-Encoding", "gzip")], length=9) + b"not gzip!"),
        raw(head(status, length=2 * 10**9) + b"x"),
    ]
    for body in bodies:
        server = await serve(always(body))
        with pytest.raises(NotFound if status == 404 else Exception) as caught:
            await connect(server).call(SMALL_LIMIT, as_it_is, id=7)
        assert caught.value.status == status  # type: ignore[attr-defined]


@pytest.mark.parametrize("extra", [0, 1])
@pytest.mark.parametrize("how", ["length", "chunked", "until close", "gzip", "deflate", "raw deflate"])
async def test_body_limit_counts_decompressed_bytes(
    serve: Serve, connect: Connect, how: str, extra: int
) -> None:
    """A body of exactly the limit is accepted, one byte more is BodyTooLarge, in every transfer encoding."""
    text = b'"' + b"0123456789" * 99 + b'12345678"' + b" " * extra
    assert len(text) == SMALL_LIMIT.body_limit + extra
    server = await serve(always(raw(transferred(text, how))))
    client = connect(server)
    if not extra:
        assert isinstance(await client.call(SMALL_LIMIT, as_it_is, id=7), str)
        return
    with pytest.raises(BodyTooLarge) as caught:
        await client.call(SMALL_LIMIT, as_it_is, id=7)
    assert caught.value.status == 200
    assert len(server.requests) == 1


def transferred(body: bytes, how: str) -> bytes:
    if how == "chunked":
        pieces = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
        return head(200, [JSON_TYPE, ("Transfer-Encoding", "chunked")]) + pieces + b"0\r\n\r\n"
    if how == "until close":
        return head(200, [JSON_TYPE, ("Connection", "close")]) + body
    encoding = {"gzip": "gzip", "deflate": "deflate", "raw deflate": "deflate"}.get(how, "identity")
    packed = {"gzip": gzip.compress, "deflate": zlib.compress, "raw deflate": raw_deflate}.get(how, bytes)(
        body
    )
    return head(200, [JSON_TYPE, ("Content-Encoding", encoding)], length=len(packed)) + packed


def raw_deflate(body: bytes) -> bytes:
    squeeze = zlib.compressobj(wbits=-15)
    return squeeze.compress(body) + squeeze.flush()


async def test_announced_gigabyte_is_refused_unread(serve: Serve, connect: Connect) -> None:
    """A body whose announced length exceeds the limit is refused at its first byte."""
    server = await serve(always(drip(head(200, [JSON_TYPE], length=10**9) + b"[")))
    with pytest.raises(BodyTooLarge):
        await connect(server).call(READ, as_it_is, id=7)


async def test_gzip_bomb(serve: Serve, connect: Connect) -> None:
    """Two hundred megabytes in two hundred kilobytes are refused after about one; memory stays flat."""
    bomb = bombs(200 * MIB)
    assert len(bomb) < 210_000
    server = await serve(
        always(raw(head(200, [JSON_TYPE, ("Content-Encoding", "gzip")], length=len(bomb)) + bomb))
    )
    client = connect(server)
    tracemalloc.start()
    try:
        with pytest.raises(BodyTooLarge, match="200:1") as caught:
            await client.call(READ, as_it_is, id=7)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert caught.value.size is not None
    assert caught.value.size < 2 * MIB
    assert peak < 8 * MIB


def bombs(size: int) -> bytes:
    squeeze = zlib.compressobj(9, wbits=31)
    return b"".join([*(squeeze.compress(b"\0" * MIB) for _ in range(size // MIB)), squeeze.flush()])


@pytest.mark.parametrize("packed", [gzip.compress(b"[1, 2]" * 50, mtime=0)[:-9], b"\x1f\x8bnonsense", b"[1]"])
async def test_bad_compression(serve: Serve, connect: Connect, packed: bytes) -> None:
    """A truncated or invalid compressed body is a DecodeError and no part of its data is returned."""
    server = await serve(
        always(raw(head(200, [JSON_TYPE, ("Content-Encoding", "gzip")], length=len(packed)) + packed))
    )
    with pytest.raises(DecodeError) as caught:
        await connect(server).call(READ, as_it_is, id=7)
    assert caught.value.kind == "encoding"
    assert len(server.requests) == 1


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "rot13"])
async def test_unwanted_encoding(serve: Serve, connect: Connect, encoding: str) -> None:
    """An encoding that was not requested is a DecodeError."""
    server = await serve(always(answer(headers=[("Content-Encoding", encoding)])))
    with pytest.raises(DecodeError) as caught:
        await connect(server).call(READ, as_it_is, id=7)
    assert caught.value.kind == "encoding"


@pytest.mark.parametrize("step", [1, 7, 4096])
@pytest.mark.parametrize("size", [0, 1, 255, 262_144, 262_145, 600_000])
@pytest.mark.parametrize("encoding", ["gzip", "deflate", "raw", "identity", "two members"])
def test_decompression_restores_the_data(encoding: str, size: int, step: int) -> None:
    """For any size of body and pieces, the output equals the original data."""
    text = bytes(range(256)) * (size // 256) + b"z" * (size % 256)
    pack = {"gzip": gzip.compress, "deflate": zlib.compress, "raw": raw_deflate, "identity": bytes}
    packed = pack.get(encoding, lambda data: gzip.compress(data[:99]) + gzip.compress(data[99:]))(text)
    named = {"raw": "deflate", "two members": "gzip"}.get(encoding, encoding)
    body = Body({"content-encoding": named}, limit=None)
    pieces = [piece for part in cut(packed, step if size < 1000 else 4096) for piece in body.feed(part)]
    body.finish()
    assert b"".join(pieces) == text


def cut(data: bytes, step: int) -> Iterable[bytes]:
    return (data[at : at + step] for at in range(0, len(data), step))


def test_many_members_are_refused() -> None:
    """A body of countless compressed members is refused instead of being decompressed for ever."""
    body = Body({"content-encoding": "gzip"}, limit=None)
    with pytest.raises(DecodeError):
        list(body.feed(gzip.compress(b"") * 1000))


async def test_slow_body_ends_at_the_total(serve: Serve, connect: Connect) -> None:
    """A body that trickles for ever ends at the deadline, which starts when the request is sent."""
    server = await serve(always(drip(head(200, [JSON_TYPE], length=10**6))))
    with pytest.raises(DeadlineExceeded) as caught:
        async with promptly():
            await connect(server).call(evolve(READ, total_s=0.4), as_it_is, id=7)
    assert caught.value.attempts == len(server.requests) == 1
    with pytest.raises(OutcomeUnknown):
        await connect(server).call(evolve(REVOKE, total_s=0.2), as_it_is, id=7)


async def test_deadline_does_not_count_the_queue(serve: Serve, connect: Connect) -> None:
    """Waiting for the rate limiter does not count towards the deadline."""
    server = await serve(in_turn(answer(429, headers=[("Retry-After", "1")]), answer()))
    assert await connect(server).call(evolve(READ, total_s=0.3), as_it_is, id=7) == {"success": True}


async def test_pause_never_crosses_the_deadline(serve: Serve, connect: Connect) -> None:
    """If the next pause would end after the deadline, the call fails at once instead."""
    server = await serve(always(raw(b"")))
    client = connect(server, random=lambda: 0.99)
    with pytest.raises(ConnectionLost):  # and not DeadlineExceeded, during the pause
        await client.call(evolve(READ, total_s=0.4), as_it_is, id=7)
    assert len(server.requests) == 1


async def test_download_comes_in_pieces(serve: Serve, connect: Connect) -> None:
    """A streamed body is delivered as it arrives and may be larger than the limit of a whole one."""
    rows = b"1;2;3\r\n" * 200_000
    server = await serve(always(answer(200, rows, content_type="text/csv")))
    async with connect(server).open(SMALL_LIMIT, id=7) as download:
        assert download.response.content_type == "text/csv"
        pieces = [piece async for piece in download.chunks()]
    assert len(pieces) > 1
    assert b"".join(pieces) == rows


async def test_download_is_tried_again_before_its_first_byte(serve: Serve, connect: Connect) -> None:
    """A streamed body that breaks before its first byte is requested again; later it is an error."""
    nothing = raw(head(200, length=100), "reset")
    some = raw(head(200, length=100) + b"some", "reset")
    server = await serve(in_turn(nothing, answer(502), some))
    got: list[bytes] = []

    async def consume() -> None:
        async with connect(server).open(READ, id=7) as download:
            async for piece in download.chunks():
                got.append(piece)  # noqa: PERF401  (what came before the error is wanted)

    with pytest.raises(ConnectionLost) as caught:
        await consume()
    assert got == [b"some"]
    assert (caught.value.operation, caught.value.attempts) == ("things.get", 3)
    assert len(server.requests) == 3


async def test_refused_download(serve: Serve, connect: Connect) -> None:
    """An error status on a streamed operation is the same typed error as elsewhere."""
    server = await serve(always(answer(404, "<html>no</html>", content_type="text/html")))
    with pytest.raises(NotFound):
        async with connect(server).open(READ, id=7):
            pass


async def test_slow_download_fails(serve: Serve, connect: Connect) -> None:
    """A streamed body below the minimum rate fails, although no read times out."""
    slow = Timeouts(connect_s=1.0, read_timeout_s=0.3, min_bytes_per_s=10_000.0, slow_after_s=0.2)
    server = await serve(always(drip(head(200, length=10**6))))
    async with promptly(), connect(server, timeouts=slow).open(READ, id=7) as download:
        with pytest.raises(DeadlineExceeded):
            await download.read()


async def test_slow_consumer_of_a_download_is_not_hurried(serve: Serve, connect: Connect) -> None:
    """The time a consumer takes between two pieces does not count."""
    server = await serve(always(answer(200, b"x" * 3 * MIB, content_type="text/csv")))
    async with connect(server).open(evolve(READ, total_s=0.3), id=7) as download:
        size, pauses = 0, 2
        async for piece in download.chunks():
            size += len(piece)
            if pauses:
                pauses -= 1
                await CLOCK.sleep(FAST.read_timeout_s + 0.1)
    assert size == 3 * MIB
