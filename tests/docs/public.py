"""The modules that programs outside this repository may import from, and their public names."""

import importlib
import inspect

MODULES = (
    "vrm_async",
    "vrm_async.models",
    "voltstorage_async",
    "voltstorage_async.models",
    "energy_core",
    "energy_core.errors",
    "energy_core.home",
    "energy_core.http",
    "energy_core.sources",
    "energy_core.tables",
    "energy_live",
    "energy_live.outputs",
)


def public_names(module):
    """Return the public objects of a module by their names.

    A module with an `__all__` lists them. `energy_core.sources` re-exports all that it imports. Of any other
    module, its own classes and functions without an underscore are public.
    """
    found = importlib.import_module(module)
    listed = getattr(found, "__all__", None)
    if listed is not None:
        return {name: getattr(found, name) for name in listed}
    # pytest adds names such as @pytest_ar to the modules of a plugin's distribution.
    own = {name: value for name, value in vars(found).items() if name[0].isalpha()}
    if module == "energy_core.sources":
        return own
    return {
        name: value
        for name, value in own.items()
        if (inspect.isclass(value) or inspect.isfunction(value)) and value.__module__ == module
    }


def all_public():
    """Return the public objects of all modules; a name of `energy_core` wins over a vendor's."""
    return {name: value for module in MODULES for name, value in public_names(module).items()}
