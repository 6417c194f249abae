"""`edge-agent simulate run`: one process that is the building."""

import asyncio
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import NoReturn

import structlog

from edge_agent.settings import MqttBroker, load_site
from edge_agent.simulator.control import Control
from edge_agent.simulator.keeping import Folder, open_building
from edge_agent.simulator.plan import Plan, load_plan
from edge_agent.simulator.publish import Publisher
from edge_agent.simulator.replay import Replay, load_replay
from edge_agent.simulator.serve import ServeError, serve_site
from edge_agent.simulator.world import Clock, ServedLedger, World, system_now_ms

log = structlog.get_logger()

CONTROL_HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What `simulate run` was told."""

    building: Path
    leases: Path
    site: Path
    state: Path
    control_port: int
    served: Path | None = None
    replay: Path | None = None  # Measured trends…
    replay_map: Path | None = None  # …and what their columns mean.
    replay_begin_ms: int | None = None  # When the first row is played; by default at the start.
    now_ms: Clock = system_now_ms


async def run_building(options: RunOptions, on_ready: Callable[[World], object] | None = None) -> None:
    """Be the building until SIGTERM, SIGINT or cancelled. Raises PlanError, ProfileError, ServeError and the like."""
    site = load_site(options.site)
    plan = load_plan(options.building, options.leases)
    folder = Folder(options.state)
    journal = folder.journal()
    replays = _replays(options, plan, folder)
    building = open_building(plan, folder, yesterday(plan, options.now_ms()), journal, replays)
    building.run_to(options.now_ms() // 60_000)
    world = World(building, journal, now_ms=options.now_ms)
    world.served = ServedLedger(options.served)
    async with AsyncExitStack() as stack:
        stack.callback(world.served.close)
        served = await serve_site(world, site)
        stack.push_async_callback(served.close)
        devices = [*served.images, *(device.name for broker in site.mqtt for device in broker.devices)]
        try:
            server = await Control(world, devices).serve(CONTROL_HOST, options.control_port)
        except OSError as error:
            raise ServeError(
                f"the control port {options.control_port} is taken; choose another --control-port"
            ) from error
        stack.callback(server.close)
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        running = [tasks.create_task(_keep(world, folder))]
        running += [tasks.create_task(_broker(world, broker, stack)) for broker in site.mqtt]
        stopped = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
        log.info("building_runs", devices=len(devices), control_port=options.control_port, minute=building.minute)
        if on_ready is not None:
            on_ready(world)
        try:
            await stopped.wait()
        finally:
            for task in running:
                task.cancel()


def _replays(options: RunOptions, plan: Plan, folder: Folder) -> list[Replay]:
    """Load the trends; when they begin is kept, so that a restart plays them on and not from the start."""
    if options.replay is None or options.replay_map is None:
        return []
    kept = folder.read("replay") or {}
    begin_ms = kept.get(str(options.replay)) or options.replay_begin_ms or options.now_ms()
    folder.write("replay", {**kept, str(options.replay): begin_ms})
    return [load_replay(options.replay, options.replay_map, begin_minute=begin_ms // 60_000, plan=plan)]


def yesterday(plan: Plan, now_ms: int) -> datetime:
    """Local midnight a day ago: where a building without a past begins."""
    now = datetime.fromtimestamp(now_ms / 1000, plan.zone) - timedelta(days=1)
    return datetime(now.year, now.month, now.day, tzinfo=plan.zone)


async def _keep(world: World, folder: Folder) -> NoReturn:
    """Move the building on when nobody asks, and keep each midnight."""
    kept = None
    while True:
        day = world.instant().building.day
        if day != kept:
            folder.write("midnight", world.building.midnight)
            kept = day
        await asyncio.sleep(1.0)


async def _broker(world: World, broker: MqttBroker, stack: AsyncExitStack) -> None:
    """Publish to one broker; it may come and go."""
    import paho.mqtt.client as mqtt
    from paho.mqtt.enums import CallbackAPIVersion

    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=f"simulated-{broker.name}")
    client.max_queued_messages_set(10_000)
    client.connect_async(broker.host, broker.port)
    client.loop_start()

    def stop() -> None:
        client.disconnect()
        client.loop_stop()

    stack.callback(stop)
    publisher = Publisher(
        world, broker, lambda topic, payload, retained: client.publish(topic, payload, qos=1, retain=retained)
    )
    await publisher.run()
