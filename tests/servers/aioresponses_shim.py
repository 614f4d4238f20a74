"""aioresponses 0.7.9 builds responses for aiohttp before 3.14; this adapts them to later versions.

`tests/core/test_aioresponses_shim.py` fails as soon as a newer aioresponses does not need it.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import aioresponses.core
from aiohttp import ClientResponse
from aiohttp.client_proto import ResponseHandler
from aiohttp.streams import StreamReader


class _Writer:
    output_size = 0


class _WholeResponse(ClientResponse):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("stream_writer", _Writer())
        super().__init__(*args, **kwargs)


def _reader_with_parser(loop: Any = None) -> StreamReader:
    protocol = ResponseHandler(loop=loop)
    # Resuming a paused reader calls its protocol's parser, which the mock's protocol lacks.
    protocol._parser = mock.Mock(name="parser")
    return StreamReader(protocol, limit=2**16, loop=loop)


@contextmanager
def repaired_aioresponses() -> Generator[aioresponses.aioresponses, None, None]:
    """Like `aioresponses()`, on aiohttp 3.14 and later."""
    with (
        mock.patch.object(aioresponses.core, "ClientResponse", _WholeResponse),
        mock.patch.object(aioresponses.core, "stream_reader_factory", _reader_with_parser),
        aioresponses.aioresponses() as mocked,
    ):
        yield mocked
