import asyncio
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from energy_core import run_service

ROOT = Path(__file__).parents[2]
TIMES = int(os.environ.get("ENERGY_SERVICE_KILLS", "5"))
GRACE_S = 1.0

PROGRAM = """
import asyncio, logging, sys, threading, time
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from energy_core import Quantity, SourceId, State, merge, run_service

logging.basicConfig(level=logging.INFO)

def say(word):
    print(word, flush=True)

class Ticking:
    id = SourceId("test", "me", "ticks")

    async def run(self, outlet):
        outlet.status(State.LIVE)
        for n in range(10**6):
            time_of = datetime(2026, 6, 1, tzinfo=UTC) + timedelta(seconds=n)
            outlet.reading(self.id, time=time_of, id=str(n), values={Quantity.PV_POWER: n}, raw={})
            await asyncio.sleep(0.001)

@asynccontextmanager
async def store():
    say("opened")
    try:
        yield
    finally:
        await asyncio.sleep(CLOSING)
        say("flushed")

async def main():
    async with store(), merge(Ticking()) as events:
        async for event in events:
            WORK

say("starting")
run_service(main, grace_s=GRACE)
say("returned")
"""


@contextmanager
def service(work="pass", *, closing=0.0, grace_s=GRACE_S):
    """A program whose consumer does `work` with each event."""
    work = textwrap.indent(textwrap.dedent(work).strip(), " " * 12).strip()
    code = PROGRAM.replace("WORK", work).replace("CLOSING", str(closing)).replace("GRACE", str(grace_s))
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as program:
        try:
            yield program
        finally:
            program.kill()


def wait_for(program, word):
    for line in program.stdout:
        if line.strip() == word:
            return
    pytest.fail(f"the program ended before it said {word!r}: {program.stderr.read()}")


def ended(program):
    """The rest of its output, its log and its exit code."""
    out, err = program.communicate(timeout=60)
    return out.split(), err, program.returncode


def interrupted(number):
    """One program, ended at a moment that depends on its number only."""
    chance = random.Random(number)
    with service("await asyncio.sleep(0)") as program:
        wait_for(program, "opened")
        time.sleep(chance.random() * 0.2)
        program.send_signal(chance.choice([signal.SIGTERM, signal.SIGINT]))
        return ended(program)


def test_a_signal_at_any_moment_ends_it_in_order():
    """Whenever it comes, contexts close, `run_service` returns, and the exit code is 0."""
    with ThreadPoolExecutor(3) as several:
        for number, (out, err, code) in enumerate(several.map(interrupted, range(TIMES))):
            assert (out, code) == (["flushed", "returned"], 0), f"{number}: {err}"
            assert "Traceback" not in err


def test_a_signal_before_the_start_of_main_ends_it():
    """It may come as soon as the handlers are installed; nothing was opened yet."""
    with service() as program:
        wait_for(program, "starting")
        time.sleep(0.005)
        program.send_signal(signal.SIGTERM)
        out, err, code = ended(program)
    assert out in ([], ["returned"], ["opened", "flushed", "returned"]), err
    assert code == (0 if out else -signal.SIGTERM)


def test_the_second_signal_ends_it_at_once():
    """The second signal ends the process without waiting for the cleanup."""
    with service(closing=30, grace_s=30) as program:
        wait_for(program, "opened")
        program.send_signal(signal.SIGTERM)
        assert "SIGTERM: ending, within 30 s" in program.stderr.readline()
        program.send_signal(signal.SIGTERM)
        out, _, code = ended(program)
    assert (out, code) == ([], -signal.SIGTERM)


def test_a_cleanup_that_takes_too_long_is_cancelled():
    """After the grace it is cancelled, logged, and the exit code is 1."""
    with service(closing=30, grace_s=0.2) as program:
        wait_for(program, "opened")
        program.send_signal(signal.SIGTERM)
        out, err, code = ended(program)
    assert (out, code) == ([], 1)
    assert "longer than 0.2 s" in err
    assert "does not end" not in err


@pytest.mark.parametrize(
    "work",
    [
        "time.sleep(30)",
        "while True: pass",
        "await asyncio.to_thread(time.sleep, 30)",
        """
        while True:
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                pass
        """,
    ],
    ids=["asleep", "busy", "in a thread", "ignoring its cancellation"],
)
def test_a_blocked_program_is_ended(work):
    """Whatever blocks it, the process ends a second after the grace at the latest."""
    with service(f"say('hanging')\n{textwrap.dedent(work)}", grace_s=0.2) as program:
        wait_for(program, "hanging")
        program.send_signal(signal.SIGTERM)
        _, err, code = ended(program)
    assert code == 1
    assert "does not end" in err


def test_it_ends_with_main_and_leaves_nothing_behind():
    """Handlers and threads are as before; an exception of main is raised."""
    handlers = [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)]
    threads = threading.active_count()
    seen = []

    async def main():
        seen.append(signal.getsignal(signal.SIGTERM))

    async def broken():
        raise KeyError("its own")

    run_service(main)
    with pytest.raises(KeyError, match="its own"):
        run_service(broken)
    assert seen[0] not in handlers
    assert [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)] == handlers
    assert threading.active_count() == threads


def test_it_needs_no_signal_handling_of_the_event_loop(monkeypatch):
    """If the loop has none, as on Windows, the first signal still ends the program in order."""

    def refuse(*_):
        raise NotImplementedError

    monkeypatch.setattr(asyncio.SelectorEventLoop, "add_signal_handler", refuse)
    steps = []

    async def main():
        try:
            signal.raise_signal(signal.SIGTERM)
            await asyncio.sleep(30)
        finally:
            steps.append("closed")

    run_service(main)
    assert steps == ["closed"]


def test_an_exception_during_cleanup_is_raised():
    """A checkpoint that cannot be written is raised."""

    async def main():
        try:
            signal.raise_signal(signal.SIGTERM)
            await asyncio.sleep(30)
        finally:
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        run_service(main)


def test_a_cancellation_without_a_signal_is_raised():
    """A main that cancels itself does not end in order."""

    async def main():
        asyncio.current_task().cancel()
        await asyncio.sleep(30)

    with pytest.raises(asyncio.CancelledError):
        run_service(main)


def test_it_must_run_in_the_main_thread():
    """In another thread it raises ValueError at once."""
    errors = []

    def try_it():
        try:
            run_service(asyncio.Event().wait)
        except ValueError as error:
            errors.append(str(error))

    thread = threading.Thread(target=try_it)
    thread.start()
    thread.join()
    assert "main thread" in errors[0]
    with pytest.raises(ValueError, match="grace_s"):
        run_service(asyncio.Event().wait, grace_s=-1)
