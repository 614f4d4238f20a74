"""The Prometheus output against promtool and Prometheus of Debian."""

import asyncio
import json
from asyncio.subprocess import PIPE
from datetime import UTC, datetime
from urllib.parse import urlencode

from prometheus_client.exposition import generate_latest

from energy_core import Checkpoint, Event, Kind, Quantity, SourceId, SourceStatus, State
from energy_live.outputs import OutputState, OutputStatus
from energy_live.outputs.prometheus import PrometheusOutput
from tests.servers.real_databases import answers, fetch
from tests.servers.real_programs import RealProgram, free_port, need_program, until

SITE = SourceId("vrm", "me", "151734", 288)


def health():
    now = datetime.now(UTC)
    sources = {SITE: SourceStatus(state=State.LIVE, since=now, quiet_s=1.0)}
    outputs = {"sqlite": OutputStatus(state=OutputState.LIVE, since=now, written_at=now)}
    return sources, outputs, now


async def opened():
    output = PrometheusOutput("127.0.0.1", 0, health=health, names={("vrm", "151734"): "Haus é"})
    await output.open()
    now = datetime.now(UTC)
    values = {each: float(number) for number, each in enumerate(Quantity, 1)}
    await output.write([Event(SITE, Kind.READING, "k", now, now, 1, "i", values)], Checkpoint())
    return output


async def test_promtool_finds_nothing_to_complain_about():
    """Names, units, help texts and types of everything that is served."""
    promtool = need_program("promtool", "prometheus")
    output = await opened()
    text = generate_latest(output._registry)
    await output.close()
    pipes = {"stdin": PIPE, "stdout": PIPE, "stderr": PIPE}
    checked = await asyncio.create_subprocess_exec(promtool, "check", "metrics", **pipes)
    assert (await checked.communicate(text), checked.returncode) == ((b"", b""), 0)


async def test_prometheus_scrapes_it(tmp_path):
    """A value, an energy and a state are in its database."""
    prometheus = need_program("prometheus", "prometheus")
    output, port = await opened(), free_port()
    config = tmp_path / "prometheus.yml"
    target = f"127.0.0.1:{output.port}"
    config.write_text(
        "scrape_configs:\n- job_name: home\n  scrape_interval: 1s\n"
        f"  static_configs: [{{targets: ['{target}']}}]\n"
    )
    command = [
        f"--config.file={config}",
        f"--storage.tsdb.path={tmp_path}/data",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    url = f"http://127.0.0.1:{port}"

    async def found(query):
        # In a thread: Prometheus asks this process meanwhile.
        answer = json.loads(
            await asyncio.to_thread(fetch, f"{url}/api/v1/query?" + urlencode({"query": query}))
        )
        return [float(each["value"][1]) for each in answer["data"]["result"]]

    log = tmp_path / "log"
    async with RealProgram(prometheus, *command, ready=answers(f"{url}/-/ready"), log=log):
        assert await until(lambda: found('energy_live_grid_power_watts{site="151734"}')) == [1.0]
        assert await found("energy_live_pv_energy_joules_total") == [12 * 3.6e6]
        assert await found(
            'energy_live_source_state{state="live"} * on (source) energy_live_source_quiet_seconds'
        ) == [1.0]
        assert await found('energy_live_site_info{name="Haus é"}') == [1.0]
    await output.close()
