"""A bill's snapshot as a bilingual PDF: the same snapshot gives the same bytes."""

import json
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import typst

from cloud_api.billing.document.fonts import font_paths
from cloud_api.billing.document.wording import days, in_capitals, money, quantity
from cloud_api.billing.words import note_of, unit_of

_TEMPLATE = Path(__file__).with_name("bill.typ")
_TITLES = {
    "bill": ("账单", "Bill"),
    "final": ("退租结算单", "Final bill"),
    "owner": ("业主用能单", "Owner's statement"),
    "credit_note": ("红字账单", "Credit note"),
    "rebill": ("更正账单", "Corrected bill"),
}
_UTILITIES = {
    "electricity": ("电费", "Electricity"),
    "water": ("水费", "Water"),
    "gas": ("燃气费", "Gas"),
    "heat": ("热费", "Heat"),
    "cooling": ("冷费", "Cooling"),
    "hvac": ("加时空调", "After-hours HVAC"),
}
_SOURCES = {
    "own": ("", ""),
    "common": ("公共分摊 · ", "Common areas · "),
    "loss": ("损耗分摊 · ", "Losses · "),
    "after_hours": ("", ""),
}
_local = threading.local()


def bill_pdf(bill: Mapping[str, Any]) -> bytes:
    """Return the PDF of a bill row (number, state, dates and snapshot). Raises FontMissing without a CJK typeface."""
    _, family = font_paths()
    inputs = {"data": json.dumps(content(bill), ensure_ascii=False, sort_keys=True), "font": family}
    issued = bill.get("issued_at") or datetime(2000, 1, 1, tzinfo=UTC)
    pdf = _compiler().compile(format="pdf", sys_inputs=inputs, timestamp=int(issued.timestamp()))
    assert isinstance(pdf, bytes)
    return pdf


def _compiler() -> typst.Compiler:
    """Return this thread's compiler; reading the typeface is most of the work of the first document."""
    if not hasattr(_local, "compiler"):
        paths, _ = font_paths()
        _local.compiler = typst.Compiler(
            str(_TEMPLATE), root=str(_TEMPLATE.parent), font_paths=[str(p) for p in paths], ignore_system_fonts=True
        )
    return _local.compiler


def content(bill: Mapping[str, Any]) -> dict[str, Any]:
    """Return everything that the template prints, as text."""
    snapshot = bill["snapshot"]
    currency = snapshot["currency"]
    title_zh, title_en = _titles(snapshot)
    number = bill.get("number") or ""
    is_note = snapshot["kind"] == "credit_note"
    return {
        "title": f"{title_en} {number}".strip(),
        "title_zh": title_zh,
        "title_en": title_en,
        "number": number,
        "mark": "" if number else "草稿，未出账 · Draft, not issued",
        "issuer_zh": snapshot["issuer"]["zh"],
        "issuer_en": snapshot["issuer"]["en"],
        "site": f"{snapshot['site']['name']['zh']} · {snapshot['site']['name']['en']}",
        "tenant_zh": snapshot["tenant"]["name"]["zh"],
        "tenant_en": snapshot["tenant"]["name"]["en"],
        "facts": _facts(bill, snapshot),
        "due_label": "应付金额 · Amount due" if Decimal(snapshot["total"]) >= 0 else "应退金额 · Credit",
        "total": money(snapshot["total"], currency),
        "capitals": in_capitals(snapshot["total"]) if currency == "CNY" else "",
        "due_by": _due_by(bill, snapshot),
        "lines": [
            _line(line, currency) | (_AMOUNT_ALONE if is_note and line["unit_price"] is None else {})
            for line in snapshot["lines"]
        ],
        "totals": _totals(snapshot, currency),
        "chart": _chart(snapshot),
        "compare": _compare(snapshot, currency),
        "resale": [] if is_note else _resale(snapshot, currency),
        "formula": "分时电量 × 单价，逐行四舍五入到分；合计为各行之和。"
        " Quantity per period × price, each line rounded half-up to the cent; the total is the sum of the lines.",
        "evidence": [_evidence(e, snapshot["site"]["time_zone"]) for e in snapshot["evidence"]],
        "notes": _notes(bill, snapshot),
        "footer": f"{number or '—'} · {title_zh} {title_en}",
    }


def _due_by(bill: Mapping[str, Any], snapshot: Mapping[str, Any]) -> str:
    """Say until when to pay; a credit note asks for nothing and names the bill that it lowers."""
    if snapshot["kind"] == "credit_note":
        return f"冲减 {snapshot['corrects']} · Taken back from {snapshot['corrects']}"
    return "" if bill.get("due_on") is None else f"请于 {bill['due_on']} 前支付 · Due by {bill['due_on']}"


_AMOUNT_ALONE = {"quantity": "", "unit": ""}
"""A credit note that takes an amount off a line speaks of no quantity."""


def _titles(snapshot: Mapping[str, Any]) -> tuple[str, str]:
    utility_zh, utility_en = _UTILITIES[snapshot["utility"]]
    zh, en = _TITLES[snapshot["kind"]]
    return utility_zh + zh, f"{utility_en} · {en}"


def _facts(bill: Mapping[str, Any], snapshot: Mapping[str, Any]) -> list[dict[str, str]]:
    spaces = ", ".join(dict.fromkeys(_space(lease) for lease in snapshot["leases"])) or "—"
    leases = ", ".join(dict.fromkeys(lease["lease"] for lease in snapshot["leases"])) or "—"
    issued = bill.get("issued_at")
    zone = ZoneInfo(snapshot["site"]["time_zone"])
    facts = [
        ("计费周期 · Period", days(snapshot["period"]["from"], snapshot["period"]["to"])),
        ("房间 · Space", spaces),
        ("租约 · Lease", leases),
        ("出账日期 · Issued", "—" if issued is None else issued.astimezone(zone).date().isoformat()),
    ]
    if snapshot["kind"] != "credit_note":
        facts.insert(3, ("用量 · Use", f"{quantity(snapshot['quantity'])} kWh"))
        facts.append(("付款附言 · Payment reference", bill.get("number") or "—"))
    if snapshot.get("corrects"):
        facts.append(("更正账单 · Corrects", snapshot["corrects"]))
    if snapshot.get("reason"):
        facts.append(("原因 · Reason", snapshot["reason"]))
    return [{"label": label, "value": value} for label, value in facts]


def _space(lease: Mapping[str, Any]) -> str:
    """Return a space's code with its name of the period; bills from before names had periods have the code alone."""
    named = lease.get("place", {}).get("space")
    return lease["space"] if not named else f"{lease['space']} {named['zh']} {named['en']}"


def _line(line: Mapping[str, Any], currency: str) -> dict[str, str]:
    zh, en = _SOURCES[line.get("source", "own")]
    name = line.get("bucket_name") or {"zh": "", "en": ""}
    tier = f" {line['tier']}" if line["tier"] else ""
    price = line["unit_price"]
    is_share = line["unit"] == "%"
    return {
        "zh": zh + line["name"]["zh"] + (f" 第{line['tier']}档" if line["tier"] else ""),
        "en": en + line["name"]["en"] + (f", tier{tier}" if tier else ""),
        "bucket": line["bucket"] or "",
        "bucket_zh": name["zh"],
        "bucket_en": name["en"],
        "quantity": money(line["quantity"], currency) if is_share else quantity(line["quantity"]),
        "unit": "" if is_share else " ".join(dict.fromkeys(unit_of(line["unit"]))),
        "price": "" if price is None else f"{Decimal(price) * 100:f} %" if is_share else price,
        "amount": money(line["amount"], currency),
        "note": " · ".join(dict.fromkeys(filter(None, note_of(line)))),
    }


def _totals(snapshot: Mapping[str, Any], currency: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for group in snapshot["vat"]:
        if Decimal(group["rate"]):
            percent = f"{Decimal(group['rate']) * 100:f}".rstrip("0").rstrip(".")
            how = "含税 included" if group["included"] else "另加 added"
            label = f"增值税 VAT {percent} %（{how}；净额 net {money(group['net'], currency)}）"
            found.append({"label": label, "value": money(group["tax"], currency), "strong": False})
    found.append({"label": "合计 Total", "value": money(snapshot["total"], currency), "strong": True})
    return found


def _chart(snapshot: Mapping[str, Any]) -> dict[str, Any]:
    sums = [sum((Decimal(q) for q in d["buckets"].values()), Decimal(0)) for d in snapshot["days"]]
    highest = max(sums, default=Decimal(0))
    if highest <= 0:
        return {"days": [], "legend": [], "max": ""}
    bars = []
    for day in snapshot["days"]:
        number = int(day["day"][8:])
        parts = [
            {"bucket": bucket, "part": round(float(Decimal(q) / highest), 5)}
            for bucket, q in day["buckets"].items()
            if Decimal(q) > 0
        ]
        bars.append({"label": str(number) if number == 1 or number % 5 == 0 else "", "parts": parts})
    legend = [
        {"bucket": u["bucket"], "zh": u["name"]["zh"], "en": u["name"]["en"], "value": f"{quantity(u['own'])} kWh"}
        for u in snapshot["usage"]
        if Decimal(u["own"])
    ]
    return {"days": bars, "legend": legend, "max": quantity(highest, 0)}


def _compare(snapshot: Mapping[str, Any], currency: str) -> list[dict[str, str]]:
    labels = {"last_month": "上月 Last month", "last_year": "去年同月 Same month last year"}
    rows = [
        {"label": labels[when], "quantity": f"{quantity(c['quantity'])} kWh", "total": money(c["total"], currency)}
        for when, c in sorted(snapshot["compare"].items())
    ]
    if not rows:
        return []
    now = {"label": "本期 This period", "quantity": f"{quantity(snapshot['quantity'])} kWh"}
    return [now | {"total": money(snapshot["total"], currency)}, *rows]


def _resale(snapshot: Mapping[str, Any], currency: str) -> list[dict[str, str]]:
    sheet = snapshot.get("resale") or {}
    if not sheet:
        return []
    basis = {
        "utility_bill": "供电公司账单 utility's bill",
        "landlord_tariff": "按购电价计算 rated by the purchase tariff",
    }
    rows = [
        ("总表购电量 Energy bought (main meter)", f"{quantity(sheet['paid_energy_kwh'])} kWh"),
        (f"购电费 Paid for it（{basis.get(sheet['basis'], '—')}）", money(sheet["paid_total"], currency)),
        (
            "平均购电价 Average purchase price",
            "—" if sheet["average_price"] is None else f"{sheet['average_price']} /kWh",
        ),
        ("向租户收取 Recovered from all tenants", money(sheet["recovered"], currency)),
        ("同等电量购电成本 Paid for the same energy", money(sheet["paid_for_same_energy"], currency)),
    ]
    return [{"label": label, "value": value} for label, value in rows]


def _evidence(row: Mapping[str, Any], zone_name: str) -> dict[str, str]:
    zone = ZoneInfo(zone_name)

    def value(readings: list[dict[str, Any]]) -> str:
        known = [r["value"] for r in readings if r["value"] is not None]
        return quantity(known[-1]) if known else "—"

    def local(text: str) -> str:
        return datetime.fromisoformat(text).astimezone(zone).strftime("%Y-%m-%d %H:%M")

    share = "" if Decimal(row["share"]) == 1 else f" × {quantity(Decimal(row['share']) * 100)} %"
    return {
        "meter": row["meter"],
        "space": row["space"] + share,
        "period": f"{local(row['from'])} – {local(row['to'])}",
        "opening": value(row["opening"]),
        "closing": value(row["closing"]),
        "kwh": quantity(row["kwh"]),
    }


def _notes(bill: Mapping[str, Any], snapshot: Mapping[str, Any]) -> list[str]:
    tariff = snapshot["tariff"]
    notes = [
        f"电价 Tariff: {tariff['name']['zh']} {tariff['name']['en']} ({tariff['code']}, r{tariff['revision']})",
        "如有疑问，请在租户门户的账单上点击相应行。 To question a line, press it on the bill in the tenant portal.",
    ]
    if Decimal(snapshot["estimated_percent"]):
        percent = snapshot["estimated_percent"]
        notes.insert(0, f"其中 {percent} % 电量为估算 · {percent} % is estimated")
    if bill.get("sha256"):
        notes.append(f"指纹 Fingerprint: {bill['sha256']}")
    return notes
