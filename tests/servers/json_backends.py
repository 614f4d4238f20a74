"""Which JSON parsers a test runs with."""

from contextlib import contextmanager
from unittest import mock

from energy_core.codec import json as codec_json


@contextmanager
def standard_library_only():
    """Parse JSON with the standard library alone, in the whole process, whatever is installed."""
    with (
        mock.patch.object(codec_json, "msgspec_loads", None),
        mock.patch.object(codec_json, "orjson_loads", None),
    ):
        yield
