"""The final bill of a tenant who moves out: the days of the running cycle, made and issued in the move-out itself.

It is a run of one tenant over `[first of the cycle, day after the last)`, with the snapshot, number and proof of any
other bill. The cycle's run still counts that energy in its reconciliation and writes no second bill for it.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from psycopg import AsyncConnection

from cloud_api.billing import inputs as loading
from cloud_api.billing import service
from cloud_api.billing.compose import compose
from cloud_api.billing.cycle import cycle_around
from cloud_api.billing.inputs import QUANTITIES
from cloud_api.billing.repository import as_json, one, queries, rows, store
from cloud_api.billing.run_model import BillDraft, RunResult, SiteFacts
from cloud_api.billing.settlement import settle_with_credit
from cloud_api.billing.snapshot import fingerprint
from cloud_api.billing.states import NotIssuable, RunState
from cloud_api.db import queue
from cloud_api.kit.clock import Clock
from cloud_api.kit.i18n import Text
from cloud_api.metering.recompute import recompute_due

BY_RULE = "policy:final_bill"
LEDGER_ROUNDS_MAX = 10_000


async def issue_final_bills(
    conn: AsyncConnection, site: SiteFacts, tenant_id: int, after: date, *, actor: str, clock: Clock
) -> list[str]:
    """Make and issue a tenant's last bills, one per utility that it pays, up to the day before `after`.

    The leases are taken as this transaction knows them, so end them first. Returns the numbers given. Raises
    NotIssuable with everything that keeps a bill from being issued, also when the month before was not billed yet.
    """
    await _bring_ledger_up_to_date(conn, clock)
    found: list[str] = []
    used = await rows(conn, queries.site_tariffs, {"site_id": site.id})
    for utility in sorted(u["utility"] for u in used if u["payer"] == "tenants" and u["utility"] in QUANTITIES):
        number = await _issue(conn, site, utility, tenant_id, after, actor=actor, clock=clock)
        found += [number] if number else []
    await settle_with_credit(conn, organisation_id=site.organisation_id, tenant_id=tenant_id)
    return found


async def _bring_ledger_up_to_date(conn: AsyncConnection, clock: Clock) -> None:
    """Work off what the closing readings changed: the bill needs the last quarter of an hour."""
    for _ in range(LEDGER_ROUNDS_MAX):
        if not (await recompute_due(conn, clock)).registers:
            return


async def _issue(
    conn: AsyncConnection, site: SiteFacts, utility: str, tenant_id: int, after: date, *, actor: str, clock: Clock
) -> str | None:
    first, before = await _days_left(conn, site, utility, after)
    inputs, issues = await loading.load_inputs(conn, site, utility, first, after)
    if not inputs.parts:
        return None  # A tariff without meters, such as water priced for what a leak costs: nobody is billed by it.
    ids = {"site_id": site.id, "organisation_id": site.organisation_id, "utility": utility, "tenant_id": tenant_id}
    ids |= {"first": first, "after": after, "before": before, "actor": actor, "at": clock.now()}
    if await rows(conn, queries.unbilled_cycle_before, ids):
        month = f"{before:%Y-%m}"
        text = Text("{utility} of {month} is not billed yet: issue that run first", utility=utility, month=month)
        raise NotIssuable("the final bill cannot be issued:{reasons}", reasons=[text])
    result = compose(replace(inputs, final_bills=frozenset()), issues)
    draft = next((d for d in result.bills if d.tenant_id == tenant_id), None)
    if draft is None:
        return None
    _refuse(result, draft)
    run = await one(conn, queries.add_final_run, ids)
    assert run is not None
    known_at = await service.now_known(conn)
    summary = {key: value for key, value in result.summary.items() if key != "resale"}
    values = {"run_id": run["id"], "summary": as_json(summary | {"bills": 1, "total": str(draft.total)})}
    await store(conn, queries.finish_run, values | {"at": clock.now(), "count": 1, "known_at": known_at})
    return await _number(conn, site, run["id"], draft, inputs.policy.due_days, actor=actor, clock=clock)


async def _days_left(conn: AsyncConnection, site: SiteFacts, utility: str, after: date) -> tuple[date, date]:
    """Return where the running cycle's unbilled days begin, and where the cycle before began."""
    cycle_day = (await loading.find_policy(conn, site)).cycle_day
    first, cycle_end = cycle_around(after - timedelta(days=1), cycle_day)
    left = await service.days_to_bill(conn, site, utility, (first, cycle_end))
    return left[0][0] if left else first, cycle_around(first - timedelta(days=1), cycle_day)[0]


def _refuse(result: RunResult, draft: BillDraft) -> None:
    blocking: Sequence[str] = [i["text"] for i in result.summary["blocking"]] + [i.text for i in draft.issues]
    if blocking:
        raise NotIssuable("the final bill cannot be issued:{reasons}", reasons=list(blocking))


async def _number(
    conn: AsyncConnection, site: SiteFacts, run_id: int, draft: BillDraft, due_days: int, *, actor: str, clock: Clock
) -> str:
    snapshot: dict[str, Any] = draft.snapshot | {"kind": "final"}
    today = clock.now().astimezone(ZoneInfo(site.time_zone)).date()
    (number,) = await service.take_numbers(conn, site, today.year, "final", 1)
    values: dict[str, Any] = {
        "organisation_id": site.organisation_id,
        "site_id": site.id,
        "run_id": run_id,
        "currency": site.currency,
        "tenant_id": [draft.tenant_id],
        "kind": ["final"],
        "state": ["approved"],
        "first": [snapshot["period"]["from"]],
        "after": [snapshot["period"]["to"]],
        "net": [Decimal(snapshot["net"])],
        "tax": [Decimal(snapshot["tax"])],
        "total": [draft.total],
        "sha256": [fingerprint(snapshot)],
        "snapshot": [json.dumps(snapshot, ensure_ascii=False, sort_keys=True)],
    }
    await store(conn, queries.add_bills, values)
    bill = await one(conn, queries.final_bill_of_run, {"run_id": run_id})
    assert bill is not None
    issued = {
        "bill_id": [bill["id"]],
        "number": [number],
        "at": clock.now(),
        "due_on": today + timedelta(days=due_days),
    }
    await store(conn, queries.issue_bills, issued)
    await store(conn, queries.set_run_state, {"run_id": run_id, "state": RunState.ISSUED})
    step = {"organisation_id": site.organisation_id, "run_id": run_id, "bill_id": None, "at": clock.now()}
    for who, old, new in (
        (actor, RunState.DRAFT, RunState.CALCULATED),
        (BY_RULE, RunState.CALCULATED, RunState.APPROVED),
        (BY_RULE, RunState.APPROVED, RunState.ISSUED),
    ):
        reason = "" if who == actor else "final bill of a move-out, by the site's parameter final_bill"
        values = {"actor": who, "from_state": old, "to_state": new, "reason": reason}
        await store(conn, queries.add_step, step | values)
    await queue.defer(conn, "billing:make_documents", run_id=run_id, queueing_lock=f"bill-documents-{run_id}")
    await queue.defer(conn, "operations:bills_issued", run_id=run_id)
    return number
