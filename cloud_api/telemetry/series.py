"""Courses of points for charts: from observations or from sums of them, which a worker keeps up with the data.

What comes in time is summed by the clock, a quarter of an hour at a time for all points; what comes late leaves a mark
(`series_mark`) in the transaction that stores it. Sums are made again from the observations, never added to, so any
order of arrival and any repetition gives the same. Charts only: no bill reads them.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from psycopg import AsyncConnection

from cloud_api.db.arrays import Instants, Int4s, Int8s
from cloud_api.db.queries import load_queries
from cloud_api.db.rows import all_rows
from cloud_api.kit.clock import Clock
from cloud_api.kit.errors import NotFound
from cloud_api.kit.ids import PointId
from cloud_api.kit.period import Period
from cloud_api.telemetry import course as rules
from cloud_api.telemetry.columns import Ints, Observations
from cloud_api.telemetry.course import STEPS_MAX, Course, Plan, Said
from cloud_api.telemetry.model import SeriesStep

queries = load_queries(__file__, "series.sql")

LATE_AFTER = timedelta(minutes=1)
MARKS_PER_TURN = 200
_SETTLED_AFTER = timedelta(minutes=5)  # What came in time is committed by then.
_QUARTER, _HOUR = timedelta(minutes=15), timedelta(hours=1)
_STRETCH_MAX = timedelta(days=1)  # One transaction sums no more than that.
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


async def course(
    conn: AsyncConnection, point_id: PointId, period: Period, *, now: datetime, steps_max: int = STEPS_MAX
) -> Course:
    """Return a point's course in at most `steps_max` steps, and its gaps. Raises NotFound for a point of others.

    Observations are read where the steps are shorter than a quarter of an hour, sums where they are longer; what is not
    summed yet is read from the observations.
    """
    [horizon] = await all_rows(conn, queries.horizon, {"point_id": point_id})
    cut = rules.plan(period, steps_max, horizon["raw_since"])
    found = await _read(conn, point_id, cut, horizon["summed_until"])
    steps = rules.fill(cut, found)
    said = await all_rows(conn, queries.why_silent, {"point_id": point_id, "start": cut.start, "end": cut.end})
    if not said:
        raise NotFound
    return Course(step=cut.step, steps=steps, gaps=rules.gaps(steps, cut.step, Said(**said[0]), now))


async def mark_late(conn: AsyncConnection, rows: Observations, points: Ints, received_at: datetime) -> None:
    """Leave a mark when some of the rows came late; part of the transaction that stores them."""
    if is_late(rows, received_at):
        first, last = (_EPOCH + timedelta(milliseconds=int(ms)) for ms in (rows.at_ms.min(), rows.at_ms.max()))
        await conn.execute(queries.mark, {"point_id": Int8s(points), "first": first, "last": last})


def is_late(rows: Observations, received_at: datetime) -> bool:
    """Return whether some of the rows came too late to be summed by the clock."""
    return bool(len(rows)) and int(rows.at_ms.min()) < (received_at - LATE_AFTER).timestamp() * 1000


def mark_arguments(late: Sequence[tuple[Ints, Observations]]) -> dict[str, Any]:
    """Return the marks of several batches, each with its points, as the parameters of app.accept_batches."""
    ends = np.cumsum([len(points) for points, _ in late], dtype=np.int64)
    return {
        "mark_point_id": Int8s(np.concatenate([points for points, _ in late]) if late else ()),
        "mark_from": Int4s([end - len(points) + 1 for end, (points, _) in zip(ends, late, strict=True)]),
        "mark_to": Int4s(ends),
        "mark_first": Instants([rows.at_ms.min() for _, rows in late]),
        "mark_last": Instants([rows.at_ms.max() for _, rows in late]),
    }


async def sum_due(conn: AsyncConnection, clock: Clock) -> bool:
    """Sum what is due, at most a day of all points and some marks; return whether there is more. One at a time."""
    if not (await all_rows(conn, queries.lock, {}))[0]["is_mine"]:
        return False
    target = _floor(clock.now() - _SETTLED_AFTER, _QUARTER)
    until: datetime = (await all_rows(conn, queries.state, {}))[0]["summed_until"]
    behind = until < target
    if behind:
        after = min(target, until + _STRETCH_MAX)
        await conn.execute(queries.sum_all, {"first": until, "after": after})
        await conn.execute(queries.set_state, {"until": after})
        until = after
    marks = await all_rows(conn, queries.take_marks, {"limit": MARKS_PER_TURN})
    is_done = await _work_off(conn, marks, until)
    return until < target or len(marks) == MARKS_PER_TURN or not is_done


async def _work_off(conn: AsyncConnection, marks: Sequence[Mapping[str, Any]], until: datetime) -> bool:
    """Sum again what the marks name, as far as it has been summed; one statement for marks of the same stretch.

    Returns whether that was all: of a long mark only the first day is summed.
    """
    stretches: dict[tuple[datetime, datetime], set[int]] = {}
    done: list[int] = []
    for mark in marks:
        # Whole hours, so that the batches of a backlog share their stretches.
        first, after = _floor(mark["first_at"], _HOUR), min(_floor(mark["last_at"], _HOUR) + _HOUR, until)
        if after - first > _STRETCH_MAX:
            after = first + _STRETCH_MAX
            await conn.execute(queries.shorten_mark, {"id": mark["id"], "first": after})
        else:
            done.append(mark["id"])
        if first < after:
            stretches.setdefault((first, after), set()).update(mark["point_ids"])
    for (first, after), points in stretches.items():
        await conn.execute(queries.sum_some, {"point_id": sorted(points), "first": first, "after": after})
    await conn.execute(queries.forget_marks, {"ids": done})
    return len(done) == len(marks)


async def _read(conn: AsyncConnection, point_id: PointId, cut: Plan, summed_until: datetime) -> list[SeriesStep]:
    arguments = {"point_id": point_id, "origin": cut.start, "start": cut.start, "end": cut.end, "step": cut.step}
    if cut.level is None:
        rows = await all_rows(conn, queries.from_observations, arguments)
    else:
        tail = min(max(_floor(summed_until, cut.level), cut.start), cut.end)
        level = int(cut.level.total_seconds())
        rows = await all_rows(conn, queries.from_sums, arguments | {"level": level, "tail": tail})
    return [SeriesStep(**row) for row in rows]


def _floor(instant: datetime, step: timedelta) -> datetime:
    return instant - (instant - _EPOCH) % step
