"""A collector that tests kill: polls the accounts of a file while it holds their leases."""

import asyncio
import json
import logging
import signal
import sys
from pathlib import Path

from energy_live.cluster.account_run import ClusterAccount
from energy_live.cluster.collector import Collector, CollectorConfig
from energy_live.cluster.connection import ClusterConnection
from energy_live.cluster.log import LogLimits, prepare
from energy_live.cluster.problems import ClusterError
from vrm_async import VRMClient


def account(label: str, token: str, base_url: str, interval_s: float) -> ClusterAccount:
    def connect(pool):
        client = VRMClient(pool, token=token, account=label, base_url=base_url)

        async def sources():
            return [client.live(interval_s=interval_s)]

        return sources

    return ClusterAccount(vendor="vrm", account=label, connect=connect)


async def prepared(connection: ClusterConnection, limits: LogLimits) -> None:
    while True:
        try:
            return await prepare(connection, limits)
        except ClusterError as error:
            if error.permanent:
                raise
        await asyncio.sleep(0.5)


async def main(config: dict) -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    connection = await ClusterConnection.connect(config["url"], name=config["host"], patience_s=None)
    await prepared(connection, LogLimits(**config.get("limits", {})))
    accounts = [account(**each, interval_s=config["interval_s"]) for each in config["accounts"]]
    collector = Collector(
        connection, accounts, host=config["host"], config=CollectorConfig(**config.get("collector", {}))
    )
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, collector.stop)
    try:
        await collector.run()
    finally:
        await connection.aclose()


asyncio.run(main(json.loads(Path(sys.argv[1]).read_text())))
