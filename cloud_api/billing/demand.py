"""Billing demand (kW) from measured demand, by the named rules. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from cloud_api.billing.tariff import Demand, Ratchet
from cloud_api.kit.i18n import Text

Peaks = Mapping[str, Sequence[Decimal]]
"""The highest averages of one feed in kW per bucket, highest first."""

_OVER = Decimal("1.05")
_UNDER = Decimal("0.95")


class DemandUnknown(ValueError):
    """The billing demand cannot be told: a fact is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BillingDemand:
    """What was measured and what is charged, with the words that explain the step between."""

    measured_kw: Decimal
    billed_kw: Decimal
    reason: Text


def billing_demand(
    demand: Demand,
    feeds: Sequence[Peaks],
    *,
    coincident: Peaks | None = None,
    contract_kw: Decimal | None = None,
    previous_kw: Sequence[Decimal] = (),
) -> BillingDemand:
    """Apply a demand rule.

    `contract105` and `legacy95_105` follow 国家电网财〔2016〕633号 and the rule before it; whether the band from 100 to
    105 % of the contract is charged once 105 % is exceeded is the policy `band_100_105`. Raises DemandUnknown when the
    rule needs a contract or a measurement that is not there.
    """
    measured = measured_kw(demand, feeds, coincident)
    match demand.rule:
        case "actual":
            return BillingDemand(measured_kw=measured, billed_kw=measured, reason=Text("actual maximum"))
        case "ratchet":
            return _ratchet(demand, measured, previous_kw)
        case "contract105" | "legacy95_105":
            if contract_kw is None:
                raise DemandUnknown(Text("the rule {rule} needs the contract demand in kW", rule=demand.rule))
            return _against_contract(demand, measured, contract_kw)


def measured_kw(demand: Demand, feeds: Sequence[Peaks], coincident: Peaks | None) -> Decimal:
    """Return what was measured, in kW, in the periods that the rule looks at. Raises DemandUnknown without a feed."""
    used = [coincident] if demand.feeds == "coincident" and coincident is not None else feeds
    if not used:
        raise DemandUnknown(Text("no demand was measured"))
    return sum((_mean_of_highest(demand, feed) for feed in used), Decimal(0))


def months_before(day: date, ratchet: Ratchet) -> list[date]:
    """Return the first days of the calendar months that a ratchet looks back at from the month of a day."""
    latest = day.year * 12 + day.month - 1
    found = [date(i // 12, i % 12 + 1, 1) for i in range(latest - ratchet.months_back, latest)]
    return [month for month in found if not ratchet.months or month.month in ratchet.months]


def _mean_of_highest(demand: Demand, feed: Peaks) -> Decimal:
    chosen = sorted(
        (p for b, ps in feed.items() if not demand.buckets or b in demand.buckets for p in ps), reverse=True
    )
    highest = chosen[: demand.peaks]
    return sum(highest, Decimal(0)) / len(highest) if highest else Decimal(0)


def _against_contract(demand: Demand, measured: Decimal, contract_kw: Decimal) -> BillingDemand:
    upper = contract_kw * _OVER
    if measured > upper:
        band = upper - contract_kw if demand.band_100_105 == "charged" else Decimal(0)
        billed = contract_kw + band + 2 * (measured - upper)
        return BillingDemand(
            measured_kw=measured, billed_kw=billed, reason=Text("above 105 % of the contract: excess twice")
        )
    if demand.rule == "contract105":
        return BillingDemand(
            measured_kw=measured, billed_kw=contract_kw, reason=Text("within 105 %: the contract demand")
        )
    lower = contract_kw * _UNDER
    if measured < lower:
        return BillingDemand(measured_kw=measured, billed_kw=lower, reason=Text("below 95 %: 95 % of the contract"))
    return BillingDemand(measured_kw=measured, billed_kw=measured, reason=Text("within 95-105 %: actual maximum"))


def _ratchet(demand: Demand, measured: Decimal, previous_kw: Sequence[Decimal]) -> BillingDemand:
    rule = demand.ratchet
    if rule is None:
        raise DemandUnknown(Text("the rule ratchet needs its section `ratchet`"))
    floor = max([p * rule.percent / 100 for p in previous_kw], default=Decimal(0))
    billed = max(measured, floor, rule.minimum_kw)
    reason = Text("ratchet: {percent} % of an earlier peak, or the minimum", percent=rule.percent)
    if billed == measured:
        reason = Text("actual maximum")
    return BillingDemand(measured_kw=measured, billed_kw=billed, reason=reason)
