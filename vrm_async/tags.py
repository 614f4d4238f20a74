"""Labels of a site."""

from __future__ import annotations

from typing import Final

from energy_core.http.api import ApiClient
from energy_core.http.request import JSON
from vrm_async import arguments, codec_sites
from vrm_async.arguments import Unlisted
from vrm_async.envelope import done
from vrm_async.models_sites import SiteTags
from vrm_async.operations import SITE, reads, writes

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
        query = [] if source is None else [("filter", arguments.one_of("source", source, SOURCES))]
        site_id = arguments.whole("site_id", site_id)
        return await self._api.call(GET, codec_sites.tags, query=query, idSite=site_id)

    async def add(self, site_id: int, tag: str, *, source: str | Unlisted = "user") -> None:
        """Put a tag on a site.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/tags/put
        """
        await self._api.call(ADD, done, json=_body(tag, source), idSite=arguments.whole("site_id", site_id))

    async def remove(self, site_id: int, tag: str, *, source: str | Unlisted = "user") -> None:
        """Take a tag off a site.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/tags/delete
        """
        site_id = arguments.whole("site_id", site_id)
        await self._api.call(REMOVE, done, json=_body(tag, source), idSite=site_id)


def _body(tag: str, source: str | Unlisted) -> dict[str, JSON]:
    return {"tag": arguments.line("tag", tag), "source": arguments.one_of("source", source, SOURCES)}
