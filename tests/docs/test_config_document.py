import re
import tomllib
from pathlib import Path

import attrs
import pytest

from energy_live.service.config import (
    AccountSettings,
    ClusterSettings,
    OutputSettings,
    ServiceConfig,
    VoltStorageSettings,
    VrmSettings,
    _read,
    complete,
)
from energy_live.service.health import status_document
from energy_live.service.targets import TARGETS
from tests.servers.virtual_time import EPOCH

TEXT = (Path(__file__).parents[2] / "docs" / "reference" / "config.md").read_text()
TABLES = {
    "The file": ServiceConfig,
    "The table `vrm`": VrmSettings,
    "The table `voltstorage`": VoltStorageSettings,
    "The table `cluster`": ClusterSettings,
    "The array `account`": AccountSettings,
    "The array `output`": OutputSettings,
}
TYPES = {
    "str": "text",
    "float": "number",
    "int": "whole number",
    "bool": "true or false",
    "tuple[int, ...]": "list of whole numbers",
    "tuple[str, ...]": "list of texts",
    "tuple[OutputSettings, ...]": "array of tables",
    "tuple[AccountSettings, ...]": "array of tables",
}


def default_of(field):
    match field.default:
        case attrs.NOTHING:
            return "required"
        case ():
            return "`[]`"
        case bool():
            return f"`{str(field.default).lower()}`"
        case str():
            return f'`"{field.default}"`'
        case int() | float():
            return f"`{field.default}`"
    return ""


@pytest.mark.parametrize(("heading", "kind"), TABLES.items())
def test_the_page_lists_each_setting(heading, kind):
    """Each key with its type, default and the text of its docstring's beginning, and no other."""
    section = TEXT.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \| ([^|]*)\| (.+) \|$", section, re.MULTILINE)
    listed = {name: (type_, default.strip()) for name, type_, default, _ in rows}
    fields = attrs.fields(kind)
    assert listed == {each.name: (TYPES.get(each.type, "table"), default_of(each)) for each in fields}


def test_the_page_lists_each_address():
    """Every scheme of an address has a row, or is named in one."""
    section = TEXT.partition("| address | output |")[2].partition("\n\n")[0]
    assert [scheme for scheme in TARGETS if f"`{scheme}:" not in section and scheme != "postgres"] == []


def test_the_example_is_valid():
    """The file that the page shows has no mistake."""
    (example,) = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
    config = complete(_read(ServiceConfig, tomllib.loads(example), "example"), "example")
    assert [each.name for each in config.output] == ["sqlite", "postgresql"]


def test_the_page_lists_each_member_of_the_status():
    for member in status_document({}, {}, EPOCH):
        assert f"| `{member}` |" in TEXT
