"""How VRM spells tags, custom widgets, and answers about many sites."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

from attrs import evolve

from energy_core.codec.coerce import integer, is_nothing, number, seconds
from energy_core.codec.drift import report
from energy_core.codec.json import JSON
from energy_core.codec.structure import MalformedRecord, model, records
from energy_core.errors import DecodeError
from vrm_async.codes import named, unit_of
from vrm_async.decoding.php import by_key, items
from vrm_async.models.attribute import RawValue
from vrm_async.models.fleet import AttributeDefinition, FleetAnswer, FleetOverview, FleetSite
from vrm_async.models.site import SiteTags, Tag
from vrm_async.models.widget import CustomWidget
from vrm_async.responses import content, done, part

# --- tags -----------------------------------------------------------------------------------------------

_tag = model(Tag, wire={"id": "idTag"})


def tags(payload: JSON) -> SiteTags:
    """Read the tags, which come in groups; an older form was one list."""
    found = part(payload, "tags")
    groups: dict[str, list[Tag]] = {}
    for source, tag in _tags(found):
        groups.setdefault(source, []).append(tag)
    empty: dict[str, tuple[Tag, ...]] = dict.fromkeys(found, ()) if isinstance(found, Mapping) else {}
    return SiteTags(groups={**empty, **{name: tuple(g) for name, g in groups.items()}}, raw=by_key(payload))


def _tags(found: object) -> Iterator[tuple[str, Tag]]:
    if isinstance(found, list):
        for item in found:
            tag = _one_tag(item, None)
            if tag is not None:
                yield tag.source or "user", tag
        return
    for source, listed in by_key(found).items():
        for item in (listed,) if isinstance(listed, str) and listed else items(listed):
            tag = _one_tag(item, source)
            if tag is not None:
                yield source, tag


def _one_tag(item: object, source: str | None) -> Tag | None:
    """Read a tag, which is a record or only its text."""
    try:
        tag = _tag({"name": item} if isinstance(item, str) and item else item)
    except MalformedRecord:
        report("Tag", "record", "malformed")
        return None
    return tag if tag.source else evolve(tag, source=source)


# --- custom widgets -------------------------------------------------------------------------------------

_widget = model(
    CustomWidget,
    wire={"id": "idCustomWidget", "only_admins": "onlyAdmins", "y_axis_scaling": "yAxisScaling"},
)
_PLACES = ("data", "records", "customWidget", "widget")


def custom_widget(payload: JSON) -> CustomWidget:
    """Read a custom widget: VRM documents it as `widget`, without saying what it holds."""
    found = content(payload)
    if isinstance(found.get("widget"), Mapping):
        return _widget(found["widget"])
    inner = next((found[key] for key in _PLACES if not is_nothing(found.get(key))), found)
    if isinstance(inner, list):
        inner = inner[0] if inner else None
    if not isinstance(inner, Mapping) or not {"idCustomWidget", "name"} & inner.keys():
        raise DecodeError("the answer has no custom widget", kind="envelope")
    return _widget(inner)


def custom_widget_id(payload: JSON) -> int | None:
    """Read the id of a new custom widget, wherever it is."""
    done(payload)
    found = content(payload)
    for inner in (found, *(found.get(key) for key in _PLACES)):
        told = integer(inner.get("idCustomWidget")) if isinstance(inner, Mapping) else None
        if told is not None:
            return told
    report("CustomWidget", "id", "missing")
    return None


# --- forecasts ------------------------------------------------------------------------------------------


def last_reset(payload: JSON) -> datetime | None:
    """Read when forecasts were reset; 0 is never."""
    value = part(payload, "last_reset")
    moment = seconds(value)
    if moment is None and not is_nothing(value):
        report("Forecasts", "last_reset", "not a time")
    return None if number(value) == 0 else moment


# --- many sites -----------------------------------------------------------------------------------------

_VALUE = "value_"
_site = model(FleetSite, wire={"site_id": "idSite", "name": "description", "last_seen": "lastTimestamp"})


def _fleet_site(record: object) -> FleetSite:
    if not isinstance(record, Mapping):
        raise MalformedRecord(f"FleetSite must be an object, not {type(record).__name__}")
    values = {key.removeprefix(_VALUE): item for key, item in record.items() if key.startswith(_VALUE)}
    known = {key: item for key, item in record.items() if not key.startswith(_VALUE)}
    known["lastTimestamp"] = seconds_of(known.get("lastTimestamp"))
    read = {code: _raw_value(item) for code, item in values.items()}
    return evolve(_site(known), values=read, raw=record)


def seconds_of(value: object) -> object:
    """Return Unix seconds, whichever unit they came in; 0 is never."""
    count = number(value)
    if count == 0:
        return None
    return count / 1000 if count is not None and count >= 10**11 else value


def _raw_value(value: object) -> RawValue | None:
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return value if value != "" else None
    if not is_nothing(value):
        report("FleetSite", "value", f"unreadable {type(value).__name__}")
    return None


_definition = model(
    AttributeDefinition,
    wire={"id": "idDataAttribute", "data_type": "dataType", "format": "formatWithUnit"},
)


def _defined(record: object) -> AttributeDefinition:
    made = _definition(record)
    return evolve(made, unit=named(unit_of(made.format)))


_sites = records(_fleet_site, "FleetSite")
_definitions = records(_defined, "AttributeDefinition")


def fleet(payload: JSON) -> FleetAnswer:
    """Read ``installation-data-attributes``."""
    found = content(payload)
    sites = _sites(part(payload, "records"))
    return FleetAnswer(sites=sites, attributes=_keyed(found.get("attributes")), raw=found)


def definitions(payload: JSON) -> Mapping[int, AttributeDefinition]:
    """Read ``data-attributes``: a mapping of id to definition, without an envelope."""
    found = content(payload)
    listed = _keyed(found.get("records", found) if "records" in found else found)
    if not listed:  # VRM knows hundreds
        raise DecodeError("the answer has no data attributes", kind="envelope")
    return {each.id: each for each in listed}


def _keyed(value: object) -> tuple[AttributeDefinition, ...]:
    """Read definitions whose id is in the record, or only in its key."""
    if isinstance(value, Mapping) and "code" not in value:
        value = [{"idDataAttribute": key, **item} for key, item in value.items() if isinstance(item, Mapping)]
    return _definitions(value)


def overview(payload: JSON) -> FleetOverview:
    """Read ``installation-overview-download`` with a JSON answer: a table, in one of several places."""
    found: Mapping[str, object] = {"records": payload} if isinstance(payload, list) else content(payload)
    places = [key for key in ("records", "data", "installations") if key in found]
    if not places:
        raise DecodeError("the answer has no table of sites", kind="envelope")
    listed = found[places[0]]
    rows = tuple(row for row in items(listed) if isinstance(row, Mapping))
    if len(rows) < len(items(listed)):
        report("FleetOverview", "rows", "malformed")
    return FleetOverview(rows=rows, raw=found)
