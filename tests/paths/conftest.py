"""A simulator for the code in documents and examples."""

import functools

import pytest

import voltstorage_async
import vrm_async
from energy_live.simulator import Simulator


@pytest.fixture
async def household(monkeypatch):
    """A simulator with the clients' environment set to it."""
    async with Simulator() as simulator:
        for name, value in simulator.environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("VOLTSTORAGE_TOKEN", simulator.volt_token())
        vrm = functools.partial(vrm_async.VRMClient, base_url=simulator.vrm_url)
        volt = functools.partial(voltstorage_async.VoltStorageClient, base_url=simulator.voltstorage_url)
        monkeypatch.setattr(vrm_async, "VRMClient", vrm)
        monkeypatch.setattr(voltstorage_async, "VoltStorageClient", volt)
        yield simulator
