"""The checks run over stored intervals: which meters, against what, and what becomes of their findings."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any
from zoneinfo import ZoneInfo

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from cloud_api.db.queries import load_queries
from cloud_api.db.rows import all_rows
from cloud_api.kit.clock import Clock
from cloud_api.kit.ids import MeterId, RegisterId
from cloud_api.kit.period import Period, local_day, local_days
from cloud_api.metering import analysis, estimates, limits, repository
from cloud_api.metering.estimation import like_days
from cloud_api.metering.lengths import Lengths
from cloud_api.metering.model import MeterInterval
from cloud_api.metering.service import ACTIVE_ENERGY_IMPORT
from cloud_api.metering.vee import (
    Finding,
    Limits,
    Transformers,
    balance_finding,
    clock_finding,
    ratio_finding,
    validate,
)

queries = load_queries(__file__, "checks.sql")

DAYS_MAX = 400  # Changes further back than that are not checked again.
_ALIKE_MAX = 3  # Days with the same total that a day is compared with, the newest.
_STANDING = ("clock", "ratio")  # What is wrong with the meter now, not with one of its days.


async def check(
    conn: AsyncConnection, clock: Clock, *, days: int, since: Mapping[RegisterId, datetime] | None = None
) -> int:
    """Check the last `days` complete local days of every meter in scope; return how many findings there are.

    `since` names registers whose ledger changed further back; they are checked from that day on.
    """
    now = clock.now()
    count = 0
    classes: dict[int, dict[str, Limits]] = {}
    for row in await all_rows(conn, queries.meters_to_check, {}):
        organisation_id = row["organisation_id"]
        if organisation_id not in classes:
            classes[organisation_id] = await limits.of_classes(conn, organisation_id)
        of_class = classes[organisation_id].get(row["use"], Limits())
        first = _first_day(row, now, days, (since or {}).get(RegisterId(row["register_id"])))
        count += await _check_meter(conn, row, limits.of_meter(of_class, row["attributes"]), now, first)
    return count


def _first_day(row: Mapping[str, Any], now: datetime, days: int, changed_at: datetime | None) -> date:
    zone = ZoneInfo(row["time_zone"])
    today = now.astimezone(zone).date()
    first = today - timedelta(days=days)
    if changed_at is None:
        return first
    return max(today - timedelta(days=DAYS_MAX), min(first, changed_at.astimezone(zone).date()))


async def _check_meter(
    conn: AsyncConnection, row: Mapping[str, Any], bounds: Limits, now: datetime, first: date
) -> int:
    zone, meter_id = ZoneInfo(row["time_zone"]), MeterId(row["id"])
    today = now.astimezone(zone).date()
    period = local_days(first, today, zone)
    totals = {
        total["day"]: total["quantity"]
        for total in await all_rows(
            conn,
            queries.day_totals,
            {"register_id": [row["register_id"]], "first": first - estimates.HISTORY, "after": today},
        )
    }
    by_day, copied = await _days(conn, row, totals, first, today)
    reactive = await _reactive(conn, meter_id, first, today)
    siblings = await _siblings(conn, row, first, today)
    if row["quantity"] != ACTIVE_ENERGY_IMPORT:
        bounds = replace(bounds, load_factor_min=None)
    found = [
        finding
        for day, intervals in sorted(by_day.items())
        if day >= first
        for finding in validate(
            intervals,
            [totals[d] for d in like_days(day, list(totals))],
            bounds,
            expected=_expected(row, day, zone),
            reactive=reactive.get(day),
            siblings=siblings.get(day),
            earlier=[i for before in copied.get(day, []) for i in by_day.get(before, [])],
        )
    ]
    if row["is_parent"]:
        found += await _balances(conn, row, bounds, period, zone)
    found += await _standing(conn, row, bounds, local_day(today - timedelta(days=1), zone), now)
    await _keep(conn, row, found, period, now)
    return len(found)


async def _days(
    conn: AsyncConnection, row: Mapping[str, Any], totals: Mapping[date, Decimal], first: date, after: date
) -> tuple[Mapping[date, list[MeterInterval]], Mapping[date, list[date]]]:
    """Return the intervals by local day, and for each day the days it may be a copy of, the oldest first.

    Those are the day before, and the last ones of the weeks before with exactly its total: so little is read besides.
    """
    zone, one = ZoneInfo(row["time_zone"]), timedelta(days=1)
    copied = {
        day: sorted({day - one, *_with_same_total(day, totals)})
        for day in (first + n * one for n in range((after - first).days))
    }
    further = {d for before in copied.values() for d in before if d < first - one}
    by_day: dict[date, list[MeterInterval]] = defaultdict(list)
    for period in [*(local_day(d, zone) for d in sorted(further)), local_days(first - one, after, zone)]:
        for interval in await repository.meter_intervals(conn, [MeterId(row["id"])], period, row["quantity"]):
            by_day[interval.starts_at.astimezone(zone).date()].append(interval)
    return by_day, copied


def _with_same_total(day: date, totals: Mapping[date, Decimal]) -> list[date]:
    total = totals.get(day)
    weeks = (d for d in sorted(totals) if day - estimates.HISTORY <= d < day)
    return [d for d in weeks if totals[d] == total][-_ALIKE_MAX:] if total else []


async def _balances(
    conn: AsyncConnection, row: Mapping[str, Any], bounds: Limits, period: Period, zone: ZoneInfo
) -> list[Finding]:
    """Compare the meter with the sum of those below it, on each day that is known completely."""
    days = await analysis.branch_balance(conn, MeterId(row["id"]), period, by="day", quantity=row["quantity"])
    found = (
        balance_finding(day.main, day.residual, bounds, local_day(day.starts_at.astimezone(zone).date(), zone))
        for day in days
    )
    return [finding for finding in found if finding is not None]


async def _standing(
    conn: AsyncConnection, row: Mapping[str, Any], bounds: Limits, yesterday: Period, now: datetime
) -> list[Finding]:
    """Check the meter's clock and transformers; what was said before in the same words stays where it was said."""
    rows = await all_rows(conn, queries.device_facts, {"register_id": row["register_id"], "now": now})
    if not rows:
        return []
    facts = rows[0]
    drifts = [Decimal(str(facts[n])) for n in ("own_drift_s", "offset_s", "jump_s") if facts[n] is not None]
    drift = max(drifts, key=abs, default=None)
    found = [clock_finding(drift, bounds, yesterday), ratio_finding(_transformers(row, facts), bounds, yesterday)]
    before = await all_rows(
        conn, queries.standing_findings, {"register_id": row["register_id"], "checks": list(_STANDING)}
    )
    return [_where_it_was_said(finding, before) for finding in found if finding is not None]


def _where_it_was_said(finding: Finding, before: Sequence[Mapping[str, Any]]) -> Finding:
    for row in before:
        if row["check_name"] == finding.check and row["detail"] == finding.detail:
            return replace(finding, starts_at=row["starts_at"], ends_at=row["ends_at"])
    return finding


def _transformers(row: Mapping[str, Any], facts: Mapping[str, Any]) -> Transformers | None:
    if facts["ct"] is None and facts["pt"] is None:
        return None
    return Transformers(
        device=Decimal(str(facts["ct"] or 1)) * Decimal(str(facts["pt"] or 1)),
        register=facts["factor"],
        registry=_registry(row["attributes"]),
    )


def _registry(attributes: Mapping[str, Any]) -> Decimal | None:
    """Return CT × PT as the meter's attributes `ct_ratio` and `pt_ratio` say; None where they say nothing."""
    stated = [attributes[name] for name in ("ct_ratio", "pt_ratio") if attributes.get(name)]
    try:
        ratios = [Decimal(str(value)) for value in stated]
    except InvalidOperation:
        return None
    product = Decimal(1)
    for ratio in ratios:
        product *= ratio
    return product if ratios and product.is_finite() and product > 0 else None


def _expected(row: Mapping[str, Any], day: date, zone: ZoneInfo) -> int | None:
    """Return how many intervals a day has; None on the day on which the register's life begins."""
    whole = local_day(day, zone)
    if row["opened_at"] is not None and row["opened_at"] > whole.start:
        return None
    if row["first_at"] is None or row["first_at"] > whole.start:
        return None
    return Lengths.of(row["lengths"]).count(whole)


async def _reactive(conn: AsyncConnection, meter_id: MeterId, first: date, after: date) -> dict[date, Decimal]:
    arguments = {"meter_id": meter_id, "first": first, "after": after}
    return {row["day"]: row["quantity"] for row in await all_rows(conn, queries.reactive_by_day, arguments)}


async def _siblings(
    conn: AsyncConnection, row: Mapping[str, Any], first: date, after: date
) -> dict[date, dict[str, int]]:
    """Return by day how many intervals each other channel of the meter measured."""
    arguments = {
        "meter_id": row["id"], "quantity": row["quantity"], "zone": row["time_zone"], "first": first, "after": after,
    }  # fmt: skip
    found: dict[date, dict[str, int]] = defaultdict(dict)
    for line in await all_rows(conn, queries.siblings_by_day, arguments):
        found[line["day"]][line["quantity"]] = line["measured"]
    return found


async def _keep(
    conn: AsyncConnection, row: Mapping[str, Any], found: Sequence[Finding], period: Period, now: datetime
) -> None:
    columns = {
        "register_id": [row["register_id"]] * len(found),
        "check_name": [f.check for f in found],
        "starts_at": [f.starts_at for f in found],
    }
    await conn.execute(
        queries.keep_findings,
        columns
        | {
            "organisation_id": [row["organisation_id"]] * len(found),
            "ends_at": [f.ends_at for f in found],
            "detail": [Jsonb(f.detail) for f in found],
            "standing": list(_STANDING),
            "now": now,
        },
    )
    await conn.execute(
        queries.forget_findings,
        columns
        | {
            "registers": [row["register_id"]],
            "start": period.start,
            "end": period.end,
            "standing": list(_STANDING),
            "now": now,
        },
    )
