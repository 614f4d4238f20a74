"""Public names that are imported when they are first used: nobody pays for what they do not touch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module


def lazily(package: str, homes: Mapping[str, str]) -> Callable[[str], object]:
    """Return a `__getattr__` for a package (PEP 562).

    Args:
        package: its name.
        homes: the module of public names, relative to the package, to these names with spaces between them.
    """
    modules = {name: f"{package}.{home}" for home, names in homes.items() for name in names.split()}

    def __getattr__(name: str) -> object:  # noqa: N807  (what it is to the package)
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(modules[name]), name)
        setattr(import_module(package), name, value)  # the next time it is found without asking here
        return value

    return __getattr__
