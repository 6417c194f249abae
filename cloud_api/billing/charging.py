"""What a party's energy costs in a run: rated by the tariff, or as its share of the utility's own bill. Pure."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal

from cloud_api.billing import rating
from cloud_api.billing.apportionment import Apportioned
from cloud_api.billing.book import Book, kwh
from cloud_api.billing.charge import Cycle, Facts, Issue, Line, Slice, Usage
from cloud_api.billing.run_model import RunInputs

_SHARED_KINDS = frozenset({"energy"})


def charges_of(book: Book, apportioned: Apportioned, party: int, cycle: Cycle) -> tuple[list[Line], list[Issue]]:
    """Return a party's lines before VAT: its own energy first, then its share of common areas and of losses.

    What a demand, a capacity or a fixed amount costs is charged once, with the own energy.
    """
    inputs, energy = book.inputs, apportioned.parties[party]
    own = usage_of(inputs, energy.own)
    before = inputs.used_before.get(party, {})
    lines, issues = rating.charges(inputs.tariff, cycle, own, Facts(used_before=before))
    used = _plus(before, own)
    for source, shared in (("common", energy.common), ("loss", _moved(inputs, energy.loss))):
        usage = usage_of(inputs, shared)
        if any(s.quantity for s in usage.slices):
            more, _ = rating.charges(inputs.tariff, cycle, usage, Facts(used_before=used), kinds=_SHARED_KINDS)
            lines += [replace(line, source=source) for line in more]
            used = _plus(used, usage)
    hours = inputs.after_hours.get(party)
    if hours is not None and inputs.after_hours_tariff is not None:
        more, missing = rating.charges(inputs.after_hours_tariff, cycle, hours)
        lines += [replace(line, source="after_hours") for line in more]
        issues += missing
    return lines, issues


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
