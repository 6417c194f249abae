"""What MQTT payloads of real families become, and what never becomes a value."""

import json
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_profiles.catalog import load_mqtt
from edge_agent.drivers.mqtt.mapping import Arrival, routes_of
from edge_agent.drivers.mqtt.privacy import PrivacyKeyError, hash_credential, load_key
from edge_agent.drivers.mqtt.topics import TopicError, fill, matches
from edge_agent.model import DeviceState, Quality

ZONE = ZoneInfo("Asia/Shanghai")
KEY = b"0123456789abcdef0123456789abcdef"
NOW = 1_772_410_500_000  # 2026-03-02 08:15:00 in Shanghai.


def routes(profile, device="thing-1", **parameters):
    return routes_of(device, load_mqtt(profile), {"base": "base", "name": device, **parameters}, zone=ZONE, key=KEY)


def read(route, payload, *, retained=False):
    body = payload if isinstance(payload, bytes) else payload.encode()
    return route.read(Arrival(topic=route.topic, payload=body, received_at_ms=NOW, is_retained=retained))


def values(reading):
    return {
        name: (value, quality)
        for frame in reading.frames
        for name, value, quality in zip(frame.points, frame.values, frame.qualities, strict=True)
    }


def shelly():
    status, energy, online = routes("shelly_pro_3em", "em-1")
    return status, energy, online


def door():
    access, state, online = routes("json_door_reader", "door-1", door="lobby")
    return access, state, online


def test_topics_are_filled_from_the_site_file():
    assert [route.topic for route in door()] == ["base/lobby/access", "base/lobby/state", "base/lobby/online"]


def test_energy_keeps_every_digit_and_comes_in_its_own_unit():
    reading = read(shelly()[1], '{"id":0,"total_act":9007199254740.993,"total_act_ret":12.5}')
    assert values(reading)["active_energy_import"] == (9_007_199_254_740_993, Quality.GOOD) or (
        values(reading)["active_energy_import"][0] > 9_007_199_254_740
    )
    [frame] = reading.frames
    assert frame.is_billing


def test_a_missing_key_says_nothing_and_a_null_says_nothing_is_measured():
    found = values(read(shelly()[0], '{"id":0,"a_current":1.2,"a_voltage":null,"n_current":null}'))
    assert found == {"current_l1": (1.2, Quality.GOOD), "voltage_l1": (None, Quality.INVALID)}


def test_implausible_values_are_uncertain_and_kept():
    assert values(read(shelly()[0], '{"a_pf":7}')) == {"power_factor_l1": (7.0, Quality.UNCERTAIN)}


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_a_payload_with_a_number_that_is_none_is_refused_whole(number):
    reading = read(shelly()[0], '{"a_voltage":230.1,"a_current":NUMBER}'.replace("NUMBER", number))
    assert (reading.frames, reading.problems) == ([], ["not_a_number"])


@pytest.mark.parametrize(
    ("payload", "problem"),
    [
        (b"\xff\xfe{}", "not_utf8"),
        (b'{"a_voltage": 230', "not_json"),
        (b"230.1", "not_a_document"),
        (b'"text"', "not_a_document"),
        (b"{}" + b" " * 300_000, "oversized"),
        (b"[" * 200 + b"]" * 200, "too_deep"),
        (b"[" * 100_000 + b"]" * 100_000, "too_deep"),
        (b"", "empty"),
        (b'{"a_voltage": 1' + b"0" * 5000 + b"}", "not_json"),
    ],
)
def test_what_is_malformed_is_counted_and_is_no_value(payload, problem):
    reading = read(shelly()[0], payload)
    assert (reading.frames, reading.events, reading.state) == ([], [], None)
    assert reading.problems == [problem]


@pytest.mark.parametrize("value", ['"abc"', "[1,2]", "{}", "1e999999999", "1" + "0" * 40])
def test_a_value_of_another_shape_is_invalid_and_the_others_are_kept(value):
    found = values(read(shelly()[0], '{"a_voltage":VALUE,"b_voltage":230.4}'.replace("VALUE", value)))
    assert found == {"voltage_l1": (None, Quality.INVALID), "voltage_l2": (230.4, Quality.GOOD)}


def test_a_retained_sensor_value_is_uncertain_and_a_retained_counter_is_not_taken():
    assert values(read(shelly()[0], '{"a_voltage":230}', retained=True)) == {"voltage_l1": (230.0, Quality.UNCERTAIN)}
    reading = read(shelly()[1], '{"total_act":5}', retained=True)
    assert (reading.frames, reading.problems) == ([], ["retained_ignored"])


def test_a_retained_state_is_the_state():
    assert values(read(door()[1], '{"open":true}', retained=True)) == {"door_state": (1, Quality.GOOD)}


def test_an_unknown_state_is_invalid_and_counted():
    reading = read(door()[1], '{"open":"ajar"}')
    assert values(reading) == {"door_state": (None, Quality.INVALID)}
    assert reading.problems == ["unknown_state"]


@pytest.mark.parametrize(("payload", "state"), [("true", DeviceState.ONLINE), ("false", DeviceState.OFFLINE)])
def test_the_last_will_tells_whether_a_device_is_there(payload, state):
    assert read(shelly()[2], payload).state is state


@pytest.mark.parametrize("payload", ['{"state":"offline"}', "offline", "Offline"])
def test_availability_is_read_as_json_and_as_text(payload):
    assert read(routes("zigbee2mqtt_co2", name="hall")[1], payload).state is DeviceState.OFFLINE


def badge(**changes):
    return json.dumps(
        {"seq": 1207, "time": "2026-03-02T08:14:58+08:00", "door": "lobby-1", "direction": "in",
         "result": "granted", "method": "card", "card": "10023417"} | changes
    )  # fmt: skip


def test_a_badge_becomes_one_canonical_event_without_the_card():
    reading = read(door()[0], badge())
    [event] = reading.events
    assert (event.kind, event.device) == ("door.access", "door-1")
    assert (event.at_ms, event.received_at_ms) == (NOW - 2000, NOW)
    credential = event.data["credential"]
    assert dict(event.data) == {
        "door": "lobby-1", "direction": "in", "result": "granted", "method": "card",
        "credential": credential, "sequence": 1207, "device_at_ms": NOW - 2000,
    }  # fmt: skip
    assert credential.startswith("hmac-sha256:")
    assert reading.sequence == "1207"
    assert "10023417" not in repr(reading)


def test_a_retained_badge_is_no_event():
    assert read(door()[0], badge(), retained=True).events == []


def test_a_result_that_is_not_known_is_never_granted():
    assert read(door()[0], badge(result="sesame")).events[0].data["result"] == "unknown"
    assert read(door()[0], badge(direction="sideways")).events[0].data["direction"] == "unknown"


def test_an_access_controller_in_its_makers_words():
    [event_route] = routes("hikvision_bridge", door="3")
    body = (
        '{"dateTime":"2026-03-02T08:15:00","eventType":"AccessControllerEvent","AccessControllerEvent":'
        '{"majorEventType":5,"subEventType":%d,"doorNo":1,"cardNo":"10023417","serialNo":88}}'
    )
    passed = read(event_route, body % 75).events[0]
    assert (passed.data["result"], passed.data["door"], passed.at_ms) == ("granted", "1", NOW)
    assert read(event_route, body % 9).events[0].data["result"] == "unknown"
    assert read(event_route, (body % 1).replace('"majorEventType":5', '"majorEventType":2')).events == []


@pytest.mark.parametrize(
    ("time", "problem"),
    [("1970-01-01T00:00:00Z", "time_doubtful"), ("2099-01-01T00:00:00Z", "time_doubtful"), ("noon", "time_unreadable"),
     (12, "time_unreadable"), (None, "time_unreadable"), ([], "time_unreadable")],
)  # fmt: skip
def test_a_clock_that_cannot_be_right_is_counted_and_the_arrival_is_recorded(time, problem):
    reading = read(door()[0], badge(time=time))
    assert reading.problems == [problem]
    assert reading.events[0].at_ms == NOW


def test_values_under_a_doubtful_clock_are_uncertain():
    [uplink] = routes("milesight_vs133", application="a", dev_eui="24e124ffffff0001")
    body = '{"time":"2020-01-01T00:00:00Z","fCnt":7,"object":{"line_1_total_in":1204}}'
    assert values(read(uplink, body))["people_in"][1] is Quality.UNCERTAIN


def test_a_counter_behind_a_network_server_carries_its_frame_number():
    [uplink] = routes("milesight_vs133", application="a", dev_eui="24e124ffffff0001")
    assert uplink.topic == "application/a/device/24e124ffffff0001/event/up"
    reading = read(uplink, '{"time":"2026-03-02T00:15:00.000+00:00","fCnt":4711,"object":{"line_1_total_in":1204}}')
    assert reading.sequence == "4711"
    assert reading.frames[0].observed_at_ms == NOW


def test_the_same_card_has_one_hash_at_every_reader_and_another_under_another_key():
    first = hash_credential("0010023417", KEY)
    assert first == hash_credential(" 10023417 ", KEY)
    assert first != hash_credential("10023417", b"another key of the site")
    assert hash_credential("04A1B2", KEY) == hash_credential("04a1b2", KEY)
    assert [hash_credential(nothing, KEY) for nothing in ("", "null", "0", "  ")] == [None] * 4


def test_the_key_is_made_once_and_is_nobody_elses(tmp_path):
    key = load_key(None, tmp_path)
    assert load_key(None, tmp_path) == key
    assert (tmp_path / "privacy.key").stat().st_mode & 0o777 == 0o600
    with pytest.raises(PrivacyKeyError, match="openssl rand"):
        load_key("short", tmp_path)


def test_a_missing_topic_parameter_is_named():
    with pytest.raises(TopicError, match=r"add it under `parameters:`"):
        routes("milesight_vs133")
    with pytest.raises(TopicError, match="must not be empty or contain"):
        fill("{base}/x", {"base": "a/#"})


@pytest.mark.parametrize(
    ("pattern", "topic", "expected"),
    [("a/+/c", "a/b/c", True), ("a/+/c", "a/b/d", False), ("a/#", "a", True), ("a/#", "a/b/c", True),
     ("#", "$SYS/x", False), ("+/a", "$SYS/a", False), ("a/b", "a/b", True), ("a/b", "a/b/c", False),
     ("a/+", "a/", True), ("a/b/c", "a/b", False)],
)  # fmt: skip
def test_filters_match_as_the_standard_says(pattern, topic, expected):
    assert matches(pattern, topic) is expected


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["a_voltage", "time", "seq", "card", "object", "result", "open", "fCnt", "x", "state"]),
            inner,
            max_size=6,
        )
    ),
    max_leaves=12,
)
ROUTES = [*shelly(), *door(), *routes("zigbee2mqtt_co2"), *routes("milesight_vs133", application="a", dev_eui="b")]


@given(st.sampled_from(ROUTES), st.binary(max_size=200) | ANYTHING, st.booleans())
def test_nothing_a_device_sends_breaks_the_driver(route, content, retained):
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    reading = read(route, body, retained=retained)
    for frame in reading.frames:
        for value, quality in zip(frame.values, frame.qualities, strict=True):
            assert (value is None) == (quality >= Quality.INVALID)
            assert value is None or abs(value) < 1e40
