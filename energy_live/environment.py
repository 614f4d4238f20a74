"""Credentials and base URLs from environment variables, and the clients built from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attrs import frozen

from energy_core import SessionPool
from energy_core.secret import Secret
from energy_core.stream.vocabulary import account_label
from energy_core.url import parse_base_url
from energy_live.runner import UsageError
from voltstorage_async import VoltStorageClient
from voltstorage_async.client import DEFAULT_ACCOUNT
from voltstorage_async.endpoints import BASE_URL as VOLTSTORAGE_BASE_URL
from vrm_async import VRMClient
from vrm_async.client import BASE_URL as VRM_BASE_URL

VRM_VARIABLES: Final = "VRM_TOKEN"
"""Variables with a VRM credential, as error messages name them."""
VOLTSTORAGE_VARIABLES: Final = "VOLTSTORAGE_EMAIL and VOLTSTORAGE_PASSWORD (or VOLTSTORAGE_TOKEN)"
"""Variables with a VoltStorage credential, as error messages name them."""


@frozen(kw_only=True)
class Accounts:
    """Credentials and base URLs of both vendors; secrets do not appear in its repr."""

    vrm_token: Secret | None = None
    vrm_account: str | None = None
    vrm_base_url: str = VRM_BASE_URL
    vrm_realtime_url: str | None = None
    voltstorage_token: Secret | None = None
    voltstorage_email: str | None = None
    voltstorage_password: Secret | None = None
    voltstorage_account: str | None = None
    voltstorage_base_url: str = VOLTSTORAGE_BASE_URL

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Accounts:
        """Read the variables; an empty one counts as not set.

        Raises:
            UsageError: A base URL or an account name is not valid.
        """

        def text(name: str) -> str | None:
            return environment.get(name, "").strip() or None

        def secret(name: str) -> Secret | None:
            return Secret(environment[name]) if text(name) else None

        def label(name: str) -> str | None:
            try:
                return account_label(text(name))
            except ValueError as error:
                raise UsageError(f"{name}: {error}") from None

        def address(name: str, default: str) -> str:
            try:
                return str(parse_base_url(text(name) or default))
            except ValueError as error:
                raise UsageError(f"{name}: {error}") from None

        return cls(
            vrm_token=secret("VRM_TOKEN"),
            vrm_account=label("VRM_ACCOUNT"),
            vrm_base_url=address("VRM_BASE_URL", VRM_BASE_URL),
            vrm_realtime_url=text("VRM_REALTIME_URL"),
            voltstorage_token=secret("VOLTSTORAGE_TOKEN"),
            voltstorage_email=text("VOLTSTORAGE_EMAIL"),
            voltstorage_password=secret("VOLTSTORAGE_PASSWORD"),
            voltstorage_account=label("VOLTSTORAGE_ACCOUNT"),
            voltstorage_base_url=address("VOLTSTORAGE_BASE_URL", VOLTSTORAGE_BASE_URL),
        )

    @property
    def origins(self) -> dict[str, str]:
        """The vendor of each origin, for example `https://vrmapi.victronenergy.com: vrm`."""
        return {
            parse_base_url(self.vrm_base_url).origin: "vrm",
            parse_base_url(self.voltstorage_base_url).origin: "voltstorage",
        }

    def vrm(self, pool: SessionPool) -> VRMClient | None:
        """Return a VRM client, or None without VRM_TOKEN.

        Raises:
            UsageError: The token is not valid.
        """
        if self.vrm_token is None:
            return None
        try:
            token, address = self.vrm_token.reveal(), self.vrm_base_url
            return VRMClient(pool, token=token, account=self.vrm_account, base_url=address)
        except ValueError as error:
            raise UsageError(f"VRM_TOKEN: {error}") from None

    def voltstorage(self, pool: SessionPool) -> VoltStorageClient | None:
        """Return a VoltStorage client, or None without a credential; a token takes precedence over a login.

        Raises:
            UsageError: A credential is not valid, or only one of email and password is set.
        """
        address, account = self.voltstorage_base_url, self.voltstorage_account or DEFAULT_ACCOUNT
        email, password = self.voltstorage_email, self.voltstorage_password
        try:
            if self.voltstorage_token is not None:
                token = self.voltstorage_token.reveal()
                return VoltStorageClient(pool, token=token, account=account, base_url=address)
            if email is None and password is None:
                return None
            if email is None or password is None:
                missing = "VOLTSTORAGE_EMAIL" if email is None else "VOLTSTORAGE_PASSWORD"
                raise UsageError(f"set {missing} as well: a VoltStorage login needs email and password")
            secret = password.reveal()
            return VoltStorageClient(pool, email=email, password=secret, account=account, base_url=address)
        except ValueError as error:
            raise UsageError(f"{VOLTSTORAGE_VARIABLES}: {error}") from None
