import itertools
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_api.kit.money import round_half_up, round_parts, share_largest_remainder
from cloud_api.kit.period import Period, local_day, local_month, previous_month, slots

BERLIN = ZoneInfo("Europe/Berlin")
SHANGHAI = ZoneInfo("Asia/Shanghai")


@given(st.integers(-(10**12), 10**12), st.lists(st.integers(0, 10**6), min_size=1, max_size=40))
def test_shares_sum_to_the_whole_and_lie_within_one_unit_of_the_exact_share(total, weights):
    if sum(weights) == 0:
        with pytest.raises(ValueError, match="weights"):
            share_largest_remainder(total, weights)
        return
    parts = share_largest_remainder(total, weights)
    assert sum(parts) == total
    for part, weight in zip(parts, weights, strict=True):
        assert abs(part * sum(weights) - total * weight) < sum(weights)


@given(st.lists(st.decimals(-(10**6), 10**6, places=6), max_size=12))
def test_rounded_parts_add_up_to_the_rounded_whole_and_stay_within_one_cent(parts):
    shown = round_parts(parts)
    assert sum(shown, Decimal(0)) == round_half_up(sum(parts, Decimal(0)))
    assert all(abs(a - b) < Decimal("0.01") for a, b in zip(shown, parts, strict=True))


def test_the_equation_of_a_month_closes_as_it_is_printed():
    shown = round_parts([Decimal(x) for x in ("24344.924", "25058.62", "50.845", "1220.993")])
    assert sum(shown) == Decimal("50675.38")


@pytest.mark.parametrize(
    ("exact", "printed"), [("26.125", "26.13"), ("83.545", "83.55"), ("-26.125", "-26.13"), ("0.004", "0.00")]
)
def test_amounts_are_rounded_half_up_as_printed_bills_are(exact, printed):
    assert str(round_half_up(Decimal(exact))) == printed


@pytest.mark.parametrize(
    ("day", "zone", "hours"),
    [(date(2026, 3, 29), BERLIN, 23), (date(2026, 10, 25), BERLIN, 25), (date(2026, 7, 1), SHANGHAI, 24)],
)
def test_a_local_day_has_23_24_or_25_hours(day, zone, hours):
    assert local_day(day, zone).duration == timedelta(hours=hours)


def test_the_previous_month_is_the_local_one():
    at = datetime(2026, 10, 31, 17, tzinfo=UTC)  # 1 November, 01:00 in Shanghai.
    assert previous_month(at, SHANGHAI) == local_month(2026, 10, SHANGHAI)


def test_slots_cover_a_period_without_gap_or_overlap():
    day = local_day(date(2026, 10, 25), BERLIN)
    cut = list(slots(day, 15))
    assert len(cut) == 100
    assert cut[0].start == day.start
    assert cut[-1].end == day.end
    assert all(a.end == b.start for a, b in itertools.pairwise(cut))


def test_a_period_that_ends_before_it_starts_is_refused():
    with pytest.raises(ValueError, match="end before"):
        Period(datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC))
