"""A tariff tried on what was really used: what every tenant would have paid, beside what today's tariff asks.

Leases, shares, common areas, demand and power factor are those of the months themselves, as a bill run takes them.
Money per tenant and component; after-hours air conditioning is left out, it has a tariff of its own.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal

from psycopg import AsyncConnection

from cloud_api.billing import inputs as loading
from cloud_api.billing import timetable
from cloud_api.billing.charge import Rated
from cloud_api.billing.compose import rate_parties
from cloud_api.billing.run_model import EarlierDemand, PartyDemand, RunInputs, SiteFacts, TenantFacts
from cloud_api.billing.supply import load_supply
from cloud_api.billing.tariff import Label, Tariff
from cloud_api.billing.what_if import months
from cloud_api.kit.errors import Invalid
from cloud_api.kit.i18n import Text

MONTHS_MAX = 12


@dataclass(slots=True, kw_only=True)
class Compared:
    """An amount by today's tariff and by the one that is tried."""

    today: Decimal = Decimal("0.00")
    trial: Decimal = Decimal("0.00")

    @property
    def difference(self) -> Decimal:
        """What the tried tariff asks more."""
        return self.trial - self.today

    @property
    def part(self) -> Decimal | None:
        """The difference as a part of today's amount."""
        return self.difference / self.today if self.today else None


@dataclass(slots=True, kw_only=True)
class TenantTrial(Compared):
    """What one tenant would have paid."""

    tenant: TenantFacts
    kwh: Decimal = Decimal(0)


@dataclass(slots=True, kw_only=True)
class ComponentTrial(Compared):
    """What one component brings; the two tariffs need not share any."""

    name: Label


@dataclass(slots=True, kw_only=True)
class Trial(Compared):
    """Months that had readings, money in all, per tenant and per component, and what keeps it from being a bill."""

    months: list[date] = field(default_factory=list[date])
    tenants: dict[int, TenantTrial] = field(default_factory=dict[int, TenantTrial])
    components: dict[str, ComponentTrial] = field(default_factory=dict[str, ComponentTrial])
    doubts: dict[str, Text] = field(default_factory=dict[str, Text])

    def as_json(self) -> str:
        """Return the trial as JSON; amounts are text."""

        def side(found: Compared) -> dict[str, str]:
            return {"today": str(found.today), "trial": str(found.trial), "difference": str(found.difference)}

        content = side(self) | {
            "months": [f"{month:%Y-%m}" for month in self.months],
            "tenants": [side(t) | {"tenant": t.tenant.code, "kwh": str(t.kwh)} for t in self.tenants.values()],
            "components": [side(c) | {"component": code} for code, c in self.components.items()],
            "doubts": list(self.doubts),
        }
        return json.dumps(content, ensure_ascii=False, indent=2)

    def as_text(self, currency: str) -> str:
        """Return the trial as lines for a terminal."""
        if not self.months:
            return "there are no readings in these months"
        lines = [f"{self.months[0]:%Y-%m} to {self.months[-1]:%Y-%m}, {len(self.months)} months with readings"]
        lines += [f"today {self.today}, tried {self.trial}, difference {self.difference} {currency}"]
        lines += [
            f"{t.tenant.code:16} {t.kwh:>14.3f} kWh {t.today:>14} {t.trial:>14} {t.difference:>+14}"
            for t in sorted(self.tenants.values(), key=lambda t: t.difference)
        ]
        return "\n".join([*lines, *(f"look at: {text}" for text in self.doubts)])


async def try_tariff(conn: AsyncConnection, site: SiteFacts, tariff: Tariff, *, first: date, after: date) -> Trial:
    """Rate the months of `[first, after)` that have readings by today's tariff and by `tariff`. Raises Invalid."""
    cycles = months(first, after)
    if not 1 <= len(cycles) <= MONTHS_MAX:
        raise Invalid("a tariff is tried on 1 to {most} months", most=MONTHS_MAX)
    found = Trial()
    earlier: dict[date, Mapping[int | None, PartyDemand]] = {}
    for cycle in cycles:
        inputs, _ = await loading.load_inputs(
            conn, site, tariff.utility, cycle.starts_on, cycle.ends_on, evidence=False
        )
        if tariff.zone != inputs.tariff.zone or tariff.currency != inputs.tariff.currency:
            raise Invalid("the tariff that is tried needs the time zone and the currency of today's")
        if any(energy.runs for energy in inputs.energy.values()):
            found.months.append(cycle.starts_on)
            _add(found, inputs, rate_parties(inputs), tried=False)
            changed = await _with_tariff(conn, inputs, tariff, earlier)
            earlier[cycle.starts_on] = changed.supply.demand
            _add(found, changed, rate_parties(changed), tried=True)
    return found


async def _with_tariff(conn: AsyncConnection, inputs: RunInputs, tariff: Tariff, earlier: EarlierDemand) -> RunInputs:
    calendar = await loading.find_calendar(conn, tariff.holiday_calendar)
    runs = timetable.cut_by_day(tariff, calendar, inputs.period)
    gathered = loading.gathered_runs(tariff, runs)
    quantity = loading.QUANTITIES[inputs.utility]
    return replace(
        inputs,
        tariff=tariff,
        calendar=calendar,
        policy=replace(inputs.policy, resale_mode="pass_through"),
        runs=runs,
        energy=await loading.load_energy(conn, inputs.utility, inputs.parts, runs, gathered),
        supply=await load_supply(conn, [tariff], inputs.parts, runs, inputs.tenancies, quantity=quantity),
        earlier_demand=dict(earlier),
    )


def _add(found: Trial, inputs: RunInputs, rated: Iterable[tuple[int, Decimal, Rated]], *, tried: bool) -> None:
    side = "trial" if tried else "today"
    by_component: defaultdict[str, Decimal] = defaultdict(Decimal)
    names: dict[str, Label] = {}
    for party, used, charges in rated:
        facts = inputs.tenants[party]
        if facts.is_owner:
            continue
        tenant = found.tenants.setdefault(party, TenantTrial(tenant=facts))
        tenant.kwh += 0 if tried else used
        for sums in (tenant, found):
            setattr(sums, side, getattr(sums, side) + charges.total)
        for line in charges.lines:
            names.setdefault(line.component, line.name)
            by_component[line.component] += line.amount
        if tried:
            found.doubts |= {str(issue.text): issue.text for issue in charges.issues}
    for code, amount in by_component.items():
        component = found.components.setdefault(code, ComponentTrial(name=names[code]))
        setattr(component, side, getattr(component, side) + amount)
