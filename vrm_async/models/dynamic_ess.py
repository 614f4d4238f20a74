"""Dynamic ESS: VRM's plan for the battery by energy prices."""

from __future__ import annotations

from attrs import field, frozen

from vrm_async.models.attribute import Raw


@frozen(kw_only=True)
class PriceSpan:
    """One price between two times of day."""

    start: str
    """Local time of the site as HH:MM, from `from`."""
    end: str
    """Local time as HH:MM, from `to`; 00:00 is the end of the day."""
    price: float
    """Price of 1 kWh in the site's currency."""


@frozen(kw_only=True)
class PriceSchedule:
    """The prices of some weekdays."""

    days: tuple[int, ...]
    """0 is Monday, 6 is Sunday."""
    spans: tuple[PriceSpan, ...]
    """The prices of these days, from `schedule`."""


@frozen(kw_only=True)
class DynamicEssSettings:
    """The settings of Dynamic ESS.

    `dynamic_ess.save` writes the fields that are not None, up to `periodic_full_charge_interval_days`. The
    fields after it are only read.
    """

    is_on: bool | None = None
    """Whether Dynamic ESS is switched on in VRM."""
    battery_capacity_kwh: float | None = None
    """The battery's capacity in kWh, from batteryCapacity."""
    battery_costs: float | None = None
    """Wear of the battery by one cycled kWh, in the site's currency; from batteryCosts."""
    battery_price: float | None = None
    """The battery's price in the site's currency."""
    battery_flow_restriction: str | None = None
    """unrestricted, noExport (never battery to grid) or noImport (never grid to battery)."""
    charge_power_kw: float | None = None
    """Maximum charging power in kW, from chargePower."""
    discharge_power_kw: float | None = None
    """Maximum discharging power in kW, from dischargePower."""
    max_from_grid_kw: float | None = None
    """Maximum power from the grid in kW, from maxPowerFromGrid."""
    max_to_grid_kw: float | None = None
    """Maximum power to the grid in kW, from maxPowerToGrid."""
    grid_sell: bool | None = None
    """Whether energy may be sold, from gridSell (0 or 1)."""
    buy_price_type: int | None = None
    """0 for `buy_price_schedule`, 1 for the market price in `buy_price_formula`."""
    buy_price_formula: str | None = None
    """Price of a bought kWh as a formula of the market price p, such as ``1.21*p+0.04``."""
    buy_price_schedule: tuple[PriceSchedule, ...] | None = None
    """Fixed prices of bought kWh."""
    buy_energy_provider_id: int | None = None
    """VRM's id of the energy provider."""
    sell_price_type: int | None = None
    """0 for `sell_price_schedule`, 1 for the market price in `sell_price_formula`."""
    sell_price_formula: str | None = None
    """Price of a sold kWh as a formula of the market price p."""
    sell_price_schedule: tuple[PriceSchedule, ...] | None = None
    """Fixed prices of sold kWh."""
    sell_energy_provider_id: int | None = None
    """VRM's id of the energy provider."""
    bidding_zone_id: int | None = None
    """VRM's id of the market zone, from idBiddingZone."""
    is_green_mode_on: bool | None = None
    """Whether self-consumption comes before profit."""
    is_soc_different: bool | None = None
    """Whether Dynamic ESS has its own minimum state of charge, from isDessSocDifferent."""
    is_periodic_full_charge_on: bool | None = None
    """Whether the battery is charged to 100 % periodically."""
    periodic_full_charge_duration_h: int | None = None
    """Duration at 100 % in hours, from periodicFullChargeDuration."""
    periodic_full_charge_interval_days: int | None = None
    """Days from one full charge to the next, from periodicFullChargeInterval."""

    site_id: int | None = None
    """VRM's idSite; never written."""
    mode: int | None = None
    """0 off, 1 automatic, 4 local. Not documented; `dynamic_ess.change` can write it."""
    operating_mode: int | None = None
    """0 trade, 1 green. Not documented; `dynamic_ess.change` can write it."""
    bidding_zone_code: str | None = None
    """The market's code of the zone; never written."""
    created_on: str | None = None
    """When the settings were first saved: VRM's text without a time zone; never written."""
    updated_on: str | None = None
    """When the settings were last saved: VRM's text without a time zone; never written."""
    raw: Raw = field(factory=dict, repr=False, eq=False)
    """The record as VRM sent it."""


@frozen(kw_only=True)
class DynamicEssPlan:
    """The plan of Dynamic ESS. Experimental: its shape is not documented."""

    entries: tuple[Raw, ...] = ()
    """The records of the plan as VRM sent them."""
    raw: Raw = field(factory=dict, repr=False)
    """The answer as VRM sent it."""
