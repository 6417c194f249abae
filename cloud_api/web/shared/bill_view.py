"""A bill's snapshot as a page needs it: numbers as numbers, names by language, evidence beside each line."""

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from cloud_api.billing.charge import unsaid
from cloud_api.billing.words import note_of, unit_of
from cloud_api.kit.i18n import in_language
from cloud_api.kit.i18n import mark as N_  # noqa: N812
from cloud_api.web.shared.charts import CategoryChart, Series
from cloud_api.web.shared.templates import say

KINDS = {
    "bill": N_("Bill"),
    "final": N_("Final bill"),
    "owner": N_("Owner's statement"),
    "credit_note": N_("Credit note"),
    "rebill": N_("Corrected bill"),
}
STATES = {
    "draft": ("unknown", N_("In calculation")),
    "calculated": ("info", N_("Calculated")),
    "exception": ("warning", N_("Exception")),
    "reviewed": ("info", N_("Reviewed")),
    "approved": ("info", N_("Approved")),
    "issued": ("ok", N_("Issued")),
    "credited": ("offline", N_("Credited")),
    "cancelled": ("offline", N_("Cancelled")),
}
UTILITIES = {
    "electricity": N_("Electricity"),
    "water": N_("Water"),
    "gas": N_("Gas"),
    "heat": N_("Heat"),
    "cooling": N_("Cooling"),
    "hvac": N_("After-hours HVAC"),
}
SOURCES = {"own": "", "common": N_("Share of common areas"), "loss": N_("Share of losses"), "after_hours": ""}
ISSUES = {
    "readings_missing": N_("Readings are missing."),
    "estimated": N_("Too much is estimated."),
    "shares_incomplete": N_("The shares of a meter do not sum to one."),
    "meter_unassigned": N_("A tenant's meter measures no space."),
    "unbalanced": N_("The sub-meters do not add up to the main meter."),
    "no_main_meter": N_("The site has no main meter."),
    "calendar_missing": N_("The official holiday calendar is missing."),
    "over_recovery": N_("Tenants would pay more than the landlord paid for the same energy."),
    "interval_too_long": N_("Intervals cross an edge of the tariff's windows."),
    "demand_unknown": N_("The billing demand is not known."),
    "capacity_missing": N_("The contract capacity is missing."),
    "reactive_missing": N_("Reactive energy was not measured."),
    "minimum_unknown": N_("The minimum cannot be reckoned."),
    "no_tariff": N_("Some days have no tariff."),
    "utility_bill_missing": N_("The utility's bill of the month is missing."),
    "final_billed": N_("A final bill covers days of this month."),
    "utility_bill_differs": N_("The utility's bill counts other energy than our main meter."),
}
_READINGS = ("/console/worklist", N_("Open the worklist of doubtful readings"))
_PURCHASE = ("/console/utility-bills", N_("Enter the utility's bill"))
_METERS = ("/console/meters", N_("Open the meters"))
_LEASES = ("/console/leases", N_("Open the leases"))
_TARIFFS = ("/console/tariffs", N_("Open the tariffs"))
FIXES = {
    "readings_missing": _READINGS,
    "estimated": _READINGS,
    "shares_incomplete": _METERS,
    "meter_unassigned": _METERS,
    "unbalanced": ("/console/balance", N_("Open the energy balance")),
    "no_main_meter": _METERS,
    "over_recovery": _PURCHASE,
    "interval_too_long": _TARIFFS,
    "demand_unknown": _LEASES,
    "capacity_missing": _LEASES,
    "reactive_missing": _METERS,
    "no_tariff": _TARIFFS,
    "calendar_missing": _TARIFFS,
    "utility_bill_missing": _PURCHASE,
    "utility_bill_differs": _PURCHASE,
}
"""Where each cause is mended."""
BASES = {
    "utility_bill": N_("the utility's bill"),
    "landlord_tariff": N_("main meter, rated by the purchase tariff"),
}
TOU_COLOURS = {b: f"tou-{b}" for b in ("sharp", "peak", "flat", "valley", "deep")}


def bill_view(bill: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the page prints of a bill; nothing is computed that the snapshot does not hold."""
    snapshot = bill["snapshot"]
    return {
        "id": bill["id"],
        "number": bill["number"],
        "kind": KINDS[snapshot["kind"]],
        "state": STATES[bill["state"]],
        "state_code": bill["state"],
        "is_issued": bill["state"] == "issued",
        "is_note": snapshot["kind"] == "credit_note",
        "open": bill["open_amount"],
        "taken_back": -Decimal(snapshot["total"]),
        "utility": UTILITIES[snapshot["utility"]],
        "currency": snapshot["currency"],
        "tenant": {"name_zh": snapshot["tenant"]["name"]["zh"], "name_en": snapshot["tenant"]["name"]["en"]},
        "starts_on": date.fromisoformat(snapshot["period"]["from"]),
        "ends_on": date.fromisoformat(snapshot["period"]["to"]),
        "last_day": date.fromisoformat(snapshot["period"]["to"]) - timedelta(days=1),
        "total": Decimal(snapshot["total"]),
        "net": Decimal(snapshot["net"]),
        "tax": Decimal(snapshot["tax"]),
        "vat": [_vat(group) for group in snapshot["vat"] if Decimal(group["rate"])],
        "due_on": bill["due_on"],
        "issued_at": bill["issued_at"],
        "quantity": Decimal(snapshot["quantity"]),
        "estimated": Decimal(snapshot["estimated_percent"]),
        "lines": [_line(i, line) for i, line in enumerate(snapshot["lines"], 1)],
        "evidence": [_evidence(row) for row in snapshot["evidence"]],
        "leases": [lease | {"name": _space_name(lease)} for lease in snapshot["leases"]],
        "compare": [_compare(when, snapshot["compare"].get(when)) for when in ("last_month", "last_year")],
        "resale": _resale(snapshot.get("resale")),
        "tariff": snapshot["tariff"]
        | {"name_zh": snapshot["tariff"]["name"]["zh"], "name_en": snapshot["tariff"]["name"]["en"]},
        "issues": issue_views(snapshot.get("issues", [])),
        "sha256": bill["sha256"],
        "corrects": snapshot.get("corrects"),
        "reason": snapshot.get("reason"),
        "has_chart": any(day["buckets"] for day in snapshot["days"]),
    }


def issue_views(issues: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return issues with the sentence for their code and their detail."""
    return [
        {"words": ISSUES.get(i["code"], i["code"]), "detail": _said(i), "fix": FIXES.get(i["code"])} for i in issues
    ]


def _said(found: Mapping[str, Any]) -> str:
    """Return what a rule said when the bill was made, in the reader's language."""
    return say(unsaid(found)) if "message" in found else found["text"]


def _line(number: int, line: Mapping[str, Any]) -> dict[str, Any]:
    bucket = line.get("bucket_name")
    return {
        "number": number,
        "component": line["component"],
        "name_zh": line["name"]["zh"],
        "name_en": line["name"]["en"],
        "bucket": None if bucket is None else {"name_zh": bucket["zh"], "name_en": bucket["en"]},
        "bucket_code": line["bucket"],
        "colour": TOU_COLOURS.get(line["bucket"] or "", "muted"),
        "tier": line["tier"],
        "source": SOURCES[line.get("source", "own")],
        "quantity": Decimal(line["quantity"]),
        "unit": in_language(*unit_of(line["unit"])),
        "price": line["unit_price"],
        "amount": Decimal(line["amount"]),
        "amount_exact": line["amount_exact"],
        "note": in_language(*note_of(line)),
        "version": line["version"],
        "is_percent": line["unit"] == "%",
        "percent": Decimal(line["unit_price"] or 0) if line["unit"] == "%" else None,
    }


def _space_name(lease: Mapping[str, Any]) -> str:
    """Return what a space was called in the bill's period; bills from before names had periods do not tell."""
    named = lease.get("place", {}).get("space")
    return in_language(named["zh"], named["en"]) if named else ""


def _vat(group: Mapping[str, Any]) -> dict[str, Any]:
    return {"rate": Decimal(group["rate"]), "included": group["included"], "tax": Decimal(group["tax"])}


def _evidence(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "meter": row["meter"],
        "name_zh": row["meter_name"]["zh"],
        "name_en": row["meter_name"]["en"],
        "space": row["space"],
        "from": datetime.fromisoformat(row["from"]),
        "to": datetime.fromisoformat(row["to"]),
        "share": Decimal(row["share"]),
        "is_shared": Decimal(row["share"]) != 1,
        "kwh": Decimal(row["kwh"]),
        "estimated_kwh": Decimal(row["estimated_kwh"]),
        "intervals": row["intervals"],
        "opening": _reading(row["opening"]),
        "closing": _reading(row["closing"]),
    }


def _reading(readings: list[Mapping[str, Any]]) -> dict[str, Any] | None:
    known = [r for r in readings if r["value"] is not None]
    if not known:
        return None
    return {"value": Decimal(known[-1]["value"]), "taken_at": datetime.fromisoformat(known[-1]["taken_at"])}


def _compare(when: str, found: Mapping[str, Any] | None) -> dict[str, Any]:
    label = N_("Last month") if when == "last_month" else N_("Same month last year")
    if found is None:
        return {"label": label, "total": None, "quantity": None}
    return {"label": label, "total": Decimal(found["total"]), "quantity": Decimal(found["quantity"])}


def _resale(sheet: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if not sheet:
        return None
    numbers = ("paid_energy_kwh", "paid_total", "recovered", "paid_for_same_energy", "over_recovery", "sold_energy_kwh")
    return {key: Decimal(sheet[key]) for key in numbers} | {
        "average_price": sheet["average_price"],
        "mode": sheet.get("mode", "pass_through"),
        "basis": BASES.get(sheet["basis"], ""),
    }


def days_chart(bill: Mapping[str, Any], language: str) -> CategoryChart:
    """Return own energy by day, stacked by time of use."""
    days = bill["snapshot"]["days"]
    names = {u["bucket"]: u["name"][language] for u in bill["snapshot"]["usage"]}
    codes = dict.fromkeys(bucket for day in days for bucket in day["buckets"])
    return CategoryChart(
        unit="kWh",
        categories=[day["day"][5:] for day in days],
        stacked=True,
        series=[
            Series(
                name=names.get(code, code),
                values=[float(day["buckets"][code]) if code in day["buckets"] else None for day in days],
                style="bar",
                colour=TOU_COLOURS.get(code),
            )
            for code in codes
        ],
    )
