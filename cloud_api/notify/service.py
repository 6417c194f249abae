"""Use cases of channels: add, switch, test, and read the delivery log."""

from collections.abc import Sequence
from typing import Any

from psycopg import AsyncConnection

from cloud_api.kit.clock import Clock
from cloud_api.kit.errors import Invalid, NotFound
from cloud_api.notify import channels, outbox
from cloud_api.notify.outbox import Entry, rows

queries = outbox.queries
DELIVERIES_MAX = 200


async def add_channel(
    conn: AsyncConnection,
    *,
    organisation_id: int,
    name: str,
    address: str,
    language: str = "zh",
    per_minute: int = 20,
    sends_recovery: bool = True,
) -> int:
    """Add a channel; returns its id. Raises ChannelRefused for an address that no transport understands."""
    channels.check_address(address)
    values = {
        "organisation_id": organisation_id,
        "name": name,
        "address": address,
        "language": language,
        "per_minute": per_minute,
        "sends_recovery": sends_recovery,
    }
    return (await rows(conn, queries.add_channel, values))[0]["id"]


async def list_channels(conn: AsyncConnection) -> list[dict[str, Any]]:
    """Return the channels; of an address only its kind is shown, the rest is a secret."""
    found = await rows(conn, queries.list_channels, {})
    return [c | {"address": c["address"].partition("://")[0]} for c in found]


async def require_channels(conn: AsyncConnection, channel_ids: Sequence[int]) -> None:
    """Refuse channels that are not there, or not the viewer's."""
    known = {c["id"] for c in await rows(conn, queries.list_channels, {})}
    missing = sorted(set(channel_ids) - known)
    if missing:
        raise Invalid("there is no channel {channel_id}", channel_id=missing[0])


async def enable_channel(conn: AsyncConnection, channel_id: int, *, is_enabled: bool) -> None:
    """Switch a channel on or off."""
    if not await rows(conn, queries.enable_channel, {"id": channel_id, "is_enabled": is_enabled}):
        raise NotFound


async def send_test(conn: AsyncConnection, clock: Clock, channel_id: int) -> None:
    """Put a test message into the outbox; the delivery log says how it went."""
    found = await rows(conn, queries.channel_by_id, {"id": channel_id})
    if not found:
        raise NotFound
    now = clock.now()
    entry = Entry(
        organisation_id=found[0]["organisation_id"],
        topic=f"test:{channel_id}:{now.isoformat()}",
        transition="test",
        channel_id=channel_id,
        severity=4,
        text_zh=f"测试消息：渠道“{found[0]['name']}”工作正常。",
        text_en=f"Test message: the channel {found[0]['name']} works.",
        due_at=now,
    )
    await outbox.enqueue(conn, entry, now)


async def deliveries(conn: AsyncConnection) -> list[dict[str, Any]]:
    """Return the newest 200 lines of the delivery log."""
    return await rows(conn, queries.deliveries, {"limit": DELIVERIES_MAX})
