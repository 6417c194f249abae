"""Invariants that no other test holds, and the list of all of them (INVARIANTS.md) with the tests that prove each."""

import ast
import itertools
import re
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_api.billing import rating
from cloud_api.billing.assignment import parts_of
from cloud_api.billing.calendar import built_in
from cloud_api.billing.charge import Cycle, Usage
from cloud_api.billing.compose import compose
from cloud_api.billing.run_model import MeterFacts, MeterShare, Tenancy, TenantFacts
from cloud_api.billing.tariff_file import parse_tariff
from cloud_api.kit.period import local_days
from cloud_api.metering.lengths import Lengths
from tests.unit.billing.conftest import NAME, OWNER, SHANGHAI, month, run_inputs

TESTS = Path(__file__).resolve().parents[2]
FIRST, AFTER = date(2026, 3, 1), date(2026, 4, 1)
DAYS = [FIRST + timedelta(days=n) for n in range(31)]
METER = MeterFacts(id=1, code="m1", name=NAME, use="tenant", parent_id=None, lengths=Lengths.always(15))


def test_every_invariant_names_tests_that_exist():
    text = (Path(__file__).parent / "INVARIANTS.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ")][1:]
    named = re.findall(r"`(\S+?)::(test_\w+)`", text)
    assert len(rows) == 24
    assert all("::test_" in row for row in rows), "an invariant without a test"
    for file, name in named:
        tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
        found = {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)}
        assert name in found, f"{file} has no {name}"


# --- Dated shares -----------------------------------------------------------------------------------------------------

cuts = st.lists(st.sampled_from(DAYS[1:]), max_size=3, unique=True).map(sorted)


@st.composite
def assignments(draw):
    """Draw a meter over two or three spaces whose shares change on some days, and who holds each space when."""
    edges = [FIRST, *draw(cuts), AFTER]
    spaces = range(1, draw(st.integers(2, 3)) + 1)
    shares = []
    for first, after in itertools.pairwise(edges):
        parts = draw(st.lists(st.integers(1, 9), min_size=len(spaces), max_size=len(spaces)))
        whole = [Decimal(p).scaleb(-1) for p in parts[:-1]]
        period = local_days(first, after, SHANGHAI)
        for space, share in zip(spaces, [*whole, 1 - sum(whole)], strict=True):
            shares.append(MeterShare(meter_id=1, space_id=space, space=f"r{space}", share=share,
                                     valid_from=period.start, valid_to=period.end))  # fmt: skip
    tenancies = []
    for space in spaces:
        ends = [FIRST, *draw(cuts), AFTER]
        for number, (first, after) in enumerate(itertools.pairwise(ends)):
            if draw(st.booleans()):
                tenant = 10 * space + number
                tenancies.append(
                    Tenancy(space_id=space, space=f"r{space}", tenant_id=tenant, lease_id=tenant, lease=f"L{tenant}",
                            lease_version=1, starts_on=first, ends_on=after, area_m2=Decimal(10), people=None)
                )  # fmt: skip
    return shares, tenancies


@given(assignments())
def test_at_every_instant_the_shares_of_a_meter_are_one_whole_and_each_is_its_holders(drawn):
    shares, tenancies = drawn
    period = local_days(FIRST, AFTER, SHANGHAI)
    parts, issues = parts_of([METER], shares, tenancies, period=period, zone=SHANGHAI, owner=OWNER)
    assert issues == []
    assert [p.period.end for p in parts[:-1]] == [p.period.start for p in parts[1:]]
    assert (parts[0].period.start, parts[-1].period.end) == (period.start, period.end)
    for day in DAYS:
        at = local_days(day, day + timedelta(days=1), SHANGHAI).start
        [part] = [p for p in parts if at in p.period]
        assert sum(h.share for h in part.holdings) == 1
        for holding in part.holdings:
            held = [t.tenant_id for t in tenancies if t.space_id == holding.space_id and t.starts_on <= day < t.ends_on]
            assert holding.party == (held[0] if held else OWNER)
            [share] = [s.share for s in shares if s.space_id == holding.space_id and s.valid_from <= at < s.valid_to]
            assert holding.share == share


def test_shares_that_are_not_one_whole_are_an_issue_that_names_meter_and_day():
    period = local_days(FIRST, AFTER, SHANGHAI)
    half = MeterShare(meter_id=1, space_id=1, space="r1", share=Decimal("0.5"), valid_from=None, valid_to=None)
    _, [issue] = parts_of([METER], [half], [], period=period, zone=SHANGHAI, owner=OWNER)
    assert (issue.code, str(issue.text)) == (
        "shares_incomplete",
        "meter m1: its shares from 2026-03-01 do not sum to 1",
    )


# --- Proration --------------------------------------------------------------------------------------------------------


def monthly(day_count, changes):
    """A monthly amount of 1 in a tariff whose versions change on the given days."""
    starts = [date(2020, 1, 1), *changes]
    versions = "".join(f"""
  - version: v{n}
    valid_from: {start}
    {f"valid_to: {starts[n + 1]}" if n + 1 < len(starts) else ""}
    components:
      - {{code: f, name: {{zh: 费, en: Fee}}, kind: fixed, price: 1, day_count: {day_count}}}
""" for n, start in enumerate(starts))  # fmt: skip
    return parse_tariff(f"tariff: t\nname: {{zh: 测, en: t}}\nversions:{versions}").tariff


def owed(tariff, first, after):
    rated = rating.rate(tariff, month(2026, 3, first, after), Usage())
    return sum((line.amount_exact for line in rated.lines), Fraction(0))


@given(cuts, cuts)
def test_the_segments_of_a_cycle_sum_to_one_whatever_versions_and_tenants_cut_it(changes, moves):
    tariff = monthly("actual_cycle", changes)
    edges = [FIRST, *moves, AFTER]
    assert sum(owed(tariff, a, b) for a, b in itertools.pairwise(edges)) == 1


@given(cuts, st.sampled_from(DAYS), st.integers(1, 31))
def test_a_month_by_thirtieths_is_never_more_than_one_and_a_whole_one_is_one(changes, first, length):
    tariff = monthly("thirtieth", changes)
    after = min(first + timedelta(days=length), AFTER)
    assert owed(tariff, first, after) <= 1
    assert owed(tariff, FIRST, AFTER) == 1
    assert owed(tariff, DAYS[1], AFTER) == 1  # 30 days of 31.


def test_a_billed_part_counts_its_days_of_the_cycle_that_starts_on_the_26th():
    tariff = monthly("actual_cycle", [])
    cycle = Cycle(
        starts_on=date(2026, 2, 26), ends_on=date(2026, 3, 26), billed_from=FIRST, billed_to=date(2026, 3, 26)
    )
    [line] = rating.rate(tariff, cycle, Usage()).lines
    assert line.amount_exact == Fraction(25, 28)


# --- What forbids issuing ---------------------------------------------------------------------------------------------

HOLIDAYS = parse_tariff("""
tariff: t
name: {zh: 测, en: t}
holiday_calendar: CN
versions:
  - version: v1
    valid_from: 2020-01-01
    day_types: [{code: off, when: {kind: [holiday, weekend]}}, {code: work}]
    components: [{code: e, name: {zh: 电, en: Energy}, kind: energy, price: 1}]
""").tariff
OWNERS = {OWNER: TenantFacts(id=OWNER, code="o", name=NAME, credit_code=None, attributes={}, is_owner=True)}


@pytest.mark.parametrize(
    ("first", "after", "years"),
    [
        (date(2026, 3, 1), date(2026, 4, 1), []),
        (date(2026, 12, 26), date(2027, 1, 26), ["2027"]),  # A cycle over New Year needs both years.
        (date(2028, 3, 1), date(2028, 4, 1), ["2028"]),
    ],
)
def test_a_run_in_a_year_without_official_calendar_cannot_be_issued(first, after, years):
    result = compose(run_inputs(HOLIDAYS, first, after, calendar=built_in("CN"), tenants=OWNERS))
    found = [i["text"] for i in result.summary["blocking"] if i["code"] == "calendar_missing"]
    assert [text[:4] for text in found] == years


def test_what_was_recovered_too_much_earlier_in_the_year_blocks_a_run_that_recovers_nothing():
    inputs = {"tenants": OWNERS, "calendar": built_in("CN"), "paid_before": Decimal(100)}
    for recovered, is_blocked in ((Decimal("101.00"), False), (Decimal("101.01"), True)):
        result = compose(run_inputs(HOLIDAYS, FIRST, AFTER, **inputs, recovered_before=recovered))
        codes = [i["code"] for i in result.summary["blocking"]]
        assert ("over_recovery" in codes) == is_blocked
