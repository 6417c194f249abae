from datetime import date
from decimal import Decimal

import pytest

from cloud_api.billing.late_fee import late_fee
from cloud_api.billing.policy import Policy


# 1000 yuan due on 2026-12-21 and unpaid on 2027-01-05: 10 late days in the old year, 5 in the new one. The three readings
# of the statutory rule (2 per mille within the year, 3 per mille across years) give three amounts.
@pytest.mark.parametrize(
    ("variant", "fee"),
    [("new_year_days_only", "15.00"), ("split", "35.00"), ("all_days_high", "45.00"), ("contract_rate", "7.50")],
)
def test_each_named_variant_gives_its_own_fee(variant, fee):
    policy = Policy(late_fee_year_split=variant, late_fee_daily=Decimal("0.0005"))
    assert str(late_fee(Decimal(1000), date(2026, 12, 21), date(2027, 1, 5), policy)) == fee


def test_grace_minimum_and_cap_hold():
    policy = Policy(late_fee_daily=Decimal("0.0005"), late_fee_grace_days=5)
    assert late_fee(Decimal(1000), date(2026, 11, 1), date(2026, 11, 6), policy) == 0
    assert late_fee(Decimal(100), date(2026, 11, 1), date(2026, 11, 8), policy) == Decimal("1.00")
    assert late_fee(Decimal(1000), date(2020, 1, 1), date(2026, 1, 1), policy) == Decimal("300.00")
    assert late_fee(Decimal(0), date(2020, 1, 1), date(2026, 1, 1), policy) == 0
