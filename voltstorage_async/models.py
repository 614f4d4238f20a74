"""What VoltStorage answers, as frozen values. Every field says its unit and the vendor's own key.

The vendor's reference gives no units. Energies look like joules (watt-seconds): a `dc-capacity` of
18,154,876 is then 5.04 kWh, which is what such a battery holds. That is inferred, here once for all: the
number as it came is kept in a field ending in `_j`, and the property ending in `_kwh` divides it by
3,600,000. Ratios are 0..1.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from types import MappingProxyType
from typing import Final, NamedTuple, Protocol

from attrs import field, frozen

JOULES_PER_KWH: Final = 3_600_000.0
_NOTHING: Final[Mapping[str, object]] = MappingProxyType({})


def _kwh(joules: float | None) -> float | None:
    return None if joules is None else joules / JOULES_PER_KWH


@frozen(kw_only=True)
class ProductType:
    """What kind of thing a product is (`type`)."""

    id: int
    """`id`."""
    name: str | None = None
    """`name`, such as VoltStorage SMART."""
    start_of_production: date | None = None
    """`startOfProduction`, a calendar day."""
    base_type: str | None = None
    """`baseType`, such as storage."""


@frozen(kw_only=True)
class Owner:
    """Who owns a group of products (`group.owner`)."""

    id: int
    """`id`."""
    name: str | None = None
    """`name`."""
    email: str | None = None
    """`email`."""
    demo: bool | None = None
    """`demo`: whether this is a demonstration account."""


@frozen(kw_only=True)
class ProductGroup:
    """The group a product belongs to (`group`)."""

    id: int
    """`id`."""
    owner_id: int | None = None
    """`ownerId`."""
    name: str | None = None
    """`name`."""
    latitude: float | None = None
    """`latitude`, degrees [inferred]."""
    longitude: float | None = None
    """`longitude`, degrees [inferred]."""
    owner: Owner | None = None
    """`owner`."""


@frozen(kw_only=True)
class Product:
    """One product of the list the account may see."""

    id: int
    """`id`: what every other operation calls productId."""
    owner_name: str | None = None
    """`ownerName`."""
    serial_number: str | None = None
    """`serialNumber`."""
    hardware_version: str | None = None
    """`hardwareVersion`, a text such as 5.4."""
    manufacturing_date: date | None = None
    """`manufacturingDate`, a calendar day."""
    installation_date: date | None = None
    """`installationDate`, a calendar day; None while it is not installed."""
    timezone: str | None = None
    """`timezone`, an IANA name such as Europe/Berlin."""
    created_at: datetime | None = None
    """`createdAt`, aware."""
    updated_at: datetime | None = None
    """`updatedAt`, aware."""
    type_id: int | None = None
    """`typeId`."""
    group_id: int | None = None
    """`groupId`."""
    type: ProductType | None = None
    """`type`."""
    group: ProductGroup | None = None
    """`group`."""
    errors: tuple[str, ...] = ()
    """`errors`: names of what is wrong, such as nonDefaultStrategy."""
    online: bool | None = None
    """`online`."""
    raw: Mapping[str, object] = field(default=_NOTHING, repr=False, eq=False)
    """The vendor's own record, untouched."""


@frozen(kw_only=True)
class Latest:
    """The last known value of every data field of a product, from either shape of the answer."""

    product_id: int
    """The product that was asked for."""
    time: datetime | None = None
    """`time` (unix seconds): when the data was last updated. None when it was not asked for."""
    data: Mapping[str, object] = field(default=_NOTHING)
    """`data`, or the whole answer when no time was asked for: the vendor's own keys and units."""


@frozen(kw_only=True)
class Sampled:
    """A mean over samples. Without samples there is no value, which is not zero."""

    value: float | None = None
    """`value`, in the unit the field names; None when there were no samples."""
    n_samples: int | None = None
    """`nSamples`: how many samples the mean is made of, the weight for joining periods."""


@frozen(kw_only=True)
class Weighted:
    """A mean with a weight. Without weight there is no value, which is not zero."""

    value: float | None = None
    """`value`, in the unit the field names; None when there was no weight."""
    total_weight: float | None = None
    """`totalWeight`: the weight for joining periods, in the unit of what it was weighted by."""


@frozen(kw_only=True)
class Statistics:
    """Aggregated data of a product over one time span (joules, see the module)."""

    start: datetime | None = None
    """`timespan_start` (unix seconds), aware, UTC."""
    pv_total_j: float | None = None
    """`pv-total`, J: energy from the sun."""
    pv_activity: float | None = None
    """`pv-activity`; the vendor says neither meaning nor unit."""
    consumption_total_j: float | None = None
    """`consumption-total`, J: energy used by the home."""
    storage_total_released_j: float | None = None
    """`storage-total-released`, J: energy taken out of the battery."""
    storage_total_stored_j: float | None = None
    """`storage-total-stored`, J: energy put into the battery."""
    max_temperature: float | None = None
    """`max-temperature`, degC [inferred]."""
    own_consumption: Sampled | None = None
    """`own-consumption`, ratio 0..1: how much of its own energy the home used."""
    electrolyte_temp: Sampled | None = None
    """`electrolyte-temp`, degC [inferred]."""
    pump_temp: Sampled | None = None
    """`pump-temp`, degC [inferred]."""
    dc_capacity_j: Sampled | None = None
    """`dc-capacity`, J."""
    ac_capacity_j: Sampled | None = None
    """`ac-capacity`, J."""
    dc_efficiency: Sampled | None = None
    """`dc-efficiency`, ratio 0..1."""
    ac_efficiency: Sampled | None = None
    """`ac-efficiency`, ratio 0..1."""
    self_sufficiency: Weighted | None = None
    """`self-sufficiency`, ratio 0..1, weighted by consumption in J."""
    raw: Mapping[str, object] = field(default=_NOTHING, repr=False, eq=False)
    """The vendor's own record, untouched."""

    @property
    def pv_total_kwh(self) -> float | None:
        """Energy from the sun, kWh."""
        return _kwh(self.pv_total_j)

    @property
    def consumption_total_kwh(self) -> float | None:
        """Energy used by the home, kWh."""
        return _kwh(self.consumption_total_j)

    @property
    def storage_total_released_kwh(self) -> float | None:
        """Energy taken out of the battery, kWh."""
        return _kwh(self.storage_total_released_j)

    @property
    def storage_total_stored_kwh(self) -> float | None:
        """Energy put into the battery, kWh."""
        return _kwh(self.storage_total_stored_j)

    @property
    def dc_capacity_kwh(self) -> float | None:
        """Mean capacity on the battery's side, kWh."""
        return None if self.dc_capacity_j is None else _kwh(self.dc_capacity_j.value)

    @property
    def ac_capacity_kwh(self) -> float | None:
        """Mean capacity on the home's side, kWh."""
        return None if self.ac_capacity_j is None else _kwh(self.ac_capacity_j.value)


class Layout(Protocol):
    """How one export spells its rows; shared by all of them."""

    def numbers(self, record: object) -> dict[str, float]:
        """The cells that are numbers, the time's excepted."""

    def texts(self, record: object) -> dict[str, str]:
        """The cells that are neither empty nor numbers, the time's excepted."""


class ExportRow(NamedTuple):
    """One row of an export: what changed at one moment.

    Rows come by the million, so a row is its time and the text it came as; the cells are read when they are
    asked for (and again at the next asking: keep `values` in a variable). A cell that is empty in the export
    is in neither mapping: it means unchanged or not sampled, never zero.
    """

    time: datetime
    """`Time`, aware, with the offset the export spells."""
    record: object
    """The row as the vendor wrote it: the cells of a line of CSV, or a JSON object."""
    layout: Layout
    """How to read `record`."""

    @property
    def values(self) -> dict[str, float]:
        """The cells that are numbers, by column, in the vendor's own names, units and signs."""
        return self[2].numbers(self[1])  # by position, which is quicker: the hottest line of an export

    @property
    def text(self) -> dict[str, str]:
        """The cells that are not numbers, such as a status, by column."""
        return self.layout.texts(self.record)
