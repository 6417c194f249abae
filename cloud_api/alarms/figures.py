"""The figures of ISA-18.2 / IEC 62682: load, floods, chattering, stale and frequent alarms, times to act."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from statistics import median
from typing import Any

from psycopg import AsyncConnection

from cloud_api.alarms import repository

TEN_MINUTES = timedelta(minutes=10)
FLOOD_STARTS_ABOVE, FLOOD_ENDS_BELOW = 10, 5
STALE_AFTER = timedelta(hours=24)
CHATTER_COUNT, CHATTER_WITHIN = 3, timedelta(minutes=1)
TOP = 10
OCCURRENCES_MAX = 50_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Occurred:
    """One occurrence, as the figures need it."""

    alarm_id: int
    rule: str
    subject: str
    severity: int
    at: datetime
    acknowledged_at: datetime | None
    cleared_at: datetime | None
    reopened_count: int
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One figure beside its limits: `good` very likely acceptable, `limit` the most that can be managed."""

    key: str
    value: float | None
    good: float | None
    limit: float | None
    unit: str = ""

    @property
    def state(self) -> str:
        """The word for the figure: ok, warning, critical, or unknown without data."""
        if self.value is None or self.good is None:
            return "unknown"
        if self.value <= self.good:
            return "ok"
        return "warning" if self.limit is None or self.value <= self.limit else "critical"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a fault cost in the period: its money per day by the tariff in force, for as long as it lasted."""

    rule: str
    name: str
    money: float
    currency: str
    kwh: float
    days: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All figures of a period."""

    figures: tuple[Figure, ...]
    top: tuple[tuple[str, str, int, float], ...]
    dearest: tuple[Cost, ...]
    by_severity: dict[int, float]
    by_day: tuple[tuple[datetime, int], ...]
    count: int


async def report(conn: AsyncConnection, start: datetime, end: datetime) -> Report:
    """Return the figures of what was announced in [start, end)."""
    values = {"start": start, "end": end, "limit": OCCURRENCES_MAX}
    found = [_occurred(row) for row in await repository.rows(conn, repository.queries.occurred, values)]
    standing = await repository.rows(conn, repository.queries.standing, {"before": end - STALE_AFTER})
    priced = await repository.rows(conn, repository.queries.priced, values)
    return compute(found, start, end, stale_count=len(standing), costs=_costs(priced, start, end))


def compute(
    found: Sequence[Occurred], start: datetime, end: datetime, *, stale_count: int, costs: Sequence[Cost] = ()
) -> Report:
    """Compute the figures; pure."""
    days = max((end - start) / timedelta(days=1), 1e-9)
    slots = _slots(found, start, end)
    hours = Counter(int((o.at - start) / timedelta(hours=1)) for o in found)
    hour_count = max(1, round(days * 24))
    flood = _share_in_flood(slots)
    kinds = Counter((o.rule, o.name) for o in found)
    top = kinds.most_common(TOP)
    # With ten kinds or fewer they are always all of them, which says nothing.
    top_share = _pct(sum(c for _, c in top), len(found)) if len(kinds) > TOP else None
    to_ack = [(o.acknowledged_at - o.at).total_seconds() / 60 for o in found if o.acknowledged_at]
    to_clear = [(o.cleared_at - o.at).total_seconds() / 3600 for o in found if o.cleared_at]
    n = len(found)
    figures = (
        Figure(key="per_day", value=round(n / days, 1), good=150, limit=300),
        Figure(key="per_hour", value=round(n / days / 24, 2), good=6, limit=12),
        Figure(key="per_ten_minutes", value=round(n / days / 144, 3), good=1, limit=2),
        Figure(
            key="hours_above_30",
            value=_pct(sum(c > 30 for c in hours.values()), hour_count),
            good=1,
            limit=None,
            unit="%",
        ),
        Figure(key="slots_above_10", value=_pct(sum(c > 10 for c in slots), len(slots)), good=1, limit=None, unit="%"),
        Figure(key="peak", value=max(slots, default=0), good=10, limit=20),
        Figure(key="in_flood", value=flood, good=1, limit=None, unit="%"),
        Figure(key="top_share", value=top_share, good=5, limit=None, unit="%"),
        Figure(key="chattering", value=_chattering(found), good=0, limit=None),
        Figure(key="stale", value=stale_count, good=4, limit=None),
        Figure(
            key="to_acknowledge", value=round(median(to_ack), 1) if to_ack else None, good=30, limit=None, unit="min"
        ),
        Figure(key="to_clear", value=round(median(to_clear), 1) if to_clear else None, good=24, limit=None, unit="h"),
    )
    severities = Counter(o.severity for o in found)
    by_day = Counter(int((o.at - start) / timedelta(days=1)) for o in found)
    return Report(
        figures=figures,
        top=tuple((rule, name, count, _pct(count, n)) for (rule, name), count in top),
        dearest=tuple(costs[:TOP]),
        by_severity={s: _pct(severities[s], n) if n else 0.0 for s in (1, 2, 3, 4)},
        by_day=tuple((start + timedelta(days=d), by_day[d]) for d in range(max(1, round(days)))),
        count=n,
    )


def _costs(rows: Sequence[dict[str, Any]], start: datetime, end: datetime) -> list[Cost]:
    """Add up what each fault cost in the period, the dearest first."""
    total: dict[tuple[str, str, str], list[float]] = {}
    for row in rows:
        params = row["params"]
        days = (min(row["cleared_at"] or end, end) - max(row["opened_at"], start)) / timedelta(days=1)
        key = (row["rule"], str(params.get("name", row["subject"])), str(params.get("currency", "")))
        sums = total.setdefault(key, [0.0, 0.0, 0.0])
        for n, part in enumerate(
            (float(params["money_per_day"]) * days, float(params.get("kwh_per_day", 0)) * days, days)
        ):
            sums[n] += part
    found = [
        Cost(rule=rule, name=name, currency=currency, money=round(money, 2), kwh=round(kwh, 1), days=round(days, 2))
        for (rule, name, currency), (money, kwh, days) in total.items()
    ]
    return sorted(found, key=lambda cost: -cost.money)


def _slots(found: Sequence[Occurred], start: datetime, end: datetime) -> list[int]:
    counts = Counter(int((o.at - start) / TEN_MINUTES) for o in found)
    return [counts[i] for i in range(max(1, int((end - start) / TEN_MINUTES)))]


def _share_in_flood(slots: Sequence[int]) -> float:
    # A flood starts with more than 10 alarms in 10 minutes and ends with fewer than 5.
    flooded, inside = 0, False
    for count in slots:
        inside = count > FLOOD_STARTS_ABOVE or (inside and count >= FLOOD_ENDS_BELOW)
        flooded += inside
    return _pct(flooded, len(slots))


def _chattering(found: Sequence[Occurred]) -> int:
    times: dict[int, list[datetime]] = {}
    for o in found:
        times.setdefault(o.alarm_id, []).append(o.at)
    bursts = {
        alarm
        for alarm, at in times.items()
        if any(b - a <= CHATTER_WITHIN for a, b in pairwise(sorted(at)[:: CHATTER_COUNT - 1]))
    }
    return len(bursts | {o.alarm_id for o in found if o.reopened_count >= CHATTER_COUNT})


def _pct(part: float, whole: float) -> float:
    return round(100 * part / whole, 1) if whole else 0.0


def _occurred(row: dict[str, Any]) -> Occurred:
    params = row["params"]
    return Occurred(
        alarm_id=row["alarm_id"],
        rule=row["rule"],
        subject=row["subject"],
        severity=row["severity"],
        at=row["at"],
        acknowledged_at=row["acknowledged_at"],
        cleared_at=row["cleared_at"],
        reopened_count=row["reopened_count"],
        name=str(params.get("name", row["subject"])),
    )
