"""Asks for an access token, also for a new one when VRM refuses the old."""

from collections.abc import Mapping
from typing import Any

import voluptuous as vol
from homeassistant.config_entries import SOURCE_REAUTH, ConfigFlow, ConfigFlowResult
from homeassistant.const import CONF_TOKEN
from homeassistant.helpers.aiohttp_client import async_get_clientsession

from energy_core import EnergyError
from energy_core.errors import AuthError
from vrm_async import VRMClient

from .const import DOMAIN

FORM = vol.Schema({vol.Required(CONF_TOKEN): str})


class EnergyConfigFlow(ConfigFlow, domain=DOMAIN):
    """One entry for each VRM account; the account's user id is its unique id."""

    VERSION = 1

    async def async_step_user(self, user_input: dict[str, Any] | None = None) -> ConfigFlowResult:
        """Ask for a token, and try it."""
        errors: dict[str, str] = {}
        if user_input is not None:
            token = user_input[CONF_TOKEN].strip()
            try:
                async with VRMClient(session=async_get_clientsession(self.hass), token=token) as vrm:
                    user = await vrm.users.me()
            except (AuthError, ValueError):
                errors["base"] = "invalid_auth"
            except EnergyError:
                errors["base"] = "cannot_connect"
            else:
                return await self._finish(str(user.id), user.name or str(user.id), token)
        return self.async_show_form(step_id="user", data_schema=FORM, errors=errors)

    async def async_step_reauth(self, _entry_data: Mapping[str, Any]) -> ConfigFlowResult:
        """Ask for a new token when VRM has refused the stored one."""
        return await self.async_step_user()

    async def _finish(self, account: str, name: str, token: str) -> ConfigFlowResult:
        await self.async_set_unique_id(account)
        if self.source == SOURCE_REAUTH:
            self._abort_if_unique_id_mismatch(reason="wrong_account")
            return self.async_update_reload_and_abort(self._get_reauth_entry(), data={CONF_TOKEN: token})
        self._abort_if_unique_id_configured()
        return self.async_create_entry(title=name, data={CONF_TOKEN: token})
