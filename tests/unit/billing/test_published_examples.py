"""Prices, ratios and rules as their documents print them, each with the document; the arithmetic is written out.

No complete published Zhejiang time-of-use bill, and no regulator's example of the 105 % overrun, is known to us: those
rules are tested by their wording (test_rating.py), and a real bill of the building decides before use.
"""

from datetime import date
from decimal import Decimal

import pytest

from cloud_api.billing import rating
from cloud_api.billing.charge import Facts, Slice, Usage
from cloud_api.billing.cli import TEMPLATES
from cloud_api.billing.demand import billing_demand
from cloud_api.billing.power_factor import adjustment_percent
from cloud_api.billing.tariff import Demand, Ratchet
from cloud_api.billing.tariff_file import load_tariff
from tests.unit.billing.conftest import month


def template(name):
    return load_tariff(TEMPLATES / f"{name}.yaml").tariff


def total(tariff, cycle, usage, facts=None):
    return rating.rate(tariff, cycle, usage, facts).total


def used(version, **buckets):
    return Usage(slices=tuple(Slice(version=version, bucket=b, quantity=Decimal(q)) for b, q in buckets.items()))


@pytest.mark.parametrize(
    ("before", "peak", "valley", "owed"),
    [
        # 浙江省物价局, 居民峰谷阶梯电价: 0.568 and 0.288 up to 2760 kWh of the calendar year, +0.05 up to 4800, +0.30 above.
        ("0", "100", "50", "71.20"),  # 100 x 0.568 + 50 x 0.288
        ("2760", "100", "50", "78.70"),  # 100 x 0.618 + 50 x 0.338
        ("4800", "100", "50", "116.20"),  # 100 x 0.868 + 50 x 0.588
        ("2700", "100", "0", "58.80"),  # 60 x 0.568 + 40 x 0.618
    ],
)
def test_zhejiang_residential_steps_of_the_calendar_year(before, peak, valley, owed):
    facts = Facts(used_before={"*": Decimal(before)})
    tariff = template("zhejiang-residential")
    assert str(total(tariff, month(2026, 7), used("demo", peak=peak, valley=valley), facts)) == owed


def test_luoyang_heat_in_two_parts():
    # 洛阳两部制热价 (yzzsnet.com/techan/117171.html): 0.054 per m2 and day, and 0.142 per kWh of heat.
    usage = Usage(slices=(Slice(version="demo", bucket="all", quantity=Decimal(1500)),))
    owed = total(template("heat-two-part"), month(2026, 1), usage, Facts(capacity_kva=Decimal(100)))
    assert str(owed) == "380.40"  # 100 x 31 x 0.054 = 167.40, and 1500 x 0.142 = 213.00


def test_zhejiang_2026_ratios_of_the_floating_part():
    # 浙发改价格〔2026〕112号: valley 0.4, flat 1, peak 1.85, sharp 2.05, deep valley 0.2 of the flat price. The prices are
    # demonstration prices: 100 kWh x 0.4520 x ratio.
    tariff = template("zhejiang-2026-demo")
    owed = {"valley": "18.08", "flat": "45.20", "peak": "83.62", "sharp": "92.66", "deep": "9.04"}
    for bucket, amount in owed.items():
        rated = rating.rate(tariff, month(2026, 8), used("2026-demo", **{bucket: "100"}))
        assert [str(x.amount) for x in rated.lines if x.component == "purchase"] == [amount]
    assert tariff.versions[-1].valid_from == date(2026, 7, 1)


def test_the_ratchet_of_the_feds_manual_takes_80_percent_of_the_highest_of_eleven_months():
    # PNNL, FEDS frequently asked questions: billed demand is the greater of the actual and 80 % of the highest demand
    # of the previous eleven months.
    demand = Demand(rule="ratchet", ratchet=Ratchet(percent=Decimal(80), months_back=11))
    before = [Decimal(500), Decimal(420)]
    assert billing_demand(demand, [{"all": [Decimal(300)]}], previous_kw=before).billed_kw == 400
    assert billing_demand(demand, [{"all": [Decimal(450)]}], previous_kw=before).billed_kw == 450


def test_the_power_factor_table_of_1983_has_one_row_for_every_hundredth():
    # (83)水电财字第215号 功率因数调整电费办法 (copy: wgbc.cn/zxjs/205.html): steps of the published columns.
    for standard, neutral in (("0.90", "0.90"), ("0.85", "0.85"), ("0.80", "0.80")):
        assert adjustment_percent(Decimal(neutral), Decimal(standard)) == 0
        rows = [adjustment_percent(Decimal(n) / 100, Decimal(standard)) for n in range(101)]
        assert len(rows) == 101
        assert rows == sorted(rows, reverse=True)
    published = {"0.93": "-0.45", "0.89": "0.5", "0.70": "10", "0.69": "11", "0.65": "15", "0.64": "17", "0.50": "45"}
    assert {pf: adjustment_percent(Decimal(pf), Decimal("0.90")) for pf in published} == {
        pf: Decimal(percent) for pf, percent in published.items()
    }
