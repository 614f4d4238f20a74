"""Publishes one reading a line of its input to an MQTT broker, until it is killed: URL."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime

from energy_live.outputs.mqtt import MqttOutput
from tests.real.output_events import position, reading


async def main(url: str) -> None:
    output = MqttOutput(url)
    await output.open()
    number = 0
    while True:
        await output.write([reading(number, time=datetime.now(UTC))], position(number + 1))
        number += 1
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.readline)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
