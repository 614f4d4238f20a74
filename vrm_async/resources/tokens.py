"""Personal access tokens of the account."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final, TypeVar

from energy_core.checks import text, whole
from energy_core.codec import coerce
from energy_core.codec.json import JSON
from energy_core.codec.structure import model, records
from energy_core.errors import AnswerError, DecodeError
from energy_core.http.client import ApiClient
from energy_core.http.operation import Operation
from energy_core.http.pages import Pages
from energy_core.secret import Secret
from vrm_async import validation
from vrm_async.models.account import AccessToken, NewAccessToken
from vrm_async.operations import USER, reads, writes
from vrm_async.resources.users import Users
from vrm_async.responses import is_no_such_path, part

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
    """The account's access tokens; `client.tokens`.

    VRM's documents name two paths for each of these operations. The second is used when VRM answers that it
    does not know the first. This is safe even for `create` and `revoke`: a refused request changed nothing.
    """

    def __init__(self, api: ApiClient, users: Users) -> None:
        self._api = api
        self._users = users

    async def create(self, name: str, *, expires: datetime | None = None) -> NewAccessToken:
        """Create a token and return it with its value, which no later request returns. Sent once.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/users/idUser/accesstokens

        Args:
            name: Must be new within the account.
            expires: An aware datetime; None for a token that does not expire.
        """
        body: dict[str, JSON] = {"name": text("name", name)}
        if expires is not None:
            body["expiry"] = validation.unix_s("expires", expires)
        return await self._call(CREATE, CREATE_ELSEWHERE, read_new_token, json=body)

    def list(self) -> Pages[AccessToken]:
        """List the account's tokens, without their values: ``await`` it, or use ``async for``.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/users/idUser/accesstokens
        """
        return Pages.of_one_answer(lambda: self._call(LIST, LIST_ELSEWHERE, read_tokens), of=AccessToken)

    async def current(self) -> AccessToken | None:
        """Return the token that this client uses: its name, scope and expiry. Cancelling is safe.

        None if VRM's list does not have it, as for the token of a login. Two requests.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/users/me
        """
        user = await self._users.me()
        return next((token for token in await self.list() if token.id == user.access_token_id), None)

    async def revoke(self, token_id: int | None = None, *, all: bool = False) -> int:  # noqa: A002
        """Revoke one token, or all with ``all=True``; return how many were revoked. Sent once.

        A client whose own token is revoked gets `AuthFailed` from then on.

        Docs: https://vrm-api-docs.victronenergy.com/#/operations/users/idUser/accesstokens/idAccessToken

        Raises:
            ValueError: neither a token's id nor ``all=True`` is given, or both are.
        """
        if (token_id is None) != (all is True):
            raise ValueError("pass a token_id, or all=True to revoke every token of the account")
        which = "*" if token_id is None else whole("token_id", token_id)
        return await self._call(REVOKE, REVOKE_ELSEWHERE, read_removed, which=which)

    async def _call(
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
        # The first path was refused, so nothing was done: the second is safe for writes, too.
        try:
            return await self._api.call(elsewhere, into, json=json, idUser=user, idAccessToken=which)
        except AnswerError as error:
            if not is_no_such_path(error):
                raise
        raise refusal


_token = model(
    AccessToken,
    wire={"id": "idAccessToken", "created": "createdOn"},
    read=dict.fromkeys(("created", "expires", "last_seen", "last_successful_auth"), coerce.seconds_or_never),
)
_tokens = records(_token, "AccessToken")


def read_tokens(payload: JSON) -> tuple[AccessToken, ...]:
    """Read the list of access tokens."""
    return _tokens(part(payload, "tokens"))


def read_new_token(payload: JSON) -> NewAccessToken:
    """Read a new token and its value.

    Raises:
        DecodeError: the answer lacks the value or the id.
    """
    value, token_id = coerce.text(part(payload, "token")), coerce.integer(part(payload, "idAccessToken"))
    if not value or token_id is None:
        raise DecodeError("the answer has no token or no id", kind="envelope")
    return NewAccessToken(id=token_id, token=Secret(value))


def read_removed(payload: JSON) -> int:
    """Read how many tokens were revoked."""
    data = part(payload, "data")
    count = coerce.integer(data.get("removed")) if isinstance(data, Mapping) else None
    if count is None:
        raise DecodeError("the answer has no number of removed tokens", kind="envelope")
    return count
