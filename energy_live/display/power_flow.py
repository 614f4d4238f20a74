"""A picture of a home's power in box characters: solar, battery, home and grid, with watts and directions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from rich.text import Text

from energy_core import Quantity

_INSIDE: Final = 18
"""Width inside a box."""
_BOX: Final = _INSIDE + 2
_LINK: Final = 5
"""Width between two boxes."""
WIDTH: Final = 3 * _BOX + 2 * _LINK
HEIGHT: Final = 9
"""Lines of a picture with a solar box and a blank line below."""
IDLE_W: Final = 5.0
"""Smaller powers flow in no direction: meters show a few watts of noise."""

_SOLAR: Final = "yellow"
_BATTERY: Final = "green"
_HOME: Final = "cyan"
_GRID: Final = "magenta"


def power_flow(values: Mapping[Quantity, float]) -> list[Text]:
    """Return the lines of the picture; empty if there is nothing to connect.

    A part without a value is not drawn. The home is drawn with its consumption, if that is known.

    Args:
        values: The present values of one home.
    """
    solar, grid = values.get(Quantity.PV_POWER), values.get(Quantity.GRID_POWER)
    battery, home = values.get(Quantity.BATTERY_POWER), values.get(Quantity.CONSUMPTION_POWER)
    if solar is None and grid is None and battery is None:
        return []
    soc = values.get(Quantity.BATTERY_SOC)
    left: list[Text] = [Text(" " * (_BOX + _LINK))] * 4
    right: list[Text] = [Text("")] * 4
    if battery is not None:
        title = "battery" if soc is None else f"battery {soc:.1f} %"
        box = _box(title, _flow(battery, "charging", "discharging"), _BATTERY)
        left = _joined(box, _link(battery, _BATTERY))
    if grid is not None:
        box = _box("grid", _flow(grid, "importing", "feeding in"), _GRID)
        right = _joined(_link(grid, _GRID), box)
    middle = _box("home", ["", "" if home is None else _watts(home)], _HOME)
    above = [] if solar is None else _solar(solar)
    return [*above, *_joined(left, middle, right), Text("")]


def _solar(power: float) -> list[Text]:
    indent = Text(" " * (_BOX + _LINK))
    box = _box("solar", [_watts(power)], _SOLAR)
    arrow = Text(("▼" if power >= IDLE_W else "│").center(_BOX), style=_SOLAR)
    return [indent + line for line in (*box, arrow)]


def _box(title: str, texts: Sequence[str], style: str) -> list[Text]:
    top = f"┌─ {title} ".ljust(_BOX - 1, "─") + "┐"
    return [
        Text(top, style=style),
        *(Text.assemble(("│", style), f"{text[:_INSIDE]:^{_INSIDE}}", ("│", style)) for text in texts),
        Text("└" + "─" * _INSIDE + "┘", style=style),
    ]


def _link(power: float, style: str) -> list[Text]:
    """Return the lines between two boxes.

    Positive power flows to the left at both of them: from the home to the battery, and from the grid to the
    home.
    """
    arrow = " ─── " if abs(power) < IDLE_W else " ◀── " if power > 0 else " ──▶ "
    blank = Text(" " * _LINK)
    return [blank, blank, Text(arrow, style=style), blank]


def _flow(power: float, positive: str, negative: str) -> tuple[str, str]:
    """Return the direction of a power, and its size."""
    if abs(power) < IDLE_W:
        return "idle", _watts(0.0)
    return positive if power > 0 else negative, _watts(abs(power))


def _watts(power: float) -> str:
    return f"{round(power) or 0:,} W"


def _joined(*parts: Sequence[Text]) -> list[Text]:
    return [Text.assemble(*line) for line in zip(*parts, strict=True)]
