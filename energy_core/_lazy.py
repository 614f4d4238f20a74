"""Public names that are imported when they are first used: nobody pays for what they do not touch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pkgutil import walk_packages
from typing import Final

_late: Final[dict[str, str]] = {}
"""Packages in use that are not preloaded yet, with what of theirs reads a file at its first call."""


_OTHERS: Final = ("encodings.idna",)
"""What the standard library imports for the first connection."""


def lazily(package: str, homes: Mapping[str, str], *, reads: str = "") -> Callable[[str], object]:
    """Return a `__getattr__` for a package (PEP 562).

    Args:
        package: its name.
        homes: the module of public names, relative to the package, to these names with spaces between them.
        reads: module and function, relative to the package, that `preload` calls because it reads a file.
    """
    modules = {name: f"{package}.{home}" for home, names in homes.items() for name in names.split()}
    if "." not in package:  # preloading a package imports its subpackages
        _late[package] = reads

    def __getattr__(name: str) -> object:  # noqa: N807  (what it is to the package)
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(modules[name]), name)
        setattr(import_module(package), name, value)  # the next time it is found without asking here
        return value

    return __getattr__


def preload() -> None:
    """Import now what energy_core and the vendors' packages in use would import at its first use.

    Call it before the event loop runs, or in a thread: imports and the files they read would block the loop
    for about a tenth of a second on a PC. Entering a `SessionPool` or a client does that.
    """
    for package, reads in tuple(_late.items()):
        for module in walk_packages(import_module(package).__path__, f"{package}."):
            import_module(module.name)
        home, _, function = reads.rpartition(".")
        if home:
            getattr(import_module(f"{package}.{home}"), function)()
        _late.pop(package, None)
    for other in _OTHERS:
        import_module(other)


async def preloaded() -> None:
    """Preload in a thread what is not preloaded yet."""
    if _late:
        from asyncio import to_thread  # noqa: PLC0415  (the packages alone load next to nothing)

        await to_thread(preload)
