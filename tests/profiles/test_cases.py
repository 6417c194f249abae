"""Every profile against at least one case: words or payloads in, readings out.

The readings of a case were worked out from the maker's document and IEEE 754, never with our own decoder.
"""

from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from device_profiles.catalog import load_modbus, load_mqtt, profile_files
from device_profiles.lined_yaml import read_yaml
from device_profiles.model import ModbusProfile, Point
from edge_agent.drivers.modbus.codec import Value, compile_decoder, factor_of
from edge_agent.drivers.mqtt.mapping import Arrival, Reading, routes_of
from edge_agent.drivers.mqtt.sparkplug import NAMESPACE, SparkplugRoute
from edge_agent.drivers.mqtt.topics import matches
from edge_agent.model import Quality

CASES = {path.stem: read_yaml(path).data for path in sorted((Path(__file__).parent / "cases").glob("*.yaml"))}
MODBUS = {name: case for name, case in CASES.items() if "registers" in case}
MQTT = {name: case for name, case in CASES.items() if "messages" in case}
RECEIVED_AT = datetime(2026, 3, 2, 7, 15, 10, tzinfo=UTC)  # All payloads of the cases were made just before.


def test_every_profile_has_a_case():
    covered = {case["profile"] for case in CASES.values()}
    assert sorted(set(profile_files()) - covered) == []
    assert sorted(covered - set(profile_files())) == []


@pytest.mark.parametrize("name", MODBUS)
def test_the_words_of_a_device_become_its_readings(name):
    case = MODBUS[name]
    profile = load_modbus(case["profile"], instances=case.get("instances"))
    got = decode_all(profile, memory_of(case))
    wrong = []
    for point_name, expected in case["readings"].items():
        value, quality = got.get(point_name, ("not decoded", None))
        if quality is not Quality.GOOD or not same(profile.point(point_name), value, expected):
            wrong.append(f"{point_name}: expected {expected}, got {value} {quality}")
    wrong += [f"{point}: not invalid" for point in case.get("invalid", []) if got.get(point) != (None, Quality.INVALID)]
    assert wrong == []


@pytest.mark.parametrize("name", MQTT)
def test_the_payloads_of_a_device_become_its_readings_and_events(name):
    case = MQTT[name]
    profile = load_mqtt(case["profile"])
    heard = [answer_to(case, message) for message in case["messages"]]
    got = {
        point: (value, quality)
        for reading in heard
        for frame in reading.frames
        for point, value, quality in zip(frame.points, frame.values, frame.qualities, strict=True)
    }
    wrong = []
    for point_name, expected in case.get("readings", {}).items():
        value, quality = got.get(point_name, ("not in a frame", None))
        if quality is not Quality.GOOD or not same(profile.point(point_name), value, expected):
            wrong.append(f"{point_name}: expected {expected}, got {value} {quality}")
    assert wrong == []
    events = [event.data for reading in heard for event in reading.events]
    wanted = case.get("events", [])
    assert [{key: event.get(key) for key in each} for event, each in zip(events, wanted, strict=True)] == wanted
    if "state" in case:
        assert heard[-1].state == case["state"]


def answer_to(case: dict[str, Any], message: dict[str, Any]) -> Reading:
    """What the agent makes of one message."""
    routes = routes_of("device", load_mqtt(case["profile"]), case["parameters"], zone=ZoneInfo(case["zone"]), key=b"k")
    topic = message["topic"]
    route = next(route for route in routes if matches(route.topic, topic))
    reader = SparkplugRoute(route) if topic.startswith(NAMESPACE) else route
    payload = bytes.fromhex(message["payload_hex"]) if "payload_hex" in message else message["payload"].encode()
    return reader.read(Arrival(topic=topic, payload=payload, received_at_ms=int(RECEIVED_AT.timestamp() * 1000)))


@pytest.mark.parametrize(
    "name", [name for name, path in profile_files().items() if path.read_text().find("kind: mqtt") >= 0]
)
def test_the_example_payload_of_a_profile_is_understood_by_it(name):
    profile = load_mqtt(name)
    parameters = dict.fromkeys(profile.parameters, "x")
    routes = routes_of("device", profile, parameters, zone=ZoneInfo("Asia/Shanghai"), key=b"k")
    for route, message in zip(routes, profile.messages, strict=False):
        reading = route.read(Arrival(topic=route.topic, payload=message.example.encode(), received_at_ms=1772435710000))
        assert reading.problems in ([], ["time_doubtful"]), message.topic
        assert len(reading.frames) + len(reading.events) > 0, message.topic


def memory_of(case: dict[str, Any]) -> dict[tuple[str, int], int]:
    """The words of a case by (table, address)."""
    return {
        (function, address + offset): word
        for function, blocks in case["registers"].items()
        for address, words in blocks.items()
        for offset, word in enumerate(words)
    }


def decode_all(profile: ModbusProfile, memory: dict[tuple[str, int], int]) -> dict[str, tuple[Value, Quality]]:
    """Every point that lies in the memory: in one read per point, factor points first."""
    inside = [p for p in profile.points if all((p.function, address) in memory for address in range(p.address, p.end))]
    factors: dict[str, Fraction] = {}
    got: dict[str, tuple[Value, Quality]] = {}
    for point in sorted(inside, key=lambda point: bool(point.factor_names)):
        words = [memory[point.function, address] for address in range(point.address, point.end)]
        values, qualities = compile_decoder([point], point.address, point.count)(words, factors)
        got[point.name] = values[0], qualities[0]
        factor = factor_of(point, values[0])
        if factor is not None:
            factors[point.name] = factor
    return got


def same(point: Point, value: Value, expected: Any) -> bool:
    """Exact points must agree in every digit, floats to the precision of the device."""
    if isinstance(expected, str) and point.is_text:
        return value == expected
    wanted = Decimal(expected)
    if point.exact:
        return isinstance(value, int) and Decimal(value).scaleb(-(point.scale or 0)) == wanted
    return isinstance(value, (int, float)) and abs(Decimal(value) - wanted) <= abs(wanted) * Decimal("1e-7")
