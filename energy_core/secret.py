"""A value that never prints, pickles or logs itself."""

import hmac
from collections.abc import Callable
from secrets import token_bytes
from typing import Final, NoReturn

_PROCESS_KEY: Final = token_bytes(16)


class Secret:
    """A token or password. Only `reveal()` gives it back; `repr`, `str`, `vars` and pickle never do."""

    __slots__ = ("_reveal",)

    def __init__(self, value: str) -> None:
        # A closure keeps the value out of every attribute dump a debugger or reporter makes.
        self._reveal: Callable[[], str] = lambda: value

    def reveal(self) -> str:
        """Return the value, to be put on the wire and nowhere else."""
        return self._reveal()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self.reveal().encode(), other.reveal().encode())

    def __hash__(self) -> int:
        return hash((Secret, self.reveal()))

    def __bool__(self) -> bool:
        return bool(self.reveal())

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __format__(self, format_spec: str) -> str:
        return repr(self)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret cannot be pickled or copied; pass the object itself")


def fingerprint(*parts: str | Secret) -> str:
    """Return eight hex digits that tell these parts from others, in this process only.

    Another process gives others, so that a fingerprint in a log is of no use for trying passwords.
    """
    texts = [part.reveal() if isinstance(part, Secret) else part for part in parts]
    return hmac.digest(_PROCESS_KEY, repr(texts).encode(), "sha256").hex()[:8]
