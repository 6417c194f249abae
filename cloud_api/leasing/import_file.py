"""Leasing records from CSV, Excel or JSON of any leasing platform: rows to records, each fault with its row. Pure."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from cloud_api.kit.errors import Invalid
from cloud_api.kit.i18n import Text
from cloud_api.leasing.model import LeaseRecord, SpaceTerm, TenantRecord

ROWS_MAX = 50_000
BYTES_MAX = 50_000_000
_LEASE_COLUMNS = {
    "lease": ("lease", "lease_no", "number", "合同编号"),
    "external_id": ("external_id", "id"),
    "version": ("version", "版本"),
    "tenant": ("tenant", "tenant_code", "租户", "租户编号"),
    "space": ("space", "unit", "space_code", "房号", "房间"),
    "first_day": ("first_day", "start", "start_date", "起租日"),
    "last_day": ("last_day", "end", "end_date", "到期日"),
    "head_count": ("head_count", "people", "人数"),
    "area_m2": ("area_m2", "area", "面积"),
    "currency": ("currency", "币种"),
}
_TENANT_COLUMNS = {
    "tenant": ("tenant", "tenant_code", "code", "租户编号"),
    "name_zh": ("name_zh", "name", "名称"),
    "name_en": ("name_en", "英文名称"),
    "credit_code": ("credit_code", "统一社会信用代码"),
}


_COLUMN_TEXTS = {
    "lease": Text("lease"),
    "tenant": Text("tenant"),
    "space": Text("space"),
    "first_day": Text("first_day"),
    "last_day": Text("last_day"),
    "version": Text("version"),
    "head_count": Text("head_count"),
}


class _RowFault(Exception):
    """One row contradicts itself; its text names the row."""


class ImportInvalid(Invalid):
    """The file cannot be read as leasing records."""

    code = "import_invalid"


@dataclass(slots=True)
class Parsed:
    """Records that could be read, and the rows that could not, in words."""

    leases: list[LeaseRecord] = field(default_factory=list[LeaseRecord])
    tenants: list[TenantRecord] = field(default_factory=list[TenantRecord])
    refused: list[Text] = field(default_factory=list[Text])


def read_rows(path: Path) -> list[dict[str, str]]:
    """Read CSV, XLSX or JSON (a list of objects) into rows of text by lower-case column. Raises ImportInvalid."""
    try:
        if path.stat().st_size > BYTES_MAX:
            raise too_large(path.name)
        return rows_of(path.name, path.read_bytes())
    except OSError as error:
        raise ImportInvalid("{path}: cannot be read: {problem}", path=path, problem=error.strerror) from error


def too_large(name: str) -> ImportInvalid:
    """Return the refusal of a file that exceeds BYTES_MAX."""
    size = f"{BYTES_MAX // 1_000_000} MB"
    return ImportInvalid("{name}: larger than {size}; cut it in parts", name=name, size=size)


def parse_file(name: str, content: bytes, parsed: Parsed) -> None:
    """Read a file of leases or of tenants, or a JSON object with both under their names. Raises ImportInvalid.

    A file is one of tenants when it has a name column and no column for spaces.
    """
    if Path(name).suffix.lower() == ".json":
        parts = _json_parts(name, content)
        parse_tenants(parts["tenants"], parsed)
        parse_leases(parts["leases"], parsed)
        return
    found = rows_of(name, content)
    columns = set(found[0]) if found else set()
    if columns & set(_TENANT_COLUMNS["name_zh"]) and not columns & set(_LEASE_COLUMNS["space"]):
        parse_tenants(found, parsed)
    else:
        parse_leases(found, parsed)


def _json_parts(name: str, content: bytes) -> dict[str, list[dict[str, str]]]:
    try:
        data = json.loads(content)
    except ValueError as error:
        raise ImportInvalid("{name}: cannot be read: {problem}", name=name, problem=error) from error
    parts = data if isinstance(data, dict) else {"leases": data}
    found = {}
    for part in ("tenants", "leases"):
        rows = parts.get(part, [])
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise ImportInvalid("{name}: {part} has to be a list of objects", name=name, part=part)
        if len(rows) > ROWS_MAX:
            raise too_large(name)
        found[part] = [_clean(row) for row in rows]
    return found


def rows_of(name: str, content: bytes) -> list[dict[str, str]]:
    """Turn a file's content into rows, by the ending of its name. Raises ImportInvalid."""
    readers: dict[str, Callable[[bytes], list[dict[str, str]]]] = {".xlsx": _excel, ".json": _json}
    try:
        rows = readers.get(Path(name).suffix.lower(), _csv)(content)
    except UnicodeDecodeError as error:
        raise ImportInvalid(
            "{name}: is not UTF-8 text (byte {byte}); save it as UTF-8", name=name, byte=error.start
        ) from error
    except (ValueError, KeyError, OSError) as error:
        raise ImportInvalid("{name}: cannot be read: {problem}", name=name, problem=error) from error
    if len(rows) > ROWS_MAX:
        raise ImportInvalid("{name}: more than {rows_max:,} rows; cut it in parts", name=name, rows_max=ROWS_MAX)
    return rows


def _csv(content: bytes) -> list[dict[str, str]]:
    text = content.decode("utf-8-sig")
    header = text.partition("\n")[0]
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=header.count))
    return [_clean(row) for row in reader]


def _excel(content: bytes) -> list[dict[str, str]]:
    from openpyxl import load_workbook

    sheet = load_workbook(io.BytesIO(content), read_only=True, data_only=True).active
    rows: Iterator[Sequence[Any]] = iter(sheet.iter_rows(values_only=True)) if sheet is not None else iter(())
    header = [str(title or "") for title in next(rows, ())]
    return [_clean(dict(zip(header, row, strict=False))) for row in rows]


def _json(content: bytes) -> list[dict[str, str]]:
    data = json.loads(content)
    rows = data.get("leases", data.get("tenants")) if isinstance(data, dict) else data
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError("JSON has to be a list of objects")
    return [_clean(row) for row in rows]


def _clean(row: dict[Any, Any]) -> dict[str, str]:
    return {str(key or "").strip().lower(): _text(value) for key, value in row.items()}


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.date().isoformat()
    return str(value).strip()


def parse_tenants(rows: Iterable[dict[str, str]], parsed: Parsed) -> None:
    """Read tenants; unknown columns are kept as attributes."""
    seen: set[str] = set()
    for number, row in enumerate(rows, 2):
        values = _pick(row, _TENANT_COLUMNS)
        code = values["tenant"]
        if not code or not values["name_zh"]:
            parsed.refused.append(Text("tenants row {number}: needs tenant and name_zh", number=number))
            continue
        if code in seen:
            parsed.refused.append(
                Text("tenants row {number}: tenant {code} stands there twice", number=number, code=code)
            )
            continue
        seen.add(code)
        known = {alias for aliases in _TENANT_COLUMNS.values() for alias in aliases}
        parsed.tenants.append(
            TenantRecord(
                code=code,
                name_zh=values["name_zh"],
                name_en=values["name_en"] or values["name_zh"],
                credit_code=values["credit_code"] or None,
                attributes={k: v for k, v in row.items() if k and k not in known and v},
            )
        )


def parse_leases(rows: Iterable[dict[str, str]], parsed: Parsed) -> None:
    """Read leases; rows with one number are the spaces of one lease. A faulty row refuses its whole lease."""
    groups: dict[str, list[tuple[int, dict[str, str]]]] = {}
    for number, row in enumerate(rows, 2):
        values = _pick(row, _LEASE_COLUMNS)
        if not any(values.values()):
            continue
        missing = [column for column in ("lease", "tenant", "space", "first_day") if not values[column]]
        if missing:
            parsed.refused.append(
                Text("row {row}: {columns} missing", row=number, columns=tuple(_COLUMN_TEXTS[c] for c in missing))
            )
            continue
        groups.setdefault(values["lease"], []).append((number, values))
    for lease, members in groups.items():
        try:
            parsed.leases.append(_lease(lease, members))
        except _RowFault as fault:
            parsed.refused.append(fault.args[0])


def _pick(row: dict[str, str], columns: dict[str, tuple[str, ...]]) -> dict[str, str]:
    return {column: next((row[a] for a in aliases if row.get(a)), "") for column, aliases in columns.items()}


def _lease(number: str, members: Sequence[tuple[int, dict[str, str]]]) -> LeaseRecord:
    first_row, first = members[0]
    for row, values in members[1:]:
        if values["tenant"] != first["tenant"]:
            here, there = values["tenant"], first["tenant"]
            raise _RowFault(
                Text(
                    "row {row}: lease {number} belongs to {here} here, to {there} in row {first_row}",
                    row=row,
                    number=number,
                    here=here,
                    there=there,
                    first_row=first_row,
                )
            )
    return LeaseRecord(
        number=number,
        external_id=first["external_id"] or number,
        tenant=first["tenant"],
        version=_whole(first["version"], first_row, "version"),
        head_count=_whole(first["head_count"], first_row, "head_count"),
        currencies=tuple((row, values["currency"].upper()) for row, values in members if values["currency"]),
        spaces=tuple(_space(row, values) for row, values in members),
    )


def _space(row: int, values: dict[str, str]) -> SpaceTerm:
    starts_on = _day(values["first_day"], row, "first_day")
    last = _day(values["last_day"], row, "last_day") if values["last_day"] else None
    if last is not None and last < starts_on:
        raise _RowFault(
            Text("row {row}: last_day {last} is before first_day {starts_on}", row=row, last=last, starts_on=starts_on)
        )
    return SpaceTerm(
        row=row,
        space=values["space"],
        starts_on=starts_on,
        ends_on=None if last is None else last + timedelta(days=1),
        area_m2=_area(values["area_m2"], row),
    )


def _day(text: str, row: int, column: str) -> date:
    try:
        return date.fromisoformat(text.replace("/", "-")[:10])
    except ValueError:
        raise _RowFault(
            Text(
                "row {row}: {column} {text!r} is not a day; write 2026-11-01",
                row=row,
                column=_COLUMN_TEXTS[column],
                text=text,
            )
        ) from None


def _whole(text: str, row: int, column: str) -> int | None:
    if not text:
        return None
    if not text.isdigit():
        raise _RowFault(
            Text(
                "row {row}: {column} {text!r} is not a whole number",
                row=row,
                column=_COLUMN_TEXTS[column],
                text=text,
            )
        )
    return int(text)


def _area(text: str, row: int) -> Decimal | None:
    if not text:
        return None
    try:
        area = Decimal(text)
    except InvalidOperation:
        raise _RowFault(Text("row {row}: area_m2 {text!r} is not a number", row=row, text=text)) from None
    if not area.is_finite() or area <= 0:
        raise _RowFault(Text("row {row}: area_m2 {text} has to be above 0", row=row, text=text))
    return area
