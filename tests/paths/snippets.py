"""The code in a document, and how it is run as printed."""

from __future__ import annotations

import ast
import asyncio
import re
from pathlib import Path
from types import CodeType

ROOT = Path(__file__).parents[2]


class Enough(Exception):
    """Thrown by what a test put into a snippet, once that has shown what it promises."""


def document(name: str) -> str:
    return (ROOT / name).read_text()


def snippets_of(text: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def compiled(snippet: str, name: str = "snippet") -> CodeType:
    whole = snippet.replace("asyncio.run(main())", "await main()")
    return compile(whole, name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


async def run(snippet: str, names: dict[str, object]) -> None:
    """Run a snippet, with these names known to it; what it defines is in `names` afterwards."""
    code = eval(compiled(snippet), names)
    if asyncio.iscoroutine(code):
        await code
