"""An agent that can be killed two hundred times in a few seconds: a parent that has imported everything, and forks.

Reads lines from standard input: `OUTBOX URL SEED` starts one agent and answers its process id; the agent lives until it
is killed, or stops by itself when `drain` is given as a fourth word and nothing waits any more. It reads an endless,
numbered source, and writes to standard output how far its data are durable. With `mqtt PORT` as fourth and fifth word it
reads a door behind the broker at that port instead. With `site` as fourth word it is the whole agent: URL is then the path
of a site file, OUTBOX the data folder, and a file `clock` in that folder says by how many milliseconds the wall clock is
set wrong.
"""

import asyncio
import logging
import os
import random
import sys
from pathlib import Path
from zoneinfo import ZoneInfo

import structlog

from device_profiles.catalog import load_mqtt
from edge_agent.agent import Agent
from edge_agent.clock import SystemClock
from edge_agent.drivers.mqtt.subscriber import BrokerSubscriber
from edge_agent.model import Event, Frame, Quality
from edge_agent.outbox import Outbox
from edge_agent.settings import AgentSettings, MqttBroker, MqttDevice
from edge_agent.uplink.backoff import Backoff
from edge_agent.uplink.https import Destination, HttpsUplink
from edge_agent.uplink.wire import Catalogue, CatalogueDevice, CataloguePoint

POINTS = ("number", "double", "energy")
CATALOGUE = Catalogue(
    devices=(
        CatalogueDevice(
            name="source",
            label="",
            profile="p",
            profile_revision="r",
            bus="b",
            address="a",
            poll_s=1,
            timeout_s=10,
            points=tuple(
                CataloguePoint(name=name, kind="sensor", quantity="x", unit="", scale=3 if name == "energy" else None)
                for name in POINTS
            ),
        ),
    )
)


def served(number: int) -> Frame:
    """What the source says at one reading."""
    return Frame(
        device="source",
        observed_at_ms=1_764_000_000_000 + number,
        points=POINTS,
        values=(float(number), number * 2.0, number * 1000),
        qualities=(Quality.GOOD,) * 3,
        is_billing=number % 50 == 0,
    )


def event(number: int) -> Event:
    return Event(kind="door.access", device="", at_ms=number, received_at_ms=number, data={"number": number})


def door(outbox: Outbox, port: int) -> BrokerSubscriber:
    """The subscriber of one door behind a broker."""
    device = MqttDevice(name="door-1", profile="json_door_reader", topic="doors", parameters={"door": "lobby"})
    broker = MqttBroker(name="broker", host="127.0.0.1", port=port, devices=[device])
    profile = load_mqtt(device.profile)
    zone = ZoneInfo("Asia/Shanghai")
    return BrokerSubscriber(broker, [(device, profile)], outbox, gateway="gw-killed", zone=zone, key=b"k" * 32)


class WrongClock(SystemClock):
    """A wall clock that somebody sets while the agent runs; the other one goes on."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def now_ms(self) -> int:
        wrong_by_ms = int(self._file.read_text()) if self._file.exists() else 0
        return super().now_ms() + wrong_by_ms


async def whole_agent(folder: Path, site: Path) -> None:
    """Everything that `edge-agent run` starts."""
    agent = Agent(site, AgentSettings(data_dir=folder, status_port=0), clock=WrongClock(folder / "clock"))
    await agent.run(asyncio.Event())


async def agent(path: Path, url: str, seed: int, mode: str, port: int) -> None:
    source = random.Random(seed)
    outbox = Outbox(path)
    outbox.use_scales(CATALOGUE.scales())
    uplink = HttpsUplink(
        Destination(url=url, credential="secret", timeout_s=2),
        outbox,
        catalogue=lambda: CATALOGUE,
        health=dict,
        backoff=Backoff(first_s=0.005, max_s=0.05),
    )
    tasks = [asyncio.create_task(outbox.run()), asyncio.create_task(uplink.run())]
    if mode == "mqtt":
        os.write(1, b"durable 0\n")
        await door(outbox, port).run()
    if mode == "drain":
        while sum(outbox.waiting().values()):  # noqa: ASYNC110  # The outbox has no event for "empty", and needs none.
            await asyncio.sleep(0.02)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        outbox.close()
        return
    number = int(outbox.cursor("served") or 0)
    while True:
        count = source.randint(1, 8)
        numbers = range(number, number + count)
        number += count
        events = [event(n) for n in numbers if n % 7 == 0]
        outbox.append([served(n) for n in numbers], events, cursors={"served": str(number)})
        if source.random() < 0.5:
            await asyncio.to_thread(outbox.flush)
            os.write(1, f"durable {number}\n".encode())
        await asyncio.sleep(source.random() * 0.004)


def main() -> None:
    # A log line that a kill cuts in half would run into the next answer.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    for line in sys.stdin:
        path, url, seed, mode, port, *_ = [*line.split(), "source", "0"]
        child = os.fork()
        if child == 0:
            os.setpgid(0, 0)
            if mode == "site":
                asyncio.run(whole_agent(Path(path), Path(url)))
            asyncio.run(agent(Path(path), url, int(seed), mode, int(port) if port.isdigit() else 0))
            os._exit(0)
        os.write(1, f"started {child}\n".encode())
        os.waitpid(child, 0)
        os.write(1, b"ended 0\n")


if __name__ == "__main__":
    main()
