"""What the host application makes of Sparkplug messages, as our own edge node encodes them."""

import pytest

from cloud_api.ingest.service import Ingest
from cloud_api.ingest.sparkplug.host import Host, Outcome
from cloud_api.kit.clock import fixed_clock
from edge_agent.outbox.model import Layout, StoredEvent, StoredFrame
from edge_agent.sparkplug.payload import DataType, Metric, Payload, encode
from edge_agent.sparkplug.session import Session
from edge_agent.uplink.wire import Catalogue, CatalogueDevice, CataloguePoint
from tests.integration.ingest.conftest import NOW, NOW_MS

DEVICE = CatalogueDevice(
    name="meter-1", label="", profile="p", profile_revision="r", bus="b", address="a", poll_s=1, timeout_s=10,
    points=(CataloguePoint(name="energy", kind="sensor", quantity="e", unit="kWh", scale=3),),
)  # fmt: skip
STORED = (
    "SELECT o.value, o.mantissa, o.scale, o.quality FROM observation o JOIN point p ON p.id = o.point_id"
    " WHERE p.name = 'energy' ORDER BY o.observed_at"
)


class Node:
    """An edge node whose messages reach the host in the order the test wants."""

    def __init__(self, host):
        self.host = host
        self.session = Session(group="park", node="gw-1", catalogue=Catalogue(devices=(DEVICE,)))

    async def send(self, *messages, is_patient=True):
        return [await self.host.take(m.topic, m.payload, is_patient=is_patient) for m in messages]

    async def begin(self, bd_seq=0, at_ms=NOW_MS - 60_000):
        self.will = self.session.begin(bd_seq, at_ms)
        return await self.send(*self.session.births(at_ms))

    def data(self, *rows):
        """Return one message per (at_ms, mantissa)."""
        found = []
        for at_ms, mantissa in rows:
            frame = stored_frame(at_ms, mantissa)
            found += self.session.data([frame], [], NOW_MS, is_historical=False)
        return found


def stored_frame(at_ms, mantissa):
    layout = Layout(device="meter-1", points=("energy",), scales=(3,))
    return StoredFrame(first_seq=1, layout=layout, at_ms=at_ms, values=[mantissa], qualities=None)


@pytest.fixture
async def node(pool, edge):
    return Node(Host(ingest=Ingest(pool=pool, clock=fixed_clock(NOW))))


async def test_births_define_points_and_data_are_stored_exactly(node, rows_of):
    assert await node.begin() == [Outcome.DONE] * 2
    await node.send(*node.data((NOW_MS - 5000, 12_345_678), (NOW_MS - 4000, 12_345_679)))
    assert await rows_of(STORED) == [(12345.678, 12_345_678, 3, 0), (12345.679, 12_345_679, 3, 0)]
    assert await rows_of("SELECT d.name, p.unit, d.state FROM point p JOIN device d ON d.id = p.device_id") == [
        ("meter-1", "kWh", "online")
    ]


async def test_a_message_delivered_again_changes_nothing(node, rows_of):
    await node.begin()
    messages = node.data((NOW_MS - 5000, 1), (NOW_MS - 4000, 2))
    assert await node.send(*messages, *messages, messages[0]) == [Outcome.DONE] * 5
    assert len(await rows_of(STORED)) == 2
    assert await rows_of("SELECT last_seq FROM sparkplug_node") == [(3,)]


async def test_a_message_that_overtook_another_waits_for_it(node, rows_of):
    await node.begin()
    first, second = node.data((NOW_MS - 5000, 1), (NOW_MS - 4000, 2))
    assert await node.send(second, first, second) == [Outcome.WAIT, Outcome.DONE, Outcome.DONE]
    assert len(await rows_of(STORED)) == 2


async def test_a_gap_is_stored_around_and_asks_once_for_a_rebirth(node, rows_of):
    await node.begin()
    _, second, _, fourth = node.data(*((NOW_MS - 5000 + n, n) for n in range(4)))
    assert await node.send(second, fourth, is_patient=False) == [Outcome.REBIRTH, Outcome.DONE]
    assert len(await rows_of(STORED)) == 2
    births = list(node.session.births(NOW_MS))
    assert await node.send(*births, *node.data((NOW_MS, 9))) == [Outcome.DONE] * 3


async def test_data_before_any_birth_ask_for_one(node, rows_of):
    [message] = node.data((NOW_MS, 1))
    assert await node.send(message) == [Outcome.WAIT]
    assert await node.send(message, is_patient=False) == [Outcome.REBIRTH]
    assert await rows_of(STORED) == []


async def test_a_late_message_is_read_by_the_birth_of_its_time(node, rows_of):
    def message(kind, at_ms, *metrics, seq):
        payload = Payload(timestamp_ms=at_ms, seq=seq, metrics=metrics)
        return f"spBv1.0/park/{kind}/gw-1" + ("/m" if kind[0] == "D" else ""), encode(payload)

    def named(name, alias):
        return Metric(name=name, alias=alias, timestamp_ms=1, datatype=DataType.DOUBLE)

    async def take(*said):
        return await node.host.take(*said, is_patient=True)

    early, late = NOW_MS - 100_000, NOW_MS - 50_000
    value = Metric(alias=1, timestamp_ms=early + 10, datatype=DataType.DOUBLE, value=7.0)
    await take(*message("NBIRTH", early, seq=0))
    await take(*message("DBIRTH", early, named("energy", 1), named("power", 2), seq=1))
    await take(*message("NBIRTH", late, seq=0))
    await take(*message("DBIRTH", late, named("energy", 2), named("power", 1), seq=1))
    assert await take(*message("DDATA", early + 10, value, seq=0)) is Outcome.DONE
    assert await rows_of(STORED) == [(7.0, None, None, 0)]


async def test_deaths_put_devices_offline_but_only_those_of_this_session(node, rows_of):
    await node.begin(bd_seq=4)
    old_will = node.will
    await node.begin(bd_seq=5, at_ms=NOW_MS - 1000)
    await node.send(old_will)
    assert await rows_of("SELECT state FROM device") == [("online",)]
    await node.send(node.session.device_death("meter-1", NOW_MS - 500))
    assert await rows_of("SELECT state FROM device") == [("offline",)]
    await node.send(node.session.device_birth("meter-1", NOW_MS - 400))
    await node.send(node.will)
    assert await rows_of("SELECT state, last_error FROM device") == [("offline", "the edge node is offline (NDEATH)")]


async def test_what_makes_no_sense_is_dropped_and_holds_nothing_up(node, rows_of):
    await node.begin()
    [good] = node.data((NOW_MS - 5000, 1))
    assert await node.host.take(good.topic, b"\xff" * 30, is_patient=True) is Outcome.DONE
    for topic in ("spBv1.0/park/DDATA", "spBv1.0/park/NCMD/gw-1", "spBv1.0/park/DDATA/stranger/x", "spBv1.0/a/b/c/d/e"):
        assert await node.host.take(topic, good.payload, is_patient=True) is Outcome.DONE
    future = node.data((NOW_MS + 10**9, 1))
    await node.send(good, *future)
    assert len(await rows_of(STORED)) == 1


async def test_an_event_told_twice_is_stored_once(node, rows_of):
    await node.begin()
    event = StoredEvent(
        seq=1, kind="door.access", device="meter-1", at_ms=NOW_MS - 10, received_at_ms=NOW_MS, data={"n": 1}
    )
    [message] = node.session.data([], [event], NOW_MS, is_historical=False)
    await node.send(message, message, *node.session.births(NOW_MS))
    assert await rows_of("SELECT kind, data FROM event") == [("door.access", {"n": 1})]
