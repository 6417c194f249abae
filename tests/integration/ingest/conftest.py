import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime

import httpx
import pytest

from cloud_api.db.pool import transaction
from cloud_api.devices import service as devices
from cloud_api.kit.clock import Clock
from cloud_api.kit.scope import SYSTEM
from cloud_api.main import create_app
from cloud_api.settings import Settings

NOW = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)

CATALOGUE = {
    "v": 1,
    "agent": {"version": "0.1.0", "started_at_ms": 1},
    "revision": "r1",
    "devices": [
        {
            "name": "meter-1",
            "profile": "eastron_sdm630",
            "poll_s": 5,
            "timeout_s": 15,
            "points": [
                {"name": "active_energy_import", "unit": "kWh", "scale": 3, "cumulative": True},
                {"name": "active_power", "unit": "W"},
            ],
        },
        {"name": "door-1", "points": []},
    ],
}


@dataclass
class Edge:
    """Speaks for one gateway."""

    client: httpx.AsyncClient
    credential: str
    stream: str = field(default_factory=lambda: str(uuid.uuid4()))
    now: datetime = NOW

    @property
    def headers(self):
        return {"Authorization": f"Bearer {self.credential}"}

    async def announce(self, catalogue=CATALOGUE):
        answer = await self.client.put("/ingest/v1/catalogue", json=catalogue, headers=self.headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def message(self, rows=(), events=(), **head):
        points = sorted({row[1] for row in rows})
        scales = {"meter-1/active_energy_import": 3}
        return {
            "v": 1,
            "stream": self.stream,
            "sent_at_ms": NOW_MS,
            "clock_offset_ms": 0,
            "points": points,
            "scales": [scales.get(point) for point in points],
            "seq": [row[0] for row in rows],
            "point": [points.index(row[1]) for row in rows],
            "at_ms": [row[2] for row in rows],
            "value": [row[3] for row in rows],
            "quality": [row[4] if len(row) > 4 else 0 for row in rows],
            "events": list(events),
        } | head

    async def post(self, rows=(), events=(), **head):
        return await self.client.post(
            "/ingest/v1/batches", json=self.message(rows, events, **head), headers=self.headers
        )

    async def send(self, rows=(), events=(), **head):
        answer = await self.post(rows, events, **head)
        assert answer.status_code == 200, answer.text
        return answer.json()


async def make_site(pool, code="park"):
    async with transaction(pool, SYSTEM) as conn:
        cursor = await conn.execute(
            "INSERT INTO organisation (code, name_zh, name_en) VALUES (%s, '园区', 'Park') RETURNING id", (code,)
        )
        [organisation_id] = await cursor.fetchone()
        cursor = await conn.execute(
            "INSERT INTO site (organisation_id, code, name_zh, name_en) VALUES (%s, %s, '一号', 'One') RETURNING id",
            (organisation_id, code),
        )
        [site_id] = await cursor.fetchone()
    return organisation_id, site_id


@pytest.fixture
async def site(pool):
    return await make_site(pool)


@pytest.fixture
async def client(database):
    app = create_app(Settings(database_url=database.app, pool_size_max=4), Clock(source=lambda: NOW))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://cloud") as client,
    ):
        yield client


@pytest.fixture
async def edge(pool, site, client):
    async with transaction(pool, SYSTEM) as conn:
        credential = await devices.add_gateway(conn, site_code="park", name="gw-1", actor="test", now=NOW)
    return Edge(client=client, credential=credential)


@pytest.fixture
def rows_of(pool):
    async def rows(statement, arguments=None):
        async with transaction(pool, SYSTEM) as conn:
            return await (await conn.execute(statement, arguments)).fetchall()

    return rows
