"""Named parameters of a site's billing, with their defaults; stored with every bill."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, TypeAdapter

Driver = Literal["area", "head_count", "energy", "equal"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How energy that nobody metered for himself is shared, and what keeps a run from being issued.

    common: weights of drivers, such as {"area": 0.3, "energy": 0.7}; empty (default): the landlord bears common areas,
    which then go through rent or service fee, as the rules on resold electricity (转供电) ask.
    residual: who bears losses and unmetered load. loss_bucket: the bucket that shared losses are priced in (flat by
    practice); None prices them in the bucket where they arose.
    resale_mode: `pass_through` (default) rates each tenant's own intervals by the tariff; `cost_share` divides every
    line of the utility's own bill by who used the energy (or by the line's driver): parts equal the whole, to the cent.
    cost_share_vat_rate is the tax contained in those lines; utility_bill_max_percent is how far the utility's kWh may
    lie from our main meter's before a cost-share run is blocked.
    demand_basis: a tenant's demand (two-part tariffs) is its `own_maximum` (default), or what it drew at the
    `site_maximum`: the window in which the main meter was highest. pf_share: the power-factor adjustment belongs to the
    main meter; `energy_basic` (default) lays the main meter's percentage on each tenant's energy and basic charge, both
    signs; `landlord` keeps it; `own_meter` reads each tenant's own kvarh.
    vacant: the landlord is a party with his own share of area, head count (0) and energy.
    cycle_day: the day on which billing cycles start (1 to 31; the last day of shorter months): 26 bills from the 26th
    to the 25th. The first cycle after a change covers the days that are not billed yet.
    """

    common: Mapping[Driver, Decimal] = field(default_factory=dict[Driver, Decimal])
    residual: Literal["landlord", "pro_rata_energy", "pro_rata_area", "fixed_pct"] = "landlord"
    residual_percent_max: Decimal = Decimal(0)
    loss_bucket: str | None = None
    resale_mode: Literal["pass_through", "cost_share"] = "pass_through"
    cost_share_vat_rate: Decimal = Decimal("0.13")
    utility_bill_max_percent: Decimal = Decimal(2)
    demand_basis: Literal["own_maximum", "site_maximum"] = "own_maximum"
    pf_share: Literal["energy_basic", "landlord", "own_meter"] = "energy_basic"
    loss_warn_percent: Decimal = Decimal(3)
    loss_block_percent: Decimal = Decimal(8)
    gain_block_percent: Decimal = Decimal(1)
    estimated_max_percent: Decimal = Decimal(20)
    resale_tolerance: Decimal = Decimal("1.00")
    due_days: int = 15
    cycle_day: Annotated[int, Field(ge=1, le=31)] = 1
    approval: Literal["two_people", "automatic"] = "two_people"
    late_fee_daily: Decimal = Decimal(0)
    late_fee_grace_days: int = 0
    late_fee_minimum: Decimal = Decimal("1.00")
    late_fee_cap_percent: Decimal = Decimal(30)
    late_fee_year_split: Literal["contract_rate", "new_year_days_only", "split", "all_days_high"] = "contract_rate"
    final_bill: Literal["at_move_out", "by_month_run"] = "at_move_out"
    """Whether a move-out issues the tenant's last bill itself, or leaves its days to the month's run."""
    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}


_ADAPTER: TypeAdapter[Policy] = TypeAdapter(Policy)


def load_policy(content: Mapping[str, Any]) -> Policy:
    """Return the policy of stored or entered data; raises pydantic's ValidationError for an unknown parameter."""
    return _ADAPTER.validate_python(dict(content))


def dump_policy(policy: Policy) -> dict[str, Any]:
    """Return the policy as JSON data, defaults included: a bill shows every parameter it was made with."""
    return _ADAPTER.dump_python(policy, mode="json")
