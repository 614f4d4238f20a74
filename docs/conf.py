"""Sphinx: builds the site from docs/. `nox -s docs` builds it with warnings as errors.

Pages that are made from something else are written into docs/_made, which is not committed: the API pages
from the public names, and the tutorial from the example notebook, which is executed against the simulator.
"""

import importlib
import inspect
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from sphinx.application import Sphinx

HERE = Path(__file__).parent
ROOT = HERE.parent
MADE = HERE / "_made"
sys.path.insert(0, str(ROOT))

from tests.docs.public import MODULES, public_names  # noqa: E402  (needs the path)

METADATA = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

project = "energy-live"
author = "the energy-live contributors"
project_copyright = "the energy-live contributors"
version = release = METADATA["version"]

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.intersphinx",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
suppress_warnings = [
    "ref.python",  # `type` in an annotation: a class of Python, and a field of two models
    "misc.highlighting_failure",  # InfluxQL, and SQL with Grafana's macros, are not plain SQL
]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"energy-live {version}"
html_show_sphinx = False
html_static_path = ["_static"]
html_css_files = ["site.css"]
templates_path: list[str] = []

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4
nb_execution_mode = "force"
nb_execution_timeout = 120
nb_execution_raise_on_error = True

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
intersphinx_mapping: dict[str, tuple[str, None]] = {}  # the build needs no network


def write_api_pages() -> None:
    """Write a page for each public module, with every public name in it."""
    folder = MADE / "api"
    folder.mkdir(parents=True, exist_ok=True)
    for module in MODULES:
        about = inspect.getdoc(importlib.import_module(module)) or ""
        lines = [module, "=" * len(module), "", about, "", f".. py:currentmodule:: {module}", ""]
        for name, value in sorted(public_names(module).items()):
            if HOMES[name] != module:
                continue  # the base classes of errors, which two modules export
            kind = "class" if inspect.isclass(value) else "function" if callable(value) else "data"
            lines += [f".. auto{kind}:: {module}.{name}"]
            if kind == "class":
                lines += ["   :members:", "   :show-inheritance:"]
            lines += [""]
        write(folder / f"{module}.rst", "\n".join(lines))


def write(path: Path, text: str) -> None:
    """Write a file if its text has changed, so that Sphinx reads only what is new."""
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def link_names(*arguments: object) -> None:
    """Make `name` in a docstring a link where it is a public name, and code otherwise."""
    lines = arguments[-1]
    text = re.sub(r"(?<!`)`([^`\n]+)`(?![`_])", _link, "\n".join(lines))
    lines[:] = text.split("\n")


def _link(found: re.Match[str]) -> str:
    words = found[1]
    home = HOMES.get(words.partition(".")[0])
    return f":py:obj:`{words} <{home}.{words}>`" if home else f"``{words}``"


def write_tutorial() -> None:
    """Copy the example notebook; Sphinx executes it."""
    write(MADE / "tutorial.ipynb", (ROOT / "examples" / "notebook.ipynb").read_text(encoding="utf-8"))


def start_simulator(app: Sphinx) -> None:
    """Run the simulator until the site is built; the notebook reads its addresses from the environment."""
    command = [sys.executable, "-m", "energy_live", "simulate"]
    simulator = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    for line in simulator.stdout:
        name, _, value = line.removeprefix("export ").strip().partition("=")
        os.environ[name] = value
        if name == "VOLTSTORAGE_BASE_URL":  # the last one
            break
    app.connect("build-finished", lambda *_: simulator.terminate())


def setup(app: Sphinx) -> None:
    """Connect to Sphinx's events."""
    app.connect("autodoc-process-docstring", link_names)
    app.connect("builder-inited", start_simulator)


HOMES = {
    name: module for module in MODULES for name in public_names(module)
}  # the last one wins: energy_core.errors
write_api_pages()
write_tutorial()
