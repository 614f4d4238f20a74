"""Queries of the relay's clients, and plain answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Final, cast

from aiohttp import web

from energy_core import Quantity
from energy_live.web.access import SECURITY_HEADERS
from energy_live.web.event_log import POLICIES, EventSelection, Policy

_MAX_QUERY: Final = 2000


class BadQuery(Exception):
    """The query is not valid; the text says why."""


def drop(request: web.Request) -> None:
    """Reset the connection of a client that does not read."""
    if request.transport is not None:
        request.transport.abort()


def answer(status: int, text: str) -> web.Response:
    """Return a refusal, or another answer of one line."""
    headers = {**SECURITY_HEADERS, "Cache-Control": "no-store"}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if status in {429, 503}:
        headers["Retry-After"] = "10"
    return web.Response(status=status, text=f"{text}\n", headers=headers)


def encode(members: Mapping[str, object]) -> bytes:
    """Return a JSON object in UTF-8."""
    return json.dumps(members, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode(
        errors="backslashreplace"
    )


def json_answer(body: bytes) -> web.Response:
    """Return a JSON body as an answer."""
    headers = {**SECURITY_HEADERS, "Cache-Control": "no-store"}
    response = web.Response(body=body, content_type="application/json", charset="utf-8", headers=headers)
    if len(body) > 2048:
        response.enable_compression()
    return response


def text(request: web.Request, name: str) -> str | None:
    """Return a parameter, or None if it is missing or empty.

    Raises:
        BadQuery: It is given twice, or is too long.
    """
    values = request.query.getall(name, [])
    if len(values) > 1:
        raise BadQuery(f"{name} is given more than once")
    if values and len(values[0]) > _MAX_QUERY:
        raise BadQuery(f"{name} is too long")
    return values[0] if values and values[0] else None


def time(request: web.Request, name: str) -> datetime | None:
    """Return a parameter that is a time, or None."""
    given = text(request, name)
    return None if given is None else parse_time(name, given)


def parse_time(name: str, given: str) -> datetime:
    """Return the aware time of a parameter."""
    try:
        # In a query a plus sign is a space.
        time = datetime.fromisoformat(given.replace(" ", "+"))
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise BadQuery(f"{name} must be a time with its offset, such as 2026-06-01T12:00:00Z")
    return time


def selection(request: web.Request) -> EventSelection:
    """Return which events a client asks for."""
    names = [name for name in (text(request, "quantities") or "").split(",") if name]
    try:
        quantities = frozenset(map(Quantity, names))
    except ValueError:
        raise BadQuery("quantities must be names of quantities, such as grid_power,pv_power") from None
    raw = text(request, "raw") or "yes"
    if raw not in {"yes", "no"}:
        raise BadQuery("raw must be yes or no")
    wanted = [part for part in (text(request, "sources") or "").split(",") if part]
    sources = tuple(tuple(each.split("/")) for each in wanted)
    if any(len(parts) > 4 for parts in sources):
        raise BadQuery("sources must be ids such as vrm/*/151734, separated by commas")
    return EventSelection(sources=sources, quantities=quantities, raw=raw == "yes")


def policy(request: web.Request) -> Policy:
    """Return what happens when the client is slow."""
    name = text(request, "policy") or "block"
    if name not in POLICIES:
        raise BadQuery(f"policy must be one of {', '.join(POLICIES)}")
    return cast("Policy", name)
