from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_api.kit.period import Period
from cloud_api.metering.balance import BalanceState, Part, Suspect, balance, suspects
from cloud_api.metering.estimation import Evidence, NothingKnown, estimate
from cloud_api.metering.model import MeterInterval, Method
from cloud_api.metering.vee import (
    Limits,
    Transformers,
    balance_finding,
    clock_finding,
    ratio_finding,
    validate,
)
from cloud_api.metering.virtual import FormulaRefused, combine, flatten

DAY = datetime(2026, 3, 9, tzinfo=UTC)
STEP = timedelta(minutes=15)
ZONE = ZoneInfo("Asia/Shanghai")


def day(values, quality="actual", meter=1):
    return [
        MeterInterval(
            meter_id=meter, starts_at=DAY + n * STEP, ends_at=DAY + (n + 1) * STEP, quantity=Decimal(str(v)),
            quality=quality,
        )
        for n, v in enumerate(values)
    ]  # fmt: skip


def checks(values, like=(), limits=None, quality="actual"):
    return [f.check for f in validate(day(values, quality), [Decimal(x) for x in like], limits or Limits())]


def test_an_ordinary_day_is_left_alone():
    assert checks([1 + n % 3 * 0.1 for n in range(96)], like=[105, 106, 107]) == []


def test_a_spike_stands_out_against_the_third_highest():
    assert checks([1.1, 1, 1.2, 9, 1.3, 1.1]) == ["spike"]


def test_equal_values_in_a_row_are_stuck_but_zeros_are_not():
    assert checks([1] + [2.5] * 8 + [1, 3]) == ["stuck"]
    assert checks([0] * 20 + [1]) == []


def test_a_day_of_zeros_a_negative_a_missing_and_a_long_estimate_are_found():
    assert checks([0] * 96) == ["zero_run"]
    assert checks([1, -1, 1]) == ["negative"]
    assert checks([1] * 3, quality="missing") == ["missing"]
    assert checks([1.0] * 20, quality="estimated") == ["estimated"]


def test_a_day_far_from_its_like_days_is_held():
    assert checks([2, 1.9, 2.1], like=[2, 2, 2]) == ["high"]
    assert checks([0.2, 0.1, 0.2], like=[2, 2, 2]) == ["low"]
    assert checks([2, 1.9, 2.1], like=[2, 2]) == []


def test_more_than_the_connected_load_is_impossible():
    assert checks([1, 30, 1, 29, 28], limits=Limits(power_kw_max=Decimal(100))) == ["over_capacity"] * 3


def test_a_short_gap_is_filled_evenly_and_a_long_one_like_the_days_before():
    starts = [DAY + n * STEP for n in range(12)]
    known = {
        (date(2026, 3, 9) - timedelta(days=d), (DAY + n * STEP).astimezone(ZONE).time()): Decimal(1 + (n > 5) * 3)
        for d in (3, 4, 5)
        for n in range(12)
    }
    assert estimate(starts[:8], Decimal(8), Evidence(known=known), ZONE, step=STEP) == (Method.LINEAR, [Decimal(1)] * 8)
    method, parts = estimate(starts, Decimal(60), Evidence(known=known), ZONE, step=STEP)
    assert method is Method.PROFILE
    assert parts == [Decimal(2)] * 6 + [Decimal(8)] * 6


def test_without_a_difference_and_without_like_days_nothing_is_invented():
    with pytest.raises(NothingKnown):
        estimate([DAY], None, Evidence(known={}), ZONE, step=STEP)


@given(
    st.decimals(0, 10**6, places=9),
    st.lists(st.decimals(0, 100, places=4), min_size=9, max_size=40),
)
def test_an_estimate_always_meets_the_known_difference(total, shape):
    starts = [DAY + n * STEP for n in range(len(shape))]
    known = {
        (start.astimezone(ZONE).date() - timedelta(days=7), start.astimezone(ZONE).time()): value
        for start, value in zip(starts, shape, strict=True)
    }
    _, parts = estimate(starts, total, Evidence(known=known), ZONE, step=STEP)
    assert sum(parts) == total
    assert len(parts) == len(starts)


@given(st.decimals(0, 1000, places=3), st.lists(st.decimals(0, 1000, places=3), max_size=6))
def test_a_balance_adds_up_to_the_main_meter(main, parts):
    uses = ["tenant", "common", "plant", "floor", "tenant", "common"]
    found = balance(DAY, main, [Part(meter_id=n, use=uses[n], quantity=q) for n, q in enumerate(parts)])
    assert found.tenants + found.common + found.other + found.residual == main


@pytest.mark.parametrize(
    ("child", "state"),
    [("98", "ok"), ("96", "warn"), ("90", "block"), ("100.5", "warn"), ("102", "block"), (None, "unknown")],
)
def test_the_residual_is_judged_by_its_share(child, state):
    parts = [Part(meter_id=2, use="tenant", quantity=None if child is None else Decimal(child))]
    assert balance(DAY, Decimal(100), parts).state is BalanceState(state)


def test_a_virtual_meter_over_several_levels_is_the_sum_of_what_is_measured():
    terms = {1: [(2, Decimal(1)), (3, Decimal(-1))], 2: [(4, Decimal(1)), (5, Decimal(2))], 3: [(5, Decimal(1))]}
    factors = flatten(1, terms)
    assert factors == {4: 1, 5: 1}
    rows = [*day([1, 2, 3], meter=4), *day([10, 20], "estimated", meter=5)]
    assert [(i.quantity, i.quality) for i in combine(1, factors, rows)] == [(11, "estimated"), (22, "estimated")]


def test_a_formula_that_goes_round_is_refused_with_the_way():
    with pytest.raises(FormulaRefused, match="1 → 2 → 3 → 1"):
        flatten(1, {1: [(2, Decimal(1))], 2: [(3, Decimal(1))], 3: [(1, Decimal(1))]})


def test_a_day_with_a_hole_a_jump_and_a_poor_power_factor_are_found():
    limits = Limits(jump_ratio=Decimal(5), spike_ratio=None)
    assert [f.check for f in validate(day([1, 2, 1]), [], limits, expected=4)] == ["incomplete"]
    assert [f.check for f in validate(day([1, 2, 12, 1]), [], limits, expected=4)] == ["jump"]
    assert [f.check for f in validate(day([1, 2, 1, 2]), [], limits, reactive=Decimal(30))] == ["power_factor"]
    assert validate(day([1, 2, 1, 2]), [], limits, expected=4, reactive=Decimal(3)) == []


def _parts(*quantities):
    return [Part(meter_id=n, use="tenant", quantity=Decimal(q)) for n, q in enumerate(quantities)]


def test_a_reversed_transformer_is_named_by_the_residual_it_leaves():
    assert suspects(Decimal(100), _parts(60, -30, 9)) == [Suspect(meter_id=1, kind="reversed", residual=Decimal(1))]


def test_a_meter_below_the_wrong_parent_is_named():
    assert suspects(Decimal(100), _parts(60, 39, 25)) == [Suspect(meter_id=2, kind="wrong_parent", residual=Decimal(1))]


def test_nobody_is_suspected_where_the_balance_holds_or_nothing_is_known():
    assert suspects(Decimal(100), _parts(60, 39)) == []
    assert suspects(Decimal(100), [Part(meter_id=1, use="tenant", quantity=None)]) == []
    assert suspects(Decimal(0), _parts(1)) == []


YESTERDAY = Period(DAY, DAY + timedelta(days=1))


def test_a_clock_beside_the_reference_is_a_finding_beyond_three_minutes():
    assert clock_finding(Decimal(179), Limits(), YESTERDAY) is None
    assert clock_finding(None, Limits(), YESTERDAY) is None
    assert clock_finding(Decimal(-3600), Limits(clock_drift_s=None), YESTERDAY) is None
    found = clock_finding(Decimal(-250), Limits(), YESTERDAY)
    assert (found.check, found.detail) == ("clock", {"drift_min": -4, "limit_s": 180})


@pytest.mark.parametrize(
    ("device", "register", "registry", "is_found"),
    [
        ("40", "1", "40", False),
        ("1", "40", "40", False),  # The cloud multiplies, the device does not.
        ("40", "-1", "40", False),  # Reversed, which is another matter.
        ("60", "1", "40", True),
        ("1", "1", "40", True),
        ("40", "1", None, False),
        ("1", "40", None, False),
        ("40", "40", None, True),  # Multiplied twice.
    ],
)
def test_transformers_in_device_and_registry_are_compared(device, register, registry, is_found):
    known = Transformers(
        device=Decimal(device), register=Decimal(register), registry=None if registry is None else Decimal(registry)
    )
    assert (ratio_finding(known, Limits(), YESTERDAY) is not None) == is_found
    assert ratio_finding(known, Limits(ratio_tolerance=None), YESTERDAY) is None


@pytest.mark.parametrize(
    ("main", "residual", "is_found"),
    [("100", "5", False), ("100", "9", True), ("100", "-2", True), ("-100", "1", True), ("0", "3", False), (None, None, False)],
)  # fmt: skip
def test_sub_meters_that_do_not_add_up_to_the_main_meter_are_a_finding(main, residual, is_found):
    numbers = (None if main is None else Decimal(main), None if residual is None else Decimal(residual))
    assert (balance_finding(*numbers, Limits(), YESTERDAY) is not None) == is_found
    off = Limits(residual_high=None, residual_low=None)
    assert balance_finding(Decimal(100), Decimal(90), off, YESTERDAY) is None
