"""A run's inputs with what each party holds looked up once: bills grow with the site, not with its square. Pure."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

from cloud_api.billing.apportionment import Weights
from cloud_api.billing.charge import Cycle
from cloud_api.billing.run_model import Part, PartEnergy, PlaceFacts, RunInputs, Tenancy


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """The inputs of a run, each part's net energy per stretch of one price, and the parts and tenancies of a party."""

    inputs: RunInputs
    net: Mapping[int, Mapping[int, int]]
    """Micro-kWh per part and run, less that of counted meters hanging under it."""
    parts: Mapping[int, tuple[Part, ...]]
    tenancies: Mapping[int, tuple[Tenancy, ...]]
    spaces: Mapping[int, str]
    places: Mapping[int, tuple[PlaceFacts, ...]]

    def place_of(self, space_id: int, after: date) -> dict[str, dict[str, str]]:
        """Return what a space, its floor and its building were called on the last day before `after`, {} if unknown."""
        last = after - timedelta(days=1)
        for place in self.places.get(space_id, ()):
            if (place.starts_on is None or place.starts_on <= last) and (place.ends_on is None or last < place.ends_on):
                return {"space": dict(place.space), "floor": dict(place.floor), "building": dict(place.building)}
        return {}

    def energy_of(self, part: Part) -> PartEnergy:
        """Return the ledger's energy of a part, empty when it has none."""
        return self.inputs.energy.get(part.index) or PartEnergy()

    def cycle(self, party: int) -> Cycle:
        """Return the whole cycle with the days from the first to the last on which the party holds a space."""
        inputs = self.inputs
        held = [held_days(inputs, t) for t in self.tenancies.get(party, ())]
        held = [(first, after) for first, after in held if first < after]
        first = min((f for f, _ in held), default=inputs.starts_on)
        after = max((a for _, a in held), default=inputs.ends_on)
        # A final bill covers the cycle's first days only; fixed amounts are shared over the full cycle all the same.
        start, end = inputs.cycle
        return Cycle(starts_on=start, ends_on=end, billed_from=first, billed_to=after)

    def estimated_percent(self, party: int) -> Decimal:
        """Return how much of a party's metered energy was estimated, in percent."""
        found = [self.energy_of(part) for part in self.parts.get(party, ())]
        estimated, whole = sum(e.estimated for e in found), sum(sum(e.runs.values()) for e in found)
        return (Decimal(estimated) * 100 / Decimal(whole)).quantize(Decimal("0.01")) if whole else Decimal("0.00")

    def weights(self) -> dict[int, Weights]:
        """Return m² × days and people × days of each party; what nobody leased weighs for the owner."""
        inputs = self.inputs
        area: defaultdict[int, Decimal] = defaultdict(Decimal)
        people: defaultdict[int, Decimal] = defaultdict(Decimal)
        let: defaultdict[int, set[date]] = defaultdict(set)
        counted: defaultdict[int, set[date]] = defaultdict(set)
        for tenancy in inputs.tenancies:
            days = _days(*held_days(inputs, tenancy))
            area[tenancy.tenant_id] += tenancy.area_m2 * len(days)
            let[tenancy.space_id] |= days
            if tenancy.people is not None:
                # The people of a lease count once a day, in however many spaces they sit.
                people[tenancy.tenant_id] += Decimal(tenancy.people) * len(days - counted[tenancy.lease_id])
                counted[tenancy.lease_id] |= days
        for space in inputs.spaces:
            first = max(space.starts_on or inputs.starts_on, inputs.starts_on)
            after = min(space.ends_on or inputs.ends_on, inputs.ends_on)
            area[inputs.site.owner_id] += space.area_m2 * len(_days(first, after) - let[space.id])
        return {p: Weights(area_days=area[p], people_days=people[p]) for p in sorted({*area, *people})}


def open_book(inputs: RunInputs) -> Book:
    """Index a run's inputs by party."""
    parts: defaultdict[int, list[Part]] = defaultdict(list)
    for part in inputs.parts:
        for party in {h.party for h in part.holdings}:
            parts[party].append(part)
    tenancies: defaultdict[int, list[Tenancy]] = defaultdict(list)
    for tenancy in inputs.tenancies:
        tenancies[tenancy.tenant_id].append(tenancy)
    places: defaultdict[int, list[PlaceFacts]] = defaultdict(list)
    for place in inputs.places:
        places[place.space_id].append(place)
    return Book(
        inputs=inputs,
        net=_net_energy(inputs),
        parts={party: tuple(found) for party, found in parts.items()},
        tenancies={party: tuple(found) for party, found in tenancies.items()},
        spaces={s.id: s.code for s in inputs.spaces} | {t.space_id: t.space for t in inputs.tenancies},
        places={space: tuple(found) for space, found in places.items()},
    )


def _net_energy(inputs: RunInputs) -> dict[int, dict[int, int]]:
    found = {
        part.index: dict(inputs.energy[part.index].runs if part.index in inputs.energy else {}) for part in inputs.parts
    }
    for part in inputs.parts:
        if part.subtract_from is not None:
            above = found[part.subtract_from]
            for run, quantity in found.pop(part.index).items():
                above[run] = above.get(run, 0) - quantity
    return found


def held_days(inputs: RunInputs, tenancy: Tenancy) -> tuple[date, date]:
    """Return the billed days on which a space was held."""
    return max(tenancy.starts_on, inputs.starts_on), min(tenancy.ends_on or inputs.ends_on, inputs.ends_on)


def _days(first: date, after: date) -> set[date]:
    return {first + timedelta(days=n) for n in range((after - first).days)}


def kwh(micro: int) -> Decimal:
    """Return millionths of a kWh as kWh, exactly."""
    return Decimal(micro).scaleb(-6)
