"""Issued bills reach their tenants once, over a real mail server; prepaid accounts burn by the day."""

import asyncio
from datetime import UTC, datetime
from decimal import Decimal
from email import message_from_bytes, policy

import pytest
from aiosmtpd.smtp import SMTP

from cloud_api.billing import service as billing
from cloud_api.billing import settlement
from cloud_api.db.pool import transaction
from cloud_api.db.queue import Worker
from cloud_api.kit.clock import fixed_clock
from cloud_api.kit.errors import Invalid
from cloud_api.kit.scope import SYSTEM
from cloud_api.notify import letters
from cloud_api.operations.bill_mail import service as bill_mail
from cloud_api.operations.prepaid import service as prepaid
from tests.integration.billing.small_site import CLOCK, SmallSite, estate
from tests.integration.billing.test_moves import bill_of

OCTOBER = ("2026-10-01", "2026-11-01")


class Mailbox:
    """What a real SMTP server was handed; it can refuse."""

    def __init__(self):
        self.taken = []
        self.refuses = False

    async def handle_DATA(self, server, session, envelope):  # noqa: N802  # The library's name.
        if self.refuses:
            return "451 try later"
        self.taken.append((envelope.rcpt_tos, message_from_bytes(envelope.content, policy=policy.default)))
        return "250 OK"


@pytest.fixture
async def mailbox():
    box = Mailbox()
    server = await asyncio.get_running_loop().create_server(lambda: SMTP(box), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    box.address = f"mailto://127.0.0.1:{port}?from=bills@park.example&mode=insecure"
    yield box
    server.close()


@pytest.fixture
async def issued(pool, database):
    """October is issued for a, who has an address, and b, who has none."""
    worker = Worker(pool=pool, clock=CLOCK, database_url=database.app)
    async with transaction(pool, SYSTEM) as conn:
        site = SmallSite(conn)
        leases = [("L1", "a", "r1", "2026-01-01", ""), ("L2", "b", "r2", "2026-01-01", "")]
        await site.build(estate({"m1": ["r1"], "m2": ["r2"]}, areas={"r1": 100, "r2": 60}), leases)
        for code in ("m1", "m2", "common"):
            await site.meter(code, *OCTOBER, lambda _: Decimal("0.25"))
        await site.main_is_sum_of(["m1", "m2", "common"], *OCTOBER)
        await conn.execute(
            'UPDATE tenant SET attributes = \'{"contact_email": "a@tenant.example", "language": "en"}\' WHERE code = \'a\''
        )
        run = await site.run()
    return worker, site, run["id"]


async def issue(worker, site, run_id):
    async with worker.transaction() as conn:
        for step in (billing.Step.REVIEW, billing.Step.APPROVE, billing.Step.ISSUE):
            await billing.take_step(conn, run_id, step, actor="boss", clock=CLOCK)


async def ids_of_letters(worker):
    async with worker.transaction() as conn:
        return [row[0] for row in await (await conn.execute("SELECT id FROM letter ORDER BY id")).fetchall()]


async def test_an_issued_bill_is_mailed_once_with_its_pdf_and_the_log_says_so(issued, mailbox):
    worker, site, run_id = issued
    await issue(worker, site, run_id)
    async with worker.transaction() as conn:
        organisation = site.site.organisation_id
        assert await bill_mail.write_letters(conn, CLOCK, run_id=run_id) == 0  # No sender is set yet.
        with pytest.raises(Invalid):
            await letters.set_sender(
                conn, organisation_id=organisation, address="https://x", actor="admin", clock=CLOCK
            )
        await letters.set_sender(
            conn, organisation_id=organisation, address=mailbox.address, actor="admin", clock=CLOCK
        )
    for _ in range(2):  # The job may run twice.
        async with worker.transaction() as conn:
            await bill_mail.write_letters(conn, CLOCK, run_id=run_id)
    (letter_id,) = await ids_of_letters(worker)
    mailbox.refuses = True
    with pytest.raises(letters.LetterNotTaken):
        await bill_mail.send_letter(worker, letter_id)
    mailbox.refuses = False
    await bill_mail.send_letter(worker, letter_id)
    await bill_mail.send_letter(worker, letter_id)
    ((recipients, mail),) = mailbox.taken
    assert recipients == ["a@tenant.example"]
    (pdf,) = [part for part in mail.walk() if part.get_content_type() == "application/pdf"]
    assert pdf.get_filename() == "PARK-2026-B000001.pdf"
    assert pdf.get_payload(decode=True)[:5] == b"%PDF-"
    text = next(p for p in mail.walk() if p.get_content_type() == "text/plain").get_payload(decode=True).decode()
    assert "Bill PARK-2026-B000001 for October 2026" in text
    async with worker.transaction() as conn:
        (row,) = await letters.letters(conn, organisation)
    assert (row["state"], row["attempts"]) == ("sent", 2)


async def test_a_letter_that_broke_off_is_sent_again_only_by_a_person(issued, mailbox):
    worker, site, run_id = issued
    async with worker.transaction() as conn:
        who = {"organisation_id": site.site.organisation_id, "actor": "admin", "clock": CLOCK}
        await letters.set_sender(conn, address=mailbox.address, **who)
    await issue(worker, site, run_id)
    async with worker.transaction() as conn:
        await bill_mail.write_letters(conn, CLOCK, run_id=run_id)
    (letter_id,) = await ids_of_letters(worker)
    assert await letters.claim(worker, letter_id, CLOCK) is not None  # Killed here, before the outcome was recorded.
    await bill_mail.send_letter(worker, letter_id)
    assert mailbox.taken == []
    later = fixed_clock(datetime(2026, 11, 10, 3, 0, tzinfo=UTC))
    async with worker.transaction() as conn:
        await letters.send_again(conn, letter_id, later)
    await bill_mail.send_letter(worker, letter_id)
    assert len(mailbox.taken) == 1


async def test_a_prepaid_account_burns_by_the_day_warns_once_and_is_trued_up_by_the_bill(issued, mailbox):
    worker, site, run_id = issued
    # On the 20th of October: 10 work days and 9 days off are over.
    burning = Worker(pool=worker.pool, clock=fixed_clock(datetime(2026, 10, 19, 18, 0, tzinfo=UTC)), database_url="")
    async with worker.transaction() as conn:
        tenant = (await settlement.find_tenant(conn, site.site.organisation_id, "a"))["id"]
        ids = {"organisation_id": site.site.organisation_id, "actor": "x", "clock": CLOCK}
        await letters.set_sender(conn, address=mailbox.address, **ids)
        await prepaid.set_terms(conn, tenant_id=tenant, low_balance=Decimal(750), actor="x", clock=CLOCK)
        day = datetime(2026, 10, 1, tzinfo=UTC).date()
        paid = {"account": "prepaid", "amount": Decimal(1000), "kind": "paid_in", "on_day": day}
        await settlement.move_account(conn, tenant_id=tenant, **paid, **ids)
    assert await prepaid.burn_all(burning) == 1
    assert await prepaid.burn_all(burning) == 0  # Once a day.
    so_far = bill_of(9, 10)
    async with worker.transaction() as conn:
        account = await prepaid.account(conn, tenant, datetime(2026, 10, 20, tzinfo=UTC).date())
    assert (account.balance, account.is_low) == (1000 - so_far, True)
    (warning,) = await ids_of_letters(worker)
    await bill_mail.send_letter(worker, warning)
    assert "Prepaid balance low" in mailbox.taken[0][1]["Subject"]
    await issue(worker, site, run_id)
    for _ in range(2):
        async with worker.transaction() as conn:
            await prepaid.settle_bills(conn, CLOCK, run_id=run_id)
    async with worker.transaction() as conn:
        assert (await settlement.balances(conn, tenant))["prepaid"] == 1000 - bill_of(18, 13)
        assert (await settlement.statement(conn, tenant))[-1]["balance"] == 0
