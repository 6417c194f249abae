"""A tariff version as a form: nested texts that people edit, to and from the data of a tariff file. Pure.

A form has the tariff's head and one version. Everything in it is text, a list of texts (boxes that are ticked) or a
list of rows; an empty field is left out of the file. The other versions of the tariff come from what is recorded.
"""

import re
from collections.abc import Mapping
from datetime import date
from decimal import Decimal, InvalidOperation
from itertools import groupby
from typing import Any

from cloud_api.billing import tariff_file
from cloud_api.billing.coverage import clock
from cloud_api.billing.tariff import Component, DayRule, Label, Season, Tariff, Tiers, Version, Window

Form = dict[str, Any]
At = tuple[str | int, ...]
HEAD = ("tariff", "name", "utility", "region", "currency", "time_zone", "holiday_calendar")
ROWS = ("buckets", "seasons", "day_types", "windows", "components", "steps")
"""Keys whose fields are numbered: `components.0.code`."""
ROWS_MAX = 60
_TICKED = {"months", "weekdays", "kind_of_day", "holiday", "season", "day_type", "base_codes", "only_buckets"}
_NUMBERS = {"price", "ratio", "percent", "up_to", "minimum_kw", "guaranteed_quantity", "rounding"}
_NAMES = r"name\.(?:zh|en)"
_PRICES = r"prices\.[^.]+"
_TIERS = rf"tiers\.(?:basis|period|scale|steps\.\d+\.(?:up_to|price|{_PRICES}))"
_RATCHET = r"ratchet\.(?:percent|months_back|months|minimum_kw)"
_DEMAND = rf"demand\.(?:window_min|rule|only_buckets|feeds|band_100_105|peaks|{_RATCHET})"
_FIELD = re.compile(
    r"tariff|utility|region|currency|time_zone|holiday_calendar|version|valid_from|valid_to|doc_no|source_url"
    rf"|(?:name|note)\.(?:zh|en)|buckets\.\d+\.(?:code|{_NAMES}|ratio)"
    rf"|seasons\.\d+\.(?:code|{_NAMES}|months|starts|ends)"
    rf"|day_types\.\d+\.(?:code|{_NAMES}|when\.(?:kind_of_day|weekdays|holiday|first_days|dates))"
    r"|windows\.\d+\.(?:season|day_type|bucket|hours)"
    rf"|components\.\d+\.(?:code|{_NAMES}|kind|unit|price|{_PRICES}|floats|only_buckets|{_TIERS}|months|{_DEMAND}"
    r"|percent|base_codes|pf_standard|guaranteed_quantity|day_count|rounding|price_digits|vat_percent|tax_included"
    r"|gl_account|fapiao_tax_code)"
)
_BETWEEN = re.compile(r"[,，;；、\s]+")
_DASH = re.compile(r"\s*[-–—~～至]\s*")


def from_fields(fields: Mapping[str, list[str]]) -> Form:
    """Return the form of what a browser sends: `components.2.price` is the price of the third component's row."""
    form: Form = {}
    for name, values in fields.items():
        if not _FIELD.fullmatch(name):
            continue  # Nothing that a form of ours sends.
        *path, leaf = name.split(".")
        place = form
        for part in path:
            place = place.setdefault(part, {})
        place[leaf] = [v.strip() for v in values if v.strip()] if leaf in _TICKED else values[-1].strip()
    return _numbered(form)


def _numbered(place: Form) -> Form:
    """Turn the numbered parts into lists, in order of their numbers; gaps close."""
    found: Form = {}
    for key, value in place.items():
        if key in ROWS and isinstance(value, dict):
            rows = sorted((int(n), row) for n, row in value.items() if n.isdigit() and isinstance(row, dict))
            found[key] = [_numbered(row) for _, row in rows[:ROWS_MAX]]
        else:
            found[key] = _numbered(value) if isinstance(value, dict) else value
    return found


def form_of(tariff: Tariff, version: Version) -> Form:
    """Return the form that shows a version of a tariff; `file_data` leads back to an equal one."""
    head = tariff_file.dump_tariff(tariff)
    form: Form = {key: head[key] for key in HEAD if key in head}
    form |= {"utility": tariff.utility, "currency": tariff.currency, "time_zone": tariff.time_zone}
    form |= {"version": version.version, "valid_from": str(version.valid_from), "valid_to": _text(version.valid_to)}
    form |= {"doc_no": version.doc_no, "source_url": version.source_url, "note": _label(version.note)}
    codes = dict.fromkeys([*version.buckets, *version.bucket_codes()])
    form["buckets"] = [_bucket_row(version, code) for code in codes]
    form["seasons"] = [_season_row(season) for season in version.seasons]
    form["day_types"] = [
        {"code": t.code, "name": _label(t.name), "when": _rule_row(t.when) if t.when else {}} for t in version.day_types
    ]
    form["windows"] = [_window_row(list(group)) for _, group in groupby(version.windows, key=_same_row)]
    form["components"] = [_component_row(component) for component in version.components]
    return form


def _text(value: date | Decimal | int | None) -> str:
    if isinstance(value, Decimal):
        return f"{value:f}"
    return "" if value is None else str(value)


def _label(label: Label | None) -> Form:
    return {"zh": label.zh, "en": label.en} if label else {}


def _bucket_row(version: Version, code: str) -> Form:
    bucket = version.buckets.get(code)
    return {
        "code": code,
        "name": _label(bucket.name if bucket else None),
        "ratio": _text(bucket.ratio if bucket else None),
    }


def _season_row(season: Season) -> Form:
    limits = {"starts": season.starts or "", "ends": season.ends or ""}
    return {"code": season.code, "name": _label(season.name), "months": [str(m) for m in season.months]} | limits


def _rule_row(rule: DayRule) -> Form:
    ticked = {"kind_of_day": list(rule.kind), "weekdays": list(rule.weekdays), "holiday": list(rule.holiday)}
    dates = ", ".join(map(str, rule.dates))
    return ticked | {"first_days": _text(rule.first_days), "dates": dates}


def _same_row(window: Window) -> tuple[Any, ...]:
    return window.seasons, window.day_types, window.bucket


def _window_row(windows: list[Window]) -> Form:
    hours = ", ".join(f"{clock(w.start)}-{clock(w.end)}" for w in windows)
    first = windows[0]
    return {"season": list(first.seasons), "day_type": list(first.day_types), "bucket": first.bucket, "hours": hours}


def _component_row(component: Component) -> Form:
    row: Form = {"code": component.code, "name": _label(component.name), "kind": component.kind}
    row |= {"unit": component.unit or "", "price": _text(component.price), "floats": _tick(is_on=component.floats)}
    row["prices"] = {code: _text(price) for code, price in component.prices.items()}
    row |= {"only_buckets": list(component.buckets), "base_codes": list(component.base_codes)}
    row |= {"months": [str(month) for month in component.months], "percent": _text(component.percent)}
    row |= {"pf_standard": _text(component.pf_standard), "guaranteed_quantity": _text(component.guaranteed_quantity)}
    row |= {"day_count": component.day_count or "", "rounding": _text(component.rounding)}
    row |= {"price_digits": _text(component.price_digits), "vat_percent": _text(component.vat_rate.scaleb(2))}
    row |= {"tax_included": _tick(is_on=component.tax_included)}
    row |= {"gl_account": component.gl_account, "fapiao_tax_code": component.fapiao_tax_code}
    row["tiers"] = _tiers_row(component.tiers) if component.tiers else {}
    row["demand"] = _demand_row(component)
    return row


def _tick(*, is_on: bool) -> str:
    return "true" if is_on else ""


def _tiers_row(tiers: Tiers) -> Form:
    steps = [
        {"up_to": _text(s.up_to), "price": _text(s.price), "prices": {c: _text(p) for c, p in s.prices.items()}}
        for s in tiers.steps
    ]
    return {"basis": tiers.basis, "period": tiers.period, "scale": tiers.scale, "steps": steps}


def _demand_row(component: Component) -> Form:
    demand = component.demand
    if demand is None:
        return {}
    row = {"window_min": str(demand.window_min), "rule": demand.rule, "only_buckets": list(demand.buckets)}
    row |= {"feeds": demand.feeds, "band_100_105": demand.band_100_105, "peaks": str(demand.peaks)}
    if demand.ratchet:
        found = demand.ratchet
        ratchet = {"percent": _text(found.percent), "months_back": str(found.months_back)}
        row["ratchet"] = ratchet | {"months": [str(m) for m in found.months], "minimum_kw": _text(found.minimum_kw)}
    return row


def file_data(form: Form, recorded: Tariff | None = None) -> tuple[dict[str, Any], int]:
    """Return the data of the tariff file that a form writes, and the place of the form's version in it.

    The version takes the place of the recorded one with its name. A new one ends the version that it follows.
    """
    data = filled({key: form.get(key) for key in HEAD})
    version = _version(form)
    others = (
        [v for v in tariff_file.file_data(recorded)["versions"] if v["version"] != version.get("version")]
        if recorded
        else []
    )
    if recorded and len(others) == len(recorded.versions):
        others = [_ended(other, version.get("valid_from", "")) for other in others]
    versions = sorted([*others, version], key=lambda v: str(v.get("valid_from", "")))
    return data | {"versions": versions}, next(i for i, v in enumerate(versions) if v is version)


def _ended(other: dict[str, Any], on: str) -> dict[str, Any]:
    """End a recorded version where a new one begins."""
    runs_beyond = other["valid_from"] < on and (other.get("valid_to") is None or other["valid_to"] > on)
    return other | {"valid_to": on} if runs_beyond else other


def _version(form: Form) -> dict[str, Any]:
    head = filled({key: form.get(key) for key in ("version", "valid_from", "valid_to", "doc_no", "source_url", "note")})
    buckets = {
        row.get("code", ""): filled({k: row.get(k) for k in ("name", "ratio")}) for row in form.get("buckets", [])
    }
    parts = {
        "buckets": {code: _with_numbers(bucket) for code, bucket in buckets.items() if code and bucket},
        "seasons": [filled(row) for row in form.get("seasons", [])],
        "day_types": [_day_type(row) for row in form.get("day_types", [])],
        "windows": [window_data(row) for row in form.get("windows", [])],
        "components": [_component(row) for row in form.get("components", [])],
    }
    return head | {key: value for key, value in parts.items() if value or key == "components"}


def filled(row: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what is empty, at any depth."""
    found = {key: filled(value) if isinstance(value, dict) else value for key, value in row.items()}
    return {key: value for key, value in found.items() if value not in (None, "", [], {})}


def _with_numbers(row: dict[str, Any]) -> dict[str, Any]:
    """Write numbers as the file does: people type spaces between thousands and a comma for the point."""
    return {key: plain_number(value) if key in _NUMBERS else value for key, value in row.items()}


def plain_number(text: Any) -> Any:
    """Return a number as typed without spaces and with a decimal point; anything else stays as it is."""
    clean = re.sub(r"\s", "", str(text))
    return clean.replace(",", ".") if clean.count(",") == 1 and "." not in clean else clean


def _day_type(row: Form) -> dict[str, Any]:
    found = filled(row)
    when = found.get("when")
    if when:
        if "kind_of_day" in when:
            when["kind"] = when.pop("kind_of_day")
        if "dates" in when:
            when["dates"] = [part for part in _BETWEEN.split(when["dates"]) if part]
    return found


def window_data(row: Form) -> dict[str, Any]:
    """Return a row of hours as the file writes it: a list of stretches, each `07:00-11:00`."""
    found = filled(row)
    stretches = _BETWEEN.split(_DASH.sub("-", str(found.get("hours", ""))))
    return found | {"bucket": found.get("bucket", ""), "hours": [stretch for stretch in stretches if stretch]}


def _component(row: Form) -> dict[str, Any]:
    found = _with_numbers(filled(row))
    if "only_buckets" in found:
        found["buckets"] = found.pop("only_buckets")
    if "prices" in found:
        found["prices"] = {code: plain_number(price) for code, price in found["prices"].items()}
    if "vat_percent" in found:
        found["vat_rate"] = _fraction(found.pop("vat_percent"))
    found["tax_included"] = row.get("tax_included") == "true"
    tiers = found.get("tiers", {})
    if tiers.get("steps"):
        tiers["steps"] = [_step(step) for step in tiers["steps"]]
    else:
        found.pop("tiers", None)  # The way of counting without a step says nothing.
    if found.get("kind") != "demand":
        found.pop("demand", None)
    elif "demand" in found:
        found["demand"] = _demand(found["demand"])
    return found


def _fraction(percent: str) -> str:
    """Return 13 as 0.13; what is no number is left for the check to name."""
    try:
        return f"{Decimal(plain_number(percent)).scaleb(-2):f}"
    except InvalidOperation:
        return percent


def _step(row: Form) -> dict[str, Any]:
    found = _with_numbers(filled(row))
    if "prices" in found:
        found["prices"] = {code: plain_number(price) for code, price in found["prices"].items()}
    return found


def _demand(row: dict[str, Any]) -> dict[str, Any]:
    found = dict(row)
    if "only_buckets" in found:
        found["buckets"] = found.pop("only_buckets")
    if found.get("rule") != "ratchet":
        found.pop("ratchet", None)
    elif "ratchet" in found:
        found["ratchet"] = _with_numbers(found["ratchet"])
    return found


_RENAMED = {"vat_rate": "vat_percent", "kind": "kind_of_day", "buckets": "only_buckets"}


def field_of(form: Form, at: At) -> str:
    """Return the name of the form's field for a key of the version; of the table or the row when it has none."""
    match at:
        case ("windows", int(index), *rest):
            return ".".join(map(str, ("windows", _window_row_number(form, index), *rest)))
        case ("buckets", str(code), *rest):
            number = next((i for i, row in enumerate(form.get("buckets", [])) if row.get("code") == code), 0)
            return ".".join(map(str, ("buckets", number, *rest)))
        case ("components" | "day_types" as table, int(index), *rest):
            inside = table == "day_types"
            names = [_RENAMED[k] if k in _RENAMED and (k != "kind" or inside) else k for k in rest]
            return ".".join(map(str, (table, index, *names)))
        case _:
            return ".".join(map(str, at))


def _window_row_number(form: Form, index: int) -> int:
    """Return which row a window stands in: a row has one window for every stretch of hours."""
    for number, row in enumerate(form.get("windows", [])):
        index -= len(window_data(row)["hours"])
        if index < 0:
            return number
    return 0
