"""A model whose `raw` is made when somebody looks at it: most callers never do."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from energy_core.http.decode import strict_json
from energy_core.http.slots import slot

Load: TypeAlias = Callable[[], object] | bytes
"""What makes it, or its text: JSON that is known to be sound."""


class LateRaw:
    """The base of such a model. `raw` looks like any other field, to comparing and copying too."""

    __slots__ = ("_load",)

    def put_off_raw(self, load: Load) -> None:
        """Forget what `raw` is, and make it with `load` when it is asked for."""
        object.__delattr__(self, "raw")
        object.__setattr__(self, "_load", load)

    if not TYPE_CHECKING:  # a type checker knows all there is

        def __getattr__(self, name: str) -> object:
            if name != "raw":
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            raw = strict_json(self._load) if isinstance(self._load, bytes) else self._load()
            object.__setattr__(self, "raw", raw)
            return raw


put_load = slot(LateRaw, "_load")
"""What `put_off_raw` comes to for a model that was made without its `raw`."""
