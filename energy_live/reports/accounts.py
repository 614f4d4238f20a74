"""The accounts of the environment, connected for one command."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime, timedelta
from typing import Final

from attrs import field, frozen

from energy_core import EnergyError, SessionPool
from energy_core.clock import SystemClock
from energy_core.url import parse_base_url
from energy_live.environment import Accounts
from energy_live.reports.progress import Progress
from energy_live.watch import EVERYTHING, Selection, require_credentials
from voltstorage_async import VoltStorageClient
from vrm_async import VRMClient

_CLOCK: Final = SystemClock()


@frozen(kw_only=True)
class Connected:
    """The clients of a command; one of them is None if its account has no credential."""

    accounts: Accounts
    pool: SessionPool
    progress: Progress
    vrm: VRMClient | None
    volt: VoltStorageClient | None
    selection: Selection
    errors: list[EnergyError] = field(factory=list)
    """Why a part of the accounts could not be read."""

    @property
    def reads_vrm(self) -> bool:
        """Whether the selection has sites of VRM."""
        return self.vrm is not None and bool(self.selection.sites or self.selection.everything)

    @property
    def reads_voltstorage(self) -> bool:
        """Whether the selection has products of VoltStorage."""
        return self.volt is not None and bool(self.selection.products or self.selection.everything)

    @contextmanager
    def noting_errors(self) -> Iterator[None]:
        """Append an error of the block to `errors`, so that the other parts are still read."""
        try:
            yield
        except EnergyError as error:
            self.errors.append(error)

    def now(self, vendor: str) -> datetime:
        """Return the present time by a vendor's clock; by ours before its first answer."""
        base_url = self.accounts.vrm_base_url if vendor == "vrm" else self.accounts.voltstorage_base_url
        offset_s = self.pool.stats().clock_offsets_s.get(parse_base_url(base_url).origin, 0.0)
        return _CLOCK.utcnow() + timedelta(seconds=offset_s)


@asynccontextmanager
async def connected(doing: str, selection: Selection = EVERYTHING) -> AsyncIterator[Connected]:
    """Connect the accounts of this process's environment.

    Args:
        doing: What the progress line says.
        selection: The sites and products that the command reads.

    Raises:
        UsageError: A credential for the selected sites or products is missing, or one is not valid.
    """
    accounts = Accounts.from_environment(os.environ)
    async with SessionPool() as pool, Progress(doing) as progress:
        vrm, volt = accounts.vrm(pool), accounts.voltstorage(pool)
        require_credentials(vrm, volt, selection)  # before any request is sent
        yield Connected(
            accounts=accounts, pool=pool, progress=progress, vrm=vrm, volt=volt, selection=selection
        )
