"""PDFs of bills: made once in the background when a run is issued, kept, and handed out alone or in one archive."""

import asyncio
import hashlib
import io
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

from psycopg import AsyncConnection

from cloud_api.billing.document.render import bill_pdf
from cloud_api.billing.repository import Row, one, queries, rows, store
from cloud_api.db.queue import Worker
from cloud_api.kit.errors import Invalid

MADE_AT_ONCE = 20
"""Documents of one transaction: progress is seen after each, and a killed worker loses no more."""
ARCHIVE_MAX = 1_000


async def make_documents(worker: Worker, run_id: int) -> int:
    """Make the PDFs that a run's issued bills lack; returns how many. May run twice and be killed anywhere."""
    made = 0
    while True:
        async with worker.transaction() as conn:
            bills = await rows(conn, queries.bills_without_document, {"run_id": run_id, "limit": MADE_AT_ONCE})
            if not bills:
                return made
            await _keep(conn, bills, await asyncio.to_thread(_render, bills), worker)
            made += len(bills)


def _render(bills: Sequence[Mapping[str, Any]]) -> list[bytes]:
    return [bill_pdf(bill) for bill in bills]


async def _keep(conn: AsyncConnection, bills: Sequence[Row], contents: Sequence[bytes], worker: Worker) -> None:
    for bill, content in zip(bills, contents, strict=True):
        values = {"bill_id": bill["id"], "organisation_id": bill["organisation_id"], "tenant_id": bill["tenant_id"]}
        values |= {"content": content, "sha256": hashlib.sha256(content).hexdigest(), "at": worker.clock.now()}
        await store(conn, queries.add_document_file, values)


async def bill_document(conn: AsyncConnection, bill: Mapping[str, Any]) -> bytes:
    """Return a bill's PDF: the kept one, else made now, with the same bytes."""
    kept = await one(conn, queries.document_file, {"bill_id": bill["id"]}) if bill["number"] else None
    return kept["content"] if kept else await asyncio.to_thread(bill_pdf, bill)


def document_name(bill: Mapping[str, Any]) -> str:
    """Return the file name of a bill's PDF."""
    return f"{bill['number'] or 'draft-' + str(bill['id'])}.pdf"


async def archive(conn: AsyncConnection, run_id: int) -> bytes:
    """Return a run's finished PDFs as one ZIP file; the same run gives the same bytes. Raises Invalid above 1,000."""
    state = await one(conn, queries.progress, {"run_id": run_id})
    if state is None or not state["documents"]:
        raise Invalid("the run has no documents yet; they are made when it is issued")
    if state["documents"] > ARCHIVE_MAX:
        raise Invalid(
            "an archive holds at most {archive_max} documents; take them bill by bill", archive_max=ARCHIVE_MAX
        )
    found = await rows(conn, queries.document_files, {"run_id": run_id})
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as file:  # A PDF is compressed already.
        for row in found:
            file.writestr(zipfile.ZipInfo(f"{row['number']}.pdf"), row["content"])
    return out.getvalue()
