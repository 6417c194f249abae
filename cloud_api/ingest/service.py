"""Accepting a batch: one transaction, three verdicts, the same effect however often it is sent."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
from psycopg import AsyncConnection, errors
from psycopg_pool import AsyncConnectionPool

from cloud_api.db.pool import pipelined, transaction
from cloud_api.devices import commands
from cloud_api.devices import service as devices
from cloud_api.devices.model import Gateway
from cloud_api.ingest import repository
from cloud_api.ingest.limits import LIMITS, Limits, counters
from cloud_api.ingest.message import Batch
from cloud_api.ingest.verdicts import Rejection, Retry, judge, to_ranges
from cloud_api.kit.clock import Clock
from cloud_api.kit.ids import DeviceId, GatewayId, PointId
from cloud_api.kit.scope import SYSTEM
from cloud_api.metering import service as metering
from cloud_api.telemetry import service as telemetry
from cloud_api.telemetry.model import Event

_MONTH_MS = 31 * 86_400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What became of every number of a batch; numbers in neither list are to be sent again."""

    batch: Batch
    rejected: list[Rejection]
    retry: list[Retry]
    now: datetime

    def body(self) -> dict[str, Any]:
        """Return the answer of ARCHITECTURE.md, section 9."""
        refused = {r.seq for r in self.rejected}
        again = {seq for r in self.retry for seq in range(r.first, r.last + 1)}
        events = [event.seq for event in self.batch.events]
        seqs = np.unique(np.concatenate([self.batch.seq, np.array(events, dtype=np.int64)]))
        if refused or again:
            seqs = seqs[~np.isin(seqs, np.array(sorted(refused | again), dtype=np.int64))]
        return {
            "stream": str(self.batch.stream),
            "accepted": [[first, end - 1] for first, end in to_ranges(seqs)],
            "rejected": [{"seq": r.seq, "code": r.code, "reason": r.reason} for r in self.rejected],
            "retry": [{"from": r.first, "to": r.last, "code": r.code, "reason": r.reason} for r in self.retry],
            "server_time_ms": int(self.now.timestamp() * 1000),
        }


@dataclass(slots=True)
class Ingest:
    """What one process remembers between batches: names of points, and which months have a place."""

    pool: AsyncConnectionPool
    clock: Clock
    limits: Limits = LIMITS
    _addresses: dict[GatewayId, tuple[int, dict[str, PointId], dict[str, DeviceId]]] = field(default_factory=dict)
    _months: set[tuple[int, int]] = field(default_factory=set)

    async def accept(self, gateway: Gateway, batch: Batch) -> Receipt:
        """Store what is new of a batch and return the receipt after the commit."""
        await self._make_room(batch)
        try:
            return await self._accept(gateway, batch)
        except errors.CheckViolation:
            # A month that had a place was dropped by retention since: look again, once.
            self._months.clear()
            await self._make_room(batch)
            return await self._accept(gateway, batch)

    async def _accept(self, gateway: Gateway, batch: Batch) -> Receipt:
        now = self.clock.now()
        by_copy = len(batch) >= self.limits.copy_from
        async with (transaction if by_copy else pipelined)(self.pool, SYSTEM) as conn:
            stream = await repository.lock_stream(conn, gateway.id, batch.stream)
            points, device_ids = await self._names(conn, gateway.id, stream.catalogue_version)
            verdicts = judge(
                batch,
                settled=stream.settled,
                points=points,
                devices=device_ids,
                now_ms=int(now.timestamp() * 1000),
                limits=self.limits,
            )
            if len(verdicts.accepted):
                await telemetry.store(conn, verdicts.accepted, now, by_copy=by_copy)
                await metering.mark_dirty(conn, *verdicts.accepted.spans(), now)
            if verdicts.accepted_events:
                events = [_event(event, gateway, device_ids, now) for event in verdicts.accepted_events]
                await self._store_events(conn, gateway, events)
            if verdicts.rejected:
                await repository.add_rejections(
                    conn, stream.id, verdicts.rejected, keep=self.limits.rejections_kept_per_stream, now=now
                )
            refused = np.array([r.seq for r in verdicts.rejected], dtype=np.int64)
            settled = to_ranges(np.concatenate([verdicts.accepted_seq, refused]))
            if settled:
                await repository.settle(
                    conn,
                    stream.id,
                    settled=settled,
                    accepted_count=len(verdicts.accepted_seq),
                    rejected_count=len(refused),
                    now=now,
                )
            before = await self._rejected_before(conn, stream, batch, verdicts.rejected)
        counters["accepted"] += len(verdicts.accepted_seq)
        counters.update(f"rejected_{r.code}" for r in verdicts.rejected)
        return Receipt(batch=batch, rejected=before + verdicts.rejected, retry=verdicts.retry, now=now)

    async def _store_events(self, conn: AsyncConnection, gateway: Gateway, events: list[Event]) -> None:
        await telemetry.store_events(
            conn, organisation_id=gateway.organisation_id, gateway_id=gateway.id, events=events
        )
        states: dict[DeviceId, tuple[str, datetime, str]] = {}
        for event in sorted(events, key=lambda e: e.occurred_at):
            state = event.data.get("state")
            if event.kind == "device.state" and event.device_id is not None and state in {"online", "offline"}:
                states[event.device_id] = (state, event.occurred_at, str(event.data.get("error") or "")[:2000])
        changed = await devices.set_device_states(conn, states)
        results = [(event.occurred_at, event.data) for event in events if event.kind == "command.result"]
        await commands.take_results(conn, gateway.id, results)
        if changed or results:
            await telemetry.notify(conn, {"kind": "health", "devices": changed[:500]})

    async def _names(
        self, conn: AsyncConnection, gateway_id: GatewayId, version: int
    ) -> tuple[dict[str, PointId], dict[str, DeviceId]]:
        known = self._addresses.get(gateway_id)
        if known is None or known[0] != version:
            points, device_ids = await devices.addresses(conn, gateway_id)
            if len(self._addresses) >= self.limits.gateways_remembered:
                self._addresses.clear()
            known = (version, points, device_ids)
            self._addresses[gateway_id] = known
        return known[1], known[2]

    async def _make_room(self, batch: Batch) -> None:
        """Create missing partitions in a transaction of its own, so that other batches see them at once."""
        if not len(batch):
            return
        latest_ms = int((self.clock.now() + self.limits.future_tolerance).timestamp() * 1000)
        instants = batch.at_ms[(batch.at_ms >= self.limits.oldest_ms) & (batch.at_ms <= latest_ms)]
        if not len(instants):
            return
        days = np.unique(instants // 86_400_000) * 86_400_000
        months = {
            (at.year, at.month): int(ms) for ms in days.tolist() for at in [datetime.fromtimestamp(ms / 1000, UTC)]
        }
        missing = [ms for month, ms in months.items() if month not in self._months]
        if not missing:
            return
        async with transaction(self.pool, SYSTEM) as conn:
            for ms in missing:
                await telemetry.ensure_partitions(conn, ms, ms)
        self._months |= set(months)

    async def _rejected_before(
        self, conn: AsyncConnection, stream: repository.Stream, batch: Batch, now_rejected: list[Rejection]
    ) -> list[Rejection]:
        """Return the verdicts of numbers in this batch that were rejected by an earlier one."""
        seqs = [*batch.seq.tolist(), *(event.seq for event in batch.events), *batch.malformed_events]
        if not seqs or not any(first <= max(seqs) and min(seqs) < end for first, end in stream.settled):
            return []
        known = await repository.known_rejections(conn, stream.id, min(seqs), max(seqs))
        new = {r.seq for r in now_rejected}
        return [
            Rejection(seq=seq, code=known[seq][0], reason=known[seq][1], content={})
            for seq in sorted(set(seqs))
            if seq in known and seq not in new
        ]


def _event(message: Any, gateway: Gateway, device_ids: dict[str, DeviceId], now: datetime) -> Event:
    received_at = datetime.fromtimestamp(message.received_at_ms / 1000, UTC)
    # A door's own clock may be wild; the agent's is not, and the wild one stays readable in the data.
    is_wild = abs(message.at_ms - message.received_at_ms) > 12 * _MONTH_MS
    data = message.data | {"device_at_ms": message.at_ms} if is_wild else message.data
    return Event(
        organisation_id=gateway.organisation_id,
        gateway_id=gateway.id,
        device_id=device_ids[message.device] if message.device else None,
        kind=message.kind,
        occurred_at=received_at if is_wild else datetime.fromtimestamp(message.at_ms / 1000, UTC),
        received_at=now,
        data=data,
    )
