"""Speaks for the demo building's gateway over the real ingest API: its catalogue, some weeks of readings, live values.

The load follows a plain curve of the hour; the physical building is the simulator's matter, not that of tests that only need a filled database.
"""

import math
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import yaml

BUILDING = Path(__file__).resolve().parents[2] / "deploy/demo/building.yaml"
SHANGHAI = timedelta(hours=8)
ROLES = {"zone_temp": "°C", "oat": "°C", "co2": "ppm", "humidity": "%", "people_in": "", "people_out": ""}
BASE_W = {"main": 96_000.0, "floor": 14_000.0, "tenant": 5_200.0, "common": 4_000.0, "plant": 9_000.0}
BATCH_ROWS = 5_000


@dataclass
class DemoFeed:
    """One gateway with one outbox stream."""

    http: httpx.AsyncClient
    credential: str
    stream: str = field(default_factory=lambda: str(uuid.uuid4()))
    seq: int = 1

    def __post_init__(self):
        self.building = yaml.safe_load(BUILDING.read_text(encoding="utf-8"))

    async def announce(self):
        meters = [self._meter_device(meter["code"]) for meter in self.building["meters"]]
        others = {}
        for equipment in self.building["equipment"]:
            for role, address in (equipment.get("points") or {}).items():
                if role in ROLES:
                    device, point = address.split("/")
                    others.setdefault(device, []).append({"name": point, "unit": ROLES[role], "quantity": point})
        devices = meters + [self._device(name, points) for name, points in others.items()]
        body = {
            "v": 1,
            "agent": {"version": "0.1.0", "started_at_ms": 1},
            "revision": f"feed-{len(devices)}",
            "devices": devices,
        }
        await self._request("PUT", "/ingest/v1/catalogue", body)

    async def history(self, days, until=None):
        """Send a reading of every energy register at each quarter hour."""
        until = until or datetime.now(UTC)
        start = (until - timedelta(days=days)).replace(minute=0, second=0, microsecond=0)
        steps = int((until - start) / timedelta(minutes=15)) + 1
        rows = []
        for meter in self.building["meters"]:
            for quantity in meter["registers"]:
                if quantity != "active_energy_import":
                    continue
                total = 1_000_000.0
                for step in range(steps):
                    at = start + timedelta(minutes=15 * step)
                    rows.append((f"{meter['code']}/{quantity}", at, round(total)))
                    total += self.power_w(meter, at) / 4  # Wh, the register's last digit.
        rows.sort(key=lambda row: row[1])
        for first in range(0, len(rows), BATCH_ROWS):
            await self.send(rows[first : first + BATCH_ROWS])

    async def live(self, at=None):
        """Send what every point says now."""
        at = at or datetime.now(UTC)
        rows = [
            (f"{m['code']}/active_power_total", at, self.power_w(m, at, wobble=True)) for m in self.building["meters"]
        ]
        for equipment in self.building["equipment"]:
            for role, address in (equipment.get("points") or {}).items():
                if role in ROLES:
                    rows.append((address, at, self.air(role, address, at)))
        await self.send(rows)

    async def send(self, rows):
        points = sorted({row[0] for row in rows})
        index = {point: i for i, point in enumerate(points)}
        body = {
            "v": 1,
            "stream": self.stream,
            "sent_at_ms": _ms(datetime.now(UTC)),
            "clock_offset_ms": 0,
            "points": points,
            "scales": [3 if point.endswith("active_energy_import") else None for point in points],
            "seq": list(range(self.seq, self.seq + len(rows))),
            "point": [index[row[0]] for row in rows],
            "at_ms": [_ms(row[1]) for row in rows],
            "value": [row[2] for row in rows],
            "quality": [0] * len(rows),
            "events": [],
        }
        receipt = await self._request("POST", "/ingest/v1/batches", body)
        assert not receipt["rejected"], receipt["rejected"][:3]
        assert not receipt["retry"], receipt["retry"][:3]
        self.seq += len(rows)

    def power_w(self, meter, at, *, wobble=False):
        local = at + SHANGHAI
        hour = local.hour + local.minute / 60 + local.second / 3600
        works = local.weekday() < 5
        shape = 0.22 + (0.78 if works else 0.18) * math.exp(-(((hour - 14) / 4.6) ** 4))
        shape *= 1 + 0.06 * math.sin(local.toordinal() * 1.7 + hour)
        own = 0.6 + (sum(map(ord, meter["code"])) % 17) / 20
        noise = 1 + (0.03 * math.sin(at.timestamp() * 1.3 + own * 9) if wobble else 0)
        return round(BASE_W[meter["role"]] * own * shape * noise, 1)

    def air(self, role, address, at):
        own = sum(map(ord, address)) % 13
        wave = math.sin(at.timestamp() / 40 + own)
        return {
            "zone_temp": 23.4 + own / 10 + 0.2 * wave,
            "oat": 11.8 + 0.2 * wave,
            "co2": 560 + 45 * own + 12 * wave,
            "humidity": 48 + own + wave,
            "people_in": 400,
            "people_out": 210,
        }[role]

    async def _request(self, method, path, body):
        headers = {"Authorization": f"Bearer {self.credential}"}
        answer = await self.http.request(method, path, json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def _meter_device(self, name):
        points = [
            {"name": "active_power_total", "unit": "W", "quantity": "active_power"},
            {
                "name": "active_energy_import",
                "unit": "kWh",
                "scale": 3,
                "cumulative": True,
                "quantity": "active_energy_import",
            },
        ]
        return self._device(name, points)

    def _device(self, name, points):
        return {
            "name": name,
            "label": name,
            "profile": "eastron_sdm630",
            "bus": "tcp-1",
            "address": "",
            "poll_s": 1,
            "timeout_s": 10,
            "points": points,
        }


def _ms(instant):
    return int(instant.timestamp() * 1000)
