import os
import shutil
import subprocess
from pathlib import Path

import nox

nox.options.sessions = ["lint", "imports", "types", "tests", "speed", "chaos-short", "mistakes", "examples"]
nox.options.default_venv_backend = "venv"
nox.options.error_on_missing_interpreters = False

PROJECT = nox.project.load_toml("pyproject.toml")
PRISM = "@stoplight/prism-cli@5.14.2"
AXE = "axe-core@4.14.1"
CODE = (
    *("energy_core", "vrm_async", "voltstorage_async", "energy_live"),
    *("tests", "examples", "benchmarks", "docs/conf.py", "noxfile.py", "hatch_build.py"),
)

SUPPORTED = ("3.11", "3.12", "3.13")
EVERYTHING = ".[cli,arrow,mqtt,postgres,prometheus,nats]"
MISTAKES = "tests/core/test_seeded_mistakes.py"
WITH_SPEED = (
    "tests/core/test_strict_json.py",
    "tests/core/test_columns.py",
    "tests/core/test_structure.py",
    "tests/core/test_frames.py",
    "tests/core/test_connection.py",
    "tests/core/test_request_walk.py",
    "tests/core/test_printable.py",
    "tests/vrm/test_vrm_fast_answers.py",
    "tests/vrm/test_vrm_real_shapes.py",
    "tests/vrm/test_vrm_on_the_simulator.py",
    "tests/voltstorage/test_volt_fast_reader.py",
    "tests/voltstorage/test_volt_messages.py",
    "tests/voltstorage/test_volt_feed.py",
    "tests/voltstorage/test_volt_fields.py",
    "tests/live/test_demo.py",
    "tests/live/test_cli_help.py",
)
"""What the extra `speed` changes: parsers, decoders and the event loop of the commands."""
PARALLEL = ("-n", str((os.cpu_count() or 2) * 3 // 2), "--dist", "worksteal")
"""More processes than cores, because some tests wait for sockets and processes."""


LONG_FORMS = {
    "outputs": (
        ("tests/real/test_outputs_kill.py", "tests/real/test_postgres.py"),
        {"ENERGY_LIVE_KILLS": "50", "ENERGY_LIVE_OUTAGE_S": "600"},
    ),
    "realtime": (
        ("tests/chaos/test_realtime_chaos.py", "tests/real/test_realtime_faults.py"),
        {"ENERGY_LIVE_REALTIME_HOURS": "5", "ENERGY_LIVE_REALTIME_MINUTES": "20"},
    ),
    "relay": (("tests/chaos/test_relay_chain.py",), {"ENERGY_LIVE_SEEDS": "300"}),
    "cluster": (("-s", "tests/real/test_cluster.py"), {"ENERGY_LIVE_CLUSTER_S": "1200"}),
}
"""Long forms that run by their name: `nox -s chaos -- realtime`."""


def group(*names: str) -> list[str]:
    return [need for name in names for need in nox.project.dependency_groups(PROJECT, name)]


@nox.session
def lint(session: nox.Session) -> None:
    """Style, banned calls of clocks and libraries, and words that docstrings and documents avoid."""
    session.install(*group("lint"))
    session.run("ruff", "check", *CODE)
    session.run("ruff", "format", "--check", *CODE)
    session.run("python", "tests/docs/struck_words.py", *CODE, "docs", "README.md", "CHANGELOG.md")


@nox.session
def imports(session: nox.Session) -> None:
    """The walls of docs/architecture.md."""
    session.install("-e", ".[cli]", *group("imports"))
    session.run("lint-imports")


@nox.session
def types(session: nox.Session) -> None:
    """Strict types inside, and the public API as a user's type checker sees it."""
    session.install("-e", ".[cli,speed]", *group("types", "test"))
    session.run("mypy")
    session.run("mypy", "tests/typing", "examples")


@nox.session
def tests(session: nox.Session) -> None:
    """The test suite on this interpreter, without the extra `speed`."""
    session.install(".[cli]", *group("test"))
    elsewhere = ("tests/paths", "tests/chaos", "tests/real", MISTAKES)
    ignored = [f"--ignore={path}" for path in elsewhere]
    session.run("pytest", *PARALLEL, *ignored, *session.posargs)


@nox.session
def speed(session: nox.Session) -> None:
    """The tests of what the extra `speed` changes, with it."""
    session.install(".[cli,speed]", *group("test"))
    session.run("pytest", *PARALLEL, *(session.posargs or WITH_SPEED), "-q")


@nox.session
def mistakes(session: nox.Session) -> None:
    """Seeded mistakes: each is made in a copy of the code, where the named test has to fail."""
    session.install(".[cli]", *group("test"))
    session.run("pytest", MISTAKES, *session.posargs)


@nox.session
def examples(session: nox.Session) -> None:
    """Every example, the notebook and the README's own code against the simulator."""
    session.install(".[cli]", *group("test", "notebook", "types"))
    session.run("pytest", "tests/paths", *session.posargs)


@nox.session
def real(session: nox.Session) -> None:
    """Outputs, real time, the live page and the cluster against real servers and a real browser."""
    session.install(EVERYTHING, *group("real"))
    session.run("pytest", *PARALLEL, "tests/real", *session.posargs, env=axe(session))


def npm_tool(session: nox.Session, package: str, path: str) -> Path | None:
    """Install a package of the npm registry into nox's cache; return a file of it, None without npm."""
    npm, tools = shutil.which("npm"), Path(session.cache_dir, package.rpartition("/")[2]).resolve()
    file = tools / "node_modules" / path
    if npm is not None and not file.exists():
        session.run(npm, "install", "--prefix", str(tools), "--no-audit", "--no-fund", package, external=True)
    return None if npm is None else file


def axe(session: nox.Session) -> dict[str, str]:
    """Return the variable that names axe-core, which checks the page's accessibility."""
    return {"AXE": str(npm_tool(session, AXE, "axe-core/axe.min.js"))}  # without it the tests say so


def prism(session: nox.Session) -> dict[str, str]:
    """Return the variables of the mock of Victron's OpenAPI document; none where something is missing."""
    document = Path(os.environ.get("VRM_OPENAPI", ""))
    if not document.is_file():
        session.log("VRM_OPENAPI names no file: it should be Victron's OpenAPI document")
        return {}
    mock = npm_tool(session, PRISM, ".bin/prism")
    if mock is None:
        without = "npm is missing: Prism, which mocks the document, needs Node 20"
        session.error(without) if os.environ.get("CI") else session.log(without)
        return {}
    return {"VRM_OPENAPI": str(document.resolve()), "PRISM": str(mock)}


@nox.session
def pictures(session: nox.Session) -> None:
    """The pictures of the live page in docs/pictures, made of the page itself."""
    session.install(".[cli]", *group("real"))
    session.run("python", "-m", "tests.real.pictures")


@nox.session(name="tests-all", python=list(SUPPORTED))
def tests_all(session: nox.Session) -> None:
    """The test suite on every supported interpreter this machine has."""
    session.install(".[cli,speed]", *group("test", "notebook", "types"))
    session.run("pytest", *session.posargs)


@nox.session
def conformance(session: nox.Session) -> None:
    """Every operation of VRM against a mock of Victron's OpenAPI document, which VRM_OPENAPI names."""
    names = prism(session) or session.skip("there is no mock of the document")
    session.install(".", *group("test", "conformance"))
    session.run("pytest", "tests/conformance", *session.posargs, env=names)


@nox.session
def suites(session: nox.Session) -> None:
    """The sessions mistakes, chaos-short, examples, real and conformance, in one environment."""
    session.install(EVERYTHING, *group("real", "notebook", "types", "conformance"))
    session.run("pytest", MISTAKES)
    session.run("pytest", *PARALLEL, "tests/chaos")
    session.run("pytest", "tests/paths")
    session.run("pytest", *PARALLEL, "tests/real", env=axe(session))
    if names := prism(session):
        session.run("pytest", "tests/conformance", env=names)


@nox.session(name="home-assistant")
def home_assistant(session: nox.Session) -> None:
    """The MQTT output and the skeleton integration, in the newest Home Assistant for Python 3.13.0."""
    python = interpreter("3.13")
    if python is None or shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin") is None:
        session.skip("Python 3.13 or mosquitto is missing")
    own = Path(session.cache_dir, "home-assistant").resolve()
    if not (own / "bin" / "python").exists():
        session.run(python, "-m", "venv", str(own), external=True)
    pip = (str(own / "bin" / "python"), "-m", "pip", "install", "-q")
    session.run(*pip, "homeassistant==2025.4.4", "paho-mqtt==2.1.0", external=True)
    session.install(".[cli,mqtt]", *group("test"))
    names = {"HOME_ASSISTANT_PYTHON": str(own / "bin" / "python")}
    session.run("pytest", "tests/conformance/test_home_assistant.py", *session.posargs, env=names)
    # The integration needs newer versions than this release of Home Assistant pins, so it has its own.
    newer = Path(session.cache_dir, "home-assistant-newer").resolve()
    if not (newer / "bin" / "python").exists():
        session.run(python, "-m", "venv", str(newer), external=True)
        pip = (str(newer / "bin" / "python"), "-m", "pip", "install", "-q")
        session.run(*pip, "homeassistant==2025.4.4", external=True)
        session.run(*pip, "-U", "--no-deps", *PROJECT["project"]["dependencies"], "yarl", external=True)
    script = "tests/home_assistant/run_integration.py"
    where = {"PYTHONPATH": str(Path.cwd())}
    session.run(str(newer / "bin" / "python"), script, env=where, external=True)


@nox.session(name="chaos-short")
def chaos_short(session: nox.Session) -> None:
    """The short, seeded forms of the session chaos."""
    session.install(EVERYTHING, *group("real"))
    session.run("pytest", *PARALLEL, "tests/chaos", *session.posargs)


@nox.session
def chaos(session: nox.Session) -> None:
    """The long forms: 100 hours of faults, 200 kills, a week, 100,000 inputs, 500 sites; or one by name."""
    session.install(EVERYTHING, *group("real"))
    if named := [each for each in session.posargs if each in LONG_FORMS]:
        for each in named:
            files, lengths = LONG_FORMS[each]
            session.run("pytest", *files, env=lengths)
        return
    lengths = {
        "ENERGY_LIVE_SEEDS": "100",
        "ENERGY_LIVE_KILLS": "200",
        "ENERGY_LIVE_HOURS": "168",
        "ENERGY_LIVE_INPUTS": "100000",
        "ENERGY_LIVE_SITES": "500",
    }
    session.run("pytest", *PARALLEL, "tests/chaos", *session.posargs, env=lengths)
    session.run("pytest", *PARALLEL, "-m", "hypothesis", "tests", env={"ENERGY_LIVE_EXAMPLES": "400"})


@nox.session
def bench(session: nox.Session) -> None:
    """Speed beside everyone else: tables, benchmarks/results.json and docs/performance.md with its plots."""
    session.install("-e", ".[cli,speed,arrow,mqtt,postgres]", *group("bench"))
    session.run("python", "-m", "benchmarks", *session.posargs)
    if not session.posargs:
        session.run("python", "-m", "benchmarks.relaying")


@nox.session
def guard(session: nox.Session) -> None:
    """A minute of benchmarks: fails when we fall behind the bare libraries by a quarter or more."""
    session.install("-e", ".[speed]", *group("guard"))
    session.run("python", "-m", "benchmarks.guard", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation site in dist/site: warnings are errors, and the tutorial is executed."""
    session.install(".[cli]", *group("docs"))
    session.run("sphinx-build", "-W", "--keep-going", "-q", "-b", "html", "docs", "dist/site")
    session.run("python", "tests/docs/site_names.py", "dist/site/objects.inv")


def interpreter(number: str) -> str | None:
    """Return the path of a Python of this version, on PATH or from pyenv; None if there is none."""
    managed = Path.home().glob(f".pyenv/versions/{number}.*/bin/python")
    for python in (shutil.which(f"python{number}"), *map(str, sorted(managed))):
        if (
            python is not None
            and subprocess.run([python, "-V"], check=False, capture_output=True).returncode == 0
        ):
            return python
    return None


@nox.session
def package(session: nox.Session) -> None:
    """Wheel and sdist in dist/packages, checked; the demo from the wheel alone on each Python; an SBOM."""
    session.install(*group("package"))
    packages = Path("dist", "packages")
    shutil.rmtree(packages, ignore_errors=True)
    session.run("python", "-m", "build", "--outdir", str(packages))
    (wheel,) = packages.glob("*.whl")
    session.run("twine", "check", "--strict", *map(str, packages.iterdir()))
    session.run("check-wheel-contents", str(wheel))
    session.run("python", "tests/docs/wheel_readme.py", str(wheel))
    for number in SUPPORTED:
        python = interpreter(number)
        if python is None:
            session.log(f"Python {number} is not installed here")
            continue
        alone = Path(session.create_tmp(), f"alone-{number}")
        shutil.rmtree(alone, ignore_errors=True)
        session.run(python, "-m", "venv", str(alone), external=True)
        command = alone / "bin" / "pip"
        session.run(str(command), "install", "-q", f"{wheel.resolve()}[cli]", external=True)
        demo = [str((alone / "bin" / "energy-live").resolve()), "demo", "--events", "5", "--format", "jsonl"]
        with session.chdir(session.create_tmp()):  # not the checkout, whose packages would be imported
            lines = session.run(*demo, external=True, silent=True)
        assert isinstance(lines, str)
        assert lines.count('"kind":"reading"') == 5
        session.log(f"the demo of the wheel alone works on Python {number}")
        bom = ["environment", "--output-file", "dist/sbom.json", str(alone / "bin" / "python")]
        session.run("cyclonedx-py", *bom)
