"""Use cases of leases: import from any leasing platform, reconcile with the meters."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from psycopg import AsyncConnection

from cloud_api.kit.clock import Clock
from cloud_api.kit.errors import Invalid, NotFound
from cloud_api.leasing import repository
from cloud_api.leasing.import_file import Parsed
from cloud_api.leasing.model import ImportReport, LeaseRecord
from cloud_api.leasing.repository import as_json, queries

_FAR = date.max


class RowsRefused(Invalid):
    """Some rows cannot be imported; nothing was stored."""

    code = "rows_refused"

    def __init__(self, refused: Iterable[str]) -> None:
        found = list(refused)
        super().__init__("{count} row(s) refused, nothing was stored{refused}", count=len(found), refused=found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The site whose leases are meant."""

    id: int
    organisation_id: int
    code: str
    name_zh: str
    name_en: str
    time_zone: str
    currency: str
    region: str

    @property
    def zone(self) -> ZoneInfo:
        """The site's zone."""
        return ZoneInfo(self.time_zone)


async def find_site(conn: AsyncConnection, code: str | None = None) -> Site:
    """Return the site with a code, or the only one. Raises NotFound or Invalid with the remedy."""
    found = await repository.rows(conn, queries.site_of, {"code": code})
    if not found:
        if code:
            raise NotFound("there is no site {code!r}; import the estate first", code=code)
        raise NotFound("there is no site; import the estate first")
    if len(found) > 1:
        raise Invalid("there are several sites: name one with --site")
    return Site(**found[0])


async def import_leases(
    conn: AsyncConnection,
    site: Site,
    parsed: Parsed,
    *,
    source: str,
    actor: str,
    clock: Clock,
    accept_good_rows: bool = False,
) -> ImportReport:
    """Store tenants and leases; the same records again change nothing.

    Identity is source system, external id and version: an older version than the known one is refused, a changed
    record without a version becomes the next one. Rows that contradict the estate or another lease are refused, with
    the whole lease; unless `accept_good_rows`, one refused row keeps everything out (RowsRefused).
    """
    ids: dict[str, Any] = {"organisation_id": site.organisation_id, "site_id": site.id, "source": source}
    if parsed.tenants:
        rows = [
            {"code": t.code, "name_zh": t.name_zh, "name_en": t.name_en, "credit_code": t.credit_code}
            | {"attributes": t.attributes}
            for t in parsed.tenants
        ]
        await repository.store(conn, queries.save_tenants, ids | {"rows": as_json(rows)})
    tenants = {r["code"]: r["id"] for r in await repository.rows(conn, queries.tenant_codes, ids)}
    spaces = {r["code"]: r for r in await repository.rows(conn, queries.spaces, ids)}
    known = {r["external_id"]: r for r in await repository.rows(conn, queries.known_leases, ids)}
    held = await repository.rows(conn, queries.held_spaces, ids)
    refused = list(parsed.refused)
    good = [lease for lease in parsed.leases if not _collect(refused, _faults(lease, tenants, spaces, known))]
    good = _without_overlaps(good, held, source, refused)
    if refused and not accept_good_rows:
        raise RowsRefused(refused)
    report = await _store(conn, ids, good, tenants, spaces, known, clock.now().astimezone(site.zone).date())
    findings = await reconcile(conn, site, clock.now())
    report = ImportReport(
        created=report[0], changed=report[1], unchanged=report[2], refused=tuple(refused), findings=tuple(findings)
    )
    detail = {"created": report.created, "changed": report.changed, "refused": len(refused)}
    await audit(conn, site, clock, actor=actor, action="lease.import", subject=f"source/{source}", detail=detail)
    return report


async def audit(
    conn: AsyncConnection,
    site: Site,
    clock: Clock,
    *,
    actor: str,
    action: str,
    subject: str,
    reason: str | None = None,
    detail: dict[str, Any] | None = None,
) -> None:
    """Write one line of the audit trail."""
    values = {"at": clock.now(), "actor": actor, "action": action, "subject": subject, "reason": reason}
    values |= {"organisation_id": site.organisation_id, "detail": as_json(detail or {})}
    await repository.store(conn, queries.audit, values)


def _collect(refused: list[str], faults: list[str]) -> bool:
    refused += faults
    return bool(faults)


def _faults(
    lease: LeaseRecord, tenants: dict[str, int], spaces: dict[str, dict[str, Any]], known: dict[str, dict[str, Any]]
) -> list[str]:
    row = lease.spaces[0].row
    found = []
    if lease.tenant not in tenants:
        found.append(f"row {row}: lease {lease.number} names the unknown tenant {lease.tenant}; import tenants first")
    for part in lease.spaces:
        space = spaces.get(part.space)
        if space is None:
            found.append(f"row {part.row}: there is no space {part.space} at this site")
        elif space["use"] in {"common", "plant"}:
            found.append(f"row {part.row}: space {part.space} is {space['use']} area and cannot be let")
        elif space["area_m2"] is None and part.area_m2 is None:
            found.append(f"row {part.row}: space {part.space} has no area; add area_m2 to the row or to the estate")
    before = known.get(lease.external_id)
    if before and lease.version is not None and lease.version < before["version"]:
        found.append(f"row {row}: lease {lease.number} version {lease.version} is older than {before['version']}")
    return found


def _without_overlaps(
    leases: list[LeaseRecord], held: list[dict[str, Any]], source: str, refused: list[str]
) -> list[LeaseRecord]:
    """Refuse a lease whose space another lease holds on the same day, in the file or already stored."""
    told = {lease.external_id for lease in leases}
    taken: dict[str, list[tuple[date, date, str]]] = {}
    for row in held:
        if row["source_system"] == source and row["external_id"] in told:
            continue
        taken.setdefault(row["space"], []).append((row["starts_on"], row["ends_on"] or _FAR, row["number"]))
    good = []
    for lease in leases:
        parts = [(p, p.starts_on, p.ends_on or _FAR) for p in lease.spaces]
        faults = [
            f"row {part.row}: space {part.space} is held by lease {other} from {max(start, s)}"
            for part, start, end in parts
            for s, e, other in taken.get(part.space, ())
            if start < e and s < end
        ]
        if _collect(refused, faults):
            continue
        for part, start, end in parts:
            taken.setdefault(part.space, []).append((start, end, lease.number))
        good.append(lease)
    return good


async def _store(
    conn: AsyncConnection,
    ids: dict[str, Any],
    leases: list[LeaseRecord],
    tenants: dict[str, int],
    spaces: dict[str, dict[str, Any]],
    known: dict[str, dict[str, Any]],
    today: date,
) -> tuple[int, int, int]:
    changed = [lease for lease in leases if not _is_same(lease, known.get(lease.external_id))]
    rows = [_lease_row(lease, tenants, known.get(lease.external_id), today) for lease in changed]
    saved = await repository.rows(conn, queries.save_leases, ids | {"rows": as_json(rows)})
    lease_ids = {row["external_id"]: row["id"] for row in saved}
    gone = {"lease_ids": list(lease_ids.values())}
    await repository.store(conn, queries.forget_spaces, gone)
    await repository.store(conn, queries.forget_head_counts, gone)
    parts = [
        {"tenant_id": tenants[lease.tenant], "lease_id": lease_ids[lease.external_id]}
        | {"space_id": spaces[p.space]["id"], "starts_on": p.starts_on, "ends_on": p.ends_on, "area_m2": p.area_m2}
        for lease in changed
        for p in lease.spaces
    ]
    await repository.store(conn, queries.save_spaces, ids | {"rows": as_json(parts)})
    people = [
        {"tenant_id": tenants[lease.tenant], "lease_id": lease_ids[lease.external_id], "people": lease.head_count}
        | {"starts_on": lease.starts_on, "ends_on": lease.ends_on}
        for lease in changed
        if lease.head_count is not None
    ]
    await repository.store(conn, queries.save_head_counts, ids | {"rows": as_json(people)})
    created = sum(lease.external_id not in known for lease in changed)
    return created, len(changed) - created, len(leases) - len(changed)


def _lease_row(
    lease: LeaseRecord, tenants: dict[str, int], before: dict[str, Any] | None, today: date
) -> dict[str, Any]:
    version = lease.version or (before["version"] + 1 if before else 1)
    status = "active"
    if lease.starts_on > today:
        status = "approved"
    elif lease.ends_on is not None and lease.ends_on <= today:
        status = "ended"
    return {
        "tenant_id": tenants[lease.tenant],
        "number": lease.number,
        "status": status,
        "starts_on": lease.starts_on,
        "ends_on": lease.ends_on,
        "attributes": lease.attributes,
        "external_id": lease.external_id,
        "version": version,
    }


def _is_same(lease: LeaseRecord, before: dict[str, Any] | None) -> bool:
    if before is None or (before["tenant"], before["number"]) != (lease.tenant, lease.number):
        return False
    if before["people"] != lease.head_count:
        return False
    stored = [(s["space"], s["from"], s["to"], None if s["area"] is None else str(s["area"])) for s in before["spaces"]]
    told = [
        (
            p.space,
            p.starts_on.isoformat(),
            p.ends_on.isoformat() if p.ends_on else None,
            None if p.area_m2 is None else str(p.area_m2),
        )
        for p in lease.spaces
    ]
    return sorted(stored, key=str) == sorted(told, key=str)


async def reconcile(conn: AsyncConnection, site: Site, now: datetime) -> list[str]:
    """Return what leases, meters and areas say against each other today, in words."""
    ids = {"organisation_id": site.organisation_id, "site_id": site.id, "now": now}
    ids["today"] = now.astimezone(site.zone).date()
    unmetered = await repository.rows(conn, queries.leases_without_meter, ids)
    unlet = await repository.rows(conn, queries.meters_without_lease, ids)
    areas = await repository.rows(conn, queries.areas_that_differ, ids)
    return [
        *(f"lease {r['number']}: no meter measures space {r['code']}" for r in unmetered),
        *(f"meter {r['code']}: none of its spaces is let today, the owner pays" for r in unlet),
        *(f"{r['place']}: {r['told']} m2 told, {r['known']} m2 known" for r in areas),
    ]
