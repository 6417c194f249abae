"""Tariffs: enter one, see the proof that every minute is priced once, see what is in force."""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Form, Query, Response

from cloud_api.billing import coverage, service, tariff_file, timetable
from cloud_api.billing.inputs import find_calendar, find_site, find_tariff
from cloud_api.billing.tariff import Tariff, bucket_name
from cloud_api.billing.tariff_drafts import list_drafts
from cloud_api.billing.tariff_file import TariffFileInvalid, load_dumped, parse_tariff
from cloud_api.billing.trial import try_tariff
from cloud_api.identity.model import Role
from cloud_api.kit.errors import DomainError, NotFound
from cloud_api.kit.i18n import in_language
from cloud_api.kit.i18n import mark as N_  # noqa: N812
from cloud_api.web.shared.bill_view import UTILITIES
from cloud_api.web.shared.navigation import NavItem
from cloud_api.web.shared.page import FinancePage
from cloud_api.web.shared.sites import site_options
from cloud_api.web.shared.tariff_view import (
    KINDS,
    bucket_prices,
    days_of,
    price_unit,
    price_words,
)
from cloud_api.web.shared.templates import gettext as _
from cloud_api.web.shared.templates import say

router = APIRouter(prefix="/console/tariffs")
NAV = NavItem(
    group="money",
    order=20,
    label=N_("Tariffs"),
    href="/console/tariffs",
    icon="tariff",
    roles=frozenset({Role.FINANCE, Role.MANAGER}),
)
_TEMPLATES = Path(tariff_file.__file__).parent / "tariffs"
TEXT_LENGTH_MAX = 200_000
USES = {"tenants": ("tenants",), "landlord": ("landlord",), "both": ("tenants", "landlord")}
_PAYERS = {"tenants": N_("tenants"), "landlord": N_("landlord")}


@router.get("")
async def list_tariffs(page: FinancePage, template: Annotated[str, Query(max_length=60)] = "") -> Response:
    """List the tariffs and offer a form with a template in it."""
    return await _list(page, text=_template(template), template=template)


@router.post("")
async def enter(
    page: FinancePage,
    text: Annotated[str, Form(max_length=TEXT_LENGTH_MAX)],
    use: Annotated[str, Form(pattern="^(check|tenants|landlord|both)$")] = "check",
    site: Annotated[str, Form(max_length=100)] = "",
) -> Response:
    """Check a tariff, and use it for the site's tenants when asked; faults are shown beside the text."""
    try:
        tariff = parse_tariff(text).tariff
        if use == "check":
            words = _("The tariff is sound: every minute of every kind of day is priced once.")
            return await _list(page, text=text, sound=words)
        async with page.conn.transaction():
            found = await find_site(page.conn, code=site or None)
            revision = await service.import_tariff(
                page.conn, found, tariff, actor=page.viewer.login, clock=page.clock, payers=USES[use]
            )
    except TariffFileInvalid as error:
        return await _list(page, text=text, problems=[say(text) for text in error.problems], status=422, site=site)
    except DomainError as error:
        return await _list(page, text=text, problems=[say(error)], status=error.status, site=site)
    return page.redirect(
        f"/console/tariffs/{tariff.tariff}", notice=_("Saved as revision {revision}.", revision=revision)
    )


async def _list(
    page: FinancePage,
    *,
    text: str,
    problems: list[str] | None = None,
    sound: str = "",
    status: int = 200,
    template: str = "",
    site: str = "",
) -> Response:
    found = await service.list_tariffs(page.conn, page.viewer.organisation_id)
    tariffs = [
        row
        | {
            "name_zh": row["content"]["name"]["zh"],
            "name_en": row["content"]["name"]["en"],
            "utility": UTILITIES[row["content"].get("utility", "electricity")],
            "used_words": _used(row["used"] or ()),
        }
        for row in found
    ]
    return page.render(
        "console/tariffs.html",
        status=status,
        tariffs=tariffs,
        text=text,
        problems=problems or [],
        sound=sound,
        templates=_templates(),
        chosen=template,
        drafts=[_draft(row) for row in await list_drafts(page.conn, page.viewer.organisation_id)],
        sites=await site_options(page.conn),
        site=site,
    )


def _draft(row: Mapping[str, Any]) -> dict[str, Any]:
    form, name = row["content"], row["content"].get("name", {})
    title = in_language(*(name.get(key) or form.get("tariff") or _("New tariff") for key in ("zh", "en")))
    at = {"saved_at": row["saved_at"], "saved_by": row["saved_by"], "id": row["id"]}
    return at | {"title": title, "version": form.get("version", ""), "valid_from": form.get("valid_from", "")}


def _used(used: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{"payer": _PAYERS[use["payer"]], "name_zh": use["name_zh"], "name_en": use["name_en"]} for use in used]


@cache
def _templates_known() -> tuple[tuple[str, str, str], ...]:
    found = [(path.stem, parse_tariff(path.read_text(encoding="utf-8")).tariff) for path in _TEMPLATES.glob("*.yaml")]
    return tuple(sorted((code, tariff.name.zh, tariff.name.en) for code, tariff in found))


def _templates() -> list[tuple[str, str]]:
    return [(code, in_language(zh, en)) for code, zh, en in _templates_known()]


def template_tariff(name: str) -> Tariff | None:
    """Return a template, or None when there is none of that name."""
    text = _template(name)
    return parse_tariff(text).tariff if text else None


def _template(name: str) -> str:
    path = _TEMPLATES / f"{name}.yaml"
    return path.read_text(encoding="utf-8") if name and path.parent == _TEMPLATES and path.is_file() else ""


@router.post("/trial")
async def try_text(
    page: FinancePage,
    text: Annotated[str, Form(max_length=TEXT_LENGTH_MAX)],
    site: Annotated[str, Form(max_length=100)] = "",
) -> Response:
    """Try a tariff that was not recorded on the last full months."""
    try:
        tariff = parse_tariff(text).tariff
        return await draw_trial(page, tariff, site)
    except TariffFileInvalid as error:
        return await _list(page, text=text, problems=[say(text) for text in error.problems], status=422)
    except DomainError as error:
        return await _list(page, text=text, problems=[say(error)], status=error.status)


@router.get("/{code}/trial")
async def try_recorded(page: FinancePage, code: str, site: Annotated[str, Query(max_length=100)] = "") -> Response:
    """Try a recorded tariff on the last full months."""
    found = await service.find_tariff(page.conn, page.viewer.organisation_id, code)
    if found is None:
        raise NotFound
    try:
        return await draw_trial(page, load_dumped(found["content"]), site)
    except DomainError as error:
        return page.redirect(f"/console/tariffs/{code}", notice=say(error))


async def draw_trial(
    page: FinancePage, tariff: Tariff, site_code: str = "", *, back: tuple[str, str] | None = None
) -> Response:
    """Show what a site's tenants would have paid by a tariff in the last full months; `back` is (label, address)."""
    after = page.clock.now().astimezone(page.zone).date().replace(day=1)
    site = await find_site(page.conn, code=site_code or None)
    today = await find_tariff(page.conn, site, tariff.utility)
    found = await try_tariff(page.conn, site, tariff, first=after.replace(year=after.year - 1), after=after)
    tenants = sorted(found.tenants.values(), key=lambda t: t.difference)
    return page.render(
        "console/tariff_trial.html",
        tariff={"name_zh": tariff.name.zh, "name_en": tariff.name.en, "code": tariff.tariff},
        trial=found,
        site={"name_zh": site.name["zh"], "name_en": site.name["en"], "code": site.code},
        is_todays=today is not None and load_dumped(today["content"]) == tariff,
        currency=site.currency,
        tenants=[{"name_zh": t.tenant.name["zh"], "name_en": t.tenant.name["en"], "row": t} for t in tenants],
        components=[{"name_zh": c.name.zh, "name_en": c.name.en, "row": c} for c in found.components.values()],
        doubts=[say(text) for text in found.doubts.values()],
        crumbs=[(_("Tariffs"), "/console/tariffs"), *([back] if back else [])],
    )


@router.get("/{code}")
async def show(page: FinancePage, code: str) -> Response:
    """Show a tariff with its proof: each kind of day as a strip of 24 hours, and the year minute by minute."""
    found = await service.find_tariff(page.conn, page.viewer.organisation_id, code)
    if found is None:
        raise NotFound
    tariff = load_dumped(found["content"])
    calendar = await find_calendar(page.conn, tariff.holiday_calendar)
    year = page.clock.now().astimezone(page.zone).year
    try:
        minutes = coverage.minutes_of_year(tariff, calendar, year)
    except timetable.NoTariff:
        minutes = {}
    return page.render(
        "console/tariff.html",
        tariff={"name_zh": tariff.name.zh, "name_en": tariff.name.en, "code": tariff.tariff},
        stored=found,
        year=year,
        hours=[{"label": _label(tariff, b, year), "hours": m // 60} for b, m in minutes.items()],
        minute_count=sum(minutes.values()),
        is_official=calendar.is_official(year),
        currency=tariff.currency,
        sites=await site_options(page.conn),
        versions=[_version(tariff, i) for i in range(len(tariff.versions))],
    )


def _label(tariff: Tariff, bucket: str, year: int) -> dict[str, str]:
    version = tariff.version_on(date(year, 12, 31)) or tariff.versions[-1]
    label = bucket_name(version, bucket)
    return {"name_zh": label.zh, "name_en": label.en}


def _version(tariff: Tariff, index: int) -> dict[str, Any]:
    version = tariff.versions[index]
    days = days_of(version)
    components = [
        {
            "name_zh": c.name.zh,
            "name_en": c.name.en,
            "kind": KINDS[c.kind],
            "price": price_words(version, c),
            "per": price_unit(c, tariff.utility),
            "by_bucket": bucket_prices(version, c),
            "floats": c.floats,
            "vat": c.vat_rate,
            "tax_included": c.tax_included,
        }
        for c in version.components
    ]
    last_day = version.valid_to - timedelta(days=1) if version.valid_to else None
    head = {"version": version.version, "valid_from": version.valid_from, "last_day": last_day}
    return head | {"doc_no": version.doc_no, "source_url": version.source_url, "days": days, "components": components}
