"""From a run's inputs to its bills: apportion, charge, reconcile. Pure: same inputs, same bytes."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

from cloud_api.billing import cost_share, resale
from cloud_api.billing.apportionment import Apportioned, Stretch, apportion
from cloud_api.billing.book import Book, kwh, open_book
from cloud_api.billing.charge import Issue, Rated, issue_json
from cloud_api.billing.charging import Charge, charging
from cloud_api.billing.run_model import BillDraft, Part, RunInputs, RunResult, packed
from cloud_api.billing.snapshot import Pool, pool_of, snapshot_of
from cloud_api.billing.vat import close
from cloud_api.billing.what_if import plain
from cloud_api.kit.i18n import Text

Tick = Callable[[int, int], None]
"""Told how many of how many bills are made."""


def compose(inputs: RunInputs, issues: Sequence[Issue] = (), *, tick: Tick | None = None) -> RunResult:
    """Make every bill of the period, and the run's reconciliation with what forbids issuing it."""
    book = open_book(inputs)
    apportioned = _apportion(book)
    parties = [p for p in sorted(apportioned.parties) if p in inputs.tenants and _concerned(book, apportioned, p)]
    charge = charging(book, apportioned)
    pool = pool_of(book, apportioned)
    drafts: list[BillDraft] = []
    for party in parties:
        drafts.append(_bill(book, apportioned, party, charge, pool))
        if tick is not None:
            tick(len(drafts), len(parties))
    sheet = resale.check(inputs, apportioned, drafts)
    drafts = [replace(d, resale=sheet["sheet"]) for d in drafts if not _has_final(book, d.tenant_id)]
    blocking = [*issues, *_run_issues(book, apportioned), *sheet["issues"]]
    return RunResult(
        bills=tuple(drafts), apportioned=apportioned, summary=_summary(inputs, apportioned, drafts, blocking, sheet)
    )


def rate_parties(inputs: RunInputs) -> list[tuple[int, Decimal, Rated]]:
    """Return who used how many kWh on its own meters and what that is charged, without bills: (party, kWh, charges)."""
    inputs = replace(inputs, after_hours={}, after_hours_tariff=None)
    book = open_book(inputs)
    apportioned = _apportion(book)
    charge = charging(book, apportioned)
    parties = [p for p in sorted(apportioned.parties) if p in inputs.tenants and _concerned(book, apportioned, p)]
    return [
        (party, kwh(sum(apportioned.parties[party].own.values())), close(*charge(party, book.cycle(party))))
        for party in parties
    ]


def _apportion(book: Book) -> Apportioned:
    inputs, net = book.inputs, book.net

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
        weights=book.weights(),
        policy=inputs.policy,
    )


def _concerned(book: Book, apportioned: Apportioned, party: int) -> bool:
    energy = apportioned.parties[party]
    return (
        party == book.inputs.site.owner_id
        or party in book.tenancies
        or any((*energy.own.values(), *energy.common.values(), *energy.loss.values()))
    )


def _bill(book: Book, apportioned: Apportioned, party: int, charge: Charge, pool: Pool) -> BillDraft:
    cycle = book.cycle(party)
    lines, issues = charge(party, cycle)
    rated = close(lines, issues)
    doubts = [*issues, *_doubts(book, party), *_estimated(book, party), *_after_final(book, party)]
    kind = "owner" if book.inputs.tenants[party].is_owner else "bill"
    snapshot = snapshot_of(book, apportioned, party, cycle, rated, pool) | {
        "kind": kind,
        "issues": [issue_json(i) for i in doubts],
    }
    return BillDraft(
        tenant_id=party,
        kind=kind,
        total=rated.total,
        recovered=resale.recovered_of(snapshot["lines"]),
        exact=sum((line.amount_exact for line in rated.lines), Fraction(0)),
        issues=tuple(doubts),
        packed=packed(snapshot),
    )


def _has_final(book: Book, party: int) -> bool:
    """Tell whether the party's final bill stands for this one."""
    return party in book.inputs.final_bills and not _after_final(book, party)


def _after_final(book: Book, party: int) -> list[Issue]:
    """Name a tenant who got a final bill and came back in the same cycle: that bill is credited first."""
    if party not in book.inputs.final_bills:
        return []
    if all(t.ends_on is not None and t.ends_on <= book.inputs.ends_on for t in book.tenancies.get(party, ())):
        return []
    text = Text("a final bill covers days of this month, and the tenant came back: credit the final bill first")
    return [Issue(code="final_billed", text=text)]


def _doubts(book: Book, party: int) -> list[Issue]:
    return [lack for part in book.parts.get(party, ()) if (lack := _lack(book, part))]


def _lack(book: Book, part: Part) -> Issue | None:
    energy = book.energy_of(part)
    if energy.missing or energy.count < part.expected_count:
        text = Text(
            "meter {meter}: {known} of {expected} intervals are known; enter readings or estimate",
            meter=part.meter.code,
            known=energy.count - energy.missing,
            expected=part.expected_count,
        )
        return Issue(code="readings_missing", text=text)
    return None


def _unassigned(book: Book, part: Part) -> Issue | None:
    """Name a tenant's meter that counted energy while it measured no space: nobody says whose that energy is."""
    counted = sum(book.energy_of(part).runs.values())
    if not counted or not part.holdings or any(h.space_id for h in part.holdings):
        return None
    zone = book.inputs.tariff.zone
    text = Text(
        "meter {meter} measures no space from {first} to {after} and counted {kwh} kWh: divide it over spaces from that"
        " day on (Meters, Spaces it measures)",
        meter=part.meter.code,
        first=f"{part.period.start.astimezone(zone):%Y-%m-%d}",
        after=f"{part.period.end.astimezone(zone):%Y-%m-%d}",
        kwh=f"{kwh(counted):.2f}",
    )
    return Issue(code="meter_unassigned", text=text)


def _estimated(book: Book, party: int) -> list[Issue]:
    percent = book.estimated_percent(party)
    limit = book.inputs.policy.estimated_max_percent
    if percent <= limit:
        return []
    text = Text("{percent} % is estimated; at most {limit} % may be", percent=f"{percent:.1f}", limit=limit)
    return [Issue(code="estimated", text=text)]


def _run_issues(book: Book, apportioned: Apportioned) -> list[Issue]:
    inputs, policy = book.inputs, book.inputs.policy
    found = [lack for part in inputs.parts if not part.holdings and (lack := _lack(book, part))]
    found += [nobodys for part in inputs.parts if (nobodys := _unassigned(book, part))]
    if not any(part.meter.use == "main" for part in inputs.parts):
        found.append(Issue(code="no_main_meter", text=Text("the site has no main meter: the run cannot be reconciled")))
    loss = apportioned.loss_percent
    if loss > policy.loss_block_percent or loss < -policy.gain_block_percent:
        text = Text(
            "main and sub-meters differ by {loss} %; -{gain} to {most} % is allowed: look at the meters with the"
            " largest change",
            loss=f"{loss:.2f}",
            gain=policy.gain_block_percent,
            most=policy.loss_block_percent,
        )
        found.append(Issue(code="unbalanced", text=text))
    if policy.resale_mode == "cost_share":
        found += cost_share.doubts(book, apportioned)
    needs_calendar = any(v.needs_calendar() for v in inputs.tariff.versions)
    for year in sorted({inputs.starts_on.year, (inputs.ends_on - timedelta(days=1)).year}):
        if needs_calendar and not inputs.calendar.is_official(year):
            text = Text(
                "{year} has no official holiday calendar {region}; enter it before issuing",
                year=year,
                region=inputs.calendar.region,
            )
            found.append(Issue(code="calendar_missing", text=text))
    return found


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
        "total": str(sum((d.total for d in bills if d.kind == "bill"), Decimal("0.00"))),
        "loss_warning": apportioned.loss_percent > inputs.policy.loss_warn_percent,
        "blocking": [issue_json(i) for i in blocking],
        "resale": sheet["sheet"],
        "tariff": {"code": inputs.tariff.tariff, "revision": inputs.tariff_revision},
    }
