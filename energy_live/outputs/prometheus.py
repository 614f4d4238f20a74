"""Serves the present values to Prometheus: gauges that vanish when stale, energy counters, our own health.

Names follow Prometheus' rules: base units (watts, volts, amperes, celsius, joules, ratios from 0 to 1), and
``_total`` at the end of counters. docs/how-to/prometheus.md has all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from aiohttp import web

from energy_core.clock import Clock, SystemClock
from energy_core.home.preference import status_source
from energy_core.printable import printable
from energy_core.stream.checkpoint import Checkpoint
from energy_core.stream.event import Event
from energy_core.stream.status import SourceStatus
from energy_core.stream.vocabulary import Kind, Quantity, SourceId, State, Status
from energy_live.outputs.feed_status import OutputState, OutputStatus
from energy_live.outputs.output import OutputError

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

Health: TypeAlias = tuple[Mapping[SourceId, SourceStatus], Mapping[str, OutputStatus], datetime]
"""The states of all sources and outputs, and the present time."""

_UNITS: Final[Mapping[str, tuple[str, float]]] = {
    "W": ("watts", 1.0),
    "V": ("volts", 1.0),
    "A": ("amperes", 1.0),
    "%": ("ratio", 0.01),
    "degC": ("celsius", 1.0),
    "kWh": ("joules", 3_600_000.0),
}
"""Name of the base unit, and its factor, by the unit of a quantity."""

_HIDDEN: Final = frozenset({State.STALE, State.AUTH_FAILED, State.FAILED, State.CLOSED})
"""States in which the values of a site are not shown. After a lost connection only their age counts."""

_DEVICE: Final = ("vendor", "site", "instance")


class _Latest(NamedTuple):
    value: float
    time: datetime
    received_at: datetime


class PrometheusOutput:
    """Serves ``/metrics`` over HTTP. Needs the extra `prometheus`.

    A gauge is left out when its value is older than `max_age_s`, or while its site is stale or has failed:
    Prometheus then shows a gap instead of a straight line. Energies stay.

    Args:
        host: Address to listen on.
        port: Port; 0: a free one.
        max_age_s: Seconds after which a value is stale.
        health: Returns the states of sources and outputs; None: they are not served.
        names: Names of sites and products, by vendor and number.
        clock: Source of time, for tests.
    """

    idempotent = True

    def __init__(
        self,
        host: str,
        port: int,
        *,
        max_age_s: float = 900.0,
        health: Callable[[], Health] | None = None,
        names: Mapping[tuple[str, str], str] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._host, self._port = host, port
        self._max_age_s = max_age_s
        self._health = health
        self._names = {} if names is None else names
        self._clock = clock or SystemClock()
        self.more: list[Any] = []
        """Further collectors of prometheus-client, which are served too."""
        self._latest: dict[tuple[SourceId, Quantity], _Latest] = {}
        self._states: dict[SourceId, State] = {}
        self._registry: CollectorRegistry | None = None
        self._runner: web.AppRunner | None = None

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._port

    async def open(self) -> Checkpoint:
        """Listen, and return an empty position: only the present is served.

        Raises:
            OutputError: The address is in use or not permitted, or the extra is missing.
        """
        try:
            from prometheus_client import CollectorRegistry, ProcessCollector  # noqa: PLC0415  (an extra)
        except ModuleNotFoundError:
            raise OutputError(
                'Prometheus needs pip install "energy-live[prometheus]"', permanent=True
            ) from None
        registry = self._registry = CollectorRegistry()
        for each in (self, *self.more):
            registry.register(each)
        ProcessCollector(registry=registry)
        app = web.Application()
        app.router.add_get("/metrics", self._metrics)
        runner = self._runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, self._host, self._port).start()
        except OSError as error:
            what = f"cannot listen on {self._host}:{self._port}, {error.strerror or error}"
            raise OutputError(f"{what}; choose another address", permanent=True) from None
        self._port = runner.addresses[0][1]
        return Checkpoint()

    async def write(self, batch: Sequence[Event], position: Checkpoint) -> None:  # noqa: ARG002
        """Note the newest values and states; they are served when Prometheus asks."""
        for event in batch:
            if isinstance(event.detail, Status):
                self._states[event.source] = event.detail.state
            elif event.kind is Kind.READING:
                for quantity, value in event.values.items():
                    self._note(event, quantity, value)

    async def close(self) -> None:
        """Stop listening."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    def _note(self, event: Event, quantity: Quantity, value: float) -> None:
        known = self._latest.get((event.source, quantity))
        if known is None or known.time <= event.time:
            self._latest[event.source, quantity] = _Latest(value, event.time, event.received_at)

    async def _metrics(self, request: web.Request) -> web.Response:
        from prometheus_client.exposition import choose_encoder  # noqa: PLC0415  (an extra)

        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        if self._registry is None:
            raise web.HTTPServiceUnavailable
        return web.Response(body=encode(self._registry), headers={"Content-Type": content_type})

    # --- what is served ------------------------------------------------------------------------------------

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics as of now; the registry calls this."""
        from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily  # noqa: PLC0415

        make = _Families(GaugeMetricFamily, CounterMetricFamily)
        self._add_values(make)
        for vendor, site in sorted({source[::2] for source, _ in self._latest}):
            if name := self._names.get((vendor, site)):
                make.gauge("site_info", "Name of a site or product.", 1, vendor=vendor, site=site, name=name)
        if self._health is not None:
            sources, outputs, now = self._health()
            _add_sources(make, sources)
            _add_outputs(make, outputs, now)
        yield from make.families.values()

    def _add_values(self, make: _Families) -> None:
        now = self._clock.utcnow()
        for (source, quantity), latest in sorted(self._latest.items()):
            is_energy = quantity.unit == "kWh"
            if not is_energy and self._is_stale(source, latest, now):
                continue
            labels = dict(zip(_DEVICE, (source.vendor, source.site, str(source.instance)), strict=True))
            unit, factor = _UNITS[quantity.unit]
            name, value = f"{quantity}_{unit}", round(latest.value * factor, 9)  # 0.29 for 29 %
            words = str(quantity).replace("_", " ")
            if is_energy:
                make.counter(name, f"{words.capitalize()} since it is counted.", value, **labels)
            else:
                make.gauge(name, f"Present {words}, absent while it is stale.", value, **labels)
                make.gauge(
                    "value_timestamp_seconds",
                    "Time of the present value, by the device's clock.",
                    latest.time.timestamp(),
                    **labels,
                    quantity=str(quantity),
                )

    def _is_stale(self, source: SourceId, latest: _Latest, now: datetime) -> bool:
        age_s = max((now - latest.time).total_seconds(), (now - latest.received_at).total_seconds())
        known = status_source(self._states, source)
        return age_s > self._max_age_s or (known is not None and self._states[known] in _HIDDEN)

    @printable
    def __repr__(self) -> str:
        return f"<PrometheusOutput on {self._host}:{self._port}, {len(self._latest)} values>"


class _Families:
    """The metrics of one answer, by name."""

    def __init__(self, gauge: type[GaugeMetricFamily], counter: type[CounterMetricFamily]) -> None:
        self._gauge, self._counter = gauge, counter
        self.families: dict[str, Any] = {}

    def gauge(self, name: str, about: str, value: float, /, **labels: str) -> None:
        """Add one sample of a gauge."""
        self._add(self._gauge, name, about, value, labels)

    def counter(self, name: str, about: str, value: float, /, **labels: str) -> None:
        """Add one sample of a counter, whose name gets ``_total``."""
        self._add(self._counter, name, about, value, labels)

    def _add(self, kind: type[Any], name: str, about: str, value: float, labels: Mapping[str, str]) -> None:
        family = self.families.get(name)
        if family is None:
            family = self.families[name] = kind(f"energy_live_{name}", about, labels=list(labels))
        family.add_metric(list(labels.values()), value)


def _add_sources(make: _Families, sources: Mapping[SourceId, SourceStatus]) -> None:
    for source, status in sources.items():
        name = str(source)
        for state in State:
            about = "1 for the present state of a source, 0 for all others."
            make.gauge("source_state", about, float(status.state is state), source=name, state=str(state))
        make.gauge("source_state_age_seconds", "Time in the present state.", status.age_s, source=name)
        if status.quiet_s is not None:
            make.gauge(
                "source_quiet_seconds", "Time since the last reading arrived.", status.quiet_s, source=name
            )
        make.gauge(
            "source_pending_spans", "Time spans that will be fetched again.", len(status.pending), source=name
        )
        for counter, about, value in (
            ("readings", "Readings delivered.", status.readings),
            ("backfilled", "Readings fetched later to fill a gap.", status.backfilled),
            ("late", "Readings older than one delivered before.", status.late),
            ("dropped", "Readings that consumers were too slow for.", status.dropped),
            ("gaps", "Gaps reported.", status.gaps),
            ("refused", "Readings refused because they are dated in the future.", status.refused),
            ("restarts", "Restarts.", status.restarts),
        ):
            make.counter(f"source_{counter}", about, value, source=name)


def _add_outputs(make: _Families, outputs: Mapping[str, OutputStatus], now: datetime) -> None:
    for name, status in outputs.items():
        for state in OutputState:
            about = "1 for the present state of an output, 0 for all others."
            make.gauge("output_state", about, float(status.state is state), output=name, state=str(state))
        make.gauge("output_pending_events", "Events that wait to be written.", status.pending, output=name)
        make.gauge(
            "output_lag_seconds", "How long the oldest of them has waited.", status.waiting_s, output=name
        )
        if status.written_at is not None:
            quiet_s = max(0.0, (now - status.written_at).total_seconds())
            make.gauge("output_quiet_seconds", "Time since the last batch was written.", quiet_s, output=name)
        for counter, about, value in (
            ("written", "Readings written.", status.written),
            ("lost", "Readings that did not fit into the buffer; fetched again where possible.", status.lost),
            ("gaps", "Gaps reported to the output.", status.gaps),
            ("refused", "Events that the store refused one by one.", status.refused),
            ("failures", "Attempts that failed.", status.failures),
        ):
            make.counter(f"output_{counter}", about, value, output=name)
