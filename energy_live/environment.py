"""What the environment says: credentials and addresses, read once and never printed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attrs import frozen

from energy_core import SessionPool
from energy_core.secret import Secret
from energy_core.stream.vocabulary import account_label
from energy_core.url import parse_base_url
from voltstorage_async import VoltStorageClient
from voltstorage_async.client import DEFAULT_ACCOUNT
from voltstorage_async.endpoints import BASE_URL as VOLTSTORAGE_BASE_URL
from vrm_async import VRMClient
from vrm_async.client import BASE_URL as VRM_BASE_URL

VRM_WAYS: Final = "VRM_TOKEN"
VOLTSTORAGE_WAYS: Final = "VOLTSTORAGE_EMAIL and VOLTSTORAGE_PASSWORD (or VOLTSTORAGE_TOKEN)"


class Unusable(Exception):
    """The environment or the options are not usable; the message says what to set."""


@frozen(kw_only=True)
class Accounts:
    """The accounts that the environment opens."""

    vrm_token: Secret | None = None
    vrm_account: str | None = None
    vrm_base_url: str = VRM_BASE_URL
    voltstorage_token: Secret | None = None
    voltstorage_email: str | None = None
    voltstorage_password: Secret | None = None
    voltstorage_account: str | None = None
    voltstorage_base_url: str = VOLTSTORAGE_BASE_URL

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Accounts:
        """Read the environment; a variable that is empty counts as not set.

        Raises:
            Unusable: An address cannot be meant.
        """

        def text(name: str) -> str | None:
            return environment.get(name, "").strip() or None

        def secret(name: str) -> Secret | None:
            return Secret(environment[name]) if text(name) else None

        def label(name: str) -> str | None:
            try:
                return account_label(text(name))
            except ValueError as wrong:
                raise Unusable(f"{name}: {wrong}") from None

        def address(name: str, default: str) -> str:
            try:
                return str(parse_base_url(text(name) or default))
            except ValueError as wrong:
                raise Unusable(f"{name}: {wrong}") from None

        return cls(
            vrm_token=secret("VRM_TOKEN"),
            vrm_account=label("VRM_ACCOUNT"),
            vrm_base_url=address("VRM_BASE_URL", VRM_BASE_URL),
            voltstorage_token=secret("VOLTSTORAGE_TOKEN"),
            voltstorage_email=text("VOLTSTORAGE_EMAIL"),
            voltstorage_password=secret("VOLTSTORAGE_PASSWORD"),
            voltstorage_account=label("VOLTSTORAGE_ACCOUNT"),
            voltstorage_base_url=address("VOLTSTORAGE_BASE_URL", VOLTSTORAGE_BASE_URL),
        )

    @property
    def origins(self) -> dict[str, str]:
        """Which vendor is asked at which origin."""
        return {
            parse_base_url(self.vrm_base_url).origin: "vrm",
            parse_base_url(self.voltstorage_base_url).origin: "voltstorage",
        }

    def vrm(self, pool: SessionPool) -> VRMClient | None:
        """Return a client, or None without a credential for it.

        Raises:
            Unusable: a variable has a value that cannot be meant.
        """
        if self.vrm_token is None:
            return None
        try:
            token, address = self.vrm_token.reveal(), self.vrm_base_url
            return VRMClient(pool, token=token, account=self.vrm_account, base_url=address)
        except ValueError as wrong:
            raise Unusable(f"VRM_TOKEN: {wrong}") from None

    def voltstorage(self, pool: SessionPool) -> VoltStorageClient | None:
        """Return a client, or None without a credential for it; a token goes before a login.

        Raises:
            Unusable: a variable has a value that cannot be meant, or half a login is missing.
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
                raise Unusable(f"set {missing} as well: a VoltStorage login needs email and password")
            secret = password.reveal()
            return VoltStorageClient(pool, email=email, password=secret, account=account, base_url=address)
        except ValueError as wrong:
            raise Unusable(f"{VOLTSTORAGE_WAYS}: {wrong}") from None
