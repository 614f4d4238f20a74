"""The usual jobs as a user's program has them; run by mypy --strict, never imported."""

import asyncio
import sys
from collections.abc import AsyncIterator
from datetime import datetime
from os import environ
from pathlib import Path

import aiohttp

from energy_core import (
    AlarmChange,
    Event,
    FileCheckpoint,
    Kind,
    Quantity,
    SessionPool,
    merge,
    preload,
    run_service,
)
from energy_core.errors import TwoFactorRequired
from energy_live.simulator import Simulator
from energy_live.simulator.faults import outage
from voltstorage_async import VoltStorageClient
from vrm_async import VRMClient
from vrm_async.models import Site


async def daily_energies(vrm: VRMClient, site: Site, folder: Path) -> dict[datetime, float]:
    """Save the kWh of each of the last thirty days; return what went from the panels to the home."""
    stats = await vrm.stats.get(site, last=(30, "days"))
    stats.to_polars()
    stats.to_pandas()
    stats.to_csv(folder / "days.csv")
    stats.to_parquet(folder / "days.parquet")
    return {day: kwh for day, kwh in stats["Pc"] if kwh is not None}


async def chart(vrm: VRMClient, site: Site) -> str:
    """Draw a day and return what a notebook shows of the table."""
    stats = await vrm.stats.get(site, period="2026-05-17", attribute_codes=["bs"])
    stats.plot("bs").set_title(vrm.codes["bs"].name or "bs")
    return stats._repr_html_()


async def state_of_charge(vrm: VRMClient, volt: VoltStorageClient) -> dict[str, float]:
    """Return the state of charge of every site and product in percent."""
    snapshots = [*await vrm.now(), *await volt.now()]
    found = {str(each.source): each.values.get(Quantity.BATTERY_SOC) for each in snapshots}
    return {name: soc for name, soc in found.items() if soc is not None}


async def active_alarms(vrm: VRMClient) -> list[str]:
    """Return a line for each active alarm of the account."""
    return [
        f"{site.name}: {alarm.description}"
        for site in await vrm.sites()
        for alarm in await vrm.alarms.active(site)
    ]


async def alarms_as_they_happen(vrm: VRMClient) -> AsyncIterator[str]:
    """Return a line for each alarm that is raised or cleared."""
    async with merge(vrm.live()) as events:
        async for event in events:
            if isinstance(event.detail, AlarmChange):
                yield f"{event.time:%H:%M} {event.source.site}: {event.detail.alarm}"


async def live_power(vrm: VRMClient) -> AsyncIterator[str]:
    """Return the power of the batteries as it changes."""
    async with merge(vrm.live()) as events:
        async for event in events.readings():
            power: float | None = event.values.get(Quantity.BATTERY_POWER)
            if power is not None:
                yield f"{event.time:%H:%M} {power:+.0f} W"


async def service() -> None:
    """Follow an account and continue after a restart."""
    async with SessionPool() as pool:
        vrm = VRMClient(pool, token=environ["VRM_TOKEN"], account="home")
        async with merge(vrm.live(), checkpoint=FileCheckpoint(Path("position.json"))) as events:
            async for event in events:
                sys.stdout.write(f"{event.to_json()}\n")


def start() -> None:
    """Run the service until SIGTERM."""
    run_service(service)


async def home_assistant(session: aiohttp.ClientSession, token: str) -> dict[str, object]:
    """Use a session that belongs to another program; it stays open."""
    await asyncio.to_thread(preload)
    async with VRMClient(session=session, token=token) as vrm, merge(vrm.live()) as events:
        return {**vrm.diagnostics(events)}


async def one_time_code(name: str, password: str, code: str) -> str:
    """Log in with a code and return an access token for the next time."""
    async with VRMClient(username=name, password=password) as vrm:
        try:
            await vrm.users.me()
        except TwoFactorRequired:
            await vrm.auth.login(sms_token=code)
        return (await vrm.tokens.create("my program")).token.reveal()


async def test_my_program(energy_services: Simulator, vrm: VRMClient) -> None:
    """Survive an outage; a test with the fixtures of the pytest plugin."""
    energy_services.faults.add(outage(503), path="users/me")
    assert (await vrm.users.me()).id == energy_services.vrm_user_id
    energy_services.advance(3600)


async def into_a_database(events: list[Event]) -> list[tuple[datetime, str, str, float, str, str, int]]:
    """Return rows for any driver."""
    return [row for event in events if event.kind is Kind.READING for row in event.rows()]
