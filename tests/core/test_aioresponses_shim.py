"""The shim is needed, and it works."""

import aiohttp
import pytest
from aioresponses import aioresponses

URL = "http://127.0.0.1/x"


async def test_without_the_shim_a_mocked_answer_still_breaks():
    """Aioresponses alone cannot build a response on this aiohttp; when it can, delete the shim."""
    with aioresponses() as mock:
        mock.get(URL, body=b"{}")
        async with aiohttp.ClientSession() as session:
            with pytest.raises(TypeError, match="stream_writer"):
                await session.get(URL)


async def test_a_large_mocked_body_is_read_whole(mocked):
    """A body beyond the reader's 64 KiB limit arrives unharmed."""
    mocked.get(URL, body=b"x" * 300_000)
    async with aiohttp.ClientSession() as session, session.get(URL) as response:
        assert len(await response.read()) == 300_000
