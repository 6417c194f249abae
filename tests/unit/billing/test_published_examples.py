"""Prices, ratios and rules as their documents print them, each with the document; the arithmetic is written out.

No complete published Zhejiang time-of-use bill, and no regulator's example of the 105 % overrun, is known to us: those
rules are tested by their wording (test_rating.py), and a real bill of the building decides before use. Nor is a worked
bill of Hydro-Québec's rate M known: its rule is quoted and the arithmetic is ours. What a tariff file cannot say: a demand
of 90 % of the kVA, a rate of VAT that depends on the use (de minimis), gas in m3 priced per kWh by its calorific value, and
a cap that holds for each tenant (Mieterstrom, § 42a EnWG; Swiss ZEV, art. 16 EnV). So there is no example of those here.
"""

from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_api.billing import rating
from cloud_api.billing.charge import Cycle, Facts, Slice, Usage
from cloud_api.billing.cli import TEMPLATES
from cloud_api.billing.degree_days import degree_day_share
from cloud_api.billing.demand import billing_demand
from cloud_api.billing.power_factor import adjustment_percent
from cloud_api.billing.tariff import Demand, Ratchet
from cloud_api.billing.tariff_file import load_tariff
from tests.unit.billing.conftest import month

LABEL = "name: {zh: 项, en: Item}"


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


# --- North America ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("billed_month", "measured", "billed"),
    [
        (7, "300", "650"),  # 65 % of the 1000 kW of February.
        (7, "700", "700"),
        (1, "300", "650"),  # February of the year before is still one of the twelve.
        (3, "300", "325"),  # It is not any more: 65 % of January's 500 kW.
    ],
)
def test_hydro_quebec_rate_m_bills_at_least_65_percent_of_the_winter_maximum(tariff, billed_month, measured, billed):
    # hydroquebec.com, Helping you understand your electricity rate: minimum billing demand is 65 % of the maximum demand
    # of a winter period (December to March) within the twelve monthly periods that end with the billed one. Only the rule
    # is published, the kW are ours. The other half of the rule, 90 % of the kVA, is not said by a tariff file: the ledger
    # holds no kVA maxima.
    demand = "demand: {rule: ratchet, ratchet: {percent: 65, months_back: 11, months: [12, 1, 2, 3]}}"
    made = tariff(f"- {{code: d, {LABEL}, kind: demand, price: 1, {demand}}}")
    year = 2026 if billed_month > 3 else 2027
    winter = {date(2026, 2, 1): Decimal(1000), date(2027, 1, 1): Decimal(500), date(2026, 6, 1): Decimal(5000)}
    earlier = {first: _peak(kw) for first, kw in winter.items() if first < date(year, billed_month, 1)}
    assert total(made, month(year, billed_month), _peak(Decimal(measured)), Facts(earlier=earlier)) == Decimal(billed)


def _peak(kw):
    return Usage(feeds=({"all": [kw]},))


# --- United Kingdom ---------------------------------------------------------------------------------------------------


def test_uk_vat_is_charged_on_the_climate_change_levy_and_at_two_rates_on_a_mixed_supply(tariff):
    # Oracle Utilities, UK VAT and CCL bill examples, example 3 (docs.oracle.com, C1_03Finan_Example_3_Account_with_VAT_Decl):
    # 2,000 units at 10p, standing charge 10.00, 20 % domestic use. CCL 0.43p on 1,600 units = 6.88; VAT 17.5 % on 174.88 =
    # 30.60, 5 % on 42.00 = 2.10; total 249.58. (Left out: example 2 prints 10.05 for 5 % of 210.00, and example 4 rounds
    # 30.485 down to 30.48, where we round half-up.)
    made = tariff(f"""
- {{code: standing, {LABEL}, kind: fixed, price: 8, vat_rate: 0.175, tax_included: false}}
- {{code: units, {LABEL}, kind: energy, price: 0.08, vat_rate: 0.175, tax_included: false}}
- {{code: ccl, {LABEL}, kind: energy, price: 0.00344, vat_rate: 0.175, tax_included: false}}
- {{code: standing-domestic, {LABEL}, kind: fixed, price: 2, vat_rate: 0.05, tax_included: false}}
- {{code: units-domestic, {LABEL}, kind: energy, price: 0.02, vat_rate: 0.05, tax_included: false}}
""")
    usage = Usage(slices=(Slice(version="v1", bucket="all", quantity=Decimal(2000)),))
    rated = rating.rate(made, month(2026, 6), usage)
    assert str(rated.total) == "249.58"
    assert {str(g.rate): (str(g.net), str(g.tax)) for g in rated.vat} == {
        "0.175": ("174.88", "30.60"),
        "0.05": ("42.00", "2.10"),
    }
    assert next(line.amount for line in rated.lines if line.component == "ccl") == Decimal("6.88")


# --- Germany -----------------------------------------------------------------------------------------------------------


def test_heating_is_divided_at_a_change_of_tenant_by_the_degree_days_of_vdi_2067(tariff):
    # hilfe.immobilien.software, Gradtagszahlen: basic costs of the flat 186.18 EUR a year; one tenant to 14 March,
    # the next from the 15th. Published: 70.51 and 115.67.
    made = tariff(f"- {{code: basic, {LABEL}, kind: fixed, price: 186.18, day_count: degree_days}}")

    def owed(first, after):
        cycle = Cycle(starts_on=date(2023, 1, 1), ends_on=date(2024, 1, 1), billed_from=first, billed_to=after)
        return str(total(made, cycle, Usage()))

    moved = date(2023, 3, 15)
    assert (owed(date(2023, 1, 1), moved), owed(moved, date(2024, 1, 1))) == ("70.51", "115.67")
    assert owed(date(2023, 1, 1), date(2024, 1, 1)) == "186.18"


@given(st.dates(date(2020, 1, 1), date(2030, 12, 31)), st.integers(0, 365))
def test_the_degree_days_of_a_year_are_one_whole_wherever_it_is_cut(day, length):
    cut = min(day + timedelta(days=length), date(day.year + 1, 1, 1))
    parts = [(date(day.year, 1, 1), day), (day, cut), (cut, date(day.year + 1, 1, 1))]
    assert sum(degree_day_share(first, after) for first, after in parts) == 1
