"""A signal that wavers around its limit for a day: the real evaluator and the real notifier say it once."""

import random

import numpy as np
import pytest

from cloud_api.alarms import limit_settings, stream
from cloud_api.kit.clock import fixed_clock
from cloud_api.notify import outbox
from cloud_api.telemetry import arrivals
from cloud_api.telemetry.columns import Observations
from tests.integration.notifications.stage import T0, at

LIMIT, MINUTES, BATCH = 30.0, 24 * 60, 30


async def plant(stage):
    async with stage.transaction() as conn:
        [row] = await outbox.rows(
            conn,
            "WITH g AS (INSERT INTO gateway (organisation_id, site_id, name) VALUES (%(o)s, %(s)s, 'gw-1') RETURNING id),"
            " d AS (INSERT INTO device (organisation_id, gateway_id, name) SELECT %(o)s, id, 'ahu-1' FROM g RETURNING id)"
            " INSERT INTO point (organisation_id, device_id, name) SELECT %(o)s, id, 'temperature' FROM d RETURNING id",
            {"o": stage.organisation, "s": stage.site},
        )
        await limit_settings.set_limit(
            conn, fixed_clock(T0), row["id"], kind="above", value=LIMIT, severity=2, actor="lin"
        )
    return row["id"]


def values(rng, shape):
    """One value a minute, within 1 % of the limit: white noise, a slow swing, or jumps from side to side."""
    minutes = np.arange(MINUTES)
    noise = np.array([rng.uniform(-1, 1) for _ in minutes])
    swing = np.sin(2 * np.pi * minutes / rng.uniform(7, 240))
    mixed = {"noise": noise, "swing": swing, "jumps": np.sign(swing + noise / 4)}[shape]
    return LIMIT * (1 + 0.01 * np.clip(mixed, -1, 1))


@pytest.mark.parametrize("shape", ["noise", "swing", "jumps"])
async def test_a_signal_within_one_percent_of_its_limit_for_a_day_is_one_notification(stage, receivers, shape):
    hook = receivers()
    await stage.route(await stage.channel("hook", hook.url), repeat_minutes=10_080)
    point, series = await plant(stage), values(random.Random(shape), shape)
    limits = None
    for start in range(0, MINUTES, BATCH):
        part = series[start : start + BATCH]
        seconds, count = 60 * np.arange(start, start + BATCH), len(part)
        now = at(int(seconds[-1]) + 1)
        async with stage.transaction() as conn:
            batch = Observations(
                point_id=np.full(count, point), at_ms=np.int64(T0.timestamp() * 1000) + 1000 * seconds, value=part,
                mantissa=np.zeros(count, dtype=np.int64), quality=np.zeros(count, dtype=np.int64), scale=np.full(count, -1),
            )  # fmt: skip
            await arrivals.add(conn, batch)
            limits = limits or await stream.load(conn)
            await stream.turn(conn, limits, now)
        await stage.turn(int(seconds[-1]) + 1)
        await stage.turn(int(seconds[-1]) + 40)
    assert hook.transitions() == ["opened"]
