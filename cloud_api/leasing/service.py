"""Use cases of leases: import from any leasing platform, reconcile with the meters."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from psycopg import AsyncConnection

from cloud_api.kit.clock import Clock
from cloud_api.kit.errors import Invalid, NotFound
from cloud_api.kit.i18n import Text
from cloud_api.kit.ids import SiteId
from cloud_api.leasing import repository
from cloud_api.leasing.import_file import Parsed, parse_file
from cloud_api.leasing.model import ImportReport, LeaseRecord, LeaseVerdict, Verdict
from cloud_api.leasing.repository import as_json, queries

_FAR = date.max


class RowsRefused(Invalid):
    """Some rows cannot be imported; nothing was stored."""

    code = "rows_refused"

    def __init__(self, refused: Iterable[Text]) -> None:
        found = list(refused)
        super().__init__("{count} row(s) refused, nothing was stored{refused}", count=len(found), refused=found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The site whose leases are meant."""

    id: SiteId
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


async def sites(conn: AsyncConnection) -> list[Site]:
    """Return the viewer's sites, the oldest first."""
    return [Site(**row) for row in await repository.rows(conn, queries.sites, {})]


async def shown_site(conn: AsyncConnection, code: str | None) -> tuple[Site, list[Site]]:
    """Return the site that a page shows, and all to choose from; without a code the first. Raises NotFound."""
    found = await sites(conn)
    if not found:
        raise NotFound("there is no site; import the estate first")
    chosen = next((site for site in found if site.code == code), None) if code else found[0]
    if chosen is None:
        raise NotFound("there is no site {code!r}; import the estate first", code=code)
    return chosen, found


async def site_of_tenant(conn: AsyncConnection, tenant_id: int, space: str) -> Site:
    """Return the site where a tenant holds or held a space of that code; without one the first site."""
    found = await repository.rows(conn, queries.site_of_tenant, {"tenant_id": tenant_id, "space": space})
    return (await shown_site(conn, found[0]["code"] if found else None))[0]


async def zone_of(conn: AsyncConnection) -> ZoneInfo:
    """Return the clock of the organisation's first site: what belongs to no site is dated by it."""
    return (await shown_site(conn, None))[0].zone


async def tenant_id(conn: AsyncConnection, site: Site, code: str) -> int:
    """Return a tenant's id by code. Raises NotFound with the remedy."""
    found = await repository.rows(conn, queries.tenant_by_code, {"organisation_id": site.organisation_id, "code": code})
    if not found:
        raise NotFound("there is no tenant {code}; add the company first", code=code)
    return found[0]["id"]


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
    record without a version becomes the next one. What was changed here since (a move, an amendment) stays until the
    source says something new. Rows that contradict the estate or another lease are refused, with the whole lease;
    unless `accept_good_rows`, one refused row keeps everything out (RowsRefused).
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
    changed = [lease for lease in parsed.leases if not _is_same(lease, known.get(lease.external_id))]
    good = [lease for lease in changed if not _collect(refused, _faults(lease, tenants, spaces, known, site.currency))]
    good = _without_overlaps(good, held, source, refused)
    if refused and not accept_good_rows:
        raise RowsRefused(refused)
    today = clock.now().astimezone(site.zone).date()
    await _store(conn, ids, good, tenants, spaces, known, today)
    verdicts = [LeaseVerdict(lease=lease, verdict=_verdict(lease, known, changed, good)) for lease in parsed.leases]
    count = Counter(v.verdict for v in verdicts)
    report = ImportReport(
        tenants=len(parsed.tenants),
        leases=tuple(verdicts),
        created=count["new"],
        changed=count["changed"],
        unchanged=count["unchanged"],
        refused=tuple(refused),
        findings=tuple(await reconcile(conn, site, clock.now())),
    )
    detail = {"created": report.created, "changed": report.changed, "refused": len(refused)}
    await audit(conn, site, clock, actor=actor, action="lease.import", subject=f"source/{source}", detail=detail)
    return report


async def preview_import(
    conn: AsyncConnection, site: Site, parsed: Parsed, *, source: str, actor: str, clock: Clock
) -> ImportReport:
    """Say what importing would do, by doing it and taking it back: nothing stays."""
    async with conn.transaction(force_rollback=True):
        return await import_leases(conn, site, parsed, source=source, actor=actor, clock=clock, accept_good_rows=True)


async def keep_upload(
    conn: AsyncConnection, site: Site, files: Sequence[tuple[str, bytes]], *, source: str, actor: str, clock: Clock
) -> int:
    """Keep uploaded files between preview and import; older ones of the same person are forgotten. Returns an id."""
    values = {"organisation_id": site.organisation_id, "source": source, "actor": actor, "at": clock.now()}
    values |= {"name": [name for name, _ in files], "content": [content for _, content in files]}
    return (await repository.rows(conn, queries.keep_upload, values))[0]["id"]


async def take_upload(conn: AsyncConnection, upload_id: int, *, actor: str) -> tuple[Parsed, str]:
    """Return the records and the source of a kept upload, once. Raises NotFound when it was imported or replaced."""
    found = await repository.rows(conn, queries.take_upload, {"id": upload_id, "actor": actor})
    if not found:
        raise NotFound("this file was imported or replaced: upload it again")
    parsed = Parsed()
    for name, content in zip(found[0]["name"], found[0]["content"], strict=True):
        parse_file(name, bytes(content), parsed)
    return parsed, found[0]["source"]


def _verdict(
    lease: LeaseRecord, known: Mapping[str, Any], changed: Sequence[LeaseRecord], good: Sequence[LeaseRecord]
) -> Verdict:
    if lease not in changed:
        return "unchanged"
    if lease not in good:
        return "refused"
    return "changed" if lease.external_id in known else "new"


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


def _collect(refused: list[Text], faults: Sequence[Text]) -> bool:
    refused += faults
    return bool(faults)


def _faults(
    lease: LeaseRecord,
    tenants: dict[str, int],
    spaces: dict[str, dict[str, Any]],
    known: dict[str, dict[str, Any]],
    site_currency: str,
) -> list[Text]:
    row, number = lease.spaces[0].row, lease.number
    found: list[Text] = []
    if lease.tenant not in tenants:
        found.append(
            Text(
                "row {row}: lease {number} names the unknown tenant {tenant}; import tenants first",
                row=row,
                number=number,
                tenant=lease.tenant,
            )
        )
    for part in lease.spaces:
        space = spaces.get(part.space)
        if space is None:
            found.append(Text("row {row}: there is no space {space} at this site", row=part.row, space=part.space))
        elif space["use"] in {"common", "plant"}:
            found.append(
                Text(
                    "row {row}: space {space} is {use} area and cannot be let",
                    row=part.row,
                    space=part.space,
                    use=Text("common") if space["use"] == "common" else Text("plant"),
                )
            )
        elif part.area_m2 is None and not any(part.starts_on in days for days in space["measured"] or ()):
            found.append(
                Text(
                    "row {row}: space {space} has no area on {day}; add area_m2 to the row or to the estate",
                    row=part.row,
                    space=part.space,
                    day=part.starts_on,
                )
            )
    found += [
        Text(
            "row {row}: lease {number} is in {currency}, the site bills in {site_currency}; import it at a site with"
            " its currency",
            row=told_in,
            number=number,
            currency=currency,
            site_currency=site_currency,
        )
        for told_in, currency in lease.currencies
        if currency != site_currency
    ]
    before = known.get(lease.external_id)
    if before and lease.version is not None and lease.version < before["version"]:
        found.append(
            Text(
                "row {row}: lease {number} version {version} is older than {known}",
                row=row,
                number=number,
                version=lease.version,
                known=before["version"],
            )
        )
    return found


def _without_overlaps(
    leases: list[LeaseRecord], held: list[dict[str, Any]], source: str, refused: list[Text]
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
            Text(
                "row {row}: space {space} is held by lease {other} from {day}",
                row=part.row,
                space=part.space,
                other=other,
                day=max(start, s),
            )
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
    changed: list[LeaseRecord],
    tenants: dict[str, int],
    spaces: dict[str, dict[str, Any]],
    known: dict[str, dict[str, Any]],
    today: date,
) -> None:
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
    await repository.align_access(conn, list(lease_ids.values()), None)
    people = [
        {"tenant_id": tenants[lease.tenant], "lease_id": lease_ids[lease.external_id], "people": lease.head_count}
        | {"starts_on": lease.starts_on, "ends_on": lease.ends_on}
        for lease in changed
        if lease.head_count is not None
    ]
    await repository.store(conn, queries.save_head_counts, ids | {"rows": as_json(people)})


def _lease_row(
    lease: LeaseRecord, tenants: dict[str, int], before: dict[str, Any] | None, today: date
) -> dict[str, Any]:
    version = lease.version or (before["version"] + 1 if before else 1)
    status = "active"
    if before is not None:
        # A step of its life (move-in, move-out) is taken here, with readings; no file takes it.
        status = before["status"]
    elif lease.starts_on > today:
        status = "approved"
    elif lease.ends_on is not None and lease.ends_on <= today:
        status = "ended"
    return {
        "tenant_id": tenants[lease.tenant],
        "number": lease.number,
        "status": status,
        "starts_on": lease.starts_on,
        "ends_on": lease.ends_on,
        "attributes": lease.attributes | {"told": lease.fingerprint},
        "external_id": lease.external_id,
        "version": version,
    }


def _is_same(lease: LeaseRecord, before: dict[str, Any] | None) -> bool:
    if before is None:
        return False
    if before["told"] is not None:
        return before["told"] == lease.fingerprint
    if (before["tenant"], before["number"]) != (lease.tenant, lease.number):
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


async def reconcile(conn: AsyncConnection, site: Site, now: datetime) -> list[Text]:
    """Return what leases, meters and areas say against each other today, in words."""
    ids = {"organisation_id": site.organisation_id, "site_id": site.id, "now": now}
    ids["today"] = now.astimezone(site.zone).date()
    unmetered = await repository.rows(conn, queries.leases_without_meter, ids)
    unlet = await repository.rows(conn, queries.meters_without_lease, ids)
    areas = await repository.rows(conn, queries.areas_that_differ, ids)
    return [
        *(
            Text("lease {number}: no meter measures space {code}", number=r["number"], code=r["code"])
            for r in unmetered
        ),
        *(Text("meter {code}: none of its spaces is let today, the owner pays", code=r["code"]) for r in unlet),
        *(_area_text(r) for r in areas),
    ]


def _area_text(row: Mapping[str, Any]) -> Text:
    told, known = row["told"], row["known"]
    if row["lease"] is None:
        return Text(
            "floor {floor}: its spaces have {told} m2, the floor {known} m2", floor=row["place"], told=told, known=known
        )
    return Text(
        "lease {lease}, space {space}: {told} m2 told, {known} m2 known",
        lease=row["lease"],
        space=row["place"],
        told=told,
        known=known,
    )
