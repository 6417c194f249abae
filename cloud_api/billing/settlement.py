"""Use cases of money: payments, statements, arrears with late fees, deposits and prepaid balances."""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Any

import psycopg
from psycopg import AsyncConnection

from cloud_api.billing import inputs as loading
from cloud_api.billing.late_fee import late_fee
from cloud_api.billing.policy import Policy
from cloud_api.billing.repository import Row, one, queries, rows, store
from cloud_api.kit.clock import Clock
from cloud_api.kit.errors import Invalid, NotFound

ENTRIES_SHOWN_MAX = 200


class PaymentKnown(Invalid):
    """A payment with this method and reference was recorded before."""

    code = "payment_known"
    status = 409


async def record_payment(
    conn: AsyncConnection,
    *,
    organisation_id: int,
    tenant_id: int,
    amount: Decimal,
    received_on: date,
    actor: str,
    clock: Clock,
    method: str = "bank",
    reference: str = "",
    currency: str = "CNY",
    bill_number: str | None = None,
) -> dict[str, Decimal]:
    """Record money and settle bills with it: the named bill first, then the oldest. Returns what each bill received.

    What is left stays as credit and settles the next bill. Raises Invalid for an amount that is no money, PaymentKnown
    for a reference used before, NotFound for a bill that is not open.
    """
    if amount <= 0 or amount != amount.quantize(Decimal("0.01")):
        raise Invalid("{amount} is not an amount of money above 0 with at most two decimals", amount=amount)
    ids = {"organisation_id": organisation_id, "tenant_id": tenant_id, "at": clock.now(), "actor": actor}
    values = {"received_on": received_on, "amount": amount, "currency": currency}
    values |= {"method": method, "reference": reference}
    try:
        async with conn.transaction():
            payment = await one(conn, queries.add_payment, ids | values)
    except psycopg.errors.UniqueViolation as error:
        raise PaymentKnown(
            "the {method} payment {reference} was recorded before", method=method, reference=reference
        ) from error
    assert payment is not None
    bills = await rows(conn, queries.open_bills, ids)
    if bill_number is not None:
        if bill_number not in {b["number"] for b in bills}:
            raise NotFound("bill {bill_number} is not open for this tenant", bill_number=bill_number)
        bills.sort(key=lambda b: b["number"] != bill_number)
    return await _settle(conn, ids, payment["id"], amount, bills)


async def settle_with_credit(conn: AsyncConnection, *, organisation_id: int, tenant_id: int) -> None:
    """Settle open bills with money that settles nothing yet, oldest first: after issuing and after a credit note."""
    ids = {"organisation_id": organisation_id, "tenant_id": tenant_id}
    for payment in await rows(conn, queries.free_payments, ids):
        await _settle(conn, ids, payment["id"], payment["free"], await rows(conn, queries.open_bills, ids))


async def _settle(
    conn: AsyncConnection, ids: dict[str, Any], payment_id: int, amount: Decimal, bills: Sequence[Row]
) -> dict[str, Decimal]:
    given: dict[str, Decimal] = {}
    bill_ids: list[int] = []
    for bill in bills:
        part = min(amount, bill["open_amount"])
        if part > 0:
            given[bill["number"]] = part
            bill_ids.append(bill["id"])
            amount -= part
    if given:
        values = {"payment_id": payment_id, "bill_id": bill_ids, "amount": list(given.values())}
        await store(conn, queries.allocate, ids | values)
    return given


async def statement(conn: AsyncConnection, tenant_id: int) -> list[Row]:
    """Return every bill, credit note and payment in order, with the running balance (positive: the tenant owes)."""
    balance = Decimal("0.00")
    found = []
    for row in await rows(conn, queries.statement, {"tenant_id": tenant_id}):
        balance += row["amount"]
        found.append(row | {"balance": balance})
    return found


async def arrears(conn: AsyncConnection, organisation_id: int, today: date) -> list[Row]:
    """Return bills past their due date with days late and the fee by each site's policy."""
    policies: dict[int, Policy] = {}
    found = []
    for row in await rows(conn, queries.arrears, {"organisation_id": organisation_id, "today": today}):
        if row["site_id"] not in policies:
            site = await loading.find_site(conn, site_id=row["site_id"])
            policies[row["site_id"]] = await loading.find_policy(conn, site)
        policy = policies[row["site_id"]]
        fee = late_fee(row["open_amount"], row["due_on"], today, policy)
        found.append(row | {"days_late": (today - row["due_on"]).days, "late_fee": fee})
    return found


async def move_account(
    conn: AsyncConnection,
    *,
    organisation_id: int,
    tenant_id: int,
    account: str,
    amount: Decimal,
    kind: str,
    on_day: date,
    actor: str,
    clock: Clock,
    reference: str = "",
) -> Decimal:
    """Add an entry to a deposit or prepaid account and return the new balance. A deposit never goes below zero."""
    ids = {"organisation_id": organisation_id, "tenant_id": tenant_id, "account": account}
    before = await one(conn, queries.balance, ids)
    balance = (before["balance"] if before else Decimal(0)) + amount
    if account == "deposit" and balance < 0:
        raise Invalid(
            "the deposit holds {held}, {wanted} cannot be taken from it", held=balance - amount, wanted=-amount
        )
    values = {"on_day": on_day, "amount": amount, "kind": kind, "reference": reference}
    added = await one(conn, queries.add_entry, ids | values | {"at": clock.now(), "actor": actor})
    return balance if added else balance - amount


async def balances(conn: AsyncConnection, tenant_id: int) -> dict[str, Decimal]:
    """Return the deposit and the prepaid balance of a tenant."""
    found = {}
    for account in ("deposit", "prepaid"):
        row = await one(conn, queries.balance, {"tenant_id": tenant_id, "account": account})
        found[account] = row["balance"] if row else Decimal(0)
    return found


async def find_tenant(conn: AsyncConnection, organisation_id: int, code: str) -> Row:
    """Return a tenant by code. Raises NotFound."""
    found = await one(conn, queries.tenant_by_code, {"organisation_id": organisation_id, "code": code})
    if found is None:
        raise NotFound("there is no tenant {code}", code=code)
    return found
