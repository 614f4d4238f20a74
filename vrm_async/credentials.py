"""The credentials of a client: a token, a login or the demo account; checked at construction."""

from __future__ import annotations

import re
from typing import Final

from attrs import field, frozen

from energy_core.secret import Secret, fingerprint

_HEADER_TOKEN: Final = re.compile(r"[!-~]+")


@frozen(kw_only=True)
class Credentials:
    """The credentials of a client: a token, a login (user name and password), or the demo account (none)."""

    token: Secret | None = None
    username: str | None = field(default=None, repr=False)
    password: Secret | None = None
    sms_token: Secret | None = None

    @property
    def logs_in(self) -> bool:
        """Whether the client has to log in for a bearer token, which VRM has deprecated."""
        return self.token is None

    @property
    def owner(self) -> str:
        """A fingerprint that distinguishes credentials within this process.

        It includes the password: a client with a wrong password must not share the session of a right one.
        """
        if self.token is not None:
            return f"token/{fingerprint(self.token)}"
        if self.username is None or self.password is None:
            return "demo/"
        return f"login/{fingerprint(self.username.casefold(), self.password)}"


def credentials(
    *, token: str | None, username: str | None, password: str | None, sms_token: str | None, demo: bool
) -> Credentials:
    """Check the credentials that a client was given.

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: an argument is missing, empty, or excludes another. Messages contain no values.
    """
    # An empty argument is an error of its own, not a missing argument.
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
    """Return a token without surrounding white space, if it is valid in a header."""
    if not _HEADER_TOKEN.fullmatch(token.strip()):
        raise ValueError("token must be printable ASCII without spaces")
    return Secret(token.strip())
