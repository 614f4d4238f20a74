"""Models with fields that are made when somebody looks at them: most callers never do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar, TypeAlias

from energy_core.codec.columns import slot_writer
from energy_core.codec.json import strict_json

Load: TypeAlias = Callable[[], object]
"""What makes `raw`."""
Read: TypeAlias = Callable[[str, Mapping[str, object]], object]
"""What reads a field of a record, by the field's name."""


class LazyRaw:
    """The base of a model whose `raw` may be late. Who compares or copies it finds a field like any other."""

    __slots__ = ("_load",)

    def put_off_raw(self, load: Load) -> None:
        """Forget what `raw` is, and make it with `load` when it is asked for."""
        object.__delattr__(self, "raw")
        put_load(self, load)

    if not TYPE_CHECKING:  # a type checker knows all there is

        def __getattr__(self, name: str) -> object:
            if name != "raw":
                raise _no_attribute(self, name)
            raw = self._load()
            object.__setattr__(self, "raw", raw)
            return raw


put_load = slot_writer(LazyRaw, "_load")
"""What `put_off_raw` comes to for a model that was made without its `raw`."""


class LazyRecord:
    """The base of a model of one record, of which some fields may be late: they are read of its text."""

    __slots__ = ("__weakref__", "_read", "_text")

    late_fields: ClassVar[frozenset[str]] = frozenset({"raw"})
    """`raw`, and whatever holds several values."""

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> object:
            if name not in self.late_fields:
                raise _no_attribute(self, name)
            value = strict_json(self._text) if name == "raw" else self._read(name, self.raw)
            object.__setattr__(self, name, value)
            return value


put_text = slot_writer(LazyRecord, "_text")
"""The text of a record whose late fields are not set: JSON known to be sound, and as documented."""
put_read = slot_writer(LazyRecord, "_read")
"""What reads a field of such a record: a `Read`."""


def _no_attribute(owner: object, name: str) -> AttributeError:
    return AttributeError(f"{type(owner).__name__!r} object has no attribute {name!r}")
