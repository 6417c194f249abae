"""Tariffs: list, read with the proof of the year, check, upload; the templates that come with the product."""

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from cloud_api.api.auth import FinanceCall
from cloud_api.billing import coverage, service, tariff_file
from cloud_api.billing.inputs import find_calendar, find_site
from cloud_api.billing.tariff_file import dump_tariff, load_dumped, parse_tariff
from cloud_api.billing.trial import Compared, try_tariff
from cloud_api.kit.errors import NotFound

router = APIRouter(prefix="/tariffs", tags=["tariffs"])
TEMPLATES = Path(tariff_file.__file__).parent / "tariffs"
Text = Annotated[str, Field(min_length=1, max_length=200_000, description="A tariff file, YAML or JSON.")]
Year = Annotated[int, Query(ge=2000, le=2100, description="Which year to prove, minute by minute.")]


class TariffText(BaseModel):
    """A tariff file to be checked."""

    text: Text


class Upload(TariffText):
    """A tariff file to be recorded, and who pays it at which site."""

    site: Annotated[str | None, Field(description="Code of the site; needed when there are several.")] = None
    payers: list[Literal["tenants", "landlord"]] = Field(default=["tenants"], max_length=2)


class Proof(BaseModel):
    """Every minute of the year has exactly one bucket: the minutes of each, and their sum."""

    year: int
    minutes: dict[str, int]
    minutes_in_all: int
    calendar_is_official: bool


class Checked(BaseModel):
    """A sound tariff as it was understood, what its author should look at, and the proof."""

    tariff: dict[str, Any]
    warnings: list[str]
    proof: Proof


class TrialWanted(TariffText):
    """A tariff to be tried on the full months of `[first, after)`, at most twelve."""

    site: str | None = None
    first: date
    after: date


class Amounts(BaseModel):
    """Money by today's tariff and by the one that is tried."""

    today: Decimal
    trial: Decimal
    difference: Decimal


class TrialResult(BaseModel):
    """What tenants would have paid in the months that have readings; `doubts` keep it from being a bill."""

    months: list[str]
    total: Amounts
    tenants: dict[str, Amounts]
    components: dict[str, Amounts]
    doubts: list[str]


@router.get("")
async def list_tariffs(call: FinanceCall) -> list[dict[str, Any]]:
    """Return the newest revision of every tariff, with the sites and payers that use it."""
    return await service.list_tariffs(call.conn, call.viewer.organisation_id)


@router.get("/templates")
async def list_templates(_call: FinanceCall) -> list[str]:
    """Return the names of the templates; their prices are demonstration prices."""
    return sorted(path.stem for path in TEMPLATES.glob("*.yaml"))


@router.get("/templates/{name}")
async def template(_call: FinanceCall, name: str) -> TariffText:
    """Return the text of a template, to be changed and uploaded."""
    path = TEMPLATES / f"{name}.yaml"
    if path.parent != TEMPLATES or not path.is_file():
        raise NotFound("there is no template {name}", name=name)
    return TariffText(text=path.read_text(encoding="utf-8"))


@router.post("/check")
async def check(call: FinanceCall, body: TariffText, year: Year | None = None) -> Checked:
    """Prove a tariff without recording it; every fault is named with its line (`problems`)."""
    found = parse_tariff(body.text)
    calendar = await find_calendar(call.conn, found.tariff.holiday_calendar)
    minutes = coverage.minutes_of_year(found.tariff, calendar, year or call.clock.now().year)
    proof = _proof(minutes, year or call.clock.now().year, official=calendar.is_official(year or call.clock.now().year))
    return Checked(tariff=dump_tariff(found.tariff), warnings=[str(text) for text in found.warnings], proof=proof)


@router.post("/trial")
async def try_on_the_past(call: FinanceCall, body: TrialWanted) -> TrialResult:
    """Rate up to twelve past months by a tariff and by today's: money in all, per tenant and per component."""
    site = await find_site(call.conn, code=body.site)
    tariff = parse_tariff(body.text).tariff
    found = await try_tariff(call.conn, site, tariff, first=body.first, after=body.after)
    return TrialResult(
        months=[f"{month:%Y-%m}" for month in found.months],
        total=_amounts(found),
        tenants={t.tenant.code: _amounts(t) for t in found.tenants.values()},
        components={code: _amounts(c) for code, c in found.components.items()},
        doubts=list(found.doubts),
    )


def _amounts(found: Compared) -> Amounts:
    return Amounts(today=found.today, trial=found.trial, difference=found.difference)


@router.post("", status_code=201)
async def upload(call: FinanceCall, body: Upload) -> dict[str, Any]:
    """Record a tariff and use it at a site; an unchanged one keeps its revision."""
    site = await find_site(call.conn, code=body.site)
    tariff = parse_tariff(body.text).tariff
    revision = await service.import_tariff(
        call.conn, site, tariff, actor=call.viewer.login, clock=call.clock, payers=body.payers
    )
    return {"code": tariff.tariff, "revision": revision, "site": site.code, "payers": body.payers}


@router.get("/{code}")
async def show(call: FinanceCall, code: str, year: Year | None = None) -> dict[str, Any]:
    """Return a tariff's newest revision with the proof of a year (default: this one)."""
    found = await service.find_tariff(call.conn, call.viewer.organisation_id, code)
    if found is None:
        raise NotFound("there is no tariff {code}", code=code)
    tariff = load_dumped(found["content"])
    calendar = await find_calendar(call.conn, tariff.holiday_calendar)
    wanted = year or call.clock.now().year
    minutes = coverage.minutes_of_year(tariff, calendar, wanted)
    return found | {"proof": _proof(minutes, wanted, official=calendar.is_official(wanted)).model_dump()}


def _proof(minutes: dict[str, int], year: int, *, official: bool) -> Proof:
    return Proof(year=year, minutes=minutes, minutes_in_all=sum(minutes.values()), calendar_is_official=official)
