"""`ClusterMetrics`: what `cluster status` shows, as metrics of Prometheus."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from energy_live.cluster.collector import Collector
from energy_live.cluster.connection import ClusterConnection
from energy_live.cluster.leases import account_of
from energy_live.cluster.status import ConsumerLag, consumer_lags

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

_GAUGES = {
    "pending": ("pending_events", "Events of an account that wait to be published."),
    "level": ("rate_left", "Requests that the rate limit of an account allows at once; negative is a debt."),
    "hold_s": ("hold_seconds", "Seconds until the vendor allows the next request."),
}
_COUNTERS = {
    "published": ("published", "Events of an account published by this host since it took the lease."),
    "duplicates": ("duplicates", "Events that the log had already."),
    "gaps": ("gaps", "Gaps of an account published."),
    "refused": ("refused", "Events that were too large for the server."),
    "throttled": ("throttled", "Requests that the vendor answered 429."),
}


class ClusterMetrics:
    """A collector of prometheus-client: the accounts of this host, and the lag of all consumers.

    Register it, or add it to `PrometheusOutput.more`.
    """

    def __init__(self) -> None:
        self.collector: Collector | None = None
        self.connection: ClusterConnection | None = None
        self._lags: tuple[ConsumerLag, ...] = ()

    async def refresh(self) -> None:
        """Ask the server how far consumers are behind; `collect` serves the last answer.

        Raises:
            ClusterError: No server answers, or it refuses.
        """
        if self.connection is not None:
            self._lags = await consumer_lags(self.connection)

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics as of now; the registry calls this."""
        from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily  # noqa: PLC0415

        def gauge(name: str, about: str, *labels: str) -> GaugeMetricFamily:
            return GaugeMetricFamily(f"energy_live_cluster_{name}", about, labels=labels)

        connected = gauge("connected", "1 while a NATS server is connected.")
        connected.add_metric((), float(self.connection is not None and self.connection.is_connected))
        lag = gauge("consumer_waiting_events", "Events that a consumer has not finished.", "consumer")
        for each in self._lags:
            lag.add_metric((each.name,), each.waiting + each.unacknowledged)
        yield from (connected, lag)
        if self.collector is None:
            return
        lost = CounterMetricFamily("energy_live_cluster_leases_lost", "Leases lost instead of given back.")
        lost.add_metric((), self.collector.lost)
        held = gauge("lease_held", "1 for each account that this host polls.", "account")
        families: list[Metric] = [lost, held]
        abouts = {account_of(key): run.about() for key, run in self.collector.runs.items()}
        for account in abouts:
            held.add_metric((account,), 1.0)
        for key, (name, text) in _GAUGES.items():
            families.append(_family(gauge(name, text, "account"), key, abouts))
        for key, (name, text) in _COUNTERS.items():
            counter = CounterMetricFamily(f"energy_live_cluster_{name}", text, labels=("account",))
            families.append(_family(counter, key, abouts))
        yield from families


def _family(family: Metric, key: str, abouts: Mapping[str, Mapping[str, object]]) -> Metric:
    for account, about in abouts.items():
        value = about.get(key)
        if isinstance(value, int | float):
            family.add_metric((account,), value)  # type: ignore[attr-defined]
    return family
