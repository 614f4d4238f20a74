"""Replaces placeholders in Prism's answers by plausible values, and counts records."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import frozen

TIME_S = 1780272000
"""2026-06-01, midnight UTC."""
_TEXTS = {
    "site_id": "151734",
    "idDataAttribute": "143",
    "lastConnection": str(TIME_S),
    "lastPowerUpOrRestart": str(TIME_S),
    "secondsAgo": "60",
    "timestamp": str(TIME_S),
    "instance": "0",
    "formatWithUnit": "%.1F V",
    "rawValue": "52.1",
    "timezone": "Europe/Amsterdam",
    "current_time": "12:30",
}
_NUMBERS = {"id": 22, "idUser": 22, "idSite": 151734}
_INSTEAD = {
    **{(key, "string"): text for key, text in _TEXTS.items()},
    **{(key, 0): number for key, number in _NUMBERS.items()},
}
"""Instead of the text "string" and the id 0, by the key."""
_NAMES = {
    "installation-data-attributes": ("value_bs", "value_bv"),
    "stats": ("Pb", "Bc"),
    "overallstats": ("Pb", "Bc"),
    "GPS": ("4", "5"),
}
_IDS = ("143", "144")
"""Instead of the keys property1 and property2, by the last part of the path; ids of attributes elsewhere."""


def filled(path: str, answer: object) -> object:
    """Return an answer of the mock with values where Prism writes "string", "property1", 0 and {}."""
    last = path.rpartition("/")[2]
    if last == "custom-widget" and isinstance(answer, dict) and answer.get("widget") == {}:
        return {**answer, "widget": {"idCustomWidget": 123, "name": "Panel", "parameters": {}}}
    return _filled(
        answer, "", dict(zip(("property1", "property2"), _NAMES.get(last, _IDS), strict=True)), last
    )


def _filled(value: object, key: str, names: Mapping[str, str], last: str) -> object:
    if isinstance(value, dict):
        if value.keys() == {"0", "1", "2"}:  # a state from one moment to another
            return {"0": "on", "1": TIME_S, "2": TIME_S + 300}
        made = {names.get(name, name): _filled(item, name, names, last) for name, item in value.items()}
        for number, code in {"4": "lt", "5": "lg"}.items() if last == "GPS" else ():
            if number in made:
                made[number] = {**made[number], "code": code, "idDataAttribute": number}  # type: ignore[dict-item]
        return made
    if isinstance(value, list):
        if value == [[0]]:  # points, in milliseconds or seconds
            time = TIME_S * 1000 if last == "stats" else TIME_S
            return [[time, 1.5], [time + (3_600_000 if last == "stats" else 3600), 2.5]]
        return [_filled(item, key, names, last) for item in value]
    if value is None and key == "token":
        return "bearer-1"
    return _INSTEAD.get((key, value), value) if isinstance(value, str | int) else value


@frozen
class Count:
    """The number of records in an answer, and the number that the client returned."""

    sent: Callable[[Any], int]
    returned: Callable[[Any], int]


def size(value: object) -> int:
    """Count a list, or an object that stands for a list of one."""
    return len(value) if isinstance(value, list) else int(bool(value))


def _several(answer: Mapping[str, Any], keys: Sequence[str]) -> int:
    return sum(size(answer[key]) for key in keys)


def _points(found: Any) -> int:
    return sum(len(series) for series in found)


def _sites(found: Any) -> int:
    sites = found if isinstance(found, tuple) else (found,)
    return sum(1 + len(site.extended) for site in sites)


_RECORDS = Count(lambda answer: size(answer["records"]), len)
_KEYED = Count(len, len)
_POINTS = Count(lambda answer: sum(map(len, answer["records"].values())), _points)
_INVITES = ("invitesSiteGroups", "invitesUserGroups", "requestsUserGroups", "requestsInstallations")

COUNTS = {
    "sites": Count(lambda answer: sum(1 + size(site.get("extended")) for site in answer["records"]), _sites),
    "users.search": Count(lambda answer: size(answer["results"]), lambda found: len(found.hits)),
    "users.invites": Count(
        lambda answer: _several(answer["data"], _INVITES),
        lambda found: sum(
            map(
                len,
                (
                    found.site_groups,
                    found.user_groups,
                    found.user_group_requests,
                    found.installation_requests,
                ),
            )
        ),
    ),
    "installations.system_overview": Count(
        lambda answer: size(answer["records"]["devices"]), lambda found: len(found.devices)
    ),
    "installations.diagnostics": _RECORDS,
    "alarms.rules": Count(
        lambda answer: _several(answer, ("alarms", "devices", "users", "attributes")),
        lambda found: sum(map(len, (found.alarms, found.devices, found.users, found.attributes))),
    ),
    "access.users": Count(
        lambda answer: _several(answer, ("users", "invites", "pending", "userGroups", "siteGroups")),
        lambda found: sum(
            map(len, (found.users, found.invites, found.pending, found.user_groups, found.site_groups))
        ),
    ),
    "tags.get": Count(
        lambda answer: sum(map(size, answer["tags"].values())),
        lambda found: sum(map(len, found.groups.values())),
    ),
    "catalogue.refresh": _KEYED,
    "fleet.find": Count(
        lambda answer: size(answer["records"]) + size(answer["attributes"]),
        len,
    ),
    "fleet.overview": Count(lambda answer: len(answer["data"]), lambda found: len(found.rows)),
    "stats.get": _POINTS,
    "stats.overall": Count(
        lambda answer: sum(len(period["totals"]) for period in answer["records"].values()),
        lambda found: sum(len(each.totals) for each in (found.today, found.week, found.month, found.year)),
    ),
    "widgets, Graph": Count(
        lambda answer: sum(map(len, answer["records"].get("data", {}).values())), _points
    ),
    "widgets, GPS": Count(
        lambda answer: len({"4", "5"} & answer["records"]["data"]["attributes"].keys()),
        lambda found: (found.latitude_deg, found.longitude_deg).count(52.1),
    ),
    "widgets, State": Count(
        lambda answer: sum(map(size, answer["records"].get("data", {}).values())), _points
    ),
}


def count_of(name: str) -> Count | None:
    """Return the counter for a call: by its name, its operation or its kind of widget."""
    operation, _, variant = name.partition(", ")
    if variant.startswith("history"):  # the mock returns the same records for every chunk
        return None
    if operation == "widgets":
        kind = "State" if variant.endswith("State") else variant.partition(",")[0]
        return COUNTS.get(f"widgets, {kind}")
    return COUNTS.get(operation)
