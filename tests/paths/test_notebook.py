"""The notebook runs from its first cell to its last in a real kernel, against the simulator."""

import asyncio
import os
import sys
from base64 import b64decode
from pathlib import Path

import nbformat
import pytest

from energy_live.simulator import Simulator

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "examples" / "notebook.ipynb"

# nbclient has its own event loop and warning filters, so it runs in its own process.
EXECUTE = """
import sys, nbformat
import matplotlib.font_manager  # builds its cache, which the kernel would report
from nbclient import NotebookClient
notebook = nbformat.read(sys.argv[1], as_version=4)
NotebookClient(notebook, timeout=30, kernel_name="python3").execute()
nbformat.write(notebook, sys.argv[2])
"""


@pytest.fixture
async def executed(tmp_path):
    """The notebook with the outputs of a run."""
    foreign = {
        name: value for name, value in os.environ.items() if not name.startswith(("VRM_", "VOLTSTORAGE_"))
    }
    async with Simulator(speed=60.0, frame_s=0.1) as simulator:
        # Only this interpreter's kernel, even if the user has installed others.
        jupyter = {
            "JUPYTER_PATH": str(Path(sys.prefix) / "share" / "jupyter"),
            "JUPYTER_DATA_DIR": str(tmp_path),
        }
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", EXECUTE, str(NOTEBOOK), str(tmp_path / "executed.ipynb")),
            env=foreign | jupyter | {"PYTHONPATH": str(ROOT)} | simulator.environment(),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            said, _ = await asyncio.wait_for(process.communicate(), 60)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    assert process.returncode == 0, said.decode()
    return nbformat.read(tmp_path / "executed.ipynb", as_version=4)


def printed(cell):
    return "".join(output.get("text", "") for output in cell.outputs)


async def test_the_notebook_runs(executed):
    """Every cell runs with plain top-level await; it shows the sites, eight readings and a table."""
    cells = [cell for cell in executed.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not [output for cell in cells for output in cell.outputs if output.output_type == "error"]
    assert not [output for cell in cells for output in cell.outputs if output.get("name") == "stderr"]
    sites, stream, table = cells[1], printed(cells[2]), printed(cells[3])
    assert "Elm Street 12" in sites.outputs[0]["data"]["text/plain"]
    assert len(stream.splitlines()) == 8
    assert {"vrm/", "voltstorage/"} == {vendor for vendor in ("vrm/", "voltstorage/") if vendor in stream}
    assert len(table.splitlines()) == 9
    assert " W" in table


async def test_the_notebook_shows_tables_and_charts(executed):
    """The list of sites and the days as tables, also as a frame; two charts as pictures of some size."""
    outputs = {
        cell.id: cell.outputs[0]["data"]
        for cell in executed.cells
        if cell.id.endswith(("-table", "-frame", "-chart"))
    }
    assert "<td>Elm Street 12</td>" in outputs["sites-table"]["text/html"]
    days = outputs["days-table"]["text/html"]
    assert "<th>pv_to_home_kwh</th>" in days
    assert "31 rows; times in Europe/Amsterdam" in days
    assert "<th>total</th>" in days
    assert "pv_to_home_kwh" in outputs["days-frame"]["text/html"]
    for chart in ("hours-chart", "battery-chart"):
        picture = b64decode(outputs[chart]["image/png"])
        assert picture.startswith(b"\x89PNG")
        assert len(picture) > 10_000


def test_the_notebook_is_kept_without_outputs():
    """The committed notebook has no outputs, no execution counts and no event loop wrapper."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)
    assert any("await " in cell.source for cell in code)
    assert not any(
        word in cell.source for cell in code for word in ("asyncio", "nest_asyncio", "run_until_complete")
    )
