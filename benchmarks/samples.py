"""Sample answers and messages as the vendors send them, of any size.

The simulator makes them at one fixed time; they are then repeated with other numbers. In diagnostics a
fractional `rawValue` and the name of an enum are always text, as they mostly are: victron-vrm rejects records
with numbers there.
"""

from __future__ import annotations

import json
from itertools import cycle, islice
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from energy_live.simulator.vrm.sites import Site

FIELDS: Final = (
    *("pvPower", "gridPower", "consumption", "batteryPower"),
    *("soc", "dcVoltage", "dcCurrent", "batteryTemperature"),
)
"""Fields of a product event; the vendor's own example has the first and `dcVoltage`."""

START: Final = 1_780_000_000
"""The time of the first value, in unix seconds."""


def product_event(number: int, fields: int = 8) -> bytes:
    """Return one message of a product's stream; the next one is a second later."""
    names = FIELDS if fields == 8 else ("pvPower", "dcVoltage")[:fields]
    data = {name: round(100.5 + at + (number % 997) * 0.25, 2) for at, name in enumerate(names)}
    if "soc" in data:
        data["soc"] = round(number % 997 / 1000, 3)  # a share of 1, as the vendor prints it
    return json.dumps(
        {"type": "latest-data", "time": START + number, "data": data}, separators=(",", ":")
    ).encode()


def user() -> bytes:
    """Return the answer of ``users/me``."""
    about = {"name": "Alex Meijer", "email": "alex@example.com", "country": "The Netherlands"}
    return _text({"success": True, "user": {"id": 1001, **about, "idAccessToken": 51, "accessLevel": 1}})


def stats(points: int) -> bytes:
    """Return the statistics of one code in hours."""
    pairs = [[(START + 3600 * at) * 1000, round(at % 977 * 0.013, 6)] for at in range(points)]
    total = sum(value for _, value in pairs)
    return _text(
        {"success": True, "records": {"Pc": pairs, "Bc": False}, "totals": {"Pc": total, "Bc": False}}
    )


def diagnostics(records: int) -> bytes:
    """Return one page of diagnostics."""
    from energy_live.simulator.vrm.serializers import diagnostics as of_site

    once = [one for site in _sites() for one in of_site(site, START) if one["rawValue"] is not None]
    found = [{**one, "id": at} for at, one in enumerate(islice(cycle(once), records), 1)]
    for one in found:
        if isinstance(one["rawValue"], float):
            one["rawValue"] = str(one["rawValue"])
        members = one.get("dataAttributeEnumValues")
        if isinstance(members, list):
            one["dataAttributeEnumValues"] = [{**each, "nameEnum": str(each["nameEnum"])} for each in members]
    return _text({"success": True, "records": found, "num_records": records})


def installations(sites: int) -> bytes:
    """Return the list of installations with their extended attributes."""
    from energy_live.simulator.vrm.serializers import installation

    once = [installation(site, START, full=True) for site in _sites()]
    found = [
        {**one, "idSite": at, "current_alarms": []} for at, one in enumerate(islice(cycle(once), sites), 1)
    ]
    return _text({"success": True, "records": found})


def export(rows: int) -> bytes:
    """Return an export in CSV: the vendor's columns, a third of the cells empty."""
    columns = ("Power_Grid", "Power_Household", "inverterPower", "Power_PV", "SOC_State of Charge", "Status")
    lines = ["sep=,", "Time," + ",".join(columns)]
    for at in range(rows):
        minute, second = divmod(at, 60)
        hour, minute = divmod(minute, 60)
        day, hour = divmod(hour, 24)
        stamp = f"2026-{1 + day // 28 % 12:02}-{1 + day % 28:02}T{hour:02}:{minute:02}:{second:02}.561+01:00"
        cells = (f"{at % 4001 - 2000}", f"{at % 3001}.5", "", f"{at % 701}", "", "")
        lines.append(f"{stamp},{','.join(cells)}" if at % 60 else f"{stamp},1,2.5,3,4,0.5,")
    return ("\r\n".join(lines) + "\r\n").encode()


def _sites() -> tuple[Site, ...]:
    from energy_live.simulator.world import build_world

    return build_world(1, START).sites


def _text(answer: object) -> bytes:
    return json.dumps(answer, separators=(",", ":")).encode()
