"""The page docs/how-to/real-time.md, against the simulator and a real mosquitto."""

import functools
import re

import vrm_async
from energy_live.simulator import Simulator
from tests.paths.snippets import ROOT, Enough, document, run, snippets_of
from tests.servers.real_programs import need_module, need_program

need_program("mosquitto", "mosquitto")
need_module("aiomqtt", "mqtt")

PAGE = document("docs/how-to/real-time.md")


def test_the_page_is_one_screen_and_its_links_exist():
    """At most sixty lines; each link leads to a file."""
    assert len(PAGE.splitlines()) <= 60
    for link in re.findall(r"\]\(([^)#]+)", PAGE):
        assert (ROOT / "docs/how-to" / link).exists(), link


async def test_values_of_this_second(monkeypatch):
    """The snippet prints the grid power of both sites, more often than a gateway logs."""
    printed = []

    def show(*shown):
        printed.append(shown)
        if len(printed) == 6:
            raise Enough

    async with Simulator(speed=1.0, realtime=True) as simulator:
        config = vrm_async.RealtimeConfig(url=simulator.broker.url)
        live = functools.partialmethod(vrm_async.VRMClient.live, realtime_config=config)
        monkeypatch.setattr(vrm_async.VRMClient, "live", live)
        client = functools.partial(vrm_async.VRMClient, base_url=simulator.vrm_url)
        monkeypatch.setattr(vrm_async, "VRMClient", client)
        monkeypatch.setenv("VRM_TOKEN", simulator.vrm_token)
        try:
            await run(snippets_of(PAGE)[0], {"__name__": "page", "print": show})
        except* Enough:
            pass
    assert {site for _, site, *_ in printed} == set(map(str, simulator.site_ids))
    assert all(re.fullmatch(r"[+-][0-9]+ W", power) for _, _, power, _ in printed)
