"""The files of the page, which are parts of the package."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from hashlib import sha256
from importlib import resources
from typing import Final

from aiohttp import web

from energy_live.web.access import SECURITY_HEADERS

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

FILES: Final = {
    "/": ("index.html", "text/html"),
    "/page.js": ("page.js", "text/javascript"),
    "/words.js": ("words.js", "text/javascript"),
    "/draw.js": ("draw.js", "text/javascript"),
    "/page.css": ("page.css", "text/css"),
    "/uplot.js": ("uplot.js", "text/javascript"),
    "/uplot.css": ("uplot.css", "text/css"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
    "/openapi.json": ("openapi.json", "application/json"),
}
"""Path of each file of the page, its name in the package and its type."""


def send_file(name: str, content_type: str) -> Handler:
    """Return the handler of one file; browsers ask each time whether it has changed."""
    body = resources.files("energy_live.web").joinpath("static", name).read_bytes()
    tag = f'"{sha256(body).hexdigest()[:16]}"'
    headers = {**SECURITY_HEADERS, "ETag": tag, "Cache-Control": "no-cache"}

    async def send(request: web.Request) -> web.StreamResponse:
        if request.headers.get("If-None-Match") == tag:
            return web.Response(status=304, headers=headers)
        response = web.Response(body=body, content_type=content_type, charset="utf-8", headers=headers)
        response.enable_compression()
        return response

    return send
