"""Data attributes: VRM's term for the measured and configured values of a device, with their newest logs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import ClassVar, TypeAlias

from attrs import field, frozen

from energy_core.codec.lazy_value import LazyFields
from energy_core.printable import printable
from energy_core.tables.column import TableColumn
from energy_core.tables.records import record_columns
from energy_core.tables.table import Table
from vrm_async.codes import WithUnit

Raw: TypeAlias = Mapping[str, object]
"""A JSON object as VRM sent it."""
RawValue: TypeAlias = str | int | float
"""A value as VRM sent it: numbers come as numbers or as text."""


@frozen(kw_only=True)
class InstanceValue:
    """The value of an attribute at one device instance."""

    raw_value: RawValue | None = None
    """The value in the attribute's own unit; for an enum its number."""
    text: str | None = None
    """The value as text in the account's language."""
    formatted: str | None = None
    """The value with its unit as text in the account's language."""
    time: datetime | None = None
    """When the device logged it, aware, UTC."""
    raw: Raw = field(factory=dict, repr=False)
    """The record as VRM sent it."""


@frozen(kw_only=True, repr=False)
class Attribute(LazyFields, WithUnit):
    """One item of `Site.extended`: a data attribute, or a sum that VRM computes of several."""

    lazy_fields: ClassVar = frozenset({"raw", "instances", "enum", "consists_of", "parts"})

    code: str
    """The attribute's code, case-sensitive, such as ``bs``; sums have words, such as ``from_to_grid``."""
    id: int | None = None
    """VRM's idDataAttribute; None for a sum."""
    description: str | None = None
    """VRM's name of the attribute."""
    raw_value: RawValue | None = None
    """The value in the unit of `format`; for an enum its number. None where VRM has no value."""
    text: str | None = None
    """Text of an enum's value in the account's language."""
    formatted: str | None = None
    """The value with its unit as text in the account's language."""
    format: str | None = None
    """VRM's sprintf pattern with the unit, such as ``%.2F V``; from formatWithUnit."""
    data_type: str | None = None
    """float, enum or string; from dataType."""
    time: datetime | None = None
    """When the device logged it, aware, UTC; may be much older than the site's newest log. None where VRM
    does not send it, as for a position."""
    instance: int | None = None
    """The device instance; None for a sum, and where VRM sends only `instances`."""
    instances: Mapping[int, InstanceValue] = field(factory=dict)
    """The value by device instance, where several devices have the attribute."""
    enum: Mapping[int, str] = field(factory=dict)
    """VRM's names of an enum's numbers, from dataAttributeEnumValues."""
    consists_of: tuple[str, ...] = ()
    """The codes that a sum may consist of, from consistsOfAttributeCodes."""
    parts: tuple[Raw, ...] = field(default=())
    """The attributes of this site that a sum consists of, as VRM sent them; from dataAttributes."""
    device_type_id: int | None = None
    """VRM's idDeviceType."""
    dbus_service: str | None = None
    """The service on the device's D-Bus."""
    dbus_path: str | None = None
    """The path on the device's D-Bus."""
    raw: Raw = field(factory=dict)
    """The record as VRM sent it."""

    @property
    def number(self) -> float | None:
        """`raw_value` as a finite number, or None."""
        try:
            number = float(self.raw_value) if self.raw_value is not None else None
        except ValueError:
            return None
        return number if number is not None and abs(number) < float("inf") else None

    @property
    def enum_name(self) -> str | None:
        """VRM's name of the enum's present number; it does not depend on the account's language."""
        number = self.number
        return None if number is None else self.enum.get(int(number))

    @printable
    def __repr__(self) -> str:
        instance = "" if self.instance is None else f" @{self.instance}"
        unit = f" {self.unit}" if self.unit else ""
        return f"<Attribute {self.code}{instance}: {self.raw_value!r}{unit}>"


class Attributes(Table, tuple[Attribute, ...]):
    """The attributes of a site: a tuple that also finds an attribute by its code, and a table."""

    __slots__ = ()

    def get(self, code: str) -> Attribute | None:
        """Return the first attribute with that code, case-sensitive, or None."""
        return next((attribute for attribute in self if attribute.code == code), None)

    def _table_columns(self) -> Iterable[TableColumn]:
        return record_columns(self, Attribute)

    @printable
    def __repr__(self) -> str:
        return f"<Attributes {', '.join(attribute.code for attribute in self) or 'none'}>"


@frozen(kw_only=True, repr=False)
class Diagnostic(LazyFields, WithUnit):
    """The newest log of one attribute of one device, from ``installations/{idSite}/diagnostics``."""

    lazy_fields: ClassVar = frozenset({"raw", "enum"})

    attribute_id: int
    """VRM's idDataAttribute."""
    site_id: int | None = None
    """VRM's idSite."""
    id: int | None = None
    """Number of the record within the answer."""
    time: datetime | None = None
    """When the device logged it, aware, UTC."""
    device: str | None = None
    """VRM's name of the kind of device, from Device."""
    instance: int | None = None
    """The device instance."""
    code: str | None = None
    """The attribute's code; older answers do not have it."""
    description: str | None = None
    """VRM's name of the attribute."""
    format: str | None = None
    """VRM's sprintf pattern with the unit, from formatWithUnit."""
    raw_value: RawValue | None = None
    """The value in the unit of `format`; older answers do not have it."""
    formatted: str | None = None
    """The value with its unit as text in the account's language."""
    enum: Mapping[int, str] = field(factory=dict)
    """VRM's names of an enum's numbers; two numbers may share a name."""
    bitmask: bool | None = None
    """Whether the value is a set of bits."""
    dbus_service: str | None = None
    """The type of service on the device's D-Bus."""
    dbus_path: str | None = None
    """The path on the device's D-Bus."""
    raw: Raw = field(factory=dict)
    """The record as VRM sent it."""

    @printable
    def __repr__(self) -> str:
        name = self.code or f"attribute {self.attribute_id}"
        instance = "" if self.instance is None else f" @{self.instance}"
        value = f"{self.raw_value!r}{f' {self.unit}' if self.unit else ''}"
        return f"<Diagnostic {name}{instance}: {value if self.raw_value is not None else self.formatted!r}>"
