"""Selects the JSON parser of a test."""

from contextlib import contextmanager
from unittest import mock

from energy_core.codec import json as codec_json


@contextmanager
def standard_library_only():
    """Parse JSON with the standard library in the whole process, even if other parsers are installed."""
    with (
        mock.patch.object(codec_json, "msgspec_loads", None),
        mock.patch.object(codec_json, "orjson_loads", None),
    ):
        yield
