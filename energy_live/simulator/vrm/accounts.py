"""VRM's users, access tokens and SMS codes. All names and secrets are invented."""

from __future__ import annotations

from hashlib import sha256
from typing import Final

from attrs import define, field, frozen

from energy_core.clock import Clock

DEMO_USER: Final = 22


def invented(seed: int, purpose: str) -> str:
    """Return 64 hex digits that are a function of the arguments."""
    return sha256(f"simulator/{seed}/{purpose}".encode()).hexdigest()


@frozen(kw_only=True)
class User:
    """A user of VRM."""

    id: int
    name: str
    email: str
    password: str = field(repr=False)
    country: str = "The Netherlands"
    sms: bool = False
    """Whether a login needs a code that is sent by SMS."""


@define(kw_only=True)
class AccessToken:
    """A personal access token."""

    id: int
    user: int
    name: str
    value: str = field(repr=False)
    created: int
    """Unix seconds."""
    expires: int | None = None
    """Unix seconds; None: never."""


@frozen
class Caller:
    """User of a request, and the personal access token if it has one."""

    user: User
    token: AccessToken | None = None


@define(eq=False)
class VrmAccounts:
    """Users of VRM and their valid tokens."""

    seed: int
    clock: Clock
    bearer_lifetime_s: float
    users: dict[int, User] = field(factory=dict, init=False)
    tokens: dict[int, AccessToken] = field(factory=dict, init=False)
    _bearers: dict[str, tuple[int, float]] = field(factory=dict, init=False, repr=False)
    _codes: dict[int, str] = field(factory=dict, init=False, repr=False)
    _issued: int = field(default=0, init=False)

    def add(self, user: User) -> None:
        """Add a user."""
        self.users[user.id] = user
        if user.sms:
            self.send_code(user)

    def send_code(self, user: User) -> str:
        """Return the code for the user's next login; an unused code stays valid."""
        if user.id not in self._codes:
            self._issued += 1
            number = int(invented(self.seed, f"sms/{user.id}/{self._issued}")[:12], 16)
            self._codes[user.id] = f"{number % 10**8:08}"
        return self._codes[user.id]

    def use_code(self, user: User, code: str) -> bool:
        """Return whether a code is valid, and invalidate it."""
        if self._codes.get(user.id) != code:
            return False
        del self._codes[user.id]
        return True

    def find(self, email: str, password: str) -> User | None:
        """Return the user with this e-mail address (case-insensitive) and password."""
        matching = (
            user for user in self.users.values() if user.email == email.lower() and user.id != DEMO_USER
        )
        return next((user for user in matching if user.password == password), None)

    def issue(self, user: User) -> str:
        """Return a new bearer token in the form of a JWT."""
        self._issued += 1
        digits = invented(self.seed, f"bearer/{user.id}/{self._issued}")
        token = f"eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9.{digits[:48]}.{digits[16:]}"
        self._bearers[token] = (user.id, self.clock.monotonic() + self.bearer_lifetime_s)
        return token

    def create(
        self, user: User, name: str, expires: int | None = None, value: str | None = None
    ) -> AccessToken | None:
        """Create a personal access token; return None if the user has one of that name."""
        if any(token.user == user.id and token.name == name for token in self.tokens.values()):
            return None
        self._issued += 1
        token = AccessToken(
            id=49 + self._issued,
            user=user.id,
            name=name,
            value=value or invented(self.seed, f"token/{self._issued}"),
            created=int(self.clock.utcnow().timestamp()),
            expires=expires,
        )
        self.tokens[token.id] = token
        return token

    def of(self, user: User) -> list[AccessToken]:
        """Return the user's personal access tokens."""
        return [token for token in self.tokens.values() if token.user == user.id]

    def revoke(self, user: User, which: str) -> int:
        """Revoke one personal access token, or all with `*`; return their number."""
        gone = [token.id for token in self.of(user) if which in {"*", str(token.id)}]
        for number in gone:
            del self.tokens[number]
        return len(gone)

    def revoke_bearer(self, bearer: str) -> None:
        """Invalidate one bearer token."""
        self._bearers.pop(bearer, None)

    def expire(self) -> None:
        """Invalidate every bearer token."""
        self._bearers.clear()

    def caller(self, header: str) -> Caller | None:
        """Return the user of an `X-Authorization` header, or None if it is not valid."""
        scheme, _, value = header.partition(" ")
        if scheme == "Bearer" and value in self._bearers:
            number, until = self._bearers[value]
            return Caller(self.users[number]) if self.clock.monotonic() < until else None
        if scheme == "Token":
            now = self.clock.utcnow().timestamp()
            for token in self.tokens.values():
                if token.value == value and (token.expires is None or now < token.expires):
                    return Caller(self.users[token.user], token)
        return None
