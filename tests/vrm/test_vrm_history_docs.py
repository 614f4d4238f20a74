"""The blocks of docs/vrm-history.md run as printed, in one client, one after the other."""

import ast
import asyncio
import io
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from energy_live.simulator import Simulator
from vrm_async import VRMClient

PAGE = (Path(__file__).parents[2] / "docs" / "vrm-history.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


async def test_every_block_of_the_page_runs(tmp_path):
    """They print what the text around them describes: chunks, rows, tables, attributes and files."""
    shown = io.StringIO()
    async with (
        Simulator(speed=1.0, start=datetime(2026, 11, 1, tzinfo=UTC)) as simulator,
        VRMClient(token=simulator.vrm_token, base_url=simulator.vrm_url) as vrm,
        asyncio.timeout(30),
    ):
        names = {"vrm": vrm, "site_id": simulator.site_ids[0], "folder": tmp_path}
        names["print"] = lambda *values: print(*values, file=shown)
        for block in BLOCKS:
            code = compile(block, "vrm-history.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            running = eval(code, names)
            if asyncio.iscoroutine(running):
                await running
    text = shown.getvalue()
    assert "False kWh 744" in text
    assert "23.0 " in text
    assert "pv_to_battery_kwh" in text
    assert "'tx', 'rx'" in text
    assert {path.name for path in tmp_path.iterdir()} == {
        *("log.csv", "track.kml", "sites.xlsx"),
        *("may.csv", "may.parquet"),
    }


@pytest.mark.parametrize("word", ["history", "rows", "checkpoint", "catalogue", "downloads", "polars"])
def test_the_page_shows_what_it_describes(word):
    """Every part of the page has a block that uses it."""
    assert any(word in block for block in BLOCKS)
