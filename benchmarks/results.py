"""Results as JSON: written by a run, read by the guard."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from benchmarks.restart import Outcome
from benchmarks.rounds import ROOT, Row, Table
from benchmarks.targets import targets

FILE: Final[Path] = ROOT / "benchmarks" / "results.json"
_LIBRARIES: Final = (
    *("aiohttp", "aiolimiter", "attrs", "msgspec", "orjson", "pydantic", "pyrate-limiter", "victron-vrm"),
    *("uvloop", "websockets"),
)


def machine() -> dict[str, str]:
    """Return the interpreter, the number of cores and the versions of the libraries."""
    libraries = ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return {"python": python, "cores": str(os.cpu_count()), "libraries": libraries}


class Results(NamedTuple):
    """All results of a run."""

    tables: Sequence[Table] = ()
    restarts: Sequence[Outcome] = ()
    guarded: Mapping[str, float] = MappingProxyType({})


def write(found: Results) -> None:
    """Write the results, rounded, with the targets if all of them can be judged."""
    judged = []
    with suppress(LookupError, ValueError):
        judged = targets(found.tables, found.restarts)
    document = {
        "machine": machine(),
        "targets": [{**each._asdict(), "met": each.met} for each in judged],
        "guard": dict(found.guarded),
        "tables": [
            {
                **table._asdict(),
                "rows": [{**row._asdict(), "facts": dict(row.facts)} for row in table.rows],
                "profile": dict(table.profile),
            }
            for table in found.tables
        ],
        "restart": [each._asdict() for each in found.restarts],
    }
    FILE.write_text(json.dumps(_rounded(document), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read() -> Results:
    """Return the stored results, or an empty mapping."""
    if not FILE.exists():
        return Results()
    document = json.loads(FILE.read_text(encoding="utf-8"))
    tables = [
        Table(**{**table, "rows": tuple(Row(**row) for row in table["rows"])}) for table in document["tables"]
    ]
    return Results(tables, [Outcome(**each) for each in document["restart"]], document["guard"])


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list | tuple) else value
