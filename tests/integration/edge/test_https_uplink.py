"""The uplink against a real HTTP server that keeps the contract, and breaks it when told to."""

import asyncio
import contextlib
import time

import pytest

from edge_agent.model import Event, Frame, Quality
from edge_agent.outbox import Outbox
from edge_agent.uplink.backoff import Backoff
from edge_agent.uplink.https import Destination, HttpsUplink
from edge_agent.uplink.wire import Catalogue, CatalogueDevice, CataloguePoint
from tests.support.contract_cloud import ContractCloud


def catalogue_of(*points: str) -> Catalogue:
    return Catalogue(
        devices=(
            CatalogueDevice(
                name="meter-1",
                label="Meter",
                profile="p",
                profile_revision="r",
                bus="tcp-1",
                address="127.0.0.1:5020/1",
                poll_s=1,
                timeout_s=10,
                points=tuple(
                    CataloguePoint(name=p, kind="sensor", quantity="power", unit="W", scale=3 if p == "p0" else None)
                    for p in points
                ),
            ),
        )
    )


def frame(*values, at=1_764_000_000_000) -> Frame:
    return Frame(
        device="meter-1",
        observed_at_ms=at,
        points=tuple(f"p{i}" for i in range(len(values))),
        values=values,
        qualities=(Quality.GOOD,) * len(values),
    )


@pytest.fixture
async def cloud():
    server = ContractCloud()
    server.url = await server.start()
    yield server
    await server.stop()


@pytest.fixture
def outbox(tmp_path):
    box = Outbox(tmp_path / "outbox.db")
    yield box
    box.close()


@contextlib.asynccontextmanager
async def running(outbox, cloud, *, points=("p0", "p1"), credential="secret", on_answer=None):
    uplink = HttpsUplink(
        Destination(url=cloud.url, credential=credential, timeout_s=5),
        outbox,
        catalogue=lambda: catalogue_of(*points),
        health=lambda: {"devices": [{"name": "meter-1", "state": "online", "since_ms": 1, "last_error": None}]},
        on_answer=on_answer,
        backoff=Backoff(first_s=0.02, max_s=0.1),
    )
    tasks = [asyncio.create_task(uplink.run()), asyncio.create_task(outbox.run())]
    try:
        yield uplink
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(condition, *, seconds=8.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen"
        await asyncio.sleep(0.01)


def drained(outbox):
    return lambda: sum(outbox.waiting().values()) == 0 and outbox.report()["buffered"] == 0


async def test_a_value_arrives_exactly_with_its_scale_time_and_number(outbox, cloud):
    outbox.use_scales(catalogue_of("p0", "p1").scales())
    outbox.append(
        [frame(12_345_678, 16.4)],
        [Event(kind="door.access", device="d", at_ms=1, received_at_ms=2, data={"door": "2"})],
    )
    async with running(outbox, cloud):
        await until(lambda: len(cloud.stored) == 3)
        await until(drained(outbox))
    assert cloud.stored[outbox.stream, 1] == {
        "point": "meter-1/p0", "scale": 3, "at_ms": 1_764_000_000_000, "value": 12_345_678, "quality": 0,
    }  # fmt: skip
    assert cloud.stored[outbox.stream, 2]["value"] == 16.4
    assert cloud.stored[outbox.stream, 3]["kind"] == "door.access"
    assert cloud.stored[outbox.stream, 3]["data"] == {"door": "2"}
    assert cloud.catalogue["devices"][0]["points"][0]["scale"] == 3
    assert cloud.heartbeats[0]["devices"][0]["name"] == "meter-1"
    assert "outbox" in cloud.heartbeats[0]


async def test_a_change_leaves_within_half_a_second(outbox, cloud):
    async with running(outbox, cloud):
        await until(lambda: cloud.catalogues == 1)
        delays = []
        for value in range(12):
            sent = time.monotonic()
            before = len(cloud.stored)
            outbox.append([frame(value, 1.0)])
            await until(lambda before=before: len(cloud.stored) > before)
            delays.append(time.monotonic() - sent)
            await asyncio.sleep(0.03 * value % 0.3)
    assert sorted(delays)[6] < 0.6, delays


@pytest.mark.parametrize(
    "fault",
    ["cut_before", "cut_after", "half_receipt", "stale_receipt", "foreign_receipt", "garbage", "busy", "refuse_half"],
)
async def test_nothing_is_lost_and_nothing_stored_twice_when(outbox, cloud, fault):
    cloud.retry_after = "0.05"
    for index in range(40):
        outbox.append([frame(index, index / 2)])
        if index % 5 == 0:
            outbox.flush()
    cloud.faults.extend(["none", fault, fault, "none", fault])
    async with running(outbox, cloud):
        outbox.append([frame(1000, 1000.5)])
        await until(drained(outbox))
    assert sorted(seq for _, seq in cloud.stored) == list(range(1, 83))
    assert cloud.conflicts == []


async def test_a_cloud_that_asks_for_time_gets_it(outbox, cloud):
    cloud.faults.append("busy")
    cloud.retry_after = "1"
    outbox.append([frame(1, 1.0)])
    started = time.monotonic()
    async with running(outbox, cloud):
        await until(lambda: len(cloud.stored) == 2)
    assert time.monotonic() - started >= 1.0


async def test_an_unknown_point_brings_the_catalogue_and_then_the_data(outbox, cloud):
    async with running(outbox, cloud) as uplink:
        await until(lambda: cloud.catalogues == 1)
        cloud.known_points = set()
        uplink._catalogue_sent_at_s = float("-inf")  # As if it had been sent long ago.
        outbox.append([frame(1, 2.0)])
        await until(lambda: len(cloud.stored) == 2)
        assert cloud.catalogues == 2


async def test_a_refused_catalogue_does_not_hold_up_what_the_cloud_knows(outbox, cloud):
    cloud.refuses_catalogue = True
    cloud.known_points = {"meter-1/p0"}
    outbox.append([frame(1, 2.0)])
    async with running(outbox, cloud) as uplink:
        await until(lambda: len(cloud.stored) == 1)
        assert "catalogue" in uplink.status.last_refusal
        cloud.refuses_catalogue = False
        uplink._catalogue_sent_at_s = float("-inf")  # As if half a minute had passed.
        await until(lambda: len(cloud.stored) == 2)


async def test_a_point_that_stays_unknown_is_kept_and_does_not_stop_the_others(outbox, cloud):
    outbox.append([frame(1, 2.0, 3.0)])
    async with running(outbox, cloud, points=("p0", "p1")):
        await until(lambda: len(cloud.stored) == 2)
        outbox.append([frame(4, 5.0)])
        await until(lambda: len(cloud.stored) == 4 and sum(outbox.waiting().values()) == 1)
    assert cloud.catalogues <= 2


async def test_rejected_observations_leave_the_queue_and_are_kept_aside(outbox, cloud):
    cloud.reject = {2: "future"}
    outbox.append([frame(1, 2.0)])
    async with running(outbox, cloud):
        await until(drained(outbox))
    assert outbox.report()["rejected"] == 1
    assert (outbox.stream, 2) not in cloud.stored


async def test_one_poisonous_chunk_waits_alone(outbox, cloud):
    cloud.poison_seq = 5
    for index in range(10):
        outbox.append([frame(index, index)])
        outbox.flush()
    async with running(outbox, cloud) as uplink:
        await until(lambda: len(cloud.stored) == 18)
        assert "cannot digest" in uplink.status.last_refusal
        outbox.append([frame(99, 99)])
        await until(lambda: len(cloud.stored) == 20)
    assert {seq for _, seq in cloud.stored} == set(range(1, 23)) - {5, 6}


async def test_messages_become_smaller_when_the_cloud_finds_them_too_large(outbox, cloud):
    cloud.observations_max = 300
    for _ in range(100):
        outbox.append([frame(*range(20))])
        outbox.flush()
    async with running(outbox, cloud, points=tuple(f"p{i}" for i in range(20))):
        await until(drained(outbox), seconds=15)
    assert len(cloud.stored) == 2000


async def test_a_wrong_credential_is_said_and_nothing_is_lost(outbox, cloud):
    outbox.append([frame(1, 2.0)])
    async with running(outbox, cloud, credential="wrong") as uplink:
        await until(lambda: uplink.status.state == "refused")
        assert "EDGE_CREDENTIAL" in uplink.status.last_error
    assert cloud.stored == {}
    assert sum(outbox.waiting().values()) == 2


async def test_the_offset_of_the_clock_is_estimated_and_sent_along(outbox, cloud):
    cloud.clock_ahead_ms = 60_000
    async with running(outbox, cloud) as uplink:
        await until(lambda: uplink.status.clock_offset_ms is not None)
        outbox.append([frame(1, 2.0)])
        await until(lambda: cloud.batches)
        assert abs(uplink.status.clock_offset_ms - 60_000) < 200
        assert abs(cloud.batches[-1]["clock_offset_ms"] - 60_000) < 200


async def test_an_outage_fills_the_outbox_and_the_return_empties_it_newest_first(outbox, cloud):
    async with running(outbox, cloud):
        await until(lambda: cloud.catalogues == 1)
        port = cloud.port
        await cloud.stop()
        for index in range(30):
            outbox.append([frame(index, index)])
            outbox.flush()
        await asyncio.sleep(0.3)
        await cloud.start(port)
        outbox.append([frame(1000, 1000)])
        await until(drained(outbox))
    assert len(cloud.stored) == 62


async def test_the_answer_to_a_heartbeat_reaches_the_agent(outbox, cloud):
    answers = []

    async def take(answer):
        answers.append(answer)

    cloud.heartbeat_answer = {"configuration": {"version": 7}}
    async with running(outbox, cloud, on_answer=take):
        await until(lambda: answers)
    assert answers[0]["configuration"] == {"version": 7}
