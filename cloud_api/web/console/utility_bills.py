"""The utility's own bill of the main meter: entered or imported, beside our ledger; the basis of cost share."""

from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Form, Query, Response, UploadFile

from cloud_api.billing import utility_bill, utility_bill_entry
from cloud_api.billing.cost_share import DRIVERS
from cloud_api.billing.inputs import TariffMissing, find_policy, find_site
from cloud_api.billing.tariff import BUCKET_NAMES
from cloud_api.billing.timetable import NoTariff
from cloud_api.billing.utility_bill_entry import UtilityBillInvalid
from cloud_api.identity.model import Role
from cloud_api.kit.errors import DomainError
from cloud_api.kit.i18n import format_days, in_language
from cloud_api.kit.i18n import mark as N_  # noqa: N812
from cloud_api.leasing.import_file import rows_of
from cloud_api.web.shared.bill_view import UTILITIES
from cloud_api.web.shared.navigation import NavItem
from cloud_api.web.shared.page import FinancePage
from cloud_api.web.shared.sites import last_full_cycle, site_options
from cloud_api.web.shared.templates import gettext as _
from cloud_api.web.shared.templates import say

router = APIRouter(prefix="/console/utility-bills")
NAV = NavItem(
    group="money",
    order=15,
    label=N_("Utility's bills"),
    href="/console/utility-bills",
    icon="download",
    roles=frozenset({Role.FINANCE, Role.MANAGER}),
)
ROWS = 12
BYTES_MAX = 500_000
DRIVER_WORDS = {
    "energy": N_("by energy"),
    "area": N_("by area"),
    "head_count": N_("by people"),
    "equal": N_("in equal parts"),
    "landlord": N_("stays with the landlord"),
}
Texts = Annotated[list[str], Form()]


@router.get("")
async def list_bills(page: FinancePage, site: Annotated[str, Query(max_length=100)] = "") -> Response:
    """List what was entered, with a form for the next month."""
    return await _list(page, {"site": site})


@router.post("")
async def enter(
    page: FinancePage,
    first_day: Annotated[str, Form(max_length=10)],
    last_day: Annotated[str, Form(max_length=10)],
    total: Annotated[str, Form(max_length=20)],
    kwh: Annotated[str, Form(max_length=20)],
    name: Texts = [],  # noqa: B006 # FastAPI copies it.
    bucket: Texts = [],  # noqa: B006
    energy: Texts = [],  # noqa: B006
    amount: Texts = [],  # noqa: B006
    driver: Texts = [],  # noqa: B006
    site: Annotated[str, Form(max_length=100)] = "",
    utility: Annotated[str, Form(pattern="^(electricity|water|gas|heat|cooling)$")] = "electricity",
    file: UploadFile | None = None,
) -> Response:
    """Store a bill, typed in or from a file of lines; what does not add up is said beside the form."""
    columns = zip(name, bucket, energy, amount, driver, strict=False)
    lines = utility_bill_entry.lines_of(
        [dict(zip(("name", "bucket", "kwh", "amount", "driver"), row, strict=True)) for row in columns]
    )
    form: dict[str, Any] = {"site": site, "total": total, "kwh": kwh, "utility": utility}
    form |= {"first_day": first_day, "last_day": last_day}
    try:
        content = await _content(form, lines, file)
        form |= {"lines": content["lines"], "total": content["total"], "kwh": content["kwh"]}
        async with page.conn.transaction():
            found = await find_site(page.conn, code=site or None)
            days = await utility_bill.days_of(page.conn, found, first_day=first_day, last_day=last_day)
            words = await utility_bill.enter(
                page.conn, found, days, content, actor=page.viewer.login, clock=page.clock, utility=utility
            )
    except DomainError as error:
        return await _list(page, {"lines": lines} | form, problem=say(error))
    stored = await utility_bill.entered(page.conn, page.viewer.organisation_id)
    newest = max(stored, key=lambda row: row["id"])
    return page.redirect(f"/console/utility-bills/{newest['id']}", notice=say(words[0]))


async def _content(form: dict[str, Any], lines: list[dict[str, Any]], file: UploadFile | None) -> dict[str, Any]:
    if file is None or not file.filename:
        return {"total": _clean(form["total"]), "kwh": _clean(form["kwh"]), "lines": lines}
    content = await file.read(BYTES_MAX + 1)
    if len(content) > BYTES_MAX:
        raise UtilityBillInvalid("{name}: larger than {size}; cut it in parts", name=file.filename, size="500 kB")
    if file.filename.lower().endswith(".json"):
        found = utility_bill_entry.read_json(file.filename, content)
        lines = found.get("lines", [])
        return {"total": _clean(form["total"]) or found.get("total"), "kwh": _clean(form["kwh"]) or found.get("kwh"),
                "currency": found.get("currency"), "lines": lines}  # fmt: skip
    read = utility_bill_entry.lines_of(rows_of(file.filename, content))
    return {"total": _clean(form["total"]), "kwh": _clean(form["kwh"]), "lines": read}


def _clean(text: str) -> str:
    return text.replace(",", "").strip()


async def _list(page: FinancePage, form: dict[str, Any], *, problem: str = "") -> Response:
    first, after = await last_full_cycle(page.conn, page.clock, page.zone)
    rows = [
        row | {"utility_name": UTILITIES[row["utility"]], "kwh": row["content"]["kwh"]}
        for row in await utility_bill.entered(page.conn, page.viewer.organisation_id)
    ]
    lines = [_row(line) for line in form.get("lines") or ()]
    defaults = {"site": "", "total": "", "kwh": "", "utility": "electricity"}
    defaults |= {"first_day": first.isoformat(), "last_day": (after - timedelta(days=1)).isoformat()}
    return page.render(
        "console/utility_bills.html",
        status=422 if problem else 200,
        rows=rows,
        form=defaults | form,
        lines=lines + [_row({})] * max(ROWS - len(lines), 2),
        problem=problem,
        sites=await site_options(page.conn),
        utilities=[(code, _(words)) for code, words in UTILITIES.items() if code != "hvac"],
        buckets=[("", "–"), *((code, _bucket(code)) for code in BUCKET_NAMES if code != "all")],
        drivers=[(code, _(DRIVER_WORDS[code])) for code in DRIVERS],
    )


def _row(line: dict[str, Any]) -> dict[str, str]:
    empty = {"name": "", "bucket": "", "kwh": "", "amount": "", "driver": "energy"}
    return empty | {key: str(value) for key, value in line.items() if value}


@router.get("/{bill_id}")
async def show(page: FinancePage, bill_id: int) -> Response:
    """Show a bill beside our own ledger."""
    bill = await utility_bill.find(page.conn, page.viewer.organisation_id, bill_id)
    site = await find_site(page.conn, site_id=bill["site_id"])
    try:
        compared, missing = (
            await utility_bill.compare(
                page.conn, site, (bill["starts_on"], bill["ends_on"]), bill["content"], utility=bill["utility"]
            ),
            "",
        )
    except (TariffMissing, NoTariff) as error:
        compared, missing = None, say(error)
    policy = await find_policy(page.conn, site)
    name = UTILITIES[bill["utility"]]
    lines = [
        line
        | {"bucket_name": _bucket(line["bucket"]), "driver_word": DRIVER_WORDS[line["driver"]]}
        | {"shown": in_language(line["name"], line["name_en"]), "kwh": line.get("kwh")}
        for line in bill["content"]["lines"]
    ]
    return page.render(
        "console/utility_bill.html",
        bill=bill,
        title=_(name) + " · " + format_days(bill["starts_on"], bill["ends_on"]),
        lines=lines,
        compared=compared,
        buckets=[] if compared is None else [(_bucket(code), side) for code, side in compared.buckets.items()],
        words=[] if compared is None else [say(text) for text in compared.words()],
        missing=missing,
        is_cost_share=policy.resale_mode == "cost_share",
    )


@router.post("/{bill_id}/remove")
async def remove(page: FinancePage, bill_id: int) -> Response:
    """Take back a bill that was entered by mistake."""
    await utility_bill.remove(page.conn, page.viewer.organisation_id, bill_id)
    return page.redirect("/console/utility-bills", notice=_("The entry is removed."))


def _bucket(code: str | None) -> str:
    name = BUCKET_NAMES.get(code or "")
    return in_language(name.zh, name.en) if name else code or ""
