"""docs/vrm.md and the code say the same."""

import ast
import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest

import vrm_async
from energy_core.http.operation import Operation
from vrm_async import VRMClient
from vrm_async.resources import widgets

DOCS = (Path(__file__).parents[2] / "docs" / "vrm.md").read_text()
ROW = re.compile(r"^\| ([\w.]+) \| `(\w+) ([^`]+)` \| ([^|]+) \| `([^`]+)` \|$", re.MULTILINE)
ROWS = ROW.findall(DOCS)
AGAIN = {"yes": {True}, "no": {False}, "yes, with a one-time code no": {True, False}}


def declared():
    """Every operation of the package, and whether it may be repeated."""
    found = {}
    for module in pkgutil.walk_packages(vrm_async.__path__, "vrm_async."):
        for value in vars(importlib.import_module(module.name)).values():
            if isinstance(value, Operation):
                found.setdefault((value.name, value.method, value.path), set()).add(value.repeatable)
    return found


def test_every_operation_has_a_row():
    """Name, method, path and whether it is retried equal the code."""
    documented = {(name, method, path): AGAIN[again] for name, method, path, again, _ in ROWS}
    assert documented == declared()


@pytest.mark.parametrize("example", sorted({row[-1] for row in ROWS}))
async def test_every_example_fits_its_method(example):
    """The method exists on the client and takes these arguments."""
    expression = ast.parse(example, mode="eval").body
    call = expression.value if isinstance(expression, ast.Await) else expression
    assert isinstance(call, ast.Call)
    async with VRMClient(token="x") as client:
        target: object = client
        for name in ast.unparse(call.func).split(".")[1:]:
            target = getattr(target, name)
        named = {word.arg: None for word in call.keywords}
        inspect.signature(target).bind(*call.args, **named)
        returned = inspect.signature(target).return_annotation
        lists = re.match(r"Pages\[|FleetSites", returned) is not None
        assert (inspect.iscoroutinefunction(target) or lists) == isinstance(expression, ast.Await)


def test_the_documented_panels_are_listed():
    """The two tables of names equal the code."""
    rows = re.findall(r"^\| (\w+) \| (state|summary) \| (.+) \|$", DOCS, re.MULTILINE)
    documented = {
        kind: {name: shows for name, of, shows in rows if of == kind} for kind in ("state", "summary")
    }
    assert documented == {"state": dict(widgets.STATES), "summary": dict(widgets.SUMMARIES)}


def test_an_operation_that_writes_is_never_repeatable():
    """GET and the read-only POSTs apart, everything is declared unrepeatable; so is the GET that revokes."""
    reading_posts = {"users.site_id", "fleet.overview", "downloads.overview", "auth.login"}
    for (name, method, path), repeatable in declared().items():
        if method == "GET" and not path.endswith(("revoke", "logout")) and name != "downloads.data_by_mail":
            assert repeatable == {True}, name
        elif name not in reading_posts:
            assert repeatable == {False}, name
