"""Runs a command that prints a report."""

from __future__ import annotations

from collections.abc import Coroutine

from energy_live.reports.table import Report, write_report
from energy_live.runner import INTERRUPTED, USAGE, UsageError, print_error, run


def run_report(work: Coroutine[object, object, Report], form: str) -> int:
    """Run a command, print its report on stdout and what could not be read on stderr.

    The report is printed after the event loop has ended, so that Ctrl-C also ends a print to a full pipe.

    Args:
        work: Makes the report.
        form: `table`, `json` or `csv`.

    Returns:
        The exit code: 0; 1 if the command failed or a part could not be read; 2 for wrong options; 130 after
        Ctrl-C.
    """
    made = list[Report]()

    async def collect() -> None:
        made.append(await work)

    code = run(collect())
    if not made or code == INTERRUPTED:
        return code
    (report,) = made
    try:
        write_report(report, form)
    except BrokenPipeError:
        return 0  # the reader of stdout has closed it, as `head` does
    except UsageError as error:
        return print_error(error, USAGE)
    except OSError as error:
        return print_error(error.strerror or error)
    for problem in report.problems:
        print_error(f"not read: {problem}")
    return report.exit_code
