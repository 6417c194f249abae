"""Turn the file of a payload shape into the values of `model`."""

import json
import re
from collections.abc import Mapping
from typing import Literal

from device_profiles import model, schema
from device_profiles.build_common import Findings, check_names, common_values, head_values, states_of
from device_profiles.lined_yaml import Location
from device_profiles.vocabulary import QUANTITIES

EVENT_WORDS: Mapping[Literal["direction", "result"], tuple[str, ...]] = {
    "direction": ("in", "out", "unknown"),
    "result": ("granted", "denied", "unknown"),
}


def build_mqtt(file: schema.MqttFile, revision: str, to: Findings) -> model.MqttProfile:
    """Return the profile of a payload shape; mistakes go to `to`."""
    messages = tuple(_message(entry, index, to) for index, entry in enumerate(file.messages))
    points = [point for message in messages for point in message.points]
    check_names(points, to)
    availability = file.availability
    topics = [entry.topic for entry in file.messages] + ([availability.topic] if availability else [])
    return model.MqttProfile(
        **head_values(file, revision),
        messages=messages,
        parameters=tuple(sorted({name for topic in topics for name in re.findall(r"\{(\w+)\}", topic)})),
        availability=availability
        and model.Availability(
            topic=availability.topic,
            path=schema.parse_path(availability.path),
            online=tuple(availability.online),
            offline=tuple(availability.offline),
        ),
    )


def _message(entry: schema.MessageFile, index: int, to: Findings) -> model.Message:
    location = ("messages", index)
    if entry.payload == "text" and len(entry.points) > 1:
        to.add((*location, "points"), "a text payload is one value", "keep one point")
    if entry.payload == "json" and not _is_json(entry.example):
        to.add((*location, "example"), "is not JSON", "copy a payload of the device, or say payload: text")
    for number, event in enumerate(entry.events):
        _check_event(event, (*location, "events", number), to)
    return model.Message(
        topic=entry.topic,
        text=entry.payload == "text",
        qos=entry.qos,
        retained=entry.retained,
        time=entry.time
        and model.PayloadTime(path=schema.parse_path(entry.time.path), format=entry.time.format, zone=entry.time.zone),
        sequence=schema.parse_path(entry.sequence) if entry.sequence else None,
        points=tuple(
            _mqtt_point(point, index, (*location, "points", number), entry, to)
            for number, point in enumerate(entry.points)
        ),
        events=tuple(
            model.EventRule(
                kind=event.kind,
                fields={key: schema.parse_path(path) for key, path in event.fields.items()},
                values={key: dict(words) for key, words in event.values.items()},
                constants={str(key): word for key, word in event.constants.items()},
                where={
                    schema.parse_path(path): tuple(str(value) for value in values)
                    for path, values in event.where.items()
                },
                sequence="sequence" if "sequence" in event.fields else None,
            )
            for event in entry.events
        ),
        example=entry.example,
    )


def _is_json(text: str) -> bool:
    try:
        return isinstance(json.loads(text), (dict, list))
    except ValueError:
        return False


def _check_event(event: schema.MqttEventFile, location: Location, to: Findings) -> None:
    """Find words that the canonical event does not know: they would end up as “unknown”."""
    for key, known in EVENT_WORDS.items():
        said = [*event.values.get(key, {}).values(), *([event.constants[key]] if key in event.constants else [])]
        for word in said:
            if word not in known:
                to.add((*location, "values", key), f"“{word}” is not a {key}", f"use one of: {', '.join(known)}")
    for key in event.values:
        if key not in event.fields:
            to.add((*location, "values", key), "has no path", f"add `{key}: $.…` under fields")


def _mqtt_point(
    entry: schema.MqttPointFile, message: int, location: Location, parent: schema.MessageFile, to: Findings
) -> model.MqttPoint:
    if entry.path is None and parent.payload == "json":
        to.add((*location, "path"), "is missing", "say where the value stands: path: $.temperature")
    common = common_values(entry, location, to, entry.name, is_float=True)
    given = entry.states
    quantity = QUANTITIES[common["quantity"]]
    states, codes = states_of(given, quantity, location, to) if given else (dict(quantity.states), {})
    return model.MqttPoint(
        **common,
        states=states,
        message=message,
        path=schema.parse_path(entry.path) if entry.path else (),
        codes=codes,
        sentinels=tuple(str(value) for value in entry.sentinels),
        missing=entry.missing,
    )
