"""What an import loads, and that lazily imported names are the ones that type checkers see."""

import ast
import importlib
import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest

from voltstorage_async import ProductStream, VoltStorageClient

ROOT = Path(__file__).parents[2]
LAZY = (
    "energy_core",
    "energy_core.home",
    "energy_core.http",
    "vrm_async",
    "vrm_async.models",
    "voltstorage_async",
)
LOADED = "import json, sys; print(json.dumps(sorted(sys.modules)))"


def loaded_by(code):
    """Return the modules that a new interpreter has loaded after `code`."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; {LOADED}"], cwd=ROOT, capture_output=True, check=True, timeout=60
    )
    return set(json.loads(done.stdout))


def imported_for_type_checkers(package):
    """The names that a package imports for the type checker, with the modules they come from."""
    tree = ast.parse((ROOT / package.replace(".", "/") / "__init__.py").read_text(encoding="utf-8"))
    branch = next(node for node in tree.body if isinstance(node, ast.If))
    return {name.name: found.module for found in branch.body for name in found.names}


@pytest.mark.parametrize("package", LAZY)
def test_a_lazy_name_is_the_one_that_type_checkers_see(package):
    """The table of `lazy_exports` and the imports under TYPE_CHECKING agree."""
    module = importlib.import_module(package)
    imported = imported_for_type_checkers(package)
    assert sorted(imported) == sorted(module.__all__) == sorted(dir(module))
    for name, home in imported.items():
        assert getattr(module, name) is getattr(importlib.import_module(home), name)


def test_preloading_needs_no_extra():
    """Everything is imported where no library of an extra is installed."""
    extras = ("aiomqtt", "asyncpg", "msgspec", "nats", "orjson", "prometheus_client", "pyarrow", "uvloop")
    hidden = f"import sys; sys.modules.update(dict.fromkeys({extras}))"
    loaded = loaded_by(f"{hidden}; import energy_core, vrm_async, voltstorage_async; energy_core.preload()")
    assert {"vrm_async.client", "vrm_async.live", "voltstorage_async.live"} <= loaded


@pytest.mark.parametrize("package", LAZY)
def test_an_unknown_name_is_an_attribute_error(package):
    """As in any module."""
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'nothing'"):
        _ = importlib.import_module(package).nothing
    with pytest.raises(ImportError):
        exec(f"from {package} import nothing")


@pytest.mark.parametrize("package", LAZY)
def test_importing_a_package_loads_no_third_party_library(package):
    """They are imported when a name is first used."""
    assert not {"aiohttp", "attr", "cattrs", "websockets"} & loaded_by(f"import {package}")


@pytest.mark.parametrize(
    "code",
    [
        "from vrm_async import VRMClient; VRMClient(token='x')",
        "from voltstorage_async import VoltStorageClient; VoltStorageClient(token='x')",
    ],
)
def test_a_client_without_a_stream_loads_no_websockets(code):
    """It loads aiohttp when it is made, not during the first request."""
    loaded = loaded_by(code)
    assert "aiohttp" in loaded
    assert not {"websockets", "energy_core.stream.socket", "energy_core.stream.merge"} & loaded


def test_a_vrm_client_loads_a_resource_at_its_first_use():
    """With its models and decoders."""
    client = "from vrm_async import VRMClient; client = VRMClient(token='x')"
    assert not {"cattrs", "vrm_async.decoding.sites", "vrm_async.models.site"} & loaded_by(client)
    loaded = loaded_by(f"{client}; client.alarms; client.alarms")
    assert "vrm_async.decoding.alarms" in loaded
    assert "vrm_async.resources.widgets" not in loaded


def test_a_resource_is_made_once():
    """Every access returns the same object."""
    from vrm_async import VRMClient  # noqa: PLC0415

    client = VRMClient(token="x")
    assert client.users is client.users
    assert client.tokens is client.tokens


def test_a_stream_waits_for_as_many_events_as_its_client_says():
    """The default of the client, which does not load the stream, is the stream's."""
    of_client = inspect.signature(VoltStorageClient.events).parameters["buffer"].default
    assert of_client == inspect.signature(ProductStream).parameters["buffer"].default
