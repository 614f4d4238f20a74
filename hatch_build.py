"""Build hook: the README's relative links become links to the repository, for the package index.

The address is `project.urls.Repository` of pyproject.toml, and nowhere else.
"""

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


def absolute_links(text: str, repository: str) -> str:
    """Return Markdown whose relative links and images lead to the repository's main branch."""

    def whole(found: re.Match[str]) -> str:
        kind = "raw" if found[1].startswith("!") else "blob"
        return f"{found[1]}({repository}/{kind}/main/{found[2]})"

    return re.sub(r"(!?\[[^\]]*\])\((?![a-z]+:|#)([^)\s]+)\)", whole, text)


class ReadmeHook(MetadataHookInterface):
    """Sets the metadata field `readme`."""

    PLUGIN_NAME = "custom"

    def update(self, metadata: dict[str, Any]) -> None:
        """Add the README to the project's metadata."""
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        linked = absolute_links(text, metadata["urls"]["Repository"])
        metadata["readme"] = {"content-type": "text/markdown", "text": linked}
