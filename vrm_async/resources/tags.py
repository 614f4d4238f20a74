"""Labels of a site."""

from __future__ import annotations

from typing import Final

from energy_core.codec.json import JSON
from energy_core.http.client import ApiClient
from vrm_async import validation
from vrm_async.decoding import fleet
from vrm_async.models.site import SiteTags
from vrm_async.operations import SITE, reads, writes
from vrm_async.responses import done
from vrm_async.validation import Unlisted

GET: Final = reads("tags.get", f"{SITE}/tags")
ADD: Final = writes("tags.add", "PUT", f"{SITE}/tags")
REMOVE: Final = writes("tags.remove", "DELETE", f"{SITE}/tags")

SOURCES: Final = ("user", "team", "group", "predefined")


class Tags:
    """The tags of a site."""

    def __init__(self, api: ApiClient) -> None:
        self._api = api

    async def get(self, site_id: int, source: str | Unlisted | None = None) -> SiteTags:
        """Return the tags by where they come from; with a source of `SOURCES` only those.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/tags/get
        """
        query = [] if source is None else [("filter", validation.one_of("source", source, SOURCES))]
        site_id = validation.whole("site_id", site_id)
        return await self._api.call(GET, fleet.tags, query=query, idSite=site_id)

    async def add(self, site_id: int, tag: str, *, source: str | Unlisted = "user") -> None:
        """Put a tag on a site.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/tags/put
        """
        await self._api.call(ADD, done, json=_body(tag, source), idSite=validation.whole("site_id", site_id))

    async def remove(self, site_id: int, tag: str, *, source: str | Unlisted = "user") -> None:
        """Take a tag off a site.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/tags/delete
        """
        site_id = validation.whole("site_id", site_id)
        await self._api.call(REMOVE, done, json=_body(tag, source), idSite=site_id)


def _body(tag: str, source: str | Unlisted) -> dict[str, JSON]:
    return {"tag": validation.line("tag", tag), "source": validation.one_of("source", source, SOURCES)}
