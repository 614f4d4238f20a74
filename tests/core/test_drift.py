from __future__ import annotations

import asyncio
import logging
import threading
from contextlib import suppress

import pytest

from energy_core.codec.drift import UNKNOWN, Drift, collect_drift, report
from energy_core.errors import DecodeError, EnergyError


@pytest.fixture
def drift() -> Drift:
    return Drift()


def test_a_new_drift_is_empty(drift):
    """No counts and an empty report."""
    assert (dict(drift.counts), drift.total, drift.report()) == ({}, 0, "")


def test_the_same_problem_is_counted_together(drift):
    """There is one count for each model, field and problem."""
    for _ in range(3):
        drift.note("Site", "pvMax", "str instead of float")
    drift.note("Site", "pvMax", "missing")
    assert drift.counts == {("Site", "pvMax", "str instead of float"): 3, ("Site", "pvMax", "missing"): 1}
    assert drift.total == 4


def test_counts_are_a_snapshot(drift):
    """The returned mapping does not change afterwards and is read-only."""
    counts = drift.counts
    drift.note("Site", "id", "missing")
    assert dict(counts) == {}
    with pytest.raises(TypeError):
        counts["x"] = 1


def test_the_report_has_the_most_frequent_first(drift):
    """One line for each problem, with its count."""
    drift.note("Site", "name", "missing")
    for _ in range(12):
        drift.note("Device", "instance", "bool instead of int")
    assert [line.split(" x ") for line in drift.report().splitlines()] == [
        ["     12", "Device.instance: bool instead of int"],
        ["      1", "Site.name: missing"],
    ]


def test_each_problem_is_logged_once(drift, caplog):
    """As a warning; later ones are only counted."""
    with caplog.at_level(logging.INFO, "energy_core.drift"):
        for _ in range(5):
            drift.note("Site", "pvMax", "str instead of float")
        drift.note("Site", "name", "missing")
    assert [(record.levelno, record.name) for record in caplog.records] == [
        (logging.WARNING, "energy_core.drift")
    ] * 2
    assert "Site.pvMax: str instead of float" in caplog.text


def test_an_unknown_key_is_counted_once_and_logged_below_warning(drift, caplog):
    """Its value is in `raw`, so nothing is lost."""
    with caplog.at_level(logging.DEBUG, "energy_core.drift"):
        for _ in range(5):
            drift.note_unknown("Site", "guiHash")
    assert drift.counts == {("Site", "guiHash", UNKNOWN): 1}
    assert [record.levelno for record in caplog.records] == [logging.INFO]


def test_strict_raises_and_still_counts(drift):
    """With `strict` every problem raises DecodeError."""
    drift.strict = True
    with pytest.raises(EnergyError) as caught:
        drift.note("Site", "pvMax", "str instead of float")
    assert isinstance(caught.value, DecodeError)
    assert caught.value.kind == "drift"
    assert "Site.pvMax: str instead of float" in str(caught.value)
    assert drift.total == 1
    with pytest.raises(DecodeError):
        Drift(strict=True).note_unknown("Site", "guiHash")


def test_a_key_cannot_forge_a_log_line(drift, caplog):
    """Keys are the vendor's: they are shortened and escaped before they are logged or stored."""
    drift.note("Site", "x\n2026-01-01 CRITICAL all is lost\x1b[31m" + "y" * 10_000, "missing")
    (_, field, _) = next(iter(drift.counts))
    assert field.isprintable()
    assert len(field) < 120
    assert len(caplog.text.splitlines()) == 1
    for _ in range(2):
        drift.note_unknown("Site", "a\nb")
    assert drift.counts["Site", repr("a\nb"), UNKNOWN] == 1


def test_memory_is_bounded(drift):
    """Past 1,000 keys the rest is counted together, and the total is exact."""
    for number in range(5_000):
        drift.note("Site", f"key{number}", "missing")
    assert len(drift.counts) <= 1_001
    assert drift.total == 5_000


def test_memory_for_unknown_keys_is_bounded(drift):
    """In the same way."""
    for number in range(3_000):
        drift.note_unknown("Site", f"key{number}")
    assert len(drift.counts) <= 1_001


def test_report_counts_in_the_innermost_block(drift):
    """Also after an exception in a nested block; without a block nothing is counted."""
    inner = Drift()
    report("Site", "id", "missing")
    with collect_drift(drift):
        report("Site", "id", "missing")
        with suppress(RuntimeError), collect_drift(inner):
            report("Device", "id", "missing")
            raise RuntimeError
        report("Site", "id", "missing")
    report("Site", "id", "missing")
    assert drift.counts == {("Site", "id", "missing"): 2}
    assert inner.counts == {("Device", "id", "missing"): 1}


async def test_concurrent_tasks_count_separately():
    """Each in its own `collect_drift` block, also from threads."""
    drifts = [Drift(), Drift()]

    async def one(drift: Drift, times: int) -> None:
        with collect_drift(drift):
            for _ in range(times):
                report("Site", "id", "missing")
                await asyncio.to_thread(report, "Site", "name", "missing")

    await asyncio.gather(one(drifts[0], 3), one(drifts[1], 5))
    assert [drift.total for drift in drifts] == [6, 10]


def test_threads_lose_no_count(drift):
    """Large bodies are decoded in threads."""

    def work() -> None:
        for _ in range(2_000):
            drift.note("Site", "id", "missing")

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert drift.total == 16_000


def test_repr_has_the_counts(drift):
    """And no names."""
    drift.note("Site", "id", "missing")
    drift.note("Site", "id", "missing")
    assert repr(drift) == "Drift(kinds=1, total=2, strict=False)"
