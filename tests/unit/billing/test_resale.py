"""The cap of resold electricity over whole bill runs: what tenants pay against what the same energy cost."""

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from cloud_api.billing.apportionment import Holding
from cloud_api.billing.calendar import PLAIN
from cloud_api.billing.compose import compose
from cloud_api.billing.policy import Policy
from cloud_api.billing.run_model import MeterFacts, Part, PartEnergy, TenantFacts
from cloud_api.billing.tariff_file import parse_tariff
from cloud_api.billing.timetable import cut_by_day
from cloud_api.kit.period import local_days
from cloud_api.metering.lengths import Lengths
from tests.unit.billing.conftest import NAME, OWNER, run_inputs

FIRST, AFTER = date(2026, 3, 1), date(2026, 3, 4)
prices = st.fixed_dictionaries(
    {b: st.integers(1, 20_000).map(lambda n: Decimal(n).scaleb(-4)) for b in ("day", "night")}
)


def tariff(price):
    """Make a tariff of two prices per kWh, VAT included."""
    return parse_tariff(f"""
tariff: t
name: {{zh: 测, en: t}}
versions:
  - version: v1
    valid_from: 2020-01-01
    windows:
      - {{bucket: night, hours: ["00:00-08:00", "22:00-24:00"]}}
      - {{bucket: day, hours: ["08:00-22:00"]}}
    components:
      - {{code: energy, name: {{zh: 电, en: energy}}, kind: energy, prices: {{day: {price["day"]}, night: {price["night"]}}}}}
""").tariff


def meter(number, use):
    return MeterFacts(id=number, code=f"m{number}", name=NAME, use=use, parent_id=None, lengths=Lengths.always(15))


def party(number):
    return TenantFacts(
        id=number, code=f"t{number}", name=NAME, credit_code=None, attributes={}, is_owner=number == OWNER
    )


@st.composite
def runs(draw):
    """Draw three days of a site: a main meter, tenants, some of them behind one meter, common areas and losses."""
    bought, sold = draw(prices), draw(prices)
    period = local_days(FIRST, AFTER, tariff(sold).zone)
    pieces = cut_by_day(tariff(sold), PLAIN, period)
    energy = st.dictionaries(st.integers(0, len(pieces) - 1), st.integers(0, 5 * 10**9), max_size=len(pieces))
    parts = [Part(index=0, meter=meter(1, "main"), period=period)]
    used = {}
    for number in range(2, 2 + draw(st.integers(1, 4))):
        share = draw(st.sampled_from([Decimal(1), Decimal("0.5"), Decimal("0.333333")]))
        other = draw(st.sampled_from([OWNER, 2, 3]).filter(lambda p, own=number: p != own))
        holdings = [Holding(party=number, lease_id=None, space_id=number, share=share)]
        if share < 1:
            holdings.append(Holding(party=other, lease_id=None, space_id=number, share=1 - share))
        parts.append(Part(index=len(parts), meter=meter(number, "tenant"), period=period, holdings=tuple(holdings)))
        used[parts[-1].index] = draw(energy)
    parts.append(Part(index=len(parts), meter=meter(99, "common"), period=period))
    used[parts[-1].index] = draw(energy)
    lost = draw(st.integers(0, 10**8))
    used[0] = {i: sum(u.get(i, 0) for u in used.values()) + lost for i in range(len(pieces))}
    common = draw(st.sampled_from([{}, {"energy": Decimal(1)}]))
    policy = Policy(common=common, residual=draw(st.sampled_from(["landlord", "pro_rata_energy"])))
    energies = {i: PartEnergy(runs=u, count=288) for i, u in used.items()}
    tenants = {n: party(n) for n in range(1, 7)}
    inputs = run_inputs(
        tariff(sold), FIRST, AFTER, landlord_tariff=tariff(bought), policy=policy, parts=parts, energy=energies,
        tenants=tenants,
    )  # fmt: skip
    return inputs, bought, sold


def paid_for(result, inputs, bought):
    """Reckon anew what the tenants' energy cost the landlord: kWh of each bucket times its purchase price."""
    total = Decimal(0)
    for number, energy in result.apportioned.parties.items():
        if number != OWNER:
            for kind in (energy.own, energy.common, energy.loss):
                total += sum(Decimal(q).scaleb(-6) * bought[inputs.runs[i].bucket] for i, q in kind.items())
    return total


@settings(max_examples=60, deadline=timedelta(seconds=5))
@given(runs())
def test_a_run_is_held_up_exactly_when_tenants_would_pay_more_than_their_energy_cost(drawn):
    inputs, bought, _sold = drawn
    result = compose(inputs)
    recovered = sum(Decimal(line["amount"]) for b in result.bills if b.kind == "bill" for line in b.snapshot["lines"])
    over = recovered - paid_for(result, inputs, bought).quantize(Decimal("0.01"), rounding="ROUND_HALF_UP")
    sheet = result.summary["resale"]
    assert (Decimal(sheet["recovered"]), Decimal(sheet["over_recovery"])) == (recovered, over)
    blocked = [issue for issue in result.summary["blocking"] if issue["code"] == "over_recovery"]
    assert bool(blocked) is (over > inputs.policy.resale_tolerance)


@settings(max_examples=60, deadline=timedelta(seconds=5))
@given(runs())
def test_energy_passed_on_at_its_price_recovers_no_more_than_rounding(drawn):
    inputs, _bought, sold = drawn
    result = compose(replace(inputs, landlord_tariff=tariff(sold)))
    lines = sum(len(b.snapshot["lines"]) for b in result.bills if b.kind == "bill")
    assert abs(Decimal(result.summary["resale"]["over_recovery"])) <= Decimal("0.005") * (lines + 1)
