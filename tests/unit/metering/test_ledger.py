from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud_api.metering.ledger import UNIT, Reset, Rules, compute, without_false_readings
from cloud_api.metering.model import Method, Quality, Reason

MIN = 60_000
SLOT = 15 * MIN
RULES = Rules(interval_ms=SLOT, gap_ms_max=SLOT * 3 // 2)
EVER = {"start_ms": 0, "end_ms": 10**13}


def kwh(value):
    return int(Decimal(str(value)) * UNIT)


def readings(*pairs):
    return [(int(minute * MIN), kwh(value)) for minute, value in pairs]


def ledger(pairs, rules=RULES):
    return compute(readings(*pairs), rules, **EVER)


def quantities(intervals):
    return [float(i.quantity) for i in intervals]


def test_readings_on_the_boundaries_give_their_differences():
    found = ledger([(0, 100), (15, 101.5), (30, 101.5), (45, 104)])
    assert quantities(found) == [1.5, 0, 2.5]
    assert {(i.quality, i.method, i.reason) for i in found} == {(Quality.ACTUAL, Method.DIFFERENCE, Reason.NONE)}


def test_a_boundary_between_two_readings_is_interpolated_in_time():
    found = ledger([(10, 100), (20, 110), (30, 120)])
    assert quantities(found) == [5, 15]
    assert found[1].method is Method.INTERPOLATED
    assert (found[1].source_from_ms, found[1].source_to_ms) == (10 * MIN, 30 * MIN)


def test_the_interval_in_which_the_first_reading_lies_holds_its_part_and_says_so():
    [first, second] = ledger([(10, 100), (15, 101), (30, 103)])
    assert (first.quantity, first.reason) == (1, Reason.PARTIAL)
    assert (second.quantity, second.reason) == (2, Reason.NONE)


def test_an_interval_that_is_not_over_has_no_row():
    assert quantities(ledger([(0, 100), (15, 101), (29, 102)])) == [1]


def test_the_difference_over_a_silence_is_kept_spread_and_marked():
    found = ledger([(0, 100), (15, 101), (75, 105), (90, 106)])
    assert quantities(found) == [1, 1, 1, 1, 1, 1]
    assert [i.quality for i in found] == [Quality.ACTUAL] + [Quality.ESTIMATED] * 4 + [Quality.ACTUAL]
    assert {i.reason for i in found[1:5]} == {Reason.GAP}


def test_a_false_zero_costs_nothing():
    found = ledger([(0, 1000), (5, 1001), (10, 0), (12, 1002), (15, 1003)])
    assert quantities(found) == [3]
    assert found[0].quality is Quality.ACTUAL


def test_a_false_peak_costs_nothing():
    assert quantities(ledger([(0, 1000), (5, 1001), (10, 99999), (12, 1002), (15, 1003)])) == [3]


def test_a_counter_that_starts_again_at_zero_goes_on_counting():
    rules = Rules(interval_ms=SLOT, gap_ms_max=SLOT, modulus=kwh(10000))
    found = ledger([(0, 9998), (15, 9999), (30, 1), (45, 2)], rules)
    assert quantities(found) == [1, 2, 1]
    assert found[1].reason is Reason.ROLLOVER


def test_a_fall_that_nothing_explains_is_missing_not_zero():
    found = ledger([(0, 5000), (15, 5001), (30, 7), (45, 8)])
    assert [i.quality for i in found] == [Quality.ACTUAL, Quality.MISSING, Quality.ACTUAL]
    assert found[1].reason is Reason.UNEXPLAINED_FALL
    assert quantities(found) == [1, 0, 1]


def test_a_declared_reset_keeps_both_sides():
    rules = Rules(interval_ms=SLOT, gap_ms_max=SLOT * 2, resets=(Reset(at_ms=20 * MIN, stop=kwh(5002), start=0),))
    found = ledger([(0, 5000), (15, 5001), (30, 7), (45, 8)], rules)
    assert quantities(found) == [1, 8, 1]
    assert {i.quality for i in found} == {Quality.ACTUAL}


def test_a_reset_without_its_last_value_is_missing():
    rules = Rules(interval_ms=SLOT, gap_ms_max=SLOT * 2, resets=(Reset(at_ms=20 * MIN, stop=None, start=0),))
    found = ledger([(0, 5000), (15, 5001), (18, 5002), (30, 7), (45, 8)], rules)
    assert found[1].quality is Quality.MISSING
    assert quantities(found) == [1, 8, 1]


def test_a_ratio_that_changes_inside_an_interval_applies_from_its_instant():
    rules = Rules(interval_ms=SLOT, gap_ms_max=SLOT, multipliers=((-(2**63), Decimal(40)), (5 * MIN, Decimal(60))))
    assert quantities(ledger([(0, 100), (15, 103), (30, 104)], rules)) == [1 * 40 + 2 * 60, 60]


def test_a_reversed_current_transformer_is_a_negative_ratio():
    rules = Rules(interval_ms=SLOT, gap_ms_max=SLOT, multipliers=((-(2**63), Decimal(-1)),))
    assert quantities(ledger([(0, 0), (15, 3)], rules)) == [-3]


def test_a_closed_register_ends_with_its_part_of_the_last_interval():
    rules = Rules(interval_ms=SLOT, gap_ms_max=SLOT, closed_at_ms=20 * MIN)
    found = ledger([(0, 10), (15, 11), (20, 12)], rules)
    assert quantities(found) == [1, 1]
    assert found[1].reason is Reason.PARTIAL


def test_pulses_count_from_the_pulse_before():
    rules = Rules(interval_ms=SLOT, gap_ms_max=SLOT, is_delta=True)
    assert quantities(ledger([(0, 3), (10, 2), (20, 4), (30, 1)], rules)) == [4, 3]


@pytest.mark.parametrize("minutes", [1, 5, 15, 30, 60])
def test_every_interval_length_cuts_the_same_energy(minutes):
    rules = Rules(interval_ms=minutes * MIN, gap_ms_max=60 * MIN)
    found = ledger([(0, 0), (7, 1.234567891), (61, 9.1), (120, 20)], rules)
    assert sum(i.quantity for i in found) == 20
    assert len(found) == 120 // minutes


# Courses of a register: growing values with silences, false readings, rollovers.
steps = st.lists(st.tuples(st.integers(1, 200 * MIN), st.integers(0, 50 * UNIT)), min_size=2, max_size=60)


@st.composite
def courses(draw, modulus=None):
    at, value, course = draw(st.integers(0, SLOT)), draw(st.integers(0, 1000)) * UNIT, []
    for pause, growth in draw(steps):
        course.append((at, value))
        at += pause
        value += growth
        if modulus:
            value %= modulus
    return course


@given(courses())
def test_intervals_and_the_open_rest_add_up_to_the_register_difference(course):
    found = compute(course, RULES, **EVER)
    end = found[-1].end_ms if found else 0
    closed = Rules(interval_ms=SLOT, gap_ms_max=RULES.gap_ms_max, closed_at_ms=course[-1][0])
    whole = compute(course, closed, **EVER)
    assert sum(i.quantity for i in whole) == Decimal(course[-1][1] - course[0][1]).scaleb(-9)
    assert whole[: len(found)] == [i for i in whole if i.end_ms <= end]
    assert all(i.quantity >= 0 for i in whole)


@given(courses(modulus=100_000 * UNIT))
def test_no_energy_is_lost_where_the_counter_starts_again(course):
    rules = Rules(interval_ms=SLOT, gap_ms_max=SLOT, modulus=100_000 * UNIT, closed_at_ms=course[-1][0])
    found = compute(course, rules, **EVER)
    used = sum((b - a) % (100_000 * UNIT) for (_, a), (_, b) in pairwise(course))
    assert sum(i.quantity for i in found) == Decimal(used).scaleb(-9)


@settings(max_examples=200)
@given(courses(), st.data())
def test_a_stretch_computed_with_its_context_equals_the_same_stretch_of_the_whole(course, data):
    noisy = [
        (at, data.draw(st.sampled_from([value, value, value, value, 0, value * 3]), label="noise"))
        for at, value in course
    ]
    whole = {i.start_ms: i for i in compute(noisy, RULES, **EVER)}
    first = data.draw(st.integers(0, len(noisy) - 1))
    last = data.draw(st.integers(first, len(noisy) - 1))
    start, end = noisy[first][0], noisy[last][0]
    lowest = start // SLOT * SLOT
    highest = -(-end // SLOT) * SLOT
    times = [at for at, _ in noisy]
    from_index = max(0, len([t for t in times if t < lowest]) - 36)
    to_index = len([t for t in times if t <= highest]) + 36
    part = compute(noisy[from_index:to_index], RULES, start_ms=start, end_ms=end)
    assert part == [whole[s] for s in sorted(whole) if lowest <= s < highest and s in whole][: len(part)]
    if to_index >= len(noisy):
        assert len(part) == len([s for s in whole if lowest <= s < highest])


@given(courses(), st.data())
def test_leaving_out_false_readings_never_changes_a_growing_course(course, data):
    assert without_false_readings(course) == course
