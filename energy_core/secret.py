"""Secrets that are not printed, pickled or logged, and masking them in other texts."""

import hmac
import re
from collections.abc import Callable, Iterable
from secrets import token_bytes
from typing import Final, NoReturn

MASK: Final = "***"
SHORTEST: Final = 4
"""Shorter secrets are not masked: replacing every ``a`` would hide the text and reveal the secret."""

_LONGEST: Final = 64
"""A longer secret, such as a JWT, is found by its first characters; what follows them is masked too."""

_ENTITIES: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&apos;"}
_PROCESS_KEY: Final = token_bytes(16)


class Secret:
    """A token or password. Only `reveal()` returns it; `repr`, `str`, `vars` and pickle do not."""

    __slots__ = ("_reveal",)

    def __init__(self, value: str) -> None:
        # Error reporters print attributes; they do not print what a function returns.
        self._reveal: Callable[[], str] = lambda: value

    def reveal(self) -> str:
        """Return the value. Use it for sending only."""
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
    """Return eight hex digits that distinguish these parts from others, in this process only.

    Every process returns different digits, so that a fingerprint in a log cannot be used to guess passwords.
    """
    texts = [part.reveal() if isinstance(part, Secret) else part for part in parts]
    return hmac.digest(_PROCESS_KEY, repr(texts).encode(), "sha256").hex()[:8]


def masked(text: str, secrets: Iterable[Secret]) -> str:
    """Return a text with ``***`` in place of these secrets; see `masker`."""
    return masker(secrets)(text)


def masker(secrets: Iterable[Secret]) -> Callable[[str], str]:
    """Return a function that replaces these secrets by ``***``.

    It finds a secret in upper and lower case, and with any of its characters percent-encoded or escaped as in
    JSON or HTML, also twice.
    """
    # The longest first: a header's value contains the token.
    values = sorted({secret.reveal() for secret in secrets}, key=len, reverse=True)
    patterns = [
        "".join(map(_spellings, value[:_LONGEST])) + r"[^\s\"'<>]*" * (len(value) > _LONGEST)
        for value in values
        if len(value) >= SHORTEST
    ]
    if not patterns:
        return str
    found = re.compile("|".join(patterns), re.IGNORECASE)
    return lambda text: found.sub(MASK, text)


def _spellings(char: str) -> str:
    """Return a pattern of all ways in which a character may be encoded."""
    spellings = [rf"\\*{re.escape(char)}", "".join(f"%(?:25)*{byte:02x}" for byte in char.encode())]
    spellings += [
        rf"\\+u{ord(char):04x}",
        rf"\\+x{ord(char):02x}",
        rf"&\#(?:0*{ord(char)}|x0*{ord(char):x});",
    ]
    if char in _ENTITIES:
        spellings.append(_ENTITIES[char])
    if char == " ":
        spellings.append(r"\+")
    return f"(?:{'|'.join(spellings)})"
