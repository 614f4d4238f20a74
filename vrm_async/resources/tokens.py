"""Personal access tokens: the way into VRM that has a future."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final, TypeVar

from energy_core.codec.json import JSON
from energy_core.errors import AnswerError
from energy_core.http.client import ApiClient
from energy_core.http.operation import Operation
from vrm_async import validation
from vrm_async.decoding import access
from vrm_async.models.account import AccessToken, NewAccessToken
from vrm_async.operations import USER, reads, writes
from vrm_async.resources.users import Users
from vrm_async.responses import is_no_such_path

_PATH: Final = f"{USER}/accesstokens"
CREATE: Final = writes("tokens.create", "POST", f"{_PATH}/create")
LIST: Final = reads("tokens.list", f"{_PATH}/list")
REVOKE: Final = writes("tokens.revoke", "DELETE", f"{_PATH}/{{idAccessToken}}")
CREATE_ELSEWHERE: Final = writes("tokens.create", "POST", _PATH)
LIST_ELSEWHERE: Final = reads("tokens.list", _PATH)
REVOKE_ELSEWHERE: Final = writes("tokens.revoke", "GET", f"{_PATH}/{{idAccessToken}}/revoke")
"""Where VRM's other documents have the same operations; the last is a GET that changes something."""

T = TypeVar("T")


class Tokens:
    """The account's access tokens.

    VRM's documents name two paths for each of these operations. The second is used when VRM says that it does
    not know the first, which is safe even for a revocation: what was refused has not been done.
    """

    def __init__(self, api: ApiClient, users: Users) -> None:
        self._api = api
        self._users = users

    async def create(self, name: str, *, expires: datetime | None = None) -> NewAccessToken:
        """Make a token; its value is in this answer and never shown again.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/users/idUser/accesstokens

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
            body["expiry"] = validation.moment_s("expires", expires)
        return await self._ask(CREATE, CREATE_ELSEWHERE, access.new_access_token, json=body)

    async def list(self) -> tuple[AccessToken, ...]:
        """Return the account's tokens, without their values.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/users/idUser/accesstokens
        """
        return await self._ask(LIST, LIST_ELSEWHERE, access.access_tokens)

    async def revoke(self, token_id: int | None = None, *, all: bool = False) -> int:  # noqa: A002
        """Revoke one token, or with ``all=True`` every token of the account; return how many are gone.

        Revoking the token that this client uses locks it out.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/users/idUser/accesstokens/idAccessToken
        """
        if (token_id is None) != (all is True):
            raise ValueError("pass a token_id, or all=True to revoke every token of the account")
        which = "*" if token_id is None else validation.whole("token_id", token_id)
        return await self._ask(REVOKE, REVOKE_ELSEWHERE, access.removed, which=which)

    async def _ask(
        self,
        operation: Operation,
        elsewhere: Operation,
        into: Callable[[JSON], T],
        *,
        json: JSON = None,
        which: int | str = 0,
    ) -> T:
        user = await self._users.id()
        try:
            return await self._api.call(operation, into, json=json, idUser=user, idAccessToken=which)
        except AnswerError as error:
            refusal = error
        if not is_no_such_path(refusal):
            raise refusal
        try:
            return await self._api.call(elsewhere, into, json=json, idUser=user, idAccessToken=which)
        except AnswerError as error:
            if not is_no_such_path(error):
                raise
        raise refusal
