"""Extracts the code blocks of a document and runs them as printed."""

from __future__ import annotations

import ast
import asyncio
import re
from pathlib import Path
from types import CodeType

ROOT = Path(__file__).parents[2]


class Enough(Exception):
    """Raised by a test's object inside a snippet to end it."""


def document(name: str) -> str:
    return (ROOT / name).read_text()


def snippets_of(text: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def compiled(snippet: str, name: str = "snippet") -> CodeType:
    whole = snippet.replace("asyncio.run(main())", "await main()")
    return compile(whole, name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


async def run(snippet: str, names: dict[str, object]) -> None:
    """Run a snippet with `names` defined; its own definitions are added to `names`."""
    code = eval(compiled(snippet), names)
    if asyncio.iscoroutine(code):
        await code
