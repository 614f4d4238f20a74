"""Dashboard widgets that the users of a site put together themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from energy_core.checks import boolean, one_line, whole
from energy_core.codec.coerce import integer, is_nothing
from energy_core.codec.drift import report
from energy_core.codec.json import JSON
from energy_core.codec.structure import model
from energy_core.errors import DecodeError
from energy_core.http.client import ApiClient
from vrm_async import validation
from vrm_async.models.site import Site
from vrm_async.models.widget import CustomWidget
from vrm_async.operations import SITE, reads, writes
from vrm_async.responses import content, done

_PATH: Final = f"{SITE}/custom-widget"
GET: Final = reads("custom_widgets.get", _PATH)
CREATE: Final = writes("custom_widgets.create", "POST", _PATH)
UPDATE: Final = writes("custom_widgets.update", "PATCH", _PATH)
DELETE: Final = writes("custom_widgets.delete", "DELETE", _PATH)


class CustomWidgets:
    """The custom widgets of a site; `client.custom_widgets`."""

    def __init__(self, api: ApiClient) -> None:
        self._api = api

    async def get(self, site: Site | int, widget_id: int) -> CustomWidget:
        """Return one widget by its id. VRM has no operation that lists them. Cancelling is safe.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/custom-widget/get
        """
        query = [("idCustomWidget", str(whole("widget_id", widget_id)))]
        return await self._api.call(GET, read_widget, query=query, idSite=validation.site_id(site))

    async def create(
        self,
        site: Site | int,
        name: str,
        parameters: Mapping[str, JSON],
        *,
        only_admins: bool | None = None,
        y_axis_scaling: int = 0,
    ) -> int | None:
        """Create a widget and return its idCustomWidget, or None where VRM's answer lacks it. Sent once.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/custom-widget/post

        Args:
            site: The site or its id.
            name: Its title.
            parameters: The widget's definition, sent as it is; VRM does not document its members.
            only_admins: Whether only administrators see it.
            y_axis_scaling: VRM's number of an axis scaling, whose meaning it does not document.
        """
        body = _body(name, parameters, only_admins, y_axis_scaling)
        return await self._api.call(CREATE, read_widget_id, json=body, idSite=validation.site_id(site))

    async def update(
        self,
        site: Site | int,
        widget_id: int,
        *,
        name: str | None = None,
        parameters: Mapping[str, JSON] | None = None,
        only_admins: bool | None = None,
        y_axis_scaling: int | None = None,
    ) -> None:
        """Change the arguments that are given; the other properties keep their values. Sent once.

        VRM's document calls `name`, `parameters` and `y_axis_scaling` required here too.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/custom-widget/patch

        Raises:
            ValueError: nothing is given.
        """
        changes = _body(name, parameters, only_admins, y_axis_scaling)
        if not changes:
            raise ValueError("nothing to change: pass name, parameters, only_admins or y_axis_scaling")
        body = {"idCustomWidget": whole("widget_id", widget_id), **changes}
        await self._api.call(UPDATE, done, json=body, idSite=validation.site_id(site))

    async def delete(self, site: Site | int, widget_id: int) -> None:
        """Delete a widget. Sent once.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/custom-widget/delete
        """
        body: JSON = {"idCustomWidget": whole("widget_id", widget_id)}
        await self._api.call(DELETE, done, json=body, idSite=validation.site_id(site))


def _body(
    name: str | None,
    parameters: Mapping[str, JSON] | None,
    only_admins: bool | None,
    y_axis_scaling: int | None,
) -> dict[str, JSON]:
    body: dict[str, JSON] = {}
    if name is not None:
        body["name"] = one_line("name", name)
    if parameters is not None:
        body["parameters"] = validation.json_object("parameters", parameters)
    if only_admins is not None:
        body["onlyAdmins"] = int(boolean("only_admins", only_admins))
    if y_axis_scaling is not None:
        body["yAxisScaling"] = whole("y_axis_scaling", y_axis_scaling)
    return body


_widget = model(
    CustomWidget,
    wire={"id": "idCustomWidget", "only_admins": "onlyAdmins", "y_axis_scaling": "yAxisScaling"},
)
_PLACES: Final = ("data", "records", "customWidget", "widget")
"""Members of the answer that may hold the widget."""


def read_widget(payload: JSON) -> CustomWidget:
    """Read a custom widget: VRM documents it as `widget`, without its members."""
    found = content(payload)
    if isinstance(found.get("widget"), Mapping):
        return _widget(found["widget"])
    # Not documented: accept the widget in other members, and its fields at the top level.
    inner = next((found[key] for key in _PLACES if not is_nothing(found.get(key))), found)
    if isinstance(inner, list):
        inner = inner[0] if inner else None
    if not isinstance(inner, Mapping) or not {"idCustomWidget", "name"} & inner.keys():
        raise DecodeError("the answer has no custom widget", kind="envelope")
    return _widget(inner)


def read_widget_id(payload: JSON) -> int | None:
    """Read the id of a new custom widget from the member that holds it."""
    done(payload)
    found = content(payload)
    for inner in (found, *(found.get(key) for key in _PLACES)):
        number = integer(inner.get("idCustomWidget")) if isinstance(inner, Mapping) else None
        if number is not None:
            return number
    report("CustomWidget", "id", "missing")
    return None
