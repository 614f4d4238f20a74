"""What a client was given to identify itself with, checked."""

from __future__ import annotations

import re
from typing import Final

from attrs import field, frozen

from energy_core.secret import Secret, fingerprint

_HEADER_TOKEN: Final = re.compile(r"[!-~]+")


@frozen(kw_only=True)
class Credentials:
    """What a client was given to identify itself with: a token, a login, or the wish for the demo account."""

    token: Secret | None = None
    username: str | None = field(default=None, repr=False)
    password: Secret | None = None
    sms_token: Secret | None = None

    @property
    def logs_in(self) -> bool:
        """Whether it takes a login, which gives a deprecated bearer token."""
        return self.token is None

    @property
    def owner(self) -> str:
        """A fingerprint that distinguishes credentials, in this process only.

        With another password they are others: a wrong password must not use the session of a right one.
        """
        if self.token is not None:
            return f"token/{fingerprint(self.token)}"
        if self.username is None or self.password is None:
            return "demo/"
        return f"login/{fingerprint(self.username.casefold(), self.password)}"


def credentials(
    *, token: str | None, username: str | None, password: str | None, sms_token: str | None, demo: bool
) -> Credentials:
    """Check the arguments of a client against each other.

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: one is missing, empty, or excludes another; the message names it and never its value.
    """
    given = {"token": token, "username": username, "password": password, "sms_token": sms_token}
    for name, value in given.items():
        if value is not None and not isinstance(value, str):
            raise TypeError(f"{name} must be a str, not {type(value).__name__}")
        if value is not None and not value.strip():
            raise ValueError(f"{name} must not be empty")
    if not isinstance(demo, bool):
        raise TypeError(f"demo must be a bool, not {type(demo).__name__}")
    if demo:
        _refuse("demo", {name for name, value in given.items() if value is not None})
        return Credentials()
    if token is not None:
        _refuse("token", {name for name, value in given.items() if value is not None} - {"token"})
        return Credentials(token=_header_token(token))
    if username is None or password is None:
        missing = "username" if username is None else "password"
        raise ValueError(
            "pass a token, or username and password, or demo=True"
            if username is password is None and sms_token is None
            else f"{missing} is missing: a login takes username and password"
        )
    return Credentials(
        username=username.strip(),
        password=Secret(password),
        sms_token=Secret(sms_token.strip()) if sms_token is not None else None,
    )


def _refuse(taken: str, others: set[str]) -> None:
    if others:
        raise ValueError(f"{' and '.join(sorted(others))} cannot be combined with {taken}")


def _header_token(token: str) -> Secret:
    """Trim what a paste brings along; what is left must fit into a header."""
    if not _HEADER_TOKEN.fullmatch(token.strip()):
        raise ValueError("token must be printable ASCII without spaces")
    return Secret(token.strip())
