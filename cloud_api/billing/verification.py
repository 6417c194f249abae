"""Prove a bill: its fingerprint, its sums, and the whole calculation again from raw register readings."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from psycopg import AsyncConnection

from cloud_api.billing import inputs as loading
from cloud_api.billing import service
from cloud_api.billing.compose import compose
from cloud_api.billing.inputs import QUANTITIES, Pins
from cloud_api.billing.policy import load_policy
from cloud_api.billing.repository import Row, one, queries, rows
from cloud_api.billing.run_model import BillDraft, Part, PartEnergy, RunInputs
from cloud_api.billing.snapshot import fingerprint
from cloud_api.kit.errors import Invalid, NotFound
from cloud_api.kit.ids import RegisterId
from cloud_api.metering.ledger_store import to_instant
from cloud_api.metering.model import Quality
from cloud_api.metering.proof import REGISTERS_MAX, intervals_from_readings

_MICRO = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether a bill could be made again, and every difference in words."""

    bill: str
    total: Decimal
    recomputed: Decimal | None
    readings: int
    differences: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Tell whether nothing differs."""
        return not self.differences


async def verify_bill(conn: AsyncConnection, bill: str | int) -> Verdict:
    """Make a bill again from the raw readings of its meters. Raises NotFound; differences are reported, not raised."""
    row = await service.get_bill(conn, bill)
    if row["run_id"] is None:
        return _from_snapshot(row)
    inputs = await inputs_again(conn, row)
    mine = [part for part in inputs.parts if any(h.party == row["tenant_id"] for h in part.holdings)]
    indexes = {part.index for part in mine}
    nested = [part for part in inputs.parts if part.subtract_from in indexes]
    raw, count = await energy_from_readings(conn, inputs, [*mine, *nested])
    return _compare(row, _made_again(replace(inputs, energy={**inputs.energy, **raw})), count)


async def verify_run(conn: AsyncConnection, run_id: int) -> list[Verdict]:
    """Make every bill of a run again from the raw readings of all meters of the site."""
    bills = [row["id"] for row in await rows(conn, queries.run_ids_issued, {"run_id": run_id})]
    if not bills:
        raise NotFound("bill run {run_id} has no bills", run_id=run_id)
    first = await service.get_bill(conn, bills[0])
    inputs = await inputs_again(conn, first)
    raw, count = await energy_from_readings(conn, inputs, inputs.parts)
    again = _made_again(replace(inputs, energy=raw))
    return [_compare(await service.get_bill(conn, bill), again, count) for bill in bills]


async def inputs_again(conn: AsyncConnection, row: Row) -> RunInputs:
    """Load what a bill of a run was made from: assignments as known then, its tariff revision and parameters."""
    snapshot = row["snapshot"]
    run = await one(conn, queries.run_by_id, {"run_id": row["run_id"]})
    if run is None:
        raise Invalid("bill {bill} names a run that is not there", bill=row["number"] or row["id"])
    site = await loading.find_site(conn, site_id=row["site_id"])
    pins = Pins(
        known_at=run["known_at"],
        tariff_revision=snapshot["tariff"]["revision"],
        policy=load_policy(snapshot["policy"]),
    )
    period = run["period"]
    inputs, _ = await loading.load_inputs(conn, site, snapshot["utility"], period.lower, period.upper, pins=pins)
    return inputs


async def energy_from_readings(
    conn: AsyncConnection, inputs: RunInputs, parts: Sequence[Part]
) -> tuple[dict[int, PartEnergy], int]:
    """Return each part's energy per run computed from raw readings, and how many intervals that took."""
    meters = sorted({part.meter.id for part in parts})
    values = {"meter_id": meters, "quantity": QUANTITIES[inputs.utility]}
    values |= {"start": inputs.period.start, "end": inputs.period.end}
    registers: defaultdict[int, list[RegisterId]] = defaultdict(list)
    for found in await rows(conn, queries.registers_of, values):
        registers[found["meter_id"]].append(RegisterId(found["id"]))
    ids = [i for group in registers.values() for i in group]
    computed: dict[RegisterId, list[Any]] = {}
    for start in range(0, len(ids), REGISTERS_MAX):
        computed |= await intervals_from_readings(conn, ids[start : start + REGISTERS_MAX], inputs.period)
    energy = {part.index: _sum(inputs, part, computed, registers[part.meter.id]) for part in parts}
    return energy, sum(len(found) for found in computed.values())


def _sum(inputs: RunInputs, part: Part, computed: dict[RegisterId, list[Any]], ids: Iterable[RegisterId]) -> PartEnergy:
    starts = [run.start for run in inputs.runs]
    gathered = loading.gathered_runs(inputs.tariff, inputs.runs)
    energy = PartEnergy()
    exact: defaultdict[int, Decimal] = defaultdict(Decimal)
    for interval in (i for register in ids for i in computed.get(register, ())):
        start = to_instant(interval.start_ms)
        if start not in part.period:
            continue
        exact[gathered[bisect_right(starts, start) - 1]] += interval.quantity
        energy.count += 1
        energy.missing += interval.quality == Quality.MISSING
        if interval.quality == Quality.ESTIMATED:
            energy.estimated += int(interval.quantity * _MICRO)
    energy.runs = {run: int(quantity * _MICRO) for run, quantity in exact.items()}
    return energy


def _made_again(inputs: RunInputs) -> dict[int, BillDraft]:
    """Make every bill of the run once more, by tenant."""
    return {draft.tenant_id: draft for draft in compose(replace(inputs, final_bills=frozenset())).bills}


def _compare(row: Row, bills: Mapping[int, BillDraft], readings: int) -> Verdict:
    snapshot = row["snapshot"]
    differences = _own_faults(row)
    again = bills.get(row["tenant_id"])
    if again is None:
        differences.append("the calculation no longer gives this tenant a bill")
    else:
        for number, (old, new) in enumerate(_pairs(snapshot["lines"], again.snapshot["lines"]), 1):
            differences += _line_differences(number, old, new)
        if Decimal(snapshot["total"]) != again.total:
            differences.append(f"total {snapshot['total']}, recomputed {again.total}")
    return Verdict(
        bill=row["number"] or str(row["id"]),
        total=row["total"],
        recomputed=None if again is None else again.total,
        readings=readings,
        differences=tuple(differences),
    )


def _from_snapshot(row: Row) -> Verdict:
    """Check what has no run of its own (credit notes): its fingerprint and its sums."""
    faults = _own_faults(row)
    recomputed = sum((Decimal(line["amount"]) for line in row["snapshot"]["lines"]), Decimal("0.00"))
    return Verdict(
        bill=row["number"] or str(row["id"]),
        total=row["total"],
        recomputed=recomputed,
        readings=0,
        differences=tuple(faults),
    )


def _own_faults(row: Row) -> list[str]:
    snapshot = row["snapshot"]
    found = []
    if fingerprint(snapshot) != row["sha256"]:
        found.append("the stored snapshot does not match its fingerprint")
    lines = sum((Decimal(line["amount"]) for line in snapshot["lines"]), Decimal(0))
    if lines != Decimal(snapshot["total"]) or lines != row["total"]:
        found.append(f"the lines sum to {lines}, the bill says {row['total']}")
    return found


def _pairs(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> list[tuple[Any, Any]]:
    count = max(len(old), len(new))
    return [(old[i] if i < len(old) else None, new[i] if i < len(new) else None) for i in range(count)]


def _line_differences(number: int, old: dict[str, Any] | None, new: dict[str, Any] | None) -> list[str]:
    if old is None or new is None:
        there = old or new or {}
        where = "only on the bill" if new is None else "only recomputed"
        return [f"line {number}, {there.get('component')}: {where}"]
    return [
        f"line {number}, {old['component']} {old['bucket'] or ''}: {key} {old[key]}, recomputed {new[key]}"
        for key in ("component", "bucket", "quantity", "unit_price", "amount")
        if old[key] != new[key]
    ]
