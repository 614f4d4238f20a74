"""Labels of a site."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from attrs import evolve

from energy_core.checks import one_line
from energy_core.codec.drift import report
from energy_core.codec.field_types import MalformedRecord
from energy_core.codec.json import JSON
from energy_core.codec.structure import model
from energy_core.http.client import ApiClient
from vrm_async import validation
from vrm_async.decoding.php import by_key, items
from vrm_async.models.site import Site, SiteTags, Tag
from vrm_async.operations import SITE, reads, writes
from vrm_async.responses import done, part
from vrm_async.validation import Unlisted

GET: Final = reads("tags.get", f"{SITE}/tags")
ADD: Final = writes("tags.add", "PUT", f"{SITE}/tags")
REMOVE: Final = writes("tags.remove", "DELETE", f"{SITE}/tags")

SOURCES: Final = ("user", "team", "group", "predefined")
"""Where a tag may come from."""


class Tags:
    """The tags of a site; `client.tags`."""

    def __init__(self, api: ApiClient) -> None:
        self._api = api

    async def get(self, site: Site | int, source: str | Unlisted | None = None) -> SiteTags:
        """Return the tags of a site, grouped by their source. Cancelling is safe.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/tags/get

        Args:
            site: The site or its id.
            source: Only tags of this source, one of `SOURCES`.
        """
        query = [] if source is None else [("filter", validation.one_of("source", source, SOURCES))]
        return await self._api.call(GET, read_tags, query=query, idSite=validation.site_id(site))

    async def add(self, site: Site | int, tag: str, *, source: str | Unlisted = "user") -> None:
        """Add a tag to a site. Sent once.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/tags/put

        Args:
            site: The site or its id.
            tag: One line of at most 256 characters.
            source: One of `SOURCES`.
        """
        await self._api.call(ADD, done, json=_body(tag, source), idSite=validation.site_id(site))

    async def remove(self, site: Site | int, tag: str, *, source: str | Unlisted = "user") -> None:
        """Remove a tag from a site; the arguments are those of `add`. Sent once.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/tags/delete
        """
        await self._api.call(REMOVE, done, json=_body(tag, source), idSite=validation.site_id(site))


def _body(tag: str, source: str | Unlisted) -> dict[str, JSON]:
    return {"tag": one_line("tag", tag), "source": validation.one_of("source", source, SOURCES)}


_tag = model(Tag, wire={"id": "idTag"})


def read_tags(payload: JSON) -> SiteTags:
    """Read ``installations/{idSite}/tags``: tags in groups, or in one list in VRM's older form."""
    found = part(payload, "tags")
    groups: dict[str, list[Tag]] = {}
    for source, tag in _tags(found):
        groups.setdefault(source, []).append(tag)
    # A source without tags is kept as an empty group.
    empty: dict[str, tuple[Tag, ...]] = dict.fromkeys(found, ()) if isinstance(found, Mapping) else {}
    return SiteTags(groups={**empty, **{name: tuple(g) for name, g in groups.items()}}, raw=by_key(payload))


def _tags(found: object) -> Iterator[tuple[str, Tag]]:
    if isinstance(found, list):
        for item in found:
            tag = _one_tag(item, None)
            if tag is not None:
                yield tag.source or "user", tag
        return
    for source, listed in by_key(found).items():
        for item in (listed,) if isinstance(listed, str) and listed else items(listed):
            tag = _one_tag(item, source)
            if tag is not None:
                yield source, tag


def _one_tag(item: object, source: str | None) -> Tag | None:
    """Read a tag, which comes as a record or as its text alone."""
    try:
        tag = _tag({"name": item} if isinstance(item, str) and item else item)
    except MalformedRecord:
        report("Tag", "record", "malformed")
        return None
    return tag if tag.source else evolve(tag, source=source)
