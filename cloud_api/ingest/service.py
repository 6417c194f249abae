"""Accepting a batch: one transaction, three verdicts, the same effect however often it is sent."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import numpy as np
from psycopg import AsyncConnection, errors
from psycopg_pool import AsyncConnectionPool

from cloud_api.db.pool import transaction
from cloud_api.devices import commands
from cloud_api.devices import service as devices
from cloud_api.devices.model import CatalogueDevice, CataloguePoint, Gateway
from cloud_api.ingest import repository, together
from cloud_api.ingest.limits import LIMITS, Limits, counters
from cloud_api.ingest.lines import Lines
from cloud_api.ingest.message import Batch
from cloud_api.ingest.together import Together
from cloud_api.ingest.verdicts import Range, Rejection, Retry, Verdicts, judge, merged, to_ranges
from cloud_api.kit.clock import Clock
from cloud_api.kit.errors import DomainError
from cloud_api.kit.ids import DeviceId, GatewayId, PointId
from cloud_api.kit.scope import SYSTEM
from cloud_api.metering import service as metering
from cloud_api.telemetry import service as telemetry
from cloud_api.telemetry.columns import Ints, Observations
from cloud_api.telemetry.latest import LatestValues
from cloud_api.telemetry.model import Event

_MONTH_MS = 31 * 86_400_000
_ATTEMPTS = 5  # At being overtaken by other batches of the same stream.


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
        seqs = self.batch.seq
        if self.batch.events:
            seqs = np.concatenate([seqs, [event.seq for event in self.batch.events]])
        if refused or again:
            seqs = seqs[~np.isin(seqs, np.array(sorted(refused | again), dtype=np.int64))]
        return {
            "stream": str(self.batch.stream),
            "accepted": [[first, end - 1] for first, end in to_ranges(seqs)],
            "rejected": [{"seq": r.seq, "code": r.code, "reason": r.reason} for r in self.rejected],
            "retry": [{"from": r.first, "to": r.last, "code": r.code, "reason": r.reason} for r in self.retry],
            "server_time_ms": int(self.now.timestamp() * 1000),
        }


class StreamBusy(DomainError):
    """Other batches of the same stream keep arriving elsewhere; send this one again."""

    code = "stream_busy"
    status = 503


@dataclass(slots=True)
class Ingest:
    """What one process remembers between batches: streams, names of points, and which months have a place.

    What it remembers may be old; `app.claim_batches` notices, and the batch is judged again by what is true.
    """

    pool: AsyncConnectionPool
    clock: Clock
    limits: Limits = LIMITS
    _streams: dict[tuple[GatewayId, UUID], repository.Stream] = field(default_factory=dict)
    _addresses: dict[GatewayId, tuple[int, dict[str, PointId], dict[str, DeviceId]]] = field(default_factory=dict)
    _months: set[tuple[int, int]] = field(default_factory=set)
    _together: Together = field(init=False)
    _latest: LatestValues = field(init=False)

    def __post_init__(self) -> None:
        self._together = Together(pool=self.pool)
        self._latest = LatestValues(pool=self.pool, clock=self.clock)

    async def close(self) -> None:
        """Finish what is held in memory, at the end of the process."""
        await self._latest.close()

    async def accept(self, gateway: Gateway, batch: Batch) -> Receipt:
        """Store what is new of a batch and return the receipt after the commit."""
        for _ in range(_ATTEMPTS):
            await self.make_room(batch.at_ms)
            try:
                return await self._accept(gateway, batch)
            except errors.CheckViolation:
                # A month that had a place was dropped by retention since: look again.
                self._months.clear()
            except errors.DeadlockDetected:
                counters["deadlock"] += 1
            except errors.DatabaseError as error:
                if error.sqlstate != repository.CHANGED:
                    raise
                self._streams.pop((gateway.id, batch.stream), None)
                counters["stream_changed"] += 1
        raise StreamBusy(retry_after_s=1)

    async def accept_lines(self, gateway: Gateway, lines: Lines) -> int:
        """Store what is new of lines and return how much that was; devices and points unknown so far are added."""
        names = {f"{v.device}/{v.point}" for v in lines.values}
        points = self._addresses.get(gateway.id, (0, {}, {}))[1]
        if not names <= points.keys():
            points = await self._add_points(gateway, lines)
        rows = Observations(
            point_id=np.array([points[f"{v.device}/{v.point}"] for v in lines.values], dtype=np.int64),
            at_ms=np.array([v.at_ms for v in lines.values], dtype=np.int64),
            value=np.array([v.value for v in lines.values], dtype=np.float64),
            mantissa=np.array([v.mantissa for v in lines.values], dtype=np.int64),
            quality=np.zeros(len(lines.values), dtype=np.int64),
            scale=np.array([v.scale for v in lines.values], dtype=np.int64),
        )
        return await self.accept_unnumbered(gateway, rows)

    async def accept_unnumbered(self, gateway: Gateway, rows: Observations) -> int:
        """Store observations that come without sequence numbers; a point has one of them per instant, the first.

        Returns how many were new.
        """
        for _ in range(_ATTEMPTS):
            await self.make_room(rows.at_ms)
            try:
                return await self._accept_unnumbered(gateway, rows)
            except errors.CheckViolation:
                self._months.clear()
            except errors.DeadlockDetected:
                counters["deadlock"] += 1
        raise StreamBusy(retry_after_s=1)

    async def _accept_unnumbered(self, gateway: Gateway, rows: Observations) -> int:
        async with transaction(self.pool, SYSTEM) as conn:
            return await self.store_unnumbered(conn, gateway, rows)

    async def store_unnumbered(
        self, conn: AsyncConnection, gateway: Gateway, rows: Observations, events: Sequence[Event] = ()
    ) -> int:
        """Store what is new of observations and events in the caller's transaction; return how many observations."""
        now = self.clock.now()
        # Held until the commit: the same data arriving twice at once are seen by the second.
        stream_id = await repository.lock_unnumbered(conn, gateway.id, now)
        new = rows.pick(await telemetry.unknown_places(conn, rows)) if len(rows) else rows
        if len(new):
            await telemetry.store(conn, new, now)
            await metering.mark_dirty(conn, *new.spans(), now)
        new_events = await telemetry.unknown_events(conn, events)
        if new_events:
            await self._store_events(conn, gateway, new_events)
        await repository.count_unnumbered(conn, stream_id, len(new) + len(new_events))
        counters["accepted"] += len(new)
        counters["known_already"] += len(rows) - len(new)
        return len(new)

    async def _add_points(self, gateway: Gateway, lines: Lines) -> dict[str, PointId]:
        found = [
            CatalogueDevice(
                name=name, label=label, points=[CataloguePoint(name=p, unit=unit) for p, unit in units.items()]
            )
            for name, (label, units) in lines.devices.items()
        ]
        async with transaction(self.pool, SYSTEM) as conn:
            version = await devices.add_points(conn, gateway, found, self.clock.now())
            await self._learn_names(conn, gateway.id, version)
        return self._addresses[gateway.id][1]

    async def _accept(self, gateway: Gateway, batch: Batch) -> Receipt:
        now = self.clock.now()
        stream, verdicts = await self._judged(gateway, batch, now)
        refused = np.array([r.seq for r in verdicts.rejected], dtype=np.int64)
        settled = to_ranges(np.concatenate([verdicts.accepted_seq, refused]))
        before: list[Rejection] = []
        if settled:
            claim = repository.Claim(
                stream=stream,
                settled=settled,
                accepted_count=len(verdicts.accepted_seq),
                rejected_count=len(refused),
                holds_latest=bool(len(verdicts.accepted)) and self._latest.admits(stream.id),
                now=now,
            )
            await self._store(gateway, claim, verdicts)
            self._remember(gateway, batch.stream, claim)
        if _overlaps(stream.settled, batch):
            async with transaction(self.pool, SYSTEM) as conn:
                before = await self._rejected_before(conn, stream, batch, verdicts.rejected)
        counters["accepted"] += len(verdicts.accepted_seq)
        counters.update(f"rejected_{r.code}" for r in verdicts.rejected)
        return Receipt(batch=batch, rejected=before + verdicts.rejected, retry=verdicts.retry, now=now)

    async def _judged(self, gateway: Gateway, batch: Batch, now: datetime) -> tuple[repository.Stream, Verdicts]:
        """Return the verdicts and what they rest on: what is remembered, or the database where that says no."""
        key = (gateway.id, batch.stream)
        stream = self._streams.get(key)
        if stream is not None:
            verdicts = self._verdicts(gateway, batch, stream, now)
            if not verdicts.retry:
                return stream, verdicts
        async with transaction(self.pool, SYSTEM) as conn:
            stream = await repository.find_stream(conn, gateway.id, batch.stream)
            await self._learn_names(conn, gateway.id, stream.catalogue_version)
        if len(self._streams) >= self.limits.gateways_remembered:
            self._streams.clear()
        self._streams[key] = stream
        return stream, self._verdicts(gateway, batch, stream, now)

    def _verdicts(self, gateway: Gateway, batch: Batch, stream: repository.Stream, now: datetime) -> Verdicts:
        _, points, device_ids = self._addresses.get(gateway.id, (0, {}, {}))
        return judge(
            batch,
            settled=stream.settled,
            points=points,
            devices=device_ids,
            now_ms=int(now.timestamp() * 1000),
            limits=self.limits,
        )

    def _remember(self, gateway: Gateway, name: UUID, claim: repository.Claim) -> None:
        settled = merged(claim.stream.settled, claim.settled)
        self._streams[gateway.id, name] = replace(claim.stream, settled=settled)

    async def _store(self, gateway: Gateway, claim: repository.Claim, verdicts: Verdicts) -> None:
        rows, now = verdicts.accepted, claim.now
        if not verdicts.accepted_events and not verdicts.rejected and len(rows) < together.ROWS_MAX:
            await self._together.store(claim, rows)
        else:
            async with transaction(self.pool, SYSTEM) as conn:
                await repository.claim_batch(conn, claim)
                if len(rows):
                    await telemetry.store(conn, rows, now, holds_latest=claim.holds_latest)
                    await metering.mark_dirty(conn, *rows.spans(), now)
                if verdicts.accepted_events:
                    _, _, device_ids = self._addresses[gateway.id]
                    events = [_event(event, gateway, device_ids, now) for event in verdicts.accepted_events]
                    await self._store_events(conn, gateway, events)
                if verdicts.rejected:
                    await repository.add_rejections(
                        conn, claim.stream.id, verdicts.rejected, keep=self.limits.rejections_kept_per_stream, now=now
                    )
        if claim.holds_latest:
            self._latest.add(claim.stream.id, rows)

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

    async def _learn_names(self, conn: AsyncConnection, gateway_id: GatewayId, version: int) -> None:
        known = self._addresses.get(gateway_id)
        if known is None or known[0] != version:
            points, device_ids = await devices.addresses(conn, gateway_id)
            if len(self._addresses) >= self.limits.gateways_remembered:
                self._addresses.clear()
                self._streams.clear()
            self._addresses[gateway_id] = (version, points, device_ids)

    async def make_room(self, at_ms: Ints) -> None:
        """Create missing partitions in a transaction of its own, so that other batches see them at once."""
        latest_ms = int((self.clock.now() + self.limits.future_tolerance).timestamp() * 1000)
        instants = at_ms[(at_ms >= self.limits.oldest_ms) & (at_ms <= latest_ms)]
        if not len(instants):
            return
        first, last = _month(int(instants.min())), _month(int(instants.max()))
        if first == last and first in self._months:
            return
        days = np.unique(instants // 86_400_000) * 86_400_000
        months = {_month(ms): ms for ms in days.tolist()}
        missing = [ms for month, ms in months.items() if month not in self._months]
        if not missing:
            return
        for _ in range(_ATTEMPTS):
            try:
                async with transaction(self.pool, SYSTEM) as conn:
                    for ms in missing:
                        await telemetry.ensure_partitions(conn, ms, ms)
            except (errors.DuplicateTable, errors.UniqueViolation, errors.DeadlockDetected):
                counters["month_made_elsewhere"] += 1  # Another batch made the same month at this moment.
            else:
                self._months |= set(months)
                return
        raise StreamBusy(retry_after_s=1)

    async def _rejected_before(
        self, conn: AsyncConnection, stream: repository.Stream, batch: Batch, now_rejected: list[Rejection]
    ) -> list[Rejection]:
        """Return the verdicts of numbers in this batch that were rejected by an earlier one."""
        seqs = _numbers(batch)
        known = await repository.known_rejections(conn, stream.id, int(seqs.min()), int(seqs.max()))
        again = known.keys() & set(seqs.tolist()) - {r.seq for r in now_rejected}
        return [Rejection(seq=seq, code=known[seq][0], reason=known[seq][1], content={}) for seq in sorted(again)]


async def set_states(conn: AsyncConnection, states: Mapping[DeviceId, tuple[str, datetime, str]]) -> None:
    """Take (state, since, last error) per device where it is newer than what is known, and tell the live pages."""
    changed = await devices.set_device_states(conn, states)
    if changed:
        await telemetry.notify(conn, {"kind": "health", "devices": changed[:500]})


def _numbers(batch: Batch) -> Ints:
    if not batch.events and not batch.malformed_events:
        return batch.seq
    return np.concatenate([batch.seq, [*(event.seq for event in batch.events), *batch.malformed_events]])


def _overlaps(settled: Sequence[Range], batch: Batch) -> bool:
    seqs = _numbers(batch)
    if not len(seqs):
        return False
    lowest, highest = int(seqs.min()), int(seqs.max())
    return any(first <= highest and lowest < end for first, end in settled)


def _month(ms: int) -> tuple[int, int]:
    at = datetime.fromtimestamp(ms / 1000, UTC)
    return at.year, at.month


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
