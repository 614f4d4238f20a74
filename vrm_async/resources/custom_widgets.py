"""Panels that the users of a site put together themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from energy_core.codec.json import JSON
from energy_core.http.client import ApiClient
from vrm_async import validation
from vrm_async.decoding import fleet
from vrm_async.models.widget import CustomWidget
from vrm_async.operations import SITE, reads, writes
from vrm_async.responses import done

_PATH: Final = f"{SITE}/custom-widget"
GET: Final = reads("custom_widgets.get", _PATH)
CREATE: Final = writes("custom_widgets.create", "POST", _PATH)
UPDATE: Final = writes("custom_widgets.update", "PATCH", _PATH)
DELETE: Final = writes("custom_widgets.delete", "DELETE", _PATH)


class CustomWidgets:
    """The custom widgets of a site."""

    def __init__(self, api: ApiClient) -> None:
        self._api = api

    async def get(self, site_id: int, widget_id: int) -> CustomWidget:
        """Return one widget; VRM lists none, so its id must be known.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/custom-widget/get
        """
        query = [("idCustomWidget", str(validation.whole("widget_id", widget_id)))]
        site_id = validation.whole("site_id", site_id)
        return await self._api.call(GET, fleet.custom_widget, query=query, idSite=site_id)

    async def create(
        self,
        site_id: int,
        name: str,
        parameters: Mapping[str, JSON],
        *,
        only_admins: bool | None = None,
        y_axis_scaling: int = 0,
    ) -> int | None:
        """Make a widget and return its idCustomWidget, if VRM tells it.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/custom-widget/post

        Args:
            site_id: The site.
            name: Its title.
            parameters: What it shows, as VRM wants it.
            only_admins: Whether only administrators see it.
            y_axis_scaling: How its axis is scaled, a number whose meaning VRM does not document.
        """
        body = _body(name, parameters, only_admins, y_axis_scaling)
        site_id = validation.whole("site_id", site_id)
        return await self._api.call(CREATE, fleet.custom_widget_id, json=body, idSite=site_id)

    async def update(
        self,
        site_id: int,
        widget_id: int,
        *,
        name: str | None = None,
        parameters: Mapping[str, JSON] | None = None,
        only_admins: bool | None = None,
        y_axis_scaling: int | None = None,
    ) -> None:
        """Change what is given, and leave the rest as it is.

        VRM's document calls `name`, `parameters` and `y_axis_scaling` required here too.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/custom-widget/patch
        """
        changes = _body(name, parameters, only_admins, y_axis_scaling)
        if not changes:
            raise ValueError("nothing to change: pass name, parameters, only_admins or y_axis_scaling")
        body = {"idCustomWidget": validation.whole("widget_id", widget_id), **changes}
        await self._api.call(UPDATE, done, json=body, idSite=validation.whole("site_id", site_id))

    async def delete(self, site_id: int, widget_id: int) -> None:
        """Remove a widget.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/custom-widget/delete
        """
        body: JSON = {"idCustomWidget": validation.whole("widget_id", widget_id)}
        await self._api.call(DELETE, done, json=body, idSite=validation.whole("site_id", site_id))


def _body(
    name: str | None,
    parameters: Mapping[str, JSON] | None,
    only_admins: bool | None,
    y_axis_scaling: int | None,
) -> dict[str, JSON]:
    body: dict[str, JSON] = {}
    if name is not None:
        body["name"] = validation.line("name", name)
    if parameters is not None:
        body["parameters"] = validation.members("parameters", parameters)
    if only_admins is not None:
        body["onlyAdmins"] = int(validation.switch("only_admins", only_admins))
    if y_axis_scaling is not None:
        body["yAxisScaling"] = validation.whole("y_axis_scaling", y_axis_scaling)
    return body
