"""The data fields of a 数电票 (fully digital invoice) for a bill, for an adapter to send; no tax service is called.

Fields as public adapters of the tax platform name them. What a bill does not know is None: the adapter or a person
fills it. The buyer's data beside name and number come from the tenant's attributes `tax_address`, `phone`, `bank`,
`bank_account`, `contact_email`, `mobile`, `natural_person` and `invoice_type` (special).
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from psycopg import AsyncConnection

from cloud_api.billing import inputs as loading
from cloud_api.billing.export import line_rows
from cloud_api.billing.pinned import tariff_of
from cloud_api.billing.repository import Row, one, queries
from cloud_api.billing.tariff import Tariff
from cloud_api.billing.words import unit_of
from cloud_api.kit.errors import Invalid

SPECIAL, ORDINARY = "81", "82"
_YES = frozenset({"true", "1", "yes", "是", "y"})


async def einvoice(conn: AsyncConnection, bill: Row) -> dict[str, Any]:
    """Return the data of a 数电票 for an issued bill; of a red one for a credit note. Raises Invalid for a draft."""
    if not bill["number"]:
        raise Invalid("only an issued bill has the data of an invoice")
    site = await loading.find_site(conn, site_id=bill["site_id"])
    people = {"tenant_id": bill["tenant_id"], "owner_id": site.owner_id}
    found = await one(conn, queries.tax_parties, people)
    assert found is not None
    return fapiao_fields(bill, await tariff_of(conn, bill), found)


def fapiao_fields(bill: Mapping[str, Any], tariff: Tariff, parties: Mapping[str, Any]) -> dict[str, Any]:
    """Return header and lines. `parties` holds the buyer's `attributes` and the seller's `seller_tax_no`."""
    snapshot = bill["snapshot"]
    rows = line_rows(dict(bill), tariff)
    about: Mapping[str, Any] = parties["attributes"]
    tax_no = snapshot["tenant"]["credit_code"]
    is_special = about.get("invoice_type") == "special" and bool(tax_no)
    period = snapshot["period"]
    return {
        "invoice_type": SPECIAL if is_special else ORDINARY,
        "request_serial": bill["number"],
        "seller_tax_no": parties["seller_tax_no"],
        "seller_name": snapshot["issuer"]["zh"],
        "buyer_name": snapshot["tenant"]["name"]["zh"],
        "buyer_tax_no": tax_no,
        "buyer_address": about.get("tax_address"),
        "buyer_phone": about.get("phone"),
        "buyer_bank": about.get("bank"),
        "buyer_account": about.get("bank_account"),
        "buyer_is_natural_person": not tax_no and str(about.get("natural_person", "")).lower() in _YES,
        "buyer_email": about.get("contact_email"),
        "buyer_mobile": about.get("mobile"),
        "tax_included": False,
        "net": str(sum((r["net"] for r in rows), Decimal("0.00"))),
        "tax": str(sum((r["tax"] for r in rows), Decimal("0.00"))),
        "gross": str(sum((r["gross"] for r in rows), Decimal("0.00"))),
        "currency": snapshot["currency"],
        "remark": f"{period['from']} – {period['to']} {bill['number']}",
        "drawer": None,
        "special_business": None,
        "red_letter": _red_letter(snapshot),
        "lines": [_line(row) for row in rows],
    }


def _line(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a line; the price is net of tax, as the interfaces ask when `tax_included` is false."""
    quantity = Decimal(row["quantity"] or 0)
    has_price = bool(row["unit"]) and row["unit"] != "%" and quantity != 0
    rate = Decimal(row["vat_rate"])
    return {
        "name": row["name_zh"] + (f"（{row['bucket_zh']}）" if row["bucket_zh"] else ""),
        "model": None,
        "unit": unit_of(row["unit"])[0] if has_price else None,
        "quantity": row["quantity"] if has_price else None,
        "price": f"{(row['net'] / quantity).quantize(Decimal('1e-8')).normalize():f}" if has_price else None,
        "net": str(row["net"]),
        "rate": row["vat_rate"],
        "tax": str(row["tax"]),
        "gross": str(row["gross"]),
        "tax_code": row["fapiao_tax_code"] or None,
        "preference": None,
        "zero_rate": None if rate else "3",
        "deduction": None,
    }


def _red_letter(snapshot: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what the confirmation form of a red invoice needs; its number and state come from the tax platform."""
    if snapshot["kind"] != "credit_note":
        return None
    return {"original_number": snapshot["corrects"], "reason": snapshot["reason"], "state": None}
