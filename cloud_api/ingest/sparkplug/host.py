"""The host application: what one Sparkplug message changes, in one transaction that any worker may carry out.

Messages of one edge node are numbered 0 to 255 and shared among the workers, so one may hold number 7 before another
has committed number 6. Number 7 then waits a moment; only when 6 does not come is it a gap, and a rebirth is asked for.
A number at or behind the one committed last has been delivered again and is stored as far as it is new.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import Enum, auto

import numpy as np
import structlog
from psycopg import AsyncConnection
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from cloud_api.db.pool import transaction
from cloud_api.db.queries import load_queries
from cloud_api.devices import service as devices
from cloud_api.devices.model import CatalogueDevice, CataloguePoint, Gateway
from cloud_api.ingest import service as ingest_service
from cloud_api.ingest.limits import counters
from cloud_api.ingest.names import valid_name
from cloud_api.ingest.service import Ingest
from cloud_api.ingest.sparkplug import messages, payload
from cloud_api.ingest.sparkplug.messages import Said, SaidEvent, Topic
from cloud_api.ingest.sparkplug.payload import Payload, Unreadable
from cloud_api.kit.ids import DeviceId, GatewayId, OrganisationId, PointId
from cloud_api.kit.scope import SYSTEM
from cloud_api.telemetry.columns import Observations
from cloud_api.telemetry.model import Event

log = structlog.get_logger()
queries = load_queries(__file__)
_REBIRTH_EVERY = timedelta(seconds=30)


class Outcome(Enum):
    """What to do with a message after it was looked at."""

    DONE = auto()  # Committed, or of no use: acknowledge it.
    WAIT = auto()  # One before it has not been committed: look again soon.
    REBIRTH = auto()  # Committed as far as possible; ask the edge node for everything anew.


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """The session that an edge node is in."""

    bd_seq: int
    born_ms: int
    last_seq: int | None
    is_online: bool
    rebirth_asked_at: datetime | None


@dataclass(slots=True)
class Host:
    """Takes messages in; knows nothing of brokers."""

    ingest: Ingest

    async def take(self, topic: str, body: bytes, *, is_patient: bool) -> Outcome:
        """Store what a message says. With `is_patient` it waits for the ones before it; without, they count as lost."""
        where = messages.read_topic(topic)
        if where is None:
            return Outcome.DONE
        try:
            said = payload.decode(body)
        except Unreadable as error:
            counters["sparkplug_unreadable"] += 1
            log.warning("sparkplug_unreadable", topic=topic, reason=str(error))
            return Outcome.DONE
        async with transaction(self.ingest.pool, SYSTEM) as conn:
            gateway = await _gateway(conn, where.node)
        if gateway is None:
            counters["sparkplug_unknown_node"] += 1
            log.warning("sparkplug_unknown_node", node=where.node, remedy="cloud-api gateway add")
            return Outcome.DONE
        await self.ingest.make_room(np.array([m.at_ms or said.at_ms for m in said.metrics], dtype=np.int64))
        async with transaction(self.ingest.pool, SYSTEM) as conn:
            node = await _lock_node(conn, gateway.id)
            after, outcome = await self._take(conn, gateway, node, where, said, is_patient=is_patient)
            if after != node:
                await conn.execute(queries.update_node, {"gateway_id": gateway.id} | _columns(after))
        return outcome

    async def _take(
        self, conn: AsyncConnection, gateway: Gateway, node: Node, where: Topic, said: Payload, *, is_patient: bool
    ) -> tuple[Node, Outcome]:
        now = self.ingest.clock.now()
        if where.kind == "NDEATH":
            return await _node_died(conn, gateway, node, said, now), Outcome.DONE
        if where.kind == "NBIRTH":
            if said.at_ms <= node.born_ms:  # Delivered again, or overtaken by a newer one.
                return node, Outcome.DONE
            await _add_birth(conn, gateway.id, where.device, said)
            node = Node(
                bd_seq=messages.bd_seq(said),
                born_ms=said.at_ms,
                last_seq=said.seq,
                is_online=True,
                rebirth_asked_at=None,
            )
            await self._store(conn, gateway, where, said, now, is_birth=True)
            return node, Outcome.DONE
        ahead = _ahead(node.last_seq, said.seq)
        if ahead > 1 and is_patient:
            return node, Outcome.WAIT
        if ahead > 0:
            node = replace(node, last_seq=said.seq)
        unknown = 0
        if where.kind == "DDEATH":
            await _device_died(conn, gateway, where.device, said, now)
        else:
            if where.kind == "DBIRTH":
                await self._device_born(conn, gateway, where.device, said, now)
            unknown = await self._store(conn, gateway, where, said, now, is_birth=where.kind == "DBIRTH")
        if unknown and is_patient:
            return node, Outcome.WAIT
        counters["sparkplug_unknown_alias"] += unknown
        return _asking(node, now) if ahead > 1 or unknown else (node, Outcome.DONE)

    async def _device_born(
        self, conn: AsyncConnection, gateway: Gateway, device: str, said: Payload, now: datetime
    ) -> None:
        await _add_birth(conn, gateway.id, device, said)
        points = [CataloguePoint(name=valid_name(p, "_"), unit=unit) for p, unit in messages.units(said).items()]
        born = CatalogueDevice(name=valid_name(device, "-"), label=device[:400], points=points)
        await devices.add_points(conn, gateway, [born], now)
        ids = await _device_ids(conn, gateway.id)
        await ingest_service.set_states(conn, {ids[born.name]: ("online", _instant(said.at_ms), "")})

    async def _store(
        self, conn: AsyncConnection, gateway: Gateway, where: Topic, said: Payload, now: datetime, *, is_birth: bool
    ) -> int:
        known = messages.aliases(said) if is_birth else await _aliases(conn, gateway.id, where.device, said.at_ms)
        values, events, unknown = messages.read_metrics(said, known, is_birth=is_birth)
        points, ids = await devices.addresses(conn, gateway.id) if values or events else ({}, {})
        rows, missing = _rows(where.device, values, points, self.ingest.limits.oldest_ms, now)
        found = [_event(event, where.device, gateway, ids, now) for event in events]
        await self.ingest.store_unnumbered(conn, gateway, rows, found)
        return unknown + missing


def _ahead(last: int | None, seq: int | None) -> int:
    """Return how far a number is ahead of the one committed last: 1 is the next one, 0 and below come again."""
    if last is None or seq is None:
        return 2  # Nothing is known of this session yet.
    distance = (seq - last) % 256
    return distance if distance < 128 else distance - 256


def _asking(node: Node, now: datetime) -> tuple[Node, Outcome]:
    counters["sparkplug_gap"] += 1
    if node.rebirth_asked_at is not None and now - node.rebirth_asked_at < _REBIRTH_EVERY:
        return node, Outcome.DONE
    return replace(node, rebirth_asked_at=now), Outcome.REBIRTH


async def _node_died(conn: AsyncConnection, gateway: Gateway, node: Node, said: Payload, now: datetime) -> Node:
    if not node.is_online or messages.bd_seq(said) != node.bd_seq:
        return node  # The death of an earlier connection, delivered late.
    # A will was written when its connection began, so its own time says nothing of the death.
    offline = ("offline", now, "the edge node is offline (NDEATH)")
    states = dict.fromkeys((await _device_ids(conn, gateway.id)).values(), offline)
    await ingest_service.set_states(conn, states)
    return replace(node, is_online=False)


async def _device_died(conn: AsyncConnection, gateway: Gateway, device: str, said: Payload, now: datetime) -> None:
    device_id = (await _device_ids(conn, gateway.id)).get(valid_name(device, "-"))
    if device_id is not None:
        at = min(_instant(said.at_ms), now)
        await ingest_service.set_states(conn, {device_id: ("offline", at, "the edge node lost the device (DDEATH)")})


def _rows(
    device: str, values: Sequence[Said], points: dict[str, PointId], oldest_ms: int, now: datetime
) -> tuple[Observations, int]:
    latest_ms = int(now.timestamp() * 1000) + 600_000
    timely = [v for v in values if oldest_ms <= v.at_ms <= latest_ms]
    counters["rejected_instant"] += len(values) - len(timely)
    name = valid_name(device, "-")
    found = [(v, points.get(f"{name}/{valid_name(v.point, '_')}")) for v in timely]
    good = [(v, point) for v, point in found if point is not None]
    rows = Observations(
        point_id=np.array([point for _, point in good], dtype=np.int64),
        at_ms=np.array([v.at_ms for v, _ in good], dtype=np.int64),
        value=np.array([np.nan if v.value is None else v.value for v, _ in good], dtype=np.float64),
        mantissa=np.array([v.mantissa for v, _ in good], dtype=np.int64),
        quality=np.array([v.quality for v, _ in good], dtype=np.int64),
        scale=np.array([v.scale for v, _ in good], dtype=np.int64),
    )
    return rows, 0 if not device else len(found) - len(good)


def _event(event: SaidEvent, device: str, gateway: Gateway, ids: dict[str, DeviceId], now: datetime) -> Event:
    return Event(
        organisation_id=gateway.organisation_id,
        gateway_id=gateway.id,
        device_id=ids.get(valid_name(device, "-")) if device else None,
        kind=event.kind,
        occurred_at=min(_instant(event.at_ms), now),
        received_at=now,
        data=event.data,
    )


def _instant(ms: int) -> datetime:
    return datetime.fromtimestamp(min(ms, 4_102_444_800_000) / 1000, UTC)


def _columns(node: Node) -> dict[str, object]:
    return {name: getattr(node, name) for name in ("bd_seq", "born_ms", "last_seq", "is_online", "rebirth_asked_at")}


async def _gateway(conn: AsyncConnection, node: str) -> Gateway | None:
    row = await (await conn.execute(queries.find_gateway, {"node": node})).fetchone()
    return Gateway(id=GatewayId(row[0]), organisation_id=OrganisationId(row[1]), name=row[2]) if row else None


async def _lock_node(conn: AsyncConnection, gateway_id: GatewayId) -> Node:
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(queries.lock_node, {"gateway_id": gateway_id})
        row = await cursor.fetchone()
    assert row is not None, "the row was inserted or updated"
    return Node(**row)


async def _add_birth(conn: AsyncConnection, gateway_id: GatewayId, device: str, said: Payload) -> None:
    known = {str(alias): list(entry) for alias, entry in messages.aliases(said).items()}
    names = {"gateway_id": gateway_id, "device": device}
    await conn.execute(queries.add_birth, names | {"born_ms": said.at_ms, "aliases": Jsonb(known)})
    await conn.execute(queries.forget_births, names)


async def _aliases(conn: AsyncConnection, gateway_id: GatewayId, device: str, at_ms: int) -> dict[int, tuple[str, int]]:
    arguments = {"gateway_id": gateway_id, "device": device, "at_ms": at_ms}
    row = await (await conn.execute(queries.aliases_at, arguments)).fetchone()
    return {int(alias): (name, datatype) for alias, (name, datatype) in row[0].items()} if row else {}


async def _device_ids(conn: AsyncConnection, gateway_id: GatewayId) -> dict[str, DeviceId]:
    rows = await (await conn.execute(queries.device_ids, {"gateway_id": gateway_id})).fetchall()
    return {name: DeviceId(device_id) for name, device_id in rows}
