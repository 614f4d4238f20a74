"""The server for `benchmarks.askers`: answers every request with the same bytes."""

from __future__ import annotations

import asyncio
from asyncio import Protocol, Transport
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import cast

from benchmarks import samples, server


class Answering(Protocol):
    """One keep-alive connection; requests have no body."""

    def __init__(self, answers: Mapping[bytes, bytes]) -> None:
        self._answers = answers
        self._head = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport."""
        self._transport = cast("Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Answer each complete request."""
        self._head += data
        while b"\r\n\r\n" in self._head:
            head, _, self._head = self._head.partition(b"\r\n\r\n")
            path = head.split(b" ", 2)[1].partition(b"?")[0]
            self._transport.write(self._answers[path.rpartition(b"/")[2]])


def _answer(body: bytes) -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


@contextmanager
def running() -> Iterator[str]:
    """Run the server in its own process; yields its base URL."""
    with server.running("benchmarks.http_server") as port:
        yield f"http://127.0.0.1:{port}/v2/"


def _main() -> None:
    answers = {b"me": _answer(samples.user()), b"installations": _answer(samples.installations(4))}
    server.serve(lambda: Answering(answers))


if __name__ == "__main__":
    _main()
