"""Late fees by named policy: simple, never compound. Pure."""

from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction

from cloud_api.billing.charge import round_fraction
from cloud_api.billing.policy import Policy

SAME_YEAR = Fraction(2, 1000)
ACROSS_YEARS = Fraction(3, 1000)


def late_fee(open_amount: Decimal, due_on: date, today: date, policy: Policy) -> Decimal:
    """Return the fee on an amount that was due at the end of `due_on`, up to and including `today`.

    `contract_rate`: `late_fee_daily` (a fraction per day) on every late day. The statutory charge of utilities for
    non-residential users (违约金, 2 per mille a day within the year, 3 per mille across years) is read in three ways:
    `new_year_days_only`: only days of the arrears of earlier years cost 3; `split`: 2 up to the year's end, then 3;
    `all_days_high`: once the year has turned, every day costs 3. Grace days, minimum and cap apply to all.
    """
    first_late = due_on + timedelta(days=1)
    days = (today - due_on).days
    if open_amount <= 0 or days <= policy.late_fee_grace_days:
        return Decimal("0.00")
    new_year_days = max((today - max(first_late, date(due_on.year + 1, 1, 1))).days + 1, 0)
    old_days = days - new_year_days
    match policy.late_fee_year_split:
        case "contract_rate":
            rate = Fraction(policy.late_fee_daily) * days
        case "new_year_days_only":
            rate = ACROSS_YEARS * new_year_days if new_year_days else SAME_YEAR * old_days
        case "split":
            rate = SAME_YEAR * old_days + ACROSS_YEARS * new_year_days
        case "all_days_high":
            rate = (ACROSS_YEARS if new_year_days else SAME_YEAR) * days
    fee = round_fraction(Fraction(open_amount) * rate)
    if not fee:
        return Decimal("0.00")
    cap = round_fraction(Fraction(open_amount) * Fraction(policy.late_fee_cap_percent) / 100)
    return min(max(fee, policy.late_fee_minimum), cap)
