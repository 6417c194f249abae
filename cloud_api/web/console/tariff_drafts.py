"""A tariff entered field by field: kept as a draft, proved while it grows, tried on the last year, put in force."""

from datetime import date
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from cloud_api.billing import coverage, tariff_form, tariff_form_edit, timetable
from cloud_api.billing.inputs import find_calendar, find_site
from cloud_api.billing.power_factor import STANDARDS
from cloud_api.billing.service import find_tariff
from cloud_api.billing.tariff import Tariff
from cloud_api.billing.tariff_drafts import (
    Checked,
    check_form,
    delete_draft,
    find_draft,
    put_in_force,
    save_draft,
)
from cloud_api.billing.tariff_file import load_dumped
from cloud_api.billing.tariff_form import Form
from cloud_api.kit.errors import DomainError, Invalid, NotFound
from cloud_api.kit.i18n import Text, in_language
from cloud_api.web.console.tariffs import USES, draw_trial, template_tariff
from cloud_api.web.shared.page import FinancePage
from cloud_api.web.shared.sites import site_options
from cloud_api.web.shared.tariff_form_view import DECIMALS, LABELS, TABLES, choices, field_label, shown_fields
from cloud_api.web.shared.tariff_view import days_of, energy_prices
from cloud_api.web.shared.templates import gettext as _
from cloud_api.web.shared.templates import say

router = APIRouter(prefix="/console/tariff-drafts")
FIELDS_MAX = 3_000
FIELD_LENGTH_MAX = 2_000


@router.get("/new")
async def begin(
    page: FinancePage,
    template: Annotated[str, Query(max_length=60)] = "",
    tariff: Annotated[str, Query(max_length=100)] = "",
    version: Annotated[str, Query(max_length=100)] = "",
) -> Response:
    """Begin with an empty form, a template, the newest version of a tariff (under a new date), or one to be changed."""
    today = page.clock.now().astimezone(page.zone).date()
    following = date(today.year + today.month // 12, today.month % 12 + 1, 1)
    if tariff:
        form = await _form_of_recorded(page, tariff, version, following)
    else:
        found = template_tariff(template)
        form = tariff_form.form_of(found, found.versions[-1]) if found else tariff_form_edit.empty_form(following)
    return await _draw(page, form)


async def _form_of_recorded(page: FinancePage, code: str, version: str, following: date) -> Form:
    found = await find_tariff(page.conn, page.viewer.organisation_id, code)
    if found is None:
        raise NotFound
    recorded = load_dumped(found["content"])
    if version:
        wanted = next((v for v in recorded.versions if v.version == version), None)
        if wanted is None:
            raise NotFound
        return tariff_form.form_of(recorded, wanted)
    newest = max(recorded.versions, key=lambda v: v.valid_from)
    first = max(following, newest.valid_from.replace(year=newest.valid_from.year + 1))
    return tariff_form_edit.next_version(
        tariff_form.form_of(recorded, newest), following if newest.valid_from < following else first
    )


@router.get("/{draft_id}")
async def show(page: FinancePage, draft_id: int) -> Response:
    """Show a draft with what is still wrong in it."""
    found = await find_draft(page.conn, page.viewer.organisation_id, draft_id)
    return await _draw(page, found["content"], draft_id=draft_id)


@router.get("/{draft_id}/trial")
async def try_draft(page: FinancePage, draft_id: int, site: Annotated[str, Query(max_length=100)] = "") -> Response:
    """Try the draft's version on the last full months, as if it had always been in force."""
    found = await find_draft(page.conn, page.viewer.organisation_id, draft_id)
    checked = await check_form(page.conn, page.viewer.organisation_id, found["content"])
    here = f"/console/tariff-drafts/{draft_id}"
    if checked.tariff is None:
        return page.redirect(here, notice=_("Mend what is named first; then it can be tried."))
    try:
        return await draw_trial(page, checked.as_if_always, site, back=(_("Draft"), here))
    except DomainError as error:
        return page.redirect(here, notice=say(error))


@router.post("/proof")
async def prove(page: FinancePage) -> Response:
    """Answer a form that is being edited with its proof, or with what is wrong, beside the fields."""
    form, _do, _draft_id, _site = await _sent(page)
    return await _draw(page, form, fragment="proof")


@router.post("/form")
async def redraw(page: FinancePage) -> Response:
    """Draw the form anew after a choice that decides which fields there are."""
    form, _do, draft_id, site = await _sent(page)
    return await _draw(page, form, draft_id=draft_id, site=site, fragment="form")


@router.post("")
async def change(page: FinancePage) -> Response:
    """Keep the form as a draft; add, move or take away a row, try it, put it in force, or delete the draft."""
    form, do, draft_id, site = await _sent(page)
    organisation_id, actor = page.viewer.organisation_id, page.viewer.login
    if do == "delete":
        if draft_id is not None:
            await delete_draft(page.conn, organisation_id, draft_id)
        return page.redirect("/console/tariffs", notice=_("The draft is deleted."))
    form = tariff_form_edit.changed(form, do)
    try:
        draft_id = await save_draft(page.conn, organisation_id, form, draft_id=draft_id, actor=actor, clock=page.clock)
    except Invalid as error:
        return await _draw(page, form, draft_id=draft_id, site=site, refused=[say(error)])
    here = f"/console/tariff-drafts/{draft_id}"
    if do == "trial":
        return page.redirect(f"{here}/trial?site={site}")
    if do in USES:
        return await _use(page, form, draft_id, site, do)
    if do == "save":
        return page.redirect(here, notice=_("The draft is kept; nothing is priced by it yet."))
    _verb, _colon, path = do.partition(":")
    return page.redirect(f"{here}#{path.split('.')[0] or 'main'}")


async def _use(page: FinancePage, form: Form, draft_id: int, site: str, payers: str) -> Response:
    checked = await check_form(page.conn, page.viewer.organisation_id, form)
    if checked.tariff is None:
        return await _draw(page, form, draft_id=draft_id, site=site, status=422)
    try:
        async with page.conn.transaction():
            place = await find_site(page.conn, code=site or None)
            tariff, revision = await put_in_force(
                page.conn,
                place,
                form,
                draft_id=draft_id,
                payers=USES[payers],
                actor=page.viewer.login,
                clock=page.clock,
            )
    except DomainError as error:
        return await _draw(page, form, draft_id=draft_id, site=site, refused=[say(error)])
    return page.redirect(
        f"/console/tariffs/{tariff.tariff}", notice=_("Saved as revision {revision}.", revision=revision)
    )


async def _sent(page: FinancePage) -> tuple[Form, str, int | None, str]:
    """Return the form that was sent, the button that was pressed, the draft's number and the site."""
    sent = await page.request.form(max_fields=FIELDS_MAX)
    fields: dict[str, list[str]] = {}
    for name, value in sent.multi_items():
        if isinstance(value, str):
            if len(value) > FIELD_LENGTH_MAX or len(name) > 100 or name.count(".") > 6:
                raise Invalid("a field of the form is longer than {limit} characters", limit=FIELD_LENGTH_MAX)
            fields.setdefault(name, []).append(value)
    taken = {key: fields.pop(key, [""])[-1] for key in ("csrf_token", "do", "draft", "site")}
    draft_id = int(taken["draft"]) if taken["draft"].isdigit() and len(taken["draft"]) < 19 else None
    return tariff_form.from_fields(fields), taken["do"] or "save", draft_id, taken["site"]


async def _draw(
    page: FinancePage,
    form: Form,
    *,
    draft_id: int | None = None,
    site: str = "",
    status: int = 200,
    refused: list[str] | None = None,
    fragment: str | None = None,
) -> Response:
    checked = await check_form(page.conn, page.viewer.organisation_id, form)
    return page.render(
        "console/tariff_draft.html",
        fragment=fragment,
        status=422 if refused else status,
        form=form,
        draft_id=draft_id,
        title=in_language(*(form.get("name", {}).get(key, "") for key in ("zh", "en"))) or _("New tariff"),
        problems=_problems(form, checked),
        refused=refused or [],
        joins=_joins(form, checked),
        proof=await _proof(page, checked),
        days=days_of(tariff_form_edit.sketch(form)),
        value=partial(tariff_form_edit.value_of, form),
        labels=LABELS,
        tables=TABLES,
        inputs=dict.fromkeys(DECIMALS, "decimal"),
        months=[(str(month), str(month)) for month in range(1, 13)],
        choices=choices(form),
        wrong_rows={".".join(field.split(".")[:2]) for field, _text in checked.problems},
        shows=[shown_fields(row) for row in form.get("components", [])],
        standards=[("", "–"), *((str(s), str(s)) for s in STANDARDS)],
        sites=await site_options(page.conn),
        site=site,
    )


def _problems(form: Form, checked: Checked) -> list[dict[str, str]]:
    return [{"field": field, "place": field_label(form, field), "text": say(text)} for field, text in checked.problems]


def _joins(form: Form, checked: Checked) -> str:
    """Say what happens to the tariff of that code when the draft is put in force."""
    if checked.recorded is None:
        return ""
    if any(v.version == form.get("version") for v in checked.recorded.versions):
        return say(Text("Version {version} of the recorded tariff is replaced.", version=form.get("version")))
    return say(Text("A new version joins the recorded tariff; the one before it ends on that day."))


async def _proof(page: FinancePage, checked: Checked) -> dict[str, Any] | None:
    """Lay a sound tariff over a whole year: the minutes of every bucket, and what a unit costs in it."""
    if checked.tariff is None or checked.version is None:
        return None
    tariff: Tariff = checked.as_if_always
    calendar = await find_calendar(page.conn, tariff.holiday_calendar)
    year = page.clock.now().astimezone(page.zone).year
    try:
        minutes = coverage.minutes_of_year(tariff, calendar, year)
    except timetable.NoTariff:
        return None
    prices = energy_prices(checked.version)
    rows = [
        {"label": prices[code].label, "hours": count // 60, "price": prices[code].price}
        for code, count in minutes.items()
    ]
    return {"year": year, "minutes": sum(minutes.values()), "rows": rows, "currency": tariff.currency,
            "utility": tariff.utility}  # fmt: skip
