"""Files of readings: CSV, Excel, NEM12, Green Button. Pure: bytes in, rows and per-row errors out.

CSV and Excel hold cumulative readings, one per row, with a header (English or Chinese): meter, time, value and, where a
meter has several registers, quantity. NEM12 and Green Button hold quantities per interval; each becomes a reading of a
register that counts differences.
"""

import csv
import io
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal, InvalidOperation
from typing import Any
from zoneinfo import ZoneInfo

from cloud_api.kit.errors import Invalid
from cloud_api.kit.i18n import Text

ROWS_MAX = 200_000
ERRORS_MAX = 200  # More of the same help nobody.
_UNPACKED_BYTES_MAX = 200 * 1024**2
_ENERGY = "active_energy_import"
_HEADERS = {
    "meter": ("meter", "meter code", "code", "表号", "表计", "电表"),
    "at": ("time", "at", "taken_at", "timestamp", "date", "时间", "抄表时间", "日期"),
    "value": ("value", "reading", "读数", "示数", "表底"),
    "quantity": ("quantity", "register", "量", "寄存器"),
}
_NEM12_ZONE = timezone(timedelta(hours=10))  # AEMO: market time, without daylight saving.
_NEM12_QUANTITIES = {"E": _ENERGY, "B": "active_energy_export", "Q": "reactive_energy_import"}
_ESPI = "{http://naesb.org/espi}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One reading of a file; `line` names its place for people."""

    line: int
    meter: str
    quantity: str
    taken_at: datetime
    value: Decimal
    quality: str = "actual"
    interval_from: datetime | None = None  # Set when the value is what was used since then.


@dataclass(frozen=True, slots=True, kw_only=True)
class RowError:
    """Why a row was not read."""

    line: int
    reason: Text


@dataclass(slots=True, kw_only=True)
class ParsedFile:
    """What a file says."""

    format: str
    rows: list[Row] = field(default_factory=list)
    errors: list[RowError] = field(default_factory=list)

    def refuse(self, line: int, reason: Text) -> None:
        """Note a row that cannot be read."""
        if len(self.errors) < ERRORS_MAX:
            self.errors.append(RowError(line=line, reason=reason))


class RowRefused(Invalid):
    """A row cannot be read."""

    code = "row_refused"


class FileUnreadable(Invalid):
    """The file is none of CSV, Excel, NEM12 or Green Button."""

    code = "file_unreadable"


def parse(name: str, content: bytes, *, zone: ZoneInfo, default_meter: str = "") -> ParsedFile:
    """Read a file by what it contains, not by its name; local times are `zone`'s. Raises FileUnreadable."""
    if content[:4] == b"PK\x03\x04":
        return _table(ParsedFile(format="excel"), _excel_rows(content), zone, default_meter)
    text = _text(name, content)
    if text.lstrip()[:5] == "<?xml" or "<feed" in text[:2000] or "espi" in text[:2000]:
        return _green_button(content, default_meter)
    if text[:3] in {"100", "200"} and "," in text[:20]:
        return _nem12(text)
    return _table(ParsedFile(format="csv"), _csv_rows(text), zone, default_meter)


def _text(name: str, content: bytes) -> str:
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text
    raise FileUnreadable("{name}: is neither text nor an Excel workbook (.xlsx)", name=name)


def _csv_rows(text: str) -> Iterator[list[Any]]:
    head = text[:4096]
    delimiter = max(",;\t", key=head.count)
    try:
        yield from csv.reader(io.StringIO(text), delimiter=delimiter)
    except csv.Error as error:
        raise FileUnreadable("the CSV cannot be read: {problem}", problem=error) from error


def _excel_rows(content: bytes) -> Iterator[list[Any]]:
    import openpyxl

    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if sum(item.file_size for item in archive.infolist()) > _UNPACKED_BYTES_MAX:
                raise FileUnreadable("the workbook unpacks to more than {mib} MiB", mib=_UNPACKED_BYTES_MAX // 1024**2)
        book = openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=True)
        for row in book.worksheets[0].iter_rows(values_only=True):
            yield list(row)
    except (zipfile.BadZipFile, KeyError, ValueError, OSError, IndexError) as error:
        raise FileUnreadable("the workbook cannot be read: {problem}", problem=error) from error


def _table(parsed: ParsedFile, rows: Iterable[list[Any]], zone: ZoneInfo, default_meter: str) -> ParsedFile:
    columns: dict[str, int] | None = None
    for line, cells in enumerate(rows, start=1):
        if not any(cell not in {None, ""} for cell in cells):
            continue
        if columns is None:
            columns = _columns(cells, default_meter)
            continue
        if len(parsed.rows) >= ROWS_MAX:
            raise FileUnreadable("more than {rows_max} rows; divide the file", rows_max=ROWS_MAX)
        try:
            parsed.rows.append(_row(line, cells, columns, zone, default_meter))
        except RowRefused as error:
            parsed.refuse(line, error.text)
    if columns is None:
        raise FileUnreadable("the file is empty")
    return parsed


def _columns(cells: list[Any], default_meter: str) -> dict[str, int]:
    found = {
        name: place
        for place, cell in enumerate(cells)
        for name, words in _HEADERS.items()
        if str(cell or "").strip().lower() in words
    }
    needed = {"at", "value"} | (set() if default_meter else {"meter"})
    if missing := needed - set(found):
        wanted = "; ".join(f"{name}: {', '.join(_HEADERS[name])}" for name in sorted(missing))
        raise FileUnreadable("the first row must name the columns; missing is {wanted}", wanted=wanted)
    return found


def _row(line: int, cells: list[Any], columns: dict[str, int], zone: ZoneInfo, default_meter: str) -> Row:
    def cell(name: str) -> Any:
        place = columns.get(name)
        return cells[place] if place is not None and place < len(cells) else None

    meter = str(cell("meter") or default_meter).strip()
    if not meter:
        raise RowRefused("the meter is missing")
    return Row(
        line=line,
        meter=meter,
        quantity=str(cell("quantity") or _ENERGY).strip(),
        taken_at=_instant(cell("at"), zone),
        value=_decimal(cell("value")),
    )


def _instant(value: Any, zone: ZoneInfo) -> datetime:
    if isinstance(value, datetime):
        found = value
    else:
        text = str(value or "").strip().replace("/", "-")
        try:
            found = datetime.fromisoformat(text)
        except ValueError:
            raise RowRefused("time: {text!r:.40} is not a date and time; write 2026-03-10 12:00", text=text) from None
    return (found if found.tzinfo else found.replace(tzinfo=zone)).astimezone(UTC)


def _decimal(value: Any) -> Decimal:
    text = repr(value) if isinstance(value, float) else str(value if value is not None else "").strip()
    try:
        found = Decimal(text.replace(" ", ""))
    except InvalidOperation:
        raise RowRefused("value: {text!r:.40} is not a number", text=text) from None
    if not found.is_finite() or found < 0 or found >= Decimal(10) ** 15:
        raise RowRefused("value: {text!r:.40} must be a number from 0 to below 10^15", text=text)
    if isinstance(exponent := found.normalize().as_tuple().exponent, int) and exponent < -9:
        raise RowRefused("value: {text!r:.40} has more than nine decimals", text=text)
    return found


def _nem12(text: str) -> ParsedFile:
    from nemreader import NEMFile

    parsed = ParsedFile(format="nem12")
    try:
        readings = NEMFile("upload").parse_nem_file(text.splitlines(), "upload").readings
    except Exception as error:
        # The library raises whatever its parsing meets; the file is at fault in each case.
        raise FileUnreadable("the NEM12 file cannot be read: {problem}", problem=error) from error
    for nmi, channels in readings.items():
        for channel, intervals in channels.items():
            quantity = _NEM12_QUANTITIES.get(channel[:1])
            if quantity is None:
                parsed.refuse(0, Text("{nmi} {channel}: this kind of channel is not known", nmi=nmi, channel=channel))
                continue
            for number, interval in enumerate(intervals, start=1):
                _add_interval(
                    parsed,
                    number,
                    nmi,
                    quantity,
                    interval.t_start.replace(tzinfo=_NEM12_ZONE),
                    interval.t_end.replace(tzinfo=_NEM12_ZONE),
                    lambda i=interval: _kilo(_decimal(i.read_value), i.uom),
                    "actual" if (interval.quality_method or "A")[0] == "A" else "estimated",
                )
    return parsed


def _green_button(content: bytes, default_meter: str) -> ParsedFile:
    from lxml import etree

    if not default_meter:
        raise FileUnreadable("a Green Button file does not name our meter: choose the meter it belongs to")
    parser = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=False)
    try:
        root = etree.fromstring(content, parser)
    except etree.XMLSyntaxError as error:
        raise FileUnreadable("the Green Button file cannot be read: {problem}", problem=error) from error
    power = int(root.findtext(f".//{_ESPI}powerOfTenMultiplier") or 0)
    if (unit := root.findtext(f".//{_ESPI}ReadingType/{_ESPI}uom") or "72") != "72":
        raise FileUnreadable("the Green Button file measures unit {unit}; only Wh (72) is understood", unit=unit)
    parsed = ParsedFile(format="green_button")
    for number, reading in enumerate(root.iter(f"{_ESPI}IntervalReading"), start=1):
        try:
            begin = datetime.fromtimestamp(int(reading.findtext(f"{_ESPI}timePeriod/{_ESPI}start") or ""), UTC)
            length = timedelta(seconds=int(reading.findtext(f"{_ESPI}timePeriod/{_ESPI}duration") or ""))
            value = reading.findtext(f"{_ESPI}value")
        except (ValueError, OverflowError, OSError) as error:
            parsed.refuse(number, Text("start and duration must be seconds: {problem}", problem=error))
            continue
        _add_interval(
            parsed, number, default_meter, _ENERGY, begin, begin + length,
            lambda v=value: _kilo(_decimal(v).scaleb(power), "wh"), "actual",
        )  # fmt: skip
    return parsed


def _add_interval(
    parsed: ParsedFile,
    line: int,
    meter: str,
    quantity: str,
    begin: datetime,
    end: datetime,
    value: Callable[[], Decimal],
    quality: str,
) -> None:
    if len(parsed.rows) >= ROWS_MAX:
        raise FileUnreadable("more than {rows_max} intervals; divide the file", rows_max=ROWS_MAX)
    try:
        used = value()
    except RowRefused as error:
        parsed.refuse(line, error.text)
        return
    parsed.rows.append(
        Row(
            line=line,
            meter=meter,
            quantity=quantity,
            taken_at=end.astimezone(UTC),
            value=used,
            quality=quality,
            interval_from=begin.astimezone(UTC),
        )
    )


def _kilo(value: Decimal, unit: str) -> Decimal:
    """Return kWh or kvarh; labels vary in capitals between senders."""
    prefix = unit.strip().lower()
    if prefix in {"kwh", "kvarh"}:
        return value
    if prefix in {"wh", "varh"}:
        return value.scaleb(-3)
    if prefix in {"mwh", "mvarh"}:
        return value.scaleb(3)
    raise RowRefused("the unit {unit!r:.20} is not known", unit=unit)
