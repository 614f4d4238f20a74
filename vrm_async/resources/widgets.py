"""The widgets of VRM's dashboard, by name. Names that VRM does not document work, too."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime, tzinfo
from functools import partial
from typing import Final

from attrs import evolve

from energy_core.checks import ids as checked_ids
from energy_core.checks import whole
from energy_core.clock import Clock
from energy_core.errors import AnswerError, NoData
from energy_core.http.client import ApiClient
from energy_core.local_days import time_range
from vrm_async import validation
from vrm_async.decoding import series, widgets
from vrm_async.history.widgets import WIDGET, KnownZone, WidgetHistories
from vrm_async.models.series import Graph
from vrm_async.models.site import Site
from vrm_async.models.state import StateSeries
from vrm_async.models.widget import AlarmWidget, HoursOfAc, Position, Summary, Widget
from vrm_async.responses import is_no_such_path

STATES: Final[Mapping[str, str]] = {
    "BatteryExternalRelayState": "the external relay of a battery",
    "BatteryMonitorWarningsAndAlarms": "warnings and alarms of a battery monitor",
    "BatteryRelayState": "the relay of a battery monitor",
    "ChargerRelayState": "the relay of an AC charger",
    "ChargerState": "an AC charger",
    "EssBatteryLifeState": "the BatteryLife of an ESS",
    "FuelCellState": "a fuel cell",
    "GatewayRelayState": "the first relay of the gateway",
    "GatewayRelayTwoState": "the second relay of the gateway",
    "GeneratorState": "a generator",
    "InputState": "the inputs of the gateway",
    "InverterChargerState": "an inverter with charger that is no VE.Bus system",
    "InverterChargerWarningsAndAlarms": "its warnings and alarms",
    "InverterState": "an inverter",
    "MPPTState": "the tracker of a solar charger",
    "SolarChargerRelayState": "the relay of a solar charger",
    "VeBusState": "a VE.Bus system",
    "VeBusWarningsAndAlarms": "warnings and alarms of a VE.Bus system",
}
"""The widgets of changes of state that VRM documents, for `state`."""

SUMMARIES: Final[Mapping[str, str]] = {
    "BMSDiagnostics": "a battery management system",
    "BatterySummary": "a battery monitor",
    "DCMeter": "a meter on the DC side",
    "EvChargerSummary": "a charging station",
    "GlobalLinkSummary": "a GlobalLink",
    "HistoricData": "the history of a battery monitor",
    "IOExtenderInOut": "inputs and outputs of an extender",
    "LithiumBMS": "cells of a lithium battery",
    "MeteorologicalSensor": "a weather sensor, by its old name",
    "MeteorologicalSensorOverview": "a weather sensor",
    "MotorSummary": "an electric motor",
    "PVInverterStatus": "an inverter on the AC side",
    "SolarChargerSummary": "a solar charger",
    "Status": "a VE.Bus system",
    "TankSummary": "a tank",
    "TempAirQuality": "a sensor of temperature and air quality",
    "TempSummaryAndGraph": "a temperature sensor",
}
"""The widgets of newest values that VRM documents, for `summary`."""


class Widgets(WidgetHistories):
    """Graphs, summaries and changes of state of one device instance; `client.widgets`."""

    def __init__(
        self,
        api: ApiClient,
        zone_of: Callable[[Site | int], Awaitable[tzinfo]],
        resolve_range: validation.ResolveRange,
        known_zone: KnownZone,
        *,
        clock: Clock,
    ) -> None:
        super().__init__(api, zone_of, known_zone, clock=clock)
        self._resolve_range = resolve_range

    async def graph(
        self,
        site: Site | int,
        start: datetime | str | None = None,
        end: datetime | None = None,
        *,
        period: str | None = None,
        last: tuple[int, str] | None = None,
        attribute_codes: Iterable[str] | None = None,
        attribute_ids: Iterable[int] | None = None,
        instance: int | None = 0,
        min_max: bool = False,
        width: int | None = None,
        points_per_pixel: int | None = None,
    ) -> Graph:
        """Return a graph: one series a code, in the attribute's own unit. Cancelling is safe.

        VRM chooses the step by the length of the range; the first bucket begins at `start`. Ranges of the
        same length that begin at round times give timestamps that can be compared.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/widgets/Graph

        Args:
            site: The site or its id.
            start: An aware datetime; or a local year, month or day of the site as text: ``"2026-05"``. By
                default VRM takes the last day.
            end: An aware datetime after `start`; a side that is left out is VRM's choice.
            period: The text by its name, instead of `start` and `end`.
            last: A number and a unit, such as ``(3, "days")``, instead of `start` and `end`.
            attribute_codes: Codes such as ``["bs", "bv"]``, case-sensitive.
            attribute_ids: VRM's idDataAttribute, instead of codes or beside them.
            instance: The device instance; 0 is the system, None leaves the choice to VRM.
            min_max: Also return the smallest and largest value of each bucket.
            width: Width in pixels; VRM's default is 768. With `points_per_pixel` it sets the step.
            points_per_pixel: Buckets a pixel; VRM's default is 2.

        In a range without data the graph has no series; as a table it has an empty column for each of
        `attribute_codes`.

        Raises:
            ValueError: there is no data because the range begins in the future.
        """
        query = _codes_and_ids(attribute_codes, attribute_ids)
        query += [*validation.instance(instance), *([("useMinMax", "1")] if min_max else [])]
        sizes = {"width": width, "pointsPerPixel": points_per_pixel}
        query += [(name, str(whole(name, size))) for name, size in sizes.items() if size is not None]
        given_range, site_id = (
            time_range(start, end, period=period, last=last, required=False),
            validation.site_id(site),
        )
        first, after = await self._resolve_range(site, given_range)
        query += validation.range_query(first, after)
        asked = series.Asked(codes=validation.named_codes(query), timezone=self._known_zone(site))
        into = partial(series.graph, asked=asked)
        try:
            found = await self._api.call(WIDGET, into, query=query, idSite=site_id, widget="Graph")
        except NoData:
            found = asked.no_graph(instance)
        if not any(map(len, found)):
            validation.not_in_future(first, self._api.account.vendor_clock.now())
        return found

    async def summary(self, site: Site | int, name: str, instance: int | None = None) -> Summary:
        """Return the newest values of one device. Cancelling is safe.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/widgets/BatterySummary

        Args:
            site: The site or its id.
            name: A widget such as ``BatterySummary``; `SUMMARIES` has those that VRM documents.
            instance: The device instance; None leaves the choice to VRM.

        Raises:
            NoData: the site has no such device at that instance; `installations.system_overview` lists the
                instances.
        """
        into = widgets.summary(validation.widget(name), instance)
        query, site_id = validation.instance(instance), validation.site_id(site)
        found = await self._api.call(WIDGET, into, query=query, idSite=site_id, widget=name)
        if widgets.is_wrong_instance(found):
            raise _no_such_instance(name, instance)
        return found

    async def state(
        self,
        site: Site | int,
        name: str,
        instance: int | None = None,
        start: datetime | str | None = None,
        end: datetime | None = None,
        *,
        period: str | None = None,
        last: tuple[int, str] | None = None,
    ) -> StateSeries:
        """Return the changes of state of one device. Cancelling is safe.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/widgets/VeBusState

        Args:
            site: The site or its id.
            name: A widget such as ``VeBusState``; `STATES` has those that VRM documents.
            instance: The device instance; None leaves the choice to VRM.
            start: An aware datetime; or a local year, month or day of the site as text: ``"2026-05"``. By
                default VRM takes the last day.
            end: An aware datetime after `start`; a side that is left out is VRM's choice.
            period: The text by its name, instead of `start` and `end`.
            last: A number and a unit, such as ``(3, "days")``, instead of `start` and `end`.
        """
        into = widgets.states(validation.widget(name), instance)
        query, site_id = validation.instance(instance), validation.site_id(site)
        given_range = time_range(start, end, period=period, last=last, required=False)
        query += validation.range_query(*await self._resolve_range(site, given_range))
        return await self._api.call(WIDGET, into, query=query, idSite=site_id, widget=name)

    async def get(
        self,
        site: Site | int,
        name: str,
        instance: int | None = None,
        start: datetime | str | None = None,
        end: datetime | None = None,
        *,
        period: str | None = None,
        last: tuple[int, str] | None = None,
    ) -> Widget:
        """Return any widget as VRM sends it, also one that this package does not know. Cancelling is safe.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/widgets

        Args:
            site: The site or its id.
            name: The widget's name, letters and digits.
            instance: The device instance; None leaves the choice to VRM.
            start: An aware datetime; or a local year, month or day of the site as text: ``"2026-05"``. By
                default VRM takes the last day.
            end: An aware datetime after `start`; a side that is left out is VRM's choice.
            period: The text by its name, instead of `start` and `end`.
            last: A number and a unit, such as ``(3, "days")``, instead of `start` and `end`.
        """
        into = widgets.widget(validation.widget(name), instance)
        query, site_id = validation.instance(instance), validation.site_id(site)
        given_range = time_range(start, end, period=period, last=last, required=False)
        query += validation.range_query(*await self._resolve_range(site, given_range))
        return await self._api.call(WIDGET, into, query=query, idSite=site_id, widget=name)

    async def gps(self, site: Site | int, instance: int | None = None) -> Position:
        """Return the position of a site, in degrees. Cancelling is safe.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/widgets/GPS
        """
        query = validation.instance(instance)
        site_id = validation.site_id(site)
        found = await self._api.call(WIDGET, widgets.position, query=query, idSite=site_id, widget="GPS")
        if found.seconds_ago is None and found.time is not None:
            age_s = (self._clock.utcnow() - found.time).total_seconds()
            return evolve(found, seconds_ago=max(0.0, age_s))
        return found

    async def hours_of_ac(self, site: Site | int, instance: int | None = None) -> HoursOfAc:
        """Return for how many hours the site had AC power. Cancelling is safe.

        VRM's documents spell the name HoursOfAc and HoursOfAC. The second is used when VRM refuses the first.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/widgets/HoursOfAc
        """
        query = validation.instance(instance)
        site_id = validation.site_id(site)
        into = widgets.hours_of_ac
        try:
            return await self._api.call(WIDGET, into, query=query, idSite=site_id, widget="HoursOfAc")
        except AnswerError as error:
            refusal = error
        if refusal.status not in {200, 400, 404, 405, 422}:  # about the account or the site
            raise refusal
        try:
            return await self._api.call(WIDGET, into, query=query, idSite=site_id, widget="HoursOfAC")
        except AnswerError as error:
            if not is_no_such_path(error):
                raise
        raise refusal

    async def alarm(self, site: Site | int) -> AlarmWidget:
        """Return the alarms that the site's dashboard shows. Cancelling is safe.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/widgets/Alarm
        """
        site_id = validation.site_id(site)
        return await self._api.call(WIDGET, widgets.alarms, idSite=site_id, widget="Alarm")


def _codes_and_ids(codes: Iterable[str] | None, ids: Iterable[int] | None) -> list[tuple[str, str]]:
    """Return codes and ids as VRM's repeated query parameters."""
    if codes is None and ids is None:
        raise ValueError("attribute_codes or attribute_ids must be given")
    numbers = [] if ids is None else checked_ids("attribute_ids", ids)
    named = [] if codes is None else validation.codes(codes)
    return named + [("attributeIds[]", str(number)) for number in numbers]


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
