"""The snapshot of a bill: lines, usage, evidence and parameters, sealed by a SHA-256. Pure: same inputs, same bytes."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from cloud_api.billing.apportionment import Apportioned, Stretch, Weights, divide
from cloud_api.billing.book import Book, held_days, kwh
from cloud_api.billing.charge import Cycle, Line, Rated
from cloud_api.billing.policy import dump_policy
from cloud_api.billing.run_model import Part, RunInputs
from cloud_api.billing.tariff import bucket_name
from cloud_api.billing.what_if import line_json, plain
from cloud_api.billing.words import said_in_both

SNAPSHOT_FORM = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """What the whole site shares: common energy and losses in micro-kWh, and the sums of the drivers' weights."""

    common: int
    loss: int
    own: int
    weights: Mapping[int, Weights]
    area_days: Decimal
    people_days: Decimal


def pool_of(book: Book, apportioned: Apportioned) -> Pool:
    """Sum up once per run what each bill shows its own part of."""
    weights = book.weights()
    return Pool(
        common=apportioned.common,
        loss=apportioned.residual,
        own=apportioned.metered,
        weights=weights,
        area_days=sum((w.area_days for w in weights.values()), Decimal(0)),
        people_days=sum((w.people_days for w in weights.values()), Decimal(0)),
    )


def snapshot_of(
    book: Book, apportioned: Apportioned, party: int, cycle: Cycle, rated: Rated, pool: Pool
) -> dict[str, Any]:
    """Return everything that decided a bill and everything that it prints; the resale sheet is added by the run."""
    inputs = book.inputs
    tenant = inputs.tenants[party]
    energy = apportioned.parties[party]
    return {
        "form": SNAPSHOT_FORM,
        "issuer": dict(inputs.site.issuer),
        "site": {"code": inputs.site.code, "name": dict(inputs.site.name), "time_zone": inputs.site.time_zone},
        "tenant": {
            "id": tenant.id,
            "code": tenant.code,
            "name": dict(tenant.name),
            "credit_code": tenant.credit_code,
        },
        "utility": inputs.utility,
        "currency": inputs.site.currency,
        "period": {"from": cycle.billed_from.isoformat(), "to": cycle.billed_to.isoformat()},
        "cycle": {"from": cycle.starts_on.isoformat(), "to": cycle.ends_on.isoformat()},
        "tariff": {
            "code": inputs.tariff.tariff,
            "name": {"zh": inputs.tariff.name.zh, "en": inputs.tariff.name.en},
            "revision": inputs.tariff_revision,
            "sha256": inputs.tariff_sha256,
        },
        "policy": dump_policy(inputs.policy),
        "lines": [line_of(line) for line in rated.lines],
        "vat": [
            {"rate": str(g.rate), "included": g.tax_included, "net": str(g.net), "tax": str(g.tax)}
            | {"gross": str(g.gross)}
            for g in rated.vat
        ],
        "net": str(sum((g.net for g in rated.vat), Decimal("0.00"))),
        "tax": str(sum((g.tax for g in rated.vat), Decimal("0.00"))),
        "total": str(rated.total),
        "usage": _usage_json(inputs, {"own": energy.own, "common": energy.common, "loss": energy.loss}),
        "quantity": plain(kwh(sum(energy.own.values()))),
        "estimated_percent": str(book.estimated_percent(party)),
        "shared": _shared(pool, party, sum(energy.own.values())),
        "days": _days(inputs, energy.own),
        "leases": _leases(book, party),
        "evidence": _evidence(book, party),
        "compare": {
            when: dict(found)
            for when in ("last_month", "last_year")
            if (found := inputs.earlier.get((party, when))) is not None
        },
    }


def line_of(line: Line) -> dict[str, Any]:
    """Return a printed line as a snapshot keeps it."""
    label = line.bucket_label
    return line_json(line) | {
        "source": line.source,
        "said": said_in_both(line.note),
        "bucket_name": None if label is None else {"zh": label.zh, "en": label.en},
    }


def _shared(pool: Pool, party: int, own: int) -> dict[str, Any]:
    """Return what was shared out at the site and the party's part of each driver, as [own, all]."""
    mine = pool.weights.get(party, Weights())
    return {
        "common_kwh": plain(kwh(pool.common)),
        "loss_kwh": plain(kwh(pool.loss)),
        "energy": [plain(kwh(own)), plain(kwh(pool.own))],
        "area": [plain(mine.area_days), plain(pool.area_days)],
        "head_count": [plain(mine.people_days), plain(pool.people_days)],
    }


def _usage_json(inputs: RunInputs, kinds: Mapping[str, Mapping[int, int]]) -> list[dict[str, Any]]:
    totals: dict[tuple[str, str], dict[str, int]] = {}
    for kind, energy in kinds.items():
        for i, quantity in energy.items():
            key = (inputs.runs[i].version, inputs.runs[i].bucket)
            totals.setdefault(key, dict.fromkeys(kinds, 0))[kind] += quantity
    versions = {v.version: v for v in inputs.tariff.versions}
    found = []
    for (version, bucket), by_kind in sorted(totals.items()):
        name = bucket_name(versions[version], bucket)
        row = {"version": version, "bucket": bucket, "name": {"zh": name.zh, "en": name.en}}
        found.append(row | {kind: plain(kwh(quantity)) for kind, quantity in by_kind.items()})
    return found


def _days(inputs: RunInputs, own: Mapping[int, int]) -> list[dict[str, Any]]:
    """Return own energy per local day and bucket, for the chart."""
    zone = inputs.tariff.zone
    found: dict[date, dict[str, int]] = {
        inputs.starts_on + timedelta(days=n): {} for n in range((inputs.ends_on - inputs.starts_on).days)
    }
    for i, quantity in sorted(own.items()):
        run = inputs.runs[i]
        day = found.setdefault(run.start.astimezone(zone).date(), {})
        day[run.bucket] = day.get(run.bucket, 0) + quantity
    return [
        {"day": day.isoformat(), "buckets": {b: plain(kwh(q)) for b, q in sorted(buckets.items())}}
        for day, buckets in sorted(found.items())
    ]


def _leases(book: Book, party: int) -> list[dict[str, Any]]:
    return [
        {"lease": t.lease, "version": t.lease_version, "space": t.space, "area_m2": plain(t.area_m2)}
        | {"from": first.isoformat(), "to": after.isoformat(), "place": book.place_of(t.space_id, after)}
        for t in book.tenancies.get(party, ())
        for first, after in [held_days(book.inputs, t)]
        if first < after
    ]


def _evidence(book: Book, party: int) -> list[dict[str, Any]]:
    """Return, for each stretch of each meter that the party held: readings, energy of the meter, share, the part."""
    found = []
    for part in book.parts.get(party, ()):
        net = book.net[part.index]
        stretch = Stretch(meter_id=part.meter.id, holdings=part.holdings, energy=net)
        for holding, energy in divide(stretch):
            if holding.party != party:
                continue
            whole = book.energy_of(part)
            found.append(
                {
                    "meter": part.meter.code,
                    "meter_name": dict(part.meter.name),
                    "space": book.spaces.get(holding.space_id, ""),
                    "from": _instant(part.period.start),
                    "to": _instant(part.period.end),
                    "share": plain(holding.share),
                    "meter_kwh": plain(kwh(sum(net.values()))),
                    "kwh": plain(kwh(sum(energy.values()))),
                    "estimated_kwh": plain(kwh(whole.estimated)),
                    "intervals": whole.count,
                    "opening": _readings(book.inputs, part, "start"),
                    "closing": _readings(book.inputs, part, "end"),
                }
            )
    return found


def _readings(inputs: RunInputs, part: Part, edge: str) -> list[dict[str, Any]]:
    return [
        {
            "register": r.register_id,
            "value": None if r.value is None else plain(r.value),
            "taken_at": None if r.taken_at is None else _instant(r.taken_at),
            "multiplier": plain(r.multiplier),
        }
        for r in inputs.readings.get((part.index, edge), ())
    ]


def _instant(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


def fingerprint(snapshot: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a snapshot in canonical JSON: what an issued bill is pinned by."""
    text = json.dumps(snapshot, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
