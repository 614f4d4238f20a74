"""Decoders compared in `benchmarks.decoding`: each decodes one body and returns the values it read.

The values are compared before any time is measured: an event's time and data; each point of the statistics;
id, code, instance, value and time of each diagnostic; id, name, zone, tags and attributes of each site.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias

from benchmarks.worker import Work

Decoder: TypeAlias = tuple[Callable[[bytes], Any], Callable[[Any], Sequence[object]]]
"""A decoder, and a function that reads the compared values out of its result."""


def _work(decoders: Mapping[str, Callable[[], Decoder]], case: str, path: str, pages: int = 1) -> Work:
    body = Path(path).read_bytes()
    decode, values = decoders[case]()

    def do() -> Any:
        for _ in range(pages - 1):
            decode(body)
        return decode(body)

    return Work(do if pages > 1 else partial(decode, body), values)


# --- ours -------------------------------------------------------------------------------------------------


def ours(case: str, path: str, pages: int = 1) -> Work:
    """Ours: frozen models, decoded as inside the client; an answer may have several pages."""
    return _work(
        {
            "event": _our_event,
            "stats": _our_stats,
            "diagnostics": _our_diagnostics,
            "sites": partial(_our_sites, read=False),
            "attributes": partial(_our_sites, read=True),
            "attributes held": partial(_our_sites, read=True, held=True),
        },
        case,
        path,
        pages,
    )


def _our_event() -> Decoder:
    from voltstorage_async.codec import product_event

    return partial(product_event, 301), lambda made: [made.time.timestamp(), dict(made.data)]


def _our_stats() -> Decoder:
    from benchmarks.ours import understand
    from vrm_async.decoding import series
    from vrm_async.resources.stats import STATS

    def values(made: Any) -> list[object]:
        return [[round(time.timestamp() * 1000), value] for time, value in made["Pc"]]

    return understand(STATS, series.stats_of(series.Asked("kwh"))), values


def _our_diagnostics() -> Decoder:
    from benchmarks.ours import understand
    from vrm_async.decoding import attributes as decoding_attributes
    from vrm_async.resources.installations import DIAGNOSTICS

    def values(made: Any) -> list[object]:
        return [
            [one.id, one.code, one.instance, str(one.raw_value), round(one.time.timestamp())]
            for one in made.records
        ]

    return understand(DIAGNOSTICS, decoding_attributes.diagnostics_page), values


def _our_sites(*, read: bool, held: bool = False) -> Decoder:
    from benchmarks.ours import understand
    from vrm_async.decoding import sites
    from vrm_async.resources.users import SITES

    understood = understand(SITES, sites.sites)

    def all_read(body: bytes) -> Any:
        found = understood(body)
        kept = []
        for site in found:
            attributes = list(site.extended) if held else site.extended
            for one in attributes:
                one.code, one.id, one.description, one.raw_value, one.time  # noqa: B018
            kept.append(attributes)
        return found

    def values(made: Any) -> list[object]:
        return [
            [
                *(site.id, site.name, site.timezone, [tag.id for tag in site.tags]),
                [[one.code, one.id, one.description] for one in site.extended],
            ]
            for site in made
        ]

    return (all_read if read else understood), values


# --- victron-vrm -------------------------------------------------------------------------------------------


def peer(case: str, path: str) -> Work:
    """victron-vrm's methods on a stub client that holds the answer; product events: pydantic alone."""
    return _work(
        {
            "event": _peer_event,
            "stats": _peer_stats,
            "diagnostics": _peer_diagnostics,
            "sites": _peer_sites,
            "attributes": _peer_sites,
        },
        case,
        path,
    )


class _Answered:
    """Replaces victron-vrm's client; `_request` does what that client does after the body was read."""

    def __init__(self) -> None:
        self.body = b""

    async def _get_user_id(self) -> int:
        return 1001

    async def _request(self, **_: object) -> Any:
        return json.loads(self.body.decode())


def _finished(coroutine: Coroutine[Any, Any, Any]) -> Any:
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits for something")


def _peer_event() -> Decoder:
    from datetime import datetime

    from pydantic import BaseModel

    class LatestData(BaseModel):
        type: str
        time: datetime
        data: dict[str, float]

    return lambda body: LatestData(**json.loads(body)), lambda made: [made.time.timestamp(), made.data]


def _peer_stats() -> Decoder:
    from victron_vrm.modules import InstallationsModule

    client = _Answered()
    module = InstallationsModule(client)

    def decode(body: bytes) -> Any:
        client.body = body
        return _finished(module.stats(151001, type="kwh"))

    return decode, lambda made: made["records"]["Pc"]


def _peer_diagnostics() -> Decoder:
    from victron_vrm.models.diagnostics import DiagnosticsRecord

    def decode(body: bytes) -> Any:
        return [DiagnosticsRecord(**one) for one in json.loads(body.decode())["records"]]

    def values(made: Any) -> list[object]:
        return [[one.id, one.code, one.instance, str(one.raw_value), one.timestamp] for one in made]

    return decode, values


def _peer_sites() -> Decoder:
    from victron_vrm.modules import UsersModule

    client = _Answered()
    module = UsersModule(client)

    def decode(body: bytes) -> Any:
        client.body = body
        return _finished(module.list_sites(extended=True))

    def values(made: Any) -> list[object]:
        return [
            [
                *(site.id, site.name, site.timezone, [tag.id for tag in site.tags]),
                [[one["code"], one["idDataAttribute"], one["description"]] for one in site.extended],
            ]
            for site in made
        ]

    return decode, values


# --- no types, or those of the parser ----------------------------------------------------------------------

_PLAIN: Final[Mapping[str, Callable[[Any], Sequence[object]]]] = {
    "event": lambda made: [float(made["time"]), made["data"]],
    "stats": lambda made: made["records"]["Pc"],
    "diagnostics": lambda made: [
        [one["id"], one["code"], one["instance"], str(one["rawValue"]), one["timestamp"]]
        for one in made["records"]
    ],
    "sites": lambda made: [
        [
            *(site["idSite"], site["name"], site["timezone"], [tag["idTag"] for tag in site["tags"]]),
            [[one["code"], one["idDataAttribute"], one["description"]] for one in site["extended"]],
        ]
        for site in made["records"]
    ],
}


def _plain(loads: Callable[[bytes], Any], case: str, path: str, pages: int = 1) -> Work:
    case = "sites" if case == "attributes" else case
    return _work({case: lambda: (loads, _PLAIN[case])}, case, path, pages)


def plain_json(case: str, path: str) -> Work:
    """`json.loads` alone."""
    return _plain(json.loads, case, path)


def plain_orjson(case: str, path: str, pages: int = 1) -> Work:
    """or`json.loads` alone."""
    import orjson

    return _plain(orjson.loads, case, path, pages)


def typed_msgspec(case: str, path: str) -> Work:
    """Msgspec structs with one field for each compared value; strict types."""
    from benchmarks import structs

    decoders: dict[str, Callable[[], Decoder]] = {
        "event": structs.event,
        "stats": structs.stats,
        "diagnostics": structs.diagnostics,
        "sites": partial(structs.sites, read=False),
        "attributes": partial(structs.sites, read=True),
    }
    return _work(decoders, case, path)
