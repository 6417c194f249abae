"""The utility's bill for the main meter: entered, summed up, compared with our own ledger."""

import json
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from psycopg import AsyncConnection

from cloud_api.billing import inputs as loading
from cloud_api.billing.cost_share import DRIVERS
from cloud_api.billing.repository import Row, as_json, queries, rows, store
from cloud_api.billing.run_model import SiteFacts
from cloud_api.billing.service import month_of
from cloud_api.kit.clock import Clock
from cloud_api.kit.errors import Invalid

LINES_MAX = 200
BILLS_SHOWN_MAX = 120


class UtilityBillInvalid(Invalid):
    """The utility's bill does not add up or cannot be read."""

    code = "utility_bill_invalid"


def read_file(path: Path) -> dict[str, Any]:
    """Read a JSON file with `total`, `kwh` and `lines`. Raises UtilityBillInvalid."""
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"), parse_float=str, parse_int=str)
    except OSError as error:
        raise UtilityBillInvalid("{path}: cannot be read: {problem}", path=path, problem=error.strerror) from error
    except ValueError as error:
        raise UtilityBillInvalid("{path_name}: is not JSON: {problem}", path_name=path.name, problem=error) from error
    if not isinstance(found, dict):
        raise UtilityBillInvalid("{path_name}: is an object with total, kwh and lines", path_name=path.name)
    return found


def check(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the bill with exact amounts as text. Leaves have to sum to the total; a group's children are its leaves.

    `bucket` of a line names the time-of-use bucket that it pays for; lines without one are spread by energy.
    """
    lines = content.get("lines", [])
    if not isinstance(lines, list) or not 1 <= len(lines) <= LINES_MAX:
        raise UtilityBillInvalid("the bill needs 1 to {lines_max} lines with name and amount", lines_max=LINES_MAX)
    total, kwh = _number(content.get("total"), "total"), _number(content.get("kwh"), "kwh")
    read = []
    for number, line in enumerate(lines, 1):
        amount = _number(line.get("amount"), f"line {number}: amount")
        driver = line.get("driver") or "energy"
        if driver not in DRIVERS:
            raise UtilityBillInvalid("line {line}: {driver} is no driver; write {drivers}", line=number, driver=driver,
                                     drivers=", ".join(DRIVERS))  # fmt: skip
        if amount != amount.quantize(Decimal("0.01")):
            raise UtilityBillInvalid("line {line}: {amount} has more than two decimals", line=number, amount=amount)
        name = str(line.get("name", ""))
        read.append({"name": name, "name_en": str(line.get("name_en") or name), "amount": str(amount), "driver": driver,
                     "bucket": line.get("bucket")})  # fmt: skip
    summed = sum((Decimal(line["amount"]) for line in read), Decimal(0))
    if summed != total:
        raise UtilityBillInvalid(
            "the lines sum to {summed}, the total says {total}: enter every leaf once, no groups",
            summed=summed,
            total=total,
        )
    return {"total": str(total), "kwh": str(kwh), "lines": read}


def _number(value: Any, what: str) -> Decimal:
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        raise UtilityBillInvalid("{what} {value!r} is not a number", what=what, value=value) from None
    if not number.is_finite():
        raise UtilityBillInvalid("{what} {value} is not a number", what=what, value=value)
    return number


async def enter(
    conn: AsyncConnection,
    site: SiteFacts,
    month: str,
    content: Mapping[str, Any],
    *,
    actor: str,
    clock: Clock,
    utility: str = "electricity",
) -> list[str]:
    """Store the bill of a month, replacing an earlier entry, and say how it compares with our main meter."""
    bill = check(content)
    first, after = month_of(month)
    ids = {"site_id": site.id, "organisation_id": site.organisation_id, "utility": utility}
    ids |= {"first": first, "after": after, "at": clock.now(), "actor": actor}
    await store(conn, queries.forget_utility_bill, ids)
    await store(conn, queries.save_utility_bill, ids | {"content": as_json(bill), "total": Decimal(bill["total"])})
    inputs, _ = await loading.load_inputs(conn, site, utility, first, after)
    main = sum(sum(inputs.energy[p.index].runs.values()) for p in inputs.parts if p.meter.use == "main")
    ours, theirs = Decimal(main).scaleb(-6), Decimal(bill["kwh"])
    words = [f"utility's bill of {month}: {bill['total']} for {theirs} kWh; our main meter counted {ours} kWh"]
    if theirs and abs(ours - theirs) * 100 > theirs:
        percent = (ours - theirs) * 100 / theirs
        words.append(f"they differ by {percent:.2f} %: check the period, the ratio and the main meter's readings")
    return words


async def entered(conn: AsyncConnection, organisation_id: int) -> list[Row]:
    """Return the bills that were entered, newest first."""
    return await rows(conn, queries.utility_bills, {"organisation_id": organisation_id, "limit": BILLS_SHOWN_MAX})
