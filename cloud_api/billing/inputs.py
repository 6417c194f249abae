"""Load what decides the bills of one period, from the database, in a handful of set-based queries."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
from psycopg import AsyncConnection
from psycopg.types.range import DateRange

from cloud_api.billing import calendar as holidays
from cloud_api.billing import rating, timetable
from cloud_api.billing.after_hours import Booking, usage_by_tenant
from cloud_api.billing.assigned import load_assigned
from cloud_api.billing.calendar import CalendarDay, HolidayCalendar
from cloud_api.billing.charge import Issue, Usage
from cloud_api.billing.cycle import cycle_around, cycle_of
from cloud_api.billing.policy import Policy, load_policy
from cloud_api.billing.repository import Row, one, plain_rows, queries, rows, store
from cloud_api.billing.resale import recovered_of
from cloud_api.billing.run_model import (
    MeterFacts,
    Part,
    PartEnergy,
    PlaceFacts,
    Reading,
    RunInputs,
    SiteFacts,
    SpaceFacts,
    TenantFacts,
)
from cloud_api.billing.supply import load_earlier_demand, load_supply
from cloud_api.billing.tariff import Tariff
from cloud_api.billing.tariff_file import load_dumped
from cloud_api.billing.timetable import Run
from cloud_api.kit.errors import Invalid, NotFound
from cloud_api.kit.i18n import Text
from cloud_api.kit.ids import RegisterId
from cloud_api.kit.period import Period, local_days
from cloud_api.metering import packs
from cloud_api.metering.lengths import MINUTES, floor

QUANTITIES = {
    "electricity": "active_energy_import",
    "water": "water_volume",
    "gas": "gas_volume",
    "heat": "heat_energy",
    "cooling": "cooling_energy",
}


TEMPLATES = {
    "electricity": "zhejiang-2026-demo",
    "water": "water",
    "gas": "gas",
    "heat": "heat-two-part",
    "cooling": "cooling-btu",
    "hvac": "after-hours-hvac",
}
"""A template to begin with, named where a tariff is missing."""


class TariffMissing(Invalid):
    """No tariff is set for this site and utility."""

    code = "tariff_missing"


async def find_site(conn: AsyncConnection, *, code: str | None = None, site_id: int | None = None) -> SiteFacts:
    """Return a site by code or id, or the only one. Raises NotFound or Invalid with the remedy."""
    found = await rows(conn, queries.sites, {"code": code, "id": site_id})
    if not found:
        if code:
            raise NotFound("there is no site {code!r}; import the estate first", code=code)
        raise NotFound("there is no site; import the estate first")
    if len(found) > 1:
        raise Invalid("there are several sites: name one with --site")
    row = found[0]
    if row["owner_id"] is None:
        raise Invalid("site {code} has no owner's account; import the estate again", code=row["code"])
    return SiteFacts(
        id=row["id"],
        organisation_id=row["organisation_id"],
        code=row["code"],
        name={"zh": row["name_zh"], "en": row["name_en"]},
        issuer={"code": row["issuer_code"], "zh": row["issuer_zh"], "en": row["issuer_en"]},
        time_zone=row["time_zone"],
        currency=row["currency"].strip(),
        owner_id=row["owner_id"],
        contract_demand_kw=row["contract_demand_kw"],
    )


async def find_policy(conn: AsyncConnection, site: SiteFacts) -> Policy:
    """Return the parameters in force at a site."""
    row = await one(conn, queries.newest_policy, {"site_id": site.id})
    return load_policy(row["content"]) if row else Policy()


async def find_calendar(conn: AsyncConnection, region: str | None) -> HolidayCalendar:
    """Return the holiday calendar of a region from the table; years that it lacks are seeded from the libraries."""
    if not region:
        return holidays.PLAIN
    if region == "CN" or region.startswith("CN-"):
        await seed_china(conn, region)
    elif not await rows(conn, queries.calendar_years, {"region": region}):
        return holidays.built_in(region)
    days = await rows(conn, queries.calendar_days, {"region": region})
    years = await rows(conn, queries.calendar_years, {"region": region})
    return holidays.from_days(region, [CalendarDay(**day) for day in days], [y["year"] for y in years])


async def seed_china(conn: AsyncConnection, region: str) -> None:
    """Fill the calendar with the years that the library knows and the table does not."""
    known = {y["year"] for y in await rows(conn, queries.calendar_years, {"region": region})}
    days, years = holidays.seed_china()
    missing = [year for year in years if year not in known]
    if not missing:
        return
    await store(
        conn,
        queries.seed_calendar_days,
        {
            "region": region,
            "day": [d.day for d in days],
            "kind": [d.kind for d in days],
            "name": [d.name for d in days],
            "doc": [d.official_doc for d in days],
        },
    )
    await store(conn, queries.seed_calendar_years, {"region": region, "year": missing, "doc": days[0].official_doc})


async def find_tariff(conn: AsyncConnection, site: SiteFacts, utility: str, payer: str = "tenants") -> Row | None:
    """Return the newest revision of the tariff in use, or None."""
    used = {
        (r["utility"], r["payer"]): r["tariff_code"]
        for r in await rows(conn, queries.site_tariffs, {"site_id": site.id})
    }
    code = used.get((utility, payer))
    if code is None:
        return None
    return await one(conn, queries.newest_tariff, {"organisation_id": site.organisation_id, "code": code})


@dataclass(frozen=True, slots=True, kw_only=True)
class Pins:
    """What a bill was made with, for making it again: assignments as known then, tariff revision, parameters."""

    known_at: datetime
    tariff_revision: int
    policy: Policy


async def load_inputs(
    conn: AsyncConnection,
    site: SiteFacts,
    utility: str,
    first: date,
    after: date,
    *,
    pins: Pins | None = None,
    evidence: bool = True,
) -> tuple[RunInputs, list[Issue]]:
    """Load a period's inputs, as they are now or as a bill pinned them. Raises TariffMissing or NoTariff.

    Without `evidence` the readings beside the boundaries are left out: a trial prints no bills.
    """
    stored = await find_tariff(conn, site, utility)
    if stored is None:
        raise TariffMissing(
            "site {site_code} has no tariff for {utility}: enter one under Tariffs (template {template}), or run"
            " cloud-api tariff import {template} --site {site_code}",
            site_code=site.code,
            utility=utility,
            template=TEMPLATES[utility],
        )
    if pins is not None:
        stored = await _pinned_tariff(conn, stored, site, pins)
    tariff = load_dumped(stored["content"])
    if tariff.currency != site.currency:
        raise Invalid(
            "tariff {tariff} is in {tariff_currency}, site {site_code} bills in {site_currency}",
            tariff=tariff.tariff,
            tariff_currency=tariff.currency,
            site_code=site.code,
            site_currency=site.currency,
        )
    landlord = await find_tariff(conn, site, utility, "landlord")
    landlord_tariff = tariff if landlord is None else load_dumped(landlord["content"])
    calendar = await find_calendar(conn, tariff.holiday_calendar)
    period = local_days(first, after, tariff.zone)
    ids = {"site_id": site.id, "utility": utility, "first": first, "after": after}
    ids["known_at"] = "infinity" if pins is None else pins.known_at.isoformat()
    ids |= {"start": period.start, "end": period.end, "organisation_id": site.organisation_id}
    assigned, issues = await load_assigned(conn, site, ids, zone=tariff.zone)
    parts, tenancies = assigned.parts, assigned.tenancies
    runs = timetable.cut_by_day(tariff, calendar, period)
    issues += _too_long(assigned.meters, runs)
    hours, hours_tariff = await load_after_hours(conn, site, ids) if utility == "electricity" else ({}, None)
    theirs = await rows(conn, queries.utility_bills_in, ids)
    recovered_before, paid_before = await resale_between(conn, site, utility, date(first.year, 1, 1), first)
    policy = await find_policy(conn, site) if pins is None else pins.policy
    named = await one(conn, queries.site_name, ids | {"day": after - timedelta(days=1)})
    inputs = RunInputs(
        site=site if named is None else replace(site, name=named),
        utility=utility,
        starts_on=first,
        ends_on=after,
        period=period,
        tariff=tariff,
        tariff_revision=stored["revision"],
        tariff_sha256=stored["sha256"],
        landlord_tariff=landlord_tariff,
        calendar=calendar,
        policy=policy,
        runs=runs,
        parts=parts,
        energy=await load_energy(conn, utility, parts, runs, gathered_runs(tariff, runs)),
        readings=await load_readings(conn, utility, parts) if evidence else {},
        tenants={row["id"]: _tenant(row) for row in await rows(conn, queries.tenants, ids)},
        tenancies=tenancies,
        spaces=[SpaceFacts(**row) for row in await rows(conn, queries.lettable_spaces, ids)],
        places=[_place(row) for row in await rows(conn, queries.places, ids)],
        used_before=await _used_before(conn, tariff, ids),
        earlier=await _earlier(conn, ids, policy.cycle_day),
        supply=await load_supply(conn, [tariff, landlord_tariff], parts, runs, tenancies, quantity=QUANTITIES[utility]),
        earlier_demand=await load_earlier_demand(
            conn,
            site,
            [tariff, landlord_tariff],
            calendar,
            ids,
            quantity=QUANTITIES[utility],
            cycle_day=policy.cycle_day,
        ),
        utility_bill=next((b["content"] for b in theirs if (b["first"], b["after"]) == (first, after)), None),
        utility_bills_beside=[(b["first"], b["after"]) for b in theirs],
        after_hours=hours,
        after_hours_tariff=hours_tariff,
        final_bills=frozenset(row["tenant_id"] for row in await rows(conn, queries.final_bills, ids)),
        recovered_before=recovered_before,
        paid_before=paid_before,
    )
    return inputs, issues


async def resale_between(
    conn: AsyncConnection, site: SiteFacts, utility: str, since: date, until: date
) -> tuple[Decimal, Decimal]:
    """Return what tenants were charged for these days, corrections included, and what was paid for the energy sold."""
    ids = {"site_id": site.id, "utility": utility, "since": since, "until": until}
    issued = await one(conn, queries.resale_of_runs, ids)
    assert issued is not None
    corrected = [recovered_of(row["lines"]) for row in await rows(conn, queries.corrections_of, ids)]
    return issued["recovered"] + sum(corrected, Decimal(0)), issued["paid"]


async def load_after_hours(
    conn: AsyncConnection, site: SiteFacts, ids: dict[str, Any]
) -> tuple[Mapping[int, Usage], Tariff | None]:
    """Return the hours of air conditioning after hours by tenant, and the tariff for `hvac` as known at the pin.

    Bookings that begin in the period count whole in it. Raises TariffMissing when there are bookings and no tariff.
    """
    bookings = [Booking(**row) for row in await rows(conn, queries.after_hours_bookings, ids)]
    if not bookings:
        return {}, None
    stored = await one(conn, queries.site_tariff_as_known, ids | {"of": "hvac"})
    if stored is None:
        raise TariffMissing(
            "site {site_code} has no tariff for {utility}: enter one under Tariffs (template {template}), or run"
            " cloud-api tariff import {template} --site {site_code}",
            site_code=site.code,
            utility="hvac",
            template=TEMPLATES["hvac"],
        )
    tariff = load_dumped(stored["content"])
    calendar = await find_calendar(conn, tariff.holiday_calendar)
    period = Period(ids["start"], max(ids["end"], *(b.ends_at for b in bookings)))
    whole = local_days(
        period.start.astimezone(tariff.zone).date(),
        (period.end - timedelta(microseconds=1)).astimezone(tariff.zone).date() + timedelta(days=1),
        tariff.zone,
    )
    return usage_by_tenant(bookings, timetable.cut(tariff, calendar, whole)), tariff


async def _pinned_tariff(conn: AsyncConnection, stored: Row, site: SiteFacts, pins: Pins) -> Row:
    values = {"organisation_id": site.organisation_id, "code": stored["code"], "revision": pins.tariff_revision}
    found = await one(conn, queries.tariff_revision, values)
    if found is None:
        raise TariffMissing(
            "tariff {code} has no revision {tariff_revision}", code=stored["code"], tariff_revision=pins.tariff_revision
        )
    return found


def gathered_runs(tariff: Tariff, runs: Sequence[Run]) -> list[int]:
    """Return under which run each run's energy is counted: the day's first of its bucket, unless order matters."""
    if rating.needs_order(tariff):
        return list(range(len(runs)))
    first: dict[tuple[date, str, str], int] = {}
    zone = tariff.zone
    return [first.setdefault((r.start.astimezone(zone).date(), r.version, r.bucket), i) for i, r in enumerate(runs)]


def _too_long(meters: Sequence[MeterFacts], runs: Sequence[Run]) -> list[Issue]:
    """Name meters whose intervals would cross an edge of a price."""
    found = []
    for minutes in MINUTES:
        cut = [run.start for run in runs if floor(run.start, timedelta(minutes=minutes)) != run.start]
        names = ", ".join(m.code for m in meters if any(m.lengths.at(edge) == minutes for edge in cut))
        if names:
            text = Text(
                "intervals of {minutes} minutes cross an edge of the tariff's windows: {meters}",
                minutes=minutes,
                meters=names,
            )
            found.append(Issue(code="interval_too_long", text=text))
    return found


async def load_energy(
    conn: AsyncConnection, utility: str, parts: Sequence[Part], runs: Sequence[Run], gathered: Sequence[int]
) -> dict[int, PartEnergy]:
    """Return energy per part and run from the interval ledger, some hundred registers at a time.

    An interval belongs to the run that holds its start; no interval crosses an edge (`_too_long` sees to it).
    """
    values = {
        "part": [part.index for part in parts],
        "meter_id": [part.meter.id for part in parts],
        "starts_at": [part.period.start for part in parts],
        "ends_at": [part.period.end for part in parts],
        "quantity": QUANTITIES[utility],
    }
    stretches: defaultdict[int, list[tuple[int, Period]]] = defaultdict(list)
    for part, register, starts_at, ends_at in await plain_rows(conn, queries.registers_of_parts, values):
        stretches[register].append((part, Period(starts_at, ends_at)))
    if not stretches:
        return {}
    whole = Period(min(part.period.start for part in parts), max(part.period.end for part in parts))
    run_starts = np.array([packs.epoch_seconds(run.start) for run in runs], dtype=np.int64)
    found: defaultdict[int, PartEnergy] = defaultdict(PartEnergy)
    async for columns in packs.read(conn, [RegisterId(register) for register in stretches], whole):
        places = np.asarray(gathered)[np.searchsorted(run_starts, columns.starts_s, side="right") - 1]
        for register in columns.register_ids():
            for part, period in stretches[register]:
                _add_energy(found[part], columns, columns.of(register, period), places, len(runs))
    return {part: energy for part, energy in found.items() if energy.count}


def _add_energy(energy: PartEnergy, columns: packs.Columns, where: slice, places: packs.Ints, run_count: int) -> None:
    """Add a stretch of one register, rounded to millionths of a unit per run."""
    grades = columns.grades[where]
    used = np.flatnonzero(np.bincount(places[where], minlength=run_count)).tolist()
    totals = packs.sums(places, columns, where, run_count)
    for run in used:
        energy.runs[run] = energy.runs.get(run, 0) + packs.to_micro(totals[run], columns.scale)
    energy.estimated += packs.to_micro(columns.mantissas[where][grades == packs.ESTIMATED].sum(), columns.scale)
    energy.count += len(grades)
    energy.missing += int((grades == packs.MISSING).sum())


async def load_readings(
    conn: AsyncConnection, utility: str, parts: Sequence[Part]
) -> dict[tuple[int, str], list[Reading]]:
    """Return the register readings beside the boundaries of tenants' stretches: the evidence on the bill."""
    edges = [(p.index, edge, p.meter.id, at) for p in parts if p.holdings for edge, at in _edges(p)]
    values = {
        "part": [e[0] for e in edges],
        "edge": [e[1] for e in edges],
        "meter_id": [e[2] for e in edges],
        "at": [e[3] for e in edges],
        "quantity": QUANTITIES[utility],
    }
    found: defaultdict[tuple[int, str], list[Reading]] = defaultdict(list)
    for part, edge, register, taken_at, value, multiplier in await plain_rows(conn, queries.readings_at, values):
        found[part, edge].append(Reading(register_id=register, taken_at=taken_at, value=value, multiplier=multiplier))
    return dict(found)


def _edges(part: Part) -> list[tuple[str, datetime]]:
    return [("start", part.period.start), ("end", part.period.end)]


def _place(row: Row) -> PlaceFacts:
    named = {of: {"zh": row[f"{of}_zh"], "en": row[f"{of}_en"]} for of in ("space", "floor", "building")}
    return PlaceFacts(space_id=row["space_id"], starts_on=row["starts_on"], ends_on=row["ends_on"], **named)


def _tenant(row: Row) -> TenantFacts:
    return TenantFacts(
        id=row["id"],
        code=row["code"],
        name={"zh": row["name_zh"], "en": row["name_en"]},
        credit_code=row["credit_code"],
        attributes=row["attributes"],
        is_owner=row["is_owner"],
    )


async def _used_before(conn: AsyncConnection, tariff: Tariff, ids: dict[str, Any]) -> dict[int, dict[str, Decimal]]:
    periods = {c.tiers.period for v in tariff.versions for c in v.components if c.tiers}
    longer = next((p for p in ("year", "bimonth") if p in periods), None)
    if longer is None:
        return {}
    start, _ = rating.tier_period(ids["first"], longer)
    found: defaultdict[int, dict[str, Decimal]] = defaultdict(dict)
    for row in await rows(conn, queries.used_before, ids | {"tier_start": start}):
        found[row["tenant_id"]][row["bucket"]] = row["quantity"]
    return dict(found)


async def _earlier(conn: AsyncConnection, ids: dict[str, Any], cycle_day: int) -> dict[tuple[int, str], dict[str, Any]]:
    first: date = ids["first"]
    year_ago = cycle_of(f"{first.year - 1}-{first.month:02d}", cycle_day)
    values = ids | {"last_year": DateRange(*year_ago)}
    values["last_month"] = DateRange(*cycle_around(first - timedelta(days=1), cycle_day))
    found = await rows(conn, queries.earlier_bills, values)
    return {(row["tenant_id"], row["when"]): {"total": str(row["total"]), "quantity": row["quantity"]} for row in found}
