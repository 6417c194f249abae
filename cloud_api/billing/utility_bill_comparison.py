"""The utility's bill beside our own ledger: energy in all and per bucket, and the amount. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Any

from cloud_api.billing import resale
from cloud_api.billing.charge import round_fraction
from cloud_api.billing.run_model import RunInputs
from cloud_api.billing.tariff import BUCKET_NAMES
from cloud_api.billing.what_if import plain
from cloud_api.kit.i18n import Text

ENERGY_PERCENT_MAX = Decimal(1)
AMOUNT_PERCENT_MAX = Decimal(2)
"""Differences from our own ledger up to here are not mentioned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One figure twice: on the utility's bill, and by our own ledger."""

    theirs: Decimal
    ours: Decimal

    @property
    def percent(self) -> Decimal | None:
        """How far ours lies from theirs, in percent of theirs."""
        return None if not self.theirs else ((self.ours - self.theirs) * 100 / self.theirs).quantize(Decimal("0.01"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The utility's bill beside our main meter: energy in all and per bucket, and the amount by the landlord's tariff.

    `buckets` holds the buckets for which the bill says its kWh.
    """

    energy: Side
    buckets: Mapping[str, Side] = field(default_factory=dict[str, Side])
    amount: Side | None = None

    def words(self) -> list[Text]:
        """Return what a person should look at; empty when the two agree."""
        found: list[Text] = []
        if _apart(self.energy, ENERGY_PERCENT_MAX):
            found.append(
                Text(
                    "the bill counts {theirs} kWh, our main meter {ours} kWh; they differ by {percent} %: check the"
                    " period, the ratio and the main meter's readings",
                    theirs=plain(self.energy.theirs),
                    ours=plain(self.energy.ours),
                    percent=self.energy.percent,
                )
            )
        found += [
            Text(
                "period {bucket}: the bill counts {theirs} kWh, our main meter {ours} kWh ({percent} %): check the"
                " meter's clock and the tariff's windows",
                bucket=_named(bucket),
                theirs=plain(side.theirs),
                ours=plain(side.ours),
                percent=side.percent,
            )
            for bucket, side in self.buckets.items()
            if _apart(side, ENERGY_PERCENT_MAX)
        ]
        if self.amount is not None and _apart(self.amount, AMOUNT_PERCENT_MAX):
            found.append(
                Text(
                    "the bill asks {theirs}, our main meter rated by the purchase tariff {ours} ({percent} %): check"
                    " the tariff's prices or claim the difference from the utility",
                    theirs=self.amount.theirs,
                    ours=self.amount.ours,
                    percent=self.amount.percent,
                )
            )
        return found


def compare(inputs: RunInputs, bill: Mapping[str, Any]) -> Comparison:
    """Compare a bill with the energy of our main meter in the inputs' period, rated by the landlord's tariff.

    Rent, services and taxes outside the tariff stand in the amount's difference.
    """
    ours = resale.main_by_bucket(inputs)
    theirs: dict[str, Decimal] = {}
    for line in bill["lines"]:
        if line.get("bucket") and line.get("kwh"):
            # Purchase, losses and funds of one period name the same energy: it counts once.
            theirs[line["bucket"]] = max(theirs.get(line["bucket"], Decimal(0)), Decimal(line["kwh"]))
    energy = sum((kwh for kwh, _ in ours.values()), Decimal(0))
    rated = round_fraction(sum((amount for _, amount in ours.values()), Fraction(0)))
    return Comparison(
        energy=Side(theirs=Decimal(bill["kwh"]), ours=energy),
        buckets={b: Side(theirs=kwh, ours=ours.get(b, (Decimal(0), 0))[0]) for b, kwh in theirs.items()},
        amount=Side(theirs=Decimal(bill["total"]), ours=rated) if rated else None,
    )


def _named(bucket: str) -> str:
    """Return a period's name in both languages, for words that are read in either."""
    name = BUCKET_NAMES.get(bucket)
    return f"{name.zh} {name.en}" if name else bucket


def _apart(side: Side, percent_max: Decimal) -> bool:
    return abs(side.ours - side.theirs) * 100 > percent_max * abs(side.theirs)
