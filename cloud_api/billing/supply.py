"""What a two-part tariff asks for beside energy: each party's demand and kvarh, from the ledger; contracts from leases.

Demand is the highest average over the tariff's window (15 minutes) on the local clock, from measured intervals only: an
estimated peak is never charged. A shared meter counts by its share; what hangs under a meter is taken off it.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
from psycopg import AsyncConnection

from cloud_api.billing import timetable
from cloud_api.billing.assigned import load_assigned
from cloud_api.billing.calendar import HolidayCalendar
from cloud_api.billing.cycle import cycle_of
from cloud_api.billing.demand import months_before
from cloud_api.billing.repository import plain_rows, queries
from cloud_api.billing.run_model import EarlierDemand, Part, PartyDemand, SiteFacts, Supply, Tenancy
from cloud_api.billing.tariff import Tariff
from cloud_api.billing.timetable import Run
from cloud_api.kit.ids import RegisterId
from cloud_api.kit.period import Period, local_days
from cloud_api.metering import packs

PEAKS_KEPT = 10
REACTIVE = ("reactive_energy_import", "reactive_energy_export")
_MICRO = 10**6
Windows = packs.Ints
"""Micro-kWh of each window of the period."""


async def load_supply(
    conn: AsyncConnection,
    tariffs: Sequence[Tariff],
    parts: Sequence[Part],
    runs: Sequence[Run],
    tenancies: Iterable[Tenancy],
    *,
    quantity: str,
) -> Supply:
    """Return demand and reactive energy where a component of the tariffs asks for them, and the leases' contracts."""
    components = [c for tariff in tariffs for v in tariff.versions for c in v.components]
    kinds = {c.kind for c in components}
    minutes = min((c.demand.window_min for c in components if c.demand), default=15)
    return Supply(
        demand=await _demand(conn, parts, runs, quantity, minutes) if "demand" in kinds else {},
        reactive_kvarh=await _reactive(conn, parts) if "pf" in kinds else {},
        contract_kw=_sum_of_leases((t.tenant_id, t.lease_id, t.contract_kw) for t in tenancies),
        capacity_kva=_sum_of_leases((t.tenant_id, t.lease_id, t.capacity_kva) for t in tenancies),
    )


async def load_earlier_demand(
    conn: AsyncConnection,
    site: SiteFacts,
    tariffs: Sequence[Tariff],
    calendar: HolidayCalendar,
    ids: Mapping[str, Any],
    *,
    quantity: str,
    cycle_day: int,
) -> EarlierDemand:
    """Return the demand of the earlier cycles that a ratchet looks back at, measured as the period's own is.

    `ids` are the values of the period's queries. A cycle before the first version of the tariff does not count.
    """
    asked = [c.demand for t in tariffs for v in t.versions for c in v.components if c.demand and c.demand.ratchet]
    minutes = min((demand.window_min for demand in asked), default=15)
    months = sorted({m for demand in asked if demand.ratchet for m in months_before(ids["first"], demand.ratchet)})
    found: dict[date, Mapping[int | None, PartyDemand]] = {}
    for month in months:
        first, after = cycle_of(f"{month:%Y-%m}", cycle_day)
        period = local_days(first, after, tariffs[0].zone)
        then = {**ids, "first": first, "after": after, "start": period.start, "end": period.end}
        try:
            runs = timetable.cut_by_day(tariffs[0], calendar, period)
        except timetable.NoTariff:
            continue
        assigned, _ = await load_assigned(conn, site, then, zone=tariffs[0].zone)
        if assigned.parts:
            found[month] = await _demand(conn, assigned.parts, runs, quantity, minutes)
    return found


def _sum_of_leases(found: Iterable[tuple[int, int, Decimal | None]]) -> dict[int, Decimal]:
    by_lease = {(tenant, lease): value for tenant, lease, value in found if value is not None}
    total: defaultdict[int, Decimal] = defaultdict(Decimal)
    for (tenant, _), value in by_lease.items():
        total[tenant] += value
    return dict(total)


async def _registers(
    conn: AsyncConnection, parts: Sequence[Part], quantity: str
) -> dict[int, list[tuple[Part, Period]]]:
    values = {
        "part": [part.index for part in parts],
        "meter_id": [part.meter.id for part in parts],
        "starts_at": [part.period.start for part in parts],
        "ends_at": [part.period.end for part in parts],
        "quantity": quantity,
    }
    by_index = {part.index: part for part in parts}
    found: defaultdict[int, list[tuple[Part, Period]]] = defaultdict(list)
    for part, register, starts_at, ends_at in await plain_rows(conn, queries.registers_of_parts, values):
        found[register].append((by_index[part], Period(starts_at, ends_at)))
    return found


async def _reactive(conn: AsyncConnection, parts: Sequence[Part]) -> dict[int | None, Decimal]:
    """Return |import| + |export| kvarh per party, by share; a party one of whose meters measures none is not there."""
    known: dict[int, Decimal] = {}
    whole = _whole(parts)
    for quantity in REACTIVE:
        stretches = await _registers(conn, [p for p in parts if p.subtract_from is None], quantity)
        async for columns in packs.read(conn, [RegisterId(r) for r in stretches], whole):
            for register in columns.register_ids():
                for part, period in stretches[register]:
                    total = abs(int(columns.mantissas[columns.of(register, period)].sum()))
                    known[part.index] = known.get(part.index, Decimal(0)) + packs.to_decimal(total, columns.scale)
    main = [p.index for p in parts if p.meter.use == "main"]
    found: dict[int | None, Decimal] = {}
    if main and all(i in known for i in main):
        found[None] = sum((known[i] for i in main), Decimal(0))
    by_party: defaultdict[int, list[tuple[int, Decimal]]] = defaultdict(list)
    for part in parts:
        for holding in part.holdings:
            by_party[holding.party].append((part.index, holding.share))
    for party, held in by_party.items():
        if all(i in known for i, _ in held):
            found[party] = sum((known[i] * share for i, share in held), Decimal(0))
    return found


async def _demand(
    conn: AsyncConnection, parts: Sequence[Part], runs: Sequence[Run], quantity: str, minutes: int
) -> dict[int | None, PartyDemand]:
    whole = _whole(parts)
    count = -(-int(whole.duration.total_seconds()) // (minutes * 60))
    windows = await _windows(conn, parts, whole, quantity, minutes, count)
    buckets = _buckets(runs, whole, minutes, count)
    mains = [p for p in parts if p.meter.use == "main" and p.index in windows]
    site = sum((windows[p.index] for p in mains), np.zeros(count, dtype=np.int64))
    highest = int(site.argmax()) if mains and site.any() else None
    found: dict[int | None, PartyDemand] = {}
    if mains:
        feeds = tuple(_peaks(windows[p.index], buckets, minutes) for p in mains)
        found[None] = PartyDemand(feeds=feeds, coincident=_peaks(site, buckets, minutes))
    held: defaultdict[int, dict[int, Windows]] = defaultdict(dict)
    for part in (p for p in parts if p.index in windows):
        for holding in part.holdings:
            share = Fraction(holding.share)
            mine = windows[part.index] * share.numerator // share.denominator
            meters = held[holding.party]
            meters[part.meter.id] = meters[part.meter.id] + mine if part.meter.id in meters else mine
    for party, by_meter in held.items():
        together = sum(by_meter.values(), np.zeros(count, dtype=np.int64))
        at_site = {} if highest is None else {buckets[highest]: (_kw(int(together[highest]), minutes),)}
        found[party] = PartyDemand(
            feeds=tuple(_peaks(feed, buckets, minutes) for feed in by_meter.values()),
            coincident=_peaks(together, buckets, minutes),
            at_site_maximum=at_site,
        )
    return found


async def _windows(
    conn: AsyncConnection, parts: Sequence[Part], whole: Period, quantity: str, minutes: int, count: int
) -> dict[int, Windows]:
    """Return measured micro-kWh per window and part, less what hangs under it."""
    wanted = [p for p in parts if p.holdings or p.meter.use == "main" or p.subtract_from is not None]
    stretches = await _registers(conn, wanted, quantity)
    first = packs.epoch_seconds(whole.start)
    found: dict[int, Windows] = {}
    async for columns in packs.read(conn, [RegisterId(r) for r in stretches], whole):
        measured = (columns.grades != packs.ESTIMATED) & (columns.grades != packs.MISSING)
        for register in columns.register_ids():
            for part, period in stretches[register]:
                if any(length > minutes for _, length in part.meter.lengths.within(period)):
                    continue  # Too long to tell the demand; the party's demand stays unknown.
                where = columns.of(register, period)
                energy = [packs.to_micro(m, columns.scale) for m in columns.mantissas[where][measured[where]].tolist()]
                places = (columns.starts_s[where][measured[where]] - first) // (minutes * 60)
                total = found.setdefault(part.index, np.zeros(count, dtype=np.int64))
                np.add.at(total, places, np.array(energy, dtype=np.int64))
    for part in parts:
        if part.subtract_from in found and part.index in found:
            found[part.subtract_from] -= found[part.index]
    return found


def _buckets(runs: Sequence[Run], whole: Period, minutes: int, count: int) -> list[str]:
    """Return the bucket in which each window begins."""
    found = []
    place = 0
    for n in range(count):
        start = whole.start + n * timedelta(minutes=minutes)
        while place + 1 < len(runs) and runs[place].end <= start:
            place += 1
        found.append(runs[place].bucket)
    return found


def _peaks(windows: Windows, buckets: Sequence[str], minutes: int) -> Mapping[str, tuple[Decimal, ...]]:
    names = np.array(buckets)
    found = {}
    for bucket in dict.fromkeys(buckets):
        highest = np.sort(windows[names == bucket])[::-1][:PEAKS_KEPT]
        found[bucket] = tuple(_kw(int(micro), minutes) for micro in highest if micro > 0)
    return found


def _kw(micro: int, minutes: int) -> Decimal:
    return Decimal(micro) * 60 / (minutes * _MICRO)


def _whole(parts: Sequence[Part]) -> Period:
    return Period(min(p.period.start for p in parts), max(p.period.end for p in parts))
