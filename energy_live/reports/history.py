"""Command `history`: energy and measurements of a site, printed or saved as a file."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Mapping, Sequence
from datetime import datetime, tzinfo
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from attrs import frozen

from energy_core.atomic_file import check_target, replace_file
from energy_core.clock import SystemClock
from energy_core.local_days import TimeRange, time_range, zone_or_utc
from energy_core.tables.column import with_unit
from energy_core.tables.export import moment
from energy_live.environment import VRM_VARIABLES
from energy_live.reports.accounts import connected
from energy_live.reports.table import Cell, Report, ReportColumn
from energy_live.runner import UsageError
from energy_live.watch import Selection, check_numbers
from vrm_async import VRMClient
from vrm_async.codes import BY_CODE
from vrm_async.models import Site, Stats

_EXTRAS: Final[Mapping[str, tuple[str, str]]] = {
    ".parquet": ("pyarrow", "arrow"),
    ".png": ("matplotlib", "plot"),
}
"""The package that a kind of file needs, and the extra that installs it."""
_SUM: Final = "kwh"
"""VRM's code of the sum of all energies."""
KINDS: Final = (".csv", *_EXTRAS)


@frozen(kw_only=True)
class HistoryOptions:
    """Options of `history`; without `period` and `start`, the range is `last`."""

    site: int
    interval: str
    codes: Sequence[str] = ()
    last: tuple[int, str] | None = None
    period: str | None = None
    start: str | None = None
    end: str | None = None
    out: str | None = None


async def show_history(options: HistoryOptions) -> Report:
    """Return a row for each bucket of a site's history; with `out`, a row about the file that was written.

    Raises:
        UsageError: An option has a wrong value.
        EnergyError: The history could not be read.
        OSError: The file could not be written.
    """
    target = None if options.out is None else _target(options.out)
    async with connected("reading the site", Selection(sites=[options.site])) as accounts:
        if accounts.vrm is None:
            raise UsageError(f"history needs a VRM access token: set {VRM_VARIABLES}")
        vrm = accounts.vrm
        _check_codes(vrm, options.codes)
        listed = await vrm.sites()
        check_numbers("site", [options.site], {site.id: site.identifier for site in listed})
        site = next(site for site in listed if site.id == options.site)
        given = _range(options, zone_or_utc(site.timezone))
        accounts.progress.text = f"reading the history of {site.name or site.id}"
        history = vrm.stats.history(
            site,
            given.start,
            given.end,
            period=options.period,
            last=given.last,
            interval=options.interval,
            attribute_codes=options.codes or None,
        )
        stats = await history
        if target is None:
            return _report(stats)
        accounts.progress.text = f"writing {target}"
        # A thread that writes cannot be cancelled: the file is complete before Ctrl-C ends the command.
        await asyncio.shield(asyncio.to_thread(_write, stats, target, site))
    columns = (ReportColumn("file", "file"), ReportColumn("rows", "rows"))
    return Report(columns, [(str(target), len(_report(stats).rows))])


def _report(stats: Stats) -> Report:
    columns, values = list[ReportColumn](), list[Sequence[Cell]]()
    for each in stats._table_columns():  # noqa: SLF001  (ours)
        if each.kind == "time":
            zone = zone_or_utc(each.timezone)
            columns.append(ReportColumn(each.name, each.name))
            values.append([moment(value, zone) for value in each.cells])
        else:
            unit = each.about.get("unit") or BY_CODE.get(each.about.get("code") or "")
            columns.append(ReportColumn(each.name, *_titles(each.name, unit), digits=2))
            values.append(each.cells)  # type: ignore[arg-type]  # floats
    return Report(columns, [*zip(*values, strict=True)])


def _titles(name: str, unit: str | None) -> tuple[str, str]:
    """Return heading and unit of a column: `pv to home` and `kWh` of `pv_to_home_kwh`."""
    return name.replace(with_unit("", unit), "").replace("_", " "), unit or ""


def _check_codes(vrm: VRMClient, codes: Sequence[str]) -> None:
    for code in codes:
        if code not in vrm.codes:
            similar = get_close_matches(code, vrm.codes, n=5, cutoff=0.4)
            names = (
                f"similar ones are {', '.join(similar)}" if similar else "codes are short, such as bs or bv"
            )
            raise UsageError(f"VRM has no code {code!r}; {names} (upper and lower case differ)")


def _range(options: HistoryOptions, zone: tzinfo) -> TimeRange:
    """Return the range of the options; times without an offset are local times of the site.

    Raises:
        UsageError: The range is empty, or in the future.
    """
    now = SystemClock().utcnow()
    try:
        start, end = _moment("--start", options.start, zone), _moment("--end", options.end, zone)
        given = time_range(start, end, period=options.period, last=options.last, required=False)
    except ValueError as error:
        raise UsageError(str(error)) from None
    begin, _ = given.resolve(now, zone)
    if begin is not None and begin > now:
        raise UsageError(
            f"the range is in the future: it begins at {begin.astimezone(zone):%Y-%m-%d %H:%M}, "
            f"and it is {now.astimezone(zone):%Y-%m-%d %H:%M}"
        )
    return given


def _moment(option: str, text: str | None, zone: tzinfo) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"{option} must be a date or a time such as 2026-10-31 or 2026-10-31T12:00, not {text}"
        ) from None
    return moment.replace(tzinfo=zone) if moment.tzinfo is None else moment


def _target(out: str) -> Path:
    """Return the path of a file whose kind can be written.

    Raises:
        UsageError: The name ends otherwise, or an extra is not installed.
        OSError: The folder does not exist, or the path is one.
    """
    path = Path(out)
    if path.suffix.lower() not in KINDS:
        raise UsageError(
            f"--out must end in {', '.join(KINDS[:-1])} or {KINDS[-1]}, not {path.suffix or out}"
        )
    package, extra = _EXTRAS.get(path.suffix.lower(), (None, ""))
    if package is not None and find_spec(package) is None:
        raise UsageError(f"{path.suffix} needs {package}: pip install 'energy-live[{extra}]'")
    return check_target(path)


def _write(stats: Stats, path: Path, site: Site) -> None:
    match path.suffix.lower():
        case ".csv":
            stats.to_csv(path)
        case ".parquet":
            stats.to_parquet(path)
        case _:
            _write_chart(stats, path, site)


def _charted(stats: Stats) -> Sequence[str]:
    """Return the codes to draw: those with a value, without the sum that would dwarf its parts."""
    found = [each.code for each in stats if any(value is not None for value in each.value)]
    return [code for code in dict.fromkeys(found) if code != _SUM] or found


def _write_chart(stats: Stats, path: Path, site: Site) -> None:
    from matplotlib.figure import Figure  # noqa: PLC0415  (an extra)

    figure = Figure(figsize=(12, 6), layout="constrained")
    axes = figure.subplots()
    stats.plot(*_charted(stats), ax=axes)
    axes.set_title(site.name or f"site {site.id}")
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=100)
    replace_file(path, out.getvalue())
