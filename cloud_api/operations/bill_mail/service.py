"""Bills by e-mail: each issued document goes once to its tenant's address, with its PDF."""

from collections.abc import Mapping
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import dict_row

from cloud_api.billing import service as billing
from cloud_api.billing.documents import bill_document, document_name
from cloud_api.db.queries import load_queries
from cloud_api.db.queue import Worker
from cloud_api.kit.clock import Clock
from cloud_api.kit.i18n import format_day, format_days, format_money, use_language
from cloud_api.notify import letters
from cloud_api.notify.letters import Attachment

queries = load_queries(__file__)

_KINDS = {
    "bill": ("账单", "Bill"),
    "final": ("结清账单", "Final bill"),
    "rebill": ("更正账单", "Corrected bill"),
    "credit_note": ("红字账单", "Credit note"),
}


async def write_letters(
    conn: AsyncConnection, clock: Clock, *, run_id: int | None = None, bill_id: int | None = None
) -> int:
    """Write a letter for each issued bill whose tenant has an address; returns how many are new.

    Without a sender nothing is written: an organisation that sets one later does not flood its tenants.
    """
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(queries.issued_bills, {"run_id": run_id, "bill_id": bill_id})
        bills = await cursor.fetchall()
    written = 0
    for bill in bills:
        if not bill["email"] or await letters.sender(conn, bill["organisation_id"]) is None:
            continue
        subject, body = words(bill)
        written += await letters.write(
            conn,
            organisation_id=bill["organisation_id"],
            tenant_id=bill["tenant_id"],
            topic=f"bill/{bill['number']}",
            recipient=bill["email"],
            subject=subject,
            body=body,
            bill_id=bill["id"],
            clock=clock,
        )
    return written


def words(bill: Mapping[str, Any]) -> tuple[str, str]:
    """Return subject and text of a bill's letter in its tenant's language."""
    kind_zh, kind_en = _KINDS[bill["kind"]]
    with use_language("en" if bill["language"] == "en" else "zh"):
        days = format_days(bill["starts_on"], bill["ends_on"])
        total = format_money(bill["total"], bill["currency"])
        due = None if bill["due_on"] is None else format_day(bill["due_on"])
    if bill["language"] == "en":
        lines = [f"Dear {bill['name_en']},", "", f"{kind_en} {bill['number']} for {days}: {total}."]
        lines += [f"Please pay by {due} and give the number as reference."] if due and bill["total"] > 0 else []
        lines += ["Every line with its evidence is on your portal.", "", bill["issuer_en"]]
        return f"{kind_en} {bill['number']}: {total}", "\n".join(lines)
    lines = [f"{bill['name_zh']}：", "", f"{days}{kind_zh} {bill['number']}，合计 {total}。"]
    lines += [f"请于 {due} 前付款，并注明账单编号。"] if due and bill["total"] > 0 else []
    lines += ["每一行的依据可在租户门户查看。", "", bill["issuer_zh"]]
    return f"{kind_zh} {bill['number']}：{total}", "\n".join(lines)


async def send_letter(worker: Worker, letter_id: int) -> None:
    """Send one letter with the PDF of its bill; may be called twice, sends once."""
    letter = await letters.claim(worker, letter_id, worker.clock)
    if letter is None:
        return
    attachment = None
    if letter["bill_id"] is not None:
        async with worker.transaction() as conn:
            bill = await billing.get_bill(conn, letter["bill_id"])
            attachment = Attachment(name=document_name(bill), content=await bill_document(conn, bill))
    await letters.send(worker, letter, attachment, worker.clock)
