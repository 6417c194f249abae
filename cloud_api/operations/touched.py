"""What a change in a stretch of a meter's past touches: bills made from it, its balance, what is computed from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from psycopg import AsyncConnection

from cloud_api.billing import corrections as billing
from cloud_api.kit.ids import MeterId
from cloud_api.metering import analysis, formulas


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Part of a meter's past."""

    meter_id: MeterId
    code: str
    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class BillTouched:
    """A bill made from the stretch. An issued one never changes: it gets a proposed adjustment."""

    id: int
    number: str | None
    state: str
    starts_on: date
    ends_on: date
    tenant_code: str | None
    name_zh: str | None
    name_en: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterTouched:
    """A virtual meter that the stretch flows into, directly or over others."""

    id: MeterId
    code: str
    name_zh: str
    name_en: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Touched:
    """What a change in one stretch touches; the balance is that of the meter above, or of the meter itself."""

    bills: list[BillTouched]
    virtual_meters: list[MeterTouched]
    balance_meter_id: MeterId


async def touched(conn: AsyncConnection, organisation_id: int, stretches: Sequence[Stretch]) -> list[Touched]:
    """Return what each stretch touches, in their order; at most 200 bills are told, the newest."""
    if not stretches:
        return []
    parents = {m.id: m.parent_meter_id for m in await analysis.meters(conn)}
    virtual = {s.meter_id: await formulas.used_by(conn, s.meter_id) for s in stretches}
    bills: list[list[BillTouched]] = [[] for _ in stretches]
    for row in await billing.bills_touched(conn, organisation_id, [(s.code, s.start, s.end) for s in stretches]):
        bill = BillTouched(**{name: value for name, value in row.items() if name != "places"})
        for place in row["places"]:
            bills[place].append(bill)
    return [
        Touched(
            bills=found,
            virtual_meters=[
                MeterTouched(id=f.meter_id, code=f.code, name_zh=f.name_zh, name_en=f.name_en)
                for f in virtual[stretch.meter_id]
            ],
            balance_meter_id=parents.get(stretch.meter_id) or stretch.meter_id,
        )
        for stretch, found in zip(stretches, bills, strict=True)
    ]
