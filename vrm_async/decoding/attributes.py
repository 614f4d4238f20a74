"""How VRM spells attributes: what is `extended` of a site, and diagnostics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from functools import partial
from threading import RLock
from typing import Final

from attrs import frozen

from energy_core.codec import json as codec_json
from energy_core.codec.coerce import integer, is_nothing, seconds_or_never
from energy_core.codec.drift import Drift, collect_drift, current_drift, report
from energy_core.codec.json import JSON, REFUSALS, TypedDecoder, strict_json
from energy_core.codec.structure import model, records
from vrm_async.decoding import fast_attributes
from vrm_async.decoding.php import by_number, enum_names, items
from vrm_async.models.attribute import Attribute, Attributes, Diagnostic, InstanceValue, Listed, listed
from vrm_async.models.lazy_fields import LazyRaw
from vrm_async.responses import part

# --- what is extended -----------------------------------------------------------------------------------


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


@frozen
class LazyText:
    """The text of what is `extended`, and what reads it when somebody looks."""

    text: bytes
    read: Callable[[bytes], Listed]


def unread_of_one_answer() -> Callable[[bytes], LazyText]:
    """Return what leaves the attributes of each site of an answer unread."""
    return partial(LazyText, read=fast_attributes.AtHand(attribute.read))


class _Look:
    """Looks at what is `extended`: reads it straight where that can be done, or else decodes it once."""

    __slots__ = ("_decoded", "_drift", "_value")

    def __init__(self, value: object, drift: Drift | None) -> None:
        self._value = value
        self._drift = drift
        self._decoded: Listed | None = None

    def __call__(self) -> Listed:
        if self._decoded is not None:
            return self._decoded
        value = self._value
        if isinstance(value, LazyText) and codec_json.bounded_parser is not None:
            with suppress(*REFUSALS):
                return value.read(value.text)
        with _one_at_a_time:  # or a deviation would be counted by each thread that looks
            if self._decoded is None:
                self._decoded = self._decode()
            return self._decoded

    def _decode(self) -> Listed:
        with collect_drift(self._drift) if self._drift is not None else nullcontext():
            return listed(_attributes(parsed(self._value)))


_one_at_a_time: Final = RLock()


def extended(value: object) -> Attributes:
    """Put decoding off until somebody looks, unless strictness wants to complain now."""
    if isinstance(value, LazyText) and not value.text.startswith((b"[", b"{")):
        value = strict_json(value.text)
    if not isinstance(value, LazyText | list | Mapping):
        if not is_nothing(value):
            report("Site", "extended", "not a list")
        return Attributes()
    drift = current_drift()
    if drift is not None and drift.strict:
        return Attributes.of(_attributes(parsed(value)))
    return Attributes(_Look(value, drift))


def parsed(value: object) -> object:
    """Return a value as JSON, also where it was left unread."""
    return strict_json(value.text) if isinstance(value, LazyText) else value


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
class DiagnosticsPage(LazyRaw):
    """One page of diagnostics."""

    records: tuple[Diagnostic, ...]
    size: int
    """How many records came, malformed ones included: the page's true length."""
    raw: list[object]
    """What came, malformed records included."""
    total: int | None
    """num_records: of this page or of all, VRM does not say which."""


def _read_page(payload: JSON) -> DiagnosticsPage:
    found = part(payload, "records")
    raw = list(items(found))
    total = integer(payload.get("num_records")) if isinstance(payload, dict) else None
    return DiagnosticsPage(records=_diagnostics(found), size=len(raw), raw=raw, total=total)


def _straight_page(body: bytes) -> DiagnosticsPage | None:
    found = fast_attributes.diagnostics(body, diagnostic.read)
    if found is None:
        return None
    made = tuple(found.records)
    page = DiagnosticsPage(records=made, size=len(made), raw=[], total=found.total)
    page.put_off_raw(lambda: [record.raw for record in made])
    return page


diagnostics_page: Final[Callable[[JSON], DiagnosticsPage]] = TypedDecoder(_read_page, _straight_page)
"""Read one page of ``installations/{idSite}/diagnostics``."""
