"""The measured parts of docs/performance.md and docs/performance-details.md.

They lie between two marks; the rest of the pages is written by hand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from benchmarks.growth import ALONE
from benchmarks.restart import Outcome
from benchmarks.rounds import ROOT, Row, Table, scaled
from benchmarks.targets import Target, shown

SUMMARY: Final = ROOT / "docs" / "performance.md"
DETAILS: Final = ROOT / "docs" / "performance-details.md"
BEGIN: Final = "<!-- measured: written by `python -m benchmarks`, not by hand -->"
END: Final = "<!-- end of what was measured -->"

LEAST: Final = 0.02
"""Smaller shares of the time are summed up as the rest."""

_CHAPTERS: Final = (
    ("Decoding", "decoding-", "performance-decoding.svg"),
    ("Receiving", "receiving-", "performance-receiving.svg"),
    ("Limits", "limiting-", "performance-restart.svg"),
    ("Requests, exports, imports", ("asking-", "exporting-", "starting-"), "performance-rest.svg"),
    ("Growth", "growth-", "performance-growth.svg"),
    ("Outputs", "storing-", ""),
)


def write(
    tables: Sequence[Table], restarts: Sequence[Outcome], judged: Sequence[Target], machine: Mapping[str, str]
) -> None:
    """Write the results into the pages.

    Raises:
        ValueError: a page lacks the marks.
    """
    line = f"Measured with {machine['python']} on {machine['cores']} cores; {machine['libraries']}."
    _replace(SUMMARY, [line, "", *_targets(judged)])
    _replace(DETAILS, [line, *_details(tables, restarts, judged)])


def _replace(page: Path, lines: Sequence[str]) -> None:
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page.name} has no place for results: it needs both marks")
    measured = "\n".join(lines)
    page.write_text(f"{before}{BEGIN}\n\n{measured}\n\n{END}{after}", encoding="utf-8")


def _targets(judged: Sequence[Target]) -> list[str]:
    lines = ["## Targets", "", "| | target | measured | wanted | |", "|---|---|---|---|---|"]
    for each in judged:
        sign = "≤" if each.at_most else "≥"
        wanted = f"{sign} {shown(each.wanted, each.unit)}"
        measured = shown(each.measured, each.unit)
        verdict = "pass" if each.met else "**miss**"
        lines.append(f"| {each.number} | {each.what} | {measured} | {wanted} | {verdict} |")
    return lines


def _details(tables: Sequence[Table], restarts: Sequence[Outcome], judged: Sequence[Target]) -> list[str]:
    lines = _where(tables, judged)
    for title, ids, plot in _CHAPTERS:
        lines += ["", f"## {title}", "", *([f"![{title}]({plot})", ""] if plot else [])]
        for table in tables:
            if table.id.startswith(ids):
                lines += [*_table(table), ""]
        if title == "Limits":
            lines += _restarts(restarts)
    return lines


def _where(tables: Sequence[Table], judged: Sequence[Target]) -> list[str]:
    """Return, for each missed target, a table of the time by file."""
    missed: dict[str, list[str]] = {}
    for each in judged:
        if not each.met:
            missed.setdefault(each.table, []).append(each.what)
    found = [(table, missed[table.id]) for table in tables if table.id in missed and table.profile]
    if not found:
        return []
    lines = ["", "## Where the time goes", ""]
    lines += [
        "For each missed target: the share of each file of ours (with `[speed]`), by sampling;",
        "C functions count for their caller. For an import: the share of each package's own code.",
        "",
    ]
    for table, what in found:
        lines += [f"**{table.title}** ({'; '.join(what)}):", *_alone(table), ""]
        lines += ["| where | share |", "|---|---|"]
        lines += [f"| {file} | {share:.0%} |" for file, share in table.profile.items() if share >= LEAST]
        lines += [""]
    return lines


def _alone(table: Table) -> list[str]:
    """Return the growth of the parser alone, where it was measured too."""
    alone = [row for row in table.rows if row.side.endswith(ALONE)]
    if not alone:
        return []
    costs = [row.cost_s for row in alone]
    worst = max(costs[1] / costs[0], costs[2] / costs[1])
    return [f"the parser alone, which has nothing else to do, takes {worst:.2f} times as long for a unit."]


def _table(table: Table) -> list[str]:
    scale, name = scaled(min(row.cost_s for row in table.rows))
    head = f"| {table.title} | CPU {name} per {table.unit} | quartiles | times as fast | |"
    lines = [head, "|---|---|---|---|---|"]
    for row in table.rows:
        cost, low, high = (f"{value * scale:,.3g}" for value in (row.cost_s, row.low_s, row.high_s))
        ratio = f"{row.ratio:.2f}x ({row.ratio_low:.2f}..{row.ratio_high:.2f})"
        lines.append(f"| {row.side} | {cost} | {low} .. {high} | {ratio} | {_facts(row)} |")
    return lines


def _facts(row: Row) -> str:
    told = (
        ("events_per_s", "{:,.0f} events/s"),
        ("rss_kb_per_socket", "{:.0f} kB a socket"),
        ("values_per_s", "{:,.0f} values/s"),
        ("held_kb", "{:,.0f} kB held"),
        ("virtual_s", "{:.1f} s until all had passed"),
    )
    return ", ".join(form.format(row.facts[name]) for name, form in told if row.facts.get(name))


def _restarts(restarts: Sequence[Outcome]) -> list[str]:
    head = "| restart on a used quota, half an hour, 500 sites a minute | rule | 429s | polls lost | used |"
    lines = [head, "|---|---|---|---|---|"]
    for each in restarts:
        rule = "refused requests count too" if each.refused_count else "only accepted ones count"
        lines.append(f"| {each.client} | {rule} | {each.refusals:,} | {each.lost:,} | {each.used:.1%} |")
    return lines
