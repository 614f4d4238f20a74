"""The panels of VRM's dashboard, by name; the list of names is open."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

from attrs import evolve

from energy_core.errors import AnswerError, NoData
from vrm_async import validation
from vrm_async.decoding import series, widgets
from vrm_async.history.widgets import WIDGET, WidgetHistories
from vrm_async.models.series import Graph
from vrm_async.models.widget import AlarmWidget, HoursOfAc, Position, StateSeries, Summary, Widget
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
"""The panels of changes of state that VRM documents, for `state`; other names work too."""

SUMMARIES: Final[Mapping[str, str]] = {
    "BMSDiagnostics": "what a battery's management reports",
    "BatterySummary": "a battery monitor",
    "DCMeter": "a meter on the DC side",
    "EvChargerSummary": "a charging station",
    "GlobalLinkSummary": "a GlobalLink",
    "HistoricData": "what a battery monitor remembers",
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
"""The panels of newest values that VRM documents, for `summary`; other names work too."""


class Widgets(WidgetHistories):
    """Graphs, summaries and changes of state of one device instance."""

    async def graph(
        self,
        site_id: int,
        *,
        attribute_codes: Iterable[str] | None = None,
        attribute_ids: Iterable[int] | None = None,
        instance: int | None = 0,
        start: datetime | None = None,
        end: datetime | None = None,
        min_max: bool = False,
        width: int | None = None,
        points_per_pixel: int | None = None,
    ) -> Graph:
        """Return one series per code. VRM chooses the step, and its first bucket begins at `start`.

        Ranges of one length that begin at round times give comparable timestamps.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/widgets/Graph

        Args:
            site_id: The site.
            attribute_codes: Codes such as ``["bs", "bv"]``, case-sensitive.
            attribute_ids: VRM's idDataAttribute, instead of codes or beside them.
            instance: The device instance; 0 is the system.
            start: An aware datetime; without it the last day.
            end: An aware datetime.
            min_max: Also ask for the smallest and largest value of each bucket.
            width: How many pixels the graph is wide; VRM takes 768. With `points_per_pixel` it sets the step.
            points_per_pixel: How many buckets a pixel gets; VRM takes 2.
        """
        query = _wanted(attribute_codes, attribute_ids)
        query += validation.instance(instance) + validation.open_span(start, end)
        query += [("useMinMax", "1")] if min_max else []
        sizes = {"width": width, "pointsPerPixel": points_per_pixel}
        query += [
            (name, str(validation.whole(name, size))) for name, size in sizes.items() if size is not None
        ]
        site_id = validation.whole("site_id", site_id)
        return await self._api.call(WIDGET, series.graph, query=query, idSite=site_id, widget="Graph")

    async def summary(self, site_id: int, name: str, instance: int | None = None) -> Summary:
        """Return the newest values of one device, from a widget such as BatterySummary.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/widgets/BatterySummary

        Raises:
            NoData: the site has no such device at that instance; `system_overview` lists the instances.
        """
        into = widgets.summary(validation.widget(name), instance)
        query, site_id = validation.instance(instance), validation.whole("site_id", site_id)
        found = await self._api.call(WIDGET, into, query=query, idSite=site_id, widget=name)
        if widgets.is_wrong_instance(found):
            raise _no_such_instance(name, instance)
        return found

    async def state(
        self,
        site_id: int,
        name: str,
        instance: int | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
    ) -> StateSeries:
        """Return the changes of state of one device, from a widget such as VeBusState.

        Without a range it is the last day.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/widgets/VeBusState
        """
        into = widgets.states(validation.widget(name), instance)
        query = validation.instance(instance) + validation.open_span(start, end)
        site_id = validation.whole("site_id", site_id)
        return await self._api.call(WIDGET, into, query=query, idSite=site_id, widget=name)

    async def get(
        self,
        site_id: int,
        name: str,
        instance: int | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
    ) -> Widget:
        """Return any panel as VRM sends it, whatever its name is: also one that this package does not know.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/widgets
        """
        into = widgets.widget(validation.widget(name), instance)
        query = validation.instance(instance) + validation.open_span(start, end)
        site_id = validation.whole("site_id", site_id)
        return await self._api.call(WIDGET, into, query=query, idSite=site_id, widget=name)

    async def gps(self, site_id: int, instance: int | None = None) -> Position:
        """Return where the site is.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/widgets/GPS
        """
        query = validation.instance(instance)
        site_id = validation.whole("site_id", site_id)
        found = await self._api.call(WIDGET, widgets.position, query=query, idSite=site_id, widget="GPS")
        if found.seconds_ago is None and found.time is not None:
            age_s = (self._clock.utcnow() - found.time).total_seconds()
            return evolve(found, seconds_ago=max(0.0, age_s))
        return found

    async def hours_of_ac(self, site_id: int, instance: int | None = None) -> HoursOfAc:
        """Return how long the site had AC power.

        VRM's documents spell the name HoursOfAc and HoursOfAC. The second is used when VRM refuses the first.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/widgets/HoursOfAc
        """
        query = validation.instance(instance)
        site_id = validation.whole("site_id", site_id)
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

    async def alarm(self, site_id: int) -> AlarmWidget:
        """Return the alarms of the site as its dashboard shows them.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/widgets/Alarm
        """
        site_id = validation.whole("site_id", site_id)
        return await self._api.call(WIDGET, widgets.alarms, idSite=site_id, widget="Alarm")


def _wanted(codes: Iterable[str] | None, ids: Iterable[int] | None) -> list[tuple[str, str]]:
    """Return what a graph shows, as VRM's repeated parameters."""
    if codes is None and ids is None:
        raise ValueError("attribute_codes or attribute_ids must be given")
    numbers = [] if ids is None else validation.several("attribute_ids", ids)
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
