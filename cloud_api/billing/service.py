"""Use cases of bill runs: calculate, review, approve, issue; tariffs and parameters of a site."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from psycopg import AsyncConnection

from cloud_api.billing import inputs as loading
from cloud_api.billing.compose import compose
from cloud_api.billing.cycle import Days, cycle_around, cycle_of
from cloud_api.billing.inputs import find_site
from cloud_api.billing.policy import Policy, dump_policy, load_policy
from cloud_api.billing.repository import Row, as_json, one, queries, rows, store
from cloud_api.billing.run_model import BillDraft, RunResult, SiteFacts
from cloud_api.billing.settlement import settle_with_credit
from cloud_api.billing.snapshot import fingerprint
from cloud_api.billing.states import NotIssuable, RunState, SamePerson, Step, after
from cloud_api.billing.tariff import Tariff
from cloud_api.billing.tariff_file import dump_tariff
from cloud_api.db import queue
from cloud_api.kit.clock import Clock
from cloud_api.kit.errors import Invalid, NotFound

RUNS_SHOWN_MAX = 200
BILLS_SHOWN_MAX = 500
BILLS_STORED_AT_ONCE = 100
"""Bounds the memory that their snapshots take on the way to the database."""
AUTOMATIC = "policy:automatic"
_SERIES = {"bill": "B", "credit_note": "C", "rebill": "R", "final": "F"}


class RunExists(Invalid):
    """The period was issued already; correct single bills by credit note."""

    code = "run_exists"
    status = 409


async def import_tariff(
    conn: AsyncConnection,
    site: SiteFacts,
    tariff: Tariff,
    *,
    actor: str,
    clock: Clock,
    payers: Sequence[str] = ("tenants",),
) -> int:
    """Record a tariff and use it for a site; an unchanged one stays as it is. Returns the revision."""
    if tariff.currency != site.currency:
        raise Invalid(
            "tariff {tariff} is in {tariff_currency}, site {site_code} bills in {site_currency}",
            tariff=tariff.tariff,
            tariff_currency=tariff.currency,
            site_code=site.code,
            site_currency=site.currency,
        )
    content = dump_tariff(tariff)
    sha256 = hashlib.sha256(json.dumps(content, ensure_ascii=False, sort_keys=True).encode()).hexdigest()
    ids = {"organisation_id": site.organisation_id, "site_id": site.id, "code": tariff.tariff}
    newest = await one(conn, queries.newest_tariff, ids)
    revision = newest["revision"] if newest else 0
    if newest is None or newest["sha256"] != sha256:
        revision += 1
        values = {
            "revision": revision,
            "sha256": sha256,
            "content": as_json(content),
            "at": clock.now(),
            "actor": actor,
        }
        await one(conn, queries.add_tariff, ids | values)
    for payer in payers:
        await store(conn, queries.use_tariff, ids | {"utility": tariff.utility, "payer": payer})
    return revision


async def set_policy(
    conn: AsyncConnection, site: SiteFacts, content: Mapping[str, Any], *, actor: str, clock: Clock
) -> Policy:
    """Change named parameters of a site; those not given keep their value."""
    try:
        policy = load_policy(dump_policy(await loading.find_policy(conn, site)) | dict(content))
    except ValueError as error:
        raise Invalid("billing parameters: {problem}", problem=error) from error
    values = {"organisation_id": site.organisation_id, "site_id": site.id, "content": as_json(dump_policy(policy))}
    await store(conn, queries.add_policy, values | {"at": clock.now(), "actor": actor})
    return policy


async def calculate_run(
    conn: AsyncConnection, site: SiteFacts, month: str, *, actor: str, clock: Clock, utility: str = "electricity"
) -> int:
    """Compute every bill of a cycle at once and store them with the run's reconciliation; returns the run's id.

    `running.py` does the same in the background. Raises RunExists when the cycle was issued.
    """
    run_id = await open_run(conn, site, month, actor=actor, clock=clock, utility=utility)
    period = (await _locked(conn, run_id))["period"]
    inputs, issues = await loading.load_inputs(conn, site, utility, period.lower, period.upper)
    await store_result(conn, run_id, compose(inputs, issues), known_at=await now_known(conn), clock=clock)
    return run_id


async def open_run(
    conn: AsyncConnection, site: SiteFacts, month: str, *, actor: str, clock: Clock, utility: str = "electricity"
) -> int:
    """Begin a run of the full cycle that starts in a month, as a draft; one not issued yet is cancelled.

    Days that an issued run covers are left out: after a change of the cycle day the first cycle is a shorter one.
    Raises RunExists when nothing is left to bill.
    """
    cycle_day = (await loading.find_policy(conn, site)).cycle_day
    first, after_last = cycle_of(month, cycle_day)
    if after_last > clock.now().astimezone(ZoneInfo(site.time_zone)).date():
        raise Invalid(
            "{month} is not over yet: it is billed from {first} to {last}; the last full month can be billed",
            month=month, first=first, last=after_last - timedelta(days=1),
        )  # fmt: skip
    ids = {"site_id": site.id, "organisation_id": site.organisation_id, "utility": utility}
    ids |= {"actor": actor, "at": clock.now()}
    left = await days_to_bill(conn, site, utility, (first, after_last))
    if len(left) != 1:
        raise RunExists(
            "{utility} of {month} at {site_code} was issued; correct bills by credit note",
            utility=utility,
            month=month,
            site_code=site.code,
        )
    ids |= {"first": left[0][0], "after": left[0][1]}
    for before in await rows(conn, queries.open_runs, ids):
        await _step(conn, before, Step.CANCEL, actor=actor, clock=clock, reason="computed anew")
    run = await one(conn, queries.add_run, ids)
    assert run is not None
    return run["id"]


async def days_to_bill(conn: AsyncConnection, site: SiteFacts, utility: str, cycle: Days) -> list[Days]:
    """Return the stretches of a cycle that no issued run of the whole site covers."""
    ids = {"site_id": site.id, "utility": utility, "first": cycle[0], "after": cycle[1]}
    return [(row["first"], row["after"]) for row in await rows(conn, queries.days_to_bill, ids)]


async def last_full_cycle(conn: AsyncConnection, site: SiteFacts, clock: Clock) -> Days:
    """Return the newest billing cycle of a site that is over."""
    cycle_day = (await loading.find_policy(conn, site)).cycle_day
    today = clock.now().astimezone(ZoneInfo(site.time_zone)).date()
    return cycle_around(cycle_around(today, cycle_day)[0] - timedelta(days=1), cycle_day)


async def now_known(conn: AsyncConnection) -> datetime:
    """Return the instant as of which this transaction knows leases and meters: what a run is pinned to."""
    row = await one(conn, queries.transaction_time, {})
    assert row is not None
    return row["at"]


async def store_result(
    conn: AsyncConnection, run_id: int, result: RunResult, *, known_at: datetime, clock: Clock
) -> bool:
    """Store the bills of a drafted run and finish it. Returns False when the run was cancelled or filled meanwhile."""
    run = await _locked(conn, run_id)
    if run["state"] != RunState.DRAFT:
        return False
    site = await find_site(conn, site_id=run["site_id"])
    for start in range(0, len(result.bills), BILLS_STORED_AT_ONCE):
        await _store_bills(conn, site, run_id, result.bills[start : start + BILLS_STORED_AT_ONCE])
    summary = {"summary": as_json(result.summary), "at": clock.now(), "count": len(result.bills)}
    await store(conn, queries.finish_run, summary | {"run_id": run_id, "known_at": known_at})
    await _note(conn, site.organisation_id, run_id, run["prepared_by"], clock, RunState.DRAFT, RunState.CALCULATED)
    return True


async def _store_bills(conn: AsyncConnection, site: SiteFacts, run_id: int, drafts: Sequence[BillDraft]) -> None:
    snapshots = [d.snapshot for d in drafts]
    values = {
        "organisation_id": site.organisation_id,
        "site_id": site.id,
        "run_id": run_id,
        "currency": site.currency,
        "tenant_id": [d.tenant_id for d in drafts],
        "kind": [d.kind for d in drafts],
        "state": ["exception" if d.issues else "calculated" for d in drafts],
        "first": [s["period"]["from"] for s in snapshots],
        "after": [s["period"]["to"] for s in snapshots],
        "net": [Decimal(s["net"]) for s in snapshots],
        "tax": [Decimal(s["tax"]) for s in snapshots],
        "total": [d.total for d in drafts],
        "sha256": [fingerprint(s) for s in snapshots],
        "snapshot": [json.dumps(s, ensure_ascii=False, sort_keys=True) for s in snapshots],
    }
    await store(conn, queries.add_bills, values)


async def take_step(
    conn: AsyncConnection, run_id: int, step: Step, *, actor: str, clock: Clock, reason: str = ""
) -> RunState:
    """Review, approve, send back or cancel a run. Raises StepRefused, SamePerson or NotIssuable."""
    run = await _locked(conn, run_id)
    if step is Step.APPROVE:
        if actor == run["prepared_by"]:
            raise SamePerson("{actor} prepared this run; somebody else has to approve it", actor=actor)
        _refuse_blocked(run, await rows(conn, queries.run_bills, {"run_id": run_id}))
    if step is Step.ISSUE:
        return await issue_run(conn, run_id, actor=actor, clock=clock)
    return await _step(conn, run, step, actor=actor, clock=clock, reason=reason)


async def issue_run(conn: AsyncConnection, run_id: int, *, actor: str, clock: Clock) -> RunState:
    """Give the approved bills their numbers and dates, for good. Raises NotIssuable with the lines to look at."""
    run = await _locked(conn, run_id)
    new_state = after(RunState(run["state"]), Step.ISSUE)
    _refuse_blocked(run, await rows(conn, queries.run_bills, {"run_id": run_id}))
    site = await find_site(conn, site_id=run["site_id"])
    policy = await loading.find_policy(conn, site)
    bills = [row["id"] for row in await rows(conn, queries.bills_to_number, {"run_id": run_id})]
    today = clock.now().astimezone(ZoneInfo(site.time_zone)).date()
    numbers = await take_numbers(conn, site, today.year, "bill", len(bills))
    values = {"bill_id": bills, "number": numbers, "at": clock.now()}
    await store(conn, queries.issue_bills, values | {"due_on": today + timedelta(days=policy.due_days)})
    await store(conn, queries.set_run_state, {"run_id": run_id, "state": new_state})
    await _note(conn, site.organisation_id, run_id, actor, clock, RunState.APPROVED, new_state)
    await queue.defer(conn, "billing:make_documents", run_id=run_id, queueing_lock=f"bill-documents-{run_id}")
    await queue.defer(conn, "operations:bills_issued", run_id=run_id)
    for tenant_id in await _tenants_of(conn, run_id):
        await settle_with_credit(conn, organisation_id=site.organisation_id, tenant_id=tenant_id)
    return new_state


async def _tenants_of(conn: AsyncConnection, run_id: int) -> list[int]:
    bills = await rows(conn, queries.run_bills, {"run_id": run_id})
    return [bill["tenant_id"] for bill in bills if bill["kind"] == "bill"]


async def take_numbers(conn: AsyncConnection, site: SiteFacts, year: int, kind: str, count: int) -> list[str]:
    """Return the next document numbers of an issuer and year: `HZ-PARK-2026-B000042`; none is ever lost or reused."""
    if not count:
        return []
    series = _SERIES[kind]
    values = {"organisation_id": site.organisation_id, "year": year, "series": series, "count": count}
    row = await one(conn, queries.take_numbers, values)
    assert row is not None
    last = row["last"]
    prefix = f"{site.issuer['code'].upper()}-{year}-{series}"
    return [f"{prefix}{number:06d}" for number in range(last - count + 1, last + 1)]


def blocking_reasons(run: Mapping[str, Any], bills: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return everything that forbids issuing a run, in words, with whom it concerns."""
    reasons = [issue["text"] for issue in run["summary"].get("blocking", [])]
    reasons += [
        f"{bill['tenant_code']}: {issue['text']}"
        for bill in bills
        if bill["kind"] == "bill"
        for issue in bill["issues"]
    ]
    return reasons


def _refuse_blocked(run: Row, bills: Sequence[Row]) -> None:
    reasons = blocking_reasons(run, bills)
    if reasons:
        raise NotIssuable("the run cannot be issued:{reasons}", reasons=reasons)


async def run_and_issue(
    conn: AsyncConnection, site: SiteFacts, month: str, *, actor: str, clock: Clock, utility: str = "electricity"
) -> int:
    """Calculate and, when nothing forbids it and the site's policy approves automatically, issue a month's bills."""
    policy = await loading.find_policy(conn, site)
    if policy.approval != "automatic":
        raise Invalid(
            "site {site_code} asks for two people: review and approve the run on its page, then issue it",
            site_code=site.code,
        )
    run_id = await calculate_run(conn, site, month, actor=actor, clock=clock, utility=utility)
    for step in (Step.REVIEW, Step.APPROVE, Step.ISSUE):
        await take_step(conn, run_id, step, actor=AUTOMATIC, clock=clock, reason="approved by the site's parameter")
    return run_id


async def _locked(conn: AsyncConnection, run_id: int) -> Row:
    run = await one(conn, queries.lock_run, {"run_id": run_id})
    if run is None:
        raise NotFound("there is no bill run {run_id}", run_id=run_id)
    return run


_BILL_STATES = {
    RunState.CALCULATED: (["reviewed", "approved"], "calculated"),
    RunState.REVIEWED: (["calculated"], "reviewed"),
    RunState.APPROVED: (["reviewed"], "approved"),
    RunState.CANCELLED: (["draft", "calculated", "exception", "reviewed", "approved"], "cancelled"),
}


async def _step(conn: AsyncConnection, run: Row, step: Step, *, actor: str, clock: Clock, reason: str = "") -> RunState:
    state = RunState(run["state"])
    new_state = after(state, step)
    from_states, bill_state = _BILL_STATES[new_state]
    values = {"run_id": run["id"], "state": bill_state, "from_states": from_states, "kind": None}
    await store(conn, queries.set_bill_states, values)
    await store(conn, queries.set_run_state, {"run_id": run["id"], "state": new_state})
    await _note(conn, run["organisation_id"], run["id"], actor, clock, state, new_state, reason)
    return new_state


async def _note(
    conn: AsyncConnection,
    organisation_id: int,
    run_id: int,
    actor: str,
    clock: Clock,
    from_state: str,
    to_state: str,
    reason: str = "",
) -> None:
    values = {"organisation_id": organisation_id, "run_id": run_id, "bill_id": None, "at": clock.now()}
    values |= {"actor": actor, "from_state": from_state, "to_state": to_state, "reason": reason}
    await store(conn, queries.add_step, values)


async def get_run(conn: AsyncConnection, run_id: int) -> Row:
    """Return a run with its bills, its history and what forbids issuing it. Raises NotFound."""
    run = await one(conn, queries.run_by_id, {"run_id": run_id})
    if run is None:
        raise NotFound("there is no bill run {run_id}", run_id=run_id)
    bills = await rows(conn, queries.run_bills, {"run_id": run_id})
    steps = await rows(conn, queries.steps, {"run_id": run_id, "bill_id": None})
    return run | {"bills": bills, "steps": steps, "reasons": blocking_reasons(run, bills)}


async def list_runs(conn: AsyncConnection, organisation_id: int) -> list[Row]:
    """Return the newest runs of an organisation."""
    return await rows(conn, queries.runs, {"organisation_id": organisation_id, "limit": RUNS_SHOWN_MAX})


async def get_bill(conn: AsyncConnection, bill: str | int) -> Row:
    """Return a bill by number or id, with its snapshot. Raises NotFound, also for what the viewer may not see."""
    text = str(bill)
    values = {"bill_id": int(text) if text.isdigit() else None, "number": text}
    found = await one(conn, queries.bill_by_id, values)
    if found is None:
        raise NotFound("there is no bill {bill}", bill=bill)
    return found


async def bills_of_tenant(conn: AsyncConnection, tenant_id: int) -> list[Row]:
    """Return a tenant's issued bills, newest first."""
    return await rows(conn, queries.bills_of_tenant, {"tenant_id": tenant_id, "limit": BILLS_SHOWN_MAX})


async def issued_bills(
    conn: AsyncConnection,
    organisation_id: int,
    *,
    tenant_id: int | None = None,
    tenant_code: str | None = None,
    limit: int = BILLS_SHOWN_MAX,
) -> list[Row]:
    """Return issued bills, newest first, with what is open: all, or those of one tenant."""
    values = {"organisation_id": organisation_id, "tenant_id": tenant_id, "tenant_code": tenant_code}
    return await rows(conn, queries.issued_bills, values | {"limit": min(limit, BILLS_SHOWN_MAX)})


async def list_sites(conn: AsyncConnection) -> list[Row]:
    """Return code and names of the sites that the viewer may see."""
    return await rows(conn, queries.site_list, {})


async def list_tariffs(conn: AsyncConnection, organisation_id: int) -> list[Row]:
    """Return the newest revision of every tariff, and where it is used."""
    return await rows(conn, queries.tariffs, {"organisation_id": organisation_id})


async def find_tariff(conn: AsyncConnection, organisation_id: int, code: str) -> Row | None:
    """Return the newest revision of a tariff, or None."""
    return await one(conn, queries.newest_tariff, {"organisation_id": organisation_id, "code": code})
