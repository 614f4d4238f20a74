"""The headers of an answer as the house reads them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeVar

from multidict import CIMultiDictProxy

Default = TypeVar("Default")


class ResponseHeaders(Mapping[str, str]):
    """Headers by their names in lower case, repeated ones joined by a comma; read when asked for."""

    __slots__ = ("_raw",)

    def __init__(self, raw: CIMultiDictProxy[str]) -> None:
        self._raw = raw

    def __getitem__(self, name: str) -> str:
        return ", ".join(self._raw.getall(name))

    def get(self, name: str, default: Default | None = None) -> str | Default | None:  # type: ignore[override]
        """Return a header or the default; unlike the inherited way without raising for what is not there."""
        values = self._raw.getall(name, None)
        return default if values is None else ", ".join(values)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(name.lower() for name in self._raw))

    def __len__(self) -> int:
        return len(set(map(str.lower, self._raw)))
