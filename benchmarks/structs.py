"""msgspec structs for the vendors' answers, written strictly by the documents.

Not imported by sides without msgspec.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType, field

Decoder = tuple[Callable[[bytes], Any], Callable[[Any], Sequence[object]]]


class Event(Struct):
    """A product event."""

    type: str
    time: int
    data: dict[str, float]


class Stats(Struct):
    """Statistics; `false` stands for a code without data."""

    records: dict[str, list[tuple[int, float | None]] | bool]
    totals: dict[str, float | bool]


class Diagnostic(Struct, rename="camel"):
    """A record of diagnostics."""

    id: int
    id_site: int
    timestamp: int
    instance: int
    code: str
    description: str
    id_data_attribute: int
    format_with_unit: str
    formatted_value: str
    raw_value: str | int | float
    bitmask: int
    device: str = field(name="Device")
    dbus_service_type: str | None = None
    dbus_path: str | None = None
    data_attribute_enum_values: list[dict[str, str | int]] = []


class Page(Struct):
    """A page of diagnostics."""

    records: list[Diagnostic]


class Tag(Struct):
    """A site's tag."""

    id: int = field(name="idTag")
    name: str
    automatic: bool


class Attribute(Struct, rename="camel"):
    """An extended attribute."""

    code: str
    description: str
    id_data_attribute: int | None = None
    raw_value: str | int | float | None = None
    formatted_value: str | None = None
    text_value: str | None = None
    timestamp: int | None = None
    instance: int | None = None
    format_with_unit: str | None = None
    data_type: str | None = None
    instances: Raw | UnsetType = UNSET
    data_attribute_enum_values: list[dict[str, str | int]] = []


class Site(Struct, rename="camel"):
    """A site with its attributes, typed or raw."""

    id_site: int
    name: str
    identifier: str
    timezone: str
    syscreated: int
    tags: list[Tag]
    extended: list[Attribute]


class RawSite(Struct, rename="camel"):
    """A site with its attributes as bytes."""

    id_site: int
    name: str
    identifier: str
    timezone: str
    syscreated: int
    tags: list[Tag]
    extended: Raw


class Sites(Struct):
    """The list of installations."""

    records: list[Site]


class RawSites(Struct):
    """The list of installations with attributes as bytes."""

    records: list[RawSite]


def event() -> Decoder:
    """Return a decoder of product events."""
    return msgspec.json.Decoder(Event).decode, lambda made: [float(made.time), made.data]


def stats() -> Decoder:
    """Return a decoder of statistics."""
    return msgspec.json.Decoder(Stats).decode, lambda made: [list(point) for point in made.records["Pc"]]


def diagnostics() -> Decoder:
    """Return a decoder of diagnostics."""

    def values(made: Any) -> list[object]:
        return [[one.id, one.code, one.instance, str(one.raw_value), one.timestamp] for one in made.records]

    return msgspec.json.Decoder(Page).decode, values


def sites(*, read: bool) -> Decoder:
    """Return a decoder of installations, with attributes typed or as bytes."""
    attributes = msgspec.json.Decoder(list[Attribute])

    def values(made: Any) -> list[object]:
        return [
            [
                *(site.id_site, site.name, site.timezone, [tag.id for tag in site.tags]),
                [
                    [one.code, one.id_data_attribute, one.description]
                    for one in (site.extended if read else attributes.decode(site.extended))
                ],
            ]
            for site in made.records
        ]

    return msgspec.json.Decoder(Sites if read else RawSites).decode, values
