"""What the list of sites says of their real-time service."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from vrm_async.decoding.php import by_key

_PORTAL_ID: Final = re.compile("[0-9a-z]{1,32}")


class Gateway(NamedTuple):
    """What the list of sites says of a site's real-time service."""

    portal_id: str | None
    """The gateway's identifier, in lower case; None if it is missing or could not be part of a topic."""
    host: str | None
    """Host of the site's broker over WebSocket; None if the list does not name it."""
    obstacle: str = ""
    """Why VRM does not allow real time at this site; empty if it does."""


def gateway(record: Mapping[str, object]) -> Gateway:
    """Read what a record of a site says of its real-time service."""
    portal_id, host = record.get("identifier"), record.get("mqtt_webhost")
    named = portal_id.strip().lower() if isinstance(portal_id, str) else ""
    rights = by_key(record.get("view_permissions"))
    obstacle = ""
    if record.get("realtimeUpdates") in (False, 0):
        obstacle = "real time is switched off for this site in VRM"
    elif rights.get("twoway") is False and rights.get("readonly_realtime") is False:
        obstacle = "the account has no right to real time at this site"
    return Gateway(
        named if _PORTAL_ID.fullmatch(named) else None,
        host.strip().lower() if isinstance(host, str) else None,
        obstacle,
    )
