"""Limits on points follow stored data at once; late data, a restart or an overflow give what sorted data give."""

import random
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from cloud_api.alarms import limit_settings, service, stream
from cloud_api.db.pool import transaction
from cloud_api.kit.clock import fixed_clock
from cloud_api.kit.errors import Invalid
from cloud_api.kit.scope import SYSTEM
from cloud_api.telemetry import arrivals
from cloud_api.telemetry import service as telemetry
from cloud_api.telemetry.columns import Observations

T0 = datetime(2026, 3, 2, 1, tzinfo=UTC)
T0_MS = int(T0.timestamp() * 1000)


def at(seconds):
    return T0 + timedelta(seconds=seconds)


async def one(conn, query, values=()):
    return (await (await conn.execute(query, values)).fetchone())[0]


class Plant:
    """A gateway with points; the evaluator keeps nothing that cannot be read back."""

    def __init__(self, pool, points):
        self.pool, self.points = pool, points
        self.limits = None

    async def limit(self, point=0, **values):
        async with transaction(self.pool, SYSTEM) as conn:
            values = {"kind": "above", "value": 30.0, "clear_value": 28.0} | values
            await limit_settings.set_limit(conn, fixed_clock(T0), self.points[point], actor="lin", **values)

    async def send(self, *rows, point=0):
        """Store observations given as (seconds, value); None has no usable value."""
        await self.store([(point, *row) for row in rows])

    async def store(self, rows):
        count = len(rows)
        batch = Observations(
            point_id=np.array([self.points[p] for p, _, _ in rows]),
            at_ms=np.array([T0_MS + round(s * 1000) for _, s, _ in rows]),
            value=np.array([np.nan if v is None else v for *_, v in rows], dtype=float),
            mantissa=np.zeros(count, dtype=np.int64),
            quality=np.array([3 if v is None else 0 for *_, v in rows]),
            scale=np.full(count, -1),
        )
        async with transaction(self.pool, SYSTEM) as conn:
            await telemetry.store(conn, batch, at(0))

    async def turn(self, seconds):
        """Let the evaluator work; without `limits` it starts anew, as after a kill."""
        async with transaction(self.pool, SYSTEM) as conn:
            if self.limits is None:
                self.limits = await stream.load(conn)
            return await stream.turn(conn, self.limits, at(seconds))

    async def heartbeat(self, seconds):
        async with transaction(self.pool, SYSTEM) as conn:
            await conn.execute(
                'UPDATE gateway SET last_seen_at = %s, health = \'{"outbox": {"oldest_stored_at_ms": null}}\'',
                (at(seconds),),
            )

    async def occurrences(self):
        async with transaction(self.pool, SYSTEM) as conn:
            rows = await (
                await conn.execute(
                    "SELECT a.subject, o.opened_at, o.cleared_at FROM alarm_occurrence o JOIN alarm a ON a.id = o.alarm_id"
                    " WHERE NOT o.is_disproved ORDER BY a.subject, o.opened_at"
                )
            ).fetchall()
        first = {f"point:{p}": n for n, p in enumerate(self.points)}
        return [
            (first[s], (o - T0).total_seconds(), None if c is None else (c - T0).total_seconds()) for s, o, c in rows
        ]

    async def states(self):
        async with transaction(self.pool, SYSTEM) as conn:
            return await (
                await conn.execute("SELECT subject, verdict, active, opened_at FROM alarm ORDER BY subject")
            ).fetchall()

    async def open(self):
        async with transaction(self.pool, SYSTEM) as conn:
            return await service.open_alarms(conn)


@pytest.fixture
async def make_plant(pool):
    async def make(count=1):
        async with transaction(pool, SYSTEM) as conn:
            organisation = await one(
                conn,
                "INSERT INTO organisation (code, name_zh, name_en) VALUES ('p', '园区', 'Park') RETURNING id",
            )
            site = await one(
                conn,
                "INSERT INTO site (organisation_id, code, name_zh, name_en) VALUES (%s, 's', '站', 'S') RETURNING id",
                (organisation,),
            )
            points = []
            for n in range(count):  # Each behind a gateway of its own.
                gateway = await one(
                    conn,
                    "INSERT INTO gateway (organisation_id, site_id, name) VALUES (%s, %s, %s) RETURNING id",
                    (organisation, site, f"g{n}"),
                )
                device = await one(
                    conn,
                    "INSERT INTO device (organisation_id, gateway_id, name, label) VALUES (%s, %s, 'ahu-3', 'AHU-3')"
                    " RETURNING id",
                    (organisation, gateway),
                )
                point = await one(
                    conn,
                    "INSERT INTO point (organisation_id, device_id, name, unit, quantity)"
                    " VALUES (%s, %s, 't', '°C', 'supply_air_temperature') RETURNING id",
                    (organisation, device),
                )
                points.append(point)
            await conn.execute("SELECT app.ensure_observation_partitions(%s, %s)", (T0, T0 + timedelta(days=2)))
        return Plant(pool, points)

    return make


async def test_a_value_beyond_its_limit_alarms_at_the_instant_it_was_observed(make_plant):
    plant = await make_plant()
    await plant.limit(severity=1)
    await plant.send((5, 25.0), (10, 31.0))
    await plant.turn(11)
    [alarm] = await plant.open()
    assert (alarm.severity, alarm.opened_at) == (1, at(10))
    assert alarm.sentence_en == "AHU-3: supply air temperature is above its limit of 30 °C since 03-02 09:00"
    assert alarm.sentence_zh == "AHU-3 送风温度高于上限 30 °C，自 03-02 09:00 起"
    await plant.send((20, 29.0))
    await plant.turn(21)
    assert (await plant.open())[0].active
    await plant.send((30, 27.0))
    await plant.turn(31)
    assert await plant.occurrences() == [(0, 10, 30)]


async def test_without_limits_nothing_is_left_for_the_evaluator(make_plant, pool):
    plant = await make_plant()
    await plant.send((5, 99.0))
    async with transaction(pool, SYSTEM) as conn:
        assert await arrivals.waiting(conn) == 0


async def test_a_delay_ends_exactly_on_time_and_only_as_far_as_the_data_reach(make_plant):
    plant = await make_plant()
    await plant.limit(on_delay_s=60)
    await plant.heartbeat(0)
    await plant.send((10, 31.0))
    await plant.turn(12)
    await plant.turn(75)
    assert await plant.occurrences() == []  # The gateway has said nothing since: the value may have come back.
    await plant.heartbeat(80)
    await plant.turn(81)
    assert await plant.occurrences() == [(0, 70, None)]


async def test_a_fault_that_ends_within_its_delay_is_no_alarm(make_plant):
    plant = await make_plant()
    await plant.limit(on_delay_s=60)
    await plant.send((10, 31.0), (60, 27.0))
    await plant.turn(120)
    await plant.heartbeat(120)
    await plant.turn(121)
    assert await plant.occurrences() == []


async def test_a_value_that_is_beyond_its_limit_when_the_limit_is_set_alarms_once(make_plant):
    plant = await make_plant()
    await plant.send((-30, 35.0))
    await plant.limit()
    await plant.turn(1)
    await plant.send((5, 35.0), (6, None), (7, 35.0))
    await plant.turn(8)
    assert len(await plant.occurrences()) == 1
    assert (await plant.open())[0].opened_at == T0


async def test_late_data_move_the_opening_to_where_it_was(make_plant):
    plant = await make_plant()
    await plant.limit()
    await plant.send((5, 25.0), (100, 31.0))
    await plant.turn(101)
    await plant.send((50, 32.0), (60, 33.0))
    await plant.turn(102)
    assert await plant.occurrences() == [(0, 50, None)]
    [alarm] = await plant.open()
    assert alarm.opened_at == at(50)


async def test_late_data_that_break_a_delay_end_the_alarm_and_keep_it_on_record(make_plant, pool):
    plant = await make_plant()
    await plant.limit(on_delay_s=60)
    await plant.send((10, 31.0), (80, 31.0))
    await plant.turn(81)
    assert await plant.occurrences() == [(0, 70, None)]
    await plant.send((40, 27.0), (50, 31.0))
    await plant.turn(82)
    assert await plant.occurrences() == []
    async with transaction(pool, SYSTEM) as conn:
        kinds = await (await conn.execute("SELECT kind FROM alarm_journal ORDER BY id")).fetchall()
    assert ("corrected",) in kinds


@pytest.mark.parametrize("seed", range(12))
async def test_late_and_shuffled_data_over_restarts_end_as_sorted_data(make_plant, seed):
    """Two plants see the same values: one sorted, the other shuffled, in pieces, with a killed evaluator between."""
    rng = random.Random(seed)
    delays = {"on_delay_s": rng.choice((0, 20)), "off_delay_s": rng.choice((0, 15))}
    values = [25.0]
    while len(values) < 120:
        values += [rng.choice((25.0, 29.0, 31.0, 35.0, None))] * rng.randint(1, 12)
    series = [(2 * n + 1, v) for n, v in enumerate(values[:120])]
    plant = await make_plant(2)
    for point in (0, 1):
        await plant.limit(point, **delays)
    mixed = [*sorted(series[:-1], key=lambda row: row[0] + rng.uniform(0, 60)), series[-1]]
    for first in range(0, 120, 10):
        await plant.send(*series[first : first + 10], point=0)
        await plant.send(*mixed[first : first + 10], point=1)
        if rng.random() < 0.3:
            plant.limits = None
        if rng.random() < 0.8:
            await plant.turn(series[first + 9][0] + 0.5)
    await plant.turn(240)
    await plant.heartbeat(300)
    await plant.turn(301)
    found = await plant.occurrences()
    assert [o[1:] for o in found if o[0] == 1] == [o[1:] for o in found if o[0] == 0]
    states = await plant.states()
    assert len({row[1:] for row in states}) <= 1


async def test_a_killed_evaluator_takes_up_what_it_had_not_committed(make_plant):
    plant = await make_plant()
    await plant.limit()
    await plant.send((5, 25.0))
    await plant.turn(6)
    await plant.send((10, 31.0))
    plant.limits = None
    await plant.turn(11)
    plant.limits = None
    assert await plant.turn(12) == []
    assert await plant.occurrences() == [(0, 10, None)]


async def test_when_the_queue_overflowed_the_stored_observations_are_judged_instead(make_plant, monkeypatch):
    monkeypatch.setattr(arrivals, "WAITING_MAX", 3)
    plant = await make_plant()
    await plant.limit()
    await plant.send((1, 25.0))
    await plant.turn(2)
    for second in (10, 20, 30, 40, 50):
        await plant.send((second, 31.0 if second > 15 else 25.0))
    await plant.turn(60)
    assert await plant.occurrences() == [(0, 20, None)]


async def test_removing_a_limit_ends_its_alarm(make_plant, pool):
    plant = await make_plant()
    await plant.limit()
    await plant.send((10, 31.0))
    await plant.turn(11)
    async with transaction(pool, SYSTEM) as conn:
        [limit] = await limit_settings.limits(conn)
        await limit_settings.remove_limit(conn, fixed_clock(at(20)), limit["id"])
    assert await plant.open() == []


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"kind": "sideways"}, "no limit of kind"),
        ({"value": float("nan")}, "number"),
        ({"clear_value": 31.0}, "could never end"),
        ({"kind": "below", "clear_value": 29.0}, "could never end"),
        ({"kind": "step", "value": 0.0, "clear_value": 0.0}, "larger than zero"),
        ({"on_delay_s": 100_000}, "one day"),
    ],
)
async def test_an_impossible_limit_is_refused_with_a_reason(make_plant, values, why):
    plant = await make_plant()
    with pytest.raises(Invalid, match=why):
        await plant.limit(**values)
