"""Frozen values that VoltStorage's answers are decoded into. Each field names its unit and the vendor's key.

The vendor's reference gives no units. Energies are read as joules [inferred]: a `dc-capacity` of 18,154,876
is then 5.04 kWh, the capacity of such a battery. Fields ending in `_j` hold the number as it was sent;
properties ending in `_kwh` divide it by 3,600,000. Ratios are 0..1.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from types import MappingProxyType
from typing import Final, NamedTuple, Protocol

from attrs import field, frozen

from energy_core.home.snapshot import Snapshot

JOULES_PER_KWH: Final = 3_600_000.0
_NOTHING: Final[Mapping[str, object]] = MappingProxyType({})


def _kwh(joules: float | None) -> float | None:
    return None if joules is None else joules / JOULES_PER_KWH


@frozen(kw_only=True)
class ProductType:
    """The type of a product (`type`)."""

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
    """The owner of a group of products (`group.owner`)."""

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
    """A product of the account: a battery storage with its inverter."""

    id: int
    """`id`; other operations call it productId."""
    owner_name: str | None = None
    """`ownerName`."""
    serial_number: str | None = None
    """`serialNumber`."""
    hardware_version: str | None = None
    """`hardwareVersion`, a text such as 5.4."""
    manufacturing_date: date | None = None
    """`manufacturingDate`, a calendar day."""
    installation_date: date | None = None
    """`installationDate`, a calendar day; None before the installation."""
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
    """`errors`: names of present faults, such as nonDefaultStrategy."""
    online: bool | None = None
    """`online`."""
    raw: Mapping[str, object] = field(default=_NOTHING, repr=False, eq=False)
    """The vendor's record as it was sent."""


@frozen(kw_only=True)
class Latest:
    """The last known value of each data field of a product."""

    product_id: int
    """The product of the request."""
    time: datetime | None = None
    """`time` (unix seconds): the last update of the data, aware, UTC. None if it was not requested."""
    data: Mapping[str, object] = field(default=_NOTHING)
    """`data`, or the whole answer if no time was requested: the vendor's keys, units and signs."""


@frozen(kw_only=True, repr=False)
class ProductSnapshot(Snapshot):
    """The present values of one product, from `VoltStorageClient.now`."""

    product: Product
    """The product of the list: whether it is online, its present faults, its time zone."""

    @property
    def id(self) -> int:
        """The product's id."""
        return self.product.id


@frozen(kw_only=True)
class Sampled:
    """A mean over samples. Without samples the value is None."""

    value: float | None = None
    """`value`, in the unit of the field; None if there were no samples."""
    n_samples: int | None = None
    """`nSamples`: the number of samples, the weight when periods are merged."""


@frozen(kw_only=True)
class Weighted:
    """A weighted mean. Without weight the value is None."""

    value: float | None = None
    """`value`, in the unit of the field; None if the weight is 0 or missing."""
    total_weight: float | None = None
    """`totalWeight`: the weight when periods are merged, in the unit of the weighting quantity."""


@frozen(kw_only=True)
class Statistics:
    """Aggregated data of a product over one period; energies in joules [inferred]."""

    start: datetime | None = None
    """`timespan_start` (unix seconds), aware, UTC."""
    pv_total_j: float | None = None
    """`pv-total`, J: PV energy."""
    pv_activity: float | None = None
    """`pv-activity`; the vendor documents neither meaning nor unit."""
    consumption_total_j: float | None = None
    """`consumption-total`, J: energy consumed by the home."""
    storage_total_released_j: float | None = None
    """`storage-total-released`, J: energy discharged from the battery."""
    storage_total_stored_j: float | None = None
    """`storage-total-stored`, J: energy charged into the battery."""
    max_temperature: float | None = None
    """`max-temperature`, degC [inferred]."""
    own_consumption: Sampled | None = None
    """`own-consumption`, ratio 0..1: share of the PV energy that the home consumed itself."""
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
    """The vendor's record as it was sent."""

    @property
    def pv_total_kwh(self) -> float | None:
        """PV energy, kWh."""
        return _kwh(self.pv_total_j)

    @property
    def consumption_total_kwh(self) -> float | None:
        """Energy consumed by the home, kWh."""
        return _kwh(self.consumption_total_j)

    @property
    def storage_total_released_kwh(self) -> float | None:
        """Energy discharged from the battery, kWh."""
        return _kwh(self.storage_total_released_j)

    @property
    def storage_total_stored_kwh(self) -> float | None:
        """Energy charged into the battery, kWh."""
        return _kwh(self.storage_total_stored_j)

    @property
    def dc_capacity_kwh(self) -> float | None:
        """Mean capacity on the DC (battery) side, kWh."""
        return None if self.dc_capacity_j is None else _kwh(self.dc_capacity_j.value)

    @property
    def ac_capacity_kwh(self) -> float | None:
        """Mean capacity on the AC (home) side, kWh."""
        return None if self.ac_capacity_j is None else _kwh(self.ac_capacity_j.value)


class Layout(Protocol):
    """Reads the records of one export; shared by all its rows."""

    def numbers(self, record: object) -> dict[str, float]:
        """Return the cells that are numbers, the time excepted."""

    def texts(self, record: object) -> dict[str, str]:
        """Return the cells that are neither empty nor numbers, the time excepted."""


class ExportRow(NamedTuple):
    """One row of an export: the values that changed at one moment.

    A row stores its time and its record; `values` and `text` parse the record at each access, so keep the
    result in a variable. An empty cell is in neither mapping: it means unchanged or not sampled, never zero.
    """

    time: datetime
    """`Time`, aware, with the offset of the export."""
    record: object
    """The row as it was sent: the cells of a CSV line, or a JSON object."""
    layout: Layout
    """Reads `record`."""

    @property
    def values(self) -> dict[str, float]:
        """The cells that are numbers, by column, with the vendor's names, units and signs."""
        return self[2].numbers(self[1])  # access by position is faster, and exports have millions of rows

    @property
    def text(self) -> dict[str, str]:
        """The cells that are not numbers, such as a status, by column."""
        return self.layout.texts(self.record)


class FilledRow(NamedTuple):
    """A row with the last known value of each column (forward fill)."""

    time: datetime
    """The time of the row."""
    values: dict[str, float]
    """The last number of each column, with the vendor's names, units and signs."""
    text: dict[str, str]
    """The last text of each column whose last cell was not a number."""
    measured: frozenset[str]
    """The columns that the row itself holds; the others are carried forward."""


class ExportProgress(NamedTuple):
    """The progress of an export."""

    chunk: int
    """The chunk that is being read, counted from 1."""
    chunks: int
    """The number of chunks of the whole range."""
    rows: int
    """The number of rows received so far."""
    reached: datetime
    """Rows before this moment have been received."""
