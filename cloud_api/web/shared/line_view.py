"""What a line of a bill rests on, for the page that opens from it: how it is reckoned, its days, its quarter hours."""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from psycopg import AsyncConnection

from cloud_api.billing import line_evidence
from cloud_api.billing.line_evidence import LineEvidence, Quarter
from cloud_api.billing.tariff import bucket_name
from cloud_api.kit.errors import Invalid
from cloud_api.kit.i18n import in_language
from cloud_api.kit.i18n import mark as N_  # noqa: N812
from cloud_api.web.shared.bill_view import bill_view
from cloud_api.web.shared.tariff_view import bucket_prices, price_words

QUALITIES = {
    "actual": ("ok", N_("read")),
    "estimated": ("warning", N_("estimated")),
    "edited": ("info", N_("set by a person")),
    "missing": ("critical", N_("missing")),
}
DRIVERS = {"area": N_("leased area × days"), "head_count": N_("people × days"), "energy": N_("own energy"),
           "equal": N_("equal parts")}  # fmt: skip
UNITS = {"water": "m³", "gas": "m³"}


async def line_context(conn: AsyncConnection, bill: Mapping[str, Any], number: int, day: str) -> dict[str, Any]:
    """Return what the page of a line shows, with the quarter hours of `day` when one is chosen."""
    row = dict(bill)
    found = await line_evidence.of_line(conn, row, number)
    shown = bill_view(row)
    line = shown["lines"][number - 1]
    chosen = _day(day)
    quarters = await line_evidence.of_day(conn, row, number, chosen) if chosen and found.days else []
    days = [d.day for d in found.days]
    return {
        "bill": shown,
        "line": line,
        "found": found,
        "meter_unit": UNITS.get(row["snapshot"]["utility"], "kWh"),
        "version": found.version,
        "version_ends": found.version.valid_to - timedelta(days=1)
        if found.version and found.version.valid_to
        else None,
        "price_words": _price_words(found),
        "ratio": _ratio(found),
        "base_lines": _base_lines(found, shown["lines"]),
        "shared": _shared(row["snapshot"], found),
        "bookings": await line_evidence.bookings_of(conn, row) if found.line.get("source") == "after_hours" else [],
        "day": chosen,
        "before": max((d for d in days if chosen and d < chosen), default=None),
        "after": min((d for d in days if chosen and d > chosen), default=None),
        "meters": _by_meter(quarters, found),
    }


def _price_words(found: LineEvidence) -> str:
    if found.version is None or found.component is None:
        return ""
    if found.component.prices:
        return in_language("、", ", ").join(
            f"{name} {price}" for name, price in bucket_prices(found.version, found.component)
        )
    return price_words(found.version, found.component)


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise Invalid("{text!r} is not a day; write 2026-11-12", text=text) from None


def _ratio(found: LineEvidence) -> Decimal | None:
    if found.version is None or found.component is None or not found.component.floats or not found.line["bucket"]:
        return None
    bucket = found.version.buckets.get(found.line["bucket"])
    return bucket.ratio if bucket else None


def _base_lines(found: LineEvidence, lines: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the lines that a percentage, a minimum or an adjustment is reckoned from."""
    codes = found.component.base_codes if found.component else ()
    return [line for line in lines if line["component"] in codes]


def _shared(snapshot: Mapping[str, Any], found: LineEvidence) -> dict[str, Any] | None:
    """Return how common energy or losses came to this tenant: the site's whole, the drivers, the tenant's part."""
    source, pool = found.line.get("source", "own"), snapshot.get("shared")
    if source not in {"common", "loss"} or pool is None:
        return None
    policy = snapshot["policy"]
    if source == "common":
        mix = {k: Decimal(str(v)) for k, v in policy["common"].items()}
    else:
        mix = {"area" if policy["residual"] == "pro_rata_area" else "energy": Decimal(1)}
    whole = sum(mix.values(), Decimal(0))
    return {
        "is_common": source == "common",
        "kwh": Decimal(pool["common_kwh" if source == "common" else "loss_kwh"]),
        "mine": sum((Decimal(u[source]) for u in snapshot["usage"]), Decimal(0)),
        "drivers": [
            {"name": DRIVERS[driver], "part": part / whole if whole else None}
            | {"own": _number(pool, driver, 0), "all": _number(pool, driver, 1)}
            for driver, part in mix.items()
        ],
    }


def _number(pool: Mapping[str, Any], driver: str, place: int) -> Decimal | None:
    return Decimal(pool[driver][place]) if driver in pool else None


def _by_meter(quarters: Sequence[Quarter], found: LineEvidence) -> list[dict[str, Any]]:
    meters: dict[str, list[Quarter]] = {}
    for quarter in quarters:
        meters.setdefault(quarter.meter, []).append(quarter)
    return [
        {
            "code": code,
            "name_zh": own[0].meter_name["zh"],
            "name_en": own[0].meter_name["en"],
            "share": own[0].share,
            "quantity": sum((q.quantity for q in own if q.counts), Decimal(0)),
            "rows": [_quarter(q, found) for q in own],
        }
        for code, own in meters.items()
    ]


def _quarter(quarter: Quarter, found: LineEvidence) -> dict[str, Any]:
    label = bucket_name(found.version, quarter.bucket) if found.version else None
    return {
        "starts_at": quarter.starts_at,
        "bucket": in_language(label.zh, label.en) if label else quarter.bucket,
        "bucket_code": quarter.bucket,
        "counts": quarter.counts,
        "measured": quarter.measured,
        "quantity": quarter.quantity,
        "quality": QUALITIES[quarter.quality],
        "is_actual": quarter.quality == "actual",
        "reading": quarter.reading,
        "read_at": quarter.read_at,
        "today": quarter.today,
    }
