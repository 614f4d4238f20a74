"""Plots of the results as reproducible SVG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks import growth
from benchmarks.restart import Outcome
from benchmarks.rounds import Table, scaled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OURS: Final = "#b4451f"
OTHERS: Final = "#8fa3ad"
_STYLE: Final = {
    "svg.hashsalt": "energy-live",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
}


def draw(tables: Sequence[Table], restarts: Sequence[Outcome], folder: Path) -> None:
    """Draw every plot into a folder."""
    import matplotlib as mpl

    mpl.use("svg")
    with mpl.rc_context(_STYLE):
        _bars(
            [t for t in tables if t.id.startswith("decoding-")],
            folder / "performance-decoding.svg",
            columns=2,
        )
        _bars(
            [t for t in tables if t.id.startswith("receiving-")],
            folder / "performance-receiving.svg",
            columns=1,
        )
        ids = ("asking-", "limiting-", "exporting-", "starting-imports")
        _bars([t for t in tables if t.id.startswith(ids)], folder / "performance-rest.svg", columns=2)
        _restart(restarts, folder / "performance-restart.svg")
        _growth([t for t in tables if t.id.startswith("growth-")], folder / "performance-growth.svg")


def _bars(tables: Sequence[Table], file: Path, *, columns: int) -> None:
    """Draw the cost of every row; whiskers are quartiles."""
    from matplotlib import pyplot as plt

    lines = -(-len(tables) // columns)
    tallest = max(len(table.rows) for table in tables)
    figure, axes = plt.subplots(
        lines, columns, figsize=(11 if columns > 1 else 8, lines * (0.7 + 0.27 * tallest)), squeeze=False
    )
    for axis in axes.flat[len(tables) :]:
        axis.set_visible(False)
    for axis, table in zip(axes.flat, tables, strict=False):
        scale, name = scaled(min(row.cost_s for row in table.rows))
        names = [row.side for row in table.rows]
        costs = [row.cost_s * scale for row in table.rows]
        spread = [
            [(row.cost_s - row.low_s) * scale for row in table.rows],
            [(row.high_s - row.cost_s) * scale for row in table.rows],
        ]
        colours = [OURS if _is_ours(side) else OTHERS for side in names]
        axis.barh(names, costs, xerr=spread, color=colours, error_kw={"linewidth": 0.8})
        for place, (cost, row) in enumerate(zip(costs, table.rows, strict=True)):
            axis.annotate(
                f" {row.ratio:.2f}x", (max(cost, row.high_s * scale), place), va="center", fontsize=8
            )
        axis.invert_yaxis()
        axis.margins(x=0.12)
        axis.set_title(table.title)
        axis.set_xlabel(f"CPU {name} per {table.unit}; x: times as fast as {table.base}", fontsize=8)
    _save(figure, file)


def _is_ours(side: str) -> bool:
    return side.startswith(("energy-live", "import vrm_async", "import voltstorage"))


def _restart(restarts: Sequence[Outcome], file: Path) -> None:
    """Draw the 429s and the used share of the rate limit, for both readings of the rule."""
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(11, 2.4), sharey=True)
    clients = list(dict.fromkeys(each.client for each in restarts))
    for shift, refused_count, hatch in ((-0.2, False, ""), (0.2, True, "///")):
        found = [each for each in restarts if each.refused_count is refused_count]
        places = [clients.index(each.client) + shift for each in found]
        colours = [OURS if _is_ours(each.client) else OTHERS for each in found]
        label = "refused requests count too" if refused_count else "only accepted requests count"
        style: dict[str, Any] = {"height": 0.38, "color": colours, "hatch": hatch, "edgecolor": "white"}
        axes[0].barh(places, [max(each.refusals, 1) for each in found], label=label, **style)
        axes[1].barh(places, [each.used * 100 for each in found], label=label, **style)
    axes[0].set_xscale("log")
    axes[0].set_yticks(range(len(clients)), clients)
    axes[0].invert_yaxis()
    axes[0].set_title("429s in half an hour after a restart")
    axes[1].set_title("Allowance used, %")
    figure.legend(
        *axes[1].get_legend_handles_labels(), loc="lower center", ncols=2, frameon=False, fontsize=8
    )
    figure.subplots_adjust(bottom=0.3)
    _save(figure, file)


def _growth(tables: Sequence[Table], file: Path) -> None:
    """Draw the cost of a unit at 1x, 10x and 100x."""
    from matplotlib import pyplot as plt

    figure, axis = plt.subplots(figsize=(8, 3.2))
    for table in tables:
        _line(axis, table, table.title.removeprefix("Growth: "))
    axis.axhspan(0, 1.1, color=OTHERS, alpha=0.15, linewidth=0)
    axis.set_xscale("log")
    axis.set_xticks(growth.SIZES, [f"{size}x" for size in growth.SIZES])
    axis.minorticks_off()
    axis.set_ylim(bottom=0)
    axis.set_title("CPU of a unit, relative to the smallest size")
    axis.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    _save(figure, file)


def _line(axis: Axes, table: Table, label: str) -> None:
    rows = table.rows[: len(growth.SIZES)]  # the other rows are not ours
    axis.plot(growth.SIZES, [row.cost_s / rows[0].cost_s for row in rows], marker="o", label=label)


def _save(figure: Any, file: Path) -> None:
    from matplotlib import pyplot as plt

    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None, "Creator": None}, bbox_inches="tight")
    plt.close(figure)
    lines = file.read_text(encoding="utf-8").splitlines()
    file.write_text("\n".join(line.rstrip() for line in lines) + "\n", encoding="utf-8")
