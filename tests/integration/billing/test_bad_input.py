"""What is refused where it enters, with the place and the remedy; numbers stay gap-free when two people issue at once."""

import asyncio
from datetime import date

import psycopg
import pytest

from cloud_api.billing import inputs, service, utility_bill, utility_bill_entry
from cloud_api.billing.tariff_file import parse_tariff
from cloud_api.db.pool import transaction
from cloud_api.kit.scope import SYSTEM
from tests.integration.billing.small_site import CLOCK, TARIFF, SmallSite, estate


@pytest.fixture
async def site(pool):
    async with transaction(pool, SYSTEM) as conn:
        small = SmallSite(conn)
        await small.build(estate({"m1": ["r1"]}, areas={"r1": 100}), [("L1", "a", "r1", "2026-01-01", "")])
    return small.site


OCTOBER = date(2026, 10, 1), date(2026, 11, 1)
BILL = {"total": "10.00", "kwh": "5", "lines": [{"name": "energy", "amount": "10.00"}]}


async def test_a_tariff_and_a_utilitys_bill_in_another_currency_are_refused(pool, site):
    async with transaction(pool, SYSTEM) as conn:
        euro = parse_tariff(TARIFF.replace("holiday_calendar", "currency: EUR\nholiday_calendar")).tariff
        with pytest.raises(service.Invalid, match="test-tou is in EUR, site park bills in CNY"):
            await service.import_tariff(conn, site, euro, actor="x", clock=CLOCK)
        with pytest.raises(service.Invalid, match=r"the bill is in EUR.*enter the amounts in CNY"):
            await utility_bill.enter(conn, site, OCTOBER, BILL | {"currency": "EUR"}, actor="x", clock=CLOCK)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kwh": "-5"}, "-5 kWh is negative"),
        ({"lines": [{"name": "a", "amount": "10.00", "kwh": "-1"}]}, "line 1: -1 kWh is negative"),
        ({"lines": [{"name": "", "amount": "10.00"}]}, "line 1: needs a name"),
        ({"lines": [{"name": "a", "amount": "ten"}]}, "line 1: amount 'ten' is not a number"),
        ({"lines": [{"name": "a", "amount": "9.99"}]}, "the lines sum to 9.99, the total says 10.00: enter every leaf"),
        ({"lines": [{"name": "a", "amount": "10.001"}]}, "more than two decimals"),
        ({"lines": []}, "the bill needs 1 to 200 lines"),
    ],
)
def test_a_utilitys_bill_that_does_not_add_up_names_the_line(change, words):
    with pytest.raises(utility_bill_entry.UtilityBillInvalid) as refused:
        utility_bill_entry.check(BILL | change)
    assert words in str(refused.value)


async def test_a_month_that_no_calendar_publishes_and_a_missing_tariff_name_the_remedy(pool, site):
    async with transaction(pool, SYSTEM) as conn:
        with pytest.raises(service.Invalid, match="is not a month; write 2026-10"):
            await service.open_run(conn, site, "2026-13", actor="x", clock=CLOCK)
        with pytest.raises(inputs.TariffMissing, match="cloud-api tariff import water --site park"):
            await service.calculate_run(conn, site, "2026-10", actor="x", clock=CLOCK, utility="water")


async def test_two_who_issue_at_once_get_numbers_without_gap_or_repetition(pool, site):
    async def take(count, *, fails=False):
        try:
            async with transaction(pool, SYSTEM) as conn:
                numbers = await service.take_numbers(conn, site, 2026, "bill", count)
                await asyncio.sleep(0)
                if fails:
                    await conn.execute("SELECT 1 / 0")
                return numbers
        except psycopg.errors.DivisionByZero:
            return []  # What was not committed leaves no gap.

    found = await asyncio.gather(take(3), take(2, fails=True), take(4), take(1), take(5, fails=True), take(2))
    numbers = sorted(int(number[-6:]) for part in found for number in part)
    assert numbers == list(range(1, 11))
