"""The pages about PostgreSQL and Home Assistant, as printed, with real servers and a simulated home."""

from __future__ import annotations

import json
import re

import aiomqtt
import pytest

from tests.paths.snippets import ROOT, document
from tests.real.mosquitto import PASSWORD as BROKER_PASSWORD
from tests.real.mosquitto import Mosquitto
from tests.real.postgresql import PASSWORD
from tests.real.test_how_to_outputs import service
from tests.servers.real_programs import until

POSTGRESQL = document("docs/how-to/postgresql-and-grafana.md")
HOME_ASSISTANT = document("docs/how-to/home-assistant.md")


@pytest.mark.parametrize("page", [POSTGRESQL, HOME_ASSISTANT])
def test_a_page_is_one_screen_and_its_links_exist(page):
    assert len(page.splitlines()) <= 60
    for link in re.findall(r"\]\((?!https)([^)#]+)", page):
        assert (ROOT / "docs/how-to" / link).exists(), link


def test_the_dashboard_has_the_queries_of_the_page():
    board = json.loads((ROOT / "examples/grafana/postgresql.json").read_text(encoding="utf-8"))
    panels = [target["rawSql"] for panel in board["panels"] for target in panel["targets"]]
    annotations = [each["target"]["rawSql"] for each in board["annotations"]["list"]]
    assert [*panels, *annotations] == queries()


def queries() -> list[str]:
    (found,) = re.findall(r"```sql\n(.*?)```", POSTGRESQL, re.DOTALL)
    return [" ".join(each.split()) for each in found.split(";")]


def without_macros(query: str) -> str:
    """Return a query as Grafana sends it for the last day; the clock of the simulated home is hours ahead."""
    query = re.sub(
        r"\$__timeFilter\((\w+)\)",
        r"\1 BETWEEN now() - interval '1 day' AND now() + interval '1 day'",
        query,
    )
    return query.replace(
        "$__timeGroupAlias(time, $__interval)",
        """floor(extract(epoch from time) / 60) * 60 AS "time" """,
    )


async def test_postgresql_and_grafana(tmp_path, postgresql, monkeypatch):
    """The command fills the database; every query of the page is answered."""
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    postgresql.sql("CREATE DATABASE energy TEMPLATE template0 ENCODING 'UTF8'")

    def changed(argument: str) -> str:
        # Thirty days take minutes: VRM's rate limit is that of the simulator, too.
        address = argument.replace("energy@127.0.0.1", f"postgres@127.0.0.1:{postgresql.port}")
        return address.replace("30d", "1h")

    try:
        async with service("postgresql-and-grafana", tmp_path, changed):
            counted = "SELECT 1 FROM energy_live.readings WHERE source LIKE '%-energy/%' LIMIT 1"
            exists = "SELECT to_regclass('energy_live.readings')"
            await until(lambda: postgresql.sql(exists, database="energy") == ["energy_live.readings"])
            await until(lambda: postgresql.sql(counted, database="energy"))
            for query in map(without_macros, queries()[:3]):
                await until(lambda query=query: postgresql.sql(query, database="energy"))
            postgresql.sql(without_macros(queries()[3]), database="energy")  # a gap takes longer
    finally:
        postgresql.sql("DROP DATABASE energy WITH (FORCE)")


async def test_home_assistant(tmp_path, monkeypatch):
    """The command announces devices whose entities have the names in the automation and the card."""
    monkeypatch.setenv("MQTT_PASSWORD", BROKER_PASSWORD)
    (tmp_path / "broker").mkdir()
    async with Mosquitto(tmp_path / "broker", users={"energy": BROKER_PASSWORD}) as broker:
        secure = f"energy@localhost:{broker.tls_port}?cafile={broker.ca_file}"
        async with (
            aiomqtt.Client("127.0.0.1", broker.port, username="energy", password=BROKER_PASSWORD) as client,
            service(
                "home-assistant",
                tmp_path,
                lambda argument: argument.replace("energy@homeassistant.local", secure),
            ),
        ):
            await client.subscribe([("homeassistant/device/+/config", 1), ("energy-live/#", 1)])
            entities: set[str] = set()
            states: set[str] = set()
            wanted = set(re.findall(r"(?:binary_)?sensor\.home_(\w+)", HOME_ASSISTANT))
            async for message in client.messages:
                topic = message.topic.value
                if topic.startswith("homeassistant/"):
                    for each in json.loads(message.payload)["components"].values():
                        entities.add(each["name"].lower().replace(" ", "_"))
                states.add(topic.rpartition("/")[2])
                if wanted <= entities and {"grid_power", "pv_energy", "alarm", "status"} <= states:
                    break
    assert {"grid_power", "alarm"} <= wanted
