"""VRM's OpenAPI document, with the schema errors corrected that keep Prism from validating bodies."""

from __future__ import annotations

import json
from pathlib import Path

NOT_TYPES = {"list": "array"}


def read(document: Path) -> object:
    """Read the document as JSON with corrected schemas."""
    import yaml  # noqa: PLC0415  (only the session `conformance` installs it)

    found = json.loads(json.dumps(yaml.safe_load(document.read_text()), default=str))
    mend(found)
    return found


def mend(node: object) -> None:
    """Correct a schema in place: Prism skips invalid ones, such as a member's `required: true`."""
    if isinstance(node, list):
        for item in node:
            mend(item)
    if not isinstance(node, dict):
        return
    for item in node.values():
        mend(item)
    if isinstance(node.get("type"), str):
        node["type"] = NOT_TYPES.get(node["type"], node["type"])
    properties = node.get("properties")
    if isinstance(properties, dict) and all(isinstance(each, dict) for each in properties.values()):
        said = {
            name: each.pop("required")
            for name, each in properties.items()
            if type(each.get("required")) is bool
        }
        if wanted := [name for name in said if said[name]]:
            node["required"] = sorted({*node.get("required", ()), *wanted})
