"""Collectors, leases and the log on a real nats-server, with collectors as processes that are killed."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace

import pytest

pytest.importorskip("nats", reason="nats-py is missing: pip install 'energy-live[nats]'")

from tests.servers.cluster_run import KILL, SERVER, STOP
from tests.servers.cluster_storm import Storm, run_storm

LONG_S = float(os.environ.get("ENERGY_LIVE_CLUSTER_S", "0"))
SEED = int(os.environ.get("ENERGY_LIVE_SEED", "1"))

SHORT = Storm(seed=SEED, seconds=0, accounts=3, sites=2, lease_s=2.5, stop_s=3.5, down_s=3.0, speed=30.0)
LONG = Storm(
    seed=SEED, accounts=20, sites=50, seconds=LONG_S, lease_s=15.0, speed=4.0, interval_s=5.0, stop_s=20.0
)
IN_FLIGHT_S = 1.0
"""How late a request may arrive that was sent before its sender was stopped."""


@pytest.fixture
def behind(request):
    """The storm, in the long form with a database behind the log."""
    if not LONG_S:
        return SHORT
    return replace(LONG, postgresql=request.getfixturevalue("postgresql").url)


async def test_accounts_are_polled_by_one_host_and_nothing_is_lost(tmp_path, behind):
    """Collectors killed and suspended, a server killed, links cut: each log once in the stream or in a gap.

    No account is polled by two hosts, and each is polled again soon. In the long form every 5 to 30 s.
    """
    storm = behind
    outcome = await run_storm(storm, tmp_path)
    print(outcome.report())  # noqa: T201  (figures of the long form)
    assert outcome.codes == [0] * storm.hosts, outcome.log[-4000:]
    lost, _, needless = outcome.lost()
    assert lost == {}
    assert needless == 0
    assert outcome.doubled() == {}
    assert outcome.unstored == 0
    assert sum(map(len, outcome.truth.values())) > 15 * storm.accounts
    assert {each.kind for each in outcome.faults} >= {KILL, SERVER, STOP}
    assert [each for each in outcome.overlaps if each[0] > IN_FLIGHT_S] == []
    assert max(outcome.limited.values()) <= 8 * len(outcome.faults)
    assert "Traceback" not in outcome.log
    if LONG_S:
        check_takeovers(outcome)


def check_takeovers(outcome) -> None:
    """Check that accounts are polled again within 20 s, or 30 s while a server is down."""
    for fault, account, seconds in outcome.takeovers:
        others = [each for each in outcome.faults if each is not fault and each.until > fault.at - 10]
        others = [each for each in others if each.at < fault.at + seconds]
        if all(each.kind == SERVER for each in others):
            assert seconds <= (30.0 if others else 20.0) + LONG.interval_s, (account, fault, others)
        else:  # the successor had a fault of its own
            assert seconds <= 60.0, (account, fault, others)


@pytest.fixture(autouse=True)
async def no_task_left():
    yield
    assert asyncio.all_tasks() == {asyncio.current_task()}
