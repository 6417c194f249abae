import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from typer.testing import CliRunner

from cloud_api.billing import what_if
from cloud_api.billing.charge import Facts
from cloud_api.billing.cli import tariff_app
from cloud_api.billing.load_csv import LoadInvalid, parse_load
from cloud_api.billing.tariff_file import load_tariff
from tests.unit.billing.conftest import SHANGHAI, flat_load
from tests.unit.billing.test_tariff_file import TEMPLATES

BERLIN = ZoneInfo("Europe/Berlin")
PATHS: dict[str, Path] = {p.stem: p for p in TEMPLATES}


def test_a_month_is_cut_in_local_time_and_its_bucket_energy_sums_to_the_load(china):
    tariff = load_tariff(PATHS["zhejiang-2026-demo"]).tariff
    months = what_if.rate_months(tariff, china, flat_load("2026-06-01", "2026-08-01"), Facts())
    assert [(m.month, m.quantity) for m in months] == [("2026-06", 30 * 96), ("2026-07", 31 * 96)]
    july = {x.bucket: x.quantity for x in months[1].rated.lines if x.component == "purchase"}
    assert july == {"valley": 31 * 40, "flat": 31 * 28, "peak": 31 * 12, "sharp": 31 * 16}


def test_a_tariff_change_inside_a_month_splits_lines_at_local_midnight(china, tariff):
    from dataclasses import replace

    made = tariff(
        "- {code: e, name: {zh: a, en: b}, kind: energy, price: 1}\n- {code: f, name: {zh: a, en: b}, kind: fixed, price: 30}"
    )
    first = made.versions[0]
    cut = datetime(2026, 6, 16, tzinfo=UTC).date()
    dearer = replace(
        first, version="v2", valid_from=cut, components=tuple(replace(c, price=c.price * 2) for c in first.components)
    )
    made = replace(made, versions=(replace(first, valid_to=cut), dearer))
    (june,) = what_if.rate_months(made, china, flat_load("2026-06-01", "2026-07-01"), Facts())
    assert [(x.version, x.component, str(x.amount)) for x in june.rated.lines] == [
        ("v1", "e", "1440.00"), ("v1", "f", "15.00"), ("v2", "e", "2880.00"), ("v2", "f", "30.00"),
    ]  # fmt: skip


def test_yearly_steps_count_the_months_before(china):
    tariff = load_tariff(PATHS["zhejiang-residential"]).tariff
    months = what_if.rate_months(tariff, china, flat_load("2026-01-01", "2026-03-01"), Facts())
    tiers = [[(x.tier, x.bucket, x.quantity) for x in m.rated.lines] for m in months]
    assert {t for t, _, _ in tiers[0]} == {1, 2}  # 2976 kWh in January pass 2760.
    assert sum(q for t, _, q in tiers[0] if t == 1) == 2760
    assert sum(q for t, _, q in tiers[1] if t == 2) == 4800 - 2976


def test_an_unpublished_calendar_year_is_computed_but_not_issuable(china):
    tariff = load_tariff(PATHS["zhejiang-2026-demo"]).tariff
    (month,) = what_if.rate_months(tariff, china, flat_load("2027-01-01", "2027-02-01"), Facts())
    assert [i.code for i in month.issues] == ["calendar_missing"]
    assert month.rated.total > 0


def test_a_hole_in_the_load_is_named_and_not_priced_as_zero(china):
    tariff = load_tariff(PATHS["single-price"]).tariff
    load = parse_load(["start,kwh\n", "2026-07-01 00:00,1\n", "2026-07-01 00:15,1\n", "2026-07-01 01:00,1\n"], SHANGHAI)
    (month,) = what_if.rate_months(tariff, china, load, Facts())
    (issue,) = month.issues
    assert issue.code == "gap"
    assert "2026-07-01 00:30 to 2026-07-01 01:00" in str(issue.text)


def test_an_interval_across_a_price_edge_is_split_by_time_and_loses_nothing(china, tariff):
    made = tariff(
        "- {code: e, name: {zh: a, en: b}, kind: energy, prices: {a: 1, b: 2}}",
        more='windows:\n  - {bucket: a, hours: ["00:00-10:20"]}\n  - {bucket: b, hours: ["10:20-24:00"]}',
    )
    (month,) = what_if.rate_months(
        made, china, flat_load("2026-07-01 10:00", "2026-07-01 11:00", kwh="7", minutes=60), Facts()
    )
    lines = {x.bucket: x.quantity for x in month.rated.lines}
    assert lines["a"] + lines["b"] == 7
    assert round(lines["a"], 6) == Decimal("2.333333")
    assert "interval_split" in [i.code for i in month.issues]


def test_local_times_of_an_autumn_hour_that_comes_twice_are_read_in_order():
    rows = [f"2026-10-25 {h:02d}:00,1\n" for h in (0, 1, 2, 2, 3)]
    load = parse_load(["start,kwh\n", *rows], BERLIN)
    assert [b.start - a.start for a, b in zip(load.intervals, load.intervals[1:], strict=False)] == [
        timedelta(hours=1)
    ] * 4


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("2026-03-29 02:30,1", "line 3: 2026-03-29 02:30 does not exist in Europe/Berlin"),
        ("2026-03-29 01:15,-1", "line 3: kwh -1 is negative"),
        ("2026-03-29 01:15,", "line 3: kwh is empty"),
        ("2026-03-29 01:15,NaN", "line 3: kwh NaN is not a number"),
        ("2026-03-29 01:15,1e400x", "is not a number"),
        ("yesterday,1", "line 3: 'yesterday' is not a time"),
        ("2026-03-29 01:00,1", "stands there twice"),
        ("2026-03-29 00:45,1", "is earlier than the line before"),
    ],
)
def test_a_wrong_row_is_refused_with_its_line(row, words):
    with pytest.raises(LoadInvalid, match="problem") as refused:
        parse_load(["start,kwh\n", "2026-03-29 01:00,1\n", row + "\n"], BERLIN)
    assert words in str(refused.value)


def test_a_load_with_offsets_and_one_in_local_time_are_the_same():
    local = parse_load(["start,kwh\n", "2026-07-01 00:00,1\n", "2026-07-01T00:15,2\n"], SHANGHAI)
    offset = parse_load(["start;kwh\n", "2026-06-30T16:00Z;1\n", "2026-07-01T00:15+08:00;2\n"], BERLIN)
    assert local == offset


def test_the_command_rates_a_file_and_prints_json_that_adds_up(tmp_path):
    file = tmp_path / "load.csv"
    file.write_text(
        "start,kwh\n" + "".join(f"2026-07-{d:02d} {h:02d}:00,{h}.5\n" for d in range(1, 32) for h in range(24))
    )
    result = CliRunner().invoke(tariff_app, ["rate", "zhejiang-2026-demo", "--intervals", str(file), "--json"])
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    (july,) = found["months"]
    assert found["issuable"] is True
    assert sum(Decimal(x["amount"]) for x in july["lines"]) == Decimal(july["total"]) == Decimal(found["total"])
    assert (
        sum(Decimal(x["quantity"]) for x in july["lines"] if x["component"] == "purchase")
        == Decimal(july["quantity"])
        == 31 * 288
    )


def test_the_command_refuses_a_broken_file_with_its_reasons(tmp_path):
    file = tmp_path / "t.yaml"
    file.write_text("tariff: t\nname: {zh: a, en: b}\nversions:\n  - {version: 1, valid_from: 2026-01-01}\n")
    result = CliRunner().invoke(tariff_app, ["check", str(file)])
    assert result.exit_code == 1
    assert "there are no components" in result.stderr
