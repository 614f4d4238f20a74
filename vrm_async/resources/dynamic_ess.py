"""Dynamic ESS: planning the battery by energy prices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from energy_core.codec.json import JSON
from energy_core.errors import AnswerError, NoData
from energy_core.http.client import ApiClient
from vrm_async import validation
from vrm_async.decoding import dynamic_ess
from vrm_async.models.dynamic_ess import DynamicEssPlan, DynamicEssSettings, PriceSchedule
from vrm_async.operations import SITE, reads, writes

_PATH: Final = f"{SITE}/dynamic-ess-settings"
GET: Final = reads("dynamic_ess.get", _PATH)
SAVE: Final = writes("dynamic_ess.save", "POST", _PATH)
CHANGE: Final = writes("dynamic_ess.change", "PATCH", _PATH)
PLAN: Final = reads("dynamic_ess.plan", f"{SITE}/schedule-dynamic-ess")

FLOW_RESTRICTIONS: Final = ("unrestricted", "noExport", "noImport")
PRICE_TYPES: Final = (0, 1)
_NOTHING: Final[Mapping[str, JSON]] = {}


class DynamicEss:
    """The Dynamic ESS of a site."""

    def __init__(self, api: ApiClient) -> None:
        self._api = api

    async def get(self, site_id: int) -> DynamicEssSettings:
        """Return the settings.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/dynamic-ess-settings/get

        Raises:
            NoData: Dynamic ESS was never set up at this site.
        """
        site_id = validation.whole("site_id", site_id)
        try:
            return await self._api.call(GET, dynamic_ess.settings, idSite=site_id)
        except AnswerError as error:
            refusal = error
        # VRM says so with status 200, no error_code, and a text in the account's language.
        if type(refusal) is AnswerError and refusal.status == 200 and refusal.error_code is None:
            raise refusal.as_a(NoData, f"Dynamic ESS has no settings at this site ({refusal.message})")
        raise refusal

    async def save(
        self, site_id: int, settings: DynamicEssSettings, *, raw: Mapping[str, JSON] = _NOTHING
    ) -> DynamicEssSettings | None:
        """Write the settings that are not None, and return what VRM says is in force.

        VRM wants nearly all of them: read, `attrs.evolve`, save. What no document names is never written.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/installations/idSite/dynamic-ess-settings/post

        Args:
            site_id: The site.
            settings: The whole configuration.
            raw: Further members of the body, sent as they are.
        """
        body = {**_body(settings), **raw}
        if not body:
            raise ValueError("settings must not be empty")
        site_id = validation.whole("site_id", site_id)
        return await self._api.call(SAVE, dynamic_ess.saved, json=body, idSite=site_id)

    async def change(
        self, site_id: int, settings: DynamicEssSettings, *, raw: Mapping[str, JSON] = _NOTHING
    ) -> DynamicEssSettings | None:
        """Write only the settings that are not None, `mode` and `operating_mode` among them.

        Experimental: VRM's other clients send it (PATCH), no document names it.
        """
        body = {**_body(settings, {**dynamic_ess.WRITTEN, **dynamic_ess.UNDOCUMENTED}), **raw}
        if not body:
            raise ValueError("settings must not be empty")
        site_id = validation.whole("site_id", site_id)
        return await self._api.call(CHANGE, dynamic_ess.saved, json=body, idSite=site_id)

    async def plan(self, site_id: int) -> DynamicEssPlan:
        """Return what is planned. Experimental: no document names it."""
        site_id = validation.whole("site_id", site_id)
        return await self._api.call(PLAN, dynamic_ess.plan, query=[("async", "0")], idSite=site_id)


def _body(settings: DynamicEssSettings, members: Mapping[str, str] = dynamic_ess.WRITTEN) -> dict[str, JSON]:
    if not isinstance(settings, DynamicEssSettings):
        raise TypeError(f"settings must be DynamicEssSettings, not {type(settings).__name__}")
    if settings.battery_flow_restriction is not None:
        validation.one_of("battery_flow_restriction", settings.battery_flow_restriction, FLOW_RESTRICTIONS)
    for name in ("buy_price_type", "sell_price_type"):
        kind = getattr(settings, name)
        if kind is not None and (isinstance(kind, bool) or kind not in PRICE_TYPES):
            raise ValueError(f"{name} must be 0 (a schedule) or 1 (the market's price), not {kind!r}")
    given = {name: getattr(settings, name) for name in members}
    for name, value in given.items():
        _check(name, value)
    return {
        members[name]: dynamic_ess.member(name, value) for name, value in given.items() if value is not None
    }


def _check(name: str, value: object) -> None:
    if name.endswith("_schedule") and value is not None:
        if not isinstance(value, tuple) or not all(isinstance(each, PriceSchedule) for each in value):
            raise TypeError(f"{name} must be a tuple of PriceSchedule")
    elif isinstance(value, int | float):
        validation.finite(name, float(value))
    elif value is not None and not isinstance(value, str):
        raise TypeError(f"{name} must be a number, a bool or a str, not {type(value).__name__}")
