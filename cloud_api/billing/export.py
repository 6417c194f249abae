"""Lines of bills for accounting: CSV and Excel, one row per line with net, tax and gross."""

import csv
import io
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from openpyxl import Workbook
from openpyxl.cell import WriteOnlyCell
from psycopg import AsyncConnection

from cloud_api.billing import service
from cloud_api.billing.pinned import tariff_of
from cloud_api.billing.repository import Row
from cloud_api.billing.tariff import Tariff

COLUMNS: tuple[str, ...] = (
    "bill", "kind", "tenant", "tenant_name_zh", "credit_code", "period_from", "period_to", "issued_on", "due_on",
    "line", "component", "name_zh", "bucket", "tier", "quantity", "unit", "unit_price", "net", "vat_rate", "tax",
    "gross", "currency", "gl_account", "fapiao_tax_code", "bucket_zh",
)  # fmt: skip
_MONEY = frozenset({"net", "tax", "gross"})
_NUMBERS = _MONEY | {"quantity", "unit_price", "vat_rate"}


async def run_csv(conn: AsyncConnection, run_id: int, *, delimiter: str = ",") -> str:
    """Return every line of a run's bills with net, tax and gross, ledger account and tax classification code."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, delimiter=delimiter, lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(_safe(row) for row in await _run_rows(conn, run_id))
    return out.getvalue()


async def run_xlsx(conn: AsyncConnection, run_id: int) -> bytes:
    """Return the same rows as an Excel file: amounts with two decimals, quantities and prices as they are printed."""
    book = Workbook(write_only=True)
    sheet = book.create_sheet("bills")
    sheet.append(COLUMNS)
    for row in await _run_rows(conn, run_id):
        cells = [WriteOnlyCell(sheet, value=_number(name, _safe(row)[name])) for name in COLUMNS]
        for name, cell in zip(COLUMNS, cells, strict=True):
            if name in _MONEY:
                cell.number_format = "0.00"
        sheet.append(cells)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def _number(name: str, value: Any) -> Any:
    # Excel keeps fifteen digits: enough for what is printed, and a sum of money stays exact to the cent.
    return Decimal(value) if name in _NUMBERS and value != "" else value


async def _run_rows(conn: AsyncConnection, run_id: int) -> list[dict[str, Any]]:
    run = await service.get_run(conn, run_id)
    found: list[dict[str, Any]] = []
    for listed in (b for b in run["bills"] if b["kind"] == "bill"):
        bill = await service.get_bill(conn, listed["id"])
        found += line_rows(bill, await tariff_of(conn, bill))
    return found


def line_rows(bill: Row, tariff: Tariff) -> list[dict[str, Any]]:
    """Return the rows of one bill; VAT that is added stands beside the lines it belongs to."""
    snapshot = bill["snapshot"]
    components = {(v.version, c.code): c for v in tariff.versions for c in v.components}
    found = []
    for number, line in enumerate((x for x in snapshot["lines"] if x["kind"] != "vat"), 1):
        amount, tax = Decimal(line["amount"]), Decimal(line["tax"])
        net, gross = (amount - tax, amount) if line["tax_included"] else (amount, amount + tax)
        component = components.get((line["version"], line["component"]))
        found.append(
            {
                "bill": bill["number"] or "",
                "kind": snapshot["kind"],
                "tenant": snapshot["tenant"]["code"],
                "tenant_name_zh": snapshot["tenant"]["name"]["zh"],
                "credit_code": snapshot["tenant"]["credit_code"] or "",
                "period_from": snapshot["period"]["from"],
                "period_to": snapshot["period"]["to"],
                "issued_on": _issued_on(bill),
                "due_on": bill["due_on"] or "",
                "line": number,
                "component": line["component"],
                "name_zh": line["name"]["zh"],
                "bucket": line["bucket"] or "",
                "bucket_zh": (line.get("bucket_name") or {}).get("zh", ""),
                "tier": line["tier"] or "",
                "quantity": line["quantity"],
                "unit": line["unit"],
                "unit_price": line["unit_price"] or "",
                "net": net,
                "vat_rate": line["vat_rate"],
                "tax": tax,
                "gross": gross,
                "currency": snapshot["currency"],
                "gl_account": component.gl_account if component else "",
                "fapiao_tax_code": component.fapiao_tax_code if component else "",
            }
        )
    return found


def _issued_on(bill: Row) -> str:
    if bill["issued_at"] is None:
        return ""
    return bill["issued_at"].astimezone(ZoneInfo(bill["snapshot"]["site"]["time_zone"])).date().isoformat()


def _safe(row: dict[str, Any]) -> dict[str, Any]:
    """Keep a spreadsheet from reading a name as a formula."""
    return {k: "'" + v if isinstance(v, str) and v[:1] in {"=", "+", "@"} else v for k, v in row.items()}
