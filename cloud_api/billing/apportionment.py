"""Who used what: metered energy to parties, common energy and losses by policy, nothing lost. Pure.

Energy is counted in whole millionths of a kWh (the ledger's finest step), so that every share adds up exactly.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction

from cloud_api.billing.policy import Policy
from cloud_api.kit.money import share_largest_remainder

MICRO = 1_000_000
"""Units per kWh."""

PartyId = int
RunIndex = int
Energy = Mapping[RunIndex, int]
"""Micro-kWh per run of the tariff's timetable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """A party's share of a meter for one stretch; the parties of a stretch are ordered by a stable key."""

    party: PartyId
    lease_id: int | None
    space_id: int
    share: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """A tenant meter's energy while its assignments did not change."""

    meter_id: int
    holdings: tuple[Holding, ...]
    energy: Energy


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """What a party weighs by each driver, in the period: m² × days, people × days."""

    area_days: Decimal = Decimal(0)
    people_days: Decimal = Decimal(0)


@dataclass(slots=True, kw_only=True)
class PartyEnergy:
    """What one party used by its own meters, and what was shared out to it."""

    own: defaultdict[RunIndex, int] = field(default_factory=lambda: defaultdict(int))
    common: defaultdict[RunIndex, int] = field(default_factory=lambda: defaultdict(int))
    loss: defaultdict[RunIndex, int] = field(default_factory=lambda: defaultdict(int))


@dataclass(frozen=True, slots=True, kw_only=True)
class Apportioned:
    """The main meter's energy, divided without rest: main = tenants + owner's own + common + losses."""

    parties: Mapping[PartyId, PartyEnergy]
    main: int
    metered: int
    common: int
    residual: int

    @property
    def loss_percent(self) -> Decimal:
        """The residual in percent of the main meter."""
        return Decimal(self.residual) * 100 / Decimal(self.main) if self.main else Decimal(0)


def divide(stretch: Stretch) -> list[tuple[Holding, dict[RunIndex, int]]]:
    """Divide a stretch over its holdings by share, each run by largest remainder; the parts sum to the whole."""
    if len(stretch.holdings) == 1:
        return [(stretch.holdings[0], dict(stretch.energy))]
    weights = [h.share for h in stretch.holdings]
    parts: list[dict[RunIndex, int]] = [{} for _ in weights]
    for run, energy in stretch.energy.items():
        for part, share in zip(parts, share_largest_remainder(energy, weights), strict=True):
            part[run] = share
    return list(zip(stretch.holdings, parts, strict=True))


def apportion(
    stretches: Iterable[Stretch],
    *,
    main: Energy,
    common: Energy,
    owner: PartyId,
    weights: Mapping[PartyId, Weights],
    policy: Policy,
) -> Apportioned:
    """Divide the main meter's energy over the parties.

    Metered energy goes to whoever held the space; common energy and the residual (losses, meter error, unmetered load)
    by the policy. A negative residual is never shared: meters that count more than the main meter are the landlord's.
    """
    parties: defaultdict[PartyId, PartyEnergy] = defaultdict(PartyEnergy)
    for party in weights:
        parties[party]  # A party without a meter still takes part in what is shared.
    metered: defaultdict[RunIndex, int] = defaultdict(int)
    for stretch in stretches:
        for holding, energy in divide(stretch):
            own = parties[holding.party].own
            for run, quantity in energy.items():
                own[run] += quantity
                metered[run] += quantity
    residual = {run: main.get(run, 0) - metered.get(run, 0) - common.get(run, 0) for run in {*main, *metered, *common}}
    order = sorted(parties)
    constant = None if "energy" in policy.common else _whole(_mix(policy, parties, order, weights, 0))
    for run, quantity in common.items():
        mixed = _whole(_mix(policy, parties, order, weights, run)) if constant is None else constant
        for party, part in _shared(quantity, mixed, order, owner):
            parties[party].common[run] += part
    for run, quantity in _loss_split(residual, main, policy):
        lost = _whole(_loss_weights(policy, parties, order, weights, run))
        for party, part in _shared(quantity, lost, order, owner):
            parties[party].loss[run] += part
    for run, quantity in residual.items():
        parties[owner].loss[run] += quantity - sum(p.loss[run] for p in parties.values())
    return Apportioned(
        parties=dict(parties),
        main=sum(main.values()),
        metered=sum(metered.values()),
        common=sum(common.values()),
        residual=sum(residual.values()),
    )


def _shared(
    quantity: int, weights: Sequence[int], order: Sequence[PartyId], owner: PartyId
) -> list[tuple[PartyId, int]]:
    if not any(weights):
        return [(owner, quantity)]
    return list(zip(order, share_largest_remainder(quantity, weights), strict=True))


def _whole(weights: Sequence[Fraction]) -> list[int]:
    """Return the same weights as whole numbers: sharing by them is exact and needs no fractions."""
    common = math.lcm(*(w.denominator for w in weights)) if weights else 1
    return [int(w * common) for w in weights]


def _mix(
    policy: Policy,
    parties: Mapping[PartyId, PartyEnergy],
    order: Sequence[PartyId],
    weights: Mapping[PartyId, Weights],
    run: RunIndex,
) -> list[Fraction]:
    """Return each party's weight as a mix of drivers; a driver that nobody has leaves its part to the others."""
    mixed = [Fraction(0)] * len(order)
    for driver, part in policy.common.items():
        values = [_driver(driver, parties[p], weights.get(p, Weights()), run) for p in order]
        whole = sum(values, Fraction(0))
        if whole:
            mixed = [m + Fraction(part) * v / whole for m, v in zip(mixed, values, strict=True)]
    return mixed


def _driver(driver: str, energy: PartyEnergy, weight: Weights, run: RunIndex) -> Fraction:
    match driver:
        case "area":
            return Fraction(weight.area_days)
        case "head_count":
            return Fraction(weight.people_days)
        case "energy":
            return Fraction(max(energy.own.get(run, 0), 0))
        case _:
            return Fraction(1) if weight.area_days else Fraction(0)


def _loss_split(residual: Energy, main: Energy, policy: Policy) -> list[tuple[RunIndex, int]]:
    """Return the part of the residual that is shared; the rest stays with the landlord."""
    if policy.residual == "landlord":
        return []
    shared = []
    for run, quantity in residual.items():
        part = max(quantity, 0)
        if policy.residual == "fixed_pct":
            part = min(part, int(main.get(run, 0) * policy.residual_percent_max / 100))
        shared.append((run, part))
    return shared


def _loss_weights(
    policy: Policy,
    parties: Mapping[PartyId, PartyEnergy],
    order: Sequence[PartyId],
    weights: Mapping[PartyId, Weights],
    run: RunIndex,
) -> list[Fraction]:
    driver = "area" if policy.residual == "pro_rata_area" else "energy"
    return [_driver(driver, parties[p], weights.get(p, Weights()), run) for p in order]
