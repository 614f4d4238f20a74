"""Graphs and changes of state of any length, requested in windows of one length."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final, Generic, TypeAlias, TypeVar

from attrs import evolve

from energy_core.clock import Clock
from energy_core.codec.json import JSON
from energy_core.errors import NoData
from energy_core.http.client import ApiClient
from energy_core.http.operation import Operation, Priority
from energy_core.local_days import EPOCH, TimeRange, time_range
from vrm_async import validation
from vrm_async.decoding import series as decoding_series
from vrm_async.decoding import widgets as decoding_widgets
from vrm_async.decoding.series import Asked
from vrm_async.history.base import REREAD, History, HistoryCursor
from vrm_async.history.chunks import window_of
from vrm_async.history.joining import changes, joined_graph, joined_states, within
from vrm_async.models.series import Graph
from vrm_async.models.site import Site
from vrm_async.models.state import StateSeries

WIDGET: Final = Operation(
    vendor="vrm",
    name="widgets",
    method="GET",
    path="installations/{idSite}/widgets/{widget}",
    repeatable=True,
)

WINDOW: Final = timedelta(days=1)
"""Length of one request. VRM's step grows with it."""
_SHORTEST_WINDOW: Final = timedelta(hours=1)

T = TypeVar("T", bound=Graph | StateSeries)
Request: TypeAlias = Callable[[datetime, datetime], Awaitable[T]]
Cut: TypeAlias = Callable[[T, datetime, datetime], T]
ZoneOf: TypeAlias = Callable[[Site | int], Awaitable[tzinfo]]
"""Returns the time zone of a site."""
KnownZone: TypeAlias = Callable[[Site | int], str | None]
"""Returns the name of a site's time zone if no request is needed for it."""


class WidgetHistory(History[T], Generic[T]):
    """One widget over a range of any length; iterating yields a `Chunk` for each window.

    ``await`` returns the whole range as one value.

    VRM resamples: it chooses the step by the length of the range and begins at its start. So all requests
    have one length and begin at multiples of it since the epoch; data outside the range are cut off.
    """

    def __init__(
        self,
        name: str,
        request: Request[T],
        cut: Cut[T],
        nothing: T,
        zone: Callable[[], Awaitable[tzinfo]],
        *,
        join: Callable[[Sequence[T]], T],
        time_range: TimeRange,
        window: timedelta,
        reread: timedelta,
        checkpoint: HistoryCursor | None,
        clock: Clock,
    ) -> None:
        if window < _SHORTEST_WINDOW or window % timedelta(seconds=1):
            raise ValueError(f"window must be at least an hour, in whole seconds: {window}")
        super().__init__(name, time_range=time_range, reread=reread, checkpoint=checkpoint, clock=clock)
        self._request = request
        self._cut = cut
        self._nothing = nothing
        self._zone = zone
        self._join_parts = join
        self._window = window

    def _join(self, parts: Sequence[T]) -> T:
        return self._join_parts(parts) if parts else self._nothing

    async def _bounds(self) -> tuple[datetime, datetime]:
        # Most ranges are two moments: they need no request for the site's zone.
        zone = await self._zone() if self._range.needs_zone else UTC
        now = self._clock.utcnow()
        start, end = self._range.resolve(now, zone)
        return (start or EPOCH).astimezone(UTC), (end or now).astimezone(UTC)

    def _floor(self, moment: datetime) -> datetime:
        return window_of(moment, self._window)

    async def _read(self, at: datetime, end: datetime) -> tuple[datetime, T, bool]:
        # Always the whole window, even if the range begins or ends inside: the timestamps depend on it.
        begin = window_of(at, self._window)
        after = begin + self._window
        stop = min(after, end)
        try:
            found = await self._request(begin, after)
        except NoData:
            found = self._nothing
        cut = self._cut(found, at, stop)
        return stop, cut, not any(len(each) for each in found)


GraphHistory: TypeAlias = WidgetHistory[Graph]
StatePages: TypeAlias = WidgetHistory[StateSeries]


def cut_graph(found: Graph, start: datetime, end: datetime) -> Graph:
    """Return the part of a graph from `start` to before `end`."""
    return evolve(found, series=tuple(within(series, start, end) for series in found))


class CutStates:
    """Cuts changes of state to a chunk; a state that continues from the chunk before is no change.

    After a chunk without a known state, the same state again is a change.
    """

    def __init__(self) -> None:
        self._last: dict[tuple[str, int | None], tuple[int | None, str | None]] = {}

    def __call__(self, found: StateSeries, start: datetime, end: datetime) -> StateSeries:
        """Return the changes from `start` to before `end`; the first chunk has the state at `start` too."""
        cut, last = [], {}
        for states in found:
            key = (states.code, states.attribute_id)
            kept = changes(states, start, end, self._last.get(key))
            cut.append(kept)
            if len(kept):
                last[key] = kept.numbers[-1], kept.names[-1]
            elif len(states) and key in self._last:
                last[key] = self._last[key]
        self._last = last
        return evolve(found, states=tuple(cut))


class WidgetHistories:
    """The histories of `client.widgets`.

    Args:
        api: Sends the requests.
        zone_of: Returns a site's time zone, for ranges of local days.
        known_zone: Returns the name of a site's time zone if no request is needed for it.
        clock: The present, where a range is open or ends now.
    """

    def __init__(
        self,
        api: ApiClient,
        zone_of: ZoneOf,
        known_zone: KnownZone,
        *,
        clock: Clock,
    ) -> None:
        self._api = api
        self._zone_of = zone_of
        self._known_zone = known_zone
        self._clock = clock

    def graph_history(
        self,
        site: Site | int,
        start: datetime | str | None = None,
        end: datetime | None = None,
        *,
        attribute_codes: Iterable[str],
        period: str | None = None,
        last: tuple[int, str] | None = None,
        instance: int | None = 0,
        min_max: bool = False,
        window: timedelta = WINDOW,
        reread: timedelta = REREAD,
        checkpoint: HistoryCursor | None = None,
        priority: Priority = Priority.BACKGROUND,
    ) -> GraphHistory:
        """Return an async iterator over a graph of any length. Nothing is sent before its first step.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/widgets/Graph

        Args:
            site: The site or its id.
            start: An aware datetime; or a local year, month or day of the site as text: ``"2026-05"``.
            end: An aware datetime after `start`; by default now.
            attribute_codes: Codes such as ``["bs", "bv"]``, case-sensitive.
            period: The text by its name, instead of `start` and `end`.
            last: A range that ends now, such as ``(30, "days")``.
            instance: The device instance; 0 is the system, None leaves the choice to VRM.
            min_max: Whether to request the minimum and maximum of each bucket.
            window: Length of one request; VRM's step grows with it.
            reread: How much before the checkpoint is read again, because devices deliver late.
            checkpoint: Where an earlier history with the same arguments stopped (`Chunk.checkpoint`).
            priority: Requests of a higher priority are sent first.

        Raises:
            ValueError: the range is not given in one of its forms, or an argument has a wrong value.
        """
        query = [*validation.codes(attribute_codes), *validation.instance(instance)]
        query += [("useMinMax", "1")] if min_max else []
        asked = Asked(codes=validation.named_codes(query))

        def into(payload: JSON) -> Graph:
            # A range of local days has requested the site's time zone before the first request.
            zone = self._known_zone(site)
            return decoding_series.graph(payload, asked=asked._replace(timezone=zone))

        return self._history(
            "Graph",
            query,
            into,
            cut_graph,
            asked.no_graph(instance),
            join=joined_graph,
            site=site,
            time_range=_with_start(start, end, period=period, last=last),
            window=window,
            reread=reread,
            checkpoint=checkpoint,
            priority=priority,
        )

    def state_history(
        self,
        site: Site | int,
        name: str,
        instance: int | None = None,
        start: datetime | str | None = None,
        end: datetime | None = None,
        *,
        period: str | None = None,
        last: tuple[int, str] | None = None,
        window: timedelta = WINDOW,
        reread: timedelta = REREAD,
        checkpoint: HistoryCursor | None = None,
        priority: Priority = Priority.BACKGROUND,
    ) -> StatePages:
        """Return an async iterator over changes of state of any length, from a widget such as VeBusState.

        A state that continues over the border of two chunks is reported once. The first chunk begins with
        the state at its start, as VRM sends it. Nothing is sent before the first step.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/widgets/VeBusState

        Args:
            site: The site or its id.
            name: The widget.
            instance: The device instance; None leaves the choice to VRM.
            start: An aware datetime; or a local year, month or day of the site as text: ``"2026-05"``.
            end: An aware datetime after `start`; by default now.
            period: The text by its name, instead of `start` and `end`.
            last: A range that ends now, such as ``(30, "days")``.
            window: Length of one request.
            reread: How much before the checkpoint is read again, because devices deliver late.
            checkpoint: Where an earlier history with the same arguments stopped (`Chunk.checkpoint`).
            priority: Requests of a higher priority are sent first.

        Raises:
            ValueError: the range is not given in one of its forms, or an argument has a wrong value.
        """
        return self._history(
            name,
            validation.instance(instance),
            decoding_widgets.states(validation.widget(name), instance),
            CutStates(),
            StateSeries(name=name, instance=instance),
            join=joined_states,
            site=site,
            time_range=_with_start(start, end, period=period, last=last),
            window=window,
            reread=reread,
            checkpoint=checkpoint,
            priority=priority,
        )

    def _history(
        self,
        widget: str,
        query: list[tuple[str, str]],
        into: Callable[[JSON], T],
        cut: Cut[T],
        nothing: T,
        *,
        join: Callable[[Sequence[T]], T],
        site: Site | int,
        time_range: TimeRange,
        window: timedelta,
        reread: timedelta,
        checkpoint: HistoryCursor | None,
        priority: Priority,
    ) -> WidgetHistory[T]:
        site_id = validation.site_id(site)

        async def request(begin: datetime, stop: datetime) -> T:
            whole = [*query, *validation.range_query(begin, stop)]
            return await self._api.call(
                WIDGET, into, query=whole, priority=priority, idSite=site_id, widget=widget
            )

        async def zone() -> tzinfo:
            return await self._zone_of(site)

        arguments = "&".join(f"{key}={value}" for key, value in query)
        return WidgetHistory(
            f"{widget}/{site_id}?{arguments}#{window.total_seconds():.0f}",
            request,
            cut,
            nothing,
            zone,
            join=join,
            time_range=time_range,
            window=window,
            reread=reread,
            checkpoint=checkpoint,
            clock=self._clock,
        )


def _with_start(
    start: datetime | str | None, end: datetime | None, *, period: str | None, last: tuple[int, str] | None
) -> TimeRange:
    """Read a range of which only the end may be open: VRM does not send the first day of a widget."""
    if start is None and period is None and last is None:
        raise ValueError("the range needs a beginning: give start, period or last")
    return time_range(start, end, period=period, last=last, required=False)
