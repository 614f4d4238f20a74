"""docs/how-to/own-output.md: its output runs as printed, and is short."""

import ast
import asyncio

from tests.paths.snippets import document, snippets_of
from tests.servers.real_programs import until
from tests.servers.scripted_sources import Script

PAGE = document("docs/how-to/own-output.md")


def test_an_output_has_less_than_forty_lines():
    (snippet,) = snippets_of(PAGE)
    (found,) = [node for node in ast.walk(ast.parse(snippet)) if isinstance(node, ast.ClassDef)]
    assert found.end_lineno - found.lineno + 1 < 40


async def test_the_page_runs_as_printed(tmp_path, monkeypatch):
    """It writes the chosen readings, saves its position, and closes the file."""
    monkeypatch.chdir(tmp_path)
    (snippet,) = snippets_of(PAGE)
    names = {}
    exec(compile(snippet, "own-output.md", "exec"), names)

    async def play(pen):
        pen.read(130)
        await asyncio.sleep(1e6)

    task = asyncio.create_task(names["run"]([Script("a", play)]))
    file = tmp_path / "energy.csv"
    await until(lambda: file.exists() and len(file.read_text().splitlines()) == 3, 60)
    await until((tmp_path / "csv.json").exists, 60)
    task.cancel()
    await asyncio.wait({task})
    rows = [line.split(",") for line in file.read_text().splitlines()]
    assert [(row[2], row[3], row[5]) for row in rows] == [
        ("pv_power", "1.0", "a-1"),
        ("pv_power", "60.0", "a-60"),
        ("pv_power", "120.0", "a-120"),
    ]
