"""Objects whose `__init__` raised or was not called can be printed."""

import importlib
import inspect
import pkgutil

import attrs
import pytest

import energy_core
import voltstorage_async
import vrm_async
from energy_core import RateLimit, SessionPool
from energy_core.stream.polled import LookbackConfig
from voltstorage_async import VoltStorageClient
from vrm_async import VRMClient


def own_classes():
    for package in (energy_core, vrm_async, voltstorage_async):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            module = importlib.import_module(found.name)
            for kind in vars(module).values():
                if inspect.isclass(kind) and kind.__module__ == module.__name__ and _is_ours(kind):
                    yield kind


def _is_ours(kind):
    """Return whether our code makes its repr (attrs, msgspec and tuples make their own)."""
    home = getattr(kind.__repr__, "__module__", "").split(".")[0]
    ours = home in {"energy_core", "vrm_async", "voltstorage_async"}
    return ours and not attrs.has(kind) and not issubclass(kind, tuple) and not inspect.isabstract(kind)


@pytest.mark.parametrize("kind", sorted(set(own_classes()), key=str), ids=lambda kind: kind.__qualname__)
def test_an_uninitialised_object_can_be_printed(kind):
    """Of every class with a `__repr__` of its own."""
    made = object.__new__(kind)
    assert type(made).__name__ in repr(made)
    assert str(made)


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (VRMClient, {"token": "two words"}),
        (VRMClient, {"token": "x", "account": "a/b"}),
        (VRMClient, {"token": "x", "base_url": "ftp://x"}),
        (VoltStorageClient, {"token": ""}),
        (VoltStorageClient, {"token": "x", "base_url": "http://example.com"}),
        (SessionPool, {"attempts": 0}),
        (SessionPool, {"ssl_context": True}),
        (RateLimit, {"burst": 0, "per_second": 1.0}),
        (LookbackConfig, {"span_s": -1}),
    ],
)
def test_error_reporters_can_print_self_of_a_refused_constructor(kind, wrong):
    """They print the local variables of every frame of a traceback."""
    with pytest.raises((ValueError, TypeError)) as refused:
        kind(**wrong)
    shown = [
        repr(entry.frame.f_locals["self"])
        for entry in refused.traceback
        if isinstance(entry.frame.f_locals.get("self"), kind)
    ]
    assert all(kind.__name__ in text for text in shown)
    assert shown or kind is LookbackConfig
