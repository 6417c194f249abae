"""Nothing is lost or invented when energy is divided over tenants, common areas, losses and the owner."""

from dataclasses import replace
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from cloud_api.billing.apportionment import Holding, Stretch, Weights, apportion
from cloud_api.billing.policy import Policy

OWNER = 1
RUNS = (0, 1, 2)  # Valley, flat, peak.
energy = st.dictionaries(st.sampled_from(RUNS), st.integers(0, 10**9), max_size=3)
policies = st.builds(
    Policy,
    common=st.sampled_from([{}, {"area": 1}, {"energy": 1}, {"area": Decimal("0.3"), "energy": Decimal("0.7")},
                            {"head_count": 1}, {"equal": 1}]),
    residual=st.sampled_from(["landlord", "pro_rata_energy", "pro_rata_area", "fixed_pct"]),
    residual_percent_max=st.sampled_from([Decimal(0), Decimal("2.5")]),
)  # fmt: skip


@st.composite
def sites(draw):
    """Return stretches, main, common, weights: some meters are shared, the main meter counts more or less."""
    parties = [OWNER, *range(2, 2 + draw(st.integers(1, 5)))]
    stretches = []
    for meter in range(draw(st.integers(1, 6))):
        first = draw(st.sampled_from(parties))
        share = draw(st.sampled_from([Decimal(1), Decimal("0.5"), Decimal("0.123456")]))
        other = draw(st.sampled_from([p for p in parties if p != first]))
        holdings = [Holding(party=first, lease_id=None, space_id=meter, share=share)]
        if share != 1:
            holdings.append(Holding(party=other, lease_id=None, space_id=meter, share=1 - share))
        stretches.append(Stretch(meter_id=meter, holdings=tuple(holdings), energy=draw(energy)))
    weights = {
        p: Weights(area_days=Decimal(draw(st.integers(0, 3000))), people_days=Decimal(draw(st.integers(0, 90))))
        for p in parties
    }
    return stretches, draw(energy), draw(energy), weights


def divided(site, policy):
    stretches, main, common, weights = site
    return apportion(stretches, main=main, common=common, owner=OWNER, weights=weights, policy=policy)


@given(sites(), policies)
def test_in_each_bucket_the_main_meter_is_exactly_subs_common_and_residual(site, policy):
    stretches, main, common, _ = site
    found = divided(site, policy)
    for run in RUNS:
        subs = sum(s.energy.get(run, 0) for s in stretches)
        own = sum(p.own.get(run, 0) for p in found.parties.values())
        shared = sum(p.common.get(run, 0) for p in found.parties.values())
        lost = sum(p.loss.get(run, 0) for p in found.parties.values())
        assert own == subs
        assert shared == common.get(run, 0)
        assert own + shared + lost == main.get(run, 0)
    assert found.metered + found.common + found.residual == found.main


@given(sites(), policies)
def test_meters_that_count_more_than_the_main_meter_burden_no_tenant(site, policy):
    for party, found in divided(site, policy).parties.items():
        assert party == OWNER or all(quantity >= 0 for quantity in found.loss.values())


@given(sites(), policies, st.randoms(use_true_random=False))
def test_the_order_of_meters_and_tenants_changes_nothing(site, policy, random):
    stretches, main, common, weights = site
    shuffled, parties = list(stretches), list(weights.items())
    random.shuffle(shuffled)
    random.shuffle(parties)
    assert divided((shuffled, main, common, dict(parties)), policy) == divided(site, policy)


@given(sites(), policies)
def test_a_tenant_without_use_area_or_people_changes_nobodys_part(site, policy):
    stretches, main, common, weights = site
    before = divided(site, policy)
    nobody = {99: Weights()}
    after = divided((stretches, main, common, weights | nobody), replace(policy))
    for party, found in before.parties.items():
        assert {k: dict(getattr(after.parties[party], k)) for k in ("own", "common")} == {
            k: dict(getattr(found, k)) for k in ("own", "common")
        }
    assert not any(after.parties[99].own.values())
    assert not any(after.parties[99].common.values())
    assert not any(after.parties[99].loss.values())
