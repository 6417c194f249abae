"""What weighs for each party when common areas are shared: reckoned again day by day."""

from datetime import date, timedelta
from decimal import Decimal
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from cloud_api.billing.book import open_book
from cloud_api.billing.run_model import SpaceFacts, Tenancy
from cloud_api.billing.tariff_file import load_tariff
from tests.unit.billing.conftest import OWNER, run_inputs
from tests.unit.billing.test_tariff_file import TEMPLATES

TARIFF = load_tariff(next(p for p in TEMPLATES if p.stem == "single-price")).tariff
FIRST, AFTER = date(2026, 3, 1), date(2026, 4, 1)
DAYS = [FIRST + timedelta(days=n) for n in range(31)]
edge = st.integers(-5, 36).map(lambda n: FIRST + timedelta(days=n))


def weights(tenancies, spaces):
    return open_book(run_inputs(TARIFF, FIRST, AFTER, tenancies=tenancies, spaces=spaces)).weights()


def tenancy(space, tenant, lease, starts_on, ends_on, *, people=None, area=50):
    return Tenancy(
        space_id=space, space=f"s{space}", tenant_id=tenant, lease_id=lease, lease=f"l{lease}", lease_version=1,
        starts_on=starts_on, ends_on=ends_on, area_m2=Decimal(area), people=people,
    )  # fmt: skip


def space(number, area=50, starts_on=None, ends_on=None):
    return SpaceFacts(id=number, code=f"s{number}", area_m2=Decimal(area), starts_on=starts_on, ends_on=ends_on)


def test_people_of_a_lease_that_takes_a_second_room_in_mid_month_count_once():
    rooms = [
        tenancy(10, 2, 7, FIRST, None, people=12),
        tenancy(11, 2, 7, date(2026, 3, 16), None, people=12),
    ]
    found = weights(rooms, [space(10), space(11)])
    assert found[2].people_days == 12 * 31
    assert (found[2].area_days, found[OWNER].area_days) == (50 * 31 + 50 * 16, 50 * 15)


@st.composite
def months(draw):
    """Draw rooms with an area each, or two in turn, let to leases that do not overlap in a room."""
    spaces, tenancies = [], []
    people = {lease: draw(st.none() | st.integers(1, 40)) for lease in range(1, 5)}
    for number in range(10, 10 + draw(st.integers(1, 4))):
        change = draw(st.none() | edge)
        if change is None:
            spaces.append(space(number, draw(st.integers(1, 200))))
        else:
            spaces += [space(number, 40, ends_on=change), space(number, 60, starts_on=change)]
        edges = sorted(set(draw(st.lists(edge, max_size=4))))
        for start, end in list(pairwise(edges))[::2]:
            lease = draw(st.integers(1, 4))
            tenancies.append(tenancy(number, 2 + lease % 3, lease, start, end, people=people[lease], area=30))
    return tenancies, spaces


@given(months())
def test_weights_are_those_of_each_day(month):
    tenancies, spaces = month
    found = weights(tenancies, spaces)
    for party in {OWNER, 2, 3, 4}:
        area = people = 0
        for day in DAYS:
            holds = [t for t in tenancies if t.starts_on <= day < (t.ends_on or AFTER)]
            own = [t for t in holds if t.tenant_id == party]
            area += sum(t.area_m2 for t in own)
            people += sum({t.lease_id: t.people or 0 for t in own}.values())
            if party == OWNER:
                there = [s for s in spaces if (s.starts_on or day) <= day < (s.ends_on or AFTER)]
                area += sum(s.area_m2 for s in there if s.id not in {t.space_id for t in holds})
        mine = found.get(party)
        assert ((mine.area_days, mine.people_days) if mine else (0, 0)) == (area, people)
