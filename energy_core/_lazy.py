"""Lazy imports of public names (PEP 562), so that importing a package alone takes a few milliseconds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pkgutil import walk_packages
from typing import Final

_pending: Final[dict[str, str]] = {}
"""Imported packages that `preload` has not preloaded yet, each with its `reads`."""

_ALSO_PRELOADED: Final = ("encodings.idna",)
"""The standard library imports these for the first connection."""


def lazy_exports(
    package: str, modules: Mapping[str, str], *, reads: str = ""
) -> tuple[Callable[[str], object], Callable[[], list[str]], list[str]]:
    """Return `__getattr__`, `__dir__` and `__all__` of a package whose names are imported at first use.

    A type checker cannot see these names, so the package also imports them under `TYPE_CHECKING`. A test
    compares the two.

    Args:
        package: the name of the package.
        modules: relative names of modules, such as ``.client``, each with its public names in one string.
        reads: module and function, such as ``.catalogue.load``, that reads a file; `preload` calls it.
    """
    home = {name: module for module, names in modules.items() for name in names.split()}
    exported = sorted(home)
    if "." not in package:  # preloading a package imports its subpackages
        _pending[package] = reads

    def __getattr__(name: str) -> object:  # noqa: N807  (the package's)
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(home[name], package), name)
        setattr(import_module(package), name, value)  # later accesses do not call __getattr__
        return value

    def __dir__() -> list[str]:  # noqa: N807  (the package's)
        return exported

    return __getattr__, __dir__, exported


def preload() -> None:
    """Import every module of energy_core and of the imported vendor packages.

    Without it they are imported at first use, which blocks the event loop for about a tenth of a second.
    Entering a `SessionPool` or a client calls this function in a thread. Where that is not wanted, call it
    before the event loop starts.
    """
    for package, reads in tuple(_pending.items()):
        for module in walk_packages(import_module(package).__path__, f"{package}."):
            _import_unless_of_an_extra(module.name)
        module_name, _, function = reads.rpartition(".")
        if module_name:
            getattr(import_module(module_name, package), function)()
        _pending.pop(package, None)
    for other in _ALSO_PRELOADED:
        import_module(other)


def _import_unless_of_an_extra(module: str) -> None:
    """Import a module; one that needs a library of an extra which is not installed is left out."""
    try:
        import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == module.partition(".")[0]:
            raise


async def preloaded() -> None:
    """Run `preload` in a thread, if there is anything left to import."""
    if _pending:
        from asyncio import to_thread  # noqa: PLC0415  (importing a package alone does not load asyncio)

        await to_thread(preload)
