"""Graphs and changes of state of any length, asked for in windows that are all alike."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Final, Generic, TypeAlias, TypeVar

from attrs import evolve

from energy_core.clock import Clock, SystemClock
from energy_core.codec.json import JSON
from energy_core.errors import NoData
from energy_core.http.client import ApiClient
from energy_core.http.operation import Operation, Priority
from energy_core.local_days import EPOCH
from vrm_async import validation
from vrm_async.decoding import series as decoding_series
from vrm_async.history.base import REREAD, History, HistoryCursor
from vrm_async.history.chunks import changes, window_of, within
from vrm_async.models.series import Graph
from vrm_async.models.widget import StateSeries

WIDGET: Final = Operation(
    vendor="vrm",
    name="widgets",
    method="GET",
    path="installations/{idSite}/widgets/{widget}",
    repeatable=True,
)

WINDOW: Final = timedelta(days=1)
"""What one request asks for. The longer it is, the coarser VRM's step."""
_SHORTEST: Final = timedelta(hours=1)

T = TypeVar("T", bound=Graph | StateSeries)
Ask: TypeAlias = Callable[[datetime, datetime], Awaitable[T]]
Cut: TypeAlias = Callable[[T, datetime, datetime], T]


class WidgetHistory(History[T], Generic[T]):
    """One widget from `start` to `end`; iterating yields a `Chunk` for each window.

    VRM resamples: it chooses the step by the length of a range, and begins at its start. So every request
    asks for a whole window, all equally long and counted from the epoch; what lies outside is cut off.
    """

    def __init__(
        self,
        name: str,
        ask: Ask[T],
        cut: Cut[T],
        nothing: T,
        *,
        start: datetime,
        end: datetime | None,
        window: timedelta,
        late: timedelta,
        checkpoint: HistoryCursor | None,
        clock: Clock,
    ) -> None:
        if window < _SHORTEST or window % timedelta(seconds=1):
            raise ValueError(f"window must be whole seconds, an hour at least: {window}")
        super().__init__(name, start=start, end=end, late=late, checkpoint=checkpoint, clock=clock)
        self._ask = ask
        self._cut = cut
        self._nothing = nothing
        self._window = window

    async def _bounds(self, start: datetime | None, end: datetime | None) -> tuple[datetime, datetime]:
        now = self._clock.utcnow()
        return (start or EPOCH).astimezone(UTC), (end or now).astimezone(UTC)

    def _floor(self, moment: datetime) -> datetime:
        return window_of(moment, self._window)

    async def _piece(self, at: datetime, end: datetime) -> tuple[datetime, T, bool]:
        begin = window_of(at, self._window)
        after = begin + self._window
        stop = min(after, end)
        try:
            found = await self._ask(begin, after)
        except NoData:
            found = self._nothing
        cut = self._cut(found, at, stop)
        return stop, cut, not any(len(each) for each in found)


GraphHistory: TypeAlias = WidgetHistory[Graph]
StatePages: TypeAlias = WidgetHistory[StateSeries]


def cut_graph(found: Graph, start: datetime, end: datetime) -> Graph:
    """Return what lies in a piece."""
    return evolve(found, series=tuple(within(series, start, end) for series in found))


class CutStates:
    """The same for changes of state, where a state that goes on over a seam is no change.

    After a window that knows no state, the same state again is a change.
    """

    def __init__(self) -> None:
        self._last: dict[tuple[str, int | None], tuple[int | None, str | None]] = {}

    def __call__(self, found: StateSeries, start: datetime, end: datetime) -> StateSeries:
        """Return what lies in a piece; the first piece begins with the state that holds at its start."""
        cut, last = [], {}
        for states in found:
            key = (states.code, states.attribute_id)
            shown = changes(states, start, end, self._last.get(key))
            cut.append(shown)
            if len(shown):
                last[key] = shown.numbers[-1], shown.names[-1]
            elif len(states) and key in self._last:
                last[key] = self._last[key]
        self._last = last
        return evolve(found, states=tuple(cut))


class WidgetHistories:
    """What the endpoint `Widgets` offers of them."""

    def __init__(self, api: ApiClient, *, clock: Clock = SystemClock()) -> None:  # noqa: B008  (stateless)
        self._api = api
        self._clock = clock

    def graph_history(
        self,
        site_id: int,
        *,
        attribute_codes: Iterable[str],
        start: datetime,
        end: datetime | None = None,
        instance: int | None = 0,
        min_max: bool = False,
        window: timedelta = WINDOW,
        late: timedelta = REREAD,
        checkpoint: HistoryCursor | None = None,
        priority: Priority = Priority.BACKGROUND,
    ) -> GraphHistory:
        """Iterate over a graph of any length, in windows that are all alike; nothing is asked before.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/widgets/Graph

        Args:
            site_id: The site.
            attribute_codes: Codes such as ``["bs", "bv"]``, case-sensitive.
            start: An aware datetime.
            end: An aware datetime after `start`; without it now.
            instance: The device instance; 0 is the system.
            min_max: Also ask for the smallest and largest value of each bucket.
            window: What one request asks for; the longer, the coarser VRM's step.
            late: With a checkpoint, read again what is not older than this before it: devices deliver late.
            checkpoint: Where an earlier history of the same question stopped (`Chunk.checkpoint`).
            priority: Its requests let those of others pass.
        """
        query = [*validation.codes(attribute_codes), *validation.instance(instance)]
        query += [("useMinMax", "1")] if min_max else []
        return WidgetHistory(
            _name(site_id, "Graph", query, window),
            self._asking(site_id, "Graph", query, decoding_series.graph, priority),
            cut_graph,
            Graph(instance=instance),
            start=start,
            end=end,
            window=window,
            late=late,
            checkpoint=checkpoint,
            clock=self._clock,
        )

    def state_history(
        self,
        site_id: int,
        name: str,
        instance: int | None = None,
        *,
        start: datetime,
        end: datetime | None = None,
        window: timedelta = WINDOW,
        late: timedelta = REREAD,
        checkpoint: HistoryCursor | None = None,
        priority: Priority = Priority.BACKGROUND,
    ) -> StatePages:
        """Iterate over the changes of state of any length, from a widget such as VeBusState.

        A state that goes on over a seam is reported once. The first piece begins with the state that holds at
        its start, as VRM tells it.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/widgets/VeBusState

        Args:
            site_id: The site.
            name: The widget.
            instance: The device instance; None leaves the choice to VRM.
            start: An aware datetime.
            end: An aware datetime after `start`; without it now.
            window: What one request asks for.
            late: With a checkpoint, read again what is not older than this before it: devices deliver late.
            checkpoint: Where an earlier history of the same question stopped (`Chunk.checkpoint`).
            priority: Its requests let those of others pass.
        """
        into = decoding_series.state_history(validation.widget(name), instance)
        query = validation.instance(instance)
        return WidgetHistory(
            _name(site_id, name, query, window),
            self._asking(site_id, name, query, into, priority),
            CutStates(),
            StateSeries(name=name, instance=instance),
            start=start,
            end=end,
            window=window,
            late=late,
            checkpoint=checkpoint,
            clock=self._clock,
        )

    def _asking(
        self,
        site_id: int,
        name: str,
        query: list[tuple[str, str]],
        into: Callable[[JSON], T],
        priority: Priority,
    ) -> Ask[T]:
        site_id = validation.whole("site_id", site_id)

        async def ask(begin: datetime, stop: datetime) -> T:
            whole = [*query, *validation.span(begin, stop)]
            return await self._api.call(
                WIDGET, into, query=whole, priority=priority, idSite=site_id, widget=name
            )

        return ask


def _name(site_id: int, widget: str, query: list[tuple[str, str]], window: timedelta) -> str:
    asked = "&".join(f"{name}={value}" for name, value in query)
    return f"{widget}/{site_id}?{asked}#{window.total_seconds():.0f}"
