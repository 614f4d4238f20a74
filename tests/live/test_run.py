"""On which event loop commands run, and that nobody else's is touched."""

import asyncio
import sys
import types

import pytest

from energy_live.runner import faster_loop, run


@pytest.fixture
def uvloop(monkeypatch):
    """A module that stands for uvloop, installed or not."""

    class FasterLoop(asyncio.SelectorEventLoop):
        pass

    module = types.ModuleType("uvloop")
    module.new_event_loop = FasterLoop
    monkeypatch.setitem(sys.modules, "uvloop", module)
    return module


def told_by_a_command():
    """The class of the event loop on which a command runs."""
    told = []

    async def work():
        told.append(type(asyncio.get_running_loop()))

    assert run(work()) == 0
    return told[0]


def test_a_command_runs_on_uvloop_where_it_is_installed(uvloop):
    """The extra `speed` needs no option."""
    assert told_by_a_command() is uvloop.new_event_loop


def test_without_uvloop_a_command_runs_on_asyncio_s_own_loop(monkeypatch):
    """What is not installed is not missed."""
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert faster_loop() is None
    assert told_by_a_command().__module__.startswith("asyncio")


@pytest.mark.usefixtures("uvloop")
def test_the_event_loops_of_others_stay_as_they_are():
    """After a command, and with our packages imported, `asyncio.run` makes what it always made."""
    before = type(asyncio.get_event_loop_policy())
    told_by_a_command()

    async def kind():
        return type(asyncio.get_running_loop())

    assert asyncio.run(kind()).__module__.startswith("asyncio")
    assert type(asyncio.get_event_loop_policy()) is before
