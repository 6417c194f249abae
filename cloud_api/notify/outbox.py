"""The outbox: one writer sends what is due, one message per channel at a time, within its limits; nothing is lost.

An attempt is recorded before it is made. A crash between sending and recording leaves it `sending`; when no sender can
be at it any more it is sent again under the same key, so that a receiver that knows keys drops the copy.
"""

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol, Self

import psycopg
import structlog
from psycopg import AsyncConnection
from psycopg.rows import dict_row
from psycopg_pool import PoolTimeout

from cloud_api.db.queries import load_queries
from cloud_api.kit.clock import Clock
from cloud_api.notify.channels import APPRISE_SECONDS_MAX, SEND_SECONDS_MAX, Message, send

log = structlog.get_logger()
queries = load_queries(__file__)

GROUP_WAIT = timedelta(seconds=30)
GROUP_INTERVAL = timedelta(minutes=5)
ATTEMPTS_MAX = 10
RETRY_SECONDS = (5, 15, 60, 300, 900)
LINES_MAX = 20
# An attempt that began so long ago has ended, one way or the other, on the slowest kind of channel too.
BROKEN_OFF_AFTER = timedelta(seconds=max(SEND_SECONDS_MAX, APPRISE_SECONDS_MAX) + 5)
# While the database is away, the outcome of an attempt is kept for so long.
SETTLE_PAUSES_SECONDS = (0.5, 1, 2, 4)


class Transactions(Protocol):
    """Opens transactions that see everything (a Worker does)."""

    def transaction(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """Open one."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One thing to be said on one channel, named by its key (topic, transition, channel)."""

    organisation_id: int
    topic: str
    transition: str
    channel_id: int
    severity: int
    text_zh: str
    text_en: str
    due_at: datetime
    group_key: str = ""
    fallback_channel_id: int | None = None
    repeat_minutes: int | None = None
    route_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    owner_id: int  # The channel that the notifications are for; the message may leave by its fallback.
    ids: tuple[int, ...]
    channel: Mapping[str, Any]
    message: Message
    attempts: int


async def enqueue(conn: AsyncConnection, entry: Entry, now: datetime) -> None:
    """Put a message into the outbox as part of the caller's transaction; a second copy changes nothing."""
    await conn.execute(
        queries.enqueue,
        {
            "organisation_id": entry.organisation_id,
            "topic": entry.topic,
            "transition": entry.transition,
            "channel_id": entry.channel_id,
            "fallback_channel_id": entry.fallback_channel_id,
            "group_key": entry.group_key,
            "severity": entry.severity,
            "text_zh": entry.text_zh,
            "text_en": entry.text_en,
            "created_at": now,
            "due_at": entry.due_at,
            "repeat_minutes": entry.repeat_minutes,
            "route_id": entry.route_id,
        },
    )


async def cancel(conn: AsyncConnection, topic: str, *, kept_until: datetime | None = None) -> None:
    """Take back what has not been sent of a topic, but for its recovery.

    With `kept_until`, what was due by then or was tried already stays too.
    """
    await conn.execute(queries.cancel, {"topic": topic, "kept_until": kept_until})


async def relapse(conn: AsyncConnection, topic: str) -> bool:
    """Take back a recovery that has not left; returns whether the topic must be announced (again)."""
    await conn.execute(queries.cancel_recovery, {"topic": topic})
    last = await rows(conn, queries.last_word, {"topic": topic})
    return not last or last[0]["transition"].startswith("cleared")


async def told(conn: AsyncConnection, topic: str) -> list[dict[str, Any]]:
    """Return the channels that were told of a topic, or are about to be."""
    return await rows(conn, queries.told, {"topic": topic})


Fill = Callable[[AsyncConnection, datetime], Awaitable[object]]


class Sender:
    """Sends what is due, each channel by itself: one that hangs keeps no other waiting, nor the next turn.

    Use it as `async with`: at the end, attempts that are under way get their time to be settled.
    """

    def __init__(self, transactions: Transactions, clock: Clock) -> None:
        self._transactions, self._clock = transactions, clock
        self._busy: dict[int, asyncio.Task[None]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._busy:
            await asyncio.wait(list(self._busy.values()), timeout=BROKEN_OFF_AFTER.total_seconds())
        await self.abandon()

    async def turn(self, fill: Fill | None = None) -> None:
        """Begin to send everything that is due on channels that are free; `fill` may put more into the outbox first."""
        now, busy = self._clock.now(), list(self._busy)
        async with self._transactions.transaction() as conn:
            if fill is not None:
                await fill(conn, now)
            values = {"now": now, "group_interval": GROUP_INTERVAL, "before": now - BROKEN_OFF_AFTER, "busy": busy}
            batches = await _prepare(conn, await rows(conn, queries.unsettled, values), now, is_repeat=True)
            batches += await _prepare(conn, await rows(conn, queries.due, values), now, is_repeat=False)
        by_channel: dict[int, list[_Batch]] = defaultdict(list)
        for batch in batches:
            by_channel[batch.owner_id].append(batch)
        for channel_id, found in by_channel.items():
            self._busy[channel_id] = asyncio.create_task(self._deliver_all(channel_id, found))

    async def idle(self) -> None:
        """Wait until nothing is being sent."""
        while self._busy:
            await asyncio.wait(list(self._busy.values()))

    async def abandon(self) -> None:
        """Give up what is being sent, unsettled; it is taken up again as after a crash."""
        for task in self._busy.values():
            task.cancel()
        await self.idle()

    async def _deliver_all(self, channel_id: int, batches: Sequence["_Batch"]) -> None:
        try:
            await asyncio.gather(*(self._deliver(batch) for batch in batches))
        except Exception:
            # The attempt stays recorded as begun and is taken up again as after a crash.
            log.exception("notification_not_settled", channel=channel_id)
        finally:
            del self._busy[channel_id]

    async def _deliver(self, batch: "_Batch") -> None:
        error = await send(batch.channel["address"], batch.message)
        for pause in (*SETTLE_PAUSES_SECONDS, None):
            try:
                async with self._transactions.transaction() as conn:
                    await _settle(conn, batch, error, self._clock.now())
            except (psycopg.OperationalError, PoolTimeout):
                if pause is None:
                    raise
                await asyncio.sleep(pause)
            else:
                return


async def _prepare(
    conn: AsyncConnection, due: Sequence[dict[str, Any]], now: datetime, *, is_repeat: bool
) -> list[_Batch]:
    wanted = {r["channel_id"] for r in due} | {r["fallback_channel_id"] for r in due if r["fallback_channel_id"]}
    channels = {c["id"]: c for c in await rows(conn, queries.channels, {"ids": sorted(wanted)})}
    groups: dict[tuple[int, str], list[dict[str, Any]]] = defaultdict(list)
    for row in due:
        groups[row["channel_id"], str(row["message_key"] if is_repeat else "")].append(row)
    batches = []
    for (channel_id, _), found in sorted(groups.items()):
        batches += await _prepare_channel(conn, channels, channels[channel_id], found, now, is_repeat=is_repeat)
    return batches


async def _prepare_channel(
    conn: AsyncConnection,
    channels: Mapping[int, dict[str, Any]],
    channel: dict[str, Any],
    due: list[dict[str, Any]],
    now: datetime,
    *,
    is_repeat: bool,
) -> list[_Batch]:
    """Make one message of all that is due; at its limit, or failing, critical ones leave by the fallback channel."""
    failing = bool(channel["last_error"])
    if is_repeat or (not failing and _take_token(channel, now)):
        await conn.execute(queries.spend, {"id": channel["id"], "tokens": channel["tokens"], "now": now})
        return [await _begin(conn, channel, due, now)]
    batches = []
    critical: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in due:
        if row["severity"] == 1 and row["fallback_channel_id"] in channels:
            critical[row["fallback_channel_id"]].append(row)
    for fallback_id, found in critical.items():
        if _take_token(channels[fallback_id], now):
            values = {"id": fallback_id, "tokens": channels[fallback_id]["tokens"], "now": now}
            await conn.execute(queries.spend, values)
            batches.append(await _begin(conn, channels[fallback_id], found, now))
    rest = [row for row in due if not any(row["id"] in b.ids for b in batches)]
    if failing and rest and _take_token(channel, now):
        await conn.execute(queries.spend, {"id": channel["id"], "tokens": channel["tokens"], "now": now})
        batches.append(await _begin(conn, channel, rest, now))
    return batches


def _take_token(channel: dict[str, Any], now: datetime) -> bool:
    since = channel["tokens_at"]
    filled = (
        channel["tokens"]
        if since is None
        else channel["tokens"] + ((now - since).total_seconds() * channel["per_minute"] / 60)
    )
    filled = min(float(channel["per_minute"]), filled)
    if filled < 1:
        return False
    channel["tokens"], channel["tokens_at"] = filled - 1, now
    return True


async def _begin(
    conn: AsyncConnection, channel: Mapping[str, Any], due: Sequence[dict[str, Any]], now: datetime
) -> _Batch:
    ids = tuple(row["id"] for row in due)
    key = due[0]["message_key"] or hashlib.sha256(repr((channel["id"], ids)).encode()).hexdigest()[:32]
    message = _message(key, channel["language"], due)
    await conn.execute(queries.begin_sending, {"ids": list(ids), "message_key": key, "now": now})
    batch = _Batch(
        owner_id=due[0]["channel_id"], ids=ids, channel=channel, message=message, attempts=due[0]["attempts"] + 1
    )
    await _log(conn, batch, now, "started")
    return batch


def _message(key: str, language: str, due: Sequence[dict[str, Any]]) -> Message:
    texts = [row["text_zh"] if language == "zh" else row["text_en"] for row in due]
    worst = min(row["severity"] for row in due)
    title = texts[0]
    if len(texts) > 1:
        title = f"{len(texts)} 条报警消息" if language == "zh" else f"{len(texts)} alarm messages"
        if len(texts) > LINES_MAX:
            rest = len(texts) - LINES_MAX
            texts = [*texts[:LINES_MAX], f"……另有 {rest} 条" if language == "zh" else f"… and {rest} more"]
    items = tuple(
        {"topic": r["topic"], "transition": r["transition"], "severity": r["severity"], "zh": r["text_zh"],
         "en": r["text_en"]}
        for r in due
    )  # fmt: skip
    return Message(key=key, title=title, lines=tuple(texts), severity=worst, items=items)


async def _settle(conn: AsyncConnection, batch: _Batch, error: str, now: datetime) -> None:
    if not error:
        values = {"ids": list(batch.ids), "state": "sent", "sent_at": now, "due_at": None}
        await conn.execute(queries.finish_sending, values)
        await conn.execute(queries.note_channel, {"id": batch.channel["id"], "sent_at": now, "error": ""})
        await _log(conn, batch, now, "sent")
        await conn.execute(queries.wake_for_channel, {"id": batch.owner_id, "now": now})
        return
    pause = RETRY_SECONDS[min(batch.attempts - 1, len(RETRY_SECONDS) - 1)]
    gives_up = batch.attempts >= ATTEMPTS_MAX
    values = {
        "ids": list(batch.ids),
        "state": "failed" if gives_up else "waiting",
        "sent_at": None,
        "due_at": now + timedelta(seconds=pause),
    }
    await conn.execute(queries.finish_sending, values)
    await conn.execute(queries.note_channel, {"id": batch.channel["id"], "sent_at": None, "error": error})
    await _log(conn, batch, now, "failed", error)
    log.warning("notification_failed", channel=batch.channel["name"], error=error, attempts=batch.attempts)


async def _log(conn: AsyncConnection, batch: _Batch, now: datetime, outcome: str, detail: str = "") -> None:
    await conn.execute(
        queries.log_delivery,
        {
            "organisation_id": batch.channel["organisation_id"],
            "channel_id": batch.channel["id"],
            "message_key": batch.message.key,
            "started_at": now,
            "count": len(batch.ids),
            "title": batch.message.title[:200],
            "outcome": outcome,
            "detail": detail,
        },
    )


async def rows(conn: AsyncConnection, query: Any, values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Run a named statement and return its rows as dictionaries."""
    async with conn.cursor(row_factory=dict_row) as cursor:
        return await (await cursor.execute(query, values)).fetchall()
