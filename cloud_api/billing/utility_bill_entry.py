"""What was typed or imported as the utility's bill: read, cleaned, and refused when it does not add up. No database."""

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from cloud_api.billing.cost_share import DRIVERS
from cloud_api.kit.errors import Invalid

LINES_MAX = 200
COLUMNS = {
    "name": ("name", "item", "项目", "名称", "费用项目"),
    "name_en": ("name_en", "english"),
    "bucket": ("bucket", "period", "时段"),
    "kwh": ("kwh", "quantity", "电量", "数量"),
    "amount": ("amount", "金额", "电费", "金额（元）"),
    "driver": ("driver", "shared_by", "分摊方式"),
}
"""Names that the columns of a file may have; `kwh` and `driver` may be missing."""
BUCKET_WORDS = {"尖": "sharp", "尖峰": "sharp", "峰": "peak", "高峰": "peak", "平": "flat", "平段": "flat",
                "谷": "valley", "低谷": "valley", "深谷": "deep"}  # fmt: skip


class UtilityBillInvalid(Invalid):
    """The utility's bill does not add up or cannot be read."""

    code = "utility_bill_invalid"


def read_file(path: Path) -> dict[str, Any]:
    """Read a JSON file with `total`, `kwh` and `lines`. Raises UtilityBillInvalid."""
    try:
        return read_json(path.name, path.read_bytes())
    except OSError as error:
        raise UtilityBillInvalid("{path}: cannot be read: {problem}", path=path, problem=error.strerror) from error


def read_json(name: str, content: bytes) -> dict[str, Any]:
    """Read JSON with `total`, `kwh` and `lines`. Raises UtilityBillInvalid."""
    try:
        found = json.loads(content.decode("utf-8-sig"), parse_float=str, parse_int=str)
    except ValueError as error:
        raise UtilityBillInvalid("{path_name}: is not JSON: {problem}", path_name=name, problem=error) from error
    if not isinstance(found, dict):
        raise UtilityBillInvalid("{path_name}: is an object with total, kwh and lines", path_name=name)
    return found


def lines_of(found: Sequence[Mapping[str, str]]) -> list[dict[str, Any]]:
    """Return a table's rows (by lower-case column) as lines; rows without name and amount are left out."""
    lines: list[dict[str, Any]] = []
    for row in found:
        values = {key: next((row[n] for n in names if row.get(n)), "").strip() for key, names in COLUMNS.items()}
        if values["name"] or values["amount"]:
            bucket = BUCKET_WORDS.get(values["bucket"], values["bucket"])
            lines.append(values | {"amount": _plain(values["amount"]), "kwh": _plain(values["kwh"]), "bucket": bucket})
    return lines


def _plain(text: str) -> str:
    return text.replace(",", "").replace("，", "").replace("¥", "").replace(" ", "")


def check(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the bill with exact amounts as text. Leaves have to sum to the total; a group's children are its leaves.

    `bucket` of a line names the time-of-use bucket that it pays for, `kwh` the energy that it counts there; lines
    without a bucket are spread by energy. Raises UtilityBillInvalid with the line and the remedy.
    """
    lines = content.get("lines", [])
    if not isinstance(lines, list) or not 1 <= len(lines) <= LINES_MAX:
        raise UtilityBillInvalid("the bill needs 1 to {lines_max} lines with name and amount", lines_max=LINES_MAX)
    total, kwh = _number(content.get("total"), "total"), _number(content.get("kwh"), "kwh")
    if kwh < 0:
        raise UtilityBillInvalid("{energy} kWh is negative; corrections of earlier months are lines", energy=kwh)
    read = []
    for number, line in enumerate(lines, 1):
        amount = _number(line.get("amount"), f"line {number}: amount")
        driver = line.get("driver") or "energy"
        if driver not in DRIVERS:
            raise UtilityBillInvalid("line {line}: {driver} is no driver; write {drivers}", line=number, driver=driver,
                                     drivers=", ".join(DRIVERS))  # fmt: skip
        if amount != amount.quantize(Decimal("0.01")):
            raise UtilityBillInvalid("line {line}: {amount} has more than two decimals", line=number, amount=amount)
        name = str(line.get("name") or "").strip()
        if not name:
            raise UtilityBillInvalid("line {line}: needs a name", line=number)
        energy = _number(line["kwh"], f"line {number}: kwh") if line.get("kwh") else None
        if energy is not None and energy < 0:
            raise UtilityBillInvalid("line {line}: {energy} kWh is negative", line=number, energy=energy)
        read.append({"name": name, "name_en": str(line.get("name_en") or name), "amount": str(amount), "driver": driver,
                     "bucket": line.get("bucket") or None, "kwh": None if energy is None else str(energy)})  # fmt: skip
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
