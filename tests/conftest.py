"""Shared fixtures: the event loop of a test, and a check for leftover tasks and timers."""

from __future__ import annotations

import asyncio
import asyncio.runners
import os
import signal
from collections.abc import Callable, Generator, Mapping
from typing import Any

import pytest
from aioresponses import aioresponses
from hypothesis import settings

import energy_core
import voltstorage_async  # noqa: F401  (preload is about the packages in use)
import vrm_async  # noqa: F401
from tests.servers.aioresponses_shim import repaired_aioresponses
from tests.servers.virtual_time import VirtualTimeLoop

EXAMPLES = int(os.environ.get("ENERGY_LIVE_EXAMPLES", "0"))
"""Examples of each property test. By default few and the same in every run; `nox -s chaos` tries many."""

settings.register_profile(
    "suite", max_examples=EXAMPLES or 25, derandomize=not EXAMPLES, deadline=None, database=None
)
settings.load_profile("suite")

_left_behind: list[str] = []
_cancel_all_tasks = asyncio.runners._cancel_all_tasks  # type: ignore[attr-defined]


def _note_then_cancel(loop: asyncio.AbstractEventLoop) -> None:
    _left_behind.extend(f"task still running: {task!r}" for task in asyncio.all_tasks(loop))
    _cancel_all_tasks(loop)


def _note_complaint(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    _left_behind.append(f"loop complained: {context.get('message')}: {context.get('exception')!r}")


def _watched(kind: type[asyncio.AbstractEventLoop]) -> Callable[[], asyncio.AbstractEventLoop]:
    def make() -> asyncio.AbstractEventLoop:
        loop = kind()
        loop.set_exception_handler(_note_complaint)
        return loop

    return make


def pytest_configure(config: pytest.Config) -> None:
    energy_core.preload()  # nothing is imported in a thread while virtual time runs
    config.addinivalue_line("markers", "virtual_time: on a loop whose time jumps; never with real sockets")
    # A shell ignores SIGINT for background jobs, which programs under test would inherit.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    asyncio.runners._cancel_all_tasks = _note_then_cancel  # type: ignore[attr-defined]


def pytest_unconfigure() -> None:
    asyncio.runners._cancel_all_tasks = _cancel_all_tasks  # type: ignore[attr-defined]


def pytest_asyncio_loop_factories(
    item: pytest.Item,
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    if item.get_closest_marker("virtual_time"):
        return {"virtual": _watched(VirtualTimeLoop)}
    return {"real": _watched(asyncio.SelectorEventLoop)}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Generator[None, None, None]:
    _left_behind.clear()
    yield
    if _left_behind:
        pytest.fail("left behind:\n  " + "\n  ".join(_left_behind), pytrace=False)


@pytest.fixture
def mocked() -> Generator[aioresponses, None, None]:
    """Mocked answers for tests of operations and decoders; they bypass middlewares and the rate limiter."""
    with repaired_aioresponses() as mock:
        yield mock
