"""Working off dirty ranges: read the readings, compute the intervals, store what differs."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from psycopg import AsyncConnection

from cloud_api.kit.clock import Clock
from cloud_api.kit.ids import MeterId, RegisterId
from cloud_api.metering import ledger_store as store
from cloud_api.metering.ledger import Computed, Reset, Rules, compute, silences
from cloud_api.metering.model import Method, Quality, Reason, Register
from cloud_api.telemetry import service as telemetry

REGISTERS_PER_TRANSACTION = 20
_MINUTE_MS = 60_000
_BEGINNING_MS = -(2**63)
# A boundary between readings up to one and a half intervals apart is measured, not estimated.
_GAP_IN_INTERVALS = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Recomputed:
    """What one pass did."""

    registers: int
    intervals: int
    meters: frozenset[MeterId]


async def recompute_due(conn: AsyncConnection, clock: Clock, *, limit: int = REGISTERS_PER_TRANSACTION) -> Recomputed:
    """Bring up to `limit` registers up to date in the caller's transaction; nothing is left when `registers` is 0.

    The marks are read before the readings and deleted with the result, so that a reading that arrives meanwhile keeps
    its mark. Two workers never hold one register at a time.
    """
    due = await store.take_due(conn, limit)
    if not due:
        return Recomputed(registers=0, intervals=0, meters=frozenset())
    ids = [d.register_id for d in due]
    registers = await store.registers(conn, ids)
    wanted = _without_overlaps(await store.stretches(conn, due))
    readings = await store.readings(conn, wanted)
    rules = await rules_of(conn, registers)
    computed = [
        (stretch.register_id, interval)
        for stretch, course in zip(wanted, readings, strict=True)
        for interval in compute(
            course,
            rules[stretch.register_id],
            start_ms=store.to_ms(stretch.first),
            end_ms=store.to_ms(stretch.last),
        )
    ]
    computed = with_edits(computed, await store.edits(conn, ids))
    now = clock.now()
    changed = await store.write(conn, wanted, computed, now)
    if changed:
        await store.add_changes(conn, changed, now)
    await store.write_gaps(conn, wanted, _gaps(registers, rules, wanted, readings), now)
    await store.forget_dirty(conn, due)
    meters = frozenset(registers[i].meter_id for i, _ in computed)
    if meters:
        await telemetry.notify(conn, {"kind": "ledger", "meters": sorted(meters)})
    return Recomputed(registers=len(due), intervals=len(computed), meters=meters)


def _gaps(
    registers: Mapping[RegisterId, Register],
    rules: Mapping[RegisterId, Rules],
    wanted: Sequence[store.Stretch],
    readings: Sequence[list[tuple[int, int]]],
) -> list[tuple[Register, int, int]]:
    """Return the silences in recomputed stretches of registers that a point feeds; people read when they like."""
    return [
        (registers[stretch.register_id], first, last)
        for stretch, course in zip(wanted, readings, strict=True)
        if registers[stretch.register_id].point_id is not None
        for first, last in silences(
            course,
            rules[stretch.register_id],
            start_ms=store.to_ms(stretch.first),
            end_ms=store.to_ms(stretch.last),
        )
    ]


async def rules_of(conn: AsyncConnection, registers: Mapping[RegisterId, Register]) -> dict[RegisterId, Rules]:
    """Return what the ledger has to know of registers beside their readings."""
    ids = list(registers)
    resets = await store.resets(conn, ids)
    multipliers = await store.multipliers(conn, ids)
    lengths = await store.lengths(conn, ids)
    return {
        register_id: _rules_for(
            register, resets.get(register_id, []), multipliers.get(register_id, []), lengths.get(register_id, [])
        )
        for register_id, register in registers.items()
    }


def _rules_for(
    register: Register,
    resets: Sequence[Reset],
    dated: Sequence[tuple[datetime | None, datetime | None, Decimal]],
    lengths: Sequence[tuple[datetime, int]],
) -> Rules:
    interval_ms, gap_ms = _length(register, register.interval_minutes)
    # Where no dated multiplier holds, the register's own does.
    changes = {_BEGINNING_MS: register.multiplier}
    for valid_from, valid_to, multiplier in dated:
        changes[_BEGINNING_MS if valid_from is None else store.to_ms(valid_from)] = multiplier
        if valid_to is not None:
            changes[store.to_ms(valid_to)] = register.multiplier
    return Rules(
        interval_ms=interval_ms,
        gap_ms_max=gap_ms,
        lengths=tuple((store.to_ms(since), *_length(register, minutes)) for since, minutes in lengths),
        modulus=None if register.modulus is None else store.to_units(register.modulus),
        is_delta=register.is_delta,
        resets=tuple(resets),
        multipliers=tuple(sorted(changes.items())),
        closed_at_ms=None if register.closed_at is None else store.to_ms(register.closed_at),
    )


def _length(register: Register, minutes: int) -> tuple[int, int]:
    interval_ms = minutes * _MINUTE_MS
    return interval_ms, register.gap_minutes * _MINUTE_MS if register.gap_minutes else int(
        interval_ms * _GAP_IN_INTERVALS
    )


def _without_overlaps(stretches: Sequence[store.Stretch]) -> list[store.Stretch]:
    """Join stretches of one register that overlap after widening, so that no interval is computed twice."""
    by_register: dict[RegisterId, list[store.Stretch]] = defaultdict(list)
    for stretch in sorted(stretches, key=lambda s: (s.register_id, s.first)):
        known = by_register[stretch.register_id]
        if known and stretch.first <= known[-1].last:
            last = known[-1]
            known[-1] = replace(
                last,
                last=max(last.last, stretch.last),
                read_from=min(last.read_from, stretch.read_from),
                read_to=max(last.read_to, stretch.read_to),
            )
        else:
            known.append(stretch)
    return [stretch for known in by_register.values() for stretch in known]


def with_edits(
    computed: Sequence[tuple[RegisterId, Computed]],
    edits: Mapping[tuple[RegisterId, int], tuple[Decimal, str, str]],
) -> list[tuple[RegisterId, Computed]]:
    """Put what people decided in the place of what was computed."""
    if not edits:
        return list(computed)
    result: list[tuple[RegisterId, Computed]] = []
    for register_id, interval in computed:
        edit = edits.get((register_id, interval.start_ms))
        if edit is not None:
            quantity, method, _ = edit
            interval = replace(  # noqa: PLW2901  # The edited interval takes the computed one's place.
                interval,
                quantity=quantity,
                quality=Quality.EDITED if method == Method.EDIT else Quality.ESTIMATED,
                method=Method(method),
                reason=Reason.NONE,
            )
        result.append((register_id, interval))
    return result
