"""Publishes the simulated MQTT devices: sensors on their period, doors when somebody passes."""

import asyncio
from collections.abc import Callable
from typing import NoReturn

import structlog

from device_profiles.catalog import load_mqtt
from edge_agent.settings import MqttBroker, MqttDevice
from edge_agent.simulator.model import MINUTE_MS, Building
from edge_agent.simulator.payloads import MqttImage
from edge_agent.simulator.people import Passage
from edge_agent.simulator.world import World

log = structlog.get_logger()

SENSOR_PERIOD_MS = 60_000
CATCH_UP_MS = 120_000  # After a longer pause the passages in it are not told any more.

Publish = Callable[[str, bytes, bool], object]  # Topic, payload, retained.


def door_of(building: Building, device: str) -> str:
    """Which door of the plan a reader stands at: the main entrance, or the door of a floor."""
    space = building.spaces[building.plan.stands_in[device]]
    return "main" if space.floor == "1F" else space.floor


def numbered_passages(building: Building, door: str) -> list[tuple[int, Passage]]:
    """Today's badges at a door with the reader's own event numbers."""
    badges = [passage for passage in building.passages if passage.door == door and passage.card is not None]
    first = building.midnight["doors"][door] + 1
    return list(enumerate(badges, start=first))


class Publisher:
    """The devices behind one broker."""

    def __init__(self, world: World, broker: MqttBroker, publish: Publish) -> None:
        """Wire the broker's devices; raises ProfileError."""
        self.world, self.publish = world, publish
        self.images = {device.name: _image(world, device) for device in broker.devices}
        self._is_reader = {
            name: any(message.events for message in image.profile.messages) for name, image in self.images.items()
        }
        self._online: dict[str, bool] = {}
        self._told_ms = world.now_ms()
        self._slot: dict[str, int] = {}

    async def run(self) -> NoReturn:
        """Publish until cancelled."""
        while True:
            self.step()
            await asyncio.sleep(0.25)

    def step(self) -> None:
        """Tell everything that is due now."""
        now = self.world.instant()
        now_ms = now.building.at_ms + now.ms
        since, self._told_ms = max(self._told_ms, now_ms - CATCH_UP_MS), now_ms
        for name, image in self.images.items():
            is_online = not image.is_silent
            if self._online.get(name) is not is_online:
                self._online[name] = is_online
                self._tell_availability(image, is_online=is_online)
            if not is_online:
                continue
            if self._is_reader[name]:
                self._tell_passages(image, now.building, since, now_ms)
            self._tell_states(image, now_ms)

    def _tell_availability(self, image: MqttImage, *, is_online: bool) -> None:
        told = image.availability(is_online=is_online)
        if told is not None:
            self.publish(*told, True)

    def _tell_passages(self, image: MqttImage, building: Building, since: int, until: int) -> None:
        midnight = building.day_start_minute * MINUTE_MS
        for number, passage in numbered_passages(building, door_of(building, image.name)):
            at_ms = midnight + passage.second * 1000
            if since < at_ms <= until:
                for topic, payload in image.passage(passage, at_ms, number):
                    self.publish(topic, payload, False)
                self.world.served.add(image.name, at_ms, {"badge": number})

    def _tell_states(self, image: MqttImage, now_ms: int) -> None:
        # Spread over the period, so that devices do not all speak in one moment.
        slot = (now_ms + sum(image.name.encode()) * 997 % SENSOR_PERIOD_MS) // SENSOR_PERIOD_MS
        if self._slot.get(image.name) == slot:
            return
        self._slot[image.name] = slot
        for topic, payload, values in image.states(self.world.instant(), slot):
            self.publish(topic, payload, False)
            self.world.served.add(image.name, now_ms, values)


def _image(world: World, device: MqttDevice) -> MqttImage:
    names = {"base": device.topic, **{key: str(value) for key, value in device.parameters.items()}}
    return MqttImage(world, device.name, load_mqtt(device.profile), names)
