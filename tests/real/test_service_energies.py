"""The energies of `energy-live run` over kills (SIGKILL), against the simulator, as its database has them."""

import asyncio
import sqlite3
from asyncio.subprocess import DEVNULL, PIPE
from contextlib import closing
from itertools import pairwise

from energy_live.simulator import Simulator
from tests.servers.command_line import COMMAND, environment
from tests.servers.real_programs import until

SPEED = 60.0
RUNS = 3
QUERY = """SELECT unix_time, value FROM readings WHERE source LIKE ? AND quantity = ? ORDER BY unix_time"""


def rows(path, source, quantity):
    """Time and value of a quantity, in the order of time; nothing while there is no database."""
    if not path.exists():
        return []
    with closing(sqlite3.connect(path)) as connection:
        try:
            return connection.execute(QUERY, (source, quantity)).fetchall()
        except sqlite3.OperationalError:  # its tables are being made
            return []


def integral_kwh(points, until_time):
    """The energy of straight lines between readings, up to a time."""
    kwh = 0.0
    for (start, first), (end, second) in pairwise(points):
        if end <= until_time:
            kwh += (first + second) / 2 * (end - start) / 3.6e6
    return kwh


async def test_energies_neither_fall_nor_jump_over_kills(tmp_path):
    """Each published energy is the integral of the stored powers up to its time, in spite of the kills."""
    path = tmp_path / "energy.sqlite"
    energies = "vrm-energy/%/151001/0", "consumption_energy"
    async with Simulator(speed=SPEED) as simulator:
        arguments = ("run", "--state", str(tmp_path), "--site", "151001", "--health", "", "--interval", "0.5")
        for run in range(RUNS):
            before = len(rows(path, *energies))
            process = await asyncio.create_subprocess_exec(
                *COMMAND, *arguments, env=environment(simulator.environment()), stdout=DEVNULL, stderr=PIPE
            )
            await until(lambda before=before: len(rows(path, *energies)) >= before + 3)
            process.kill() if run < RUNS - 1 else process.terminate()
            _, said = await process.communicate()
            assert said == b""
    published = rows(path, *energies)
    powers = rows(path, "vrm/%/151001/0", "consumption_power")
    assert len(published) >= 3 * RUNS
    assert all(one[0] < two[0] and one[1] <= two[1] for one, two in pairwise(published))
    for time, kwh in published:
        assert abs(kwh - integral_kwh(powers, time)) < 1e-4, time
