"""Turns events into the state of a home and into energies."""

from typing import TYPE_CHECKING

from energy_core._lazy import lazy_exports

if TYPE_CHECKING:
    from energy_core.home.meter import EnergyMeter as EnergyMeter
    from energy_core.home.meter import UnmeasuredRange as UnmeasuredRange
    from energy_core.home.preference import SourceFilter as SourceFilter
    from energy_core.home.preference import SourcePreference as SourcePreference
    from energy_core.home.snapshot import Snapshot as Snapshot
    from energy_core.home.state import HomeState as HomeState
    from energy_core.home.state import Present as Present
    from energy_core.home.totals import EnergyTotals as EnergyTotals
    from energy_core.home.totals import self_consumption as self_consumption
    from energy_core.home.totals import self_sufficiency as self_sufficiency
    from energy_core.home.totals import weighted_mean as weighted_mean
else:
    __getattr__, __dir__, __all__ = lazy_exports(
        __name__,
        {
            ".meter": "EnergyMeter UnmeasuredRange",
            ".preference": "SourceFilter SourcePreference",
            ".snapshot": "Snapshot",
            ".state": "HomeState Present",
            ".totals": "EnergyTotals self_consumption self_sufficiency weighted_mean",
        },
    )
