"""Event loop of commands: uvloop where it is installed; other programs keep theirs."""

import asyncio
import sys
import types

import pytest

from energy_live.runner import faster_loop, run


@pytest.fixture
def uvloop(monkeypatch):
    """A fake uvloop module."""

    class FasterLoop(asyncio.SelectorEventLoop):
        pass

    module = types.ModuleType("uvloop")
    module.new_event_loop = FasterLoop
    monkeypatch.setitem(sys.modules, "uvloop", module)
    return module


def loop_class_of_a_command():
    """Return the class of the event loop that a command runs on."""
    classes = []

    async def work():
        classes.append(type(asyncio.get_running_loop()))

    assert run(work()) == 0
    return classes[0]


def test_a_command_runs_on_uvloop_where_it_is_installed(uvloop):
    """Installing the extra `speed` is enough."""
    assert loop_class_of_a_command() is uvloop.new_event_loop


def test_without_uvloop_a_command_runs_on_asyncio(monkeypatch):
    """Without uvloop, asyncio's event loop is used."""
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert faster_loop() is None
    assert loop_class_of_a_command().__module__.startswith("asyncio")


@pytest.mark.usefixtures("uvloop")
def test_other_programs_keep_their_event_loop():
    """After a command, `asyncio.run` and the event loop policy are as before."""
    before = type(asyncio.get_event_loop_policy())
    loop_class_of_a_command()

    async def kind():
        return type(asyncio.get_running_loop())

    assert asyncio.run(kind()).__module__.startswith("asyncio")
    assert type(asyncio.get_event_loop_policy()) is before
