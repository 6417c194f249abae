"""Letters: e-mails to one tenant with an attachment, sent at most once.

A letter is put into the database with the transaction that causes it, and its key makes a second one impossible. The
attempt is recorded before it is made: what broke off between sending and recording stays `sending`, and only a person
sends it again.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import apprise
from apprise.attachment.memory import AttachMemory
from psycopg import AsyncConnection

from cloud_api.db import queue
from cloud_api.kit.clock import Clock
from cloud_api.kit.errors import Invalid, NotFound
from cloud_api.notify.outbox import Transactions, queries, rows

SEND_SECONDS_MAX = 30.0
BROKEN_OFF_AFTER = timedelta(minutes=5)
LETTERS_SHOWN_MAX = 200


class LetterNotTaken(Exception):
    """The mail server did not take a letter; the job tries it again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A file that goes with a letter."""

    name: str
    content: bytes
    media_type: str = "application/pdf"


async def set_sender(conn: AsyncConnection, *, organisation_id: int, address: str, actor: str, clock: Clock) -> None:
    """Set the mail server and sender of an organisation, such as mailto://user:pass@host?from=bills@park.example."""
    parts = urlsplit(address)
    if parts.scheme not in {"mailto", "mailtos"} or not apprise.Apprise().add(with_recipient(address, "a@b.example")):
        raise Invalid("the sender is a mail address such as mailto://user:password@host:587?from=bills@park.example")
    values = {"organisation_id": organisation_id, "address": address, "actor": actor, "at": clock.now()}
    await conn.execute(queries.set_mail_sender, values)


async def sender(conn: AsyncConnection, organisation_id: int) -> str | None:
    """Return the address that letters leave from, or None; it holds secrets."""
    found = await rows(conn, queries.mail_sender, {"organisation_id": organisation_id})
    return found[0]["address"] if found else None


def shown(address: str | None) -> str:
    """Return what may be seen of a sender's address: who writes, by which server, without the password."""
    if address is None:
        return ""
    parts = urlsplit(address)
    host = parts.netloc.rpartition("@")[2]
    return f"{dict(parse_qsl(parts.query)).get('from') or parts.username or ''} · {host}".removeprefix(" · ")


def with_recipient(address: str, recipient: str) -> str:
    """Return a sender's address with the recipient in it, as plain text mail."""
    parts = urlsplit(address)
    query = [(k, v) for k, v in parse_qsl(parts.query) if k not in {"to", "format"}]
    return urlunsplit(parts._replace(query=urlencode([*query, ("to", recipient), ("format", "text")])))


async def write(
    conn: AsyncConnection,
    *,
    organisation_id: int,
    tenant_id: int,
    topic: str,
    recipient: str,
    subject: str,
    body: str,
    clock: Clock,
    bill_id: int | None = None,
) -> bool:
    """Write a letter as part of the caller's transaction and leave it to the worker; False when it was there."""
    values = {"organisation_id": organisation_id, "tenant_id": tenant_id, "topic": topic, "recipient": recipient}
    values |= {"subject": subject, "body": body, "bill_id": bill_id, "at": clock.now()}
    found = await rows(conn, queries.add_letter, values)
    if found:
        await queue.defer(conn, "operations:send_letter", letter_id=found[0]["id"])
    return bool(found)


async def claim(transactions: Transactions, letter_id: int, clock: Clock) -> Mapping[str, Any] | None:
    """Record that a letter is being sent; None when it was sent, or is being sent, already."""
    async with transactions.transaction() as conn:
        found = await rows(conn, queries.claim_letter, {"id": letter_id, "at": clock.now()})
    return found[0] if found else None


async def send(
    transactions: Transactions, letter: Mapping[str, Any], attachment: Attachment | None, clock: Clock
) -> None:
    """Send a claimed letter and record how it ended. Raises LetterNotTaken when the server refused it.

    A server that does not answer in time may have taken it: such a letter is not tried again by itself.
    """
    async with transactions.transaction() as conn:
        address = await sender(conn, letter["organisation_id"])
    problem, state = "", "sent"
    if address is None:
        problem, state = "no sender is set", "failed"
    else:
        try:
            async with asyncio.timeout(SEND_SECONDS_MAX):
                taken = await asyncio.to_thread(
                    _notify, with_recipient(address, letter["recipient"]), letter, attachment
                )
            if not taken:
                problem, state = "the mail server did not take the letter", "waiting"
        except TimeoutError:
            problem, state = f"no answer within {SEND_SECONDS_MAX:.0f} s; it may have arrived", "failed"
    values = {"id": letter["id"], "state": state, "problem": problem}
    async with transactions.transaction() as conn:
        await conn.execute(queries.settle_letter, values | {"sent_at": clock.now() if state == "sent" else None})
    if state == "waiting":
        raise LetterNotTaken(problem)


def _notify(address: str, letter: Mapping[str, Any], attachment: Attachment | None) -> bool:
    target = apprise.Apprise()
    if not target.add(address):
        return False
    files = None
    if attachment is not None:
        file = AttachMemory(content=attachment.content, name=attachment.name, mimetype=attachment.media_type)
        files = apprise.AppriseAttachment(file)
    return bool(
        target.notify(title=letter["subject"], body=letter["body"], body_format=apprise.NotifyFormat.TEXT, attach=files)
    )


async def send_again(conn: AsyncConnection, letter_id: int, clock: Clock) -> None:
    """Let a person send a letter again that failed or broke off. Raises NotFound for one that was sent."""
    values = {"id": letter_id, "before": clock.now() - BROKEN_OFF_AFTER}
    if not await rows(conn, queries.retry_letter, values):
        raise NotFound("this letter was sent, or is being sent")
    await queue.defer(conn, "operations:send_letter", letter_id=letter_id)


async def letters(conn: AsyncConnection, organisation_id: int, *, tenant_id: int | None = None) -> list[dict[str, Any]]:
    """Return the newest letters (of a tenant)."""
    values = {"organisation_id": organisation_id, "tenant_id": tenant_id, "limit": LETTERS_SHOWN_MAX}
    return await rows(conn, queries.letters, values)
