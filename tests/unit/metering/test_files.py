import io
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import openpyxl
import pyarrow.parquet as pq
import pytest

from cloud_api.metering.exports import export
from cloud_api.metering.lengths import Lengths
from cloud_api.metering.model import Meter, MeterInterval
from cloud_api.metering.reading_files import FileUnreadable, parse

ZONE = ZoneInfo("Asia/Shanghai")
NOON = datetime(2026, 3, 10, 4, tzinfo=UTC)

NEM12 = """100,NEM12,200506081149,UNITEDDP,NEMMCO
200,NCDE001111,E1,E1,E1,N1,METSER123,kWh,30,20050610
300,20050301,{values},A,,,20050310121004,20050310182204
900
""".format(values=",".join(["0.5"] * 47 + ["1.25"]))

GREEN_BUTTON = """<?xml version="1.0"?><feed xmlns="http://www.w3.org/2005/Atom" xmlns:espi="http://naesb.org/espi">
<entry><content><espi:ReadingType><espi:powerOfTenMultiplier>-3</espi:powerOfTenMultiplier><espi:uom>72</espi:uom></espi:ReadingType></content></entry>
<entry><content><espi:IntervalBlock><espi:IntervalReading><espi:timePeriod><espi:duration>900</espi:duration>
<espi:start>1773115200</espi:start></espi:timePeriod><espi:value>1500500</espi:value></espi:IntervalReading></espi:IntervalBlock></content></entry></feed>"""


@pytest.mark.parametrize(
    "text",
    [
        "meter,time,value\nm1,2026-03-10 12:00,12345.678\n",
        "表号;抄表时间;读数\nm1;2026/03/10 12:00;12345.678\n",
        "code\tat\tvalue\nm1\t2026-03-10T12:00:00+08:00\t12 345.678\n",
    ],
)
def test_a_table_of_readings_is_read_in_either_language_and_with_any_delimiter(text):
    for encoding in ("utf-8-sig", "gb18030"):
        [row] = parse("x.csv", text.encode(encoding), zone=ZONE).rows
        assert (row.meter, row.taken_at, row.value) == ("m1", NOON, Decimal("12345.678"))


def test_a_wrong_row_is_named_and_the_others_are_read():
    text = "meter,time,value\nm1,2026-03-10 12:00,1\n,2026-03-10,1\nm1,tomorrow,1\nm1,2026-03-10 13:00,many\nm1,2026-03-10 14:00,-1\n"
    parsed = parse("x.csv", text.encode(), zone=ZONE)
    assert len(parsed.rows) == 1
    assert [e.line for e in parsed.errors] == [3, 4, 5, 6]


def test_an_excel_workbook_is_read_like_a_table():
    book = openpyxl.Workbook()
    book.active.append(["表号", "时间", "读数"])
    book.active.append(["m1", datetime(2026, 3, 10, 12), 12345.678])  # noqa: DTZ001  # Excel has no zones.
    file = io.BytesIO()
    book.save(file)
    [row] = parse("x.xlsx", file.getvalue(), zone=ZONE).rows
    assert (row.taken_at, row.value) == (NOON, Decimal("12345.678"))


def test_nem12_gives_intervals_in_market_time():
    parsed = parse("x", NEM12.encode(), zone=ZONE)
    assert (len(parsed.rows), sum(row.value for row in parsed.rows)) == (48, Decimal("24.75"))
    assert parsed.rows[0].interval_from == datetime(2005, 2, 28, 14, tzinfo=UTC)
    assert {row.meter for row in parsed.rows} == {"NCDE001111"}


def test_green_button_gives_intervals_in_kwh():
    [row] = parse("x.xml", GREEN_BUTTON.encode(), zone=ZONE, default_meter="m1").rows
    assert (row.value, row.taken_at - row.interval_from) == (Decimal("1.5005"), timedelta(minutes=15))


@pytest.mark.parametrize(
    "content",
    [b"", b"\0\1\2\3", b"a,b\n1,2\n", b"PK\x03\x04broken", b"<?xml version='1.0'?><feed", b"100,NEM12\n300,x",
     b"<?xml version='1.0'?><!DOCTYPE f [<!ENTITY a 'b'>]><feed>&a;</feed>" * 2],
)  # fmt: skip
def test_what_is_no_file_of_readings_is_refused_in_words(content):
    with pytest.raises(FileUnreadable):
        parse("x", content, zone=ZONE, default_meter="m1" if content.startswith(b"<") else "")


METER = Meter(
    id=1, site_id=1, parent_meter_id=None, code="m1", name_zh="表", name_en="Meter", utility="electricity",
    use="tenant", lengths=Lengths.always(15), zone=ZONE,
)  # fmt: skip
INTERVALS = [
    MeterInterval(
        meter_id=1, starts_at=NOON + n * timedelta(minutes=15), ends_at=NOON + (n + 1) * timedelta(minutes=15),
        quantity=Decimal("0.123456") + n, quality="actual",
    )
    for n in range(3)
]  # fmt: skip


def test_exports_hold_the_exact_quantities():
    assert "m1,2026-03-10T12:00:00+08:00,2026-03-10T12:15:00+08:00,0.123456,actual" in export(
        METER, INTERVALS, "csv"
    ).decode("utf-8-sig")
    table = pq.read_table(io.BytesIO(export(METER, INTERVALS, "parquet"))).to_pylist()
    assert [row["quantity_kwh"] for row in table] == [i.quantity for i in INTERVALS]
    sheet = openpyxl.load_workbook(io.BytesIO(export(METER, INTERVALS, "xlsx"))).worksheets[0]
    assert [row[5] for row in sheet.iter_rows(min_row=2, values_only=True)] == ["0.123456", "1.123456", "2.123456"]


def test_an_exported_green_button_file_can_be_imported_again():
    rows = parse("x.xml", export(METER, INTERVALS, "xml"), zone=ZONE, default_meter="m1").rows
    assert [(row.interval_from, row.value) for row in rows] == [(i.starts_at, i.quantity) for i in INTERVALS]
