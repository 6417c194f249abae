"""Intervals as files: CSV, Excel, Parquet, Green Button (ESPI). Pure."""

import csv
import io
from collections.abc import Sequence
from decimal import Decimal
from typing import Literal
from zoneinfo import ZoneInfo

from cloud_api.metering.model import Meter, MeterInterval

Format = Literal["csv", "xlsx", "parquet", "xml"]
MEDIA_TYPES: dict[Format, str] = {
    "csv": "text/csv; charset=utf-8",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "parquet": "application/vnd.apache.parquet",
    "xml": "application/atom+xml",
}
HEADER = ("meter", "starts_at", "ends_at", "quantity_kwh", "quality")
_ATOM, _ESPI = "{http://www.w3.org/2005/Atom}", "{http://naesb.org/espi}"
_ESPI_QUALITY = {"actual": 17, "estimated": 9, "edited": 7, "missing": 10}


def export(meter: Meter, intervals: Sequence[MeterInterval], form: Format) -> bytes:
    """Return the intervals of one meter in a format; times are the site's local times with their offset."""
    if form == "csv":
        return _csv(meter, intervals)
    if form == "xlsx":
        return _excel(meter, intervals)
    return _parquet(meter, intervals) if form == "parquet" else _green_button(meter, intervals)


def _lines(
    meter: Meter, intervals: Sequence[MeterInterval], zone: ZoneInfo
) -> list[tuple[str, str, str, Decimal, str]]:
    return [
        (
            meter.code,
            i.starts_at.astimezone(zone).isoformat(),
            i.ends_at.astimezone(zone).isoformat(),
            i.quantity,
            i.quality,
        )
        for i in intervals
    ]


def _csv(meter: Meter, intervals: Sequence[MeterInterval]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(HEADER)
    writer.writerows((*line[:3], f"{line[3]:f}", line[4]) for line in _lines(meter, intervals, meter.zone))
    return b"\xef\xbb\xbf" + text.getvalue().encode()  # Excel takes UTF-8 for UTF-8 only after this mark.


def _excel(meter: Meter, intervals: Sequence[MeterInterval]) -> bytes:
    import openpyxl

    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet(meter.code[:31] or "intervals")
    sheet.append(list(HEADER))
    for i in intervals:
        start, end = (at.astimezone(meter.zone).replace(tzinfo=None) for at in (i.starts_at, i.ends_at))
        # Excel keeps doubles only; the exact decimal stands beside it as text.
        sheet.append([meter.code, start, end, float(i.quantity), i.quality, f"{i.quantity:f}"])
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


def _parquet(meter: Meter, intervals: Sequence[MeterInterval]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    instants = pa.timestamp("ms", tz=str(meter.zone))
    table = pa.table(
        {
            "meter": pa.array([meter.code] * len(intervals), pa.dictionary(pa.int32(), pa.string())),
            "starts_at": pa.array([i.starts_at for i in intervals], instants),
            "ends_at": pa.array([i.ends_at for i in intervals], instants),
            "quantity_kwh": pa.array([i.quantity.quantize(Decimal("1e-12")) for i in intervals], pa.decimal128(38, 12)),
            "quality": pa.array([i.quality for i in intervals], pa.dictionary(pa.int32(), pa.string())),
        }
    )
    file = io.BytesIO()
    pq.write_table(table, file)
    return file.getvalue()


def _green_button(meter: Meter, intervals: Sequence[MeterInterval]) -> bytes:
    from lxml import etree

    feed = etree.Element(f"{_ATOM}feed", nsmap={"espi": _ESPI[1:-1]})

    def add(parent: etree._Element, tag: str, text: str | None = None) -> etree._Element:
        child = etree.SubElement(parent, tag)
        child.text = text
        return child

    def content(title: str) -> etree._Element:
        entry = add(feed, f"{_ATOM}entry")
        add(entry, f"{_ATOM}title", title)
        return add(entry, f"{_ATOM}content")

    add(feed, f"{_ATOM}title", meter.name_en)
    reading_type = add(content("ReadingType"), f"{_ESPI}ReadingType")
    seconds = {int((i.ends_at - i.starts_at).total_seconds()) for i in intervals}
    # ESPI knows one length per reading type and lets it be left out; each reading says its own duration.
    length = (("intervalLength", str(*seconds)),) if len(seconds) == 1 else ()
    # Thousandths of a watt hour: six decimals of a kWh fit exactly.
    for name, value in (("accumulationBehaviour", "4"), ("commodity", "1"), ("flowDirection", "1"), *length,
                        ("powerOfTenMultiplier", "-3"), ("uom", "72")):  # fmt: skip
        add(reading_type, f"{_ESPI}{name}", value)
    block = add(content(meter.code), f"{_ESPI}IntervalBlock")
    for i in intervals:
        reading = add(block, f"{_ESPI}IntervalReading")
        add(add(reading, f"{_ESPI}ReadingQuality"), f"{_ESPI}quality", str(_ESPI_QUALITY[i.quality]))
        period = add(reading, f"{_ESPI}timePeriod")
        add(period, f"{_ESPI}duration", str(int((i.ends_at - i.starts_at).total_seconds())))
        add(period, f"{_ESPI}start", str(int(i.starts_at.timestamp())))
        add(reading, f"{_ESPI}value", str(int(i.quantity * 1_000_000)))
    return etree.tostring(feed, xml_declaration=True, encoding="UTF-8")
