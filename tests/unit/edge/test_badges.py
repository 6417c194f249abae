"""Badge readers that are polled: what a sequence number tells, and what never leaves the agent."""

from device_profiles.catalog import load_modbus
from edge_agent.drivers.modbus.badges import BadgeReader
from edge_agent.drivers.mqtt.privacy import hash_credential
from edge_agent.model import Event
from edge_agent.polled import PolledDevice
from edge_agent.settings import ModbusDevice, TcpBus

KEY = b"0123456789abcdef"
PROFILE = load_modbus("rfideas_reader")


def reader() -> BadgeReader:
    return BadgeReader("door-9", PROFILE.events[0], KEY)


def shown(badges: BadgeReader, *numbers: int) -> list[int]:
    events = [badges.seen({"badge_sequence": number, "credential": "98f421"}) for number in numbers]
    return [event["sequence"] for event in events if event]


def test_a_new_sequence_number_is_one_badge_and_the_first_reading_is_none():
    badges = reader()
    assert shown(badges, 7, 7, 8, 8, 9) == [8, 9]
    assert badges.lost_count == 0


def test_a_jump_is_one_badge_and_counted_losses():
    badges = reader()
    badges.seen({"badge_sequence": 7})
    event = badges.seen({"badge_sequence": 10, "credential": "98f421"})
    assert event is not None
    assert (event["sequence"], event["missed"], badges.lost_count) == (10, 2, 2)


def test_the_number_starts_again_after_its_highest():
    badges = reader()
    assert shown(badges, 65535, 0, 1) == [0, 1]
    assert badges.lost_count == 0


def test_a_reader_that_was_restarted_is_a_new_beginning():
    badges = reader()
    assert shown(badges, 30_000, 3, 4) == [4]
    assert badges.lost_count == 0


def test_an_unreadable_number_changes_nothing():
    badges = reader()
    assert shown(badges, 7) == []
    assert badges.seen({"badge_sequence": None}) is None
    assert shown(badges, 8) == [8]


def polled() -> PolledDevice:
    device = ModbusDevice(name="door-9", profile="rfideas_reader", unit=1, poll_s=0.2)
    bus = TcpBus(transport="tcp", name="b", host="127.0.0.1", port=502, devices=[device])
    return PolledDevice(bus, device, PROFILE, now=0.0, privacy_key=KEY)


def ask(device: PolledDevice, number: int, card: int) -> list[Event]:
    (request,) = [request for group in device.groups for request in device.requests(group)]
    words = [number, 0, 26, *([0] * 14), card >> 16, card & 0xFFFF]
    device.decode(request, words)
    return device.take_events(1_772_435_700_000)


def test_the_card_leaves_the_agent_only_as_a_keyed_hash():
    device = polled()
    assert ask(device, 7, 0x0098F420) == []
    (event,) = ask(device, 8, 0x0098F421)
    assert (event.kind, event.device, event.data["sequence"]) == ("door.access", "door-9", 8)
    assert event.data["credential"] == hash_credential("98f421", KEY)
    assert "98f421" not in repr(event)
    assert device.texts == {}
    assert ask(device, 8, 0x0098F421) == []


def test_badges_lost_between_two_reads_are_counted_at_the_device():
    device = polled()
    ask(device, 7, 1)
    ask(device, 12, 2)
    assert device.stats.lost_badges == 4
