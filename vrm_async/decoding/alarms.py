"""Decoding and encoding of alarms: rules on numbers in PascalCase, rules on states in camelCase."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from attrs import evolve

from energy_core.codec.coerce import flag, integer, seconds_or_never
from energy_core.codec.drift import report
from energy_core.codec.field_types import MalformedRecord
from energy_core.codec.json import JSON
from energy_core.codec.structure import model, records
from vrm_async.decoding.php import enum_names, items
from vrm_async.models.alarm import Alarm, AlarmAttribute, AlarmDevice, Alarms, AlarmUser, RaisedAlarm
from vrm_async.responses import content

_PASCAL: Final = {"AlarmEnabled": "alarmEnabled", "NotifyAfterSeconds": "notifyAfterSeconds"}


def _states(value: object) -> tuple[int, ...]:
    """Read the states of a rule: numbers, or records with valueEnum."""
    found = []
    for item in items(value):
        number = integer(item.get("valueEnum") if isinstance(item, Mapping) else item)
        if number is None:
            report("Alarm", "enum_values", "malformed")
        else:
            found.append(number)
    return tuple(found)


_rule_in_camel_case = model(
    Alarm,
    wire={
        "attribute_id": "idDataAttribute",
        "enabled": "alarmEnabled",
        "notify_after_s": "notifyAfterSeconds",
        "high": "highAlarm",
        "high_hysteresis": "highAlarmHysteresis",
        "low": "lowAlarm",
        "low_hysteresis": "lowAlarmHysteresis",
        "enum_values": "enumValues",
        "limit_id": "idDataAttributeLimit",
    },
    read={"enum_values": _states},
)


def rule(record: object) -> Alarm:
    """Read one rule in either spelling.

    Raises:
        MalformedRecord: it is not an object.
    """
    if not isinstance(record, Mapping):
        raise MalformedRecord(f"Alarm must be an object, not {type(record).__name__}")
    camel_case = {_PASCAL.get(key, key): value for key, value in record.items()}
    return evolve(_rule_in_camel_case(camel_case), raw=record)


_device = model(
    AlarmDevice,
    wire={
        "name": "deviceName",
        "product_name": "productName",
        "custom_name": "customName",
        "device_type_id": "idDeviceType",
        "last_connection": "lastConnection",
        "seconds_ago": "secondsAgo",
        "is_valid": "isValid",
        "site_id": "idSite",
        "product_id": "productIdAsReceived",
        "custom_product_name": "customProductName",
        "firmware_version": "firmwareVersion",
    },
    read={"last_connection": seconds_or_never},
)
_user = model(
    AlarmUser,
    wire={
        "id": "idUser",
        "access_level": "accessLevel",
        "notified": "receivesAlarmNotifications",
        "site_id": "idSite",
        "gets_reports": "receivesReports",
    },
)
_attribute = model(
    AlarmAttribute,
    wire={
        "id": "idDataAttribute",
        "format": "formatWithUnit",
        "data_type": "dataType",
        "device_type_id": "idDeviceType",
        "enum": "enumValues",
        "target_table": "targetTable",
    },
    read={"enum": enum_names},
)
_alarms = model(
    Alarms,
    wire={"rate_limited": "rateLimited"},
    read={
        "alarms": records(rule, "Alarm"),
        "devices": records(_device, "AlarmDevice"),
        "users": records(_user, "AlarmUser"),
        "attributes": records(_attribute, "AlarmAttribute"),
    },
)


def alarms(payload: JSON) -> Alarms:
    """Read ``GET installations/{idSite}/alarms``."""
    return _alarms(content(payload))


def body(alarm: Alarm) -> dict[str, JSON]:
    """Return a rule as VRM accepts it: documented members only, in the case of its kind, without null."""
    # `raw` and `limit_id` are not written: VRM does not document them for a request.
    known: dict[str, JSON] = {"idDataAttribute": alarm.attribute_id, "instance": alarm.instance}
    # VRM documents 0 and 1 here, not false and true.
    enabled = int(alarm.enabled is not False)
    if alarm.on_states:
        numbers: list[JSON] = list(alarm.enum_values)
        return {
            **known,
            "enumValues": numbers,
            "alarmEnabled": enabled,
            "notifyAfterSeconds": alarm.notify_after_s or 0,
        }
    known |= {"AlarmEnabled": enabled, "NotifyAfterSeconds": alarm.notify_after_s or 0}
    if alarm.high is not None:
        known |= {"highAlarm": alarm.high, "highAlarmHysteresis": alarm.high_hysteresis or 0}
    if alarm.low is not None:
        known |= {"lowAlarm": alarm.low, "lowAlarmHysteresis": alarm.low_hysteresis or 0}
    return known


# --- alarms that were raised ----------------------------------------------------------------------------

_raised = model(
    RaisedAlarm,
    wire={
        "id": "idAlarm",
        "attribute_id": "idDataAttribute",
        "name_enum": "nameEnum",
    },
    read={"started": seconds_or_never, "cleared": seconds_or_never},
)
raised: Final = records(_raised, "RaisedAlarm")


def log(payload: JSON) -> tuple[RaisedAlarm, ...]:
    """Read the alarm log. Its records are in ``records``, ``alarms`` or ``data``."""
    found = content(payload)
    return raised(next((found[key] for key in ("records", "alarms", "data") if key in found), None))


class ListedAlarms(NamedTuple):
    """The active alarms of a site in the list of sites, which VRM documents: a number and descriptions."""

    number: int | None
    """Number of active alarms; None if the list does not have it."""
    described: tuple[RaisedAlarm, ...]
    """Alarms with a description, and no more unless VRM sends records."""

    @classmethod
    def of(cls, record: Mapping[str, object]) -> ListedAlarms:
        """Read a record of the list with ``extended=1``."""
        described = [each for item in items(record.get("current_alarms")) if (each := _described(item))]
        counted, active = integer(record.get("num_alarms")), flag(record.get("alarm"))
        known = [value for value in (counted, None if active is None else int(active)) if value is not None]
        if "current_alarms" in record:
            known.append(len(described))
        return cls(max(known, default=None), tuple(described))


def _described(item: object) -> RaisedAlarm | None:
    """Read one of `current_alarms`: a text, or a record as in the log."""
    if isinstance(item, str):
        return RaisedAlarm(description=item) if item.strip() else None
    found = raised([item])
    return found[0] if found else None


def active_alarms(listed: ListedAlarms, logged: Sequence[RaisedAlarm]) -> tuple[RaisedAlarm, ...]:
    """Return as many active alarms as the list of sites counts, with the details of the log.

    The number is documented, the shape of the log is not. So an alarm that the log lacks is made of its
    description, and of more open records than VRM counts the newest are used.
    """
    active = sorted((each for each in logged if each.active), key=_started_s)
    if listed.number is None:
        return tuple(active)
    active = active[max(0, len(active) - listed.number) :]
    known = {each.description for each in active}
    others = [each for each in listed.described if each.description not in known]
    lacking = listed.number - len(active)
    others = [*others, *[RaisedAlarm()] * lacking][:lacking]
    return (*active, *others)


def _started_s(alarm: RaisedAlarm) -> float:
    return 0.0 if alarm.started is None else alarm.started.timestamp()
