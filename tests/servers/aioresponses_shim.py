"""aioresponses 0.7.9 builds responses as aiohttp before 3.14 did; this makes them whole.

`tests/core/test_aioresponses_shim.py` fails as soon as a newer aioresponses makes it needless.
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
    # A paused reader asks its protocol's parser to resume; a mock's protocol never got one.
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
