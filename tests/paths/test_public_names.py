"""What programs outside this repository may import."""

import importlib

import pytest

PACKAGES = ["energy_core", "vrm_async", "vrm_async.models", "voltstorage_async", "energy_live"]
CONTRACT = {
    "energy_core": ["SessionPool", "RateLimit", "merge", "Event", "Quantity", "EnergyError"],
    "vrm_async": ["VRMClient"],
    "voltstorage_async": ["VoltStorageClient", "Endpoints", "FieldMap"],
}


@pytest.mark.parametrize("package", PACKAGES)
def test_public_names_exist_once(package):
    """`__all__` is free of repeats, and every name in it can be imported."""
    module = importlib.import_module(package)
    names = list(getattr(module, "__all__", []))
    assert len(names) == len(set(names))
    assert [name for name in names if not hasattr(module, name)] == []


@pytest.mark.parametrize(("package", "names"), CONTRACT.items())
def test_the_names_others_rely_on_are_public(package, names):
    """The names of the published contract are exported."""
    assert set(names) <= set(importlib.import_module(package).__all__)
