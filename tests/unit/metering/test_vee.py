from dataclasses import replace
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
    BY_USE,
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
    eight = Limits(stuck_intervals=8)
    assert checks([1] + [2.5] * 8 + [1, 3], limits=eight) == ["stuck"]
    assert checks([1] + [2.5] * 7 + [1, 3], limits=eight) == []
    assert checks([0] * 20 + [1], limits=eight) == []


def test_without_a_limit_of_its_own_a_whole_day_of_equal_values_is_stuck_and_a_night_of_lamps_is_not():
    assert checks([2.5] * 96) == ["stuck"]
    assert checks([2.5] * 54 + [1, 3] * 21) == []
    assert checks([0.01] * 96) == []  # The standby of an empty room, at the steps of its register.
    hourly = validate(day([2.5] * 24), [], Limits(), expected=24)
    assert [f.check for f in hourly] == ["stuck"]


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


def found(values, **known):
    return validate(day(values), [], known.pop("limits", Limits(spike_ratio=None)), **known)


OFFICE = [0.4 + (n * 37 % 96) / 100 + (2 if 32 <= n < 72 else 0) for n in range(96)]


def test_a_day_whose_energy_came_in_one_interval_has_a_poor_load_factor():
    at_once = [0.01 * (1 + n % 5) for n in range(95)] + [200]
    [finding] = found(at_once, expected=96)
    assert (finding.check, finding.detail) == ("load_factor", {"load_factor": "0.011", "limit": "0.03"})
    assert (finding.starts_at, finding.ends_at) == (DAY, DAY + timedelta(days=1))
    assert found(at_once, expected=96, limits=Limits(spike_ratio=None, load_factor_min=None)) == []


def test_the_load_factor_is_judged_by_the_class_of_the_meter():
    one_hour_of_eight = [0.05 * (1 + n % 3) for n in range(92)] + [20, 21, 20, 22]
    assert [f.check for f in found(one_hour_of_eight, expected=96)] == []
    main = replace(BY_USE["main"], spike_ratio=None, zero_hours=None)
    assert [f.check for f in found(one_hour_of_eight, expected=96, limits=main)] == ["load_factor"]
    assert BY_USE["plant"].load_factor_min is None


@pytest.mark.parametrize(
    ("values", "expected", "quality"),
    [
        (OFFICE, 96, "actual"),
        ([0.001] * 7 + [0.9] + [0.002] * 7, 15, "actual"),  # A kettle: below the floor nothing is judged.
        ([0] * 96, 96, "actual"),
        ([0] * 95 + [1], 96, "actual"),  # A counter that shows whole kWh.
        ([0.01, 0.02] * 5 + [90], 96, "actual"),  # Half a day says nothing of the day.
        ([0.01, 0.02] * 47 + [0.01, 90], None, "actual"),  # The day on which the register's life begins.
        ([0.01, 0.02] * 47 + [0.01, 90], 96, "estimated"),
    ],
)
def test_the_load_factor_is_silent_on_an_ordinary_a_small_an_incomplete_and_an_estimated_day(values, expected, quality):
    limits = Limits(spike_ratio=None)
    assert "load_factor" not in [f.check for f in validate(day(values, quality), [], limits, expected=expected)]


def test_channels_that_are_silent_while_the_meter_counts_are_one_finding():
    siblings = {"reactive_energy_import": 60, "reactive_energy_export": 0, "active_energy_export": 96}
    [finding] = found(OFFICE, siblings=siblings)
    assert finding.check == "sibling"
    assert finding.detail == {"channels": ["reactive_energy_export", "reactive_energy_import"], "hours": "24"}
    assert found(OFFICE, siblings=siblings, limits=Limits(sibling_hours=None)) == []
    [at_once] = found(OFFICE, siblings={"reactive_energy_import": 95}, limits=Limits(sibling_hours=0))
    assert at_once.detail["hours"] == "0.25"


def test_channels_that_count_along_or_fall_silent_together_are_left_alone():
    assert found(OFFICE, siblings={"reactive_energy_import": 96, "reactive_energy_export": 80}) == []
    assert found(OFFICE, siblings={}) == []
    assert found(OFFICE[:16], siblings={"reactive_energy_import": 0}) == []  # Four hours of data are too few.
    silent = validate(
        day(OFFICE, "estimated"), [], Limits(estimated_hours=None), siblings={"reactive_energy_import": 0}
    )
    assert silent == []


def _moved(intervals, by, quality=None):
    return [
        replace(i, starts_at=i.starts_at + by, ends_at=i.ends_at + by, quality=quality or i.quality) for i in intervals
    ]


def _copies(intervals, earlier, **limits):
    return [f for f in validate(intervals, [], Limits(**limits), earlier=earlier) if f.check == "duplicate"]


@pytest.mark.parametrize("weeks_before", [timedelta(days=1), timedelta(days=7), timedelta(days=28)])
def test_a_day_that_repeats_an_earlier_one_is_a_copy(weeks_before):
    [copy] = _copies(day(OFFICE), _moved(day(OFFICE), -weeks_before))
    assert (copy.starts_at, copy.ends_at) == (DAY, DAY + timedelta(days=1))
    assert copy.detail == {"intervals": 96, "hours_before": f"{weeks_before / timedelta(hours=1):g}"}


def test_a_block_that_was_imported_with_a_shifted_clock_is_found_where_it_is_repeated():
    fresh = [3 + n / 7 for n in range(40)]
    [copy] = _copies(day([*fresh[:32], *fresh[:32], *fresh[32:]]), [])
    assert (copy.starts_at, copy.ends_at) == (DAY + 32 * STEP, DAY + 64 * STEP)
    assert copy.detail == {"intervals": 32, "hours_before": "8"}


def test_a_block_of_data_that_is_stuck_is_one_finding_however_often_it_comes():
    block = [1 + n / 10 for n in range(24)]
    [copy] = _copies(day(block * 4), [])
    assert (copy.starts_at, copy.detail["intervals"], copy.detail["hours_before"]) == (DAY + 24 * STEP, 72, "6")


def test_what_honestly_repeats_itself_is_no_copy():
    yesterday = timedelta(days=-1)
    for steady in ([2.5] * 96, [0] * 96, [1 + n % 4 for n in range(96)], [0] * 32 + [5] * 40 + [0] * 24):
        assert _copies(day(steady), _moved(day(steady), yesterday)) == []
    other = [v + (0.01 if n % 20 == 0 else 0) for n, v in enumerate(OFFICE)]
    assert _copies(day(other), _moved(day(OFFICE), yesterday)) == []


def test_copies_are_sought_only_among_measured_runs_that_are_long_enough_and_whole():
    yesterday = timedelta(days=-1)
    assert _copies(day(OFFICE[:23]), _moved(day(OFFICE[:23]), yesterday)) == []
    assert _copies(day(OFFICE), _moved(day(OFFICE), yesterday, "estimated")) == []
    assert _copies(day(OFFICE, "estimated"), _moved(day(OFFICE), yesterday)) == []
    torn = [i for n, i in enumerate(day(OFFICE)) if n % 20]
    assert _copies(torn, _moved(day(OFFICE), yesterday)) == []
    assert _copies(day(OFFICE), _moved(day(OFFICE), yesterday), duplicate_intervals=None) == []
    assert len(_copies(day(OFFICE[:12]), _moved(day(OFFICE[:12]), yesterday), duplicate_intervals=12)) == 1


@given(st.lists(st.integers(0, 10**6), min_size=96, max_size=96, unique=True), st.integers(0, 60), st.integers(24, 36))
def test_exactly_the_block_that_was_repeated_is_named(values, start, length):
    copied = values[:start] + [10**7 + v for v in values[: 96 - start - length]]
    repeated = [2 * 10**7 + n for n in range(length)]
    today = copied[:start] + repeated + copied[start:]
    before = _moved(day([3 * 10**7 + v for v in values[: 96 - length]] + repeated), timedelta(days=-2))
    [copy] = _copies(day(today[:96]), before)
    assert copy.starts_at == DAY + start * STEP
    assert copy.detail["intervals"] == length


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
