"""From a run's inputs to its bills: apportion, rate, reconcile. Pure: same inputs, same bytes."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from cloud_api.billing import rating, resale
from cloud_api.billing.apportionment import Apportioned, Stretch, Weights, apportion
from cloud_api.billing.charge import Cycle, Facts, Issue, Slice, Usage
from cloud_api.billing.run_model import BillDraft, Part, RunInputs, RunResult
from cloud_api.billing.snapshot import energy_of, estimated_percent, fingerprint, held_by, held_days, kwh, snapshot_of
from cloud_api.billing.vat import close
from cloud_api.billing.what_if import plain

_SHARED_KINDS = frozenset({"energy"})


def compose(inputs: RunInputs, issues: Sequence[Issue] = ()) -> RunResult:
    """Make every bill of the period, and the run's reconciliation with what forbids issuing it."""
    net = net_energy(inputs)
    apportioned = _apportion(inputs, net)
    parties = [p for p in sorted(apportioned.parties) if p in inputs.tenants]
    drafts = [_bill(inputs, apportioned, net, party) for party in parties if _concerned(inputs, apportioned, party)]
    sheet = resale.check(inputs, apportioned, drafts)
    drafts = [_sealed(replace(d, snapshot=d.snapshot | {"resale": sheet["sheet"]})) for d in drafts]
    blocking = [*issues, *_run_issues(inputs, apportioned), *sheet["issues"]]
    return RunResult(
        bills=tuple(drafts), apportioned=apportioned, summary=_summary(inputs, apportioned, drafts, blocking, sheet)
    )


def net_energy(inputs: RunInputs) -> dict[int, dict[int, int]]:
    """Return each part's energy per run, less that of counted meters hanging under it."""
    found = {part.index: dict(energy_of(inputs, part).runs) for part in inputs.parts}
    for part in inputs.parts:
        if part.subtract_from is not None:
            above = found[part.subtract_from]
            for run, quantity in found.pop(part.index).items():
                above[run] = above.get(run, 0) - quantity
    return found


def _apportion(inputs: RunInputs, net: Mapping[int, Mapping[int, int]]) -> Apportioned:
    def total(*uses: str) -> dict[int, int]:
        summed: defaultdict[int, int] = defaultdict(int)
        for part in inputs.parts:
            if part.meter.use in uses and part.index in net:
                for run, quantity in net[part.index].items():
                    summed[run] += quantity
        return dict(summed)

    stretches = [
        Stretch(meter_id=part.meter.id, holdings=part.holdings, energy=net[part.index])
        for part in inputs.parts
        if part.holdings
    ]
    return apportion(
        stretches,
        main=total("main"),
        common=total("common", "plant"),
        owner=inputs.site.owner_id,
        weights=_weights(inputs),
        policy=inputs.policy,
    )


def _weights(inputs: RunInputs) -> dict[int, Weights]:
    """Return m² × days and people × days of each party; what nobody leased weighs for the owner."""
    area: defaultdict[int, Decimal] = defaultdict(Decimal)
    people: defaultdict[int, Decimal] = defaultdict(Decimal)
    days = (inputs.ends_on - inputs.starts_on).days
    vacant = {space.id: space.area_m2 * days for space in inputs.spaces}
    areas = {space.id: space.area_m2 for space in inputs.spaces}
    counted: set[tuple[int, date]] = set()
    for tenancy in inputs.tenancies:
        first, after = held_days(inputs, tenancy)
        held = max((after - first).days, 0)
        area[tenancy.tenant_id] += tenancy.area_m2 * held
        vacant[tenancy.space_id] = vacant.get(tenancy.space_id, Decimal(0)) - areas.get(tenancy.space_id, 0) * held
        if tenancy.people is not None and (tenancy.lease_id, first) not in counted:
            counted.add((tenancy.lease_id, first))
            people[tenancy.tenant_id] += Decimal(tenancy.people) * held
    area[inputs.site.owner_id] += max(sum(vacant.values(), Decimal(0)), Decimal(0))
    return {p: Weights(area_days=area[p], people_days=people[p]) for p in sorted({*area, *people})}


def _concerned(inputs: RunInputs, apportioned: Apportioned, party: int) -> bool:
    energy = apportioned.parties[party]
    return (
        party == inputs.site.owner_id
        or any((*energy.own.values(), *energy.common.values(), *energy.loss.values()))
        or any(t.tenant_id == party for t in inputs.tenancies)
    )


def _bill(inputs: RunInputs, apportioned: Apportioned, net: Mapping[int, Mapping[int, int]], party: int) -> BillDraft:
    energy = apportioned.parties[party]
    first, after = _billed_days(inputs, party)
    cycle = Cycle(starts_on=inputs.starts_on, ends_on=inputs.ends_on, billed_from=first, billed_to=after)
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
    rated = close(lines, issues)
    doubts = [*issues, *_doubts(inputs, party), *_estimated(inputs, party)]
    kind = "owner" if inputs.tenants[party].is_owner else "bill"
    snapshot = snapshot_of(inputs, apportioned, net, party, cycle, rated) | {
        "kind": kind,
        "issues": [{"code": i.code, "text": i.text} for i in doubts],
    }
    return BillDraft(tenant_id=party, kind=kind, rated=rated, snapshot=snapshot, sha256="", issues=tuple(doubts))


def _billed_days(inputs: RunInputs, party: int) -> tuple[date, date]:
    """Return the days from the first to the last on which the party holds a space."""
    held = [held_days(inputs, t) for t in inputs.tenancies if t.tenant_id == party]
    held = [(first, after) for first, after in held if first < after]
    if not held:
        return inputs.starts_on, inputs.ends_on
    return min(first for first, _ in held), max(after for _, after in held)


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


def _doubts(inputs: RunInputs, party: int) -> list[Issue]:
    return [lack for part in inputs.parts if held_by(part, party) and (lack := _lack(inputs, part))]


def _lack(inputs: RunInputs, part: Part) -> Issue | None:
    energy = energy_of(inputs, part)
    if energy.missing or energy.count < part.expected_count:
        known = energy.count - energy.missing
        text = (
            f"meter {part.meter.code}: {known} of {part.expected_count} intervals are known; enter readings or estimate"
        )
        return Issue(code="readings_missing", text=text)
    return None


def _estimated(inputs: RunInputs, party: int) -> list[Issue]:
    percent = estimated_percent(inputs, party)
    limit = inputs.policy.estimated_max_percent
    if percent <= limit:
        return []
    return [Issue(code="estimated", text=f"{percent:.1f} % is estimated; at most {limit} % may be")]


def _run_issues(inputs: RunInputs, apportioned: Apportioned) -> list[Issue]:
    policy = inputs.policy
    found = [lack for part in inputs.parts if not part.holdings and (lack := _lack(inputs, part))]
    if not any(part.meter.use == "main" for part in inputs.parts):
        found.append(Issue(code="no_main_meter", text="the site has no main meter: the run cannot be reconciled"))
    loss = apportioned.loss_percent
    if loss > policy.loss_block_percent or loss < -policy.gain_block_percent:
        text = (
            f"main and sub-meters differ by {loss:.2f} %; -{policy.gain_block_percent} to {policy.loss_block_percent} %"
        )
        found.append(Issue(code="unbalanced", text=text + " is allowed: look at the meters with the largest change"))
    needs_calendar = any(v.needs_calendar() for v in inputs.tariff.versions)
    for year in sorted({inputs.starts_on.year, (inputs.ends_on - timedelta(days=1)).year}):
        if needs_calendar and not inputs.calendar.is_official(year):
            text = f"{year} has no official holiday calendar {inputs.calendar.region}; enter it before issuing"
            found.append(Issue(code="calendar_missing", text=text))
    return found


def _sealed(draft: BillDraft) -> BillDraft:
    return replace(draft, sha256=fingerprint(draft.snapshot))


def _summary(
    inputs: RunInputs,
    apportioned: Apportioned,
    drafts: Iterable[BillDraft],
    blocking: Sequence[Issue],
    sheet: Mapping[str, Any],
) -> dict[str, Any]:
    owner = inputs.site.owner_id
    parties = apportioned.parties
    bills = list(drafts)

    def total(kind: str, *, of_owner: bool) -> str:
        chosen = (e for p, e in parties.items() if (p == owner) is of_owner)
        return plain(kwh(sum(sum(getattr(energy, kind).values()) for energy in chosen)))

    return {
        "main_kwh": plain(kwh(apportioned.main)),
        "tenants_kwh": total("own", of_owner=False),
        "owner_kwh": total("own", of_owner=True),
        "common_kwh": plain(kwh(apportioned.common)),
        "loss_kwh": plain(kwh(apportioned.residual)),
        "loss_percent": str(apportioned.loss_percent.quantize(Decimal("0.01"))),
        "shared_common_kwh": total("common", of_owner=False),
        "shared_loss_kwh": total("loss", of_owner=False),
        "bills": sum(d.kind == "bill" for d in bills),
        "exceptions": sum(bool(d.issues) and d.kind == "bill" for d in bills),
        "total": str(sum((d.rated.total for d in bills if d.kind == "bill"), Decimal("0.00"))),
        "loss_warning": apportioned.loss_percent > inputs.policy.loss_warn_percent,
        "blocking": [{"code": i.code, "text": i.text} for i in blocking],
        "resale": sheet["sheet"],
        "tariff": {"code": inputs.tariff.tariff, "revision": inputs.tariff_revision},
    }
