"""Words and choices of the form in which a tariff is entered: labels by field, options, which fields a kind has."""

from typing import Any

from cloud_api.billing import tariff_form_edit
from cloud_api.billing.tariff import BUCKET_NAMES
from cloud_api.billing.tariff_form import Form
from cloud_api.kit.i18n import in_language
from cloud_api.kit.i18n import mark as N_  # noqa: N812
from cloud_api.web.shared.bill_view import UTILITIES
from cloud_api.web.shared.tariff_view import DAY_KINDS, HOLIDAYS, KINDS, WEEKDAYS
from cloud_api.web.shared.templates import gettext as _

LABELS = {
    "tariff": N_("Code of the tariff"),
    "zh": N_("Name in Chinese"),
    "en": N_("Name in English"),
    "utility": N_("Utility"),
    "region": N_("Region"),
    "currency": N_("Currency"),
    "time_zone": N_("Time zone"),
    "holiday_calendar": N_("Holiday calendar"),
    "version": N_("Version"),
    "valid_from": N_("In force from"),
    "valid_to": N_("In force until before"),
    "doc_no": N_("Number of the notice"),
    "source_url": N_("Address of the notice"),
    "code": N_("Code"),
    "ratio": N_("Ratio to flat"),
    "months": N_("Months"),
    "starts": N_("or from day (MM-DD)"),
    "ends": N_("until before (MM-DD)"),
    "kind_of_day": N_("By the calendar"),
    "weekdays": N_("Days of the week"),
    "holiday": N_("Holidays"),
    "first_days": N_("Only the first days of it"),
    "dates": N_("Single days"),
    "season": N_("Seasons"),
    "day_type": N_("Kinds of day"),
    "bucket": N_("Period"),
    "hours": N_("Times of day"),
    "kind": N_("Kind"),
    "unit": N_("Unit"),
    "price": N_("Price"),
    "prices": N_("Price per period"),
    "floats": N_("Follows the ratios of the periods"),
    "only_buckets": N_("Only in these periods"),
    "tiers": N_("Steps"),
    "basis": N_("How steps fill"),
    "period": N_("Counted per"),
    "scale": N_("In part of the time"),
    "up_to": N_("Up to"),
    "window_min": N_("Demand over minutes"),
    "rule": N_("Billed demand"),
    "feeds": N_("Several feeds"),
    "band_100_105": N_("100 to 105 % of the contract"),
    "peaks": N_("Mean of the highest"),
    "percent": N_("Per cent"),
    "months_back": N_("Months looked back"),
    "minimum_kw": N_("At least kW"),
    "base_codes": N_("Reckoned from"),
    "pf_standard": N_("Standard power factor"),
    "guaranteed_quantity": N_("Guaranteed quantity per month"),
    "day_count": N_("Days of a part month"),
    "rounding": N_("Lines rounded to"),
    "price_digits": N_("Decimals of the unit price"),
    "vat_percent": N_("VAT %"),
    "tax_included": N_("VAT"),
    "gl_account": N_("Ledger account"),
    "fapiao_tax_code": N_("Fapiao tax code"),
}
DECIMALS = ("price", "ratio", "percent", "up_to", "minimum_kw", "guaranteed_quantity", "vat_percent")
TABLES = {
    "buckets": N_("Periods of time of use"),
    "seasons": N_("Seasons"),
    "day_types": N_("Kinds of day"),
    "windows": N_("Times of day"),
    "components": N_("Components"),
    "steps": N_("Step"),
}
_OPTIONS: dict[str, list[tuple[str, str]]] = {
    "utility": list(UTILITIES.items()),
    "kind": list(KINDS.items()),
    "kind_of_day": list(DAY_KINDS.items()),
    "weekdays": list(WEEKDAYS.items()),
    "tax_included": [("true", N_("included in the price")), ("", N_("added to the price"))],
    "day_count": [
        ("", N_("usual")),
        ("actual_cycle", N_("days ÷ days of the month")),
        ("thirtieth", N_("1/30 a day")),
        ("actual_days", N_("price per day")),
        ("none", N_("always whole")),
    ],
    "basis": [
        ("cumulative_sequential", N_("in order of time")),
        ("per_bucket", N_("each period by itself")),
        ("proportional", N_("in the ratio of the periods")),
    ],
    "period": [("month", N_("month")), ("bimonth", N_("two months")), ("year", N_("year"))],
    "scale": [
        ("none", N_("steps stay whole")),
        ("days", N_("steps shrink by days")),
        ("months", N_("steps shrink by months")),
    ],
    "rule": [
        ("actual", N_("what was measured")),
        ("contract105", N_("contract, above 105 % double")),
        ("legacy95_105", N_("at least 95 %, above 105 % double")),
        ("ratchet", N_("not below earlier peaks")),
    ],
    "feeds": [("sum", N_("sum of each maximum")), ("coincident", N_("maximum of the sum"))],
    "band_100_105": [("free", N_("free")), ("charged", N_("charged"))],
    "window_min": [(str(minutes), str(minutes)) for minutes in (15, 5, 10, 20, 30, 60)],
}
_SHOWN = {
    "energy": {"price", "floats", "prices", "tiers", "only_buckets"},
    "demand": {"price", "floats", "prices", "demand", "day_count"},
    "capacity": {"price", "day_count"},
    "fixed": {"price", "day_count"},
    "per_day": {"price"},
    "min": {"price", "guaranteed_quantity", "base_codes", "day_count"},
    "tax": {"percent", "base_codes"},
    "percent_of": {"percent", "base_codes"},
    "pf": {"pf_standard", "base_codes"},
    "adjust": set[str](),
}
_ALWAYS = {"code", "name", "kind", "unit", "months", "rounding", "price_digits", "vat_percent", "tax_included"}


def shown_fields(row: Form) -> set[str]:
    """Return the fields of a component: those of its kind, and every other that is filled."""
    filled = {key for key, value in row.items() if _is_filled(value)}
    of_kind = _SHOWN.get(row.get("kind", "energy"), set[str]()) | _ALWAYS
    return (of_kind - {"prices", "tiers"} if row.get("floats") else of_kind) | filled


def _is_filled(value: Any) -> bool:
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return any(map(_is_filled, parts)) if isinstance(value, dict | list) else bool(value)


def choices(form: Form) -> dict[str, list[tuple[str, str]]]:
    """Return what can be chosen in every field that is a choice, in the reader's language."""
    found = {name: [(value, _(label)) for value, label in options] for name, options in _OPTIONS.items()}
    buckets = [(row.get("code", ""), _row_name(row)) for row in form.get("buckets", []) if row.get("code")]
    components = [(row.get("code", ""), _row_name(row)) for row in form.get("components", []) if row.get("code")]
    names = dict.fromkeys([*HOLIDAYS, *(h for row in form.get("day_types", []) for h in _holidays(row))])
    found |= {"holiday": [(name, _(HOLIDAYS[name]) if name in HOLIDAYS else name) for name in names]}
    found |= {"bucket": buckets, "only_buckets": buckets, "base_codes": components}
    for key, table in (("season", "seasons"), ("day_type", "day_types")):
        found[key] = [(row.get("code", ""), _row_name(row)) for row in form.get(table, []) if row.get("code")]
    return found


def _holidays(row: Form) -> list[str]:
    return (row.get("when") or {}).get("holiday", [])


def _row_name(row: Form) -> str:
    """Return a row's name in the reader's language, else in the other, else its usual name or its code."""
    name, code = row.get("name") or {}, row.get("code", "")
    zh, en = name.get("zh", ""), name.get("en", "")
    if not zh and not en and code in BUCKET_NAMES:
        return in_language(BUCKET_NAMES[code].zh, BUCKET_NAMES[code].en)
    return in_language(zh or en, en or zh) or code


def field_label(form: Form, field: str) -> str:
    """Say where a field stands: "Components: Energy · Price"."""
    parts = field.split(".")
    words: list[str] = []
    for index, part in enumerate(parts):
        if part in TABLES:
            number = parts[index + 1] if index + 1 < len(parts) else ""
            row = tariff_form_edit.value_of(form, ".".join(parts[: index + 2])) if number.isdigit() else ""
            named = _row_name(row) if isinstance(row, dict) else ""
            words.append(_(TABLES[part]) + (f" {named or int(number) + 1}" if number.isdigit() else ""))
        elif part in LABELS:
            words.append(_(LABELS[part]))
        elif index and parts[index - 1] == "prices":
            words.append(_row_name({"code": part}))
    return " · ".join(words)
