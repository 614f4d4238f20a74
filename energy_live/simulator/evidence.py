"""Source of each simulated answer's shape.

The first of these that shows an answer is used: an answer captured from the real service, VRM's OpenAPI
document, the vendors' older reference texts (the newest first). The shape of any other answer is a guess.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple


class EvidenceSource(enum.StrEnum):
    """Kind of source."""

    CAPTURED = "captured"
    """An answer captured from the real service."""
    OPENAPI = "openapi"
    """VRM's OpenAPI document."""
    SEED = "seed"
    """The vendors' older reference texts."""
    GUESS = "guess"
    """No document shows it."""


class Evidence(NamedTuple):
    """The source of one answer."""

    source: EvidenceSource
    doubt: str | None = None
    """Part of the answer that the source does not show."""


def read_table(table: str) -> Mapping[str, Evidence]:
    """Parse lines of source, answer and (optional) doubt, separated by `|`.

    Raises:
        ValueError: An answer has two lines.
    """
    found: dict[str, Evidence] = {}
    for line in table.strip().splitlines():
        source, answer, *doubt = (cell.strip() for cell in line.split("|"))
        if answer in found:
            raise ValueError(f"two sources of one answer: {answer}")
        found[answer] = Evidence(EvidenceSource(source), *doubt)
    return MappingProxyType(found)


VRM: Final = read_table("""
guess    | POST /v2/auth/login
openapi  | GET /v2/auth/loginAsDemo
seed     | POST /v2/auth/logout | the token in the answer
guess    | GET /v2/auth/logout
captured | GET /v2/users/me
captured | GET /v2/users/{user}/installations
guess    | GET /v2/users/{user}/accesstokens
openapi  | DELETE /v2/users/{user}/accesstokens/{which}
seed     | POST /v2/users/{user}/accesstokens/create
seed     | GET /v2/users/{user}/accesstokens/list | last_seen and last_successful_auth
seed     | GET /v2/users/{user}/accesstokens/{which}/revoke
openapi  | POST /v2/users/{user}/addsite
openapi  | POST /v2/users/{user}/get-site-id
openapi  | GET /v2/users/{user}/search | whether results is a list
openapi  | GET /v2/users/{user}/invites | whether each kind is a list
openapi  | GET /v2/installations/{site}/alarms | the enumValues of an attribute
openapi  | POST /v2/installations/{site}/alarms
openapi  | PUT /v2/installations/{site}/alarms
openapi  | DELETE /v2/installations/{site}/alarms
openapi  | POST /v2/installations/{site}/clear-alarm
guess    | GET /v2/installations/{site}/alarm-log
openapi  | GET /v2/installations/{site}/system-overview | timestamps are numbers, as the older text has them
openapi  | GET /v2/installations/{site}/diagnostics | records is a list, as the older text has it
openapi  | GET /v2/installations/{site}/dynamic-ess-settings | operatingMode, mode, dates
openapi  | POST /v2/installations/{site}/dynamic-ess-settings | operatingMode, mode, dates
guess    | PATCH /v2/installations/{site}/dynamic-ess-settings
guess    | GET /v2/installations/{site}/schedule-dynamic-ess
openapi  | GET /v2/installations/{site}/reset-forecasts
openapi  | POST /v2/installations/{site}/reset-forecasts
guess    | POST /v2/installations/{site}/adjust-consumption
openapi  | GET /v2/installations/{site}/gps-download
openapi  | GET /v2/installations/{site}/data-download | the columns of the file
openapi  | GET /v2/installations/{site}/tags
openapi  | PUT /v2/installations/{site}/tags
openapi  | DELETE /v2/installations/{site}/tags
openapi  | GET /v2/installations/{site}/stats | the list of instances, three of the types
openapi  | GET /v2/installations/{site}/overallstats
openapi  | POST /v2/installations/{site}/settings | alarmMonitoring also as the level that is read
openapi  | POST /v2/installations/{site}/favorite
openapi  | POST /v2/installations/{site}/invite
openapi  | GET /v2/installations/{site}/users
openapi  | POST /v2/installations/{site}/unlink-user
openapi  | POST /v2/installations/{site}/unlink
openapi  | POST /v2/installations/{site}/user-rights
openapi  | POST /v2/installations/{site}/invite-rights
openapi  | POST /v2/installations/{site}/link-user-groups
openapi  | POST /v2/installations/{site}/user-group-access-level
openapi  | GET /v2/installations/{site}/custom-widget | the members of the widget
openapi  | POST /v2/installations/{site}/custom-widget
openapi  | PATCH /v2/installations/{site}/custom-widget
openapi  | DELETE /v2/installations/{site}/custom-widget
captured | GET /v2/installations/{site}/widgets/Graph
openapi  | GET /v2/installations/{site}/widgets/GPS
openapi  | GET /v2/installations/{site}/widgets/HoursOfAc
seed     | GET /v2/installations/{site}/widgets/HoursOfAC | the data, taken from HoursOfAc
guess    | GET /v2/installations/{site}/widgets/Alarm
openapi  | GET /v2/installations/{site}/widgets/GeneratorState
openapi  | GET /v2/installations/{site}/widgets/InputState
openapi  | GET /v2/installations/{site}/widgets/InverterState
openapi  | GET /v2/installations/{site}/widgets/MPPTState
openapi  | GET /v2/installations/{site}/widgets/ChargerState
openapi  | GET /v2/installations/{site}/widgets/EssBatteryLifeState
openapi  | GET /v2/installations/{site}/widgets/FuelCellState
openapi  | GET /v2/installations/{site}/widgets/BatteryExternalRelayState
openapi  | GET /v2/installations/{site}/widgets/BatteryRelayState
openapi  | GET /v2/installations/{site}/widgets/BatteryMonitorWarningsAndAlarms
openapi  | GET /v2/installations/{site}/widgets/GatewayRelayState
openapi  | GET /v2/installations/{site}/widgets/GatewayRelayTwoState
openapi  | GET /v2/installations/{site}/widgets/SolarChargerRelayState
openapi  | GET /v2/installations/{site}/widgets/VeBusState
guess    | GET /v2/installations/{site}/widgets/ChargerRelayState
guess    | GET /v2/installations/{site}/widgets/VeBusWarningsAndAlarms
guess    | GET /v2/installations/{site}/widgets/InverterChargerState
guess    | GET /v2/installations/{site}/widgets/InverterChargerWarningsAndAlarms
guess    | GET /v2/installations/{site}/widgets/BatterySummary
guess    | GET /v2/installations/{site}/widgets/BMSDiagnostics
guess    | GET /v2/installations/{site}/widgets/HistoricData
guess    | GET /v2/installations/{site}/widgets/IOExtenderInOut
guess    | GET /v2/installations/{site}/widgets/LithiumBMS
guess    | GET /v2/installations/{site}/widgets/DCMeter
guess    | GET /v2/installations/{site}/widgets/EvChargerSummary
guess    | GET /v2/installations/{site}/widgets/MeteorologicalSensorOverview
guess    | GET /v2/installations/{site}/widgets/GlobalLinkSummary
guess    | GET /v2/installations/{site}/widgets/MotorSummary
guess    | GET /v2/installations/{site}/widgets/PVInverterStatus
guess    | GET /v2/installations/{site}/widgets/SolarChargerSummary
guess    | GET /v2/installations/{site}/widgets/Status
guess    | GET /v2/installations/{site}/widgets/TankSummary
guess    | GET /v2/installations/{site}/widgets/TempSummaryAndGraph
guess    | GET /v2/installations/{site}/widgets/TempAirQuality
openapi  | POST /v2/installation-overview-download
openapi  | GET /v2/installation-data-attributes
openapi  | GET /v2/data-attributes
guess    | GET /v2/admin/devices
guess    | GET /v2/admin/installation-data-attributes-count
guess    | GET /v2/admin/search-download
guess    | GET /v2/firmwares
guess    | POST /v2/systems/add-system
""")
"""Source of the answer of each VRM route. Operations that the OpenAPI document names without an answer are
guesses."""

VRM_REFUSALS: Final = read_table("""
guess    | unauthorized
guess    | invalid_credentials
guess    | invalid_sms_token
guess    | forbidden
guess    | not_found
guess    | method_not_allowed
guess    | invalid_json
guess    | invalid_parameters
captured | missing_parameters
seed     | no_data
openapi  | empty_search
openapi  | min_one_admin_required
openapi  | user_not_unlinked
openapi  | accesslevel_and_user_required
openapi  | accesslevel_and_invite_keys_required
guess    | unknown_identifier
guess    | token_name_exists
guess    | alarm_exists
openapi  | null
""")
"""Source of each `error_code` of VRM; `null` is the code of status 429."""

VOLTSTORAGE: Final = read_table("""
seed  | POST /rest/login/password | the path
seed  | GET /rest/products | the path
seed  | GET /rest/products/events | the path
seed  | GET /rest/products/{product}/data/latest | the path; the names other than pvPower and dcVoltage
seed  | GET /rest/data/statistics | the path
seed  | GET /rest/data/export.csv | the column Status
guess | GET /rest/data/export.json
seed  | MESSAGE latest-data | the names other than pvPower and dcVoltage
guess | REFUSAL
""")
"""Source of each route, WebSocket message and refusal of VoltStorage. Its document has no paths."""
