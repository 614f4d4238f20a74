"""Endpoints: the paths of the service, in one replaceable value."""

from __future__ import annotations

import re
from typing import Final, Literal, TypeAlias

from attrs import Attribute, field, frozen, validators

from energy_core.printable import printable_class
from energy_core.url import BaseUrl

TokenPlace: TypeAlias = Literal["header", "query"]

BASE_URL: Final = "https://api.voltstorage.com/rest/"

_PLACE = re.compile(r"\{(\w+)\}")
_PLACES: Final = {"productId", "format"}
_ROOT: Final = BaseUrl(origin="https://localhost", path="/")


def _path(_: object, attribute: Attribute[str], value: object) -> None:
    """Check that a path is relative, stays below the base URL, and has only known places."""
    if not isinstance(value, str):
        raise TypeError(f"{attribute.name} must be a str, not {type(value).__name__}")
    unknown = set(_PLACE.findall(value)) - _PLACES
    if unknown:
        raise ValueError(
            f"{attribute.name} has a place {{{min(unknown)}}}; known are {{productId}} and {{format}}"
        )
    try:
        _ROOT.join(_PLACE.sub("0", value))
    except ValueError as error:
        raise ValueError(f"{attribute.name}: {error}") from None
    if not value:
        raise ValueError(f"{attribute.name} must not be empty")


@printable_class
@frozen(kw_only=True)
class Endpoints:
    """The paths of the service, relative to the client's base URL.

    The vendor's public reference has no URL paths any more. `login`, `products` and `export` are those of
    another client of the service; **`latest`, `statistics` and `events` are guesses**: replace them if you
    know better. A path may have the places ``{productId}`` and ``{format}``; a value without a place is sent
    as a query parameter of that name.

    Raises:
        TypeError, ValueError: A path is not a relative path, or it has an unknown place.
    """

    login: str = field(default="login/password", validator=_path)
    """POST: exchanges email and password for a token."""
    products: str = field(default="products", validator=_path)
    """GET: the product list."""
    latest: str = field(default="products/{productId}/data/latest", validator=_path)
    """GET: the last value of each field. A guess."""
    statistics: str = field(default="data/statistics", validator=_path)
    """GET: aggregated data. A guess."""
    export: str = field(default="data/export.{format}", validator=_path)
    """GET: recorded data as CSV or JSON."""
    events: str = field(default="products/events", validator=_path)
    """WebSocket: product events. A guess."""
    events_url: str | None = field(default=None, validator=validators.optional(validators.instance_of(str)))
    """Address of the WebSocket if it has another origin: an origin (``wss://host``), to which the base URL's
    path and `events` are added, or a complete address. None: the base URL's origin."""
    token_in: TokenPlace = field(default="header", validator=validators.in_(("header", "query")))
    """How requests carry the token: ``Authorization: Bearer``, as in the reference, or ``?token=``."""
    events_header: bool = False
    """Whether the handshake sends the bearer header besides ``?token=``, which the reference asks for."""
