"""Intended differences between `vrm_async` and VRM's OpenAPI document, and unusable answers of the mock.

An unused exception fails the session.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

from attrs import frozen

SEEDS = "VRM's reference texts have it, and older than this document: "
IN_USE = "VRM's other clients send it; the method says that it is experimental: "
STUB = "the document only names the operation (x-stub), so that the mock's answer is empty: "


@frozen
class Exemption:
    """One allowed difference. Calls and faults are patterns, with ``*`` for any text."""

    calls: str
    fault: str
    reason: str

    def covers(self, call: str, fault: str) -> bool:
        return fnmatchcase(call, self.calls) and fnmatchcase(fault, self.fault)


EXEMPTIONS = (
    # --- requests that the document does not have ---
    Exemption("auth.log[io]*", "status 415: *", SEEDS + "auth/login takes a JSON body"),
    Exemption("auth.log[io]*", "error: AnswerError: this way of logging in is gone*", "follows from the 415"),
    Exemption("tokens.create", "no path: POST users/*/accesstokens*", SEEDS + "accesstokens/create"),
    Exemption("tokens.create", "error: AnswerError: *", "follows from the missing path"),
    Exemption("tokens.list", "no path: GET users/*/accesstokens/list", SEEDS + "accesstokens/list"),
    Exemption("tokens.list", "error: DecodeError: the answer has no 'tokens'*", STUB + "accesstokens"),
    Exemption("alarms.log", "no path: GET installations/*/alarm-log", IN_USE + "alarm-log"),
    Exemption("dynamic_ess.change", "no path: PATCH *", IN_USE + "PATCH dynamic-ess-settings"),
    Exemption("dynamic_ess.plan", "no path: GET */schedule-dynamic-ess", IN_USE + "schedule-dynamic-ess"),
    Exemption("forecasts.adjust_consumption", "no path: POST *", IN_USE + "adjust-consumption"),
    Exemption("widgets, Alarm", "no path: GET *", SEEDS + "the Alarm widget"),
    Exemption("widgets, MeteorologicalSensor", "no path: GET *", SEEDS + "its name before it was renamed"),
    Exemption("*", "error: NotFound: *", "follows from the missing path"),
    Exemption("dynamic_ess.change", "error: AnswerError: *", "follows from the missing path"),
    # --- parameters and members with another spelling ---
    Exemption(
        "stats.get, by instance", "request.query.show_instance: * must be boolean", SEEDS + "show_instance=1"
    ),
    Exemption("downloads.data_by_mail", "request.query.async: * must be boolean", SEEDS + "async=1"),
    *(
        Exemption(f"stats.get, {kind}", "request.query.type: *", IN_USE + f"type={kind}")
        for kind in ("live_feed_kwh", "dynamic_ess", "evcs")
    ),
    *(
        Exemption(
            f"alarms.{verb}, states",
            f"request.body: * required property '{member}'",
            "the document's own example of a rule on states spells it in camelCase",
        )
        for verb in ("add", "update")
        for member in ("AlarmEnabled", "NotifyAfterSeconds")
    ),
    Exemption(
        "custom_widgets.create",
        "request.body: * required property 'idCustomWidget'",
        "VRM gives the id in its answer to this request",
    ),
    Exemption(
        "custom_widgets.update, one member",
        "request.body: * required property *",
        "a PATCH changes what it is given; a caller may pass all members",
    ),
    Exemption(
        "installations.update_settings, warnings",
        "request.body.alarmMonitoring: * must be boolean",
        "the document reads the levels 0, 1 and 2, and a bool cannot say 2",
    ),
    Exemption("*", "error: BadRequest: *", "follows from a refused parameter or member"),
    # --- unusable answers of the mock ---
    Exemption("widgets, *", "error: NoData: * has no values for instance 0*", STUB + "the summaries"),
    *(
        Exemption(f"widgets, {name}", "records: 0 of 0", STUB + name)
        for name in ("ChargerRelayState", "InverterChargerState")
    ),
    Exemption("downloads.gps", "error: DecodeError: the answer has no body*", "the document has no KML"),
    Exemption(
        "downloads.*",
        "error: DecodeError: the answer is a JSON document*",
        "the mock sends JSON for any format",
    ),
)
