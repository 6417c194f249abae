"""Load who held which meter in a period: the meters, their shares and the leases, cut into parts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from psycopg import AsyncConnection

from cloud_api.billing.assignment import parts_of
from cloud_api.billing.charge import Issue
from cloud_api.billing.repository import Row, queries, rows
from cloud_api.billing.run_model import MeterFacts, MeterShare, Part, SiteFacts, Tenancy
from cloud_api.kit.period import Period
from cloud_api.metering.lengths import Lengths


@dataclass(frozen=True, slots=True, kw_only=True)
class Assigned:
    """The meters of a period, the leases, and every stretch of energy by holder."""

    meters: Sequence[MeterFacts]
    tenancies: Sequence[Tenancy]
    parts: Sequence[Part]


async def load_assigned(
    conn: AsyncConnection, site: SiteFacts, ids: Mapping[str, Any], *, zone: ZoneInfo
) -> tuple[Assigned, list[Issue]]:
    """Return what is assigned in the period that the queries' values `ids` name, and what is wrong with it."""
    meters = [_meter(row) for row in await rows(conn, queries.meters, ids)]
    shares = [MeterShare(**row) for row in await rows(conn, queries.meter_shares, ids)]
    tenancies = [Tenancy(**row) for row in await rows(conn, queries.tenancies, ids)]
    period = Period(ids["start"], ids["end"])
    parts, issues = parts_of(meters, shares, tenancies, period=period, zone=zone, owner=site.owner_id)
    return Assigned(meters=meters, tenancies=tenancies, parts=parts), issues


def _meter(row: Row) -> MeterFacts:
    return MeterFacts(
        id=row["id"],
        code=row["code"],
        name={"zh": row["name_zh"], "en": row["name_en"]},
        use=row["use"],
        parent_id=row["parent_meter_id"],
        lengths=Lengths.of(row["lengths"]),
    )
