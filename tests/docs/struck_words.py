"""Reports words in docstrings, comments and documents that paint a picture instead of naming the mechanism.

Run by `nox -s lint`: `python tests/docs/struck_words.py PATH...` prints each place and fails if there is one.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Final

STRUCK: Final = re.compile(
    r"\b(told|nobody|somebody|whoever|glanc(?:e[sd]?|ing)|mend(?:s|ed|ers?|ing)?|stir(?:s|red|ring)?|deaf"
    r"|mouths?|ow(?:e[sd]?|ing))\b",
    re.IGNORECASE,
)


def prose_of_python(text: str) -> Iterator[tuple[int, str]]:
    """Yield line numbers and lines of docstrings (also those of attributes) and comments."""
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Expr(value=ast.Constant(value=str(text_of_docstring))):
                yield from enumerate(text_of_docstring.splitlines(), node.lineno)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def struck_words(path: Path) -> Iterator[str]:
    """Yield one line for each struck word in the prose of a file."""
    text = path.read_text(encoding="utf-8")
    lines = prose_of_python(text) if path.suffix == ".py" else enumerate(text.splitlines(), 1)
    for number, line in sorted(lines):
        for found in STRUCK.finditer(line):
            yield f"{path}:{number}: {found.group()!r} in: {line.strip()}"


def files(paths: list[str]) -> Iterator[Path]:
    """Yield the Python files and documents among and below the given paths."""
    for path in map(Path, paths):
        if path.is_dir():
            yield from sorted(each for each in path.rglob("*") if each.suffix in {".py", ".md"})
        else:
            yield path


if __name__ == "__main__":
    found = [line for path in files(sys.argv[1:]) for line in struck_words(path)]
    sys.stdout.write("\n".join([*found, f"{len(found)} struck words\n"]))
    sys.exit(bool(found))
