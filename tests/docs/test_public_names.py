"""What programs outside this repository may import."""

import ast
import importlib
import inspect
import re
import sys
import typing
from pathlib import Path

import attrs
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from matplotlib.axes import Axes

import vrm_async.operations
from tests.docs.public import MODULES, all_public, public_names

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "public-names.md"
OURS = ("energy_core", "vrm_async", "voltstorage_async")
CONTRACT = {
    "energy_core": ["SessionPool", "RateLimit", "merge", "Event", "Quantity", "EnergyError"],
    "vrm_async": ["VRMClient"],
    "voltstorage_async": ["VoltStorageClient", "Endpoints", "FieldMap"],
}
AT_MOST = {"energy_core": 36, "vrm_async": 25, "voltstorage_async": 25}

MADE_BY_US = {
    "Attributes",
    "Batches",
    "Download",
    "ExportRows",
    "FleetSites",
    "MergedStream",
    "Pages",
    "ProductSnapshot",
    "ProductSource",
    "ProductStream",
    "RealtimeSource",
    "ServiceAccount",
    "SiteSnapshot",
    "StatsHistory",
    "Subscription",
    "TimeOrdered",
}
"""Classes whose constructors are internal: users get their objects from methods."""

FOR_CHECKERS = {"operations": vrm_async.operations, "Axes": Axes, "pa": pa, "pd": pd, "pl": pl}
"""Names in annotations that are imported for type checkers only."""

INTERNAL = {
    "FieldMap.event_reader",
    "FieldMap.fast_readers",
    "FieldMap.row_reader",
    "ServiceAccount.budget",
}
"""Attributes that only this library uses."""


@pytest.mark.parametrize("module", MODULES)
def test_the_page_lists_the_public_names(module):
    """docs/reference/public-names.md names each public name once, under its module, and no other."""
    _, _, section = PAGE.read_text(encoding="utf-8").partition(f"\n## {module}\n")
    section = section.partition("\n## ")[0]
    assert sorted(re.findall(r"`(\w+)`", section)) == sorted(public_names(module))


@pytest.mark.parametrize(("package", "names"), CONTRACT.items())
def test_the_names_others_rely_on_are_public(package, names):
    """The names of the published contract are exported, and a root stays short."""
    exported = importlib.import_module(package).__all__
    assert set(names) <= set(exported)
    assert len(exported) <= AT_MOST[package]


def test_a_public_name_is_in_one_module_only():
    """Except the base classes of errors, which the root of `energy_core` has too."""
    homes = {}
    for module in MODULES:
        for name in public_names(module):
            homes.setdefault(name, []).append(module)
    twice = {name for name, modules in homes.items() if len(modules) > 1}
    assert twice == {"EnergyError", "RequestError", "StreamError"}


def members(kind):
    """Return the public members of a class, and its constructor unless only this library calls it."""
    for base in kind.__mro__:
        if base.__module__.split(".")[0] not in OURS:
            continue
        yield from hints(base).items()
        for name, member in vars(base).items():
            if name.startswith("_") and (name != "__init__" or kind.__name__ in MADE_BY_US):
                continue
            method = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
            if inspect.isfunction(method):
                yield from ((name, hint) for hint in hints(inspect.unwrap(method)).values())


def hints(of):
    """Return the annotations of a class or function; some types are imported for type checkers only."""
    known = vars(sys.modules[of.__module__]) | all_public() | FOR_CHECKERS
    return typing.get_type_hints(of, localns=known)


def classes_in(hint):
    """Return the classes of this library in a type."""
    for part in hint if isinstance(hint, list | tuple) else [hint]:
        yield from classes_in(typing.get_args(part)) if typing.get_args(part) else ()
        found = typing.get_origin(part) or part
        if inspect.isclass(found) and found.__module__.split(".")[0] in OURS:
            yield found


@pytest.mark.parametrize("module", MODULES)
def test_every_type_of_a_public_signature_is_public(module):
    """Parameters, results and attributes of public classes and functions."""
    public = set(map(id, all_public().values()))
    hidden = {
        f"{name}.{member}: {kind.__qualname__}"
        for name, value in public_names(module).items()
        for member, hint in (members(value) if inspect.isclass(value) else functions(value))
        if not member.startswith("_") or member == "__init__"
        for kind in classes_in(hint)
        if id(kind) not in public and f"{name}.{member}" not in INTERNAL
    }
    assert hidden == set()


NOT_TUNING = {"first", "instance", "priority", "revision"}
"""Parameters with a number as default that only say what is meant."""


def test_few_tuning_numbers_are_in_public_signatures():
    """At most twelve, counted by name; the others are fields of `RateLimit`, `Timeouts` and the like."""
    numbers = set()
    for module in set(MODULES) - {"energy_core.http"}:
        for value in public_names(module).values():
            for member in [value, *vars(value).values()] if inspect.isclass(value) else [value]:
                function = getattr(member, "__func__", member)
                if inspect.isfunction(function) and not (
                    attrs.has(value) and function.__name__ == "__init__"
                ):
                    parameters = inspect.signature(function).parameters.values()
                    numbers |= {each.name for each in parameters if type(each.default) in (int, float)}
    assert len(numbers - NOT_TUNING) <= 12, numbers


def test_a_class_name_exists_once():
    """In the whole distribution, except that the simulator has counterparts of the vendors' models.

    Each vendor also calls its resource for tokens `Auth`.
    """
    homes = {}
    for package in (*OURS, "energy_live"):
        for path in sorted((ROOT / package).rglob("*.py")):
            if "simulator" not in path.parts:
                for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                    if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                        homes.setdefault(node.name, []).append(path)
    assert {name for name, paths in homes.items() if len(paths) > 1} <= {"Auth"}


def functions(value):
    """Return the parameters and the result of a function; nothing of a constant."""
    return hints(value).items() if inspect.isfunction(value) else ()
