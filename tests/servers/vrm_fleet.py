"""A VRM account with many sites in memory, whose hours are a function of site and time."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime

from energy_live.simulator.vrm.rate_limit import RollingWindow
from tests.servers.memory_network import Asked, http

CREATED = datetime(2025, 1, 1, tzinfo=UTC)
UNTIL = datetime(2026, 1, 1, tzinfo=UTC)
HOUR_MS = 3_600_000


def energy(site: int, code: str, ms: int) -> float:
    """Return the kWh of one hour."""
    return (ms // HOUR_MS * 7 + site * 13 + ord(code[0])) % 1000 / 1000.0


class FleetVRM:
    """Answers `users/me`, the list of sites, and their hourly statistics, within VRM's rate limit.

    Args:
        sites: Number of sites.
        now: The time in seconds, for the rate limit.
        codes: The codes with data.
    """

    def __init__(self, sites: int, now: Callable[[], float], codes: tuple[str, ...] = ("Pc", "Gc")) -> None:
        self.window = RollingWindow()
        self.stats_sent: list[float] = []
        """When each answer with statistics was sent, in seconds."""
        self._sites = range(1, sites + 1)
        self._now = now
        self._codes = codes

    def answer(self, asked: Asked) -> bytes:
        """Return the answer to a request."""
        if self.window.admit(self._now()) is not None:
            body = b'{"success": false, "errors": "Too many requests", "error_code": "rate_limit"}'
            return http(429, body, headers=(("Retry-After", "1"),))
        if asked.path.endswith("/users/me"):
            return _ok({"success": True, "user": {"id": 22, "name": "A", "email": "a@example.com"}})
        if asked.path.endswith("/users/22/installations"):
            return _ok(
                {
                    "success": True,
                    "records": [
                        {
                            "idSite": site,
                            "name": f"Site {site}",
                            "timezone": "UTC",
                            "syscreated": int(CREATED.timestamp()),
                        }
                        for site in self._sites
                    ],
                }
            )
        site = int(asked.path.split("/")[-2])
        start, end = (int(asked.all(name)[0]) * 1000 for name in ("start", "end"))
        self.stats_sent.append(self._now())
        records = {
            code: [[ms, energy(site, code, ms)] for ms in range(start, end, HOUR_MS)] for code in self._codes
        }
        return _ok({"success": True, "records": records, "totals": {}})


def _ok(body: object) -> bytes:
    return http(200, json.dumps(body).encode())
