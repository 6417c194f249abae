from datetime import date
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_api.billing import rating, vat
from cloud_api.billing.charge import Facts, Line, Slice, Usage, round_fraction
from cloud_api.billing.demand import billing_demand
from cloud_api.billing.power_factor import STANDARDS, adjustment_percent, power_factor
from cloud_api.billing.tariff import Demand, Tier, Tiers
from cloud_api.billing.tariff_file import parse_tariff
from cloud_api.billing.tiers import split
from tests.unit.billing.conftest import month

LABEL = "name: {zh: 电, en: e}"
SPLIT_TARIFF = parse_tariff(f"""
tariff: t
name: {{zh: 测, en: t}}
versions:
  - version: v1
    valid_from: 2020-01-01
    windows:
      - {{bucket: a, hours: ["00:00-12:00"]}}
      - {{bucket: b, hours: ["12:00-24:00"]}}
    components:
      - {{code: e, {LABEL}, kind: energy, prices: {{a: 0.3157, b: 1.0713}}, vat_rate: 0.13}}
      - {{code: f, {LABEL}, kind: fixed, price: 97.31}}
""").tariff


def used(**buckets):
    return Usage(slices=tuple(Slice(version="v1", bucket=b, quantity=Decimal(q)) for b, q in buckets.items()))


def amounts(rated):
    return {(line.component, line.bucket, line.tier): str(line.amount) for line in rated.lines}


def test_each_line_is_rounded_half_up_once_and_the_total_is_the_sum_of_the_lines(tariff):
    made = tariff(
        f"- {{code: e, {LABEL}, kind: energy, prices: {{a: 0.5, b: 0.5}}}}",
        more='windows:\n  - {bucket: a, hours: ["00:00-12:00"]}\n  - {bucket: b, hours: ["12:00-24:00"]}',
    )
    rated = rating.rate(made, month(2026, 7), used(a="52.25", b="167.09"))
    assert amounts(rated) == {("e", "a", None): "26.13", ("e", "b", None): "83.55"}  # 26.125 and 83.545
    assert str(rated.total) == "109.68"


def test_only_floating_components_follow_the_ratio_of_the_bucket(tariff):
    made = tariff(
        f"- {{code: e, {LABEL}, kind: energy, price: 0.6543, floats: true}}\n- {{code: t, {LABEL}, kind: energy, price: 0.2}}",
        more='buckets: {a: {ratio: 1.85}, b: {ratio: 0.4}}\nwindows:\n  - {bucket: a, hours: ["00:00-12:00"]}\n  - {bucket: b, hours: ["12:00-24:00"]}',
    )
    rated = rating.rate(made, month(2026, 7), used(a="100", b="100"))
    assert amounts(rated) == {("e", "a", None): "121.05", ("e", "b", None): "26.17", ("t", None, None): "40.00"}


@pytest.mark.parametrize(
    ("included", "lines_total", "net", "tax", "total"),
    [("true", "113.00", "100.00", "13.00", "113.00"), ("false", "113.00", "113.00", "14.69", "127.69")],
)
def test_vat_included_is_taken_out_and_vat_excluded_is_added_as_a_line(tariff, included, lines_total, net, tax, total):
    made = tariff(f"- {{code: e, {LABEL}, kind: energy, price: 1.13, vat_rate: 0.13, tax_included: {included}}}")
    rated = rating.rate(made, month(2026, 7), used(all="100"))
    (group,) = rated.vat
    assert (str(rated.lines[0].amount), str(group.net), str(group.tax), str(rated.total)) == (
        lines_total,
        net,
        tax,
        total,
    )


def test_a_monthly_charge_of_a_part_month_owes_its_days_of_the_full_cycle(tariff):
    made = tariff(f"- {{code: f, {LABEL}, kind: fixed, price: 310}}")
    rated = rating.rate(made, month(2026, 7, first=date(2026, 7, 11)), Usage())
    assert str(rated.total) == "210.00"


@pytest.mark.parametrize(
    ("first", "after", "owed"),
    [
        (date(2026, 7, 1), date(2026, 8, 1), "300.00"),
        (date(2026, 7, 11), date(2026, 8, 1), "210.00"),  # 21 days of 1/30
        (date(2026, 7, 1), date(2026, 7, 31), "300.00"),  # 30 days: never more than the month
        (date(2026, 2, 1), date(2026, 3, 1), "300.00"),  # A full February owes the full month.
        (date(2026, 2, 1), date(2026, 2, 28), "270.00"),
    ],
)
def test_the_basic_charge_counts_a_thirtieth_a_day_and_never_more_than_a_month(tariff, first, after, owed):
    made = tariff(f"- {{code: c, {LABEL}, kind: capacity, price: 30, day_count: thirtieth}}")
    cycle = month(first.year, first.month, first=first, after=after)
    assert str(rating.rate(made, cycle, Usage(), Facts(capacity_kva=Decimal(10))).total) == owed


def test_a_missing_capacity_is_an_issue_and_not_a_silent_zero(tariff):
    made = tariff(f"- {{code: c, {LABEL}, kind: capacity, price: 30}}")
    assert [i.code for i in rating.rate(made, month(2026, 7), Usage()).issues] == ["capacity_missing"]


def test_a_minimum_tops_up_what_was_charged(tariff):
    made = tariff(
        f"- {{code: e, {LABEL}, kind: energy, price: 1}}\n- {{code: m, {LABEL}, kind: min, price: 50, base_codes: e}}"
    )
    assert str(rating.rate(made, month(2026, 7), used(all="20")).total) == "50.00"
    assert str(rating.rate(made, month(2026, 7), used(all="70")).total) == "70.00"


def test_a_percentage_is_reckoned_from_the_printed_lines(tariff):
    made = tariff(
        f"- {{code: e, {LABEL}, kind: energy, price: 0.333}}\n- {{code: p, {LABEL}, kind: percent_of, percent: 10, base_codes: [e]}}"
    )
    assert str(rating.rate(made, month(2026, 7), used(all="1")).lines[1].amount) == "0.03"


# 浙江省物价局: steps of 2760 and 4800 kWh a year at 0.538, 0.588 and 0.838.
RESIDENTIAL = Tiers(
    steps=(
        Tier(up_to=Decimal(2760), price=Decimal("0.538")),
        Tier(up_to=Decimal(4800), price=Decimal("0.588")),
        Tier(price=Decimal("0.838")),
    ),
    period="year",
)


@pytest.mark.parametrize(
    ("before", "now", "parts"),
    [
        (0, 100, {1: 100}),
        (2700, 100, {1: 60, 2: 40}),
        (2760, 100, {2: 100}),
        (2700, 2200, {1: 60, 2: 2040, 3: 100}),
        (5000, 10, {3: 10}),
    ],
)
def test_steps_of_a_year_go_on_where_the_last_bill_ended(before, now, parts):
    found = split(RESIDENTIAL, [("all", Decimal(now))], before={"*": Decimal(before)})
    assert {p.tier: p.quantity for p in found} == parts


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.decimals(0, 3000, places=3)), max_size=12),
    st.integers(0, 12),
    st.sampled_from(["cumulative_sequential", "per_bucket"]),
)
def test_rating_in_two_parts_equals_rating_at_once_before_rounding(slices, at, basis):
    tiers = Tiers(steps=RESIDENTIAL.steps, basis=basis)

    def cost(portions):
        return sum((p.quantity * Fraction(tiers.steps[p.tier - 1].price) for p in portions), Fraction(0))

    first, second = slices[:at], slices[at:]
    before = {b: sum((q for x, q in first if x == b), Decimal(0)) for b in "ab"}
    whole = split(tiers, slices, before={})
    assert cost(split(tiers, first, before={})) + cost(split(tiers, second, before=before)) == cost(whole)
    assert sum((p.quantity for p in whole), Fraction(0)) == sum((Fraction(q) for _, q in slices), Fraction(0))


@given(st.lists(st.tuples(st.sampled_from("ab"), st.decimals(0, 3000, places=3)), min_size=1, max_size=8))
def test_proportional_steps_keep_each_buckets_energy(slices):
    tiers = Tiers(steps=RESIDENTIAL.steps, basis="proportional")
    for bucket in "ab":
        total = sum((Fraction(q) for b, q in slices if b == bucket), Fraction(0))
        assert sum((p.quantity for p in split(tiers, slices, before={}) if p.bucket == bucket), Fraction(0)) == total


@given(k=st.integers(1, 50), a=st.decimals(0, 9999, places=3), b=st.decimals(0, 9999, places=3))
def test_scaling_every_price_scales_every_unrounded_line(k, a, b):
    from cloud_api.billing.tariff_file import parse_tariff

    def made(factor):
        return parse_tariff(
            "tariff: t\nname: {zh: a, en: b}\nversions:\n  - version: v1\n    valid_from: 2020-01-01\n"
            '    windows:\n      - {bucket: a, hours: ["00:00-12:00"]}\n      - {bucket: b, hours: ["12:00-24:00"]}\n'
            f"    components:\n      - {{code: e, {LABEL}, kind: energy, prices: {{a: {3 * factor}, b: {7 * factor}}}}}\n"
            f"      - {{code: f, {LABEL}, kind: fixed, price: {11 * factor}}}\n"
        ).tariff

    usage = Usage(slices=(Slice(version="v1", bucket="a", quantity=a), Slice(version="v1", bucket="b", quantity=b)))
    cycle = month(2026, 7, first=date(2026, 7, 5))
    once, times = rating.rate(made(1), cycle, usage), rating.rate(made(k), cycle, usage)
    assert [line.amount_exact * k for line in once.lines] == [line.amount_exact for line in times.lines]


@given(
    st.lists(
        st.tuples(st.decimals(-500, 9000, places=2), st.sampled_from(["0", "0.06", "0.13"]), st.booleans()),
        min_size=1,
        max_size=15,
    )
)
def test_net_and_tax_make_gross_per_line_group_and_document(rows):
    lines = [
        Line(
            component=str(i),
            name=vat.VAT_LABEL,
            kind="energy",
            version="v1",
            starts_on=date(2026, 7, 1),
            ends_on=date(2026, 8, 1),
            quantity=Fraction(1),
            unit="",
            unit_price=None,
            amount_exact=Fraction(a),
            amount=a,
            vat_rate=Decimal(r),
            tax_included=inc,
        )
        for i, (a, r, inc) in enumerate(rows)
    ]
    rated = vat.close(lines)
    assert (
        rated.total
        == sum((line.amount for line in rated.lines), Decimal(0))
        == sum((g.gross for g in rated.vat), Decimal(0))
    )
    for group in rated.vat:
        assert group.net + group.tax == group.gross
        members = [
            x
            for x in rated.lines
            if x.kind != "vat" and (x.vat_rate, x.tax_included) == (group.rate, group.tax_included)
        ]
        assert sum((x.tax for x in members), Decimal(0)) == group.tax


@given(st.fractions(min_value=-10_000, max_value=10_000))
def test_a_fraction_rounds_half_away_from_zero(value):
    rounded = round_fraction(value)
    assert abs(Fraction(rounded) - value) <= Fraction(1, 200)
    assert round_fraction(-value) == -rounded


# Rules of 国家电网财〔2016〕633号 and the one before it.
@pytest.mark.parametrize(
    ("rule", "band", "measured", "billed"),
    [
        ("actual", "free", 90, "90"),
        ("contract105", "free", 80, "100"),
        ("contract105", "free", 105, "100"),
        ("contract105", "free", 110, "110.00"),  # 100 + 2 x 5
        ("contract105", "charged", 110, "115.00"),  # 100 + 5 + 2 x 5
        ("legacy95_105", "free", 90, "95.00"),
        ("legacy95_105", "free", 102, "102"),
        ("legacy95_105", "free", 110, "110.00"),
    ],
)
def test_billing_demand_follows_the_contract_rules(rule, band, measured, billed):
    found = billing_demand(
        Demand(rule=rule, band_100_105=band), [{"all": [Decimal(measured)]}], contract_kw=Decimal(100)
    )
    assert str(found.billed_kw) == billed


def test_two_feeds_are_summed_or_taken_together():
    feeds = [{"all": [Decimal(60)]}, {"all": [Decimal(50)]}]
    assert billing_demand(Demand(), feeds).billed_kw == 110
    assert billing_demand(Demand(feeds="coincident"), feeds, coincident={"all": [Decimal(90)]}).billed_kw == 90


@given(st.integers(0, 99), st.sampled_from(STANDARDS))
def test_the_power_factor_adjustment_never_rises_when_the_power_factor_rises(hundredths, standard):
    lower, higher = Decimal(hundredths) / 100, Decimal(hundredths + 1) / 100
    assert adjustment_percent(lower, standard) >= adjustment_percent(higher, standard)


@pytest.mark.parametrize(
    ("pf", "standard", "percent"),
    [
        ("1.00", "0.90", "-0.75"),
        ("0.94", "0.85", "-1.10"),
        ("0.89", "0.90", "0.5"),
        ("0.64", "0.90", "17"),
        ("0.50", "0.80", "25"),
        ("0.30", "0.90", "85"),
        ("0.00", "0.85", "135"),
    ],
)
def test_the_published_table_and_its_rule_below_one_half(pf, standard, percent):
    assert adjustment_percent(Decimal(pf), Decimal(standard)) == Decimal(percent)


def test_the_power_factor_is_rounded_half_up_before_the_table():
    assert power_factor(Decimal(100), Decimal(0)) == Decimal("1.00")
    assert power_factor(Decimal(0), Decimal(0)) == Decimal("1.00")
    assert str(power_factor(Decimal(80), Decimal(60))) == "0.80"


def test_reactive_energy_that_was_not_measured_is_an_issue(tariff):
    made = tariff(
        f"- {{code: e, {LABEL}, kind: energy, price: 1}}\n- {{code: pf, {LABEL}, kind: pf, pf_standard: 0.9, base_codes: e}}"
    )
    rated = rating.rate(made, month(2026, 7), used(all="10"))
    assert [i.code for i in rated.issues] == ["reactive_missing"]


@given(
    st.lists(st.tuples(st.decimals(0, 3000, places=3), st.decimals(0, 3000, places=3)), min_size=2, max_size=2),
    st.integers(2, 30),
)
def test_a_month_split_in_two_keeps_its_energy_and_its_money_within_half_a_cent_per_line(parts, day):
    (a1, a2), (b1, b2) = parts
    cut = date(2026, 7, day)
    whole = rating.rate(SPLIT_TARIFF, month(2026, 7), used(a=a1 + a2, b=b1 + b2))
    halves = [
        rating.rate(SPLIT_TARIFF, month(2026, 7, after=cut), used(a=a1, b=b1)),
        rating.rate(SPLIT_TARIFF, month(2026, 7, first=cut), used(a=a2, b=b2)),
    ]

    def energy(*rated):
        return sum(line.quantity for one in rated for line in one.lines if line.component == "e")

    assert energy(whole) == energy(*halves)
    count = len(whole.lines) + sum(len(rated.lines) for rated in halves)
    assert abs(whole.total - sum(rated.total for rated in halves)) <= Decimal("0.005") * count
