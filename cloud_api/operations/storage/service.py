"""Use cases of the storage's life: look at it, say how long things are kept, tend it."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta

import psycopg
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from cloud_api.db.pool import transaction
from cloud_api.kit.clock import Clock
from cloud_api.kit.scope import SYSTEM
from cloud_api.operations.storage import repository
from cloud_api.operations.storage.model import (
    KEEP_DAYS_MAX,
    KEEP_DAYS_MIN,
    KIND_OF,
    Deed,
    Hold,
    Keeping,
    KeepRefused,
    Kind,
    Piece,
    Report,
    Table,
)

JOURNAL_SHOWN = 20
PIECES_PER_PASS_MAX = 60
EVENTS_PER_DELETE = 5_000
DELETES_PER_PASS_MAX = 200
_AHEAD = timedelta(days=62)
_COMPRESS_AFTER = timedelta(days=14)  # Late data are rare by then; they are taken into compressed chunks as well.


async def report(conn: AsyncConnection, clock: Clock) -> Report:
    """Return what is stored, when it goes, what holds it, and what was done last."""
    keepings = await repository.keepings(conn)
    holds = await repository.holds(conn)
    ratios = await repository.compression_ratios(conn)
    by_parent: dict[str, list[Piece]] = defaultdict(list)
    for piece in await repository.pieces(conn):
        by_parent[piece.parent].append(piece)
    tables = [
        _table(parent, kind, keepings[kind], by_parent[parent], ratios.get(parent), holds, clock.now())
        for parent, kind in KIND_OF.items()
        if kind != Kind.EVENTS
    ]
    for name, rows, size in await repository.whole_tables(conn):
        kind = KIND_OF.get(name, Kind.LEDGER)
        tables.append(_whole(name, kind, keepings.get(kind), rows, size))
    return Report(
        licence=await repository.licence(conn), tables=tables, journal=await repository.journal(conn, JOURNAL_SHOWN)
    )


async def keep(conn: AsyncConnection, kind: str, days: int, *, actor: str, clock: Clock) -> None:
    """Say how long a kind is kept. Raises KeepRefused with what would be possible."""
    possible = [str(k) for k in KIND_OF.values()]
    if kind not in possible:
        raise KeepRefused("{kind} is not kept by days; choose one of {kinds}", kind=kind, kinds=", ".join(possible))
    if not KEEP_DAYS_MIN <= days <= KEEP_DAYS_MAX:
        raise KeepRefused(
            "{days} days are out of range; choose {least} to {most}", days=days, least=KEEP_DAYS_MIN, most=KEEP_DAYS_MAX
        )
    now = clock.now()
    before = (await repository.keepings(conn))[Kind(kind)].keep_days
    await repository.keep(conn, Kind(kind), days, actor, now)
    note = f"{before} → {days}, {actor}"
    await repository.write_journal(conn, Deed(at=now, action="keep", kind=kind, name="", note=note))


async def tend(pool: AsyncConnectionPool, clock: Clock) -> list[Deed]:
    """Create room ahead, have old chunks compressed, drop what nobody needs; return what was done.

    Each step commits by itself and may be repeated. A piece that somebody holds right now is left for the next time.
    """
    now = clock.now()
    deeds: list[Deed] = []
    async with transaction(pool, SYSTEM) as conn:
        created = await repository.ensure_ahead(conn, now, now + _AHEAD)
        if created:
            deeds.append(await _note(conn, Deed(at=now, action="create", kind="raw", name="", row_count=created)))
        deeds += [
            await _note(conn, Deed(at=now, action="columnstore", kind=KIND_OF[parent], name=parent))
            for parent in await repository.set_up_columnstore(conn, _COMPRESS_AFTER)
        ]
    for parent, kind in KIND_OF.items():
        deeds += await (_drop_events(pool, now) if kind == Kind.EVENTS else _drop_pieces(pool, now, parent, kind))
    return deeds


async def _drop_pieces(pool: AsyncConnectionPool, now: datetime, parent: str, kind: Kind) -> list[Deed]:
    deeds: list[Deed] = []
    for _ in range(PIECES_PER_PASS_MAX):
        try:
            async with transaction(pool, SYSTEM) as conn:
                cutoff = await _cutoff(conn, now, kind)
                piece = await repository.drop_oldest_piece(conn, parent, cutoff)
                if piece is None:
                    break
                moved = piece.pop("moved_count")
                if moved:
                    span = {key: piece[key] for key in ("name", "starts_at", "ends_at")}
                    deeds.append(
                        await _note(conn, Deed(at=now, action="move", kind=Kind.REGISTERS, row_count=moved, **span))
                    )
                deeds.append(await _note(conn, Deed(at=now, action="drop", kind=kind, **piece)))
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected) as error:
            async with transaction(pool, SYSTEM) as conn:
                note = str(error).splitlines()[0]
                deeds.append(await _note(conn, Deed(at=now, action="fail", kind=kind, name=parent, note=note)))
            break
    return deeds


async def _drop_events(pool: AsyncConnectionPool, now: datetime) -> list[Deed]:
    async with transaction(pool, SYSTEM) as conn:
        cutoff = await _cutoff(conn, now, Kind.EVENTS)
    deleted = 0
    for _ in range(DELETES_PER_PASS_MAX):
        async with transaction(pool, SYSTEM) as conn:
            some = await repository.delete_events(conn, cutoff, EVENTS_PER_DELETE)
        deleted += some
        if some < EVENTS_PER_DELETE:
            break
    if not deleted:
        return []
    async with transaction(pool, SYSTEM) as conn:
        await repository.events_gone(conn, cutoff)
        deed = Deed(at=now, action="drop", kind=Kind.EVENTS, name="event", ends_at=cutoff, row_count=deleted)
        return [await _note(conn, deed)]


async def _cutoff(conn: AsyncConnection, now: datetime, kind: Kind) -> datetime:
    keepings = await repository.keepings(conn)
    return keepings[kind].cutoff(now, await repository.holds(conn))


async def _note(conn: AsyncConnection, deed: Deed) -> Deed:
    await repository.write_journal(conn, deed)
    return deed


def _table(
    parent: str,
    kind: Kind,
    keeping: Keeping,
    pieces: Sequence[Piece],
    ratio: float | None,
    holds: Sequence[Hold],
    now: datetime,
) -> Table:
    return Table(
        name=parent,
        kind=kind,
        keep_days=keeping.keep_days,
        piece_count=len(pieces),
        compressed_count=sum(p.is_compressed for p in pieces),
        row_count=sum(p.row_count for p in pieces),
        byte_count=sum(p.byte_count for p in pieces),
        compression_ratio=ratio,
        oldest_at=min((p.starts_at for p in pieces if p.row_count), default=None),
        newest_at=max((min(p.ends_at, now) for p in pieces if p.row_count), default=None),
        next_drop_at=pieces[0].ends_at + timedelta(days=keeping.keep_days) if pieces else None,
        holds=tuple(h for h in holds if h.kind == kind and pieces and h.needed_from < pieces[0].ends_at),
    )


def _whole(name: str, kind: Kind, keeping: Keeping | None, rows: int, size: int) -> Table:
    return Table(
        name=name,
        kind=kind,
        keep_days=keeping.keep_days if keeping else None,
        piece_count=1,
        compressed_count=0,
        row_count=rows,
        byte_count=size,
        compression_ratio=None,
        oldest_at=keeping.gone_before if keeping else None,
        newest_at=None,
        next_drop_at=None,
        holds=(),
    )
