"""Decoding of data attributes: `Site.extended`, and diagnostics."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final

from attrs import frozen

from energy_core.codec import json as codec_json
from energy_core.codec.coerce import integer, is_nothing, seconds_or_never
from energy_core.codec.drift import current_drift, report
from energy_core.codec.json import JSON, REFUSALS, TypedDecoder, strict_json
from energy_core.codec.structure import model, records
from vrm_async.decoding import fast_attributes
from vrm_async.decoding.php import by_number, enum_names, items
from vrm_async.models.attribute import Attribute, Attributes, Diagnostic, InstanceValue
from vrm_async.responses import part

# --- extended sites -------------------------------------------------------------------------------------


def _instances(value: object) -> dict[int, InstanceValue]:
    return {key: _instance_value(item) for key, item in by_number(value).items() if isinstance(item, Mapping)}


_VALUE: Final = {"raw_value": "rawValue", "formatted": "formattedValue"}
_WHERE: Final = {"dbus_path": "dbusPath", "format": "formatWithUnit", "enum": "dataAttributeEnumValues"}

_instance_value = model(
    InstanceValue, wire={**_VALUE, "text": "textValue", "time": "timestamp"}, read={"time": seconds_or_never}
)
attribute = model(
    Attribute,
    wire={
        **_VALUE,
        **_WHERE,
        "id": "idDataAttribute",
        "text": "textValue",
        "time": "timestamp",
        "data_type": "dataType",
        "consists_of": "consistsOfAttributeCodes",
        "parts": "dataAttributes",
        "device_type_id": "idDeviceType",
        "dbus_service": "dbusServiceType",
    },
    read={"time": seconds_or_never, "instances": _instances, "enum": enum_names},
)
_attributes = records(attribute, "Attribute")


def unless_lazy(value: object) -> Attributes:
    """Return the attributes of a site if drift is strict; else none, as they are decoded at first access."""
    if not isinstance(value, bytes | list | Mapping):
        if not is_nothing(value):
            report("Site", "extended", "not a list")
        return Attributes()
    drift = current_drift()
    return of_site(value) if drift is not None and drift.strict else Attributes()


def of_site(value: object) -> Attributes:
    """Read ``extended`` of a site: parsed, or JSON text that is known to be sound."""
    if not isinstance(value, bytes):
        return Attributes(_attributes(value))
    if codec_json.msgspec_loads is not None:
        with suppress(*REFUSALS):
            return fast_attributes.attributes(value, attribute.read)
    return Attributes(_attributes(strict_json(value)))


# --- diagnostics ----------------------------------------------------------------------------------------

diagnostic = model(
    Diagnostic,
    wire={
        **_VALUE,
        **_WHERE,
        "attribute_id": "idDataAttribute",
        "site_id": "idSite",
        "time": "timestamp",
        "device": "Device",
        "dbus_service": "dbusServiceType",
    },
    read={"time": seconds_or_never, "enum": enum_names},
)
_diagnostics = records(diagnostic, "Diagnostic")


@frozen(kw_only=True)
class DiagnosticsPage:
    """One page of diagnostics."""

    records: tuple[Diagnostic, ...]
    size: int
    """Number of records that came, malformed ones included: the page's true length."""
    raw: Sequence[object] = ()
    """All records as they came, if some are malformed."""
    total: int | None
    """num_records: of this page or of all; VRM does not document which."""


def _read_page(payload: JSON) -> DiagnosticsPage:
    found = part(payload, "records")
    raw = items(found)
    made = _diagnostics(found)
    total = integer(payload.get("num_records")) if isinstance(payload, dict) else None
    return DiagnosticsPage(records=made, size=len(raw), raw=raw if len(made) < len(raw) else (), total=total)


def _fast_page(body: bytes) -> DiagnosticsPage | None:
    found = fast_attributes.diagnostics(body, diagnostic.read)
    if found is None:
        return None
    return DiagnosticsPage(records=tuple(found.records), size=len(found.records), total=found.total)


diagnostics_page: Final[Callable[[JSON], DiagnosticsPage]] = TypedDecoder(_read_page, _fast_page)
"""Read one page of ``installations/{idSite}/diagnostics``."""
