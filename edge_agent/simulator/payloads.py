"""MQTT devices: the payload a profile describes, filled with the building's values.

Each message of a profile carries an example payload; a copy of it gets the values, the time and the sequence number at
the places the profile names. Whatever the agent reads from there, it reads by the same paths.
"""

import copy
from collections.abc import Iterator, Mapping
from datetime import datetime
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

import orjson

from device_profiles.model import EventRule, Message, MqttPoint, MqttProfile, PayloadTime
from edge_agent.simulator.people import Direction, Passage
from edge_agent.simulator.signals import Instant, Signal, Value, signal_of
from edge_agent.simulator.world import World

Path = tuple[str | int, ...]


class MqttImage:
    """One simulated MQTT device."""

    def __init__(self, world: World, name: str, profile: MqttProfile, names: Mapping[str, str]) -> None:
        """`names` fills the topics of the profile: base and the parameters of the site file."""
        self.world, self.name, self.profile, self.names = world, name, profile, names
        self._signals: dict[str, Signal | None] = {
            point.name: signal_of(world.building, name, point) for point in profile.points
        }
        self._examples = [orjson.loads(message.example) for message in profile.messages if not message.text]

    @property
    def is_silent(self) -> bool:
        """Whether the device has been silenced."""
        return self.world.is_silent(self.name)

    def availability(self, *, is_online: bool) -> tuple[str, bytes] | None:
        """Topic and payload of the device's presence, where it has one."""
        rule = self.profile.availability
        if rule is None:
            return None
        word = (rule.online if is_online else rule.offline)[0]
        payload = word.encode() if not rule.path else orjson.dumps(_placed({}, rule.path, word))
        return rule.topic.format(**self.names), payload

    def states(self, now: Instant, sequence: int) -> Iterator[tuple[str, bytes, dict[str, Any]]]:
        """Topic, payload and the values in it, for every message that carries points."""
        for message, example in zip(self.profile.messages, self._examples, strict=True):
            if not message.points:
                continue
            payload = copy.deepcopy(example)
            values: dict[str, Any] = {}
            for point in message.points:
                value = self._value(now, point)
                if value is None:
                    _removed(payload, point.path)  # Not measured by this one.
                    continue
                values[point.name] = value
                _placed(payload, point.path, _in_payload(point, value))
            self._stamp(message, payload, now.building.at_ms + now.ms, sequence)
            yield message.topic.format(**self.names), orjson.dumps(payload), values

    def passage(self, passage: Passage, at_ms: int, sequence: int) -> Iterator[tuple[str, bytes]]:
        """Topic and payload of a badge at this door."""
        for message, example in zip(self.profile.messages, self._examples, strict=True):
            for rule in message.events:
                payload = copy.deepcopy(example)
                self._fill_event(rule, payload, passage, sequence)
                self._stamp(message, payload, at_ms, sequence)
                yield message.topic.format(**self.names), orjson.dumps(payload)

    def _value(self, now: Instant, point: MqttPoint) -> Value:
        override = self.world.overrides.get((self.name, point.name))
        if override is not None:
            return override
        signal = self._signals[point.name]
        return None if signal is None else signal(now)

    def _fill_event(self, rule: EventRule, payload: Any, passage: Passage, sequence: int) -> None:
        words: dict[str, Any] = {
            "sequence": sequence,
            "door": self.names.get("door", self.name),
            "direction": "in" if passage.direction is Direction.IN else "out",
            "result": "granted",
            "credential": str(passage.card),
            "method": "card",
        }
        for field, path in rule.fields.items():
            if isinstance(path, tuple) and field in words:
                word = words[field]
                # The profile translates the device's words into ours; here it is done backwards.
                spelled = {ours: theirs for theirs, ours in reversed(list(rule.values.get(field, {}).items()))}
                _placed(payload, path, _like(_at(payload, path), spelled.get(word, word)))

    def _stamp(self, message: Message, payload: Any, at_ms: int, sequence: int) -> None:
        if message.time is not None:
            zone = self.world.building.plan.zone
            _placed(payload, message.time.path, _written(message.time, at_ms, zone, _at(payload, message.time.path)))
        if message.sequence is not None:
            _placed(payload, message.sequence, sequence)


def _in_payload(point: MqttPoint, value: Value) -> Any:
    """Return a value in the device's own unit and words."""
    if value is None or isinstance(value, str):
        return value
    raw = (Fraction(value) - point.offset) / point.multiplier
    for word, code in point.codes.items():
        if code == value:
            return word == "true" if word in {"true", "false"} else word
    return int(raw) if raw.denominator == 1 else round(float(raw), 2)


def _written(rule: PayloadTime, at_ms: int, zone: ZoneInfo, example: Any) -> Any:
    if rule.format == "ms":
        return at_ms
    if rule.format == "s":
        return at_ms // 1000 if isinstance(example, int) else at_ms / 1000
    at = datetime.fromtimestamp(at_ms / 1000, zone)
    return at.isoformat(timespec="milliseconds") if rule.format == "iso8601" else at.strftime(rule.format)


def _placed(payload: Any, path: Path, value: Any) -> Any:
    """Put a value where a path leads; returns the payload."""
    here = payload
    for part in path[:-1]:
        here = here.setdefault(part, {}) if isinstance(here, dict) else here[part]
    here[path[-1]] = value
    return payload


def _removed(payload: Any, path: Path) -> None:
    here = _at(payload, path[:-1])
    if isinstance(here, dict):
        here.pop(path[-1], None)


def _at(payload: Any, path: Path) -> Any:
    here = payload
    for part in path:
        if not isinstance(here, dict | list):
            return None
        here = here.get(part) if isinstance(here, dict) else here[int(part)]
    return here


def _like(example: Any, value: Any) -> Any:
    """Return a value in the type the device sends."""
    if isinstance(example, bool):
        return value in {True, "true"}
    if isinstance(example, int) and isinstance(value, str) and value.lstrip("-").isdecimal():
        return int(value)
    return str(value) if isinstance(example, str) else value
