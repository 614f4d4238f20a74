"""VRM: the alarms that were raised. The list of sites, the log and the widget show the same ones."""

from __future__ import annotations

from typing import Final

from energy_live.simulator.vrm.serializers import Json
from energy_live.simulator.vrm.sites import Site

_EVERY_S: Final = 5 * 86_400
_LASTED_S: Final = 1800


class RaisedAlarms:
    """Each site has an alarm for a low battery every five days; the newest is active until it is cleared."""

    def __init__(self) -> None:
        self._cleared: dict[tuple[int, int], float] = {}

    def between(self, site: Site, start: float, end: float) -> list[Json]:
        """Return the alarms that were raised between two times (Unix seconds), as the log shows them."""
        found: list[Json] = []
        for number in range(int(start // _EVERY_S), int(end // _EVERY_S) + 1):
            began = number * _EVERY_S + 4 * 3600
            if not start <= began < end:
                continue
            cleared = self._cleared.get((site.id, number))
            if cleared is None and began + _EVERY_S <= end:
                cleared = began + _LASTED_S
            found.append(
                {
                    "idAlarm": number,
                    "idDataAttribute": site.by_code["bs"].id,
                    "description": "Low battery",
                    "device": "System overview",
                    "instance": 0,
                    "nameEnum": None,
                    "started": began,
                    "cleared": None if cleared is None else int(cleared),
                }
            )
        return found

    def active(self, site: Site, now: float) -> list[Json]:
        """Return the alarms that are active at a time (Unix seconds)."""
        return [one for one in self.between(site, now - 2 * _EVERY_S, now) if one["cleared"] is None]

    def clear(self, site: Site, number: int, now: float) -> None:
        """Clear an alarm, as its user does."""
        self._cleared.setdefault((site.id, number), now)
