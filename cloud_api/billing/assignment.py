"""Cut each tenant meter where its holders change: who held it, with which share, from when to when. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from itertools import pairwise
from zoneinfo import ZoneInfo

from cloud_api.billing.apportionment import Holding
from cloud_api.billing.charge import Issue
from cloud_api.billing.run_model import MeterFacts, MeterShare, Part, Tenancy
from cloud_api.kit.i18n import Text
from cloud_api.kit.period import Period, local_days

COUNTED = frozenset({"tenant", "common", "plant"})


def parts_of(
    meters: Sequence[MeterFacts],
    shares: Iterable[MeterShare],
    tenancies: Iterable[Tenancy],
    *,
    period: Period,
    zone: ZoneInfo,
    owner: int,
) -> tuple[list[Part], list[Issue]]:
    """Return every stretch of energy that the run needs, and what is wrong with the assignments.

    A tenant meter is cut where a lease or a share begins or ends; space without a lease belongs to the owner. Energy of
    a counted meter that hangs under another counted one is taken off it.
    """
    by_meter: defaultdict[int, list[MeterShare]] = defaultdict(list)
    for share in shares:
        by_meter[share.meter_id].append(share)
    held = _terms(tenancies, period, zone)
    parts: list[Part] = []
    issues: list[Issue] = []
    for meter in meters:
        if meter.use == "tenant":
            for stretch, holdings in _stretches(by_meter[meter.id], held, period, owner):
                if sum(h.share for h in holdings) != 1:
                    text = Text(
                        "meter {meter}: its shares from {day} do not sum to 1",
                        meter=meter.code,
                        day=f"{stretch.start.astimezone(zone):%Y-%m-%d}",
                    )
                    issues.append(Issue(code="shares_incomplete", text=text))
                parts.append(Part(index=len(parts), meter=meter, period=stretch, holdings=holdings))
        elif meter.use in {"main", "common", "plant"}:
            parts.append(Part(index=len(parts), meter=meter, period=period))
    return parts + nested(meters, parts), issues


def _terms(tenancies: Iterable[Tenancy], period: Period, zone: ZoneInfo) -> Mapping[int, list[tuple[Period, Tenancy]]]:
    held: defaultdict[int, list[tuple[Period, Tenancy]]] = defaultdict(list)
    far = period.end.astimezone(zone).date()
    for tenancy in tenancies:
        ends_on = far if tenancy.ends_on is None else min(tenancy.ends_on, far)
        if tenancy.starts_on < ends_on:
            term = local_days(tenancy.starts_on, ends_on, zone).intersect(period)
            if term is not None:
                held[tenancy.space_id].append((term, tenancy))
    return held


def _stretches(
    shares: Sequence[MeterShare], held: Mapping[int, list[tuple[Period, Tenancy]]], period: Period, owner: int
) -> Iterator[tuple[Period, tuple[Holding, ...]]]:
    edges = {period.start, period.end}
    for share in shares:
        edges |= {e for e in (share.valid_from, share.valid_to) if e is not None and e in period}
        edges |= {edge for term, _ in held.get(share.space_id, ()) for edge in (term.start, term.end)}
    ordered = sorted(edge for edge in edges if period.start <= edge <= period.end)
    for start, end in pairwise(ordered):
        yield Period(start, end), _holdings(shares, held, start, owner)


def _holdings(
    shares: Sequence[MeterShare], held: Mapping[int, list[tuple[Period, Tenancy]]], at: datetime, owner: int
) -> tuple[Holding, ...]:
    found = []
    for share in sorted(shares, key=lambda s: s.space):
        if (share.valid_from is not None and at < share.valid_from) or (
            share.valid_to is not None and at >= share.valid_to
        ):
            continue
        tenancy = next((t for term, t in held.get(share.space_id, ()) if at in term), None)
        found.append(
            Holding(
                party=owner if tenancy is None else tenancy.tenant_id,
                lease_id=None if tenancy is None else tenancy.lease_id,
                space_id=share.space_id,
                share=share.share,
            )
        )
    # A meter that measures no space just now is the owner's; what it counts meanwhile holds the run up (`compose`).
    return tuple(found) or (Holding(party=owner, lease_id=None, space_id=0, share=Decimal(1)),)


def nested(meters: Sequence[MeterFacts], parts: Sequence[Part]) -> list[Part]:
    """Return the stretches of counted meters under the given ones, whose energy is taken off them."""
    by_id = {meter.id: meter for meter in meters}
    found: list[Part] = []
    for meter in (m for m in meters if m.use in COUNTED):
        above = by_id.get(meter.parent_id or 0)
        while above is not None and above.use not in COUNTED:
            above = by_id.get(above.parent_id or 0)
        for part in (p for p in parts if above is not None and p.meter.id == above.id):
            found.append(Part(index=len(parts) + len(found), meter=meter, period=part.period, subtract_from=part.index))
    return found
