"""Bill runs for finance: from the leases of a month to issued bills, with progress, reconciliation and reasons."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any

from fastapi import APIRouter, Form, Query, Response

from cloud_api.billing import corrections, documents, running, service, settlement
from cloud_api.billing.access import access_run
from cloud_api.billing.export import run_csv, run_xlsx
from cloud_api.billing.final_bill import BY_RULE
from cloud_api.billing.inputs import find_site
from cloud_api.billing.repository import Row
from cloud_api.billing.states import TRANSITIONS, RunState, Step
from cloud_api.identity.model import Role, StaffViewer
from cloud_api.kit.errors import DomainError, NotFound
from cloud_api.kit.i18n import mark as N_  # noqa: N812
from cloud_api.kit.money import round_parts
from cloud_api.web.shared.bill_view import BASES, STATES, UTILITIES, issue_views
from cloud_api.web.shared.navigation import NavItem
from cloud_api.web.shared.page import FinancePage, Page
from cloud_api.web.shared.sites import last_full_cycle, site_options
from cloud_api.web.shared.templates import gettext as _
from cloud_api.web.shared.templates import ngettext, say

EQUATION = ("tenants_kwh", "common_kwh", "owner_kwh", "loss_kwh")  # Together the main meter.
router = APIRouter(prefix="/console/bills")
NAV = NavItem(
    group="money",
    order=10,
    label=N_("Bill runs"),
    href="/console/bills",
    icon="bill",
    roles=frozenset({Role.FINANCE, Role.MANAGER}),
)

STEP_WORDS = {
    Step.REVIEW: N_("Mark as reviewed"),
    Step.APPROVE: N_("Approve"),
    Step.ISSUE: N_("Issue the bills"),
    Step.SEND_BACK: N_("Send back"),
    Step.CANCEL: N_("Cancel the run"),
}
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
PHASES = {
    "waiting": N_("The calculation waits for the worker"),
    "reading": N_("Intervals are read"),
    "rating": N_("Bills are rated"),
    "storing": N_("Bills are stored"),
    "done": N_("Calculated"),
    "failed": N_("The calculation failed"),
}
_RULES = {
    service.AUTOMATIC: N_("The site's parameter lets no second person approve."),
    BY_RULE: N_("The site's parameter issues the final bill with the move-out."),
}
FUNNEL = (RunState.CALCULATED, RunState.REVIEWED, RunState.APPROVED, RunState.ISSUED)


@router.get("")
async def list_runs(page: FinancePage) -> Response:
    """Show every run, what waits for a decision, and who is late."""
    organisation = page.viewer.organisation_id
    runs = [_run_row(row) for row in await service.list_runs(page.conn, organisation)]
    last, _end = await last_full_cycle(page.conn, page.clock, page.zone)
    today = page.clock.now().astimezone(page.zone).date()
    return page.render(
        "console/bills.html",
        runs=runs,
        month=f"{last:%Y-%m}",
        sites=await site_options(page.conn),
        utilities=[(code, _(words)) for code, words in UTILITIES.items() if code != "hvac"],
        adjustments=await corrections.list_adjustments(page.conn, organisation),
        questions=await corrections.open_questions(page.conn, organisation),
        arrears=await settlement.arrears(page.conn, organisation, today),
    )


@router.post("/runs")
async def start_run(
    page: FinancePage,
    month: Annotated[str, Form(max_length=7)],
    site: Annotated[str, Form(max_length=100)] = "",
    utility: Annotated[str, Form(pattern="^(electricity|water|gas|heat|cooling)$")] = "electricity",
) -> Response:
    """Begin a month's run; the worker calculates it."""
    try:
        async with page.conn.transaction():
            found = await find_site(page.conn, code=site or None)
            run_id = await running.start(
                page.conn, found, month, actor=page.viewer.login, clock=page.clock, utility=utility
            )
    except DomainError as error:
        return page.redirect("/console/bills", notice=say(error))
    return page.redirect(f"/console/bills/runs/{run_id}")


@router.get("/runs/{run_id}")
async def show_run(page: FinancePage, run_id: int) -> Response:
    """Show a run as a funnel, with the equation that has to close and what forbids issuing."""
    run = await access_run(page.conn, page.viewer, run_id)
    bills = [b | {"state_view": STATES[b["state"]], "issue_views": issue_views(b["issues"])} for b in run["bills"]]
    summary = run["summary"]
    return page.render(
        "console/bill_run.html",
        run=_run_row(run | {"starts_on": run["period"].lower, "ends_on": run["period"].upper}),
        bills=bills,
        summary=_shown(summary),
        blocking=_blocking(issue_views(summary.get("blocking", []))),
        causes=_causes(bills),
        resale_basis=BASES.get(summary.get("resale", {}).get("basis", "")),
        resale=summary.get("resale", {}),
        funnel=_funnel(run, bills),
        steps=[_step(s) for s in run["steps"]],
        actions=_actions(run, page),
        answer=_answer(run, bills),
        progress=_progress(await running.progress(page.conn, run_id), page.clock.now()),
    )


@router.get("/runs/{run_id}/progress")
async def show_progress(page: FinancePage, run_id: int) -> Response:
    """Return the bar alone while the worker is busy; when it is done, ask the browser for the whole page."""
    await access_run(page.conn, page.viewer, run_id)
    now = await running.progress(page.conn, run_id)
    if not (now.is_running or now.makes_documents):
        return Response(headers={"HX-Refresh": "true"})
    return page.render("console/run_progress.html", progress=_progress(now, page.clock.now()), run={"id": run_id})


def _progress(now: running.Progress, at: datetime) -> dict[str, Any]:
    """Return what the bar shows: what is done, how far, and a guess of the seconds left."""
    if now.makes_documents:
        return {"words": N_("Documents are made"), "count": now.documents, "total": now.bills, "left_s": None} | {
            "is_running": True,
            "failure": "",
        }
    elapsed = (at - now.began_at).total_seconds()
    left = None if not now.count else round(elapsed * (now.total - now.count) / now.count)
    return {"words": PHASES[now.phase], "count": now.count, "total": now.total, "left_s": left} | {
        "is_running": now.is_running,
        "failure": now.failure if now.phase == "failed" else "",
    }


def _shown(summary: dict[str, Any]) -> dict[str, Decimal]:
    """Return the figures of a run; the equation's parts are rounded so that it closes as it is printed."""
    exact = {k: Decimal(v) for k, v in summary.items() if k.endswith(("kwh", "percent", "total"))}
    parts = [name for name in EQUATION if name in exact]
    return exact | dict(zip(parts, round_parts([exact[name] for name in parts]), strict=True))


def _blocking(issues: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Group what concerns the whole run by its cause; a meter stands there once."""
    found: dict[str, dict[str, Any]] = {}
    for issue in issues:
        cause = found.setdefault(issue["words"], {"words": issue["words"], "fix": issue["fix"], "details": []})
        if issue["detail"] not in cause["details"]:
            cause["details"].append(issue["detail"])
    return list(found.values())


def _causes(bills: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Group the exceptions by their cause, each with the page where it is mended."""
    found: dict[str, dict[str, Any]] = {}
    for bill in bills:
        for issue in bill["issue_views"] if bill["kind"] == "bill" else ():
            cause = found.setdefault(issue["words"], {"words": issue["words"], "fix": issue["fix"], "bills": []})
            if bill not in cause["bills"]:
                cause["bills"].append(bill)
    return list(found.values())


def _step(step: Row) -> dict[str, Any]:
    """Say a step of the history; one that no person took names the site's parameter that took it."""
    rule = _RULES.get(step["actor"])
    said = {"actor": _("by rule"), "reason": _(rule)} if rule else {}
    return step | said | {"from_word": _word(step["from_state"]), "to_word": _word(step["to_state"])}


def _word(state: str) -> str:
    return STATES[state][1]


def _run_row(row: dict[str, Any]) -> dict[str, Any]:
    summary = row["summary"]
    return row | {
        "state_view": STATES[row["state"]],
        "utility_name": UTILITIES[row["utility"]],
        "total": Decimal(summary.get("total", "0")),
        "bill_count": summary.get("bills", 0),
        "exception_count": summary.get("exceptions", 0),
    }


def _funnel(run: dict[str, Any], bills: list[dict[str, Any]]) -> list[dict[str, Any]]:
    own = [b for b in bills if b["kind"] == "bill"]
    reached = [s.value for s in FUNNEL].index(run["state"]) if run["state"] in FUNNEL else -1
    stages = [
        {"label": N_("Leases"), "count": len(own), "done": True},
        {"label": N_("Exceptions"), "count": sum(bool(b["issues"]) for b in own), "done": True},
    ]
    stages += [
        {"label": STATES[state.value][1], "count": len(own) if i <= reached else 0, "done": i <= reached}
        for i, state in enumerate(FUNNEL)
    ]
    return stages


def _actions(run: dict[str, Any], page: Page[StaffViewer]) -> list[dict[str, Any]]:
    """Return the steps that this person may take now; why one is closed stands beside it."""
    found = []
    for step in (Step.REVIEW, Step.APPROVE, Step.ISSUE, Step.SEND_BACK, Step.CANCEL):
        if (RunState(run["state"]), step) not in TRANSITIONS:
            continue
        closed = ""
        if step is Step.APPROVE and run["prepared_by"] == page.viewer.login:
            closed = _("You prepared this run; somebody else has to approve it.")
        elif step in {Step.APPROVE, Step.ISSUE} and run["reasons"]:
            closed = _("The points above have to be settled first.")
        found.append({"step": step.value, "label": STEP_WORDS[step], "closed": closed})
    return found


def _answer(run: dict[str, Any], bills: list[dict[str, Any]]) -> str:
    own = [b for b in bills if b["kind"] == "bill"]
    if run["state"] == RunState.DRAFT:
        return _("The bills of this month are being calculated.")
    if run["state"] == RunState.ISSUED:
        return ngettext("One bill is issued.", "{count} bills are issued.", len(own))
    if run["reasons"]:
        return ngettext(
            "One point keeps this run from being issued.",
            "{count} points keep this run from being issued.",
            len(run["reasons"]),
        )
    return ngettext("One bill balances and waits.", "{count} bills balance and wait.", len(own))


@router.get("/runs/{run_id}/documents.zip")
async def documents_archive(page: FinancePage, run_id: int) -> Response:
    """Return the PDFs of an issued run in one file."""
    await access_run(page.conn, page.viewer, run_id)
    headers = {"Content-Disposition": f'attachment; filename="bill-run-{run_id}.zip"'}
    return Response(await documents.archive(page.conn, run_id), media_type="application/zip", headers=headers)


@router.post("/runs/{run_id}/steps")
async def take_step(
    page: FinancePage,
    run_id: int,
    step: Annotated[str, Form(max_length=20)],
    reason: Annotated[str, Form(max_length=500)] = "",
) -> Response:
    """Review, approve, issue, send back or cancel a run."""
    await access_run(page.conn, page.viewer, run_id)
    if step not in set(Step):
        raise NotFound
    try:
        async with page.conn.transaction():
            await service.take_step(
                page.conn, run_id, Step(step), actor=page.viewer.login, clock=page.clock, reason=reason
            )
    except DomainError as error:
        return page.redirect(f"/console/bills/runs/{run_id}", notice=say(error))
    return page.redirect(f"/console/bills/runs/{run_id}", notice=_("Done."))


@router.get("/runs/{run_id}/export.xlsx")
async def export_excel(page: FinancePage, run_id: int) -> Response:
    """Return the same lines as an Excel file."""
    await access_run(page.conn, page.viewer, run_id)
    headers = {"Content-Disposition": f'attachment; filename="bill-run-{run_id}.xlsx"'}
    return Response(await run_xlsx(page.conn, run_id), media_type=XLSX, headers=headers)


@router.get("/runs/{run_id}/export.csv")
async def export(page: FinancePage, run_id: int, delimiter: Annotated[str, Query(pattern="^[,;]$")] = ",") -> Response:
    """Return a run's lines for accounting: one row per line, with ledger account and tax code."""
    await access_run(page.conn, page.viewer, run_id)
    text = await run_csv(page.conn, run_id, delimiter=delimiter)
    headers = {"Content-Disposition": f'attachment; filename="bill-run-{run_id}.csv"'}
    return Response("\ufeff" + text, media_type="text/csv; charset=utf-8", headers=headers)
