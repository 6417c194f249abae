"""What a party's energy costs in a run: rated by the tariff, or as its share of the utility's own bill. Pure."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import get_args

from cloud_api.billing import cost_share, rating
from cloud_api.billing.apportionment import Apportioned
from cloud_api.billing.book import Book, kwh
from cloud_api.billing.charge import Cycle, Facts, Issue, Line, Slice, Usage
from cloud_api.billing.power_factor import power_factor
from cloud_api.billing.run_model import PartyDemand, RunInputs
from cloud_api.billing.tariff import Kind

_SHARED_KINDS = frozenset({"energy"})
_ALL_KINDS = frozenset(get_args(Kind))


Charges = tuple[list[Line], list[Issue]]
Charge = Callable[[int, Cycle], Charges]


def charging(book: Book, apportioned: Apportioned) -> Charge:
    """Return what tells a party's lines before VAT, by the site's mode of resale."""
    inputs = book.inputs
    is_shared = inputs.policy.resale_mode == "cost_share"
    shared = cost_share.shares(book, apportioned) if is_shared else {}

    def charge(party: int, cycle: Cycle) -> Charges:
        energy = (shared.get(party, []), []) if is_shared else _rated(inputs, apportioned, party, cycle)
        hours = _after_hours(inputs, party, cycle)
        return [*energy[0], *hours[0]], [*energy[1], *hours[1]]

    return charge


def _after_hours(inputs: RunInputs, party: int, cycle: Cycle) -> Charges:
    hours = inputs.after_hours.get(party)
    if hours is None or inputs.after_hours_tariff is None:
        return [], []
    lines, issues = rating.charges(inputs.after_hours_tariff, cycle, hours)
    return [replace(line, source="after_hours") for line in lines], issues


def _rated(inputs: RunInputs, apportioned: Apportioned, party: int, cycle: Cycle) -> Charges:
    """Rate a party's own energy first, then its share of common areas and of losses.

    What a demand, a capacity or a fixed amount costs is charged once, with the own energy.
    """
    energy = apportioned.parties[party]
    own = _with_supply(inputs, usage_of(inputs, energy.own), party)
    before = inputs.used_before.get(party, {})
    facts = Facts(
        used_before=before,
        earlier={m: _with_demand(inputs, Usage(), d[party]) for m, d in inputs.earlier_demand.items() if party in d},
        contract_kw=inputs.supply.contract_kw.get(party),
        capacity_kva=inputs.supply.capacity_kva.get(party),
        power_factor=_site_power_factor(inputs) if inputs.policy.pf_share == "energy_basic" else None,
    )
    kinds = _ALL_KINDS - {"pf"} if inputs.policy.pf_share == "landlord" else None
    lines, issues = rating.charges(inputs.tariff, cycle, own, facts, kinds=kinds)
    used = _plus(before, own)
    for source, shared in (("common", energy.common), ("loss", _moved(inputs, energy.loss))):
        usage = usage_of(inputs, shared)
        if any(s.quantity for s in usage.slices):
            more, _ = rating.charges(inputs.tariff, cycle, usage, Facts(used_before=used), kinds=_SHARED_KINDS)
            lines += [replace(line, source=source) for line in more]
            used = _plus(used, usage)
    return lines, issues


def _with_supply(inputs: RunInputs, usage: Usage, party: int) -> Usage:
    demand = inputs.supply.demand.get(party)
    kvarh = inputs.supply.reactive_kvarh.get(party)
    usage = replace(usage, reactive_kvarh=kvarh)
    return usage if demand is None else _with_demand(inputs, usage, demand)


def _with_demand(inputs: RunInputs, usage: Usage, demand: PartyDemand) -> Usage:
    if inputs.policy.demand_basis == "site_maximum":
        return replace(usage, feeds=(demand.at_site_maximum,))
    return replace(usage, feeds=demand.feeds, coincident=demand.coincident)


def _site_power_factor(inputs: RunInputs) -> Decimal | None:
    kvarh = inputs.supply.reactive_kvarh.get(None)
    if kvarh is None:
        return None
    main = (
        sum(inputs.energy[p.index].runs.values())
        for p in inputs.parts
        if p.meter.use == "main" and p.index in inputs.energy
    )
    return power_factor(kwh(sum(main)), kvarh)


def usage_of(inputs: RunInputs, energy: Mapping[int, int]) -> Usage:
    """Return energy per run as rating wants it: in order of time when a tier needs it, else one slice per bucket."""
    if rating.needs_order(inputs.tariff):
        slices = [
            Slice(version=r.version, bucket=r.bucket, quantity=kwh(energy[i]))
            for i, r in enumerate(inputs.runs)
            if energy.get(i)
        ]
        return Usage(slices=tuple(slices))
    totals: dict[tuple[str, str], int] = {}
    for i, quantity in energy.items():
        key = (inputs.runs[i].version, inputs.runs[i].bucket)
        totals[key] = totals.get(key, 0) + quantity
    return Usage(slices=tuple(Slice(version=v, bucket=b, quantity=kwh(q)) for (v, b), q in sorted(totals.items())))


def _plus(before: Mapping[str, Decimal], usage: Usage) -> dict[str, Decimal]:
    total = dict(before)
    for slice_ in usage.slices:
        total[slice_.bucket] = total.get(slice_.bucket, Decimal(0)) + slice_.quantity
    return total


def _moved(inputs: RunInputs, loss: Mapping[int, int]) -> Mapping[int, int]:
    """Put shared losses into the bucket that the policy prices them in."""
    bucket = inputs.policy.loss_bucket
    if bucket is None:
        return loss
    found: defaultdict[int, int] = defaultdict(int)
    for i, quantity in loss.items():
        version = inputs.runs[i].version
        goal = next((j for j, r in enumerate(inputs.runs) if (r.version, r.bucket) == (version, bucket)), i)
        found[goal] += quantity
    return found
