"""Line protocol: what Telegraf and InfluxDB's own client write becomes observations, once."""

import asyncio
import gzip
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from influxdb_client import InfluxDBClient, Point, WritePrecision
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.rest import ApiException

from cloud_api.db.pool import transaction
from cloud_api.devices import service as devices
from cloud_api.kit.scope import SYSTEM
from cloud_api.telemetry import service as telemetry
from tests.integration.ingest.conftest import NOW, NOW_MS
from tests.support.real_cloud import RealCloud

STORED = (
    "SELECT d.name || '/' || p.name, o.value, o.mantissa, o.scale FROM observation o JOIN point p ON p.id = o.point_id"
    " JOIN device d ON d.id = p.device_id ORDER BY 1, o.observed_at"
)


async def write(edge, body, *, path="/ingest/v1/write", precision="ms", **headers):
    content = body.encode() if isinstance(body, str) else body
    return await edge.client.post(
        path, params={"precision": precision}, content=content, headers=edge.headers | headers
    )


async def test_a_line_names_its_device_and_point(edge, rows_of):
    lines = [
        f"power,device=meter-1,host=gw,phase=l1,unit=W value=3.5,reactive=1i {NOW_MS}",
        f'modbus,name=m1,slave_id=1 voltage=230.10,status="ok",closed=true {NOW_MS}',
    ]
    answer = await write(edge, "\n".join(lines))
    assert answer.status_code == 204, answer.text
    series = (await rows_of("SELECT name, label FROM device WHERE name LIKE 'modbus%%'"))[0]
    assert series[0].startswith("modbus-m1-1-")
    assert series[1] == "modbus,name=m1,slave_id=1"
    assert await rows_of(STORED) == [
        ("meter-1/power_l1", 3.5, 35, 1),
        ("meter-1/power_l1_reactive", 1, 1, 0),
        (f"{series[0]}/closed", 1, 1, 0),
        (f"{series[0]}/voltage", 230.1, 2301, 1),
    ]
    assert await rows_of("SELECT DISTINCT unit FROM point WHERE name LIKE 'power%%'") == [("W",)]


async def test_names_that_were_changed_never_fall_together(edge, rows_of):
    await write(edge, f"t,device=A\\ 1 value=1 {NOW_MS}\nt,device=a-1 value=2 {NOW_MS}\nt,device=a_1 value=3 {NOW_MS}")
    stored = await rows_of(STORED)
    assert len({name for name, *_ in stored}) == 3
    assert ("a-1/t", 2, 2, 0) in stored


async def test_lines_sent_again_change_nothing(edge, rows_of):
    body = "\n".join(f"energy,device=m value={n}.25 {NOW_MS - n * 1000}" for n in range(50))
    for _ in range(2):
        assert (await write(edge, body)).status_code == 204
    await asyncio.gather(*(write(edge, body + f"\nenergy,device=m value=9 {NOW_MS - 1}") for _ in range(3)))
    assert await rows_of("SELECT count(*) FROM observation") == [(51,)]
    assert await rows_of("SELECT accepted_count FROM ingest_stream") == [(51,)]


async def test_a_bad_line_is_told_and_keeps_none_of_its_neighbours_back(edge, rows_of):
    answer = await write(
        edge, f"a,device=m value=1 {NOW_MS}\nno field\nb,device=m value=2 {NOW_MS + 10**9}\n\nc,device=m value=3"
    )
    assert answer.status_code == 400
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["code"] == "partial_write"
    assert [e["place"] for e in problem["errors"]] == ["line 2", "line 3"]
    assert "ahead of the cloud's clock" in problem["errors"][1]["reason"]
    assert await rows_of(STORED) == [("m/a", 1, 1, 0), ("m/c", 3, 3, 0)]


@pytest.mark.parametrize(
    ("precision", "instant"), [("ns", NOW_MS * 10**6), ("us", NOW_MS * 1000), ("ms", NOW_MS), ("s", NOW_MS // 1000)]
)
async def test_instants_are_in_the_precision_asked_for(edge, rows_of, precision, instant):
    assert (await write(edge, f"a value=1 {instant}", precision=precision)).status_code == 204
    assert await rows_of("SELECT observed_at FROM observation") == [(NOW,)]


@pytest.mark.parametrize(
    ("body", "headers", "status", "said"),
    [
        (b"\xff value=1", {}, 400, "UTF-8"),
        (b"not gzip", {"content-encoding": "gzip"}, 400, "gzip"),
        (gzip.compress(b"x" * (49 * 1024**2)), {"content-encoding": "gzip"}, 413, "unpacked"),
        ("a value=1\n" * 50_001, {}, 422, "50001"),
        (f"a value={{x}} {NOW_MS}", {}, 400, "line 1"),
    ],
)
async def test_a_body_that_cannot_be_read_is_a_problem_with_its_reason(edge, body, headers, status, said):
    answer = await write(edge, body, **headers)
    assert answer.status_code == status
    assert said in answer.json()["detail"]


async def test_an_unknown_precision_and_a_wrong_token_are_refused(edge):
    assert (await write(edge, "a value=1", precision="min")).status_code == 422
    edge.credential = "wl_gw_000000000000_" + "x" * 30
    assert (await write(edge, "a value=1")).status_code == 401


async def test_a_register_bound_to_a_written_point_is_exact(edge, pool, rows_of):
    await write(edge, f"energy,device=m,unit=kWh value=12345678.901 {NOW_MS}")
    [(point_id,)] = await rows_of("SELECT id FROM point")
    async with transaction(pool, SYSTEM) as conn:
        [latest] = await telemetry.latest_values(conn, [point_id])
    assert latest.exact == Decimal("12345678.901")


async def test_the_client_of_influxdb_writes_to_it(database, pool):
    cloud = RealCloud(database.app, pool)
    await cloud.start()
    try:
        token = await cloud.add_gateway()

        def write_points():
            now = datetime.now(UTC)
            with InfluxDBClient(url=cloud.url, token=token, org="any", enable_gzip=True) as client:
                api = client.write_api(write_options=SYNCHRONOUS)
                for _ in range(2):
                    points = [Point("t").tag("device", "room-1").field("value", 20.5 + n).time(now) for n in range(1)]
                    api.write(bucket="any", record=points, write_precision=WritePrecision.NS)
                with pytest.raises(ApiException) as refused:
                    api.write(bucket="any", record=["broken", "t,device=room-2 value=1"])
            return refused.value

        error = await asyncio.to_thread(write_points)
        assert error.status == 400
        assert [(*row[:2], row[3]) for row in await cloud.stored()] == [("room-1", "t", 20.5), ("room-2", "t", 1.0)]
        async with transaction(pool, SYSTEM) as conn:
            assert len(await devices.devices(conn)) == 2
    finally:
        await cloud.stop()
