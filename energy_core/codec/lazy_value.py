"""A mapping that is read when somebody looks at it: most consumers never look at what the vendor sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias, cast

from energy_core.printable import printable

Parse: TypeAlias = Callable[[bytes], object]


class LazyMapping(Mapping[str, object]):
    """The mapping that a text holds; read once, for all who share it.

    Args:
        parse: Reads the text.
        text: It must be known that it can be read, and holds a mapping.
    """

    __slots__ = ("_parse", "_read", "_text")

    def __init__(self, parse: Parse, text: bytes) -> None:
        self._parse = parse
        self._text = text
        self._read: Mapping[str, object] | None = None

    def resolve(self) -> Mapping[str, object]:
        """Return what it holds, as it was parsed."""
        text, read = self._text, self._read  # in this order: another thread may be through with the text
        if read is None:
            read = self._read = cast("Mapping[str, object]", self._parse(text))
            self._text = b""
        return read

    def __getitem__(self, key: str) -> object:
        return self.resolve()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.resolve())

    def __len__(self) -> int:
        return len(self.resolve())

    @printable
    def __repr__(self) -> str:
        return "<Unread, read>" if self._read is not None else f"<Unread, {len(self._text)} bytes>"


def resolve(raw: Mapping[str, object]) -> Mapping[str, object]:
    """Return the mapping itself, read if it was not."""
    return raw.resolve() if isinstance(raw, LazyMapping) else raw
