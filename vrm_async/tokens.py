"""Personal access tokens: the way into VRM that has a future."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from energy_core.http.api import ApiClient
from energy_core.http.request import JSON, Operation
from vrm_async import arguments, codec
from vrm_async.models import AccessToken, NewAccessToken
from vrm_async.users import Users

CREATE: Final = Operation(
    vendor="vrm",
    name="tokens.create",
    method="POST",
    path="users/{idUser}/accesstokens/create",
    repeatable=False,
)
LIST: Final = Operation(
    vendor="vrm",
    name="tokens.list",
    method="GET",
    path="users/{idUser}/accesstokens/list",
    repeatable=True,
)
REVOKE: Final = Operation(
    vendor="vrm",
    name="tokens.revoke",
    method="GET",
    path="users/{idUser}/accesstokens/{idAccessToken}/revoke",
    repeatable=False,  # a GET that changes something
)


class Tokens:
    """The account's access tokens."""

    def __init__(self, api: ApiClient, users: Users) -> None:
        self._api = api
        self._users = users

    async def create(self, name: str, *, expires: datetime | None = None) -> NewAccessToken:
        """Make a token; its value is in this answer and never shown again.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/users/idUser/accesstokens/create

        Args:
            name: Must be new within the account.
            expires: An aware datetime, or None for a token that lasts.
        """
        if not isinstance(name, str):
            raise TypeError(f"name must be a str, not {type(name).__name__}")
        if not name.strip():
            raise ValueError("name must not be empty")
        body: dict[str, JSON] = {"name": name}
        if expires is not None:
            body["expiry"] = arguments.moment_s("expires", expires)
        return await self._api.call(CREATE, codec.new_access_token, json=body, idUser=await self._users.id())

    async def list(self) -> tuple[AccessToken, ...]:
        """Return the account's tokens, without their values.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/users/idUser/accesstokens/list
        """
        return await self._api.call(LIST, codec.access_tokens, idUser=await self._users.id())

    async def revoke(self, token_id: int | None = None, *, all: bool = False) -> int:  # noqa: A002
        """Revoke one token, or with ``all=True`` every token of the account; return how many are gone.

        Revoking the token that this client uses locks it out.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/users/idUser/accesstokens/idAccessToken/revoke
        """
        if (token_id is None) != (all is True):
            raise ValueError("pass a token_id, or all=True to revoke every token of the account")
        which = "*" if token_id is None else arguments.whole("token_id", token_id)
        return await self._api.call(REVOKE, codec.removed, idUser=await self._users.id(), idAccessToken=which)
