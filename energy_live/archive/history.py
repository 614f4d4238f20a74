"""Reads the history of one product, one request a day, and stages each day."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Final, NamedTuple

from attrs import define, field, frozen

from energy_core.errors import NotFound, PermissionDenied, RequestError
from energy_core.http.operation import Priority
from energy_live.archive.csv_lines import format_time
from energy_live.archive.directory import ArchiveDirectory
from energy_live.archive.plan import DAY, Day, Month, ProductPlan
from energy_live.archive.progress_bar import ProgressReport
from energy_live.archive.retry import RetryPolicy, describe_error
from energy_live.archive.staging import DayWriter, StagedDay, StagingArea
from voltstorage_async import ExportRows, VoltStorageClient
from voltstorage_async.export.chunks import DEFAULT_CHUNK

PRECISION: Final = 9
"""Significant digits to request; enough for single-precision numbers. The service's default is 6."""

_EMPTY_DAYS: Final = 3
"""After this many days without rows, one request asks when the next row was recorded."""
_MAX_FAILURES: Final = 3
"""After this many failed days in a row, the rest of the month is left to the next run."""
_EARLY_END: Final = timedelta(hours=1)
"""A day whose last row is this long before its end may have been cut by a row limit of the service."""
_MALFORMED: Final = "not all of its rows could be read"


class MissingDay(NamedTuple):
    """A day that could not be read, or has malformed rows."""

    date: date
    reason: str


class HistoryRefused(Exception):
    """The account may not read the product's history; the message is the service's."""


@frozen(kw_only=True)
class MonthResult:
    """The days of one month that could be read."""

    days: Sequence[StagedDay]
    missing: Sequence[MissingDay]
    changed: bool
    """Whether any day differs from the day that was staged before."""
    notes: Sequence[str]

    @property
    def rows(self) -> int:
        """Number of rows of all days."""
        return sum(day.rows for day in self.days)

    @property
    def malformed(self) -> int:
        """Number of malformed rows of all days."""
        return sum(day.malformed for day in self.days)


@define(kw_only=True, eq=False)
class HistoryReader:
    """Reads the months of one product; call `month` or `skip` for each month, the oldest first."""

    client: VoltStorageClient
    directory: ArchiveDirectory
    plan: ProductPlan
    policy: RetryPolicy
    progress: ProgressReport
    staging: StagingArea = field(init=False)
    # Days without rows in a row. It starts at the limit: years may lie between installation and first row.
    _empty_days: int = field(default=_EMPTY_DAYS, init=False)
    _next_row_at: datetime | None = field(default=None, init=False)
    _notes: list[str] = field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        self.staging = StagingArea(self.directory, self.plan.product.id)

    def skip(self, *, empty: bool) -> None:
        """Skip a month that is archived already.

        Args:
            empty: Whether the month has no rows.
        """
        self._empty_days = _EMPTY_DAYS if empty else 0

    async def month(self, month: Month, *, reread: date | None) -> MonthResult:
        """Read the days of a month that are not staged yet.

        A day with malformed rows is staged and reported as missing until a second read gives the same rows:
        a cut answer is complete the next time, a malformed row at the source stays malformed.

        Args:
            month: The month.
            reread: A day to read in any case.

        Raises:
            HistoryRefused: The account may not read the product's history.
            RunStopped: The account or the service cannot be reached any more.
        """
        days: list[StagedDay] = []
        missing: list[MissingDay] = []
        changed, failures, failure = False, 0, ""
        self._notes.clear()
        for day in month.days(self.plan.until):
            old = self.staging.read(day)
            clean = True
            # Staged days survive a kill, so a run continues in the middle of a month.
            if old is not None and self._is_complete(old, day) and day.date != reread:
                new: StagedDay | None = old
            elif failures >= _MAX_FAILURES:
                new = None  # the service has a problem; do not send it a month of requests
            else:
                try:
                    new, clean = await self._read_day(day, month, old)
                except (PermissionDenied, NotFound) as error:
                    raise HistoryRefused(describe_error(error)) from None
                except RequestError as error:
                    new, failure = None, describe_error(error)
                    self._empty_days = 0  # unknown: the day may have rows
            failures = 0 if new is not None else failures + 1
            if new is None or not clean:
                missing.append(MissingDay(day.date, _MALFORMED if new else failure))
                new = new or old  # the old rows are better than none
            if new is not None:
                days.append(new)
                changed |= new is not old
                self._empty_days = 0 if new.rows else self._empty_days + 1
            self.progress.step()
        return MonthResult(days=days, missing=missing, changed=changed, notes=tuple(self._notes))

    def _is_complete(self, old: StagedDay, day: Day) -> bool:
        return day.whole and old.end == format_time(day.end) and not old.malformed

    async def _read_day(self, day: Day, month: Month, old: StagedDay | None) -> tuple[StagedDay, bool]:
        """Read and stage one day; a staged day is only replaced by one with more rows.

        Days that are known to have no rows are staged without a request.

        Returns:
            The day, and whether its rows are final: all well-formed, or the same as in the read before.
        """
        if self._empty_days >= _EMPTY_DAYS and (self._next_row_at is None or day.start >= self._next_row_at):
            self._next_row_at = await self._find_next_row(day.start, min(month.end, self.plan.until))
        if self._next_row_at is not None and day.end <= self._next_row_at:
            new = self._write_empty(day)
        else:
            new = await self.policy.call(lambda: self._write_day(day))
        clean = not new.malformed
        # Two reads with the same rows prove that malformed rows are not the result of a cut answer.
        if old is None:
            return self.staging.keep(day), clean
        unchanged = self.staging.is_unchanged(day)
        if unchanged or (new.rows, -new.malformed) < (old.rows, -old.malformed):
            self.staging.reject(day)
            if new.rows < old.rows:
                self._notes.append(f"{day.date}: the service has {new.rows} rows now, {old.rows} were kept")
            return old, clean or unchanged
        return self.staging.keep(day), clean

    def _write_empty(self, day: Day) -> DayWriter:
        with self.staging.write(day) as writer:
            return writer

    async def _write_day(self, day: Day) -> DayWriter:
        with self.staging.write(day) as writer:
            async with self._rows(day.start, day.end) as rows:
                async for block in rows.blocks():
                    self.progress.add_rows(writer.add(block))
                writer.malformed = rows.malformed
            may_be_cut = writer.last is not None and day.end - writer.last > _EARLY_END
            while may_be_cut and writer.last is not None:
                may_be_cut = await self._write_rest(writer, writer.last, day.end)
            return writer

    async def _write_rest(self, writer: DayWriter, last: datetime, end: datetime) -> bool:
        """Request the rows after the last one of a day; return whether there were any.

        The service may limit the rows of one answer. The day is complete when an answer has no new row.
        """
        count = writer.rows
        async with self._rows(last, end) as rows:
            async for block in rows.blocks():
                self.progress.add_rows(writer.add([row for row in block if row.time > last]))
            if writer.rows > count:
                writer.malformed += rows.malformed
        return writer.rows > count

    async def _find_next_row(self, start: datetime, end: datetime) -> datetime:
        """Return the time of the first row in a range, `end` if there is none, `start` if it is unknown."""

        async def first_row() -> datetime:
            async with self._rows(start, end) as rows:
                row = await anext(rows, None)
                return end if row is None else row.time

        try:
            return await self.policy.call(first_row)
        except (PermissionDenied, NotFound):
            raise
        except RequestError:
            return start

    def _rows(self, start: datetime, end: datetime) -> ExportRows:
        return self.client.export.rows(
            self.plan.product.id,
            start,
            end,
            precision=PRECISION,
            chunk=max(DEFAULT_CHUNK, end - start),  # one request for the range
            priority=Priority.BACKGROUND,
        )


def summarize_missing(missing: Sequence[MissingDay]) -> list[str]:
    """Return one line for each stretch of consecutive days that are missing for the same reason."""
    stretches: list[tuple[MissingDay, MissingDay]] = []
    for day in missing:
        if stretches and stretches[-1][1].reason == day.reason and stretches[-1][1].date + DAY == day.date:
            stretches[-1] = (stretches[-1][0], day)
        else:
            stretches.append((day, day))
    return [
        f"history of {first.date}{'' if first is last else f' to {last.date}'}: {first.reason}"
        for first, last in stretches
    ]
