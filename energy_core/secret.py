"""A value that never prints, pickles or logs itself."""

import hmac
import re
from collections.abc import Callable, Iterable
from secrets import token_bytes
from typing import Final, NoReturn

MASK: Final = "***"
SHORTEST: Final = 4
"""Shorter secrets are not looked for: masking every ``a`` would hide the text and give the secret away."""

_LONGEST: Final = 64
"""Of a longer secret, such as a JWT, this many characters are looked for; the rest goes too."""

_ENTITIES: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&apos;"}
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


def masked(text: str, secrets: Iterable[Secret]) -> str:
    """Return a text of a server's with ``***`` for each of these secrets that it repeats; see `masker`."""
    return masker(secrets)(text)


def masker(secrets: Iterable[Secret]) -> Callable[[str], str]:
    """Return what puts ``***`` in place of these secrets, for many texts.

    A secret is found in upper and lower case, and percent-encoded, escaped as in JSON or HTML, or escaped
    twice, each of its characters by itself.
    """
    # The longest first: a header's value holds the token.
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
    """Return a pattern of the ways in which a character may be written."""
    ways = [rf"\\*{re.escape(char)}", "".join(f"%(?:25)*{byte:02x}" for byte in char.encode())]
    ways += [rf"\\+u{ord(char):04x}", rf"\\+x{ord(char):02x}", rf"&\#(?:0*{ord(char)}|x0*{ord(char):x});"]
    if char in _ENTITIES:
        ways.append(_ENTITIES[char])
    if char == " ":
        ways.append(r"\+")
    return f"(?:{'|'.join(ways)})"
