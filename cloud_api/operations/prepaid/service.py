"""Prepaid accounts: a burn per day by the tariff of the hour, a warning when the balance is low, a true-up by the bill.

The burn of a day is what the month cost up to it less what was burned before, so late readings and steps of a tariff
correct themselves. It is an estimate of own energy; when the month's bill is issued, the month's burn is given back and
the bill is paid instead.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from psycopg import AsyncConnection

from cloud_api.billing import settlement
from cloud_api.db.pool import transaction
from cloud_api.db.queries import load_queries
from cloud_api.db.queue import Worker
from cloud_api.db.rows import all_rows
from cloud_api.kit.clock import Clock
from cloud_api.kit.errors import Invalid
from cloud_api.kit.i18n import format_money, use_language
from cloud_api.kit.ids import OrganisationId, TenantId
from cloud_api.kit.money import round_half_up
from cloud_api.kit.period import local_days
from cloud_api.kit.scope import Scope
from cloud_api.notify import letters
from cloud_api.operations.tenant_usage import repository as usage
from cloud_api.operations.tenant_usage.pricing import load_pricing

queries = load_queries(__file__)
BY_RULE = "policy:prepaid"
DAYS_AVERAGED = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A prepaid account: `daily_burn` is the mean of the last days that burned; None before there were any."""

    balance: Decimal
    low_balance: Decimal
    daily_burn: Decimal | None

    @property
    def is_low(self) -> bool:
        """Tell whether the balance is below the limit of warning."""
        return self.balance < self.low_balance

    @property
    def days_left(self) -> int | None:
        """Return how many days the balance lasts at the recent burn."""
        if not self.daily_burn:
            return None
        return max(int(self.balance / self.daily_burn), 0)


async def set_terms(conn: AsyncConnection, *, tenant_id: int, low_balance: Decimal, actor: str, clock: Clock) -> None:
    """Make a tenant pay ahead, and set the balance below which it is warned."""
    if low_balance < 0:
        raise Invalid("the balance to warn at cannot be below 0")
    values = {"tenant_id": tenant_id, "low_balance": low_balance, "actor": actor, "at": clock.now()}
    await conn.execute(queries.set_terms, values)


async def account(conn: AsyncConnection, tenant_id: int, today: date) -> Account | None:
    """Return a tenant's prepaid account, or None when it does not pay ahead."""
    found = await all_rows(conn, queries.accounts, {"tenant_id": tenant_id})
    if not found:
        return None
    first = today - timedelta(days=DAYS_AVERAGED)
    burns = await all_rows(conn, queries.recent_burn, {"tenant_id": tenant_id, "first": first})
    mean = sum((b["amount"] for b in burns), Decimal(0)) / len(burns) if burns else None
    daily = None if mean is None else round_half_up(mean)
    return Account(balance=found[0]["balance"], low_balance=found[0]["low_balance"], daily_burn=daily)


async def burn_all(worker: Worker) -> int:
    """Burn yesterday for every prepaid account and warn where the balance is low; returns how many burned."""
    async with worker.transaction() as conn:
        accounts = await all_rows(conn, queries.accounts, {"tenant_id": None})
    count = 0
    for row in accounts:
        amount, day = await _amount(worker, row)
        async with worker.transaction() as conn:
            if amount > 0:
                await _enter(conn, row, "burn", -amount, day, f"{day:%Y-%m}", worker.clock)
                count += 1
            await _warn(conn, row["tenant_id"], day, worker.clock)
    return count


async def _amount(worker: Worker, row: Mapping[str, Any]) -> tuple[Decimal, date]:
    """Return what is still to burn up to the end of yesterday, seen with the tenant's own eyes."""
    zone = ZoneInfo(row["time_zone"])
    today = worker.clock.now().astimezone(zone).date()
    day = today - timedelta(days=1)
    first = day.replace(day=1)
    tenant = TenantId(row["tenant_id"])
    scope = Scope(kind="tenant", organisation_id=OrganisationId(row["organisation_id"]), tenant_id=tenant)
    async with transaction(worker.pool, scope) as conn:
        period = local_days(first, today, zone)
        pricing = await load_pricing(conn, period)
        found = await usage.intervals(conn, tenant, period, zone)
        cost = None if pricing is None else pricing.cost_of([one for one in found if one.is_known])
        values = {"tenant_id": tenant, "first": first, "after": today}
        burned = (await all_rows(conn, queries.burned, values))[0]["burned"]
    return (Decimal(0) if cost is None else max(round_half_up(cost) - burned, Decimal(0))), day


async def _warn(conn: AsyncConnection, tenant_id: int, day: date, clock: Clock) -> None:
    """Write a letter when the balance fell below its limit; once, until it is above again."""
    (row,) = await all_rows(conn, queries.accounts, {"tenant_id": tenant_id})
    if row["balance"] >= row["low_balance"]:
        if row["warned_on"] is not None:
            await conn.execute(queries.note_warning, {"tenant_id": tenant_id, "on_day": None})
        return
    if row["warned_on"] is not None:
        return
    await conn.execute(queries.note_warning, {"tenant_id": tenant_id, "on_day": day})
    if row["email"] and await letters.sender(conn, row["organisation_id"]) is not None:
        subject, body = warning_words(row)
        await letters.write(
            conn,
            organisation_id=row["organisation_id"],
            tenant_id=tenant_id,
            topic=f"prepaid/{tenant_id}/{day}",
            recipient=row["email"],
            subject=subject,
            body=body,
            clock=clock,
        )


def warning_words(row: Mapping[str, Any]) -> tuple[str, str]:
    """Return subject and text of a warning in the tenant's language."""
    with use_language("en" if row["language"] == "en" else "zh"):
        balance, limit = (format_money(row[key], row["currency"]) for key in ("balance", "low_balance"))
    if row["language"] == "en":
        return f"Prepaid balance low: {balance}", (
            f"Dear {row['name_en']},\n\nyour prepaid balance is {balance}, below {limit}. Please top it up in time."
        )
    return f"预付余额不足：{balance}", f"{row['name_zh']}：\n\n您的预付余额为 {balance}，低于 {limit}，请及时充值。"


async def settle_bills(
    conn: AsyncConnection, clock: Clock, *, run_id: int | None = None, bill_id: int | None = None
) -> int:
    """Give back the burn of each bill's days and pay the bill from the balance; returns how many. May run twice."""
    found = await all_rows(conn, queries.prepaid_bills, {"run_id": run_id, "bill_id": bill_id})
    count = 0
    for bill in found:
        reference = bill["number"]
        if await all_rows(conn, queries.trued_up, {"tenant_id": bill["tenant_id"], "reference": reference}):
            continue
        on_day = bill["after"] - timedelta(days=1)
        burned = (await all_rows(conn, queries.burned, bill))[0]["burned"]
        await _enter(conn, bill, "true_up", burned, on_day, reference, clock)
        balance = (await settlement.balances(conn, bill["tenant_id"]))["prepaid"]
        paid = min(balance, bill["open_amount"])
        if paid > 0:
            await _enter(conn, bill, "settled", -paid, on_day, reference, clock)
            await settlement.record_payment(
                conn,
                organisation_id=bill["organisation_id"],
                tenant_id=bill["tenant_id"],
                amount=paid,
                received_on=on_day,
                method="prepaid",
                reference=reference,
                currency=bill["currency"].strip(),
                bill_number=bill["number"],
                actor=BY_RULE,
                clock=clock,
            )
        count += 1
    return count


async def _enter(
    conn: AsyncConnection,
    row: Mapping[str, Any],
    kind: str,
    amount: Decimal,
    on_day: date,
    reference: str,
    clock: Clock,
) -> None:
    await settlement.move_account(
        conn,
        organisation_id=row["organisation_id"],
        tenant_id=row["tenant_id"],
        account="prepaid",
        amount=amount,
        kind=kind,
        on_day=on_day,
        reference=reference,
        actor=BY_RULE,
        clock=clock,
    )
