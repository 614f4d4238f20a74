"""Energies in kWh that last: integrated from every device's powers, kept durably, published as readings.

`EnergyCounters` is an output like any other: it is fed from a subscription of its own, and stores its
position together with the energies, so that each reading counts once. What it has stored is published by its
`source`, which is merged into the same stream: every output gets the energies as it gets everything else.
Nothing is published that is not on the disk, so an energy never falls, not even after a power failure.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from os import PathLike
from pathlib import Path
from typing import Any, Final, TypeVar

from attrs import evolve, frozen

from energy_core.home.days import Undivided, micros, moment_of
from energy_core.home.integral import Bin, PowerCurve
from energy_core.home.meter import PowerIntegrator
from energy_core.home.preference import SourceFilter, SourcePreference
from energy_core.printable import printable
from energy_core.stream.checkpoint import Checkpoint
from energy_core.stream.event import Event
from energy_core.stream.source import CompleteRange, HistoryItem, Outlet, Reading, StreamPosition
from energy_core.stream.vocabulary import Gap, Kind, Quantity, SourceId, State, Status
from energy_live.outputs.energy_store import (
    DAMAGE,
    REMEDY,
    EnergyRow,
    EnergyStore,
    MissingRow,
    Stored,
    device_of,
)
from energy_live.outputs.output import OutputError

NOT_MEASURED: Final = "not_measured"
"""Reason of a gap: the energies do not contain this time."""

SUFFIX: Final = "-energy"
"""Appended to the vendor in the id of a device's energies, which have numbers of their own."""

_MICROJOULES_PER_MWH: Final = 3_600_000
_MWH_PER_KWH: Final = 1_000_000

_POWERS: Final[Mapping[Quantity, tuple[Quantity, ...]]] = {
    Quantity.GRID_POWER: (Quantity.GRID_IMPORT_ENERGY, Quantity.GRID_EXPORT_ENERGY),
    Quantity.BATTERY_POWER: (Quantity.BATTERY_CHARGE_ENERGY, Quantity.BATTERY_DISCHARGE_ENERGY),
    Quantity.PV_POWER: (Quantity.PV_ENERGY,),
    Quantity.CONSUMPTION_POWER: (Quantity.CONSUMPTION_ENERGY,),
}
"""The energies of each power: of its positive and of its negative part, or of both together."""

_log: Final = logging.getLogger("energy_live.outputs")

T = TypeVar("T")


@frozen(kw_only=True)
class EnergyConfig:
    """How energies are counted and published."""

    every_s: float = 60.0
    """Seconds between two publications of a device, at least; by the time of its readings."""
    max_gap_s: float = 1200.0
    """Readings further apart, in seconds, are not joined."""
    changes_only: tuple[SourceFilter, ...] = (SourceFilter("voltstorage"),)
    """Sources that report only changes; see `EnergyMeter`."""
    keep: int = 5_000
    """Readings of each power that are kept, so that late ones can be inserted; a late one from before them is
    left out."""
    settle_s: float = 7200.0
    """Seconds after which time that was not measured is reported; until then a source may still fill it."""
    journal: int = 5_000
    """Events after which the states are written anew."""


class EnergyCounters:
    """An output that integrates powers, and the source of what it has integrated.

    Merge `source` with the others, and feed this object like an output, without a choice: it needs every
    event. Each device that measures a power has energies of its own; values of devices are never mixed.

    Args:
        path: The file; its folder must exist. Without it, energies begin at 0.
        config: How to count and publish.
    """

    idempotent = True

    def __init__(self, path: str | PathLike[str], config: EnergyConfig | None = None) -> None:
        self._config = config or EnergyConfig()
        self._store = EnergyStore(Path(path))
        self.source = EnergySource(self._store)
        """Publishes the energies."""
        self._integrator = self._new_integrator()
        self._sources: dict[str, SourceId] = {}
        self._position: str | None = None
        self._newest: dict[str, EnergyRow] = {}
        self._missing_until: dict[tuple[str, Quantity], int] = {}
        self._checked: dict[SourceId, int] = {}
        self._journaled = 0
        self._job: asyncio.Future[Any] | None = None

    async def open(self) -> Checkpoint:
        """Read the file, and return the position stored with the energies.

        Raises:
            OutputError: It cannot be opened, or is damaged.
        """
        stored = await self._in_thread(self._load)
        self.source.begin(stored.last_energy, stored.last_missing)
        return Checkpoint() if stored.position is None else Checkpoint.from_json(stored.position)

    async def write(self, batch: Sequence[Event], position: Checkpoint) -> None:
        """Integrate a batch, store everything durably, then publish. Cancelling is safe: it may be stored.

        Raises:
            OutputError: Nothing was stored.
        """
        text = position.to_json()
        if text == self._position:  # stored already, by a call that was cancelled
            return
        lines: list[str] = []
        energies: list[EnergyRow] = []
        missing: list[MissingRow] = []
        for event in batch:
            if not event.source.vendor.endswith(SUFFIX):
                self._take(_trimmed(event), lines, energies, missing)
        self._journaled += len(lines)
        states = None
        if self._journaled >= self._config.journal:
            states, self._journaled = self._states(), 0
        await self._in_thread(lambda: self._store.save(text, lines, energies, missing, states))
        self._position = text
        counts = {"too_late": self._integrator.too_late, "unusable": self._integrator.unusable}
        self.source.notes = {name: count for name, count in counts.items() if count}
        if energies or missing:
            self.source.wake()

    async def close(self) -> None:
        """Close the file, after a write that was cancelled has ended."""
        if self._job is not None and not self._job.done():
            await asyncio.wait({self._job})
        await asyncio.to_thread(self._store.close)

    # --- counting ------------------------------------------------------------------------------------------

    def _new_integrator(self) -> PowerIntegrator:
        config = self._config
        return PowerIntegrator(
            Undivided(),
            SourcePreference(),
            changes_only=config.changes_only,
            max_gap_s=config.max_gap_s,
            keep=config.keep,
        )

    def _load(self) -> Stored:
        self._store.close()
        stored = self._store.load()
        self._integrator = integrator = self._new_integrator()
        for source, state in stored.states.items():
            try:
                integrator.curve(source).restore(state)
            except DAMAGE as error:
                raise OutputError(
                    f"{self._store.path.name} is damaged ({error}); {REMEDY}", permanent=True
                ) from None
        for event in stored.journal:
            integrator.take(event)
        self._sources = {device_of(source): source for source in integrator.curves}
        self._newest, self._missing_until = dict(stored.newest), dict(stored.missing_until)
        self._journaled, self._position = len(stored.journal), stored.position
        self._checked.clear()
        return stored

    def _take(
        self, event: Event, lines: list[str], energies: list[EnergyRow], missing: list[MissingRow]
    ) -> None:
        source, device = event.source, device_of(event.source)
        known = self._sources.setdefault(device, source)
        if known != source:  # the account has another label
            self._integrator.rename(known, source)
            self._sources[device] = source
        lines.append(event.to_json())
        self._integrator.take(event)
        if event.kind is not Kind.READING:
            return
        curve = self._integrator.curves[source]
        last = self._newest.get(device)
        every = round(self._config.every_s * 1e6)
        newest = curve.newest
        if newest is None or (last is not None and newest // every <= last.time // every):
            return
        row = _energy_row(source, newest, curve, {} if last is None else last.microjoules)
        if row.microjoules:
            self._newest[device] = row
            energies.append(row)
            missing += self._missing(source, device, newest, curve)

    def _missing(self, source: SourceId, device: str, newest: int, curve: PowerCurve) -> list[MissingRow]:
        """Return time that was not measured and will hardly be filled any more, once."""
        settle = round(self._config.settle_s * 1e6)
        if newest < self._checked.get(source, 0) + settle // 8:
            return []
        self._checked[source] = newest
        found = []
        for power, track in curve.tracks.items():
            since = self._missing_until.get((device, power), 0)
            for begins, ends in track.unmeasured(since) if power in _POWERS else ():
                if begins >= since and ends <= newest - settle:
                    self._missing_until[device, power] = ends
                    found.append(MissingRow(source, newest, begins, ends, power))
        return found

    def _states(self) -> Mapping[SourceId, Mapping[str, Any]]:
        return {source: curve.state() for source, curve in self._integrator.curves.items()}

    async def _in_thread(self, work: Callable[[], T]) -> T:
        job = self._job = asyncio.ensure_future(asyncio.to_thread(work))
        return await asyncio.shield(job)

    @printable
    def __repr__(self) -> str:
        return f"<EnergyCounters of {len(self._newest)} devices in {self._store.path.name}>"


def _trimmed(event: Event) -> Event:
    """Return an event with what the integrator needs of it, and no more."""
    if event.kind is Kind.READING:
        powers = {power: value for power, value in event.values.items() if power in _POWERS}
        return event._replace(raw={}, values=powers)
    # That a source was stopped means nothing here: it resumes, and reports a gap if it cannot.
    if isinstance(event.detail, Status) and event.detail.state is State.CLOSED:
        return event._replace(detail=evolve(event.detail, state=State.STALE))
    return event


def _energy_row(source: SourceId, time: int, curve: PowerCurve, before: Mapping[Quantity, int]) -> EnergyRow:
    """Return the energies of a device, none of them below what was published `before`."""
    values: dict[Quantity, int] = {}
    about: dict[str, object] = {}
    for power, energies in _POWERS.items():
        track = curve.tracks.get(power)
        entry = None if track is None else track.bins.get(Undivided.ALL_TIME)
        if entry is None or not entry.measured:
            continue
        sums = _sums(entry, net=len(energies) == 1)
        values |= {each: max(sum_, before.get(each, 0)) for each, sum_ in zip(energies, sums, strict=True)}
        about[power.value] = {
            "since": moment_of(entry.start).isoformat(),
            "measured_s": entry.measured / 1e6,
            "not_measured_s": (entry.end - entry.start - entry.measured) / 1e6,
        }
    kept = {each: value for each, value in before.items() if each not in values}
    return EnergyRow(source, time, {**kept, **values}, about)


def _sums(entry: Bin, *, net: bool) -> tuple[int, ...]:
    return (entry.plus - entry.minus,) if net else (entry.plus, entry.minus)


# --- publishing ---------------------------------------------------------------------------------------------


class EnergySource:
    """Publishes what `EnergyCounters` has stored: a source whose past is complete.

    A reading has the cumulative energies of one device in kWh, which never fall, at the time of the newest
    reading in them. `Event.raw` has, by power, since when and over how many seconds it was measured. A gap
    with the reason ``not_measured`` names time that is in no energy.
    """

    passive = True

    def __init__(self, store: EnergyStore) -> None:
        self.id = SourceId("energy", "counters", "*")
        self._store = store
        self._begun = asyncio.Event()
        self._stored = asyncio.Event()
        self._positions: Mapping[SourceId, StreamPosition] = {}
        self.notes: Mapping[str, int | str] = {}
        """Powers since the start that are in no energy: `too_late` or `unusable`, as in `EnergyMeter`."""
        self._last_energy = self._last_missing = 0

    def begin(self, last_energy: int, last_missing: int) -> None:
        """Note that the file is open, and the ids of the last rows in it."""
        if not self._begun.is_set():
            self._last_energy, self._last_missing = last_energy, last_missing
            self._begun.set()

    def wake(self) -> None:
        """Note that something was stored."""
        self._stored.set()

    def resume(self, positions: Mapping[SourceId, StreamPosition]) -> None:
        """Note up to where the energies were consumed in an earlier run."""
        self._positions = positions

    async def run(self, outlet: Outlet) -> None:
        """Publish what was not consumed in an earlier run, then what is stored from now on."""
        await self._begun.wait()
        outlet.status(State.LIVE)
        await self._until_stored(self._publish_rest, outlet, self._positions)
        while True:
            self._stored.clear()
            await self._until_stored(self._publish_new, outlet)
            await self._stored.wait()

    async def history(self, source: SourceId, start: datetime, end: datetime) -> AsyncIterator[HistoryItem]:
        """Iterate over the stored energies of a device, and what they do not contain."""
        span = device_of(_device(source)), micros(start), micros(end)
        where = "device = ? AND time BETWEEN ? AND ?"
        for energy in await asyncio.to_thread(self._store.energies, where, *span):
            yield _reading(energy)
        for missing in await asyncio.to_thread(self._store.missing, where, *span):
            yield _gap(missing)
        yield CompleteRange(start, end)

    async def _until_stored(self, publish: Callable[..., Awaitable[None]], *args: object) -> None:
        """Publish; while the file cannot be read, try again each time something is stored."""
        while True:
            try:
                return await publish(*args)
            except OutputError as error:
                _log.warning("energies wait to be published: %s", error)
                self._stored.clear()
                await self._stored.wait()

    async def _publish_rest(self, outlet: Outlet, positions: Mapping[SourceId, StreamPosition]) -> None:
        consumed = {device_of(_device(source)): micros(at.time) for source, at in positions.items()}
        for device in await asyncio.to_thread(self._store.devices):
            where = "device = ? AND time > ? AND id <= ?"
            since = device, consumed.get(device, 0)
            rows = await asyncio.to_thread(self._store.energies, where, *since, self._last_energy)
            await _deliver(outlet, rows, backfilled=True)
            await _report(
                outlet, await asyncio.to_thread(self._store.missing, where, *since, self._last_missing)
            )

    async def _publish_new(self, outlet: Outlet) -> None:
        for row in await asyncio.to_thread(self._store.energies, "id > ?", self._last_energy):
            await _deliver(outlet, [row])
            self._last_energy = row.id
        for gap in await asyncio.to_thread(self._store.missing, "id > ?", self._last_missing):
            await _report(outlet, [gap])
            self._last_missing = gap.id

    @printable
    def __repr__(self) -> str:
        return f"<EnergySource of {self._store.path.name}, {self._last_energy} published>"


async def _deliver(outlet: Outlet, rows: Iterable[EnergyRow], *, backfilled: bool = False) -> None:
    for row in rows:
        await outlet.room()
        outlet.readings(_energies(row.source), [_reading(row, backfilled=backfilled)])


def _reading(row: EnergyRow, *, backfilled: bool = False) -> Reading:
    source = row.source
    return Reading(
        moment_of(row.time),
        f"{source.site}/{source.instance}/{row.time}",
        {each: value // _MICROJOULES_PER_MWH / _MWH_PER_KWH for each, value in row.microjoules.items()},
        row.about,
        backfilled,
    )


async def _report(outlet: Outlet, rows: Iterable[MissingRow]) -> None:
    for row in rows:
        await outlet.room()
        outlet.put_gap(_energies(row.source), _gap(row))


def _gap(row: MissingRow) -> Gap:
    start, end = moment_of(row.begins), moment_of(row.ends)
    return Gap(start=start, end=end, reason=NOT_MEASURED, quantities=tuple(_POWERS[row.power]))


def _energies(device: SourceId) -> SourceId:
    return device._replace(vendor=device.vendor + SUFFIX)


def _device(energies: SourceId) -> SourceId:
    return energies._replace(vendor=energies.vendor.removesuffix(SUFFIX))
