"""What an estimate may lean on: the register's own history, a check meter, holidays, outdoor temperature, its class."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import yaml
from psycopg import AsyncConnection

from cloud_api.db.queries import load_queries
from cloud_api.db.rows import all_rows
from cloud_api.kit.ids import MeterId, RegisterId
from cloud_api.kit.period import Period
from cloud_api.metering import repository
from cloud_api.metering.estimation import YEAR, Evidence
from cloud_api.metering.model import Interval

queries = load_queries(__file__, "estimates.sql")

HISTORY = timedelta(days=35)  # Holds three like days of every type.
_CLASS_PROFILES = Path(__file__).with_name("class_profiles.yaml")
# Meters whose day follows the people in the building; a plant or a main meter has a profile of its own only.
_ALIKE = {"tenant": "tenant", "floor": "tenant", "check": "tenant", "common": "common"}


async def gather(
    conn: AsyncConnection,
    finding: Mapping[str, Any],
    known: Sequence[Interval],
    *,
    step: timedelta,
    is_zero_evident: bool,
) -> Evidence:
    """Collect the evidence for a finding's stretch; `known` are the register's intervals of the weeks before.

    Only intervals as long as the stretch's own (`step`) say something about them.
    """
    zone = ZoneInfo(finding["time_zone"])
    stretch = Period(finding["starts_at"], finding["ends_at"])
    last_year = await repository.intervals(
        conn, [RegisterId(finding["register_id"])], Period(stretch.start - YEAR, stretch.end - YEAR)
    )
    days = {
        "site_id": finding["site_id"],
        "first": (stretch.start - HISTORY).astimezone(zone).date(),
        "last": stretch.end.astimezone(zone).date(),
    }
    kinds = await all_rows(conn, queries.day_kinds, days)
    temperatures = await all_rows(conn, queries.outdoor_temperatures, days)
    return Evidence(
        known=_profile([i for i in (*known, *last_year) if i.ends_at - i.starts_at == step], zone),
        check=await _check_meter(conn, finding, stretch),
        day_types={row["day"]: row["kind"] for row in kinds},
        temperatures={row["day"]: row["mean"] for row in temperatures},
        class_profile=class_profiles().get(_ALIKE.get(finding["use"], ""), {}),
        is_zero_evident=is_zero_evident,
    )


@cache
def class_profiles() -> dict[str, dict[str, list[int]]]:
    """Return the weights by hour of each class and kind of day."""
    return yaml.safe_load(_CLASS_PROFILES.read_text(encoding="utf-8"))


async def _check_meter(conn: AsyncConnection, finding: Mapping[str, Any], stretch: Period) -> dict[datetime, Decimal]:
    rows = await all_rows(conn, queries.check_meter, {"meter_id": finding["meter_id"], "at": stretch.start})
    if not rows:
        return {}
    meter_id = MeterId(rows[0]["id"])
    found = await repository.meter_intervals(conn, [meter_id], stretch, finding["quantity"])
    return {i.starts_at: i.quantity for i in found if i.quality == "actual"}


def _profile(known: Sequence[Interval], zone: ZoneInfo) -> dict[tuple[date, Any], Decimal]:
    """Return what is known for certain, by local day and time."""
    profile: dict[tuple[date, Any], Decimal] = {}
    for interval in known:
        if interval.quality == "actual":
            local = interval.starts_at.astimezone(zone)
            profile[local.date(), local.time()] = interval.quantity
    return profile
