"""The panels of VRM's dashboard, by name; the list of names is open."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from energy_core.errors import NoData
from energy_core.http.api import ApiClient
from energy_core.http.request import Operation
from vrm_async import arguments, tables
from vrm_async.panels import StateHistory, Summary
from vrm_async.series import Graph

WIDGET: Final = Operation(
    vendor="vrm",
    name="widgets",
    method="GET",
    path="installations/{idSite}/widgets/{widget}",
    repeatable=True,
)


class Widgets:
    """Graphs, summaries and changes of state of one device instance."""

    def __init__(self, api: ApiClient) -> None:
        self._api = api

    async def graph(
        self,
        site_id: int,
        *,
        attribute_codes: Iterable[str],
        instance: int | None = 0,
        start: datetime | None = None,
        end: datetime | None = None,
    ) -> Graph:
        """Return one series per code. VRM chooses the step, and its first bucket begins at `start`.

        Ranges of one length that begin at round times give comparable timestamps.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/widgets/Graph

        Args:
            site_id: The site.
            attribute_codes: Codes such as ``["bs", "bv"]``, case-sensitive.
            instance: The device instance; 0 is the system.
            start: An aware datetime; without it the last day.
            end: An aware datetime.
        """
        query = (
            arguments.codes(attribute_codes) + arguments.instance(instance) + arguments.open_span(start, end)
        )
        site_id = arguments.whole("site_id", site_id)
        return await self._api.call(WIDGET, tables.graph, query=query, idSite=site_id, widget="Graph")

    async def summary(self, site_id: int, name: str, instance: int | None = None) -> Summary:
        """Return the newest values of one device, from a widget such as BatterySummary.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/widgets/BatterySummary

        Raises:
            NoData: the site has no such device at that instance; `system_overview` lists the instances.
        """
        into = tables.summary(arguments.widget(name), instance)
        query, site_id = arguments.instance(instance), arguments.whole("site_id", site_id)
        found = await self._api.call(WIDGET, into, query=query, idSite=site_id, widget=name)
        if tables.is_wrong_instance(found):
            raise _no_such_instance(name, instance)
        return found

    async def state(
        self,
        site_id: int,
        name: str,
        instance: int | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
    ) -> StateHistory:
        """Return the changes of state of one device, from a widget such as VeBusState.

        Without a range it is the last day.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/widgets/VeBusState
        """
        into = tables.state_history(arguments.widget(name), instance)
        query = arguments.instance(instance) + arguments.open_span(start, end)
        site_id = arguments.whole("site_id", site_id)
        return await self._api.call(WIDGET, into, query=query, idSite=site_id, widget=name)


def _no_such_instance(name: str, instance: int | None) -> NoData:
    where = "the default instance" if instance is None else f"instance {instance}"
    return NoData(
        f"{name} has no values for {where}: installations.system_overview lists the instances of the devices",
        vendor=WIDGET.vendor,
        operation=WIDGET.name,
        method=WIDGET.method,
        path=WIDGET.path,
        status=200,
    )
