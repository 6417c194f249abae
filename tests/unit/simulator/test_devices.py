from pathlib import Path

import orjson
import pytest
import yaml

from device_profiles.catalog import load_mqtt, load_profile
from device_profiles.model import ModbusPoint
from edge_agent.drivers.modbus.codec import compile_decoder, decode_point
from edge_agent.drivers.mqtt.mapping import Arrival, routes_of
from edge_agent.model import DeviceState, Quality
from edge_agent.settings import Site
from edge_agent.simulator.images import DeviceImage
from edge_agent.simulator.modbus import Refused
from edge_agent.simulator.publish import Publisher
from edge_agent.simulator.recorder import badges_of_day, columns_of
from edge_agent.simulator.serve import make_images

DEMO = Path(__file__).parents[3] / "deploy" / "demo"
KEY = b"a key of sixteen bytes or more"
CODES = {"coil": 1, "discrete": 2, "holding": 3, "input": 4}


def words_of(image: DeviceImage, point: ModbusPoint) -> list[int]:
    return list(image.read(CODES[point.function], point.address, point.count))


def decoded(image: DeviceImage, name: str) -> tuple[object, Quality]:
    point = image.profile.point(name)
    factors = dict.fromkeys(point.factor_names, 1)
    values, qualities = compile_decoder((point,), point.address, point.count)(words_of(image, point), factors)
    return values[0], qualities[0]


def test_every_point_of_the_demo_site_reads_as_a_plausible_value(hands, site: Site) -> None:
    for name, image in make_images(hands.world, site).items():
        for point in image.profile.points:
            if point.factor_names:
                continue
            value, quality = decode_point(point, words_of(image, point))
            if point.name in {"condenser_water_supply_temperature", "condenser_water_return_temperature"}:
                assert quality is Quality.INVALID, name  # An air-cooled machine has none.
            else:
                assert quality is Quality.GOOD, (name, point.name, value)


def test_devices_pass_the_identity_check_of_their_profile(hands, site: Site) -> None:
    images = make_images(hands.world, site)
    assert decoded(images["meter-main"], "model")[0].startswith("PM5")
    assert decoded(images["meter-c1"], "identification_code")[0] in {331, 332}


def test_the_registers_of_a_floor_add_up_through_real_words(hands, site: Site) -> None:
    images = make_images(hands.world, site)

    def kwh(name: str) -> float:
        scale = images[name].profile.point("active_energy_import").scale
        return decoded(images[name], "active_energy_import")[0] / 10**scale

    names = ("meter-f2", "meter-t201", "meter-t202")
    before = {name: kwh(name) for name in names}
    hands.after(3 * 3600)
    used = {name: kwh(name) - before[name] for name in names}
    assert used["meter-f2"] > used["meter-t201"] + used["meter-t202"] > 5


def test_every_point_that_the_building_file_names_exists_on_its_device(site: Site) -> None:
    building = yaml.safe_load((DEMO / "building.yaml").read_text())
    profiles = {
        device.name: load_profile(device.profile, instances={k: tuple(v) for k, v in device.instances.items()})
        for _bus, device in site.modbus_devices()
    } | {device.name: load_profile(device.profile) for device in site.mqtt[0].devices}
    known = {f"{device}/{point.name}" for device, profile in profiles.items() for point in profile.points}
    named = {point for item in building["equipment"] for point in item["points"].values()}
    named |= {register["point"] for meter in building["meters"] for register in meter["registers"].values()}
    assert named - known == set()


def test_an_address_outside_the_map_is_refused_like_the_real_device(hands, site: Site) -> None:
    image = make_images(hands.world, site)["meter-main"]
    for address, count in [(60_000, 2), (3033, 2), (3070, 40)]:  # 3033 is a hole of the iEM3155.
        with pytest.raises(Refused) as refused:
            image.read(3, address, count)
        assert refused.value.code == 2


def test_a_read_beyond_the_limit_of_the_device_is_refused(hands, site: Site) -> None:
    image = make_images(hands.world, site)["meter-t301"]  # Eastron: 50 registers.
    assert len(image.read(4, 0, 50)) == 50
    with pytest.raises(Refused) as refused:
        image.read(4, 0, 52)
    assert refused.value.code == 3


def test_an_override_shows_at_once_and_ends(hands, site: Site) -> None:
    image = make_images(hands.world, site)["meter-t301"]
    hands.world.override("meter-t301", "active_power_total", 12_345)
    assert decoded(image, "active_power_total")[0] == 12_345
    hands.world.override("meter-t301", "active_power_total", None)
    assert decoded(image, "active_power_total")[0] != 12_345


def test_a_lost_phase_shows_in_voltage_power_and_energy(hands, site: Site) -> None:
    image = make_images(hands.world, site)["meter-t301"]
    hands.world.journal.set("meter-t301", "phase_loss", size=2, at_ms=hands.now_ms)
    hands.after(60)
    first = decoded(image, "active_energy_import")[0]
    hands.after(3600)
    building = hands.world.building
    true_kwh = building.power.meter_w[building.power.meters["meter-t301"]] / 1000
    assert decoded(image, "voltage_l2")[0] < 10
    assert decoded(image, "voltage_l1")[0] > 220
    assert decoded(image, "active_power_l2")[0] == 0
    assert 0.4 * true_kwh < (decoded(image, "active_energy_import")[0] - first) / 1000 < 0.95 * true_kwh


def test_a_reversed_transformer_makes_one_phase_negative(hands, site: Site) -> None:
    image = make_images(hands.world, site)["meter-t302"]
    hands.world.journal.set("meter-t302", "reversed_ct", size=1, at_ms=hands.now_ms)
    hands.after(60)
    assert decoded(image, "active_power_l1")[0] < 0 < decoded(image, "active_power_l3")[0]
    assert decoded(image, "power_factor_l1")[0] == pytest.approx(-0.94, abs=0.01)


def test_a_drifting_sensor_reads_off_by_its_size(hands, site: Site) -> None:
    image = make_images(hands.world, site)["ahu-3"]
    before = decoded(image, "mixed_air_temperature")[0]
    hands.world.journal.set("ahu-3", "drift", size=4.0, point="mixed_air_temperature", at_ms=hands.now_ms)
    hands.after(60)
    assert decoded(image, "mixed_air_temperature")[0] == pytest.approx(before + 4.0, abs=0.5)


def publisher(hands, site: Site) -> tuple[Publisher, list[tuple[str, bytes, bool]]]:
    told: list[tuple[str, bytes, bool]] = []
    made = Publisher(hands.world, site.mqtt[0], lambda *message: told.append(message))
    return made, told


def test_the_agent_reads_every_sensor_as_the_building_means_it(hands, site: Site) -> None:
    made, told = publisher(hands, site)
    made.step()
    payload = next(payload for topic, payload, _retained in told if topic == "zigbee2mqtt/iaq-201")
    profile = load_mqtt("zigbee2mqtt_co2")
    route = routes_of(
        "iaq-201", profile, {"base": "zigbee2mqtt", "name": "iaq-201"}, zone=hands.building.plan.zone, key=KEY
    )[0]
    reading = route.read(Arrival(topic="zigbee2mqtt/iaq-201", payload=payload, received_at_ms=hands.now_ms))
    values = dict(zip(reading.frames[0].points, reading.frames[0].values, strict=True))
    space = hands.building.spaces["2F-01"]
    assert reading.problems == []
    assert values["co2"] == pytest.approx(space.co2_ppm, abs=7)
    assert values["room_temperature"] == pytest.approx(space.temperature_c, abs=0.1)


def test_badges_read_by_the_agent_are_the_badges_of_the_history(hands, site: Site) -> None:
    hands.after(3600)  # Lunch: half the house goes out and comes back.
    made, told = publisher(hands, site)
    made.step()
    told.clear()
    for _ in range(1800):
        hands.after(2)
        made.step()
    profile = load_mqtt("json_door_reader")
    read = []
    for topic, payload, _retained in told:
        if topic.endswith("/access"):
            device = topic.split("/")[1]
            names = {"base": "access", "door": device}
            route = routes_of(device, profile, names, zone=hands.building.plan.zone, key=KEY)[0]
            read += route.read(Arrival(topic=topic, payload=payload, received_at_ms=hands.now_ms)).events
    start = hands.now_ms - 3_600_000
    doors = {name: name for name in made.images if name.startswith("door-")}
    history = [e for e in badges_of_day(hands.building, list(doors), doors, KEY) if start < e["at_ms"] <= hands.now_ms]
    assert len(read) > 100
    key = lambda event: (event["device"], event["data"]["sequence"])  # noqa: E731
    live = [{"kind": e.kind, "device": e.device, "at_ms": e.at_ms, "data": dict(e.data)} for e in read]
    past = [{name: e[name] for name in ("kind", "device", "at_ms", "data")} for e in history]
    assert sorted(live, key=key) == sorted(past, key=key)


def test_a_silenced_device_says_nothing_and_its_broker_calls_it_offline(hands, site: Site) -> None:
    made, told = publisher(hands, site)
    made.step()
    told.clear()
    hands.world.journal.set("iaq-201", "silent", at_ms=hands.now_ms)
    for _ in range(180):
        hands.after(1)
        made.step()
    mine = [(topic, payload) for topic, payload, _retained in told if "iaq-201" in topic]
    assert [topic for topic, _ in mine] == ["zigbee2mqtt/iaq-201/availability"]
    assert orjson.loads(mine[0][1]) == {"state": DeviceState.OFFLINE.value}


def test_recorded_registers_are_those_of_the_wire(hands, site: Site) -> None:
    images = make_images(hands.world, site)
    profiles = {name: image.profile for name, image in images.items()}
    now = hands.world.instant()
    for column in columns_of(hands.building, profiles):
        device, _, point = column.address.partition("/")
        if column.scale is not None:
            assert column.read(now) == decoded(images[device], point)[0], column.address
