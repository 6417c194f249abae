"""Reading the ledger: meter tree, charts, demand, balance, virtual meters, gaps."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal
from zoneinfo import ZoneInfo

import numpy as np
from psycopg import AsyncConnection

from cloud_api.db.queries import load_queries
from cloud_api.db.rows import all_rows
from cloud_api.kit.ids import MeterId, RegisterId, SiteId
from cloud_api.kit.period import Period
from cloud_api.metering import packs, repository
from cloud_api.metering.balance import Balance, Part, Suspect, balance, suspects
from cloud_api.metering.lengths import Lengths
from cloud_api.metering.model import Meter, MeterInterval, MeterNotFound
from cloud_api.metering.virtual import combine, covers, flatten, together

queries = load_queries(__file__, "analysis.sql")

ENERGY = "active_energy_import"
STEPS_MAX = 2_000  # A chart draws no more points than that.


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A step of a chart: what many meters counted together."""

    starts_at: datetime
    quantity: Decimal
    interval_count: int
    estimated_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DaySum:
    """A local day of a chart."""

    day: date
    quantity: Decimal
    interval_count: int
    estimated_count: int
    missing_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """A meter's highest average power over a quarter of an hour or a longer interval, from actual intervals only."""

    meter_id: MeterId
    starts_at: datetime
    ends_at: datetime
    power_kw: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """A stretch without readings; `device_offline` when the gateway said the device did not answer."""

    silent_from: datetime
    silent_to: datetime
    device_offline: bool


async def meter(conn: AsyncConnection, meter_id: MeterId) -> Meter:
    """Return a meter that the viewer may see; raises MeterNotFound."""
    rows = await all_rows(conn, queries.meter, {"meter_id": meter_id})
    if not rows:
        raise MeterNotFound
    return _meter(rows[0])


async def meters(conn: AsyncConnection) -> list[Meter]:
    """Return the meters that the viewer may see, parents before their children."""
    return [_meter(row) for row in await all_rows(conn, queries.meters, {})]


async def chart(
    conn: AsyncConnection, meter_ids: Sequence[MeterId], period: Period, *, step: timedelta, quantity: str = ENERGY
) -> list[Step]:
    """Return the sum of meters per step, at most STEPS_MAX of them; an empty step is not there."""
    while period.duration / step > STEPS_MAX:
        step *= 2
    rows = await all_rows(conn, queries.registers_of_meters, {"meter_id": list(meter_ids), "quantity": quantity})
    count = math.ceil(period.duration / step)
    total = packs.Total(count)
    async for columns in packs.read(conn, [RegisterId(row["id"]) for row in rows], period):
        total.add(columns, (columns.starts_s - packs.epoch_seconds(period.start)) // int(step.total_seconds()))
    return [
        Step(
            starts_at=period.start + n * step,
            quantity=packs.to_decimal(total.mantissas[n], total.scale),
            interval_count=int(total.counts[n]),
            estimated_count=int(total.estimated[n]),
        )
        for n in np.flatnonzero(total.counts).tolist()
    ]


async def chart_by_day(
    conn: AsyncConnection, meter_ids: Sequence[MeterId], first: date, after: date, *, quantity: str = ENERGY
) -> list[DaySum]:
    """Return the sum of meters per local day from `first` to `after` (excluded)."""
    arguments = {"meter_id": list(meter_ids), "quantity": quantity, "first": first, "after": after}
    return [DaySum(**row) for row in await all_rows(conn, queries.summed_by_day, arguments)]


async def demand(
    conn: AsyncConnection, meter_ids: Sequence[MeterId], period: Period, *, quantity: str = ENERGY
) -> dict[MeterId, Demand]:
    """Return each meter's demand; a meter without an actual interval has none."""
    arguments = {"meter_id": list(meter_ids), "quantity": quantity, "start": period.start, "end": period.end}
    return {row["meter_id"]: Demand(**row) for row in await all_rows(conn, queries.demand, arguments)}


async def branch_balance(
    conn: AsyncConnection, meter_id: MeterId, period: Period, *, by: Literal["interval", "day"], quantity: str = ENERGY
) -> list[Balance]:
    """Return the balance of a meter and those directly below it, per bucket; the period lies on bucket edges."""
    children, buckets = await _buckets(conn, meter_id, period, by, quantity)
    return [
        balance(
            bucket,
            found.get(meter_id),
            [Part(meter_id=row["id"], use=row["use"], quantity=found.get(row["id"])) for row in children],
        )
        for bucket, found in sorted(buckets.items())
    ]


async def branch_suspects(
    conn: AsyncConnection, meter_id: MeterId, period: Period, *, quantity: str = ENERGY
) -> list[Suspect]:
    """Return the meters whose reversed transformer or wrong place in the tree would explain a branch's residual.

    Judged over the days of the period that are known completely.
    """
    children, buckets = await _buckets(conn, meter_id, period, "day", quantity)
    ids = [meter_id, *(row["id"] for row in children)]
    known = [found for found in buckets.values() if all(found.get(i) is not None for i in ids)]
    if not known:
        return []
    sums = {i: sum((found[i] or Decimal(0) for found in known), Decimal(0)) for i in ids}
    parts = [Part(meter_id=row["id"], use=row["use"], quantity=sums[row["id"]]) for row in children]
    return suspects(sums[meter_id], parts)


async def _buckets(
    conn: AsyncConnection, meter_id: MeterId, period: Period, by: Literal["interval", "day"], quantity: str
) -> tuple[list[dict[str, Any]], dict[datetime, dict[int, Decimal | None]]]:
    """Return the children of a branch, and what its meters counted per bucket."""
    children = await all_rows(conn, queries.children, {"meter_id": meter_id})
    ids = [meter_id, *(MeterId(row["id"]) for row in children)]
    buckets: dict[datetime, dict[int, Decimal | None]] = defaultdict(dict)
    if by == "interval":
        for whole, parts in together(await repository.meter_intervals(conn, ids, period, quantity)):
            buckets[whole.start] = {i: _known(rows, whole) for i, rows in parts.items()}
        return children, buckets
    arguments = {"meter_id": ids, "quantity": quantity, "start": period.start, "end": period.end}
    for row in await all_rows(conn, queries.buckets_by_day, arguments):
        buckets[row["bucket"]][row["meter_id"]] = row["quantity"]
    return children, buckets


def _known(rows: Sequence[MeterInterval], whole: Period) -> Decimal | None:
    if not covers(rows, whole) or any(row.quality == "missing" for row in rows):
        return None
    return sum((row.quantity for row in rows), Decimal(0))


async def set_formula(conn: AsyncConnection, meter_id: MeterId, terms: Mapping[MeterId, Decimal]) -> None:
    """Make a meter virtual: the sum of other meters times their factors. Raises FormulaRefused for a cycle."""
    await meter(conn, meter_id)
    for input_id in terms:
        await meter(conn, input_id)
    known = await _terms(conn)
    flatten(meter_id, {**known, meter_id: list(terms.items())})
    await conn.execute(queries.delete_terms, {"meter_id": meter_id})
    await conn.execute(
        queries.add_terms,
        {"meter_id": meter_id, "input_meter_id": list(terms), "factor": list(terms.values())},
    )


async def virtual_intervals(
    conn: AsyncConnection, meter_id: MeterId, period: Period, *, quantity: str = ENERGY
) -> list[MeterInterval]:
    """Return the intervals of a meter, computed from the measured meters behind it when it is virtual."""
    factors = await measured_behind(conn, meter_id)
    measured = await repository.meter_intervals(conn, list(factors), period, quantity)
    return combine(meter_id, factors, measured)


async def lengths_behind(conn: AsyncConnection, meter_id: MeterId) -> Lengths:
    """Return the length of a meter's intervals over time; a virtual one has that of its longest input."""
    return Lengths.longest([(await meter(conn, i)).lengths for i in await measured_behind(conn, meter_id)])


async def measured_behind(conn: AsyncConnection, meter_id: MeterId) -> dict[MeterId, Decimal]:
    """Return the measured meters behind a meter with their factors; a measured meter is its own. Refuses a cycle."""
    return flatten(meter_id, await _terms(conn))


async def gaps(conn: AsyncConnection, register_id: RegisterId, period: Period, *, longer_than: timedelta) -> list[Gap]:
    """Return stretches in which a register's point was silent; silence is neither zero nor a lost number."""
    arguments = {"register_id": register_id, "start": period.start, "end": period.end}
    rows = await all_rows(conn, queries.gaps, arguments | {"seconds": longer_than.total_seconds()})
    return [Gap(**row) for row in rows]


async def sequence_gaps(conn: AsyncConnection) -> list[dict[str, Any]]:
    """Return numbers that gateways gave and that never arrived."""
    return await all_rows(conn, queries.sequence_gaps, {})


async def _terms(conn: AsyncConnection) -> dict[MeterId, list[tuple[MeterId, Decimal]]]:
    terms: dict[MeterId, list[tuple[MeterId, Decimal]]] = defaultdict(list)
    for row in await all_rows(conn, queries.terms, {}):
        terms[MeterId(row["meter_id"])].append((MeterId(row["input_meter_id"]), row["factor"]))
    return terms


def _meter(row: Mapping[str, Any]) -> Meter:
    columns: dict[str, Any] = {key: value for key, value in row.items() if key not in {"time_zone", "lengths"}}
    columns["site_id"] = SiteId(row["site_id"])
    return Meter(**columns, lengths=Lengths.of(row["lengths"]), zone=ZoneInfo(row["time_zone"]))
