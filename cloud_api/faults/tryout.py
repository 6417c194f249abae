"""A rule tried on the stored data of an equipment before it is switched on."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from psycopg import AsyncConnection

from cloud_api.faults import bindings, replay
from cloud_api.faults.catalogue import rule_named
from cloud_api.faults.evaluation import NO_EVAL
from cloud_api.faults.findings import Finding
from cloud_api.faults.rules import Rule
from cloud_api.faults.trend import Trend
from cloud_api.kit.errors import Invalid, NotFound

TRY_OUT_MAX = timedelta(days=31)


@dataclass(frozen=True, slots=True, kw_only=True)
class TryOut:
    """What a rule would have found: findings, and for how much of the time it could not judge."""

    rule: Rule
    missing: tuple[str, ...]
    findings: tuple[Finding, ...]
    judged_share: float


async def try_out(
    conn: AsyncConnection,
    *,
    equipment_id: int,
    rule_id: str,
    params: Mapping[str, str | float | bool],
    start: datetime,
    end: datetime,
) -> TryOut:
    """Say what a rule would have found on an equipment's stored data, without switching it on."""
    if not timedelta(0) < end - start <= TRY_OUT_MAX:
        raise Invalid("choose a period of at most {days} days", days=TRY_OUT_MAX.days)
    found = await bindings.bound_equipment(conn, equipment_id)
    if not found:
        raise NotFound
    rule = rule_named(rule_id).with_params(params)
    seconds, columns = await bindings.columns_between(conn, found[0], start, end)
    data = Trend(seconds=seconds, columns=columns, tick_s=bindings.TICK_S, zone=found[0].zone)
    done = replay.replay([rule], data)
    codes = done.verdicts[rule_id].codes
    judged = float((codes != NO_EVAL).mean()) if len(codes) else 0.0
    return TryOut(rule=rule, missing=done.missing.get(rule_id, ()), findings=done.findings, judged_share=judged)
