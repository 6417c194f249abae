from datetime import UTC, datetime, timedelta
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from cloud_api.billing.after_hours import Booking, usage_by_tenant
from cloud_api.billing.timetable import Run
from cloud_api.leasing.after_hours import AfterHoursPolicy, billable, outside

START = datetime(2026, 11, 2, tzinfo=UTC)


def at(hour):
    return START + timedelta(hours=hour)


RUNS = [
    Run(start=at(0), end=at(14), version="v", bucket="evening"),
    Run(start=at(14), end=at(24), version="v", bucket="night"),
]


def booking(tenant, zone, first, last):
    return Booking(tenant_id=tenant, zone=zone, starts_at=at(first), ends_at=at(last))


def hours(usage):
    return {s.bucket: s.quantity for s in usage.slices}


def test_who_runs_a_zone_together_shares_the_hour_and_who_runs_it_alone_pays_it():
    found = usage_by_tenant([booking(1, "ahu", 10, 13), booking(2, "ahu", 12, 15), booking(3, "roof", 12, 13)], RUNS)
    assert hours(found[1]) == {"evening": Decimal("2.5")}  # 10-12 alone, 12-13 shared.
    assert hours(found[2]) == {"evening": Decimal("1.5"), "night": Decimal(1)}
    assert hours(found[3]) == {"evening": Decimal(1)}


@given(
    st.lists(
        st.tuples(st.integers(1, 4), st.integers(0, 22), st.integers(1, 2)).map(
            lambda x: booking(x[0], "ahu", x[1], x[1] + x[2])
        ),
        min_size=1,
        max_size=12,
    )
)
def test_the_shares_of_a_zone_sum_to_the_hours_that_it_ran(bookings):
    ran = sum(any(b.starts_at <= at(h) < b.ends_at for b in bookings) for h in range(24))
    found = usage_by_tenant(bookings, RUNS)
    assert sum(s.quantity for usage in found.values() for s in usage.slices) == ran


def test_a_request_is_charged_in_whole_blocks_and_at_least_the_minimum():
    policy = AfterHoursPolicy(block_minutes=30, minimum_minutes=60)
    assert billable(at(18), at(18) + timedelta(minutes=10), policy) == (at(18), at(19))
    assert billable(at(18), at(19) + timedelta(minutes=1), policy) == (at(18), at(19) + timedelta(minutes=30))


def test_hours_of_the_lease_are_cut_off_a_request():
    assert outside(at(17), at(20), [(at(8), at(18))]) == [(at(18), at(20))]
    assert outside(at(9), at(10), [(at(8), at(18))]) == []
    assert outside(at(6), at(20), [(at(8), at(18))]) == [(at(6), at(8)), (at(18), at(20))]
