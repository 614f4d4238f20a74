"""One product's history, day by day: fetched, kept, or noted as missing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Final, NamedTuple

from attrs import define, field, frozen

from energy_core.errors import NotFound, PermissionDenied, RequestError
from energy_core.http.operation import Priority
from energy_live.archive.csv_lines import stamp
from energy_live.archive.directory import Folder
from energy_live.archive.plan import DAY, Day, Month, Scope
from energy_live.archive.progress import Meter
from energy_live.archive.retry import Patience, reason
from energy_live.archive.staging import Draft, Stage, Staged
from voltstorage_async import ExportRows, VoltStorageClient
from voltstorage_async.export.chunks import PAGE

PRECISION: Final = 9
"""Significant digits asked for: single-precision numbers survive unharmed. The vendor's default is 6."""

_QUIET: Final = 3
"""After so many days without a row it is worth asking when the next one comes."""
_FAILING: Final = 3
"""After so many failures in a row the rest of a month is left for the next run."""
_LONG_BEFORE_ITS_END: Final = timedelta(hours=1)
"""A day whose last row is so long before its end may have been cut by a limit of the service."""
_UNCLEAN: Final = "not all of its rows could be read"


class Missing(NamedTuple):
    """A day that could not be read, or not cleanly."""

    date: date
    why: str


class Forbidden(Exception):
    """The product's history is not to be had at all; the message says why."""


@frozen(kw_only=True)
class Gathered:
    """A month, as far as it could be read."""

    days: Sequence[Staged]
    missing: Sequence[Missing]
    changed: bool
    """Whether any day differs from what was there before."""
    notes: Sequence[str]

    @property
    def rows(self) -> int:
        """Rows of all days."""
        return sum(day.rows for day in self.days)

    @property
    def malformed(self) -> int:
        """Rows the service sent that cannot be read, or not wholly."""
        return sum(day.malformed for day in self.days)


@define(kw_only=True, eq=False)
class History:
    """Reads one product's months, in their order."""

    client: VoltStorageClient
    folder: Folder
    scope: Scope
    patience: Patience
    meter: Meter
    stage: Stage = field(init=False)
    _quiet: int = field(default=_QUIET, init=False)  # the past may begin with years of silence
    _silent_until: datetime | None = field(default=None, init=False)
    _notes: list[str] = field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        self.stage = Stage(self.folder, self.scope.product.id)

    def skip(self, *, empty: bool) -> None:
        """Take note that a month need not be read, and whether it held anything."""
        self._quiet = _QUIET if empty else 0

    async def month(self, month: Month, *, again: date | None) -> Gathered:
        """Read what is not there of a month, and the day `again` in any case.

        A day with rows that could not be read is kept, and yet missing until a second reading was the same:
        an answer that was cut is whole the next time, what the service has in store stays as it is.

        Raises:
            Forbidden: The service does not give out this product's history.
            Stopped: The service gives out nothing more.
        """
        days: list[Staged] = []
        missing: list[Missing] = []
        changed, failures, why = False, 0, ""
        self._notes.clear()
        for day in month.days(self.scope.until):
            old = self.stage.read(day)
            clean = True
            if old is not None and self._enough(old, day) and day.date != again:
                new: Staged | None = old
            elif failures >= _FAILING:
                new = None
            else:
                try:
                    new, clean = await self._day(day, month, old)
                except (PermissionDenied, NotFound) as refused:
                    raise Forbidden(reason(refused)) from None
                except RequestError as error:
                    new, why = None, reason(error)
                    self._quiet = 0  # there is no telling
            failures = 0 if new is not None else failures + 1
            if new is None or not clean:
                missing.append(Missing(day.date, _UNCLEAN if new else why))
                new = new or old  # better than nothing
            if new is not None:
                days.append(new)
                changed |= new is not old
                self._quiet = 0 if new.rows else self._quiet + 1
            self.meter.step()
        return Gathered(days=days, missing=missing, changed=changed, notes=tuple(self._notes))

    def _enough(self, old: Staged, day: Day) -> bool:
        """Tell whether a day that is there need not be read again."""
        return day.whole and old.end == stamp(day.end) and not old.malformed

    async def _day(self, day: Day, month: Month, old: Staged | None) -> tuple[Staged, bool]:
        """Read one day, unless it is known to be silent; what is there is only replaced by more.

        Returns the day, and whether it was read cleanly, or twice alike.
        """
        if self._quiet >= _QUIET and (self._silent_until is None or day.start >= self._silent_until):
            self._silent_until = await self._next_row(day.start, min(month.end, self.scope.until))
        if self._silent_until is not None and day.end <= self._silent_until:
            new = self._blank(day)
        else:
            new = await self.patience.ask(lambda: self._draft(day))
        clean = not new.malformed
        if old is None:
            return self.stage.keep(day), clean
        same = self.stage.same(day)
        if same or (new.rows, -new.malformed) < (old.rows, -old.malformed):
            self.stage.reject(day)
            if new.rows < old.rows:
                self._notes.append(f"{day.date}: the service has {new.rows} rows now, {old.rows} were kept")
            return old, clean or same
        return self.stage.keep(day), clean

    def _blank(self, day: Day) -> Draft:
        with self.stage.drafting(day) as draft:
            return draft

    async def _draft(self, day: Day) -> Draft:
        with self.stage.drafting(day) as draft:
            async with self._rows(day.start, day.end) as rows:
                async for block in rows.blocks():
                    self.meter.rows(draft.add(block))
                draft.malformed = rows.malformed
            doubtful = draft.last is not None and day.end - draft.last > _LONG_BEFORE_ITS_END
            while doubtful and draft.last is not None:
                doubtful = await self._more(draft, draft.last, day.end)
            return draft

    async def _more(self, draft: Draft, last: datetime, end: datetime) -> bool:
        """Ask for what follows the last row of a day; tell whether there was anything.

        The service may give only so many rows at once. That the rest of a day is silent is known when an
        answer to it brings nothing new.
        """
        count = draft.rows
        async with self._rows(last, end) as rows:
            async for block in rows.blocks():
                self.meter.rows(draft.add([row for row in block if row.time > last]))
            if draft.rows > count:
                draft.malformed += rows.malformed
        return draft.rows > count

    async def _next_row(self, start: datetime, end: datetime) -> datetime:
        """Return when something is recorded next, or `end`. Where the service will not say: `start`."""

        async def first() -> datetime:
            async with self._rows(start, end) as rows:
                row = await anext(rows, None)
                return end if row is None else row.time

        try:
            return await self.patience.ask(first)
        except (PermissionDenied, NotFound):
            raise
        except RequestError:
            return start

    def _rows(self, start: datetime, end: datetime) -> ExportRows:
        return self.client.export.rows(
            self.scope.product.id,
            start,
            end,
            precision=PRECISION,
            page=max(PAGE, end - start),  # the days are our pages
            priority=Priority.BACKGROUND,
        )


def spans(missing: Sequence[Missing]) -> list[str]:
    """Return one line for each stretch of days that are missing for the same reason."""
    found: list[tuple[Missing, Missing]] = []
    for one in missing:
        if found and found[-1][1].why == one.why and found[-1][1].date + DAY == one.date:
            found[-1] = (found[-1][0], one)
        else:
            found.append((one, one))
    return [
        f"history of {first.date}{'' if first is last else f' to {last.date}'}: {first.why}"
        for first, last in found
    ]
