"""Records with any value in any field."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

import vrm_async
from energy_core.codec.drift import Drift, collect_drift
from energy_core.codec.structure import RecordHook
from energy_core.errors import EnergyError
from tests.servers.vrm_cases import (
    ANY_JSON,
    use,
)


def hooks():
    """Return every reader of a record in the package, with its keys."""
    found = {}
    for module in pkgutil.walk_packages(vrm_async.__path__, "vrm_async."):
        waiting = list(vars(importlib.import_module(module.name)).values())
        while waiting:
            value = waiting.pop()
            if isinstance(value, RecordHook):
                found[value.cls.__name__, module.name] = (value, value.keys)
            elif inspect.isfunction(value) and value.__closure__:
                waiting += inspect.getclosurevars(value).nonlocals.values()
    return found


HOOKS = hooks()


def test_all_models_are_found():
    """The readers of sites, alarms and prices are among them."""
    models = {name for name, _ in HOOKS}
    assert models >= {"Site", "Attribute", "Alarm", "PriceSpan", "SiteUser", "FleetSite", "CustomWidget"}
    assert len(models) >= 28


@pytest.mark.parametrize("model", HOOKS, ids=str)
@given(data=st.data())
def test_any_value_in_every_field(model, data):
    """A record with any values is read, or an `EnergyError` is raised; in strict mode too."""
    reader, known = HOOKS[model]
    record = data.draw(st.dictionaries(st.sampled_from(sorted(known)), ANY_JSON))
    for strict in (False, True):
        try:
            with collect_drift(Drift(strict=strict)):
                use(reader(record))
        except EnergyError:
            pass
