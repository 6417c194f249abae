"""From meters and what they counted to flows along the meter tree: a pure rule."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from cloud_api.kit.ids import MeterId
from cloud_api.metering.model import Energy, Meter

# A difference below this share of the meter above is rounding, not a flow worth a line.
NEGLIGIBLE = Decimal("0.001")


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """Energy that passed from one meter to the next; without `to` it is what no meter below counts."""

    source: Meter
    to: Meter | None
    energy_kwh: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """The flows of a period, and what stands in doubt."""

    links: Sequence[Link]
    total_kwh: Decimal | None
    lost_kwh: Decimal
    incomplete: Sequence[Meter]
    exceeding: Sequence[Meter]  # The meters below count more than these.


def flow(meters: Sequence[Meter], energy: Mapping[MeterId, Energy]) -> Flow:
    """Follow the tree from the meters without a parent down; meters that counted nothing make no link."""
    below: dict[MeterId | None, list[Meter]] = {}
    for meter in meters:
        below.setdefault(meter.parent_meter_id, []).append(meter)
    links: list[Link] = []
    exceeding: list[Meter] = []
    lost = Decimal(0)
    for meter in meters:
        children = below.get(meter.id, [])
        used = _kwh(energy, meter)
        if not children or used is None:
            continue
        known = [(child, quantity) for child in children if (quantity := _kwh(energy, child)) is not None]
        links += [Link(source=meter, to=child, energy_kwh=quantity) for child, quantity in known if quantity > 0]
        rest = used - sum((quantity for _, quantity in known), Decimal(0))
        if rest > used * NEGLIGIBLE and len(known) == len(children):
            links.append(Link(source=meter, to=None, energy_kwh=rest))
            lost += rest
        elif rest < -used * NEGLIGIBLE:
            exceeding.append(meter)
    roots = [_kwh(energy, meter) for meter in below.get(None, [])]
    known_roots = [quantity for quantity in roots if quantity is not None]
    return Flow(
        links=links,
        total_kwh=sum(known_roots, Decimal(0)) if known_roots else None,
        lost_kwh=lost,
        incomplete=[m for m in meters if m.id in energy and not energy[m.id].is_complete],
        exceeding=exceeding,
    )


def _kwh(energy: Mapping[MeterId, Energy], meter: Meter) -> Decimal | None:
    found = energy.get(meter.id)
    return found.quantity if found and found.interval_count else None
