"""The pages about InfluxDB, Prometheus and Parquet, as printed, with real programs and a simulated home."""

import asyncio
import json
import re
import shlex
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT
from contextlib import asynccontextmanager
from urllib.parse import urlencode

import duckdb
import pytest

from tests.paths.snippets import ROOT, document
from tests.servers.command_line import environment
from tests.servers.real_databases import answers, fetch, influxdb
from tests.servers.real_programs import RealProgram, free_port, need_program, until

NAMES = ("influxdb-and-grafana", "prometheus", "parquet-and-duckdb")
PAGES = {name: document(f"docs/how-to/{name}.md") for name in NAMES}


def blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", PAGES[page], re.DOTALL)


def commands(page):
    return re.search(r"```sh\n(.*?)```", document(f"docs/how-to/{page}.md"), re.DOTALL)[1].splitlines()


def queries_of_dashboard(name, key):
    board = json.loads((ROOT / "examples/grafana" / name).read_text())
    panels = [target[key] for panel in board["panels"] for target in panel["targets"]]
    return [*panels, *(each["query"] for each in board["annotations"]["list"])]


@asynccontextmanager
async def service(page, folder, replace):
    """Run the page's command on the simulated household."""
    (line,) = [each for each in commands(page) if each.startswith("energy-live")]
    command = [replace(each) for each in shlex.split(line)[1:]]
    extra = ["--demo", "--state", str(folder / "state"), "--health", f"127.0.0.1:{free_port()}"]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "energy_live", *command, *extra, env=environment(), stdout=PIPE, stderr=STDOUT
    )
    try:
        yield
        process.send_signal(signal.SIGTERM)
        said, _ = await asyncio.wait_for(process.communicate(), 60)
        assert (said.decode(), process.returncode) == ("", 0)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_one_screen_and_its_links_exist(page):
    """At most sixty lines; each link leads to a file."""
    assert len(PAGES[page].splitlines()) <= 60
    for link in re.findall(r"\]\((?!https)([^)#]+)", PAGES[page]):
        assert (ROOT / "docs/how-to" / link).exists(), link


async def test_influxdb_and_grafana(tmp_path):
    """The command fills the database; the queries of the page are the dashboard's, and are answered."""
    page = "influxdb-and-grafana"
    queries = [" ".join(each.split()) for each in blocks(page, "sql")[0].split(";")]
    assert queries == queries_of_dashboard("influxdb.json", "query")
    async with influxdb(tmp_path / "db") as server:
        created = re.search("'q=(.*)'", PAGES[page])[1]
        server.query(created, "")
        address = server.url.removeprefix("http://")
        async with service(page, tmp_path, lambda each: each.replace("127.0.0.1:8086", address)):
            await until(lambda: server.query("SELECT last(pv_energy) FROM energy WHERE vendor =~ /-energy$/"))
            # The clock of the simulated household is hours ahead.
            today = "time > now() - 1d AND time < now() + 1d"
            for number, query in enumerate(queries):
                found = server.query(query.replace("$timeFilter", today).replace("$__interval", "1m"))
                assert found or number > 1, query  # a second day and a gap take longer


async def test_prometheus(tmp_path):
    """Prometheus accepts the page's files and scrapes the service; every query has an answer."""
    page, port, web = "prometheus", free_port(), free_port()
    prometheus, promtool = (need_program(each, "prometheus") for each in ("prometheus", "promtool"))
    scrape, rules = blocks(page, "yaml")
    (tmp_path / "rules.yml").write_text(rules)
    config = tmp_path / "prometheus.yml"
    config.write_text(
        "global: {scrape_interval: 1s}\nrule_files: [rules.yml]\n" + scrape.replace(":9100", f":{port}")
    )
    checked = await asyncio.create_subprocess_exec(promtool, "check", "config", str(config), stdout=PIPE)
    said, _ = await checked.communicate()
    assert checked.returncode == 0, said
    queries = blocks(page, "promql")[0].strip().splitlines()
    assert queries == queries_of_dashboard("prometheus.json", "expr")
    url = f"http://127.0.0.1:{web}"
    places = f"--storage.tsdb.path={tmp_path}/data", f"--web.listen-address=127.0.0.1:{web}"
    command = [f"--config.file={config}", *places]

    async def found(query):
        answer = await asyncio.to_thread(fetch, f"{url}/api/v1/query?" + urlencode({"query": query}))
        return json.loads(answer)["data"]["result"]

    log = tmp_path / "log"
    async with (
        service(page, tmp_path, lambda each: each.replace("9100", str(port))),
        RealProgram(prometheus, *command, ready=answers(f"{url}/-/ready"), log=log),
    ):
        for query in queries:
            assert await until(lambda query=query: found(query)), query


async def test_parquet_and_duckdb(tmp_path):
    """DuckDB reads the files while they are written; every query of the page has an answer."""
    page, folder = "parquet-and-duckdb", tmp_path / "files"
    queries = [each.replace("/var/lib/energy", str(folder)) for each in blocks(page, "sql")]
    database = duckdb.connect()

    def answer():
        try:
            database.execute(queries[0])
            return database.execute(queries[2]).fetchall()
        except (duckdb.IOException, duckdb.BinderException):  # no file yet, or no energy
            return []

    async with service(page, tmp_path, lambda each: each.replace("/var/lib/energy", str(folder))):
        await until(lambda: asyncio.to_thread(answer))
        count = "SELECT count(*) FROM readings"
        (before,) = database.execute(count).fetchone()
    means, energies, gaps = (database.execute(each).fetchall() for each in queries[1:])
    (after,) = database.execute(count).fetchone()
    assert after >= before > 0
    assert means
    assert all(kwh >= 0 for *_, kwh in energies)
    assert isinstance(gaps, list)
    database.close()
