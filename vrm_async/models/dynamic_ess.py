"""Dynamic ESS: how VRM plans the battery by energy prices."""

from __future__ import annotations

from attrs import field, frozen

from vrm_async.models.attribute import Raw


@frozen(kw_only=True)
class PriceSpan:
    """One price between two times of day."""

    start: str
    """The site's wall clock as HH:MM, from `from`."""
    end: str
    """The same, from `to`; 00:00 is the end of the day."""
    price: float
    """Price of a kWh in the site's currency."""


@frozen(kw_only=True)
class PriceSchedule:
    """The prices of some weekdays."""

    days: tuple[int, ...]
    """0 is Monday, 6 is Sunday."""
    spans: tuple[PriceSpan, ...]
    """The prices of these days, from `schedule`."""


@frozen(kw_only=True)
class DynamicEssSettings:
    """The settings of Dynamic ESS. `dynamic_ess.save` writes those of the upper part that are not None."""

    is_on: bool | None = None
    """Whether Dynamic ESS is switched on in VRM."""
    battery_capacity_kwh: float | None = None
    """The battery's capacity in kWh, from batteryCapacity."""
    battery_costs: float | None = None
    """What a cycled kWh costs, in the site's currency, from batteryCosts."""
    battery_price: float | None = None
    """The battery's price in the site's currency."""
    battery_flow_restriction: str | None = None
    """unrestricted, noExport (never battery to grid) or noImport (never grid to battery)."""
    charge_power_kw: float | None = None
    """The most the battery is charged with, in kW, from chargePower."""
    discharge_power_kw: float | None = None
    """The most the battery is discharged with, in kW, from dischargePower."""
    max_from_grid_kw: float | None = None
    """The most that may come from the grid, in kW, from maxPowerFromGrid."""
    max_to_grid_kw: float | None = None
    """The most that may go to the grid, in kW, from maxPowerToGrid."""
    grid_sell: bool | None = None
    """Whether energy may be sold, from gridSell (0 or 1)."""
    buy_price_type: int | None = None
    """0 for `buy_price_schedule`, 1 for the market's price through `buy_price_formula`."""
    buy_price_formula: str | None = None
    """Price of a bought kWh from the market's price p, such as ``1.21*p+0.04``."""
    buy_price_schedule: tuple[PriceSchedule, ...] | None = None
    """Fixed prices of bought kWh."""
    buy_energy_provider_id: int | None = None
    """VRM's number of the energy provider."""
    sell_price_type: int | None = None
    """0 for `sell_price_schedule`, 1 for the market's price through `sell_price_formula`."""
    sell_price_formula: str | None = None
    """Price of a sold kWh from the market's price p."""
    sell_price_schedule: tuple[PriceSchedule, ...] | None = None
    """Fixed prices of sold kWh."""
    sell_energy_provider_id: int | None = None
    """VRM's number of the energy provider."""
    bidding_zone_id: int | None = None
    """VRM's number of the market's zone, from idBiddingZone."""
    is_green_mode_on: bool | None = None
    """Whether own use goes before profit."""
    is_soc_different: bool | None = None
    """Whether Dynamic ESS has a minimum charge of its own, from isDessSocDifferent."""
    is_periodic_full_charge_on: bool | None = None
    """Whether the battery is filled to 100 % from time to time."""
    periodic_full_charge_duration_h: int | None = None
    """Hours at 100 %, from periodicFullChargeDuration."""
    periodic_full_charge_interval_days: int | None = None
    """Days from one full charge to the next, from periodicFullChargeInterval."""

    site_id: int | None = None
    """VRM's idSite; never written."""
    mode: int | None = None
    """0 off, 1 automatic, 4 local. No document names it; `dynamic_ess.change` can write it."""
    operating_mode: int | None = None
    """0 trade, 1 green. No document names it; `dynamic_ess.change` can write it."""
    bidding_zone_code: str | None = None
    """The market's own code of the zone; never written."""
    created_on: str | None = None
    """When the settings were first saved, as VRM writes it, without a time zone; never written."""
    updated_on: str | None = None
    """When they were last saved, as VRM writes it, without a time zone; never written."""
    raw: Raw = field(factory=dict, repr=False, eq=False)
    """The record as it came."""


@frozen(kw_only=True)
class DynamicEssPlan:
    """What Dynamic ESS plans to do. Experimental: no document names its shape."""

    entries: tuple[Raw, ...] = ()
    """The plan's records as they came."""
    raw: Raw = field(factory=dict, repr=False)
    """The answer as it came."""
