"""Command `doctor`: what is configured, reachable and allowed, without any secret."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from attrs import define, field

from energy_core import EnergyError, SessionPool
from energy_core.clock import Clock, SystemClock
from energy_core.token_expiry import expiry_warning
from energy_core.url import parse_base_url
from energy_live.environment import VOLTSTORAGE_VARIABLES, VRM_VARIABLES, Accounts
from energy_live.reports.progress import Progress
from energy_live.reports.table import Cell, Report, ReportColumn, age_text
from energy_live.runner import UsageError
from voltstorage_async import VoltStorageClient
from voltstorage_async.auth import token_expiry
from vrm_async import VRMClient

DOCTOR_COLUMNS: Final = (
    ReportColumn("subject", "subject"),
    ReportColumn("check", "check"),
    ReportColumn("result", "result"),
    ReportColumn("detail", "detail", wraps=True),
)
OK: Final = "ok"
WARNING: Final = "warning"
FAILURE: Final = "failed"
UNUSED: Final = "-"
"""Neither good nor bad: not configured, or not installed."""

SKEW_S: Final = 60.0
"""A clock that is further off makes tokens invalid and readings seem to be in the future."""
_EXTRAS: Final = {
    "speed": ("msgspec", "orjson", "uvloop"),
    "arrow": ("pyarrow",),
    "polars": ("polars",),
    "pandas": ("pandas",),
    "plot": ("matplotlib",),
}
_FULL_CONTROL: Final = 1
"""VRM's accessLevel of full control."""


@define
class _Checks:
    """The rows found so far."""

    rows: list[tuple[Cell, ...]] = field(factory=list)

    def add(self, subject: str, check: str, result: str, detail: object) -> None:
        self.rows.append((subject, check, result, str(detail)))

    @property
    def failed(self) -> bool:
        return any(result == FAILURE for _, _, result, _ in self.rows)


async def examine(clock: Clock | None = None) -> Report:
    """Return a row for each check; the command exits with 1 if one has failed."""
    clock, checks = clock or SystemClock(), _Checks()
    for check, detail in _versions():
        checks.add("energy-live", check, OK if detail else UNUSED, detail or "not installed")
    try:
        accounts = Accounts.from_environment(os.environ)
        async with SessionPool() as pool, Progress("checking VRM") as progress:
            await _vrm(accounts, pool, checks, clock)
            progress.text = "checking VoltStorage"
            await _voltstorage(accounts, pool, checks, clock)
    except UsageError as error:
        checks.add("energy-live", "environment", FAILURE, error)
    return Report(DOCTOR_COLUMNS, checks.rows, failed=checks.failed)


def _versions() -> Iterator[tuple[str, str]]:
    yield "version", _version("energy-live") or "run from its source tree"
    yield "python", f"{sys.version.split()[0]} on {sys.platform}"
    for extra, packages in _EXTRAS.items():
        found = [(package, _version(package)) for package in packages]
        yield f"extra {extra}", ", ".join(f"{package} {number}" for package, number in found if number)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


async def _vrm(accounts: Accounts, pool: SessionPool, checks: _Checks, clock: Clock) -> None:
    client = accounts.vrm(pool)
    if client is None:
        checks.add("vrm", "credential", UNUSED, f"set {VRM_VARIABLES} to use Victron VRM")
        return
    checks.add("vrm", "credential", OK, f"VRM_TOKEN is set, for {accounts.vrm_base_url}")
    begun = clock.monotonic()
    try:
        user = await client.users.me()
    except EnergyError as error:
        checks.add("vrm", "access", FAILURE, error)
        return
    took_ms = (clock.monotonic() - begun) * 1000
    checks.add("vrm", "access", OK, f"user {user.id}, answered in {took_ms:.0f} ms")
    await _vrm_token(client, checks, clock)
    await _vrm_sites(client, checks)
    _clock_and_limit("vrm", accounts.vrm_base_url, pool, checks)


async def _vrm_token(client: VRMClient, checks: _Checks, clock: Clock) -> None:
    try:
        mine = await client.tokens.current()
    except EnergyError as error:
        checks.add("vrm", "token", WARNING, f"its expiry is not known: {error}")
        return
    if mine is None:
        checks.add("vrm", "token", WARNING, "its expiry is not known: VRM's list does not have it")
        return
    label = f"{mine.name!r}, {mine.scope or 'scope not known'}"
    _expiry("vrm", label, mine.expires, checks, clock)


def _expiry(vendor: str, label: str, expires: datetime | None, checks: _Checks, clock: Clock) -> None:
    if expires is None:
        checks.add(vendor, "token", OK, f"{label}, does not expire")
        return
    now = clock.utcnow()
    warning = expiry_warning(expires, now)
    if warning:
        checks.add(vendor, "token", FAILURE if expires <= now else WARNING, f"{label}, {warning}")
    else:
        checks.add(vendor, "token", OK, f"{label}, expires {expires:%Y-%m-%d %H:%M} UTC")


async def _vrm_sites(client: VRMClient, checks: _Checks) -> None:
    try:
        sites = await client.sites()
    except EnergyError as error:
        checks.add("vrm", "sites", FAILURE, error)
        return
    if not sites:
        checks.add("vrm", "sites", WARNING, "the account has no sites")
        return
    full = sum(site.access_level == _FULL_CONTROL for site in sites)
    detail = f"{len(sites)}, {full} of them with full control"
    if full < len(sites):
        detail += "; alarm rules and downloads need full control"
    checks.add("vrm", "sites", OK, detail)


async def _voltstorage(accounts: Accounts, pool: SessionPool, checks: _Checks, clock: Clock) -> None:
    client = accounts.voltstorage(pool)
    if client is None:
        checks.add("voltstorage", "credential", UNUSED, f"set {VOLTSTORAGE_VARIABLES} to use VoltStorage")
        return
    token = accounts.voltstorage_token
    which = "VOLTSTORAGE_EMAIL and VOLTSTORAGE_PASSWORD are" if token is None else "VOLTSTORAGE_TOKEN is"
    checks.add("voltstorage", "credential", OK, f"{which} set, for {accounts.voltstorage_base_url}")
    if token is not None:
        expires = token_expiry(token)
        if expires is None:
            checks.add("voltstorage", "token", WARNING, "its expiry is not known: it is no JWT with `exp`")
        else:
            _expiry("voltstorage", "a fixed token", expires, checks, clock)
    await _products(client, checks, clock)
    _clock_and_limit("voltstorage", accounts.voltstorage_base_url, pool, checks)


async def _products(client: VoltStorageClient, checks: _Checks, clock: Clock) -> None:
    begun = clock.monotonic()
    try:
        products = await client.products.list()
    except EnergyError as error:
        checks.add("voltstorage", "access", FAILURE, error)
        return
    took_ms = (clock.monotonic() - begun) * 1000
    checks.add("voltstorage", "access", OK, f"logged in and answered in {took_ms:.0f} ms")
    online = sum(product.online is True for product in products)
    checks.add(
        "voltstorage",
        "products",
        OK if online else WARNING,
        f"{len(products)}, {online} of them online",
    )


def _clock_and_limit(vendor: str, base_url: str, pool: SessionPool, checks: _Checks) -> None:
    stats, origin = pool.stats(), parse_base_url(base_url).origin
    offset_s = stats.clock_offsets_s.get(origin)
    if offset_s is None:
        checks.add(vendor, "clock", UNUSED, "the server does not send its time")
    elif abs(offset_s) < SKEW_S:
        checks.add(vendor, "clock", OK, f"{age_text(abs(offset_s))} from the server's")
    else:
        side = "behind" if offset_s > 0 else "ahead of"
        detail = f"this machine's clock is {age_text(abs(offset_s))} {side} the server's: set it, or use NTP"
        checks.add(vendor, "clock", WARNING, detail)
    for (where, _), limiter in stats.limiters.items():
        if where == origin:
            held = f", on hold for {limiter.hold_s:.0f} s" if limiter.hold_s else ""
            detail = f"{max(0.0, limiter.level):.0f} requests left, then {limiter.rate:.1f}/s{held}"
            checks.add(
                vendor,
                "rate limit",
                WARNING if limiter.throttled else OK,
                f"{detail} (requests of other programs are not counted)",
            )
