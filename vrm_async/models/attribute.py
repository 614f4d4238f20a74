"""Data attributes: what VRM calls a measured or configured value of a device, with its newest log."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import ClassVar, TypeAlias

from attrs import field, frozen

from energy_core.codec.lazy_value import LazyFields
from energy_core.printable import printable
from vrm_async.codes import WithUnit

Raw: TypeAlias = Mapping[str, object]
RawValue: TypeAlias = str | int | float


@frozen(kw_only=True)
class InstanceValue:
    """The value of an attribute at one device instance."""

    raw_value: RawValue | None = None
    """The value in the attribute's own unit; for an enum its number."""
    text: str | None = None
    """Translated text of the value."""
    formatted: str | None = None
    """Translated text with its unit."""
    time: datetime | None = None
    """When the device logged it."""
    raw: Raw = field(factory=dict, repr=False)
    """The record as it came."""


@frozen(kw_only=True)
class Attribute(LazyFields, WithUnit):
    """One item of a site's `extended` list: a data attribute, or a sum that VRM makes of several."""

    lazy_fields: ClassVar = frozenset({"raw", "instances", "enum", "consists_of", "parts"})

    code: str
    """The attribute's code, case-sensitive, such as ``bs``; the sums have words, such as ``from_to_grid``."""
    id: int | None = None
    """VRM's idDataAttribute; None for a sum."""
    description: str | None = None
    """VRM's name of the attribute."""
    raw_value: RawValue | None = None
    """The value in the unit of `format`; for an enum its number. VRM sends text, numbers and null."""
    text: str | None = None
    """Translated text of an enum's value."""
    formatted: str | None = None
    """Translated text of the value with its unit."""
    format: str | None = None
    """VRM's sprintf pattern with the unit, such as ``%.2F V``."""
    data_type: str | None = None
    """float, enum or string."""
    time: datetime | None = None
    """When the device logged it, perhaps long before the site's newest; None where VRM keeps it private."""
    instance: int | None = None
    """The device instance; None for a sum and where only `instances` is sent."""
    instances: Mapping[int, InstanceValue] = field(factory=dict)
    """The value at each instance, where several devices have the attribute."""
    enum: Mapping[int, str] = field(factory=dict)
    """VRM's names of an enum's numbers."""
    consists_of: tuple[str, ...] = ()
    """The codes a sum is made of."""
    parts: tuple[Raw, ...] = field(default=(), repr=False)
    """The attributes this site has of them, as they came."""
    device_type_id: int | None = None
    """VRM's idDeviceType."""
    dbus_service: str | None = None
    """The service on the device's own bus."""
    dbus_path: str | None = None
    """The path on the device's own bus."""
    raw: Raw = field(factory=dict, repr=False)
    """The record as it came."""

    @property
    def number(self) -> float | None:
        """`raw_value` as a number, or None where it is none."""
        try:
            number = float(self.raw_value) if self.raw_value is not None else None
        except ValueError:
            return None
        return number if number is not None and abs(number) < float("inf") else None

    @property
    def enum_name(self) -> str | None:
        """The name of the enum's present value, found by its number whatever the account's language is."""
        number = self.number
        return None if number is None else self.enum.get(int(number))


class Attributes(tuple[Attribute, ...]):
    """The attributes of a site: a tuple that also finds one by its code."""

    __slots__ = ()

    def get(self, code: str) -> Attribute | None:
        """Return the first attribute with that code, case-sensitive, or None."""
        return next((attribute for attribute in self if attribute.code == code), None)

    @printable
    def __repr__(self) -> str:
        return f"<Attributes {', '.join(attribute.code for attribute in self) or 'none'}>"


@frozen(kw_only=True)
class Diagnostic(LazyFields, WithUnit):
    """The newest log of one attribute of one device, from ``installations/{idSite}/diagnostics``."""

    lazy_fields: ClassVar = frozenset({"raw", "enum"})

    attribute_id: int
    """VRM's idDataAttribute."""
    site_id: int | None = None
    """VRM's idSite."""
    id: int | None = None
    """The record's number within the answer."""
    time: datetime | None = None
    """When the device logged it."""
    device: str | None = None
    """VRM's name of the device's kind."""
    instance: int | None = None
    """The device instance."""
    code: str | None = None
    """The attribute's code; older answers leave it out."""
    description: str | None = None
    """VRM's name of the attribute."""
    format: str | None = None
    """VRM's sprintf pattern with the unit."""
    raw_value: RawValue | None = None
    """The value in the unit of `format`; older answers leave it out."""
    formatted: str | None = None
    """Translated text of the value with its unit."""
    enum: Mapping[int, str] = field(factory=dict)
    """VRM's names of an enum's numbers; two numbers may share a name."""
    bitmask: bool | None = None
    """Whether the value is a set of bits."""
    dbus_service: str | None = None
    """The service type on the device's own bus."""
    dbus_path: str | None = None
    """The path on the device's own bus."""
    raw: Raw = field(factory=dict, repr=False)
    """The record as it came."""
