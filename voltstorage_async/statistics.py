"""merge_statistics combines the statistics of several periods."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import fsum

from voltstorage_async.models import Sampled, Statistics, Weighted


def merge_statistics(periods: Iterable[Statistics]) -> Statistics:
    """Return the statistics of several periods together. The periods must not overlap.

    Energies are added; means are weighted by their samples or their weight, and a mean without samples or
    weight is left out. A value that no period has is None, never zero. A mean is None if one of its parts has
    a value but no weight. Of several periods, `pv_activity` is None, because its meaning is undocumented, and
    `raw` is empty.

    Raises:
        ValueError: `periods` is empty.
    """
    parts = tuple(periods)
    if not parts:
        raise ValueError("periods is empty: there is nothing to merge")
    if len(parts) == 1:
        return parts[0]
    return Statistics(
        start=min((part.start for part in parts if part.start is not None), default=None),
        pv_total_j=_sum(part.pv_total_j for part in parts),
        consumption_total_j=_sum(part.consumption_total_j for part in parts),
        storage_total_released_j=_sum(part.storage_total_released_j for part in parts),
        storage_total_stored_j=_sum(part.storage_total_stored_j for part in parts),
        max_temperature=max(
            (part.max_temperature for part in parts if part.max_temperature is not None), default=None
        ),
        own_consumption=_sampled(part.own_consumption for part in parts),
        electrolyte_temp=_sampled(part.electrolyte_temp for part in parts),
        pump_temp=_sampled(part.pump_temp for part in parts),
        dc_capacity_j=_sampled(part.dc_capacity_j for part in parts),
        ac_capacity_j=_sampled(part.ac_capacity_j for part in parts),
        dc_efficiency=_sampled(part.dc_efficiency for part in parts),
        ac_efficiency=_sampled(part.ac_efficiency for part in parts),
        self_sufficiency=_weighted(part.self_sufficiency for part in parts),
    )


def _sum(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fsum(known) if known else None


def _sampled(parts: Iterable[Sampled | None]) -> Sampled | None:
    known = [part for part in parts if part is not None]
    if not known:
        return None
    value, weight = _mean([(part.value, part.n_samples) for part in known])
    return Sampled(value=value, n_samples=None if weight is None else round(weight))


def _weighted(parts: Iterable[Weighted | None]) -> Weighted | None:
    known = [part for part in parts if part is not None]
    if not known:
        return None
    value, weight = _mean([(part.value, part.total_weight) for part in known])
    return Weighted(value=value, total_weight=weight)


def _mean(parts: Sequence[tuple[float | None, float | None]]) -> tuple[float | None, float | None]:
    """Return the weighted mean and the total weight; None for each that is unknown."""
    if any(value is not None and weight is None for value, weight in parts):
        return None, None
    counted = [(value, weight) for value, weight in parts if value is not None and weight]
    total = fsum(weight for _, weight in counted)
    if not total:
        known = [weight for _, weight in parts if weight is not None]
        return None, 0 if known else None
    mean = fsum(value * weight for value, weight in counted) / total
    values = [value for value, _ in counted]
    return min(max(mean, min(values)), max(values)), total  # rounding may exceed the range
